"""The plan of what goes wrong on one connection: frozen values that a test can print, compare and write down again."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

__all__ = [
    "HEALTHY",
    "Boundaries",
    "Direction",
    "End",
    "Faults",
    "HeaderBoundaries",
    "Int32Frames",
    "LaneFaults",
    "Late",
    "TLSRecords",
    "Written",
]


class Direction(enum.Enum):
    """One of the two directions of a connection."""

    TO_SERVER = "to the server"
    """From the end that dialled to the end that listened."""

    TO_CLIENT = "to the client"
    """From the end that listened to the end that dialled."""


class End(enum.Enum):
    """How one end of a connection learns of a cut."""

    RESET = "reset"
    """By a TCP reset: ``connectionLost`` with :class:`~twisted.internet.error.ConnectionLost`."""

    CLOSED = "closed"
    """By an orderly close: ``connectionLost`` with :class:`~twisted.internet.error.ConnectionDone`."""

    UNSEEN = "unseen"
    """Not at all: the connection stays open at this end and carries nothing, as after a power failure at the other."""


class Boundaries(Protocol):
    """Finds where the records of a byte stream end.

    Each object sees one direction of one connection from its start.
    """

    def ends(self, data: bytes) -> list[int]:
        """Find the records that end in the next bytes of the stream.

        :param data: the bytes that follow those of the previous call.
        :returns: the offset in `data` of the first byte after each such record, in order.
        """


class HeaderBoundaries:
    """Records that begin with a header of a fixed size, which gives their length.  A subclass reads the header.

    Only headers are read, so the time taken grows with the number of records and not with their bytes.

    :cvar HEADER_BYTES: the header's size, in bytes.
    """

    HEADER_BYTES: ClassVar[int]

    def __init__(self) -> None:
        self._header = b""
        self._body_left: int | None = None  # None while the header is incomplete

    def body_bytes(self, header: bytes) -> int:
        """Return how many bytes of the record follow its header.  A subclass implements this.

        :param header: :attr:`HEADER_BYTES` bytes.
        """
        raise NotImplementedError

    def ends(self, data: bytes) -> list[int]:
        """See :class:`Boundaries`."""
        found: list[int] = []
        offset = 0
        while True:
            if self._body_left is None:
                missing = self.HEADER_BYTES - len(self._header)
                self._header += data[offset : offset + missing]
                if len(self._header) < self.HEADER_BYTES:
                    return found
                offset += missing
                self._body_left = self.body_bytes(self._header)
                self._header = b""
            if self._body_left > len(data) - offset:
                self._body_left -= len(data) - offset
                return found
            offset += self._body_left
            self._body_left = None
            found.append(offset)


class Int32Frames(HeaderBoundaries):
    """The frames of :class:`twisted.protocols.basic.Int32StringReceiver`: four bytes of length, then as many bytes."""

    HEADER_BYTES = 4

    def body_bytes(self, header: bytes) -> int:
        """See :class:`HeaderBoundaries`."""
        return int.from_bytes(header, "big")


class TLSRecords(HeaderBoundaries):
    """The records of TLS, handshake included: type, version and two bytes of length (RFC 8446, section 5.1)."""

    HEADER_BYTES = 5

    def body_bytes(self, header: bytes) -> int:
        """See :class:`HeaderBoundaries`."""
        return int.from_bytes(header[3:], "big")


class Written:
    """A dataclass whose ``repr`` is the call that makes it, without the arguments that have their defaults.

    A plan that a failed test prints can be copied into the next test.  Declare the dataclass with ``repr=False``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the call that makes this value."""
        itself: Any = self
        texts = []
        for field in fields(itself):
            value = getattr(self, field.name)
            if value != field.default:
                texts.append(f"{field.name}={_text(value)}")
        return f"{type(self).__name__}({', '.join(texts)})"


def _text(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value)
    return value.__qualname__ if isinstance(value, type) else repr(value)


def _check(value: object, *names: str, least: int) -> None:
    for name in names:
        number = getattr(value, name)
        if number is not None and not number >= least:
            raise ValueError(f"{name} is {number}, and must be at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LaneFaults(Written):
    """The faults of one direction of a connection.  Without arguments there are none.

    Offsets count from the connection's first byte in this direction.

    :ivar cut_after: bytes to deliver before the connection is cut in both directions; 0 cuts it as soon as it is made,
        ``None`` never.
    :ivar cut_after_records: whole records to deliver before the connection is cut, at least 1; ``None`` cuts at none.
        :attr:`Faults.records` defines a record.
    :ivar stall_after: bytes to deliver before the direction stalls: neither the bytes after them nor the end arrive,
        and the connection stays half-open until a test resumes it.  ``None`` for no stall.
    :ivar delay: seconds from the writing of a byte to its delivery; the end of the connection takes as long.
    :ivar fragment: the largest number of bytes to deliver at once; the size of each piece is drawn from 1 to this.
        ``None`` delivers all the bytes that there are.
    :ivar seed: the seed of those sizes.
    :raises ValueError: a number is out of its range.
    """

    cut_after: int | None = None
    cut_after_records: int | None = None
    stall_after: int | None = None
    delay: float = 0.0
    fragment: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check(self, "cut_after", "stall_after", "delay", least=0)
        _check(self, "cut_after_records", "fragment", least=1)


_NO_LANE_FAULTS = LaneFaults()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Late(Written):
    """A later connection overtakes the client's bytes: they arrive after the bytes of a connection dialled later.

    The client is connected at once, as through a relay that accepts in the server's name.  The relay holds back the
    client's bytes from offset `after` on, and the end of the connection if the client closes it.  It lets them go when
    the connection that was dialled `overtakers` dials later has delivered `overtaking_bytes` to the server.

    :ivar after: bytes that the server gets in time.  With 0 the server learns of the connection itself only later.
    :ivar overtakers: dials between the two connections, at least 1.
    :ivar overtaking_bytes: bytes, at least 1, that the server must have received over the later connection, such as the
        length of a login.
    :raises ValueError: a number is out of its range.
    """

    after: int = 0
    overtakers: int = 1
    overtaking_bytes: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check(self, "after", least=0)
        _check(self, "overtakers", "overtaking_bytes", least=1)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Faults(Written):
    """The plan of one connection.  Without arguments the connection is healthy.

    Give it to :class:`~twisted_rsh.testing.memory.MemoryConnection`, or several of them to
    :class:`~twisted_rsh.testing.schedules.InTurn` and that to an endpoint or a proxy.

    :ivar to_server: the faults of the bytes that the client sends.
    :ivar to_client: the faults of the bytes that the server sends.
    :ivar cut_after_records: whole records, of both directions together, to deliver before the connection is cut, at
        least 1; ``None`` for no such cut.
    :ivar cut_after_seconds: seconds from the start of the connection to its cut; ``None`` for no such cut.
    :ivar server_end: how the server learns of a cut.
    :ivar client_end: how the client learns of a cut.
    :ivar late: how a later connection overtakes the client's bytes; ``None`` if none does.
    :ivar refuse: whether the dial is refused: in memory it fails with
        :class:`~twisted.internet.error.ConnectionRefusedError`, through a proxy the connection is reset at once.
    :ivar records: the class of the records, such as :class:`TLSRecords`; each direction gets an object of it.
    :raises ValueError: a number is out of its range.
    """

    to_server: LaneFaults = _NO_LANE_FAULTS
    to_client: LaneFaults = _NO_LANE_FAULTS
    cut_after_records: int | None = None
    cut_after_seconds: float | None = None
    server_end: End = End.RESET
    client_end: End = End.RESET
    late: Late | None = None
    refuse: bool = False
    records: Callable[[], Boundaries] = TLSRecords

    def __post_init__(self) -> None:
        """Check the numbers."""
        _check(self, "cut_after_records", least=1)
        _check(self, "cut_after_seconds", least=0)

    @classmethod
    def going(cls, direction: Direction, lane: LaneFaults) -> Faults:
        """Return the plan that has faults in one direction only.

        :param direction: the direction.
        :param lane: its faults; ``dataclasses.replace`` adds the rest of a plan.
        """
        return cls(to_server=lane) if direction is Direction.TO_SERVER else cls(to_client=lane)


HEALTHY = Faults()
"""The plan without faults."""
