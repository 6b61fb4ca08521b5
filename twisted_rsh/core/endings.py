"""How a job ended: seven kinds of ending, what a job took, and the wire form of both in EXIT.

An ending is a value.  The server reports it in EXIT.  :class:`OutcomeUnknown` comes from the server when the operating
system lost the status, and from the client itself when the connection died before EXIT arrived.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar

from twisted_rsh.core.fields import (
    OFFSET,
    Boolean,
    Choice,
    FieldError,
    Integer,
    Name,
    Nullable,
    Object,
    Seconds,
    Text,
)
from twisted_rsh.core.limits import MAX_TEXT_BYTES
from twisted_rsh.core.values import dataclass

__all__ = [
    "ENDING",
    "MICROSECONDS",
    "SIGNAL_NAMES",
    "USAGE",
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
"""The signals that the protocol can name, without ``SIG``: those of POSIX.1-2017, and those that Linux adds and that
can end a job."""


class RefusalReason(enum.Enum):
    """The reason why the server did not start a job."""

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
    """The job asked for a terminal, and the server cannot provide one."""

    NOT_SUPPORTED = "not-supported"
    """The server, or its operating system, cannot do what the request asks for."""

    SHELL_FAILED = "shell-failed"
    """The persistent shell was started and did not get ready: it died, did not answer in time, or speaks no dialect
    that the server knows."""

    SHELL_GONE = "shell-gone"
    """The channel that the command named has no persistent shell, or its shell has ended."""

    SHELL_BUSY = "shell-busy"
    """The persistent shell runs another command."""


class Limit(enum.Enum):
    """A resource that a request, or the server, may limit."""

    OUTPUT = "output"
    """Bytes of the job's standard output and standard error together."""

    CPU = "cpu"
    """Milliseconds of processor time, of all processes of the job together."""

    MEMORY = "memory"
    """Bytes of memory, of all processes of the job together."""

    PROCESSES = "processes"
    """Processes of the job, with their threads, at once.  Only a server limits them."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The job ended by itself.

    :ivar code: its exit code, from 0 to 255 on POSIX.
    """

    kind: ClassVar[str] = "exited"

    code: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal ended the job.

    :ivar signal: the signal's name without ``SIG``, such as ``"KILL"``.
    :ivar core_dumped: whether the job left a core file.
    """

    kind: ClassVar[str] = "signalled"

    signal: str
    core_dumped: bool = False


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The job was still running when its time was up, and the server ended it.

    :ivar seconds: the time that the request gave to the job.
    """

    kind: ClassVar[str] = "timed-out"

    seconds: float


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The job used more of a resource than the request or the server allowed, and the server ended it.

    :ivar limit: the resource.
    :ivar amount: the allowed amount, in the unit that `limit` names.
    """

    kind: ClassVar[str] = "limit"

    limit: Limit
    amount: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """A signal suspended a command of a persistent shell, as Ctrl-Z does; ``fg`` in that shell continues it.

    :ivar signal: the signal's name without ``SIG``, such as ``"TSTP"``.
    """

    kind: ClassVar[str] = "stopped"

    signal: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The server did not start the job.

    :ivar reason: the kind of refusal.
    :ivar text: one line for people, without control characters.
    """

    kind: ClassVar[str] = "refused"

    reason: RefusalReason
    text: str


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """It is not known how the job ended, or whether it ended.

    :ivar text: one line for people that says why it is not known.
    """

    kind: ClassVar[str] = "unknown"

    text: str


Ending = Exited | Signalled | TimedOut | LimitReached | Stopped | Refused | OutcomeUnknown
"""Any of the seven; tell them apart with ``isinstance`` or ``match``.  The `kind` of each is its name, such as
``"timed-out"``, for programs: on the wire, in the audit log, and in the client's JSON."""

_KINDS: Mapping[str, Object] = {
    Exited.kind: Object(Exited, {"code": ("code", Integer(0, 2**32 - 1))}),
    Signalled.kind: Object(
        Signalled, {"signal": ("signal", Name(SIGNAL_NAMES)), "core_dumped": ("core_dumped", Boolean())}
    ),
    TimedOut.kind: Object(TimedOut, {"timeout_ms": ("seconds", Seconds(1000))}),
    LimitReached.kind: Object(LimitReached, {"limit": ("limit", Choice(Limit)), "amount": ("amount", OFFSET)}),
    Stopped.kind: Object(Stopped, {"signal": ("signal", Name(SIGNAL_NAMES))}),
    Refused.kind: Object(
        Refused, {"reason": ("reason", Choice(RefusalReason)), "text": ("text", Text(MAX_TEXT_BYTES))}
    ),
    OutcomeUnknown.kind: Object(OutcomeUnknown, {"text": ("text", Text(MAX_TEXT_BYTES))}),
}
"""The members of each kind of ending on the wire."""


class _EndingObject:
    """An object whose ``kind`` is a name of :data:`_KINDS`, with the members of that kind beside it."""

    def encode(self, value: Ending) -> dict[str, Any]:
        return {"kind": value.kind} | _KINDS[value.kind].encode(value)

    def decode(self, value: Any) -> Ending:
        if type(value) is not dict or not isinstance(value.get("kind"), str) or value["kind"] not in _KINDS:
            raise FieldError("not an ending")
        ending: Ending = _KINDS[value["kind"]].decode(value)
        return ending


ENDING = _EndingObject()
"""An ending, in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUsage:
    """The time and the memory that a job took.

    The usage of a command in a persistent shell is what the shell took while the command ran: its own processor time,
    to a tick of the system's clock (mostly 10 ms), and the processor time of the children that it waited for.

    :ivar wall: seconds from the job's start to its end.
    :ivar user: seconds of processor time in the job's own code, its waited-for children included.
    :ivar system: seconds of processor time in the operating system on the job's behalf, its waited-for children
        included.
    :ivar peak_memory: bytes of memory that the job's largest process had at once.  It is ``None`` for a command in a
        persistent shell, and where it is no more than the server itself has: Linux counts the memory that a process
        shared with its parent when it began.
    """

    wall: float
    user: float
    system: float
    peak_memory: int | None


MICROSECONDS = Seconds(1_000_000)
"""A time that a job took."""

USAGE = Object(
    ResourceUsage,
    {
        "wall_us": ("wall", MICROSECONDS),
        "user_us": ("user", MICROSECONDS),
        "system_us": ("system", MICROSECONDS),
        "peak_memory": ("peak_memory", Nullable(OFFSET)),
    },
)
"""What a job took, in JSON."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """An ending, and what is known of the job besides.

    :ivar ending: how the job ended; :class:`OutcomeUnknown` when the connection died first.
    :ivar held_open: whether a process that the job left behind still held its output when the server closed it.
    :ivar usage: what the job took, or ``None`` where that is not known.
    :ivar folder: for a command in a persistent shell, the folder that the shell is in after it, an absolute path
        without symbolic links; ``None`` where that is not known, and for any other job.
    :ivar typed: bytes of its input that its terminal got, of which it has read all but `unread`; what was sent after
        them is lost.  ``None`` where the request had no `typed_ahead`, and on pipes.
    :ivar unread: the keys that its terminal got and that it has not read, those typed ahead included.
    """

    ending: Ending
    held_open: bool = False
    usage: ResourceUsage | None = None
    folder: str | None = None
    typed: int | None = None
    unread: bytes = b""
