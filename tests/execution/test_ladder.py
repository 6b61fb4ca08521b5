"""The kill ladder, step by step on a clock."""

from __future__ import annotations

import math
import signal

import pytest
from twisted.internet.task import Clock

from twisted_rsh.execution.lifetime import (
    MAX_SWEEPS,
    POLL_SECONDS,
    SWEEP_SECONDS,
    KillLadder,
)
from twisted_rsh.execution.trees.guardian import GRACE_SECONDS, LADDER


class Group:
    """A process group that ends at one of the steps, or never, and records what it was sent."""

    def __init__(self, clock: Clock, gone_at: float = 1e9) -> None:
        self.clock = clock
        self.gone_at = gone_at
        self.looks = 0
        self.signals: list[tuple[float, int]] = []

    def signal(self, number: int) -> bool:
        """What the ladder calls."""
        self.looks += 1
        if number and self.clock.seconds() < self.gone_at:
            self.signals.append((self.clock.seconds(), number))
        return self.clock.seconds() < self.gone_at


def climb(group: Group) -> KillLadder:
    """Climb the whole ladder and go on for as long again."""
    ladder = KillLadder(group.clock, group.signal)
    ladder.start()
    group.clock.pump([1 / 64] * round(4 * GRACE_SECONDS * 64))  # a binary fraction adds up exactly
    return ladder


HUP_AND_TERM = [(0, signal.SIGHUP), (0, signal.SIGCONT), (5, signal.SIGTERM), (5, signal.SIGCONT)]


def test_stubborn_group() -> None:
    """X-08: what ignores everything gets HUP, TERM and KILL, five seconds apart, with CONT behind the first two.

    KILL is repeated, for what was forked meanwhile, until two seconds have passed.
    """
    group = Group(Clock())
    climb(group)
    assert [number for _, number in group.signals[:4]] == [number for _, number in HUP_AND_TERM]
    assert [at for at, _ in group.signals[:4]] == pytest.approx([at for at, _ in HUP_AND_TERM])
    kills = group.signals[4:]
    assert {number for _, number in kills} == {signal.SIGKILL}
    assert [at for at, _ in kills] == pytest.approx(
        [10 + SWEEP_SECONDS * sweep for sweep in range(MAX_SWEEPS + 1)], abs=0.5
    )
    assert not group.clock.getDelayedCalls()


def test_group_that_dies_of_kill() -> None:
    """X-08: KILL is not repeated once nothing is left."""
    group = Group(Clock(), gone_at=10.05)
    climb(group)
    assert [number for _, number in group.signals] == [*(number for _, number in HUP_AND_TERM), signal.SIGKILL]
    assert not group.clock.getDelayedCalls()


def test_group_that_is_gone() -> None:
    """X-15: once the group is gone nothing more is sent, for its number may be somebody else's."""
    group = Group(Clock(), gone_at=1.1)
    climb(group)
    assert group.signals == [(0, signal.SIGHUP), (0, signal.SIGCONT)]
    assert not group.clock.getDelayedCalls()


def test_group_that_never_was() -> None:
    """A group that is gone already is left alone."""
    group = Group(Clock(), gone_at=0)
    climb(group)
    assert group.signals == []
    assert group.looks == 2, "HUP, and KILL for what cannot be seen"


def test_second_start() -> None:
    """A second start does not begin again."""
    group = Group(Clock())
    ladder = KillLadder(group.clock, group.signal)
    ladder.start()
    group.clock.advance(POLL_SECONDS)
    ladder.start()
    assert group.signals == HUP_AND_TERM[:2]
    assert len(group.clock.getDelayedCalls()) == 1


@pytest.mark.parametrize("gone_at", [0, 1.1, 1e9])
def test_finish_is_told_once(gone_at: float) -> None:
    """Whether the group was never there, went on its way or was killed: it is told once, and then nothing climbs."""
    group = Group(Clock(), gone_at)
    told: list[float] = []
    ladder = KillLadder(group.clock, group.signal, lambda: told.append(group.clock.seconds()))
    assert not ladder.is_climbing
    ladder.start()
    assert ladder.is_climbing == bool(gone_at)
    group.clock.pump([1 / 64] * round(4 * GRACE_SECONDS * 64))
    last = GRACE_SECONDS * (len(LADDER) - 1) + SWEEP_SECONDS * MAX_SWEEPS
    assert told == pytest.approx([min(math.ceil(gone_at / POLL_SECONDS) * POLL_SECONDS, last)], abs=0.5)
    assert not ladder.is_climbing
