"""Mercurial over ``trsh``: clone, push, pull, errors and Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real


@pytest.fixture
def hg(box: Box) -> Box:
    """The server, with an environment in which hg knows its user."""
    require_tool("hg")
    box.environment |= {"HGUSER": "a", "HGPLAIN": "1"}
    return box


SSH = ("--config", "ui.ssh=trsh")


def test_clone_and_push(hg: Box, tmp_path: Path) -> None:
    """A clone has the files, and what is pushed arrives; the port may stand in the address."""
    origin, work = tmp_path / "origin", tmp_path / "work"
    hg.run("hg", "init", origin)
    (origin / "file").write_bytes(bytes(range(256)) * 4000)
    hg.run("hg", "commit", "-Am", "first", cwd=origin)
    hg.run("hg", *SSH, "clone", f"ssh://box:{hg.port}/{origin}", work)
    assert (work / "file").read_bytes() == (origin / "file").read_bytes()
    (work / "file").write_text("second")
    hg.run("hg", "commit", "-m", "second", cwd=work)
    hg.run("hg", *SSH, "push", cwd=work)
    assert hg.run("hg", "log", "-T", "{desc} ", cwd=origin).stdout == "second first "
    hg.run("hg", "verify", cwd=origin)


def test_errors(hg: Box, tmp_path: Path) -> None:
    """A repository that is not there, and a server that is not, are told with what the other side said."""
    done = hg.run("hg", *SSH, "clone", f"ssh://box/{tmp_path}/nothing", tmp_path / "x", status=255)
    assert "nothing not found" in done.stdout + done.stderr
    done = hg.run("hg", *SSH, "clone", f"ssh://closed/{tmp_path}/nothing", tmp_path / "x", status=255)
    assert "trsh: no server of yours is known on port 1" in done.stdout + done.stderr


def test_interrupted(hg: Box, tmp_path: Path) -> None:
    """Ctrl-C ends the command on the server."""
    fifo, program = tmp_path / "fifo", tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec sleep 600\n")
    program.chmod(0o755)
    words = ("hg", *SSH, "--config", f"ui.remotecmd={program}", "clone", "ssh://box//r", tmp_path / "x")
    assert hg.interrupt(fifo, *words) != 0
