"""Whether the peer is still there: asks after silence, and gives up after more of it.

TCP's own keepalive says that the peer's kernel lives; an answer to a ping says that its program does.
"""

from __future__ import annotations

import enum

from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError

__all__ = ["Liveness", "Silence"]


class Silence(enum.Enum):
    """What the peer's silence calls for."""

    NONE = "none"
    """Nothing yet."""

    ASK = "ask"
    """Send a ping."""

    DEAD = "dead"
    """Give the link up."""


class Liveness:
    """Watches one link.

    :param interval: seconds of silence after which to ask, and ask again.
    :param misses: intervals of silence after which the link is dead.
    :param now: the time in seconds, from any origin; all times here are from the same.
    """

    __slots__ = ("_ask_at", "_dead_at", "_heard_at", "_interval", "_lifetime", "_pings")

    def __init__(self, interval: float, misses: int, now: float) -> None:
        self._interval = interval
        self._lifetime = interval * misses
        self._pings = 0
        self.heard(now)

    @property
    def deadline(self) -> float:
        """When :meth:`check` is worth calling next."""
        return min(self._ask_at, self._dead_at)

    def heard(self, now: float) -> None:
        """Take note that the peer sent something."""
        self._heard_at = now
        self._ask_at = now + self._interval
        self._dead_at = now + self._lifetime

    def silence(self, now: float) -> float:
        """Return the seconds since the peer said anything."""
        return now - self._heard_at

    def restart(self, now: float) -> None:
        """Begin anew on another link."""
        self._pings = 0
        self.heard(now)

    def hurry(self, seconds: float, now: float) -> None:
        """Give the peer less time, because somebody waits for it; when it says something, it has all of it again.

        :param seconds: until it must have said something; it is asked after half of that.
        """
        self._ask_at = min(self._ask_at, now + seconds / 2)
        self._dead_at = min(self._dead_at, now + seconds)

    def check(self, now: float) -> Silence:
        """Tell what to do about the silence so far."""
        if now >= self._dead_at:
            return Silence.DEAD
        if now < self._ask_at:
            return Silence.NONE
        self._ask_at = now + self._interval
        return Silence.ASK

    def next_token(self) -> int:
        """Return the token of the ping to send now."""
        self._pings += 1
        return self._pings - 1

    def answered(self, token: int) -> None:
        """Take a pong.

        :raises RemoteProtocolError: it answers a ping that was never sent.
        """
        if token >= self._pings:
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"a pong for ping {token}, which was never sent")
