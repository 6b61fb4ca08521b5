"""unison over ``trsh``: two folders become alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real

OPTIONS = ("-batch", "-silent", "-ui", "text", "-sshcmd", "trsh")


@pytest.fixture
def unison(box: Box) -> Box:
    """The server, if there is unison."""
    require_tool("unison")
    return box


def test_both_directions(unison: Box, tmp_path: Path) -> None:
    """Files of each side reach the other."""
    one, two = tmp_path / "one", tmp_path / "two"
    for number, folder in enumerate((one, two)):
        folder.mkdir()
        (folder / f"file {number}").write_bytes(bytes([number]) * 1_000_000)
    unison.run("unison", *OPTIONS, one, f"ssh://box/{two}")
    assert (one / "file 1").read_bytes() == (two / "file 1").read_bytes()
    assert (two / "file 0").read_bytes() == (one / "file 0").read_bytes()


def test_errors(unison: Box, tmp_path: Path) -> None:
    """A server that does not answer is unison's error, with our line beside it."""
    done = unison.run("unison", *OPTIONS, tmp_path, f"ssh://closed/{tmp_path}", status=3)
    assert "no server of yours is known on port 1" in done.stderr


def test_interrupted(unison: Box, tmp_path: Path) -> None:
    """Ctrl-C ends what runs on the server."""
    fifo, program = tmp_path / "fifo", tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec sleep 600\n")
    program.chmod(0o755)
    words = ("unison", *OPTIONS, "-servercmd", str(program), tmp_path, f"ssh://box/{tmp_path}")
    assert unison.interrupt(fifo, *words) != 0
