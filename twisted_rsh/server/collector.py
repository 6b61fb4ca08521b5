"""Python's search for garbage in a server: short pieces while clients are served, and the whole of it when none waits.

The search takes 0.4 us for each object that it visits, in one piece: with thousands of sessions the whole of it would
hold the reactor for a second.  What ends frees its memory without it (no session, link or job is part of a cycle), so
the whole search only finds what a fault or a library has left.
"""

from __future__ import annotations

import gc

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.link.turns import Turns

__all__ = ["DUE_AFTER", "LATEST_SECONDS", "LOOK_SECONDS", "MIDDLE_EVERY", "QUIET_SECONDS", "YOUNG_OBJECTS", "Collector"]

YOUNG_OBJECTS = 3_000
"""Objects after which the youngest are searched, which takes 1.5 ms at most."""

MIDDLE_EVERY = 3
"""Searches of the youngest after which those that have survived one are searched, too: 4 ms at most."""

DUE_AFTER = 50
"""Searches of the middle generation after which a whole search is due."""

LOOK_SECONDS = 30.0
"""Seconds between two looks whether it is due."""

QUIET_SECONDS = 0.25
"""Seconds without a frame of a client for which it waits."""

LATEST_SECONDS = 600.0
"""Seconds for which it waits at most: a server whose clients are never quiet is held once in ten minutes."""

_NEVER = 1_000_000_000
"""A number of searches that no server reaches."""


class Collector:
    """Tunes Python's search for garbage, in a process that is a server and nothing else.

    :param clock: tells the time and calls later; usually the reactor.
    :param turns: know when a client was served last.
    """

    def __init__(self, clock: IReactorTime, turns: Turns) -> None:
        self._clock = clock
        self._turns = turns
        self._due_at: float | None = None
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Search from now on as above, and leave out what is there: the modules that a server has loaded stay."""
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, MIDDLE_EVERY, _NEVER)
        self._call = self._clock.callLater(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        now = self._clock.seconds()
        if self._due_at is None and gc.get_count()[2] >= DUE_AFTER:
            self._due_at = now
        delay = LOOK_SECONDS
        if self._due_at is not None:
            if now - self._turns.worked_at >= QUIET_SECONDS or now - self._due_at >= LATEST_SECONDS:
                self._due_at = None
                gc.collect()
            else:
                delay = QUIET_SECONDS
        self._call = self._clock.callLater(delay, self._look)
