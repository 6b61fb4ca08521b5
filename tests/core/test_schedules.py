"""Two cores on one link, in any schedule of calls: the rules hold at every moment.

Frames travel when the schedule says so, some at a time, so that messages cross each other in every way that the table
of a channel allows.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.core.machine import Applications
from twisted_rsh.core.limits import MIN_WINDOW
from twisted_rsh.core.roles import Role, Stream

ROLES = st.sampled_from(Role)
STREAMS = st.sampled_from(Stream)
PICKS = st.integers(0, 5)


class Schedules(RuleBasedStateMachine):
    """Any schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.both = Applications()

    @rule()
    def open(self) -> None:
        """Ask for a job."""
        self.both.do_open()

    @rule(pick=PICKS, count=st.sampled_from([1, 70]))
    def signal(self, pick: int, count: int) -> None:
        """Send signals."""
        self.both.do_signal(pick, count)

    @rule(pick=PICKS, count=st.sampled_from([1, 70]))
    def resize(self, pick: int, count: int) -> None:
        """Give a terminal other sizes."""
        self.both.do_resize(pick, count)

    @rule(pick=PICKS, count=st.sampled_from([1, 70]))
    def suspend(self, pick: int, count: int) -> None:
        """Suspend a job, and let it go on."""
        self.both.do_suspend(pick, count)

    @rule(pick=PICKS)
    def inspect(self, pick: int) -> None:
        """Ask about a job."""
        self.both.do_inspect(pick)

    @rule(pick=PICKS)
    def tell(self, pick: int) -> None:
        """Answer a question about a job."""
        self.both.do_tell(pick)

    @rule(pick=PICKS)
    def close(self, pick: int) -> None:
        """Lose interest in a job."""
        self.both.do_close(pick)

    @rule(pick=PICKS, refuse=st.booleans())
    def answer(self, pick: int, refuse: bool) -> None:
        """Accept or refuse a job."""
        self.both.do_answer(pick, refuse)

    @rule(pick=PICKS, code=st.integers(0, 255))
    def exit(self, pick: int, code: int) -> None:
        """Let a job end."""
        self.both.do_exit(pick, code)

    @rule(stream=STREAMS, pick=PICKS, size=st.sampled_from([1, 700, 2500, MIN_WINDOW]))
    def write(self, stream: Stream, pick: int, size: int) -> None:
        """Send data."""
        self.both.do_write(stream, pick, size)

    @rule(stream=STREAMS, pick=PICKS)
    def end(self, stream: Stream, pick: int) -> None:
        """End a stream."""
        self.both.do_end(stream, pick)

    @rule(stream=STREAMS, pick=PICKS)
    def stop(self, stream: Stream, pick: int) -> None:
        """Want no more of a stream."""
        self.both.do_stop(stream, pick)

    @rule(stream=STREAMS, pick=PICKS, size=st.sampled_from([1, 1024, MIN_WINDOW]))
    def consume(self, stream: Stream, pick: int, size: int) -> None:
        """Be done with some of what arrived."""
        self.both.do_consume(stream, pick, size)

    @rule(role=ROLES)
    def flush(self, role: Role) -> None:
        """Write what a side wants written."""
        self.both.do_flush(role)

    @rule(role=ROLES, count=st.sampled_from([1, 3, 20, 1000]))
    def deliver(self, role: Role, count: int) -> None:
        """Let some frames arrive."""
        self.both.do_deliver(role, count)

    @rule(role=ROLES)
    def pause(self, role: Role) -> None:
        """A side's link is full."""
        self.both.do_pause(role)

    @rule(role=ROLES)
    def unpause(self, role: Role) -> None:
        """A side's link takes bytes again."""
        self.both.do_unpause(role)

    @rule(role=ROLES)
    def wait(self, role: Role) -> None:
        """A side sends a ping."""
        self.both.do_wait(role)

    @invariant()
    def memory_is_bounded(self) -> None:
        """Neither side holds more than it may."""
        self.both.memory_is_bounded()

    def teardown(self) -> None:
        """Nothing was lost, and nothing is left."""
        self.both.finish()


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(
    derandomize=True, deadline=None, max_examples=60, stateful_step_count=60, print_blob=False
)


@pytest.mark.parametrize("seed", range(200))
def test_long_schedules(seed: int) -> None:
    """The rules hold in long schedules, too, which prefer different steps in turn."""
    dice = random.Random(seed)
    both = Applications()
    for _ in range(12):
        both.burst(dice, 60)
    both.finish()
