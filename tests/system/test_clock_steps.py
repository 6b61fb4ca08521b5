"""The wall clock is wrong, or is set while something waits: libfaketime gives it to a real server and a real client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.running import own_environment, require, running_server

ROOT = Path(__file__).parent.parent.parent

SECONDS = 180.0
"""Seconds that the attack may take; it takes 20 on a machine that does nothing else."""

DEADLINES = {
    "a job's time-out",
    "the grace of a job without a client",
    "a client's silence",
    "a silent connection's login",
    "a client's search for its server",
    "the kill ladder",
    "a source's penalty",
}

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def faketime() -> None:
    """Skip the test where the system's clock cannot be faked."""
    require(shutil.which("faketime"), "faketime is not installed")


@pytest.mark.uncut("the attack starts servers of its own, and cuts the links that it wants to cut")
@pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree")
def test_every_deadline(tmp_path: Path) -> None:
    """O-12: each deadline ends when it should, although the clock is set forward or back by an hour meanwhile.

    They are a job's time-out, the grace of a job whose client was killed, the silence of a client, the login of a
    silent connection, a client's search for its server, the kill ladder, and a source's penalty.
    """
    path = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench.attacks.clock_steps", "--json", str(path)],
        env=own_environment(tmp_path, TMPDIR=str(tmp_path)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    require("not seen" not in done.stdout, "only root can be another user, who is a source of penalties")
    figures = json.loads(path.read_text())
    assert {(figure["name"], figure["step"]) for figure in figures} == {
        (name, step) for name in DEADLINES for step in ("forward", "back")
    }


@pytest.mark.parametrize("date", ["1971-01-01 00:00:00", "2150-01-01 00:00:00"])
def test_a_clock_that_is_decades_wrong(tmp_path: Path, date: str) -> None:
    """O-12: a client whose clock was never set logs in: no certificate, key or record has a date that counts."""
    with running_server(tmp_path) as server:
        trsh, *words = server.client("echo", "here")
        environment = {**server.environment, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        done = subprocess.run(
            ["faketime", "-m", date, trsh, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n", b"")
