"""restic over ``trsh -s host sftp``: a backup is made, checked and restored; errors are told; and Ctrl-C."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box, running_box

pytestmark = pytest.mark.real


def test_backup(file_box: Box, tmp_path: Path) -> None:
    """What was backed up comes back; a repository that is not there is told."""
    require_tool("restic")
    data = tmp_path / "data"
    data.mkdir()
    for number in range(20):
        (data / f"file {number}").write_bytes(os.urandom(100_000))
    settings = {"RESTIC_PASSWORD": "secret", "RESTIC_CACHE_DIR": str(tmp_path / "cache")}
    words = ("restic", "-q", "-o", f"sftp.command={file_box.trsh} -s box sftp", "-r", f"sftp:box:{tmp_path}/repository")
    done = file_box.run(*words, "snapshots", env=settings, status=None)
    assert "does not exist" in done.stderr or "unable to open config file" in done.stderr
    file_box.run(*words, "init", env=settings)
    file_box.run(*words, "backup", "data", env=settings, cwd=tmp_path)
    file_box.run(*words, "check", "--read-data", env=settings)
    file_box.run(*words, "restore", "latest", "--target", tmp_path / "back", env=settings)
    for path in data.iterdir():
        assert (tmp_path / "back" / "data" / path.name).read_bytes() == path.read_bytes()


def test_errors(file_box: Box, tmp_path: Path) -> None:
    """A server that does not answer is restic's error, with our line beside it."""
    require_tool("restic")
    words = (
        "restic",
        "-o",
        "sftp.command=trsh -s closed sftp",
        "-r",
        f"sftp:closed:{tmp_path}/repository",
        "snapshots",
    )
    done = file_box.run(*words, env={"RESTIC_PASSWORD": "secret"}, status=1)
    assert "trsh: no server of yours is known on port 1" in done.stderr


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends the server of files."""
    require_tool("restic")
    fifo, server, folder = tmp_path / "fifo", tmp_path / "server", tmp_path / "box"
    server.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec cat > /dev/null\n")
    server.chmod(0o755)
    folder.mkdir(mode=0o700)
    with running_box(folder, "--sftp", str(server)) as box:
        words = ("restic", "-o", "sftp.command=trsh -s box sftp", "-r", f"sftp:box:{tmp_path}/repository", "snapshots")
        assert box.interrupt(fifo, *words, env={"RESTIC_PASSWORD": "secret"}) != 0
