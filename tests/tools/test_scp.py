"""scp over ``trsh``, with its own protocol (``-O``): files and trees both ways, between two hosts, and errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real


@pytest.fixture
def scp(box: Box) -> Box:
    """The server, if there is scp."""
    require_tool("scp")
    return box


def test_files_and_trees(scp: Box, tmp_path: Path) -> None:
    """Files and folders arrive as they were, also with odd names, and come back."""
    words = ("scp", "-O", "-q", "-S", scp.trsh, "-P", str(scp.port))
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "large").write_bytes(os.urandom(2_000_000))
    (source / "a 'b' \u4e2d").write_text("odd")
    scp.run(*words, "-r", source, f"box:{tmp_path}/there")
    scp.run(*words, "-r", f"box:{tmp_path}/there", tmp_path / "back")
    for path in ("deep/large", "a 'b' \u4e2d"):
        assert (tmp_path / "back" / path).read_bytes() == (source / path).read_bytes()
    scp.run(*words, "-3", f"box1:{source}/deep/large", f"box2:{tmp_path}/third")
    assert (tmp_path / "third").read_bytes() == (source / "deep" / "large").read_bytes()


def test_errors(scp: Box, tmp_path: Path) -> None:
    """A file that is not there, and a server that is not, are told."""
    done = scp.run("scp", "-O", "-S", scp.trsh, f"box:{tmp_path}/nothing", tmp_path, status=1)
    assert "No such file" in done.stderr
    done = scp.run("scp", "-O", "-S", scp.trsh, f"closed:{tmp_path}/nothing", tmp_path, status=None)
    assert "trsh: no server of yours is known on port" in done.stderr


def test_interrupted(scp: Box, tmp_path: Path) -> None:
    """Ctrl-C ends the copy on the server."""
    fifo, endless = tmp_path / "fifo", tmp_path / "endless"
    endless.write_text("")
    # What scp runs on the server reads the start-up file of the folder's program.
    words = ("scp", "-O", "-S", scp.trsh, f"box:`echo $$ > {fifo}; exec sleep 600`", tmp_path / "x")
    assert scp.interrupt(fifo, *words) != 0
