"""The attacks run, and the server keeps what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment

ROOT = Path(__file__).parent.parent

SECONDS = 120.0
"""Seconds that a run may take; with ``--quick`` it takes ten on a machine that does nothing else."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree"),
]


def attack(tmp_path: Path, name: str) -> None:
    """Run an attack with ``--quick``, with a home and a folder for temporary files of its own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", f"bench.attacks.{name}", "--quick"],
        env=own_environment(tmp_path, TMPDIR=str(temporary)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_orphans(tmp_path: Path) -> None:
    """X-07: signals, and the death of the guardian and the server, leave nothing of a job."""
    attack(tmp_path, "orphans")
