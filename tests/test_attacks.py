"""The attacks of ``bench/attacks`` run, and what they promise is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment

SECONDS = 120.0
"""Seconds that an attack may take with ``--quick``, on a machine that does a lot else."""

ROOT = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree"),
]


def attack(tmp_path: Path, module: str, *words: str) -> str:
    """Run an attack, with a home and a folder for temporary files of its own; return what it printed."""
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", f"bench.attacks.{module}", "--quick", *words],
        env=own_environment(tmp_path, TMPDIR=str(temporary)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_held_reactor(tmp_path: Path) -> None:
    """No input of a logged-in client holds the server for more than 20 ms."""
    assert "empty_lists: held " in attack(tmp_path, "held_reactor", "--only", "empty_lists,escapes,small_frames,opens")


def test_killed_clients(tmp_path: Path) -> None:
    """Sessions that have ended take no memory, whatever their clients left unread."""
    assert "40 killed clients: " in attack(tmp_path, "killed_clients")


def test_parts(tmp_path: Path) -> None:
    """Messages that never end are bounded for all sessions together, and end with their sessions."""
    assert "sessions with unfinished messages: " in attack(tmp_path, "parts")
