"""Vim's netrw over ``trsh``: a file of the server is opened, changed and saved with sftp and with scp."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box, running_box

pytestmark = pytest.mark.real


def editing(box: Box, tmp_path: Path, address: str) -> list[str | Path]:
    """Return the command line of a Vim that replaces a word of a file, and writes it."""
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
    return ["vim", "-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "-S", script]


def edit(box: Box, tmp_path: Path, address: str, *, status: int | None = 0) -> str:
    """Edit a file in Vim; return what Vim has said."""
    # Vim leaves files with its messages in its folder.
    done = box.run(*editing(box, tmp_path, address), status=status, cwd=tmp_path)
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


@pytest.mark.parametrize("scheme", ["sftp", "scp"])
def test_interrupted(tmp_path: Path, scheme: str) -> None:
    """Ctrl-C while Vim waits for the file ends what runs on the server, and Vim; the file is as it was."""
    fifo, server, folder, there = (tmp_path / name for name in ("fifo", "server", "box", "there.txt"))
    there.write_text("one\ntwo\n")
    server.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec cat > /dev/null\n")
    server.chmod(0o755)
    folder.mkdir(mode=0o700)
    with running_box(folder, "--sftp", str(server)) as box:
        words = editing(box, tmp_path, f"{scheme}://box/{there}")
        assert box.interrupt(fifo, *words, cwd=tmp_path) != 0
    assert there.read_text() == "one\ntwo\n"
