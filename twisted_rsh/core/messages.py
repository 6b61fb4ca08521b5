"""The messages of the session phase, each declared once: its number, who may send it, and its fields.

``docs/protocol.rst`` describes each of them byte by byte.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from twisted_rsh.core.bodies import BOTH, CLIENT, SERVER, JsonMessage, Message, PackedMessage, declare
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
    MAX_CHANNEL_ID,
    MAX_CONTROL_BYTES,
    MAX_DATA_BYTES,
    MAX_OFFSET,
    MAX_PART_BYTES,
    MAX_REQUEST_BYTES,
    MAX_TERM_BYTES,
    MAX_TERMINAL_MODES,
    MAX_TERMINAL_SIZE,
    MAX_TEXT_BYTES,
    MAX_TIMEOUT_MS,
)
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Phase, Stream
from twisted_rsh.core.signals import SIGNAL_NAMES
from twisted_rsh.core.terminal_modes import MODE_NAMES

__all__ = [
    "Ack",
    "Close",
    "Credit",
    "Data",
    "End",
    "Exit",
    "Goodbye",
    "Open",
    "Opened",
    "Part",
    "Ping",
    "Pong",
    "Resize",
    "Signal",
    "Stop",
    "Suspended",
]

CHANNEL = Integer(1, MAX_CHANNEL_ID)
OFFSET = Integer(0, MAX_OFFSET)
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
_STREAMS = frozenset(int(stream) for stream in Stream)


def _check_channel(channel: int) -> None:
    if not 1 <= channel <= MAX_CHANNEL_ID:
        raise FieldError(f"no channel {channel}")


def _check_stream(stream: int) -> None:
    if stream not in _STREAMS:
        raise FieldError(f"no stream {stream}")


def _check_offset(offset: int) -> None:
    if not 0 <= offset <= MAX_OFFSET:
        raise FieldError("an offset beyond the highest")


@declare(0x10, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Data(Message):
    """Bytes of a stream.

    :ivar channel: the job's channel.
    :ivar stream: which of its streams.
    :ivar offset: how many bytes of the stream came before these.
    :ivar data: from 1 to :data:`~twisted_rsh.core.limits.MAX_DATA_BYTES` bytes.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IBQ")

    channel: int
    stream: Stream
    offset: int
    data: bytes

    def check(self) -> None:
        """Check the fields' bounds.

        :raises FieldError: a field is out of them.
        """
        if not 1 <= len(self.data) <= MAX_DATA_BYTES:
            raise FieldError("data of an impossible size")
        _check_channel(self.channel)
        _check_stream(self.stream)
        _check_offset(self.offset)

    def body(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> tuple[bytes, ...]:
        self.check()
        return self.layout.pack(self.channel, self.stream, self.offset), self.data

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        size = len(body) - cls.layout.size
        if not 1 <= size <= MAX_DATA_BYTES:
            raise FieldError("data of an impossible size")
        channel, stream, offset = cls.layout.unpack_from(body)
        _check_channel(channel)
        _check_stream(stream)
        _check_offset(offset)
        return cls(channel, Stream(stream), offset, bytes(body[cls.layout.size :]))


@declare(0x11, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Credit(PackedMessage):
    """The receiver of a stream consumed some of it.

    :ivar channel: the job's channel.
    :ivar stream: which of its streams.
    :ivar limit: the offset in bytes up to which the stream may now be sent; it only grows.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IBQ")

    channel: int
    stream: int
    limit: int

    def check(self) -> None:
        _check_channel(self.channel)
        _check_stream(self.stream)
        _check_offset(self.limit)


@declare(0x12, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Ack(PackedMessage):
    """Control messages arrived.

    :ivar count: how many have arrived in this session, in order.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    count: int

    def check(self) -> None:
        _check_offset(self.count)


@declare(0x13, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Ping(PackedMessage):
    """Asks for a sign of life.

    :ivar token: the number of pings sent on this link before this one.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    token: int

    def check(self) -> None:
        _check_offset(self.token)


@declare(0x14, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Pong(PackedMessage):
    """Answers the latest PING; earlier ones that it answers too get no answer of their own.

    :ivar token: the ping's.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    token: int

    def check(self) -> None:
        _check_offset(self.token)


@declare(0x20, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True)
class Part(Message):
    """The next piece of the body of the control message that follows the last part.

    :ivar piece: from 1 to :data:`~twisted_rsh.core.limits.MAX_PART_BYTES` bytes.
    """

    piece: bytes

    def body(self) -> bytes:
        if not 1 <= len(self.piece) <= MAX_PART_BYTES:
            raise FieldError("a part of an impossible size")
        return self.piece

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        message = cls(bytes(body))
        message.body()
        return message


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


@declare(0x24, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True)
class End(PackedMessage):
    """A stream ended.

    :ivar channel: the job's channel.
    :ivar stream: which of its streams.
    :ivar size: its bytes in all.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IBQ")

    channel: int
    stream: int
    size: int

    def check(self) -> None:
        _check_channel(self.channel)
        _check_stream(self.stream)
        _check_offset(self.size)


@declare(0x25, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True)
class Stop(PackedMessage):
    """The receiver of a stream wants no more of it: whoever writes it should see a broken pipe.

    :ivar channel: the job's channel.
    :ivar stream: which of its streams.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IB")

    channel: int
    stream: int

    def check(self) -> None:
        _check_channel(self.channel)
        _check_stream(self.stream)


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
        _check_channel(self.channel)


@declare(0x28, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye(JsonMessage):
    """The session is over, on purpose; its jobs are ended.  The sender's last message.

    :ivar text: one line for people, or an empty one.
    """

    text: str = wire(Text(MAX_TEXT_BYTES))


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
        _check_channel(self.channel)
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
