"""The plans of connection after connection: written down, or drawn from a seed and therefore always the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted_rsh.testing.boundaries import Boundaries, TLSRecords
from twisted_rsh.testing.faults import HEALTHY, Direction, End, Faults, LaneFaults, Late
from twisted_rsh.testing.written import Written

__all__ = ["NO_FAULTS", "CutEveryRecords", "CutEverySeconds", "FaultSchedule", "InTurn", "Schedule"]

LONGEST_CUT_BYTES = 64 * 1024
"""Bytes behind which :class:`FaultSchedule` cuts at the latest: a login, a few commands and some of their output."""

LARGEST_FRAGMENT_BYTES = 4 * 1024
"""Bytes of the largest fragments that :class:`FaultSchedule` draws: a quarter of a TLS record."""


class Schedule(Protocol):
    """Says what goes wrong on each connection."""

    def plan(self, index: int) -> Faults:
        """Return the plan of a connection; the same one each time.

        :param index: the connection's number, from 0, in the order of the dials.
        """


@dataclass(frozen=True, slots=True, repr=False)
class InTurn(Written):
    """Plans that are written down: the first connection has the first one, and so on.

    :ivar plans: the plans.
    :ivar afterwards: the plan of all connections beyond those; nothing goes wrong unless told otherwise.
    """

    plans: tuple[Faults, ...] = ()
    afterwards: Faults = HEALTHY

    def plan(self, index: int) -> Faults:
        """See :class:`Schedule`."""
        return self.plans[index] if index < len(self.plans) else self.afterwards


NO_FAULTS = InTurn()
"""The schedule in which nothing ever goes wrong."""


@dataclass(frozen=True, slots=True, repr=False)
class FaultSchedule(Written):
    """Plans of every kind, drawn from a seed: the same seed gives the same plans, on every machine.

    Print the schedule when a test fails; its text makes the same one again.

    A connection is cut behind some byte of one direction, small offsets being as likely as large ones; both ends are
    reset, or closed; half of the connections are delivered in fragments.  The rest happens where it is allowed.

    :ivar seed: any integer.
    :ivar faulty: connections to which this happens; nothing goes wrong with those after them, so that a test which
        retries comes to its end.  ``None`` for all.
    :ivar longest: bytes behind which a connection is cut at the latest.
    :ivar delay: seconds by which bytes are delayed, at most.
    :ivar stalls: whether every eighth connection, about, becomes half-open instead of being cut: for tests in which
        somebody notices silence.
    :ivar late: whether every eighth connection, about, is overtaken by the next one as well.
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
        # Everything is drawn for every connection, so that one setting does not change what the others lead to.
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
    """Every connection is cut after a number of records, both directions together, drawn anew for each.

    For running a whole test suite over a connection that keeps failing.

    :ivar seed: any integer.
    :ivar low: records, at least: at least 1.
    :ivar high: records, at most.
    :ivar spare: connections that first carry `spare_records`, which do not count: those that must not be cut during
        their login, the first one of a client that dials again by itself.  ``None`` for all.
    :ivar spare_records: records.
    :ivar records: what tells where records end, as in :attr:`Faults.records`.
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
    """Every connection is cut after a time, drawn anew for each.

    :ivar seed: any integer.
    :ivar low: seconds, at least.
    :ivar high: seconds, at most.
    :ivar spare: connections that have `spare_seconds` more.  ``None`` for all.
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
    """Return what a connection's plan is drawn from; connections do not depend on each other."""
    return random.Random(f"{seed}/{index}")  # noqa: S311 - to be repeated, not to be secret
