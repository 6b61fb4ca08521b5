"""The clocks: a reactor that does not follow the wall clock, and the time that a machine has slept."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import DelayedCall, ReactorBase
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock, LoopingCall
from twisted.python.runtime import seconds as wall_clock_seconds

import twisted_rsh.server
from twisted_rsh.clock import seconds_asleep, seconds_with_sleep, use_steady_clock
from twisted_rsh.server.strangers import MIN_PENALTY_SECONDS, Offence, Penalties

HOUR = 3600.0


class _Time:
    """A clock that a test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["select", "asyncio"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A reactor of its own, beside the one that is installed."""
    loop = asyncio.new_event_loop()
    made: Any = SelectReactor() if request.param == "select" else AsyncioSelectorReactor(loop)
    yield made
    for call in made.getDelayedCalls():
        call.cancel()
    made.removeAll()
    for reader in made._internalReaders:
        reader.connectionLost(None)
    loop.close()


def remaining(call: DelayedCall, clock: Callable[[], float]) -> float:
    """The seconds until a call is due."""
    return call.getTime() - clock()


def run_due(reactor: Any) -> None:
    """Let a reactor make the calls that are due, the late ones of the first round included."""
    reactor.runUntilCurrent()
    reactor.runUntilCurrent()


def test_reactors_follow_the_wall_clock() -> None:
    """It is Twisted's wall clock that is replaced: otherwise nothing would be."""
    assert wall_clock_seconds is time.time
    assert ReactorBase.seconds is wall_clock_seconds


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_of_the_wall_clock(reactor: Any, step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-12: calls are due when their time has passed, whatever the wall clock says."""
    steady = _Time(100.0)
    use_steady_clock(reactor, steady)
    done: list[str] = []
    reactor.callLater(10.0, done.append, "later")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + step)
    steady.now += 9.9
    run_due(reactor)
    assert (done, reactor.seconds()) == ([], 109.9)
    steady.now += 0.2
    run_due(reactor)
    assert done == ["later"]


@pytest.mark.parametrize("origin", [0.0, 10.0**10], ids=["behind the wall clock", "before it"])
def test_calls_that_are_scheduled_keep_their_time(reactor: Any, origin: float) -> None:
    """O-12: what was scheduled before comes in the same order and at the same distance."""
    done: list[int] = []
    calls = {seconds: reactor.callLater(seconds, done.append, seconds) for seconds in (30, 10, 50, 20, 40)}
    reactor.runUntilCurrent()  # they are in the reactor's heap
    calls |= {seconds: reactor.callLater(seconds, done.append, seconds) for seconds in (35, 5)}
    calls[20].cancel()
    calls[10].delay(15.0)
    steady = _Time(origin)
    use_steady_clock(reactor, steady)
    for seconds, call in calls.items():
        if call.active():
            assert remaining(call, steady) == pytest.approx(25 if seconds == 10 else seconds, abs=1.0)
    for _ in range(60):
        steady.now += 1
        run_due(reactor)
    assert done == [5, 10, 30, 35, 40, 50]


def test_a_call_that_is_overdue(reactor: Any) -> None:
    """O-12: a call that was due already is made at once."""
    done: list[str] = []
    call = reactor.callLater(0, done.append, "due")
    call.time -= 5.0
    use_steady_clock(reactor, _Time(0.0))
    run_due(reactor)
    assert done == ["due"]


def test_calls_can_still_be_moved(reactor: Any) -> None:
    """O-12: a call from before can be reset and delayed by the new clock."""
    call = reactor.callLater(50.0, print)
    steady = _Time(7.0)
    use_steady_clock(reactor, steady)
    call.reset(3.0)
    assert remaining(call, steady) == 3.0
    call.delay(4.0)
    assert remaining(call, steady) == 7.0


def test_a_running_reactor(reactor: Any) -> None:
    """O-12: a reactor gets the clock while it runs, and its waits end when they should."""
    begun = time.monotonic()
    reactor.callWhenRunning(use_steady_clock, reactor)
    reactor.callLater(0.05, reactor.callLater, 0.05, reactor.stop)
    giving_up = threading.Timer(20.0, reactor.callFromThread, [reactor.crash])
    giving_up.start()
    reactor.run(installSignalHandlers=False)
    giving_up.cancel()
    giving_up.join()
    assert 0.09 < time.monotonic() - begun < 20


def test_periods(reactor: Any) -> None:
    """O-12: what repeats goes on at its distance."""
    seen: list[float] = []
    steady = _Time(50.0)
    use_steady_clock(reactor, steady)
    looping = LoopingCall(lambda: seen.append(steady.now))
    looping.clock = reactor
    looping.start(2.0)
    for _ in range(6):
        steady.now += 1.0
        run_due(reactor)
    looping.stop()
    assert seen == [50.0, 52.0, 54.0, 56.0]


def test_a_second_call_changes_nothing(reactor: Any) -> None:
    """The reactor keeps the first clock, also from the function's default."""
    steady = _Time(1.0)
    use_steady_clock(reactor, steady)
    use_steady_clock(reactor)
    assert reactor.seconds is steady


def test_a_clock_of_its_own() -> None:
    """A test's clock, which goes by no other clock, is left alone."""
    clock = Clock()
    use_steady_clock(clock)
    clock.advance(3.0)
    assert clock.seconds() == 3.0


def test_the_default_is_monotonic(reactor: Any) -> None:
    """The clock is the system's monotonic one."""
    use_steady_clock(reactor)
    before = time.monotonic()
    assert before <= reactor.seconds() <= before + 60


def test_public() -> None:
    """An application can have the same for its own reactor, on either side."""
    assert twisted_rsh.use_steady_clock is twisted_rsh.server.use_steady_clock is use_steady_clock


def test_penalties(reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-12: a penalty ends when it should, whatever is done to the wall clock meanwhile."""
    steady = _Time(20.0)
    use_steady_clock(reactor, steady)
    penalties = Penalties(reactor)
    penalties.add("192.0.2.1", Offence.PROTOCOL_ERROR)
    for step in (HOUR, -HOUR):
        monkeypatch.setattr("time.time", lambda step=step: 1e9 + step)
        steady.now += MIN_PENALTY_SECONDS - 1
        assert penalties.refuses("192.0.2.1")
    steady.now += 3
    assert not penalties.refuses("192.0.2.1")


# The programs.

PROGRAMS = {
    "the server": "makeService(Options())",
    "the client": "install_reactor(ClientOptions(command=('true',)))",
    "the console": "install_reactor(ClientOptions())",
    "the list of sessions": "manage.main(['sessions'])",
}
"""What each program does with the reactor before anything else."""

CHECK = """
import atexit, os, sys, time
from twisted_rsh.manage import __main__ as manage
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.program import install_reactor
from twisted_rsh.tap import Options, makeService
assert "twisted.internet.reactor" not in sys.modules
os.isatty = lambda fd: True
def check():
    from twisted.internet import reactor
    print(type(reactor).__name__, reactor.seconds is time.monotonic, flush=True)
atexit.register(check)
"""


@pytest.mark.real
@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_use_a_steady_clock(program: str, tmp_path: Path) -> None:
    """O-12: the reactor that a program owns does not follow the wall clock."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK + PROGRAMS[program]],
        env={**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    reactor, is_steady = done.stdout.split()
    assert (reactor == "AsyncioSelectorReactor", is_steady) == (program == "the console", "True")


PACKAGE = Path(twisted_rsh.__file__).parent

MODULES = sorted(PACKAGE.rglob("*.py"))

STEADY = {"CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "clock_gettime", "monotonic"}
"""What the package takes from :mod:`time`: clocks that cannot be set, and no way to block."""

FILE_TIMES = {
    "trust/files.py: time.gmtime",
    "trust/files.py: time.strftime",
    "trust/locks.py: time.sleep",
    "trust/files.py: time.time_ns",
    "files/requests.py: st_mtime",
    "files/requests.py: time.localtime",
    "files/requests.py: time.strftime",
    "files/requests.py: time.time",
    "files/wire.py: st_mtime",
}
"""The exceptions: the system writes the wall clock's time to files.  A file that has just changed is read again, and
SFTP tells a client the times of files.  Lines that programs add to files have a date, for people.  A program that waits
for another one to change a file sleeps; a server does not wait (`lock_seconds`).
"""

CALENDAR = {
    "server/job_line.py: time.time",
    "server/link.py: time.time",
    "server/portal.py: time.time",
    "server/sessions.py: time.time",
    "trust/authorized_keys.py: time.time",
    "trust/cred.py: time.time",
    "trust/server_authorities.py: time.time",
    "watching/audit.py: time.time",
    "watching/entries.py: imports from datetime",
}
"""Others: keys and certificates are valid up to a date, and entries of logs have one."""

START = {
    "server/systemd.py: time.clock_gettime_ns",
}
"""Another: systemd wants nanoseconds of CLOCK_MONOTONIC."""


def test_nothing_reads_the_wall_clock() -> None:
    """O-12: the package has no other time than the reactor's and that of clocks that cannot be set."""
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = path.relative_to(PACKAGE).as_posix()
            match node:
                case ast.ImportFrom(module="time" | "datetime"):
                    found.add(f"{place}: imports from {node.module}")
                case ast.Attribute(value=ast.Name("time"), attr=name) if name not in STEADY:
                    found.add(f"{place}: time.{name}")
                case ast.Attribute(attr="now" | "today" | "utcnow" | "st_mtime" | "st_ctime" as name):
                    found.add(f"{place}: {name}")
    assert found == FILE_TIMES | CALENDAR | START


# Sleep.


@pytest.mark.parametrize("has_boottime", [True, False])
def test_time_with_sleep(monkeypatch: pytest.MonkeyPatch, has_boottime: bool) -> None:
    """O-12: the time with sleep goes on, whatever the wall clock does, and where no clock of its kind is there."""
    if not has_boottime:
        monkeypatch.delattr("time.CLOCK_BOOTTIME", raising=False)
    before = seconds_with_sleep()
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert before <= seconds_with_sleep() <= before + 60


def test_time_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one clock has counted and the other has not is sleep; a machine that is awake has none."""
    before = seconds_asleep()
    assert abs(seconds_asleep() - before) < 4
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    monkeypatch.setattr("time.clock_gettime", lambda _: 130.0)
    awake = seconds_asleep()
    monkeypatch.setattr("time.clock_gettime", lambda _: 3730.0)
    assert seconds_asleep() - awake == HOUR
