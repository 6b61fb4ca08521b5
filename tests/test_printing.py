"""What the programs print where stdout takes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import assert_one_line, own_environment

PROGRAMS = [
    ("twisted_rsh.manage", "status"),
    ("twisted_rsh.manage", "status", "--json"),
    ("twisted_rsh.manage", "status", "--watch"),
    ("twisted_rsh.trshctl", "key"),
    ("twisted_rsh.trshctl", "--help"),
    ("twisted_rsh.ansible",),
    ("twisted_rsh.ansible", "--config"),
]


def run(folder: Path, words: tuple[str, ...], stdout: int) -> subprocess.CompletedProcess[bytes]:
    """Run a program that prints something."""
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=own_environment(folder), timeout=60)


@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
def test_full_disk(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A text that cannot be written is a failure, and one line says so."""
    with open("/dev/full", "wb") as full:
        done = run(tmp_path, words, full.fileno())
    assert done.returncode == 1
    assert_one_line(done.stderr, ": cannot write stdout: No space left on device")


@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
def test_no_reader(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A text that no process reads is lost, and that is no failure."""
    ours, theirs = os.pipe()
    os.close(ours)
    done = run(tmp_path, words, theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
def test_closed(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A text for a closed stdout is lost, and that is no failure."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", *words]
    done = subprocess.run(command, stderr=subprocess.PIPE, env=own_environment(tmp_path), timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
