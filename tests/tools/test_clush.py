"""clush (ClusterShell) over ``trsh``: output of several hosts, input for all of them, errors and Ctrl-C."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.server_process import PATIENCE
from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real

CLUSH = ("clush", "-O", "ssh_path=trsh", "-S")


@pytest.fixture
def clush(box: Box) -> Box:
    """The server, if there is clush."""
    require_tool("clush")
    return box


def test_hosts(clush: Box) -> None:
    """Each host runs the command and reads the input; equal output is gathered; the status is the highest one."""
    done = clush.run(*CLUSH, "-w", "box[1-2]", "-b", "echo $((1+1)); exit 3", status=3)
    assert "box[1-2] (2)" in done.stdout
    words = [*CLUSH, "-w", "box[1-2]", "tr a-z A-Z"]
    done = subprocess.run(
        words, env=clush.environment, input="words\n" * 5000, capture_output=True, text=True, timeout=PATIENCE
    )
    assert sorted(done.stdout.splitlines()) == ["box1: WORDS"] * 5000 + ["box2: WORDS"] * 5000


def test_errors(clush: Box) -> None:
    """A host at which nothing answers has 255, and the others do their work."""
    done = clush.run(*CLUSH, "-w", "box1,closed", "echo in", status=255)
    assert "box1: in" in done.stdout
    assert "closed: trsh: no server of yours is known on port 1" in done.stderr


def test_interrupted(clush: Box, tmp_path: Path) -> None:
    """Ctrl-C kills the client outright, so the server ends the command by its policy; clush says 130."""
    fifo = tmp_path / "fifo"
    assert (
        clush.interrupt(fifo, *CLUSH, "-o", "-oOnDisconnect=kill", "-w", "box1", f"echo $$ > {fifo}; exec sleep 600")
        == 130
    )
