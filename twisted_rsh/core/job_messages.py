"""The messages about jobs: what is asked for, how it goes, and how it ended."""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from twisted_rsh.core.bodies import CLIENT, SERVER, JsonMessage, PackedMessage, declare
from twisted_rsh.core.common_fields import CHANNEL, OFFSET, check_channel
from twisted_rsh.core.disconnection import Disconnection, Grace, Keep
from twisted_rsh.core.endings import Ending, ResourceUsage
from twisted_rsh.core.fields import (
    Boolean,
    EndingObject,
    FieldError,
    Integer,
    Name,
    NativeText,
    Nullable,
    Object,
    Pairs,
    Seconds,
    Sequence,
    Text,
    wire,
)
from twisted_rsh.core.limits import (
    MAX_CONTROL_BYTES,
    MAX_REQUEST_BYTES,
    MAX_TERM_BYTES,
    MAX_TERMINAL_MODES,
    MAX_TERMINAL_SIZE,
    MAX_TIMEOUT_MS,
)
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Phase
from twisted_rsh.core.signals import SIGNAL_NAMES
from twisted_rsh.core.terminal_modes import MODE_NAMES

__all__ = ["TERMINAL", "USAGE", "Close", "Exit", "Open", "Opened", "Resize", "Signal", "Suspended"]

ENDING = EndingObject()
TERMINAL = Object(
    Terminal,
    {
        "term": ("term", Text(MAX_TERM_BYTES)),
        "columns": ("columns", Integer(1, MAX_TERMINAL_SIZE)),
        "rows": ("rows", Integer(1, MAX_TERMINAL_SIZE)),
        "modes": ("modes", Pairs(Name(MODE_NAMES), Integer(0, 255), MAX_TERMINAL_MODES)),
        "separate_stderr": ("separate_stderr", Boolean()),
    },
)
"""A terminal, in JSON."""

_MICROSECONDS = Seconds(1_000_000)
USAGE = Object(
    ResourceUsage,
    {
        "wall_us": ("wall", _MICROSECONDS),
        "user_us": ("user", _MICROSECONDS),
        "system_us": ("system", _MICROSECONDS),
        "peak_memory": ("peak_memory", Nullable(OFFSET)),
    },
)
"""What a job took, in JSON."""


@declare(0x21, CLIENT, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Open(JsonMessage):
    """Run something.  The fields are those of :class:`~twisted_rsh.core.requests.JobRequest`.

    :ivar channel: a number higher than that of every channel before it in this session.
    :ivar timeout_ms: milliseconds.
    :ivar max_cpu_ms: milliseconds.
    :ivar grace_ms: milliseconds for which the job goes on without a link.
    :ivar keep: whether it goes on to its end.
    """

    channel: int = wire(CHANNEL)
    command: str | None = wire(NativeText(MAX_CONTROL_BYTES), default=None)
    argv: tuple[str, ...] | None = wire(Sequence(NativeText(MAX_CONTROL_BYTES), MAX_REQUEST_BYTES), default=None)
    shell: str | None = wire(NativeText(MAX_CONTROL_BYTES), default=None)
    in_shell: int | None = wire(CHANNEL, default=None)
    cwd: str | None = wire(NativeText(MAX_CONTROL_BYTES), default=None)
    environment: tuple[tuple[str, str], ...] = wire(
        Pairs(NativeText(MAX_CONTROL_BYTES), NativeText(MAX_CONTROL_BYTES), MAX_REQUEST_BYTES), default=()
    )
    timeout_ms: int | None = wire(Integer(1, MAX_TIMEOUT_MS), default=None)
    terminal: Terminal | None = wire(TERMINAL, default=None)
    max_output: int | None = wire(OFFSET, default=None)
    max_cpu_ms: int | None = wire(Integer(1, MAX_TIMEOUT_MS), default=None)
    max_memory: int | None = wire(OFFSET, default=None)
    grace_ms: int | None = wire(Integer(0, MAX_TIMEOUT_MS), default=None)
    keep: bool = wire(Boolean(), default=False)

    @classmethod
    def of(cls, channel: int, request: JobRequest) -> Open:
        """Return the message that asks for a job on a channel."""
        fields = {name: getattr(request, name) for name in _REQUESTED}
        return cls(
            channel=channel,
            timeout_ms=_milliseconds(request.timeout),
            max_cpu_ms=_milliseconds(request.max_cpu),
            grace_ms=_grace(request.on_disconnect),
            keep=isinstance(request.on_disconnect, Keep),
            **fields,
        )

    def request(self) -> JobRequest:
        """Return what is asked for.

        :raises ValueError: the fields contradict each other.
        """
        if self.keep and self.grace_ms is not None:
            raise ValueError("a job that is kept has no grace")
        grace = _seconds(self.grace_ms)
        fields = {name: getattr(self, name) for name in _REQUESTED}
        return JobRequest(
            timeout=_seconds(self.timeout_ms),
            max_cpu=_seconds(self.max_cpu_ms),
            on_disconnect=Keep() if self.keep else None if grace is None else Grace(grace),
            **fields,
        )

    def __post_init__(self) -> None:
        try:
            self.request()
        except ValueError as error:
            raise FieldError(str(error)) from None


_REQUESTED = ("command", "argv", "shell", "in_shell", "cwd", "environment", "terminal", "max_output", "max_memory")
"""The fields that OPEN and a request have in common; the others differ in their unit."""


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(min(max(1, seconds * 1000), MAX_TIMEOUT_MS))


def _grace(disconnection: Disconnection | None) -> int | None:
    # Unlike a time-out, a grace may be none at all.
    return min(round(disconnection.seconds * 1000), MAX_TIMEOUT_MS) if isinstance(disconnection, Grace) else None


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


@declare(0x22, SERVER, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Opened(JsonMessage):
    """The job runs.

    :ivar channel: its channel.
    :ivar encoding: the code page of its text, as Python names it.
    """

    channel: int = wire(CHANNEL)
    encoding: str = wire(Text(64))


@declare(0x23, SERVER, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exit(JsonMessage):
    """The job ended, or was refused.  The server's last message on its channel.

    :ivar channel: its channel.
    :ivar ending: how.
    :ivar stdout: bytes of its standard output in all.
    :ivar stderr: bytes of its standard error in all.
    :ivar held_open: whether a process that it left behind still held its output.
    :ivar usage: what it took, or ``None`` where that is not known.
    """

    channel: int = wire(CHANNEL)
    ending: Ending = wire(ENDING)
    stdout: int = wire(OFFSET)
    stderr: int = wire(OFFSET)
    held_open: bool = wire(Boolean())
    usage: ResourceUsage | None = wire(USAGE, default=None)


@declare(0x26, CLIENT, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Signal(JsonMessage):
    """Send a signal to the job's whole process group.

    :ivar channel: the job's channel.
    :ivar signal: the signal's name without ``SIG``.
    """

    channel: int = wire(CHANNEL)
    signal: str = wire(Name(SIGNAL_NAMES))


@declare(0x27, CLIENT, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True)
class Close(PackedMessage):
    """The client is done with a channel; a job that still runs is ended.  The client's last message on it.

    :ivar channel: the channel.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!I")

    channel: int

    def check(self) -> None:
        check_channel(self.channel)


@declare(0x29, CLIENT, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True)
class Resize(PackedMessage):
    """Give the job's terminal another size.

    :ivar channel: the job's channel.
    :ivar columns: characters in a line.
    :ivar rows: lines.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IHH")

    channel: int
    columns: int
    rows: int

    def check(self) -> None:
        check_channel(self.channel)
        if not (1 <= self.columns <= MAX_TERMINAL_SIZE and 1 <= self.rows <= MAX_TERMINAL_SIZE):
            raise FieldError("a terminal of an impossible size")


@declare(0x2A, SERVER, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Suspended(JsonMessage):
    """A signal has suspended the job, or it goes on.

    :ivar channel: the job's channel.
    :ivar signal: the signal's name without ``SIG``; ``None`` when the job goes on.
    """

    channel: int = wire(CHANNEL)
    signal: str | None = wire(Name(SIGNAL_NAMES), default=None)
