"""Vim's netrw over ``trsh``: a file of the server is opened, changed and saved with sftp and with scp."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real


def edit(box: Box, tmp_path: Path, address: str, *, status: int | None = 0) -> str:
    """Replace a word of a file in Vim, and write it; return what Vim has said."""
    for tool in ("vim", "sftp", "scp"):
        require_tool(tool)
    script = tmp_path / "edit.vim"
    script.write_text(
        "set nocompatible shortmess+=I\n"
        "let g:netrw_silent = 1\n"
        f"let g:netrw_sftp_cmd = 'sftp -S {box.trsh}'\n"
        f"let g:netrw_scp_cmd = 'scp -q -S {box.trsh}'\n"
        "runtime plugin/netrwPlugin.vim\n"
        f"silent edit {address}\n"
        "silent %s/two/three/\n"
        "silent write\n"
        "qall!\n"
    )
    # Vim leaves files with its messages in its folder.
    done = box.run("vim", "-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "-S", script, status=status, cwd=tmp_path)
    return done.stdout + done.stderr


@pytest.mark.parametrize("scheme", ["sftp", "scp"])
def test_edit(file_box: Box, tmp_path: Path, scheme: str) -> None:
    """What Vim saves is in the file at the server."""
    there = tmp_path / "there.txt"
    there.write_text("one\ntwo\n")
    edit(file_box, tmp_path, f"{scheme}://box/{there}")
    assert there.read_text() == "one\nthree\n"


@pytest.mark.parametrize("scheme", ["sftp", "scp"])
def test_errors(file_box: Box, tmp_path: Path, scheme: str) -> None:
    """Where no server answers, Vim finds nothing to change, says so with its status, and the file is as it was."""
    there = tmp_path / "there.txt"
    there.write_text("one\ntwo\n")
    edit(file_box, tmp_path, f"{scheme}://closed/{there}", status=None)
    assert there.read_text() == "one\ntwo\n"
