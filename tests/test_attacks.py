"""The attacks run, and what they promise is kept: short forms of what ``python -m bench.attacks.NAME`` does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment, require

ROOT = Path(__file__).parent.parent

SECONDS = 120.0
"""Seconds that a short form may take; it takes ten at most on a machine that does nothing else."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree"),
]


def attack(tmp_path: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the short form of an attack, with a home and a folder for temporary files of its own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", f"bench.attacks.{module}", "--quick", *words],
        env=own_environment(tmp_path, TMPDIR=str(temporary)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_clock_steps(tmp_path: Path) -> None:
    """O-12: deadlines of a server and a client end when they should, although the wall clock is set back."""
    require(shutil.which("faketime"), "faketime is not installed")
    done = attack(tmp_path, "clock_steps")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
