"""SIGHUP at a stand-alone server: it makes the server check the keys of its sessions again."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import Interface

__all__ = ["ISighupListener", "SighupHandler"]


class ISighupListener(Interface):
    """The part of a program that acts on SIGHUP.  Both methods are called by the reactor."""

    def sighup_received() -> None:
        """Act on the signal."""

    def terminal_gone() -> None:
        """End the program, because the signal says that its terminal is gone."""


class SighupHandler:
    """Gives SIGHUP to a listener, in place of the system's default, which ends the process.

    A handler that the program had before is still called.  A program that was started on a terminal and finds it gone
    ends as by default, but tidily.

    :param reactor: the reactor, whose thread is the process's main one.
    :param listener: acts on the signal.
    """

    def __init__(self, reactor: IReactorFromThreads, listener: ISighupListener) -> None:
        self._reactor = reactor
        self._listener = listener
        self._before: Any = signal.SIG_DFL
        self._had_terminal = False

    def install(self) -> None:
        """Take the signal."""
        self._had_terminal = _has_terminal()
        self._before = signal.signal(signal.SIGHUP, self._received)

    def restore(self) -> None:
        """Give the signal back to the handler that the program had before; nothing happens if that has it."""
        if signal.getsignal(signal.SIGHUP) == self._received:
            signal.signal(signal.SIGHUP, self._before)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)
        # nohup has the program ignore the signal, which then outlives its terminal.
        is_gone = self._before == signal.SIG_DFL and self._had_terminal and not _has_terminal()
        self._reactor.callFromThread(self._listener.terminal_gone if is_gone else self._listener.sighup_received)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
