"""The calls that one operation takes are bounded, so that no change makes the way of a command longer unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree")

BOUNDS = {"W1": 2200, "W1s": 1810, "W2": 2100, "W4": 395, "W7": 4575, "W8": 515}
"""Calls of the server and the client together: the most that was counted when the bound was set, on a busy machine, and
a twentieth more, since the reads of a stream are not always equally large.  Lower it when a change needs fewer."""


def test_calls_of_one_operation(tmp_path: Path) -> None:
    """A command, a built-in, 64 KiB of output, a login and a keystroke take no more calls than before."""
    path = tmp_path / "calls.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.calls", "--json", str(path)],
        env=own_environment(tmp_path),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())["figures"]
    both = {name: round(figure["server"] + figure["client"]) for name, figure in figures.items()}
    assert both.keys() == BOUNDS.keys()
    assert {name: calls for name, calls in both.items() if calls > BOUNDS[name]} == {}
    assert min(both.values()) > 50  # it has counted
