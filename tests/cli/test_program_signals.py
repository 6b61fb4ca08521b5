"""The signals that the program passes on to the command, and those that it was started to ignore."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import cast

import pytest
from twisted.internet.defer import Deferred

from tests.serving import asynchronous, reactor
from twisted_rsh.cli.program import FORWARDED, ForwardedSignals, Program

pytestmark = pytest.mark.real


def number_of(name: str) -> int:
    """Return the number of a signal."""
    return signal.Signals[f"SIG{name}"]


class Recorder:
    """Stands in for the program, which would run a reactor of its own.

    :ivar names: the signals that arrived.
    :ivar arrived: fires at the first of them.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.arrived: Deferred[None] = Deferred()

    def signal_arrived(self, name: str) -> None:
        """See :class:`Program`."""
        self.names.append(name)
        self.arrived.callback(None)


def forwarding_to(recorder: Recorder) -> ForwardedSignals:
    """Forward the signals to a recorder."""
    return ForwardedSignals(reactor, cast("Program", recorder))


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Give the test's own process its signals back."""
    before = {number_of(name): signal.getsignal(number_of(name)) for name in FORWARDED}
    yield
    for number, action in before.items():
        signal.signal(number, action)


@pytest.mark.parametrize("name", FORWARDED)
@asynchronous
async def test_signal_is_told_from_the_reactor(name: str) -> None:
    """C-10: a signal wakes the reactor, which tells the program its name, once; afterwards all is as it was."""
    before = signal.getsignal(number_of(name))
    recorder = Recorder()
    with forwarding_to(recorder):
        os.kill(os.getpid(), number_of(name))
        assert recorder.names == []
        await recorder.arrived
    assert recorder.names == [name]
    assert signal.getsignal(number_of(name)) is before


def test_ignored_signal_stays_ignored() -> None:
    """A program that was started with a signal ignored, as ``nohup`` does it, ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    recorder = Recorder()
    with forwarding_to(recorder):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert recorder.names == []


def test_signals_are_given_back_after_an_error() -> None:
    """An error inside does not keep them."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), forwarding_to(Recorder()):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before
