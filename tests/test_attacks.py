"""The attacks run, and what they promise holds: each in its quick form, on a real server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment, require

ROOT = Path(__file__).parent.parent

SECONDS = 120.0
"""Seconds that a run may take; it takes ten on a machine that does nothing else."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree"),
]


def attack(tmp_path: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run an attack in its quick form, with a home and a folder for temporary files of its own."""
    require(Path("/proc/self/fd").exists(), "only Linux shows what a process has")
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", f"bench.attacks.{name}", "--quick"],
        env=own_environment(tmp_path, TMPDIR=str(temporary)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_job_control(tmp_path: Path) -> None:
    """C-07: a client in the background goes on without keys, and ``timeout`` ends one in a script."""
    require(shutil.which("bash") is not None and shutil.which("timeout") is not None, "bash or timeout is missing")
    done = attack(tmp_path, "job_control")
    assert done.returncode == 0, done.stdout + done.stderr
