"""The ends of many jobs are divided among the turns of the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from twisted.internet.task import Clock

from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.trees.steps import STEPS_SECONDS, Steps
from twisted_rsh.execution.trees.trees import JobTrees

STEP_SECONDS = STEPS_SECONDS / 3
"""The time that a step takes in these tests."""


class Taken:
    """Steps that take time on a clock.

    :ivar order: the steps that were called, in order.
    """

    def __init__(self) -> None:
        self.clock, self.order = Clock(), list[str]()
        self.steps = Steps(self.clock)

    def step(self, name: str, calls: int = 1) -> Callable[[], bool]:
        """Make a step that is done after so many calls."""
        left = [calls]

        def act() -> bool:
            self.clock.rightNow += STEP_SECONDS
            self.order.append(name)
            left[0] -= 1
            return not left[0]

        return act

    def turn(self) -> float:
        """Make the call that is due; return how long it took."""
        (call,) = self.clock.calls
        began = self.clock.seconds()
        self.clock.calls.clear()
        call.called = 1
        call.func()
        return self.clock.seconds() - began


def test_a_turn_is_bounded() -> None:
    """Steps that come together are taken in their order, and no turn takes more than its bound and a step."""
    taken = Taken()
    began = taken.clock.seconds()
    for number in range(20):
        taken.steps.take(taken.step(str(number)))
    assert taken.clock.seconds() - began <= STEPS_SECONDS + STEP_SECONDS
    while taken.clock.calls:
        assert taken.turn() <= STEPS_SECONDS + STEP_SECONDS
    assert taken.order == [str(number) for number in range(20)]


def test_a_step_of_several_calls() -> None:
    """It goes on in later turns, behind steps that came after it."""
    taken = Taken()
    taken.steps.take(taken.step("long", 3))
    taken.steps.take(taken.step("short"))
    while taken.clock.calls:
        taken.turn()
    assert taken.order == ["long", "long", "short", "long"]


def test_a_step_that_breaks() -> None:
    """An error in one step holds up no other."""
    taken = Taken()

    def broken() -> bool:
        raise ZeroDivisionError

    taken.steps.take(taken.step("first", 2))
    taken.steps.take(broken)
    taken.steps.take(taken.step("last"))
    with pytest.raises(ZeroDivisionError):
        taken.turn()
    taken.turn()
    assert taken.order == ["first", "first", "last"]


def test_every_reactor_has_its_own() -> None:
    """Ends of jobs of one reactor take no time from those of another in the same process."""
    one, other = (JobTrees(cast("IJobReactor", Clock())) for _ in range(2))
    assert one.steps is not other.steps
