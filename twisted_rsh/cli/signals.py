"""The signals that a client passes on instead of dying of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["FORWARDED", "ForwardedSignals", "number_of", "suspend_self"]

FORWARDED = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")
"""Names of the signals that mean the command, not the client."""


def number_of(name: str) -> int:
    """Return the number of a signal on this machine."""
    return signal.Signals[f"SIG{name}"]


def suspend_self() -> None:
    """Do what SIGTSTP does to a program that does not catch it: return when the client is told to go on."""
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, before)


class ForwardedSignals:
    """While it is entered, signals that arrive are told to the program.

    A signal that was ignored when the client started stays ignored: whoever started it, such as ``nohup`` or a backup
    that must not be interrupted, wanted it so.

    :param reactor: whose thread the program runs in.
    :param arrived: called from the reactor with the name of a signal, one of :data:`FORWARDED`.
    """

    def __init__(self, reactor: Any, arrived: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._arrived = arrived
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for name in FORWARDED:
            number = number_of(name)
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._caught)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        # Wakes the reactor as well, which may be waiting for descriptors alone.
        self._reactor.callFromThread(self._arrived, signal.Signals(number).name.removeprefix("SIG"))
