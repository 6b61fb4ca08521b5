"""SIGHUP at a stand-alone server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from zope.interface import implementer

from twisted_rsh.server.sighup import ISighupListener, SighupHandler


class Threads:
    """A reactor that calls at once."""

    def callFromThread(self, call: Callable[[], object]) -> None:
        """Call."""
        call()


@implementer(ISighupListener)
class Hung:
    """A program with a handler, which notes each call."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.handler = SighupHandler(Threads(), self)  # type: ignore[arg-type]  # all that is asked of the reactor

    def sighup_received(self) -> None:
        """Note it."""
        self.told.append("hung up")

    def terminal_gone(self) -> None:
        """Note it."""
        self.told.append("gone")


@pytest.fixture
def before() -> Iterator[Any]:
    """Put the signal's handler back after the test."""
    handler = signal.getsignal(signal.SIGHUP)
    yield handler
    signal.signal(signal.SIGHUP, handler)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Tell the program that it has a terminal, as the test wants."""
    has = [True]
    real_open = os.open

    def open_(path: str, *arguments: Any, **options: Any) -> int:
        if path != "/dev/tty":
            return real_open(path, *arguments, **options)
        if not has[0]:
            raise OSError
        return real_open("/dev/null", os.O_RDWR)

    monkeypatch.setattr(os, "open", open_)
    return has


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize(("had", "has"), [(False, False), (True, True), (True, False)])
def test_hang_up(before: Any, terminal: list[bool], ignored: bool, had: bool, has: bool) -> None:
    """A-12: the signal makes the server check, unless its terminal is gone and nohup was not used."""
    default = signal.SIG_IGN if ignored else signal.SIG_DFL
    signal.signal(signal.SIGHUP, default)
    hung = Hung()
    terminal[0] = had
    hung.handler.install()
    terminal[0] = has
    os.kill(os.getpid(), signal.SIGHUP)
    assert hung.told == ["gone" if had and not has and not ignored else "hung up"]
    hung.handler.restore()
    assert signal.getsignal(signal.SIGHUP) == default


def test_a_handler_of_before(before: Any, terminal: list[bool]) -> None:
    """A-12: the handler that the program had before is still called."""
    hung = Hung()
    signal.signal(signal.SIGHUP, lambda *_: hung.told.append("before"))
    hung.handler.install()
    terminal[0] = False
    os.kill(os.getpid(), signal.SIGHUP)
    assert hung.told == ["before", "hung up"]


def test_the_real_terminal() -> None:
    """A-12: the look for a real terminal leaves no descriptor behind."""
    before = os.listdir("/dev/fd")
    hung = Hung()
    hung.handler.install()
    hung.handler.restore()
    assert os.listdir("/dev/fd") == before
