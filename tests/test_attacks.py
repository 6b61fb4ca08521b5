"""The attacks run, and every promise that they look at is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment, require

ROOT = Path(__file__).parent.parent

SECONDS = 120.0
"""Seconds that a quick run may take; it takes at most ten on a machine that does nothing else."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree"),
]


def attack(tmp_path: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Run an attack, quickly, with a home and a folder for temporary files of its own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return subprocess.run(
        [sys.executable, "-m", f"bench.attacks.{name}", "--quick"],
        env=own_environment(tmp_path, TMPDIR=str(temporary)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_stopping(tmp_path: Path) -> None:
    """O-09: stubborn jobs are gone at once after a second SIGTERM."""
    require(Path("/proc/self/stat").exists(), "only Linux shows what becomes of a job")
    done = attack(tmp_path, "stopping")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "until all jobs are gone" in done.stdout
