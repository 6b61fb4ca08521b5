"""The number of connections that have not logged in: how many there may be, and which of the next are turned away.

As with OpenSSH's ``MaxStartups`` (``sshd_config(5)``), a growing share of connections is turned away at random while
many have not logged in.  So a client that holds connections open does not keep out another that tries again.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from twisted_rsh.server.sources import OWN_USER
from twisted_rsh.server_events import BoundUse

__all__ = ["DROP_RATE", "DROP_START", "MAX_UNAUTHENTICATED", "MAX_UNAUTHENTICATED_PER_SOURCE", "Admission"]

DROP_START = 10
"""Connections without a login from which on the server turns some of the next away.  Of one source, and of the server's
own user, it does so from half of the maximum on, if that is at least this number."""

DROP_RATE = 0.3
"""The part of them that it turns away at first; the part grows to all at the maximum."""

MAX_UNAUTHENTICATED = 100
"""Connections without a login that may exist at once, about 54 KiB each."""

MAX_UNAUTHENTICATED_PER_SOURCE = 10
"""Connections without a login that one source may have at once: a tenth of all, so that one source cannot keep others
out, and enough for a program that opens several."""


class Admission:
    """Counts the connections that have not logged in.

    The server's own user is counted apart, so that no stranger takes the room for that user's logins.

    :param random: decides which connections are turned away.
    :param maximum: the connections of all strangers that may exist at once, and besides them those of the server's own
        user.
    :param per_source: the connections that one source may have at once.
    :param drop_start: the connections of strangers from which on some are turned away.
    """

    def __init__(
        self,
        random: Random,
        maximum: int = MAX_UNAUTHENTICATED,
        per_source: int = MAX_UNAUTHENTICATED_PER_SOURCE,
        drop_start: int = DROP_START,
    ) -> None:
        self._random = random
        self._strangers = _Share(0, 0)
        self._own = _Share(0, 0)
        self._sources: dict[str, _Share] = {}
        self.set_bounds(maximum, per_source, drop_start)

    @property
    def count(self) -> int:
        """The connections that exist now."""
        return self._strangers.count + self._own.count

    def set_bounds(self, maximum: int, per_source: int, drop_start: int) -> None:
        """Bound further connections by other numbers; those that exist stay.

        :param maximum: as for the class.
        :param per_source: as for the class.
        :param drop_start: as for the class.
        """
        self._per_source = per_source
        self._strangers.bound(maximum, drop_start)
        self._own.bound(maximum, _half(maximum))
        for share in self._sources.values():
            share.bound(per_source, _half(per_source))

    def bounds(self) -> list[BoundUse]:
        """Return these bounds, and how far each is used: that of each source by the source that has most."""
        most = max((share.count for share in self._sources.values()), default=0)
        return [
            BoundUse(option=option, used=used, allowed=allowed, unit="connections")
            for option, used, allowed in (
                ("--max-unauthenticated", self._strangers.count, self._strangers.maximum),
                ("--max-unauthenticated-per-source", most, self._per_source),
            )
        ]

    def waiting(self) -> list[tuple[str, int]]:
        """Return how many connections of each source have not logged in, those with most first."""
        counts = {source: share.count for source, share in self._sources.items()}
        counts |= {OWN_USER: self._own.count, "anywhere": self._strangers.count - sum(counts.values())}
        return sorted(((source, count) for source, count in counts.items() if count), key=lambda one: (-one[1], one[0]))

    def admit(self, source: str | None = None) -> bool:
        """Count one more connection, if it may come in.

        :param source: its source (:func:`twisted_rsh.server.sources.source_of`); ``None`` may have any number.
        :returns: whether it may; then call :meth:`leave` once.
        """
        drawn = self._random.random()
        if source == OWN_USER:
            return self._own.take(drawn)
        if source is None:
            return self._strangers.take(drawn)
        share = self._sources.get(source) or _Share(self._per_source, _half(self._per_source))
        if self._strangers.refuses(drawn) or not share.take(drawn):
            return False
        self._strangers.count += 1
        self._sources[source] = share
        return True

    def leave(self, source: str | None = None) -> None:
        """Count out a connection that has logged in or is gone.

        :param source: the source that it was let in with.
        """
        if source == OWN_USER:
            self._own.count -= 1
            return
        self._strangers.count -= 1
        if source is not None:
            share = self._sources[source]
            share.count -= 1
            if not share.count:
                del self._sources[source]


@dataclass(slots=True)
class _Share:
    """A number of connections that may exist at once.

    :ivar maximum: that number.
    :ivar start: the number from which on some are turned away; at least the maximum for none before it.
    :ivar count: the connections that exist now.
    """

    maximum: int
    start: int
    count: int = 0

    def bound(self, maximum: int, start: int) -> None:
        """Change the two numbers, and leave the count."""
        self.maximum = maximum
        self.start = start

    def take(self, drawn: float) -> bool:
        """Count one more connection unless it is turned away, and tell whether it is counted."""
        if self.refuses(drawn):
            return False
        self.count += 1
        return True

    def refuses(self, drawn: float) -> bool:
        """Tell whether one more is turned away, for a random number from 0 up to 1."""
        if self.count >= self.maximum:
            return True
        if self.count < self.start or self.maximum <= self.start:
            return False
        return drawn < DROP_RATE + (1 - DROP_RATE) * (self.count - self.start) / (self.maximum - self.start)


def _half(maximum: int) -> int:
    """Return from which number on a share turns some away; a small one has no random part."""
    return maximum // 2 if maximum >= DROP_START else maximum
