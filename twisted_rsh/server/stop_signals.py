"""SIGTERM and SIGINT at a stand-alone server: the first stops it, the second ends it at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

from zope.interface import Interface

__all__ = ["STOPPING", "IStopListener", "StopSignals"]

STOPPING = (signal.SIGTERM, signal.SIGINT)
"""The signals that stop a server: a service manager's, and Ctrl-C on the terminal that it was started on."""


class IStopListener(Interface):
    """The part of a program that acts on the second signal."""

    def end_at_once() -> None:
        """Do what must be done before the program ends, which is right after this.

        The signal's handler calls this, in the middle of anything: the reactor may be busy for seconds.
        """


class StopSignals:
    """Passes the first signal on to the handler that the reactor has installed, and the second to a listener.

    The second signal then does what it does by default: it ends the process.  Twisted's own handlers would pass it on
    too, and the reactor, which is stopping already, would log a traceback.

    :param listener: acts on the second signal.
    """

    def __init__(self, listener: IStopListener) -> None:
        self._listener = listener
        self._before: dict[int, Any] = {}
        self._is_stopping = False
        self._count = 0
        self._held: int | None = None

    def hold(self) -> None:
        """Keep a signal that comes before the reactor runs, except those that the program ignores.

        By default it would end the process in the middle of its start, with what that has written by then.
        """
        for number in STOPPING:
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = before
                signal.signal(number, self._hold)

    def install(self) -> None:
        """Take the signals, except those that the program ignores; the first act on one that was held is now.

        Call this when the reactor runs.
        """
        reactors = signal.getsignal(signal.SIGTERM)
        for number in STOPPING:
            before = signal.getsignal(number)
            if before == self._hold:  # the reactor takes SIGINT only from Python itself
                before = reactors
            if callable(before):
                self._before[number] = before
                signal.signal(number, self._received)
        held, self._held = self._held, None
        if held is not None:
            os.kill(os.getpid(), held)

    def stopping(self) -> None:
        """Learn that the program stops.  If that is not for a signal, the first signal changes nothing."""
        self._is_stopping = True

    def restore(self) -> None:
        """Give the signals back to the handlers that the program had before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _hold(self, number: int, _: FrameType | None) -> None:
        if self._held is None:
            self._held = number
        else:
            self._end(number)

    def _received(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            self._end(number)
        elif not self._is_stopping:
            self._before[number](number, frame)

    def _end(self, number: int) -> None:
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        self._listener.end_at_once()
        os.kill(os.getpid(), number)
