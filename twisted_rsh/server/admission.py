"""How many connections may exist that have not logged in.

As OpenSSH's ``MaxStartups``: below a number everybody is let in, above another nobody is, and between the two a growing
share is turned away at random, so that somebody who holds connections open cannot keep everybody else out.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["DROP_RATE", "DROP_START", "MAX_UNAUTHENTICATED", "Admission"]

DROP_START = 10
"""Connections without a login from which some are turned away."""

DROP_RATE = 0.3
"""The share that is turned away at :data:`DROP_START`; it grows to all at the maximum."""

MAX_UNAUTHENTICATED = 100
"""Connections without a login that may exist at once, about 54 KiB each."""


class Admission:
    """Counts the connections that have not logged in.

    :param random: returns a number from 0 to 1, such as ``random.random``.
    :param maximum: the connections that may be there at once.
    :ivar count: how many are there.
    """

    def __init__(self, random: Callable[[], float], maximum: int = MAX_UNAUTHENTICATED) -> None:
        self._random = random
        self._maximum = maximum
        self.count = 0

    def admit(self) -> bool:
        """Tell whether one more may come in, and count it if so.  Call :meth:`leave` once for each that did."""
        if self.count >= self._maximum or self._random() < self._refused_share():
            return False
        self.count += 1
        return True

    def leave(self) -> None:
        """Take note that one has logged in or is gone."""
        self.count -= 1

    def _refused_share(self) -> float:
        if self.count < DROP_START or self._maximum <= DROP_START:
            return 0.0
        return DROP_RATE + (1 - DROP_RATE) * (self.count - DROP_START) / (self._maximum - DROP_START)
