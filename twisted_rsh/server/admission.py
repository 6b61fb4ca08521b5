"""How many connections may exist that have not logged in.

As OpenSSH's ``MaxStartups``: below a number everybody is let in, above another nobody is, and between the two a growing
share is turned away at random, so that somebody who holds connections open cannot keep everybody else out.  And as its
``PerSourceMaxStartups``, a source may have so many of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

__all__ = ["DROP_RATE", "DROP_START", "MAX_UNAUTHENTICATED", "MAX_UNAUTHENTICATED_PER_SOURCE", "Admission"]

DROP_START = 10
"""Connections without a login from which some are turned away."""

DROP_RATE = 0.3
"""The share that is turned away at :data:`DROP_START`; it grows to all at the maximum."""

MAX_UNAUTHENTICATED = 100
"""Connections without a login that may exist at once, about 54 KiB each."""

MAX_UNAUTHENTICATED_PER_SOURCE = 10
"""Connections without a login that one source may have at once: a tenth of all, so that no single one can keep others
out, and enough for a program that opens several."""


class Admission:
    """Counts the connections that have not logged in.

    :param random: returns a number from 0 to 1, such as ``random.random``.
    :param maximum: the connections that may be there at once.
    :param per_source: those of one source.
    :ivar count: how many are there.
    """

    def __init__(
        self,
        random: Callable[[], float],
        maximum: int = MAX_UNAUTHENTICATED,
        per_source: int = MAX_UNAUTHENTICATED_PER_SOURCE,
    ) -> None:
        self._random = random
        self._maximum = maximum
        self._per_source = per_source
        self._sources: Counter[str] = Counter()
        self.count = 0

    def admit(self, source: str | None = None) -> bool:
        """Tell whether one more may come in, and count it if so.  Call :meth:`leave` once for each that did.

        :param source: what :func:`twisted_rsh.server.sources.source_of` said of it; ``None`` may have any number.
        """
        if self.count >= self._maximum or self._random() < self._refused_share():
            return False
        if source is not None:
            if self._sources[source] >= self._per_source:
                return False
            self._sources[source] += 1
        self.count += 1
        return True

    def leave(self, source: str | None = None) -> None:
        """Take note that one has logged in or is gone.

        :param source: the one that it was let in with.
        """
        self.count -= 1
        if source is not None:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    def _refused_share(self) -> float:
        if self.count < DROP_START or self._maximum <= DROP_START:
            return 0.0
        return DROP_RATE + (1 - DROP_RATE) * (self.count - DROP_START) / (self._maximum - DROP_START)
