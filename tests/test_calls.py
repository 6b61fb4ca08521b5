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

BOUNDS = {"W1": 1640, "W1s": 1180, "W2": 1560, "W4": 380, "W8": 475}
"""Calls of the server and the client together: what was counted when the bound was set, and a twentieth more, since the
reads of a stream are not always equally large.  In W1s a fifth more: on a slow machine the server answers some commands
before they have ended, and either side gives up its turn.  Lower it when a change needs fewer."""


def test_calls_of_one_operation(tmp_path: Path) -> None:
    """A command, a built-in, 64 KiB of output and a keystroke take no more calls than before."""
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
