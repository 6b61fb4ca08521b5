"""The attacks on a real server, each for a moment: its promises are kept."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment

ROOT = Path(__file__).parent.parent

SECONDS = 120.0
"""Seconds that an attack may take; it takes ten on a machine that does nothing else."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree"),
]


def attack(tmp_path: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run an attack, with a home and a folder for temporary files of its own."""
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


def test_stray_events(tmp_path: Path) -> None:
    """No event of a closed descriptor ends a new connection.  Where they are closed at once, the same load does."""
    done = attack(tmp_path, "stray_events")
    assert done.returncode == 0, done.stdout + done.stderr
    faulty = attack(tmp_path, "stray_events", "--close-at-once")
    ended = re.search("^of these ended: ([0-9]+),", faulty.stdout, re.MULTILINE)
    assert ended is not None, faulty.stderr
    assert int(ended[1])
    assert faulty.returncode == 1


def test_many_keys(tmp_path: Path) -> None:
    """A refused login takes no longer with 2,500 keys than with one, and holds up no other client."""
    done = attack(tmp_path, "many_keys")
    assert done.returncode == 0, done.stdout + done.stderr
