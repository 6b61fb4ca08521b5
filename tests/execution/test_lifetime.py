"""The kill ladder, step by step on a clock, and the backlog of a process's output."""

from __future__ import annotations

import math
import signal

import pytest
from twisted.internet.task import Clock

from tests.execution.owners import RecordingOwner, asynchronous, start_job, until
from twisted_rsh.core.roles import Stream
from twisted_rsh.execution.lifetime import (
    MAX_SWEEPS,
    POLL_SECONDS,
    SWEEP_SECONDS,
    KillLadder,
    OutputBacklog,
)
from twisted_rsh.execution.trees.guardian import GRACE_SECONDS, LADDER


class Group:
    """A process group that ends at one of the steps, or never, and records the signals that it got."""

    def __init__(self, clock: Clock, gone_at: float = 1e9) -> None:
        self.clock = clock
        self.gone_at = gone_at
        self.looks = 0
        self.signals: list[tuple[float, int]] = []

    def signal(self, number: int) -> bool:
        """Take a signal from the ladder."""
        self.looks += 1
        if number and self.clock.seconds() < self.gone_at:
            self.signals.append((self.clock.seconds(), number))
        return self.clock.seconds() < self.gone_at


def climb(group: Group) -> KillLadder:
    """Climb the whole ladder, then wait for the same time again."""
    ladder = KillLadder(group.clock, group.signal)
    ladder.start()
    group.clock.pump([1 / 64] * round(4 * GRACE_SECONDS * 64))  # a binary fraction adds up exactly
    return ladder


HUP_AND_TERM = [(0, signal.SIGHUP), (0, signal.SIGCONT), (5, signal.SIGTERM), (5, signal.SIGCONT)]


def test_stubborn_group() -> None:
    """X-08: a group that ignores every signal gets HUP, TERM and KILL, five seconds apart; CONT follows the first two.

    KILL is repeated for two seconds, for processes that were forked meanwhile.
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
    """X-08: KILL is not repeated once the group is gone."""
    group = Group(Clock(), gone_at=10.05)
    climb(group)
    assert [number for _, number in group.signals] == [*(number for _, number in HUP_AND_TERM), signal.SIGKILL]
    assert not group.clock.getDelayedCalls()


def test_group_that_is_gone() -> None:
    """X-15: once the group is gone the ladder sends nothing more, for the number may be another group's."""
    group = Group(Clock(), gone_at=1.1)
    climb(group)
    assert group.signals == [(0, signal.SIGHUP), (0, signal.SIGCONT)]
    assert not group.clock.getDelayedCalls()


def test_group_that_never_was() -> None:
    """A group that is gone before the first step gets no signal."""
    group = Group(Clock(), gone_at=0)
    climb(group)
    assert group.signals == []
    assert group.looks == 2, "HUP, and KILL for what cannot be seen"


def test_second_start() -> None:
    """A second start does nothing."""
    group = Group(Clock())
    ladder = KillLadder(group.clock, group.signal)
    ladder.start()
    group.clock.advance(POLL_SECONDS)
    ladder.start()
    assert group.signals == HUP_AND_TERM[:2]
    assert len(group.clock.getDelayedCalls()) == 1


def test_delayed_start() -> None:
    """A delayed ladder only looks at first, then goes through the same steps, and not at all once the group is gone."""
    for gone_at, signals in ((0.9, []), (1.1, [(1, signal.SIGHUP), (1, signal.SIGCONT)])):
        group = Group(Clock(), gone_at)
        KillLadder(group.clock, group.signal).start(1.0)
        group.clock.pump([1 / 64] * round(4 * GRACE_SECONDS * 64))
        assert group.signals == signals
        assert not group.clock.getDelayedCalls()


@pytest.mark.parametrize("is_climbing", [False, True])
def test_kill_at_once(is_climbing: bool) -> None:
    """A ladder that has not begun can begin with KILL, and sweeps; one that climbs sends KILL and goes on."""
    group = Group(Clock(), gone_at=0.25)
    told: list[float] = []
    ladder = KillLadder(group.clock, group.signal, lambda: told.append(group.clock.seconds()))
    if is_climbing:
        ladder.start()
        group.signals.clear()
    ladder.kill()
    assert group.signals == [(0, signal.SIGKILL)]
    group.clock.pump([1 / 64] * round(4 * GRACE_SECONDS * 64))
    assert {number for _, number in group.signals} == {signal.SIGKILL}
    assert len(group.signals) == (1 if is_climbing else 3)
    assert len(told) == 1


@pytest.mark.parametrize("gone_at", [0, 1.1, 1e9])
def test_finish_is_told_once(gone_at: float) -> None:
    """The end of the ladder is told once, whether the group was never there, has ended early or was killed."""
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


@asynchronous
async def test_backlog() -> None:
    """The backlog of an output is empty once the bytes of the measurement are delivered, or the output is closed."""
    owner = RecordingOwner(room=0)
    job = start_job(owner, command="printf 12345; printf 678 >&2")
    job.end_input()
    await until(lambda: job.pid is None)
    backlog = OutputBacklog(job._process)
    backlog.measure()
    assert not backlog.delivered(Stream.STDOUT, 4)
    assert backlog.has(Stream.STDOUT)
    assert backlog.delivered(Stream.STDOUT, 9)
    assert not backlog.has(Stream.STDOUT)
    assert not backlog.delivered(Stream.STDOUT, 1)
    assert backlog.has(Stream.STDERR)
    backlog.closed(Stream.STDERR)
    assert not backlog.has(Stream.STDERR)
    assert backlog.is_empty
    owner.give_room(job, 5)
    owner.give_room(job, 3, Stream.STDERR)
    await owner.finished()
