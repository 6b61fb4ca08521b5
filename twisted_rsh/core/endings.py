"""How a job ended: seven answers that are never confused with each other, and what is known beside them.

An ending is a value.  All but the last come from the server, in EXIT; :class:`OutcomeUnknown` comes from the server
when the operating system lost the status, and from the client itself when the connection died first.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "SIGNAL_NAMES",
    "Ending",
    "Exited",
    "JobEnd",
    "Limit",
    "LimitReached",
    "OutcomeUnknown",
    "RefusalReason",
    "Refused",
    "ResourceUsage",
    "Signalled",
    "Stopped",
    "TimedOut",
]

SIGNAL_NAMES = frozenset(
    "ABRT ALRM BUS CHLD CONT FPE HUP ILL INT IO KILL PIPE PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP "
    "TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ".split()
)
"""Names without ``SIG``: POSIX.1-2017's, and those that Linux adds and a job can die of."""


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

    NO_TERMINAL = "no-terminal"
    """The job asked for a terminal and none can be had."""

    NOT_SUPPORTED = "not-supported"
    """The server, or its operating system, cannot do what was asked."""

    SHELL_FAILED = "shell-failed"
    """The persistent shell was started and did not get ready: it died, said nothing in time, or speaks no dialect that
    the server knows."""

    SHELL_GONE = "shell-gone"
    """There is no persistent shell on the channel that the command named, or not any more."""

    SHELL_BUSY = "shell-busy"
    """The persistent shell runs another command."""


class Limit(enum.Enum):
    """What a job may have a limit of."""

    OUTPUT = "output"
    """Bytes of its standard output and standard error together."""

    CPU = "cpu"
    """Milliseconds of processor time, of all its processes together."""

    MEMORY = "memory"
    """Bytes of memory, of all its processes together."""


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
class LimitReached:
    """The job used more than the limit it had been given, and was ended.

    :ivar limit: of what.
    :ivar amount: the limit, in the unit that `limit` names.
    """

    limit: Limit
    amount: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """A signal suspended a command of a persistent shell, as Ctrl-Z does; in that shell ``fg`` continues it.

    :ivar signal: the signal's name without ``SIG``, such as ``"TSTP"``.
    """

    signal: str


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


Ending = Exited | Signalled | TimedOut | LimitReached | Stopped | Refused | OutcomeUnknown
"""Any of the seven; tell them apart with ``isinstance`` or ``match``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUsage:
    """What a job took.

    That of a command in a persistent shell is what the shell took meanwhile: its own processor time, to a tick of the
    system's clock (mostly 10 ms), and that of the children that it waited for meanwhile.

    :ivar wall: seconds from its start to its end.
    :ivar user: seconds of processor time in its own code, its waited-for children's included.
    :ivar system: seconds of processor time in the operating system on its behalf, likewise.
    :ivar peak_memory: bytes of memory that its largest process had at once, or ``None`` where that is no more than
        the server itself has: Linux counts what a process shared with its parent when it began.  Of a command in a
        persistent shell it is never known.
    """

    wall: float
    user: float
    system: float
    peak_memory: int | None


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended, and what is known of it beside that.

    :ivar ending: how; :class:`OutcomeUnknown` when the connection died first.
    :ivar held_open: whether a process that it left behind still held its output when the server closed it.
    :ivar usage: what it took, or ``None`` where that is not known.
    """

    ending: Ending
    held_open: bool = False
    usage: ResourceUsage | None = None
