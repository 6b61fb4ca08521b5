"""The bounds on what a client may take of a server before it has logged in: connections, further tries, and log lines.

As with OpenSSH's ``PerSourcePenalties`` (``sshd_config(5)``), a source that misbehaves is refused for a while: every
offence adds seconds to its penalty, and from a minimum on the source is refused until all of its seconds are over.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass
from random import SystemRandom
from typing import ClassVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twisted_rsh.limited_log import TRACEBACKS_A_MINUTE, RateLimitedLog
from twisted_rsh.link.tls import BUSY_ALERT, REFUSED_ALERT
from twisted_rsh.log_level import leveled_log
from twisted_rsh.server.admission import DROP_START, MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE, Admission
from twisted_rsh.server.sources import OWN_USER, UNKNOWN_USER

__all__ = [
    "MAX_PENALTY_SECONDS",
    "MAX_SOURCES",
    "MIN_PENALTY_SECONDS",
    "Offence",
    "Penalties",
    "StrangerLog",
    "Strangers",
]

MIN_PENALTY_SECONDS = 15.0
"""Seconds of penalties from which on a source is refused, as with OpenSSH: three failed logins reach it, one does not.
"""

MAX_PENALTY_SECONDS = 600.0
"""Seconds of penalties that a source can have at most, as with OpenSSH: a client that gets the address of a hostile one
waits ten minutes at most."""

MAX_SOURCES = 65_536
"""Sources that the server remembers at once, as with OpenSSH, some 16 MB; of one more, it forgets the source that is
free soonest."""


class Offence(enum.Enum):
    """A thing that a connection can do wrong before it has logged in; the value is its name in the log."""

    LOGIN_REFUSED = "login refused"
    """The server refused a login: a wrong signature, or a key or a user that may not log in."""

    RESUME_REFUSED = "resume refused"
    """The server refused to resume a session: none has that name, or the secret is wrong."""

    NO_LOGIN = "no login"
    """The connection ended without any attempt to log in, as that of a port scan does."""

    DEADLINE = "deadline passed"
    """The handshake or the login was not complete in time."""

    PROTOCOL_ERROR = "protocol error"
    """The peer sent what no client sends: another message, or far too much."""

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


class Strangers:
    """Bounds all connections of one server that have not logged in.

    :param clock: tells the time, usually the reactor.
    :param max_unauthenticated: connections without a login that may exist at once.
    :param max_unauthenticated_per_source: connections without a login that one source may have at once.
    :param penalties: whether a source that misbehaves is refused for a while.
    :param drop_start: connections without a login from which on some are turned away.
    :ivar admission: the connections.
    :ivar penalties: the sources that have misbehaved.
    :ivar log: the log for all that strangers cause.
    """

    def __init__(
        self,
        clock: IReactorTime,
        max_unauthenticated: int = MAX_UNAUTHENTICATED,
        max_unauthenticated_per_source: int = MAX_UNAUTHENTICATED_PER_SOURCE,
        *,
        penalties: bool = True,
        drop_start: int = DROP_START,
    ) -> None:
        self.admission = Admission(SystemRandom(), max_unauthenticated, max_unauthenticated_per_source, drop_start)
        self.penalties = Penalties(clock)
        self.log = StrangerLog(clock)
        self._punishes = penalties

    def set_bounds(
        self, max_unauthenticated: int, max_unauthenticated_per_source: int, drop_start: int, *, penalties: bool
    ) -> None:
        """Bound further connections otherwise.  Penalties that there are stay until their time is over.

        :param max_unauthenticated: as for the class.
        :param max_unauthenticated_per_source: as for the class.
        :param drop_start: as for the class.
        :param penalties: as for the class.
        """
        self.admission.set_bounds(max_unauthenticated, max_unauthenticated_per_source, drop_start)
        self._punishes = penalties

    def admit(self, source: str | None) -> bytes | None:
        """Let one more connection in, or turn it away.

        :param source: its source (:func:`twisted_rsh.server.sources.source_of`).
        :returns: ``None`` if it is let in; then call :meth:`leave` once, when it has logged in or is gone.  Otherwise
            the bytes to send before the connection is closed, which tell the client why.
        """
        if self.penalties.refuses(source):
            return REFUSED_ALERT
        if self.admission.admit(source):
            return None
        self.log.turned_away.info(
            "a connection from {source} was turned away: {count} have not logged in (--max-unauthenticated, "
            "--max-unauthenticated-per-source)",
            source=source or "anywhere",
            count=self.admission.count,
        )
        return BUSY_ALERT

    def leave(self, source: str | None) -> None:
        """Count out a connection that has logged in or is gone.

        :param source: the source that it was let in with.
        """
        self.admission.leave(source)

    def punish(self, source: str | None, offence: Offence) -> None:
        """Add an offence to the penalty of a source, unless the server has no penalties.

        :param source: the offender (:func:`twisted_rsh.server.sources.source_of`).  ``None``, the server's own user
            and unknown users have no penalty, ever.
        """
        if not self._punishes or source in (OWN_USER, UNKNOWN_USER):
            return
        seconds = self.penalties.add(source, offence)
        if seconds is not None:
            self.log.refused_source.info(
                "{source} is refused for {seconds:.0f} s: {offence} (--no-penalties)",
                source=source,
                seconds=seconds,
                offence=offence.value,
            )


@dataclass(slots=True)
class _Penalty:
    """The penalty of one source.

    :ivar until: its end, in seconds of the clock.
    :ivar is_refused: whether it has reached the minimum.
    """

    until: float
    is_refused: bool = False


class Penalties:
    """Remembers the sources that have misbehaved.

    :param clock: tells the time, usually the reactor.
    :param maximum: sources to remember at once.
    """

    def __init__(self, clock: IReactorTime, maximum: int = MAX_SOURCES) -> None:
        self._clock = clock
        self._maximum = maximum
        self._sources: dict[str, _Penalty] = {}
        # The same sources by the whole second in which their penalty ends, and there in the order in which they came.
        # At most MAX_PENALTY_SECONDS + 1 such seconds exist.  Ordered, because a plain dict is slow to give its first
        # key when many before it were deleted.
        self._ending: dict[int, OrderedDict[str, None]] = {}

    def __len__(self) -> int:
        """Count the sources that are remembered."""
        return len(self._sources)

    def refuses(self, source: str | None) -> bool:
        """Tell whether a source is refused now.

        :param source: the source (:func:`twisted_rsh.server.sources.source_of`); ``None`` is never refused.
        """
        penalty = None if source is None else self._sources.get(source)
        return penalty is not None and penalty.is_refused and self._left(penalty) > 0

    def add(self, source: str | None, offence: Offence) -> float | None:
        """Add an offence to the penalty of a source.

        :param source: as for :meth:`refuses`; ``None`` has no penalty, ever.
        :returns: the seconds for which the source is refused, if this offence is the one that reaches the minimum;
            ``None`` otherwise.
        """
        if source is None:
            return None
        now = self._clock.seconds()
        self._forget_ended(now)
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
        # Never more than the maximum: a clock that is set back must not make a penalty longer.
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

    def _forget_ended(self, now: float) -> None:
        for second in [second for second in self._ending if second + 1 <= now]:
            for source in self._ending.pop(second):
                del self._sources[source]


class StrangerLog:
    """The log for all that strangers cause: so many lines a minute of each kind, from all connections of a server.

    :param clock: tells the time, usually the reactor.
    :ivar turned_away: a connection was turned away.
    :ivar refused_source: a source is refused from now on.
    :ivar aborted: a link was aborted.
    :ivar broken: a frame, or a question to the portal, has met a bug.
    :ivar refused_login: a login was refused.
    :ivar refused_resume: a resume was refused.
    :ivar put_off: a login or a resume was verified and could not be served.
    """

    log: ClassVar[Logger] = Logger(observer=leveled_log)

    def __init__(self, clock: IReactorTime) -> None:
        self.turned_away = RateLimitedLog(self.log, clock.seconds)
        self.refused_source = RateLimitedLog(self.log, clock.seconds)
        self.aborted = RateLimitedLog(self.log, clock.seconds)
        self.broken = RateLimitedLog(self.log, clock.seconds, TRACEBACKS_A_MINUTE)
        self.refused_login = RateLimitedLog(self.log, clock.seconds)
        self.refused_resume = RateLimitedLog(self.log, clock.seconds)
        self.put_off = RateLimitedLog(self.log, clock.seconds)
