"""Signals that a client passes on, and those that it was told to ignore."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from tests.serving import asynchronous, reactor
from twisted_rsh.cli.signals import FORWARDED, ForwardedSignals, number_of


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The test's own process gets its signals back."""
    before = {number_of(name): signal.getsignal(number_of(name)) for name in FORWARDED}
    yield
    for number, action in before.items():
        signal.signal(number, action)


@pytest.mark.parametrize("name", FORWARDED)
@asynchronous
async def test_signal_is_told_from_the_reactor(name: str) -> None:
    """C-10: a signal wakes the reactor and is told by its name, once; afterwards all is as it was."""
    before = signal.getsignal(number_of(name))
    told: list[str] = []
    arrived: Deferred[None] = Deferred()

    def tell(name: str) -> None:
        told.append(name)
        arrived.callback(None)

    with ForwardedSignals(reactor, tell):
        os.kill(os.getpid(), number_of(name))
        assert told == []
        await arrived
    assert told == [name]
    assert signal.getsignal(number_of(name)) is before


def test_ignored_signal_stays_ignored() -> None:
    """Whoever started us with a signal ignored, as ``nohup`` does, wanted it so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ForwardedSignals(reactor, lambda _: pytest.fail("it was told")):
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_signals_are_given_back_after_an_error() -> None:
    """An error inside does not keep them."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), ForwardedSignals(reactor, lambda _: None):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before
