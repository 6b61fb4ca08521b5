"""The phases of a persistent shell: the rules of each phase, and the clocks that keep them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

if TYPE_CHECKING:
    from twisted_rsh.execution.shells.shell import ShellJob

__all__ = [
    "BEGIN_SECONDS",
    "LOST_DELAYS",
    "RULES",
    "START_SECONDS",
    "SYNC_DELAYS",
    "SYNC_SECONDS",
    "WATCH_SECONDS",
    "Phase",
    "PhaseRules",
    "ShellWatch",
]

START_SECONDS = 10.0
"""Seconds within which a shell has to answer its first line: it takes 5 ms, and longer on a busy machine."""

BEGIN_SECONDS = 30.0
"""Seconds within which a shell has to begin a command: enough to read
:data:`twisted_rsh.core.limits.MAX_SCRIPT_BYTES` on a busy machine."""

SYNC_SECONDS = 30.0
"""Seconds within which a shell has to come back to its prompt after an interrupted command has ended: enough for the
trap that a user has set for an interrupt."""

WATCH_SECONDS = 1.0
"""Seconds that a command runs until the shell is asked whether it is at its prompt.  The shell answers as soon as it
is, even when the command has removed the hook that reports its end.  Most commands have ended by then."""

SYNC_DELAYS = (0.02, 0.1, 0.25, 0.5, *(1.0,) * 30)
"""Seconds before each question whether a shell is at its prompt again after an interrupt.  The first gives a terminal
the time to deliver a key that was typed before.  Together they exceed :data:`SYNC_SECONDS`."""

LOST_DELAYS = (0.05, 0.25, 1.0, 4.0)
"""Seconds before each question, after an interrupt, whether the shell has dropped the command without a report."""

_ROUNDING = 1e-6
"""Seconds by which a call may come early: a difference of times is rounded."""


class Phase(enum.Enum):
    """The state of a shell.

    ::

        STARTING -> READY -> RUNNING -> SETTLING -> READY
                                                 -> SYNCING -> READY

    and from each of them to EXITED.
    """

    # enum.Enum's own hash looks the name up, in two calls for each look at the table below.
    __hash__ = object.__hash__

    STARTING = enum.auto()
    """The shell was started and has not reported the end of its first line."""

    READY = enum.auto()
    """The shell waits at its prompt."""

    RUNNING = enum.auto()
    """The shell has been given a command and has not reported its end."""

    SETTLING = enum.auto()
    """The shell has reported the end of the command, and some of the command's output is still to be delivered."""

    SYNCING = enum.auto()
    """The command was interrupted and has ended, and the shell may still be running the user's trap."""

    EXITED = enum.auto()
    """The process of the shell has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRules:
    """The rules of a phase.

    :ivar hides_output: whether the shell's output is for no owner, and is thrown away.
    :ivar seconds: the time that the shell has for its next step; ``None`` for no bound.
    :ivar late: one line that says what the shell has not done in time; may name the `seconds`.
    :ivar questions: seconds before each question whether the shell is at its prompt.
    """

    hides_output: bool = False
    seconds: float | None = None
    late: str = ""
    questions: Sequence[float] = ()


RULES: Mapping[Phase, PhaseRules] = MappingProxyType(
    {
        Phase.STARTING: PhaseRules(
            hides_output=True,
            seconds=START_SECONDS,
            late="the shell did not get ready within {seconds:g} seconds",
        ),
        Phase.READY: PhaseRules(),
        Phase.RUNNING: PhaseRules(
            seconds=BEGIN_SECONDS,
            late="the shell no longer takes commands; it was ended",
            questions=(WATCH_SECONDS,),
        ),
        Phase.SETTLING: PhaseRules(),
        Phase.SYNCING: PhaseRules(
            hides_output=True,
            seconds=SYNC_SECONDS,
            late="the shell did not come back from an interruption; it was ended",
            questions=SYNC_DELAYS,
        ),
        Phase.EXITED: PhaseRules(),
    }
)
"""The rules of each phase."""


class ShellWatch:
    """The phase of one shell and its two clocks: a deadline for its next step, and the time of the next question to it.

    Both share one delayed call, which outlives many short commands, so that these cost nothing.

    :param clock: calls later.
    :param shell: gets `ask` for each question, and `give_up` with one line when the deadline has passed.
    :ivar phase: the phase that was entered last; at first `STARTING`, without its clocks.
    """

    def __init__(self, clock: IReactorTime, shell: ShellJob) -> None:
        self._clock = clock
        self._shell = shell
        self.phase = Phase.STARTING
        self._deadline: float | None = None
        self._question: float | None = None
        self._later_questions: Sequence[float] = ()
        self._call: IDelayedCall | None = None

    def enter(self, phase: Phase) -> None:
        """Enter a phase: stop both clocks, and start those of the phase."""
        self.phase = phase
        rules = RULES[phase]
        self._deadline = self._question = None
        if rules.seconds is not None:
            self._deadline = self._clock.seconds() + rules.seconds
            if not rules.questions:
                self._call_at(self._deadline)
        if rules.questions:
            self.ask_after(rules.questions)

    def met(self) -> None:
        """Drop the deadline: the shell has taken the step in time."""
        self._deadline = None

    def ask_after(self, delays: Sequence[float]) -> None:
        """Replace the pending questions.

        :param delays: seconds before each question.
        """
        self._question = None
        if delays:
            self._question = self._clock.seconds() + delays[0]
            self._later_questions = delays[1:]
            self._call_at(self._question)

    def stop(self) -> None:
        """Drop the deadline and the pending questions; nothing is called until the next phase."""
        self._deadline = self._question = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _call_at(self, time: float) -> None:
        """Have the clock call by this time."""
        if self._call is not None:
            if self._call.getTime() <= time:
                return
            self._call.cancel()
        self._call = self._clock.callLater(max(0.0, time - self._clock.seconds()), self._called)

    def _called(self) -> None:
        """Do what is due, and have the clock call for what is not."""
        self._call = None
        now = self._clock.seconds()
        if self._deadline is not None and self._deadline <= now + _ROUNDING:
            self._deadline = None
            self._shell.give_up(RULES[self.phase].late.format(seconds=RULES[self.phase].seconds))
        if self._question is not None and self._question <= now + _ROUNDING:
            self.ask_after(self._later_questions)  # first: the answer may come from within the call
            self._shell.ask()
        for time in (self._deadline, self._question):
            if time is not None:
                self._call_at(time)
