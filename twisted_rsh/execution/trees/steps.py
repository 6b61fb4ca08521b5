"""How long one turn of the reactor is spent on the ends of jobs, and which steps wait for a later turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["STEPS_SECONDS", "Step", "Steps"]

STEPS_SECONDS = 0.002
"""Seconds of one turn of the reactor for all steps together, and one step more.  A step takes 0.3 to 2 ms, and the 64
jobs of a client mostly end together."""

WINDOW_SECONDS = 0.02
"""Seconds after which another turn has begun, where no step waits for one.  To be told by the reactor costs 20 us."""

Step = Callable[[], bool]
"""Does a piece of work, and returns whether that was the last one; if not, it is called again."""


class Steps:
    """Lets the jobs of a reactor take the steps of their ends, some in each turn and in the order in which they came.

    :param clock: tells the time and calls back in the next turn; usually the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Step] = deque()
        self._next_turn: IDelayedCall | None = None
        self._began = self._spent = 0.0

    def take(self, step: Step) -> None:
        """Take a step, now or in a later turn.

        :param step: the step.  A step that is not done after one call waits for the next turn, as the last.
        """
        now = self._clock.seconds()
        if self._next_turn is None and not 0 <= now - self._began < WINDOW_SECONDS:
            self._began, self._spent = now, 0.0
        if self._waiting or self._spent >= STEPS_SECONDS or not self._do(step):
            self._waiting.append(step)
            self._plan()

    def _do(self, step: Step) -> bool:
        began = self._clock.seconds()
        try:
            return step()
        finally:
            self._spent += max(self._clock.seconds() - began, 0.0)

    def _plan(self) -> None:
        if self._next_turn is None:
            self._next_turn = self._clock.callLater(0, self._turn_begins)

    def _turn_begins(self) -> None:
        self._next_turn = None
        self._began, self._spent = self._clock.seconds(), 0.0
        try:
            for _ in range(len(self._waiting)):
                if self._spent >= STEPS_SECONDS:
                    break
                step = self._waiting.popleft()
                if not self._do(step):
                    self._waiting.append(step)
        finally:
            if self._waiting:  # also after a step that broke
                self._plan()
