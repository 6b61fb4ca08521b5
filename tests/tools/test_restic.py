"""restic over ``trsh -s host sftp``: a backup is made, checked and restored, and errors are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

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
