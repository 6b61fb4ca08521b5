"""What goes wrong on one connection: values, each of which a test can print, compare and write down again."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from twisted_rsh.testing.boundaries import Boundaries, TLSRecords
from twisted_rsh.testing.written import Written

__all__ = ["HEALTHY", "Direction", "End", "Faults", "LaneFaults", "Late"]


class Direction(enum.Enum):
    """Which way bytes go."""

    TO_SERVER = "to the server"
    """From the end that dialled to the end that listened."""

    TO_CLIENT = "to the client"
    """From the end that listened to the end that dialled."""


class End(enum.Enum):
    """How one end of a connection learns that it was cut."""

    RESET = "reset"
    """As of a TCP reset: ``connectionLost`` with :class:`~twisted.internet.error.ConnectionLost`."""

    CLOSED = "closed"
    """As of an orderly close: ``connectionLost`` with :class:`~twisted.internet.error.ConnectionDone`."""

    UNSEEN = "unseen"
    """Not at all: the connection stays open at this end and carries nothing, as when the other machine lost its
    power."""


def _check(value: object, *names: str, least: int) -> None:
    for name in names:
        number = getattr(value, name)
        if number is not None and not number >= least:
            raise ValueError(f"{name} is {number}, and must be at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LaneFaults(Written):
    """What goes wrong with the bytes that go one way.  Without arguments, nothing does.

    Offsets count from the connection's first byte in this direction.

    :ivar cut_after: bytes that are delivered; then the connection is cut, in both directions.  With 0 it is cut as soon
        as it is made.  ``None``: not because of them.
    :ivar cut_after_records: records that are delivered whole, at least 1; then the connection is cut.  What a record
        is, :attr:`Faults.records` says.
    :ivar stall_after: bytes that are delivered; the following ones are not, nor is the end, and the connection stays
        open: it is half-open until somebody resumes it.
    :ivar delay: seconds from the writing of a byte to its delivery; the end of the connection takes as long.
    :ivar fragment: bytes that are delivered at once, at most; how many each time is drawn from 1 to this.  ``None``:
        as many as there are.
    :ivar seed: what the sizes of the fragments are drawn from.
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


_NOTHING = LaneFaults()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Late(Written):
    """A client's bytes arrive after those of connections that it made later.

    The client is connected at once, as through a relay that accepts in the server's name.  What it sends from offset
    `after` on is held back, together with the end of the connection if the client gives it up, until the connection
    that was dialled `overtakers` dials later has delivered `overtaking_bytes` to the server.  Then it all arrives.

    :ivar after: bytes that the server gets in time.  With 0 it hears of the connection itself only later.
    :ivar overtakers: dials, at least 1.
    :ivar overtaking_bytes: bytes, at least 1: as many as the server must have seen for the later connection to count,
        such as the length of a login.
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
    """The plan of one connection.  Without arguments, nothing goes wrong with it.

    Give it to :class:`~twisted_rsh.testing.memory.MemoryConnection`, or several of them to
    :class:`~twisted_rsh.testing.schedules.InTurn` and that to an endpoint or a proxy.

    :ivar to_server: what goes wrong with what the client sends.
    :ivar to_client: what goes wrong with what the server sends.
    :ivar cut_after_records: records of both directions together that are delivered whole, at least 1; then the
        connection is cut.
    :ivar cut_after_seconds: seconds from the connection to its cut.
    :ivar server_end: how the server learns of a cut.
    :ivar client_end: how the client learns of a cut.
    :ivar late: how the client's bytes are overtaken, or ``None``.
    :ivar refuse: whether nobody can be reached: in memory the dial fails with
        :class:`~twisted.internet.error.ConnectionRefusedError`, through a proxy the connection is reset at once.
    :ivar records: makes what tells where records end, once for each direction: a class such as
        :class:`~twisted_rsh.testing.boundaries.TLSRecords`.
    :raises ValueError: a number is out of its range.
    """

    to_server: LaneFaults = _NOTHING
    to_client: LaneFaults = _NOTHING
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
        """Return the plan in which something goes wrong in one direction only.

        :param direction: which.
        :param lane: what goes wrong there; ``dataclasses.replace`` adds the rest of a plan.
        """
        return cls(to_server=lane) if direction is Direction.TO_SERVER else cls(to_client=lane)


HEALTHY = Faults()
"""The plan in which nothing goes wrong."""
