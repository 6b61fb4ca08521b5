"""Sources that have misbehaved before a login, and for how long nothing of theirs is accepted.

As OpenSSH's ``PerSourcePenalties`` (``sshd_config(5)``): every offence adds seconds to what its source has to serve.
Below a minimum nothing happens.  From there on the source is refused, until all of its seconds are over.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger

__all__ = [
    "DROP_RATE",
    "DROP_START",
    "IPV6_SOURCE_BITS",
    "LINES_A_MINUTE",
    "MAX_PENALTY_SECONDS",
    "MAX_SOURCES",
    "MAX_UNAUTHENTICATED",
    "MAX_UNAUTHENTICATED_PER_SOURCE",
    "MIN_PENALTY_SECONDS",
    "Admission",
    "Offence",
    "Penalties",
    "RateLimitedLog",
    "source_of",
]

IPV6_SOURCE_BITS = 64
"""Bits of an IPv6 address that name its source: one network, the smallest thing that a customer of a provider is given
(RFC 6177); whoever has one address of it has them all."""


def source_of(address: IAddress | None) -> str | None:
    """Say which source a connection's limits are counted for.

    :param address: the peer's, as Twisted gives it to ``buildProtocol``.
    :returns: an IPv4 address, or an IPv6 network of :data:`IPV6_SOURCE_BITS`, as text; ``None`` for a connection that
        no such limit is for: from this machine, whose users share the loopback addresses, or not over IP at all.
    """
    try:
        host = ipaddress.ip_address(getattr(address, "host", ""))
    except ValueError:
        return None
    if isinstance(host, ipaddress.IPv6Address):
        if host.ipv4_mapped is None:
            return None if host.is_loopback else str(ipaddress.IPv6Network((int(host), IPV6_SOURCE_BITS), strict=False))
        host = host.ipv4_mapped
    return None if host.is_loopback else str(host)


LINES_A_MINUTE = 60
"""Lines of one kind in a minute, some 10 MB a day at worst: more than anybody reads, and no disk is full of it."""

_MINUTE = 60.0


class RateLimitedLog:
    """Lets so many lines of one kind into the log.

    :param log: where they go.
    :param clock: tells the time, usually the reactor.
    :param lines: lines in a minute.
    """

    def __init__(self, log: Logger, clock: IReactorTime, lines: int = LINES_A_MINUTE) -> None:
        self._log = log
        self._clock = clock
        self._lines = lines
        self._began = clock.seconds()
        self._written = 0
        self._left_out = 0

    def info(self, line: str, **values: object) -> None:
        """Write a line, unless this minute has had its share.

        The first that is left out is told of at once, and how many were as soon as a line is written again.

        :param line: the format, as :meth:`twisted.logger.Logger.info` takes it; always the same for one object.
        :param values: what the format names.
        """
        now = self._clock.seconds()
        if not 0 <= now - self._began < _MINUTE:
            left_out, self._left_out = self._left_out, 0
            self._began, self._written = now, 0
            if left_out:
                self._log.info("{count} lines like the next were left out", count=left_out)
        if self._written < self._lines:
            self._written += 1
            self._log.info(line, **values)
            return
        if not self._left_out:
            self._log.info(
                "more lines like the last are left out for {seconds:g} s", seconds=self._began + _MINUTE - now
            )
        self._left_out += 1


MIN_PENALTY_SECONDS = 15.0
"""Seconds of penalties from which on a source is refused, as with OpenSSH: three failed logins, but not one."""

MAX_PENALTY_SECONDS = 600.0
"""Seconds of penalties that a source can have at most, as with OpenSSH: what others did at a shared address is over
after ten minutes."""

MAX_SOURCES = 65_536
"""Sources that are remembered at once, as with OpenSSH, some 16 MB; the one that is free soonest is forgotten first."""


class Offence(enum.Enum):
    """What a connection can do wrong before it has logged in; the value is its name in the log."""

    LOGIN_REFUSED = "login refused"
    """A login was refused: a wrong signature, or a key or a user that is not allowed in."""

    RESUME_REFUSED = "resume refused"
    """A session was not resumed: there is none of that name, or the secret is wrong."""

    NO_LOGIN = "no login"
    """The connection ended without any attempt to log in, as that of a port scan does."""

    DEADLINE = "deadline passed"
    """The handshake or the login was not complete in time."""

    PROTOCOL_ERROR = "protocol error"
    """Something came that no client sends: another message, or far too much."""

    @property
    def seconds(self) -> float:
        """The penalty, in seconds."""
        return _SECONDS[self]


_SECONDS = {
    Offence.LOGIN_REFUSED: 5.0,
    Offence.RESUME_REFUSED: 5.0,
    Offence.NO_LOGIN: 1.0,
    Offence.DEADLINE: 10.0,
    Offence.PROTOCOL_ERROR: 30.0,
}


@dataclass(slots=True)
class _Penalty:
    """What a source has to serve.

    :ivar until: when it is over, in seconds of the clock.
    :ivar is_refused: whether it has reached the minimum.
    """

    until: float
    is_refused: bool = False


class Penalties:
    """Remembers sources.

    :param clock: tells the time, usually the reactor.
    :param maximum: sources to remember at once.
    """

    def __init__(self, clock: IReactorTime, maximum: int = MAX_SOURCES) -> None:
        self._clock = clock
        self._maximum = maximum
        self._sources: dict[str, _Penalty] = {}
        # The same sources, by the whole second in which their penalty is over; there are never more such seconds than
        # MAX_PENALTY_SECONDS and one.  In the order in which they came; the first of a plain dict is slow to find again
        # and again.
        self._ending: dict[int, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        """Count the sources that are remembered."""
        return len(self._sources)

    def refuses(self, source: str | None) -> bool:
        """Tell whether a source is refused now.

        :param source: what :func:`twisted_rsh.server.strangers.source_of` said; ``None`` is never refused.
        """
        penalty = None if source is None else self._sources.get(source)
        return penalty is not None and penalty.is_refused and self._left(penalty) > 0

    def add(self, source: str | None, offence: Offence) -> float | None:
        """Add an offence to what a source has to serve.

        :param source: as for :meth:`refuses`; ``None`` has nothing to serve, ever.
        :returns: the seconds for which the source is refused, if it begins to be so with this; ``None`` otherwise.
        """
        if source is None:
            return None
        now = self._clock.seconds()
        self._forget_what_is_over(now)
        penalty = self._sources.pop(source, None)
        if penalty is None:
            if len(self._sources) >= self._maximum:
                self._forget_one()
            penalty = _Penalty(now)
        else:
            self._unlist(source, penalty)
        left = self._left(penalty)
        if not left:
            penalty.is_refused = False
        seconds = min(left + offence.seconds, MAX_PENALTY_SECONDS)
        was_refused, penalty.is_refused = penalty.is_refused, penalty.is_refused or seconds >= MIN_PENALTY_SECONDS
        penalty.until = now + seconds
        self._sources[source] = penalty
        self._ending.setdefault(int(penalty.until), OrderedDict())[source] = None
        return seconds if penalty.is_refused and not was_refused else None

    def _left(self, penalty: _Penalty) -> float:
        # No more than the most there is: a clock that was set back must not make it longer.
        return min(max(penalty.until - self._clock.seconds(), 0.0), MAX_PENALTY_SECONDS)

    def _unlist(self, source: str, penalty: _Penalty) -> None:
        second = int(penalty.until)
        listed = self._ending[second]
        del listed[source]
        if not listed:
            del self._ending[second]

    def _forget_one(self) -> None:
        second = min(self._ending)
        source = next(iter(self._ending[second]))
        self._unlist(source, self._sources.pop(source))

    def _forget_what_is_over(self, now: float) -> None:
        for second in [second for second in self._ending if second + 1 <= now]:
            for source in self._ending.pop(second):
                del self._sources[source]


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

        :param source: what :func:`twisted_rsh.server.strangers.source_of` said of it; ``None`` may have any number.
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
