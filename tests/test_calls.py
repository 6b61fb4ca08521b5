"""The calls that one operation takes are bounded, so that no change makes the way of a command longer unnoticed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree")

BOUNDS = {"W1": 1240, "W1s": 895, "W2": 1175, "W4": 300, "W7": 4570, "W8": 440}
"""Calls of the server and the client together: what was counted when the bound was set, and a tenth more, since the
reads of a stream are not always equally large, and a slow server answers some commands before they have ended.  Lower
it when a change needs fewer."""

ATTEMPTS = 3
"""Counts of a work, of which the least one counts: what else the machine does can only add calls."""


def test_calls_of_one_operation(tmp_path: Path) -> None:
    """A command, a built-in, 64 KiB of output, a login and a keystroke take no more calls than before."""
    least: dict[str, float] = dict.fromkeys(BOUNDS, math.inf)
    for _ in range(ATTEMPTS):
        for name, calls in count(tmp_path, [name for name in BOUNDS if least[name] > BOUNDS[name]]).items():
            least[name] = min(least[name], calls)
        if all(least[name] <= bound for name, bound in BOUNDS.items()):
            break
    assert {name: calls for name, calls in least.items() if calls > BOUNDS[name]} == {}
    assert min(least.values()) > 50  # it has counted


def count(folder: Path, works: list[str]) -> dict[str, int]:
    """Return the calls that one operation of each work takes at both ends."""
    path = folder / "calls.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.calls", "--json", str(path), "--works", ",".join(works)],
        env=own_environment(folder),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(path.read_text())["figures"]
    assert figures.keys() == set(works)
    return {name: round(figure["server"] + figure["client"]) for name, figure in figures.items()}
