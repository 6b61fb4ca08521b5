"""SIGTERM and SIGINT at a stand-alone server."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from zope.interface import implementer

from twisted_rsh.server.stop_signals import STOPPING, IStopListener, StopSignals


@implementer(IStopListener)
class Program:
    """A program with the reactor's own handlers, which notes what happens."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.signals = StopSignals(self)

    def stop(self, number: int, _: object) -> None:
        """Stop, as the reactor's handler does."""
        self.seen.append(signal.Signals(number).name)

    def end_at_once(self) -> None:
        """End."""
        self.seen.append("ended")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """A program that has installed no handler yet; the test's own are put back behind it.

    The signal that would end the process is noted instead.
    """
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in STOPPING}
    program = Program()
    real_kill = os.kill

    def kill(pid: int, number: int) -> None:
        if signal.getsignal(number) == signal.SIG_DFL:
            program.seen.append(f"killed by {signal.Signals(number).name}")
        else:
            real_kill(pid, number)

    monkeypatch.setattr(os, "kill", kill)
    yield program
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def program(bare: Program) -> Program:
    """A program whose reactor runs."""
    for number in STOPPING:
        signal.signal(number, bare.stop)
    bare.signals.install()
    return bare


def start(program: Program) -> None:
    """Begin the start of a program: its reactor does not run yet, and has installed no handler."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program.signals.hold()


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_before_the_reactor_runs(bare: Program, number: int) -> None:
    """O-09: it waits until the reactor runs, and then stops it; a second one ends the program."""
    start(bare)
    os.kill(os.getpid(), number)
    assert bare.seen == []
    signal.signal(signal.SIGTERM, bare.stop)  # as Twisted does, which takes SIGINT only from Python itself
    bare.signals.install()
    assert bare.seen == [signal.Signals(number).name]
    os.kill(os.getpid(), signal.SIGINT)
    assert bare.seen[1:] == ["ended", "killed by SIGINT"]


@pytest.mark.parametrize(("first", "second"), list(itertools.product(STOPPING, repeat=2)))
def test_two_signals_before_the_reactor_runs(bare: Program, first: int, second: int) -> None:
    """O-09: the second ends a program that hangs in its start."""
    start(bare)
    for number in (first, second):
        os.kill(os.getpid(), number)
    assert bare.seen == ["ended", f"killed by {signal.Signals(second).name}"]


@pytest.mark.parametrize("number", STOPPING)
def test_a_start_without_a_signal(bare: Program, number: int) -> None:
    """Nothing is held, and both signals stop the reactor."""
    start(bare)
    signal.signal(signal.SIGTERM, bare.stop)
    bare.signals.install()
    assert bare.seen == []
    os.kill(os.getpid(), number)
    assert bare.seen == [signal.Signals(number).name]


@pytest.mark.parametrize(("first", "second"), list(itertools.product(STOPPING, repeat=2)))
def test_two_signals(program: Program, first: int, second: int) -> None:
    """O-09: the first signal goes to the reactor, and a second of either kind ends the program."""
    os.kill(os.getpid(), first)
    assert program.seen == [signal.Signals(first).name]
    program.signals.stopping()
    os.kill(os.getpid(), second)
    assert program.seen[1:] == ["ended", f"killed by {signal.Signals(second).name}"]
    assert {signal.getsignal(number) for number in STOPPING} == {signal.SIG_DFL}


def test_two_signals_before_the_stop(program: Program) -> None:
    """O-09: the second signal may come before the reactor has acted on the first."""
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    assert program.seen == ["SIGTERM", "ended", "killed by SIGTERM"]


def test_a_stop_for_another_reason(program: Program) -> None:
    """O-09: the first signal to a program that stops already changes nothing, and the second ends it."""
    program.signals.stopping()
    os.kill(os.getpid(), signal.SIGTERM)
    assert program.seen == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert program.seen == ["ended", "killed by SIGTERM"]


def test_restore(program: Program) -> None:
    """O-09: afterwards the reactor has its handlers again; a program that never took them loses none."""
    program.signals.restore()
    assert {signal.getsignal(number) for number in STOPPING} == {program.stop}
    program.signals.restore()
    assert {signal.getsignal(number) for number in STOPPING} == {program.stop}


def test_a_signal_that_is_ignored(program: Program) -> None:
    """O-09: in the background of a shell, SIGINT is ignored, and stays so."""
    program.signals.restore()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program.signals.install()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGTERM)
    assert program.seen == ["SIGTERM"]
