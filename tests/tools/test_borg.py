"""borg over ``trsh``: a backup is made, checked and restored; errors; and Ctrl-C, which the client must not obey."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real


@pytest.fixture
def borg(box: Box, tmp_path: Path) -> Box:
    """The server, with an environment in which borg calls ``trsh``."""
    require_tool("borg")
    box.environment |= {
        "BORG_BASE_DIR": str(tmp_path / "borg"),
        "BORG_RSH": "trsh -oBatchMode=yes",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    return box


def test_backup(borg: Box, tmp_path: Path) -> None:
    """What was backed up comes back."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(os.urandom(3_000_000))
    repository = f"ssh://box:{borg.port}{tmp_path}/repository"
    borg.run("borg", "init", "-e", "none", repository)
    borg.run("borg", "create", f"{repository}::one", "data", cwd=tmp_path)
    (tmp_path / "back").mkdir()
    borg.run("borg", "extract", f"{repository}::one", cwd=tmp_path / "back")
    assert (tmp_path / "back" / "data" / "file").read_bytes() == (tmp_path / "data" / "file").read_bytes()


def test_errors(borg: Box, tmp_path: Path) -> None:
    """A repository that is not there, and a server that is not, are borg's own error 2, with our line beside it."""
    done = borg.run("borg", "list", f"ssh://box{tmp_path}/nothing", status=2)
    assert "does not exist" in done.stderr
    done = borg.run("borg", "list", f"ssh://closed{tmp_path}/nothing", status=2)
    assert "trsh: no server of yours is known on port 1" in done.stderr


def test_interrupted(borg: Box, tmp_path: Path) -> None:
    """Ctrl-C is borg's alone, which starts its client with SIGINT ignored and waits for a second; TERM ends all."""
    fifo, program = tmp_path / "fifo", tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec cat > /dev/null\n")
    program.chmod(0o755)
    words = ("borg", "list", "--remote-path", str(program), f"ssh://box{tmp_path}/repository")
    assert borg.interrupt(fifo, *words, signals=(signal.SIGINT, signal.SIGTERM)) != 0
