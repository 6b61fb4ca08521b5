"""A reset that does not overtake the bytes before it."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IReactorTime
from zope.interface import implementer

__all__ = ["LINGER_SECONDS", "ResetBehind", "unsent_bytes"]

LINGER_SECONDS = 0.01
"""Seconds between two looks whether the operating system has sent everything, so that a reset cannot discard it."""


@implementer(IPullProducer)
class ResetBehind:
    """Writes the last bytes of a connection, and resets it when they and all before them have reached the other end.

    Call :meth:`start`, and :meth:`cancel` when the connection is lost.

    :param clock: the reactor.
    :param transport: the socket's transport, without a producer.
    :param last: the bytes; there may be none.
    """

    def __init__(self, clock: IReactorTime, transport: Any, last: bytes) -> None:
        self._clock = clock
        self._transport = transport
        self._last: bytes | None = last
        self._lingering: IDelayedCall | None = None

    def start(self) -> None:
        """Write; the rest follows by itself."""
        self._transport.registerProducer(self, False)

    def cancel(self) -> None:
        """Wait no longer."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def resumeProducing(self) -> None:
        if self._last is None:
            self._transport.unregisterProducer()
            self._reset_when_sent()
            return
        last, self._last = self._last, None
        # Not write(): without bytes that would do nothing, and the transport would never ask for more.
        self._transport.writeSequence([last])

    def stopProducing(self) -> None:
        """There is nothing left to stop."""

    def _reset_when_sent(self) -> None:
        self._lingering = None
        if unsent_bytes(self._transport):
            self._lingering = self._clock.callLater(LINGER_SECONDS, self._reset_when_sent)
        else:
            self._transport.abortConnection()


def unsent_bytes(transport: Any) -> int:
    """Return how much of a socket's data has not reached the other end; 0 where the operating system does not tell.

    Linux does (``SIOCOUTQ`` in tcp(7), by its other name); elsewhere a reset may overtake what a slow reader has left.

    :param transport: what provides :class:`~twisted.internet.interfaces.ISystemHandle`.
    """
    try:
        answer = fcntl.ioctl(transport.getHandle(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    (unsent,) = struct.unpack("i", answer)
    return int(unsent)
