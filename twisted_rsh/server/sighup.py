"""What a stand-alone server makes of SIGHUP: it asks again who may be logged in."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads

__all__ = ["SighupHandler"]


class SighupHandler:
    """Calls something at each SIGHUP, in place of the system's own way with it, which is to end the process.

    What a handler of before did is still done.  A program that was started on a terminal and finds it gone ends as it
    would have, only tidily.

    :param reactor: the reactor, whose thread is the process's main one.
    :param hung_up: called by the reactor at each signal.
    :param terminal_gone: called by the reactor instead where that is what the signal meant.
    """

    def __init__(
        self, reactor: IReactorFromThreads, hung_up: Callable[[], object], terminal_gone: Callable[[], object]
    ) -> None:
        self._reactor = reactor
        self._hung_up = hung_up
        self._terminal_gone = terminal_gone
        self._before: Any = signal.SIG_DFL
        self._had_terminal = False

    def install(self) -> None:
        """Begin."""
        self._had_terminal = _has_terminal()
        self._before = signal.signal(signal.SIGHUP, self._received)

    def restore(self) -> None:
        """Leave the signal to whoever had it before."""
        signal.signal(signal.SIGHUP, self._before)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)
        # nohup has the signal ignored: such a program outlives its terminal.
        is_gone = self._before == signal.SIG_DFL and self._had_terminal and not _has_terminal()
        self._reactor.callFromThread(self._terminal_gone if is_gone else self._hung_up)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
