"""The attacks run, and what they promise holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment

ROOT = Path(__file__).parent.parent

SECONDS = 60.0
"""Seconds that a quick attack may take; it takes ten on a machine that does nothing else."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree"),
]


def attack(tmp_path: Path, name: str) -> None:
    """Run an attack, and check that its promise held."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.attacks.{name}", "--quick"],
        env=own_environment(tmp_path, TMPDIR=str(tmp_path)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_silent_storm(tmp_path: Path) -> None:
    """R-01: silent connections of another user keep no client out."""
    attack(tmp_path, "silent_storm")


def test_log_storm(tmp_path: Path) -> None:
    """R-15: no kind of stranger writes more lines than the limit allows."""
    attack(tmp_path, "log_storm")
