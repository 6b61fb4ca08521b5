"""rsync over ``trsh``: trees of odd names both ways, its own remote program, its daemon, errors and Ctrl-C."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real

NAMES = 4000
"""Files of the tree."""


@pytest.fixture
def rsync(box: Box) -> Box:
    """The server, with an environment in which rsync calls ``trsh``."""
    require_tool("rsync")
    box.environment |= {"RSYNC_RSH": "trsh"}
    return box


def contents(folder: Path) -> dict[bytes, bytes]:
    """Read all files of a tree."""
    top = os.fsencode(folder)
    found = {}
    for path, _folders, files in os.walk(top):
        for name in files:
            full = os.path.join(path, name)
            with open(full, "rb") as file:
                found[os.path.relpath(full, top)] = file.read()
    return found


def test_tree_of_odd_names(rsync: Box, tmp_path: Path) -> None:
    """A tree of names with spaces, quotes, line ends and bytes that are no text arrives whole, and comes back."""
    source = tmp_path / "so ur'ce"
    source.mkdir()
    for number in range(NAMES):
        folder = os.fsencode(source) + b"/d %d\xff" % (number % 40)
        os.makedirs(folder, exist_ok=True)
        with open(folder + b"/-n;$(x) \"'\n\xfe%d" % number, "wb") as file:
            file.write(b"%d" % number * (number % 50))
    rsync.run("rsync", "-a", f"{source}/", f"box:{tmp_path}/there/")
    assert contents(tmp_path / "there") == contents(source)
    assert len(contents(source)) == NAMES
    rsync.run("rsync", "-a", "--rsync-path", f"cd {tmp_path} && rsync", "box:there/", f"{tmp_path}/back/")
    assert contents(tmp_path / "back") == contents(source)
    done = rsync.run("rsync", "-ai", "--checksum", f"{source}/", f"box:{tmp_path}/there/")
    assert done.stdout == ""


def test_daemon(rsync: Box, tmp_path: Path) -> None:
    """A module of a daemon that runs for one connection gives its files."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("x")
    config = tmp_path / "rsyncd.conf"
    config.write_text(f"[data]\npath = {tmp_path}/data\nuse chroot = no\n")
    rsync.run(
        "rsync", "-a", "-e", "trsh", "--rsync-path", f"rsync --config={config}", "box::data/", f"{tmp_path}/copy/"
    )
    assert (tmp_path / "copy" / "file").read_text() == "x"


def test_errors(rsync: Box, tmp_path: Path) -> None:
    """A missing file is rsync's own error; of a missing program and a missing server rsync says what it was told."""
    rsync.run("rsync", "-a", f"box:{tmp_path}/nothing", tmp_path, status=23)
    done = rsync.run("rsync", "-a", "--rsync-path", "no-such-rsync", f"box:{tmp_path}", tmp_path, status=None)
    assert "no-such-rsync: not found" in done.stderr
    done = rsync.run("rsync", "-a", f"closed:{tmp_path}", tmp_path, status=None)
    assert "trsh: no server of yours is known on port 1" in done.stderr


def test_interrupted(rsync: Box, tmp_path: Path) -> None:
    """Ctrl-C ends both sides."""
    fifo, program = tmp_path / "fifo", tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec sleep 600\n")
    program.chmod(0o755)
    status = rsync.interrupt(fifo, "rsync", "-a", "--rsync-path", str(program), str(program), f"box:{tmp_path}/x")
    assert status in {20, 130}  # it has received SIGINT, or has first seen the end of trsh, which has received it too
