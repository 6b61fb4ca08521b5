"""How a job ended: five answers that are never confused with each other.

An ending is a value.  The first four come from the server, in EXIT; :class:`OutcomeUnknown` comes from the server when
the operating system lost the status, and from the client itself when the connection died first.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Ending", "Exited", "OutcomeUnknown", "RefusalReason", "Refused", "Signalled", "TimedOut"]


class RefusalReason(enum.Enum):
    """Why a job was never started."""

    NOT_FOUND = "not-found"
    """No such command; a shell reports 127."""

    NOT_EXECUTABLE = "not-executable"
    """The command exists and cannot be executed; a shell reports 126."""

    BAD_CWD = "bad-cwd"
    """The working folder does not exist or may not be entered."""

    TOO_LONG = "too-long"
    """The command, its arguments or its environment exceed a limit of the server or of its operating system."""

    BAD_TEXT = "bad-text"
    """A NUL byte, an empty command, or a character that the server's code page cannot express."""

    TOO_MANY_CHANNELS = "too-many-channels"
    """The session already has as many jobs as it may have."""

    NOT_PERMITTED = "not-permitted"
    """This user may not run this."""

    RESOURCES = "resources"
    """The server's machine has no descriptors, processes or memory left; try again later."""

    GOING_AWAY = "going-away"
    """The server is stopping."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The job ended by itself.

    :ivar code: its exit code, from 0 to 255 on POSIX.
    """

    code: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal ended the job.

    :ivar signal: the signal's name without ``SIG``, such as ``"KILL"``.
    :ivar core_dumped: whether the job left a core file.
    """

    signal: str
    core_dumped: bool = False


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The job was still running when its time was up, and was ended.

    :ivar seconds: the time it had been given.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The job was never started.

    :ivar reason: which kind of refusal.
    :ivar text: one line for people, without control characters.
    """

    reason: RefusalReason
    text: str


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """Nobody can tell how the job ended, or whether it did.

    :ivar text: one line for people that says why.
    """

    text: str


Ending = Exited | Signalled | TimedOut | Refused | OutcomeUnknown
"""Any of the five; tell them apart with ``isinstance`` or ``match``."""
