"""Clocks that no administrator and no time server can set.

A reactor of Twisted's tells the wall clock's time, and schedules by it.  When that clock is set forward by an hour,
every deadline within the hour is over; when it is set back, each comes an hour late.  A program that owns its reactor
calls :func:`use_steady_clock` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.python.runtime import seconds as wall_clock_seconds

__all__ = ["seconds_asleep", "seconds_with_sleep", "use_steady_clock"]


def use_steady_clock(reactor: Any, seconds: Callable[[], float] = time.monotonic) -> None:
    """Let a reactor tell the time, and schedule, by a clock that cannot be set.

    Afterwards ``reactor.seconds()`` counts from another origin.  Calls that are scheduled already keep their remaining
    time.  Call it before anything else remembers a time of the reactor.  Further calls do nothing, and a reactor that
    does not follow the wall clock, such as :class:`twisted.internet.task.Clock`, keeps the clock that it has.

    :param reactor: the reactor, which may run already.
    :param seconds: returns the time in seconds.  :func:`time.monotonic` stands still while the machine sleeps, where
        the system has such a clock, as Linux and macOS do.
    """
    if reactor.seconds is not wall_clock_seconds:
        return
    waiting = [(call, call.getTime() - call.seconds()) for call in reactor.getDelayedCalls()]
    reactor.seconds = seconds
    for call, remaining in waiting:
        call.seconds = seconds
        call.reset(max(remaining, 0.0))


def seconds_with_sleep() -> float:
    """Return the time in seconds from a clock that cannot be set and goes on while the machine sleeps.

    Where the system has no such clock, it stands still meanwhile.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def seconds_asleep() -> float:
    """Return for how many seconds the machine has slept, from an origin of its own; only differences mean anything.

    Where the system has no clock that goes on meanwhile, the difference is always about 0.
    """
    return seconds_with_sleep() - time.monotonic()
