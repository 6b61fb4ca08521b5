"""Keepalive of one link: ping the peer after some silence, and give the link up after more of it.

TCP's own keepalive says that the peer's kernel lives; an answer to a ping says that its program lives.
"""

from __future__ import annotations

import enum

from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError

__all__ = ["Liveness", "Silence"]


class Silence(enum.Enum):
    """What to do about the peer's silence."""

    NONE = "none"
    """Nothing yet."""

    ASK = "ask"
    """Send a ping."""

    DEAD = "dead"
    """Give the link up."""


class Liveness:
    """The times at which to ping the peer of one link, and to give the link up.

    :param interval: seconds of silence after which to ping the peer, and between two pings.
    :param misses: intervals of silence after which the link is dead.
    :param now: the time in seconds, from any origin; all times here have the same origin.
    :ivar heard_at: the time at which the peer last sent something.
    :ivar round_trip: seconds of the shortest round trip of this link; ``None`` before the first answer to a ping.
    """

    __slots__ = ("_ask_at", "_asked_at", "_dead_at", "_interval", "_lifetime", "_pings", "heard_at", "round_trip")

    def __init__(self, interval: float, misses: int, now: float) -> None:
        self._interval = interval
        self._lifetime = interval * misses
        self.restart(now)

    @property
    def deadline(self) -> float:
        """The time in seconds at which to call :meth:`check` next."""
        return min(self._ask_at, self._dead_at)

    def heard(self, now: float) -> None:
        """Note that the peer sent something."""
        self.heard_at = now
        self._ask_at = now + self._interval
        self._dead_at = now + self._lifetime

    def silence(self, now: float) -> float:
        """Return the seconds since the peer last sent something."""
        return now - self.heard_at

    def restart(self, now: float) -> None:
        """Start again on another link."""
        self._pings = 0
        self._asked_at: float | None = None
        self.round_trip: float | None = None
        self.heard(now)

    def hurry(self, ping: float, seconds: float, now: float) -> None:
        """Give the peer less time, because a user waits for it.  It has all of its time again once it sends something.

        :param ping: the seconds after which a ping is due.
        :param seconds: the time after which the link is dead if the peer stays silent.
        """
        # Conditions instead of `min`: each key that is typed comes here.
        if now + ping < self._ask_at:
            self._ask_at = now + ping
        if now + seconds < self._dead_at:
            self._dead_at = now + seconds

    def check(self, now: float) -> Silence:
        """Return what to do about the silence so far."""
        if now >= self._dead_at:
            return Silence.DEAD
        if now < self._ask_at:
            return Silence.NONE
        self._ask_at = now + self._interval
        return Silence.ASK

    @property
    def is_asking(self) -> bool:
        """Whether the latest ping is not answered."""
        return self._asked_at is not None

    def next_token(self, now: float) -> int:
        """Return the token of the ping to send now."""
        self._pings += 1
        self._asked_at = now
        return self._pings - 1

    def answered(self, token: int, now: float) -> None:
        """Take a pong.

        :param token: the token of the ping that it answers.
        :raises RemoteProtocolError: no ping with this token was sent.
        """
        if token >= self._pings:
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"a pong for ping {token}, which was never sent")
        if token == self._pings - 1 and self._asked_at is not None:
            seconds, self._asked_at = now - self._asked_at, None
            self.round_trip = seconds if self.round_trip is None else min(seconds, self.round_trip)
