"""Sources that have misbehaved before a login, and for how long nothing of theirs is accepted.

As OpenSSH's ``PerSourcePenalties`` (``sshd_config(5)``): every offence adds seconds to what its source has to serve.
Below a minimum nothing happens.  From there on the source is refused, until all of its seconds are over.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

__all__ = ["MAX_PENALTY_SECONDS", "MAX_SOURCES", "MIN_PENALTY_SECONDS", "Offence", "Penalties"]

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

        :param source: what :func:`twisted_rsh.server.sources.source_of` said; ``None`` is never refused.
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
