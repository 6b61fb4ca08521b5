"""The plans of one connection after another: written down, or drawn from a seed and so the same in each run."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted_rsh.testing.faults import (
    HEALTHY,
    Boundaries,
    Direction,
    End,
    Faults,
    LaneFaults,
    Late,
    TLSRecords,
    Written,
)

__all__ = [
    "NO_FAULTS",
    "CutEveryRecords",
    "CutEverySeconds",
    "DialOrder",
    "FaultSchedule",
    "InTurn",
    "LateConnection",
    "Schedule",
]

LONGEST_CUT_BYTES = 64 * 1024
"""The largest number of bytes before a cut of :class:`FaultSchedule`: a login, a few commands and some output."""

LARGEST_FRAGMENT_BYTES = 4 * 1024
"""Bytes of the largest fragments that :class:`FaultSchedule` draws: a quarter of a TLS record."""


class Schedule(Protocol):
    """Plans for one connection after another."""

    def plan(self, index: int) -> Faults:
        """Return the plan of a connection: the same plan each time.

        :param index: the connection's number in the order of the dials, from 0.
        """


@dataclass(frozen=True, slots=True, repr=False)
class InTurn(Written):
    """Plans that are written down: the first is for the first connection, and so on.

    :ivar plans: the plans.
    :ivar afterwards: the plan of all later connections; by default they are healthy.
    """

    plans: tuple[Faults, ...] = ()
    afterwards: Faults = HEALTHY

    def plan(self, index: int) -> Faults:
        """See :class:`Schedule`."""
        return self.plans[index] if index < len(self.plans) else self.afterwards


NO_FAULTS = InTurn()
"""The schedule whose connections are all healthy."""


@dataclass(frozen=True, slots=True, repr=False)
class FaultSchedule(Written):
    """Plans of every kind, drawn from a seed: the same seed gives the same plans on every machine.

    Print the schedule when a test fails; its text makes the same one again.

    Each connection is cut after some byte of one direction, and small offsets are as likely as large ones.  Each end
    is reset or closed.  Half of the directions deliver their bytes in fragments.  `delay`, `stalls` and `late` add
    more faults.

    :ivar seed: any integer.
    :ivar faulty: connections with faults, from the first on; the later ones are healthy, so that a test that retries
        comes to its end.  ``None`` for all.
    :ivar longest: the largest number of bytes before a cut.
    :ivar delay: the largest delay of bytes, in seconds.
    :ivar stalls: whether about every eighth connection becomes half-open instead of being cut: for code that notices
        silence.
    :ivar late: whether the next connection overtakes about every eighth one.
    """

    seed: int
    faulty: int | None = None
    longest: int = LONGEST_CUT_BYTES
    delay: float = 0.0
    stalls: bool = False
    late: bool = False

    def plan(self, index: int) -> Faults:
        """See :class:`Schedule`."""
        if self.faulty is not None and index >= self.faulty:
            return HEALTHY
        draw = _drawing(self.seed, index)
        # Draw everything for every connection, so that a change of one setting does not change the other draws.
        direction = draw.choice(list(Direction))
        offset = min(int((self.longest + 1) ** draw.random()) - 1, self.longest)
        ends = [draw.choice((End.RESET, End.CLOSED)) for _ in range(2)]
        fragments = [draw.choice((None, draw.randint(1, LARGEST_FRAGMENT_BYTES))) for _ in range(2)]
        delays = [draw.random() * self.delay for _ in range(2)]
        stalled = draw.random() < 1 / 8 and self.stalls
        late_after = draw.randint(0, self.longest)
        late = Late(after=late_after) if draw.random() < 1 / 8 and self.late else None
        seeds = [draw.getrandbits(32) for _ in range(2)]
        lanes = {}
        for at, fragment, delay, seed in zip(Direction, fragments, delays, seeds, strict=True):
            hit = offset if at is direction else None
            lanes[at] = LaneFaults(
                cut_after=None if stalled else hit,
                stall_after=hit if stalled else None,
                delay=delay,
                fragment=fragment,
                seed=0 if fragment is None else seed,
            )
        return Faults(
            to_server=lanes[Direction.TO_SERVER],
            to_client=lanes[Direction.TO_CLIENT],
            server_end=ends[0],
            client_end=ends[1],
            late=late,
        )


@dataclass(frozen=True, slots=True, repr=False)
class CutEveryRecords(Written):
    """A cut of every connection after a number of records, of both directions together, drawn for each connection.

    A whole test suite can run over connections that keep failing so.

    :ivar seed: any integer.
    :ivar low: the smallest number of records, at least 1.
    :ivar high: the largest number of records.
    :ivar spare: connections that first carry `spare_records`, which do not count: those whose login must not be cut,
        such as the first connection of a client that reconnects by itself.  ``None`` for all.
    :ivar spare_records: records.
    :ivar records: the class of the records, as in :attr:`Faults.records`.
    """

    seed: int
    low: int = 1
    high: int = 50
    spare: int | None = 1
    spare_records: int = 0
    records: Callable[[], Boundaries] = TLSRecords

    def plan(self, index: int) -> Faults:
        """See :class:`Schedule`."""
        count = _drawing(self.seed, index).randint(self.low, self.high)
        if self.spare is None or index < self.spare:
            count += self.spare_records
        return Faults(cut_after_records=count, records=self.records)


@dataclass(frozen=True, slots=True, repr=False)
class CutEverySeconds(Written):
    """A cut of every connection after a time, drawn for each connection.

    :ivar seed: any integer.
    :ivar low: the shortest time, in seconds.
    :ivar high: the longest time, in seconds.
    :ivar spare: connections that last `spare_seconds` longer.  ``None`` for all.
    :ivar spare_seconds: seconds.
    """

    seed: int
    low: float = 0.5
    high: float = 3.0
    spare: int | None = 1
    spare_seconds: float = 0.0

    def plan(self, index: int) -> Faults:
        """See :class:`Schedule`."""
        seconds = _drawing(self.seed, index).uniform(self.low, self.high)
        if self.spare is None or index < self.spare:
            seconds += self.spare_seconds
        return Faults(cut_after_seconds=seconds)


def _drawing(seed: int, index: int) -> random.Random:
    """Return the source of a connection's random draws; connections do not depend on each other."""
    return random.Random(f"{seed}/{index}")  # noqa: S311 - to be repeated, not to be secret


class LateConnection(Protocol):
    """A connection that waits for a later one to overtake it."""

    def overtaken(self) -> None:
        """Deliver the bytes that were held back: the later connection has delivered its own."""


class DialOrder:
    """The connections of one schedule that wait for later ones to overtake them (:class:`Late`)."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Late, LateConnection]] = {}

    def hold(self, index: int, late: Late, connection: LateConnection) -> None:
        """Call a connection's :meth:`LateConnection.overtaken` once, when a later connection has overtaken it.

        :param index: the connection's number.
        :param late: its plan.
        :param connection: the connection.
        """
        self._waiting[index] = (late, connection)

    def delivered(self, index: int, total: int) -> None:
        """Note how many bytes a connection has delivered to the server so far, and release the ones it has overtaken.

        :param index: the connection's number.
        :param total: bytes since its start.
        """
        for held, (late, connection) in list(self._waiting.items()):
            if index == held + late.overtakers and total >= late.overtaking_bytes:
                del self._waiting[held]
                connection.overtaken()
