"""Vim's netrw over ``trsh``: a file of the server is opened, changed and saved with sftp and with scp."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real


@pytest.mark.parametrize("scheme", ["sftp", "scp"])
def test_edit(file_box: Box, tmp_path: Path, scheme: str) -> None:
    """What Vim saves is in the file at the server."""
    for tool in ("vim", "sftp", "scp"):
        require_tool(tool)
    there = tmp_path / "there.txt"
    there.write_text("one\ntwo\n")
    script = tmp_path / "edit.vim"
    script.write_text(
        "set nocompatible shortmess+=I\n"
        "let g:netrw_silent = 1\n"
        f"let g:netrw_sftp_cmd = 'sftp -S {file_box.trsh}'\n"
        f"let g:netrw_scp_cmd = 'scp -q -S {file_box.trsh}'\n"
        "runtime plugin/netrwPlugin.vim\n"
        f"silent edit {scheme}://box/{there}\n"
        "silent %s/two/three/\n"
        "silent write\n"
        "qall!\n"
    )
    file_box.run("vim", "-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "-S", script)
    assert there.read_text() == "one\nthree\n"
