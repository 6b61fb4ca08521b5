"""What a persistent shell can be doing, and what holds meanwhile: one table."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

__all__ = [
    "BEGIN_SECONDS",
    "RULES",
    "START_SECONDS",
    "SYNC_DELAYS",
    "SYNC_SECONDS",
    "WATCH_SECONDS",
    "Phase",
    "PhaseRules",
]

START_SECONDS = 10.0
"""Seconds within which a shell has to take its first line: it takes 5 ms, and longer where the machine is busy."""

BEGIN_SECONDS = 30.0
"""Seconds within which a shell has to begin with a command: :data:`twisted_rsh.core.limits.MAX_SCRIPT_BYTES` on a busy
machine."""

SYNC_SECONDS = 30.0
"""Seconds within which a shell has to come back to its prompt once an interrupted command has ended: whatever the user
has it do at an interrupt should be done by then."""

WATCH_SECONDS = 1.0
"""Seconds that a command runs until the shell is asked whether it is at its prompt: it says so as soon as it is, even
when the command took away what would have reported it.  Most commands have ended by then."""

SYNC_DELAYS = (0.02, 0.1, 0.25, 0.5, *(1.0,) * 30)
"""Seconds before each question whether a shell is at its prompt again, after an interruption.  The first gives a
terminal the time to deliver a key that was typed before; all together are more than it is given."""


class Phase(enum.Enum):
    """What a shell is doing.

    ::

        STARTING -> READY -> RUNNING -> SETTLING -> READY
                                                 -> SYNCING -> READY

    and from each of them to EXITED.
    """

    STARTING = enum.auto()
    """It was started, and has not reported on its first line."""

    READY = enum.auto()
    """It waits at its prompt."""

    RUNNING = enum.auto()
    """It was given a command, and has not reported its end."""

    SETTLING = enum.auto()
    """It has; what the command printed is not all delivered."""

    SYNCING = enum.auto()
    """The command was interrupted, and the shell may be doing whatever the user has it do then."""

    EXITED = enum.auto()
    """Its process has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRules:
    """What holds in a phase.

    :ivar is_talking_to_us: whether what it prints is nobody's.
    :ivar seconds: how long it has for what is expected; ``None`` where nothing is.
    :ivar late: one line that says what it has not done in time; may name the `seconds`.
    :ivar questions: seconds before each question whether it is at its prompt.
    """

    is_talking_to_us: bool = False
    seconds: float | None = None
    late: str = ""
    questions: Sequence[float] = ()


RULES: Mapping[Phase, PhaseRules] = MappingProxyType(
    {
        Phase.STARTING: PhaseRules(
            is_talking_to_us=True,
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
            is_talking_to_us=True,
            seconds=SYNC_SECONDS,
            late="the shell did not come back from an interruption; it was ended",
            questions=SYNC_DELAYS,
        ),
        Phase.EXITED: PhaseRules(),
    }
)
"""What holds in each phase."""
