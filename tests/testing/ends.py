"""Protocols and data for the ends of connections in these tests."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_rsh.testing import Direction

__all__ = ["BOTH_WAYS", "One", "Recorder", "Recorders", "opposite", "pattern", "record"]

BOTH_WAYS = list(Direction)


def opposite(direction: Direction) -> Direction:
    """The other way."""
    return Direction.TO_CLIENT if direction is Direction.TO_SERVER else Direction.TO_SERVER


def pattern(size: int) -> bytes:
    """Bytes of which no two neighbouring pieces are alike."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


def record(size: int) -> bytes:
    """A TLS record with a body of that size, and nothing in it."""
    return b"\x17\x03\x03" + size.to_bytes(2, "big") + bytes(size)


class Recorder(Protocol):
    """Keeps what arrives.

    :ivar pieces: what arrived, call by call.
    :ivar reason: the class of the exception with which the connection was lost, or ``None``.
    :ivar made: fires when the connection is there.
    """

    def __init__(self, peer: IAddress | None = None) -> None:
        self.peer = peer
        self.pieces: list[bytes] = []
        self.reason: type[BaseException] | None = None
        self.made: Deferred[None] = Deferred()

    @property
    def data(self) -> bytes:
        """All that arrived."""
        return b"".join(self.pieces)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is lost."""
        return self.reason is not None

    @property
    def wire(self) -> Any:
        """The transport, whatever it can do."""
        return self.transport

    def connectionMade(self) -> None:
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason.type


class Recorders(Factory):
    """Makes recorders.

    :ivar made: those it has made.
    """

    noisy = False

    def __init__(self) -> None:
        self.made: list[Recorder] = []

    @property
    def last(self) -> Recorder:
        """The newest one."""
        return self.made[-1]

    def buildProtocol(self, addr: IAddress | None) -> Recorder:
        self.made.append(Recorder(addr))
        return self.last


class One(Factory):
    """A factory of one protocol, or of none."""

    noisy = False

    def __init__(self, protocol: Protocol | None) -> None:
        self._only = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return self._only
