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


class Phase(enum.Enum):
    """The state of a shell.

    ::

        STARTING -> READY -> RUNNING -> SETTLING -> READY
                                                 -> SYNCING -> READY

    and from each of them to EXITED.
    """

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

    :param clock: calls later.
    :param shell: gets `ask` for each question, and `give_up` with one line when the deadline has passed.
    :ivar phase: the phase that was entered last; at first `STARTING`, without its clocks.
    """

    def __init__(self, clock: IReactorTime, shell: ShellJob) -> None:
        self._clock = clock
        self._shell = shell
        self.phase = Phase.STARTING
        self._deadline: IDelayedCall | None = None
        self._question: IDelayedCall | None = None

    def enter(self, phase: Phase) -> None:
        """Enter a phase: stop both clocks, and start those of the phase."""
        self.phase = phase
        rules = RULES[phase]
        self.stop()
        if rules.seconds is not None:
            text = rules.late.format(seconds=rules.seconds)
            self._deadline = self._clock.callLater(rules.seconds, self._late, text)
        self.ask_after(rules.questions)

    def met(self) -> None:
        """Cancel the deadline: the shell has taken the step in time."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def ask_after(self, delays: Sequence[float]) -> None:
        """Replace the pending questions.

        :param delays: seconds before each question.
        """
        if self._question is not None:
            self._question.cancel()
            self._question = None
        if delays:
            self._question = self._clock.callLater(delays[0], self._due, delays[1:])

    def stop(self) -> None:
        """Cancel the deadline and the pending questions."""
        self.met()
        self.ask_after(())

    def _late(self, text: str) -> None:
        self._deadline = None
        self._shell.give_up(text)

    def _due(self, rest: Sequence[float]) -> None:
        self._question = None
        self._shell.ask()
        self.ask_after(rest)
