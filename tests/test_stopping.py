"""A signal ends a run of the tests with one line; a fixture that skips breaks no other test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[1]

WAITING = """
from twisted.internet.defer import Deferred
from tests.conftest import async_fixture
from tests.serving import asynchronous

@async_fixture
async def torn_down():
    yield
    print("torn down", flush=True)

@asynchronous
async def test_waiting(torn_down):
    print("waiting", flush=True)
    await Deferred()

def test_next():
    raise AssertionError("the run went on")
"""
"""Tests of which the first never ends."""

SKIPPING = """
import pytest
from tests.conftest import async_fixture
from tests.serving import asynchronous

@pytest.fixture(params=["there", "absent", "there as well"])
def tool(request):
    return request.param

@async_fixture
async def user(tool):
    if tool == "absent":
        pytest.skip("absent is not installed")
    yield tool

@asynchronous
async def test_one(user):
    pass

@asynchronous
async def test_two(user):
    pass
"""
"""Tests that share an asynchronous fixture which skips for one of its parameters."""


def start(tmp_path: Path, tests: str) -> subprocess.Popen[str]:
    """Run tests in a process of their own, with this suite's plugins."""
    path = tmp_path / "test_generated.py"
    path.write_text(tests)
    words = ("-p", "tests.conftest", "-p", "no:cacheprovider", "-n0", "-s", "-c", str(ROOT / "pyproject.toml"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *words, str(path)],
        cwd=ROOT,
        env={name: value for name, value in kept.items() if name != "CI"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run(tmp_path: Path, number: signal.Signals) -> None:
    """The test that runs is left, its fixtures are torn down, no further test runs, and one line says why."""
    process = start(tmp_path, WAITING)
    assert process.stdout is not None
    before = ""
    while "waiting" not in before:
        line = process.stdout.readline()
        assert line, before
        before += line
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "torn down" in output
    assert output.count(f"{number.name} ended the run") == 1
    assert "Traceback" not in output
    assert "the run went on" not in output


def test_a_fixture_that_skips(tmp_path: Path) -> None:
    """The tests of its other parameters pass, and one line says what is missing."""
    process = start(tmp_path, SKIPPING)
    output, _ = process.communicate(timeout=60)
    assert "4 passed, 2 skipped" in output
    assert "left out: 2 that need absent " in output
