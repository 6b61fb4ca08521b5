"""M-23: soak mode cuts what it says it cuts, counts it, and cannot pass without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint

from tests.serving import Serving, asynchronous, reactor
from tests.soak_mode import LOGIN_RECORDS, MAX_RECORDS, CutLinks, Cutting
from twisted_rsh import connect
from twisted_rsh.testing import FaultProxy, Faults, InTurn, TLSRecords

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[1]


class Counted(TLSRecords):
    """Counts the records of all connections."""

    count = 0

    def ends(self, data: bytes) -> list[int]:
        """See :class:`twisted_rsh.testing.faults.Boundaries`."""
        found = super().ends(data)
        type(self).count += len(found)
        return found


def soak(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run tests by themselves."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n0", *words],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.uncut("counts the records of a connection that nobody cuts")
@asynchronous
async def test_a_login_has_so_many_records(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-23: what is spared is the login, and hardly more."""
    monkeypatch.setattr(Counted, "count", 0)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", serving.port)
    # Only who may be cut is counted.
    proxy = FaultProxy(reactor, endpoint, InTurn((), Faults(records=Counted, cut_after_records=1000)))
    await proxy.start()
    connection = await connect(
        reactor, "127.0.0.1", proxy.port, config=serving.config, fingerprint=serving.service.fingerprint
    )
    assert LOGIN_RECORDS - 2 <= Counted.count <= LOGIN_RECORDS
    await connection.close()
    await proxy.stop()


def test_plans() -> None:
    """M-23: every number of records is drawn, none besides, small ones often, and always the same ones."""
    plans = [CutLinks("1/test").plan(index) for index in range(5000)]
    counts = [(plan.cut_after_records or 0) - LOGIN_RECORDS for plan in plans]
    assert set(counts) == set(range(1, MAX_RECORDS + 1))
    assert sorted(counts)[len(counts) // 2] < 10
    assert plans == [CutLinks("1/test").plan(index) for index in range(5000)]
    assert plans != [CutLinks("2/test").plan(index) for index in range(5000)]
    assert len({(plan.server_end, plan.client_end) for plan in plans}) == 4


@pytest.mark.parametrize(("servers", "cuts", "is_enough"), [(0, 0, False), (0, 1, True), (7, 6, False), (7, 7, True)])
def test_enough(servers: int, cuts: int, is_enough: bool) -> None:
    """M-23: it takes a cut for each server on average, and one in any case."""
    run = Cutting(1)
    for number in range(servers):
        run.count(10, cuts if number == 0 else 0)
    if not servers:
        run.cuts = cuts
    assert run.is_enough == is_enough
    assert f"{cuts} of {10 * servers} connections to {servers} servers were cut" in str(run)


def test_tests_that_are_cut() -> None:
    """M-23: the seed is shown, links are cut, and tests about the link are left out."""
    names = ("test_stdin_is_sent_and_ended", "test_connection_lost_under_a_command")
    done = soak("--cut-links=5", *(f"tests/client/test_connection.py::{name}" for name in names))
    assert "soak mode: --cut-links 5\n" in done.stdout
    assert "1 passed, 1 deselected" in done.stdout, done.stdout
    assert "connections to 1 servers were cut (--cut-links 5)" in done.stdout


def test_nothing_that_could_be_cut() -> None:
    """M-23: tests pass, and the run fails all the same, because it has shown nothing."""
    done = soak("--cut-links=random", "tests/test_layers.py")
    assert "0 of 0 connections to 0 servers were cut" in done.stdout
    assert "have shown nothing" in done.stdout
    assert " passed" in done.stdout
    assert " failed" not in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


def test_failure_shows_the_seed(tmp_path: Path) -> None:
    """M-23: a failed test shows what its cuts were drawn from."""
    case = tmp_path / "test_it.py"
    case.write_text("def test_it():\n    assert not 'this'\n")
    done = soak("--cut-links=77", "--rootdir", str(ROOT), "-p", "tests.conftest", str(case))
    assert "soak mode" in done.stdout
    assert done.stdout.count("--cut-links 77") >= 3, done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("mark", ["uncut", "uncut()", "uncut('')", "uncut('why', 'else')"])
def test_reason_is_needed(tmp_path: Path, mark: str) -> None:
    """M-23: a test is left out with a reason or not at all; that is checked in every run."""
    case = tmp_path / "test_it.py"
    case.write_text(f"import pytest\n@pytest.mark.{mark}\ndef test_it():\n    pass\n")
    done = soak("--rootdir", str(ROOT), "-p", "tests.conftest", str(case))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "takes the reason, and nothing else" in done.stderr


def test_bad_seed() -> None:
    """M-23: a seed that is no number is refused in one line."""
    done = soak("--cut-links=often", "tests/test_layers.py")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--cut-links takes a whole number or 'random', not 'often'" in done.stderr


def test_proxy_ends_with_its_input() -> None:
    """M-23: a proxy whose tests were killed ends by itself, and says what it did."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cutting_proxy", "1", "seed", ""],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    port, counts = done.stdout.splitlines()
    assert int(port) > 0
    assert counts == "0 0"
