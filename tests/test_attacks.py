"""The attacks run, and what they promise is kept: short forms of what ``python -m bench.attacks.NAME`` does."""

from __future__ import annotations

import re
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


def run(tmp_path: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the short form of an attack, with a home and a folder for temporary files of its own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", f"bench.attacks.{name}", "--quick", *words],
        env=own_environment(tmp_path, TMPDIR=str(temporary)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def attack(tmp_path: Path, name: str, *words: str) -> None:
    """Run the short form of an attack, and check that what it promises is kept, and that it leaves no file."""
    done = run(tmp_path, name, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_clock_steps(tmp_path: Path) -> None:
    """O-12: deadlines of a server and a client end when they should, although the wall clock is set back."""
    require(shutil.which("faketime"), "faketime is not installed")
    attack(tmp_path, "clock_steps")


def test_silent_storm(tmp_path: Path) -> None:
    """R-01: silent connections of another user keep no client out."""
    attack(tmp_path, "silent_storm")


def test_log_storm(tmp_path: Path) -> None:
    """R-15: no kind of stranger writes more lines than the limit allows."""
    attack(tmp_path, "log_storm")


def test_stopping(tmp_path: Path) -> None:
    """O-09: stubborn jobs are gone at once after a second SIGTERM."""
    require(Path("/proc/self/stat").exists(), "only Linux shows what becomes of a job")
    attack(tmp_path, "stopping")


def test_orphans(tmp_path: Path) -> None:
    """X-07: signals, and the death of the guardian and the server, leave nothing of a job."""
    attack(tmp_path, "orphans")


def test_one_cut(tmp_path: Path) -> None:
    """M-16: one cut of all connections loses no session and no byte, with the server's own bounds."""
    require(Path("/proc/self/fd").exists(), "only Linux shows what a process has")
    attack(tmp_path, "one_cut")


def test_job_control(tmp_path: Path) -> None:
    """C-07: a client in the background goes on without keys, and ``timeout`` ends one in a script."""
    require(shutil.which("bash") is not None and shutil.which("timeout") is not None, "bash or timeout is missing")
    attack(tmp_path, "job_control")


def test_stray_events(tmp_path: Path) -> None:
    """No event of a closed descriptor ends a new connection.  Where they are closed at once, the same load does."""
    attack(tmp_path, "stray_events")
    faulty = run(tmp_path, "stray_events", "--close-at-once")
    ended = re.search("^of these ended: ([0-9]+),", faulty.stdout, re.MULTILINE)
    assert ended is not None, faulty.stderr
    assert int(ended[1])
    assert faulty.returncode == 1


def test_many_keys(tmp_path: Path) -> None:
    """A refused login takes no longer with 2,500 keys than with one, and holds up no other client."""
    attack(tmp_path, "many_keys")


def test_held_reactor(tmp_path: Path) -> None:
    """F-08: no input of a logged-in client holds the server for more than 20 ms."""
    attack(tmp_path, "held_reactor", "--only", "empty_lists,escapes,members,arguments,small_frames,opens,signals")


def test_killed_clients(tmp_path: Path) -> None:
    """Sessions that have ended take no memory, whatever their clients left unread."""
    attack(tmp_path, "killed_clients")


def test_parts(tmp_path: Path) -> None:
    """Messages that never end are bounded for all sessions together, and end with their sessions."""
    attack(tmp_path, "parts")
