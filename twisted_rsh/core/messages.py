"""The messages about jobs: what is asked for, how it goes, and how it ended."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from twisted_rsh.core.bodies import (
    BOTH,
    CHANNEL,
    CLIENT,
    OFFSET,
    SERVER,
    JsonMessage,
    Message,
    PackedMessage,
    check_channel,
    check_offset,
    check_stream,
    declare,
)
from twisted_rsh.core.endings import SIGNAL_NAMES, Ending, ResourceUsage
from twisted_rsh.core.fields import (
    Binary,
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
    MAX_CHANNELS,
    MAX_CONTROL_BYTES,
    MAX_DATA_BYTES,
    MAX_DETACH_SECONDS,
    MAX_LOGIN_FRAME_BYTES,
    MAX_OFFSET,
    MAX_PART_BYTES,
    MAX_REFUSED_CHANNELS,
    MAX_REQUEST_BYTES,
    MAX_TERM_BYTES,
    MAX_TERMINAL_MODES,
    MAX_TERMINAL_SIZE,
    MAX_TEXT_BYTES,
    MAX_TIMEOUT_MS,
    MAX_USER_BYTES,
    MAX_WINDOW,
    MIN_WINDOW,
    PROOF_BYTES,
    SESSION_ID_BYTES,
)
from twisted_rsh.core.requests import MODE_NAMES, Disconnection, Grace, JobRequest, Keep, Terminal
from twisted_rsh.core.roles import OUTPUTS, Phase, Stream

__all__ = [
    "MESSAGES",
    "TERMINAL",
    "USAGE",
    "Ack",
    "Auth",
    "AuthFail",
    "AuthOk",
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
    "Positions",
    "Resize",
    "Resume",
    "ResumeFail",
    "ResumeOk",
    "Signal",
    "Stop",
    "Suspended",
]

_COUNT = struct.Struct("!Q")
_CHANNEL = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Positions:
    """What one end has received.

    :ivar controls: how many control messages.
    :ivar streams: for each channel on which more may come, in the order of their numbers, its number and how many bytes
        of each stream, in the order of the streams.
    """

    controls: int
    streams: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def pack(self) -> bytes:
        """Return the packed form.

        :raises FieldError: a number is out of its bounds.
        """
        pieces = [_COUNT.pack(_checked(self.controls, MAX_OFFSET))]
        previous = 0
        for number, offsets in _bounded(self.streams):
            if number <= previous:
                raise FieldError("channels out of order")
            previous = number
            pieces.append(_CHANNEL.pack(_checked(number, MAX_CHANNEL_ID)))
            pieces += [_COUNT.pack(_checked(offset, MAX_OFFSET)) for offset in offsets]
        return b"".join(pieces)

    @classmethod
    def unpack(cls, packed: bytes | memoryview, streams: int) -> Positions:
        """Read the packed form.

        :param streams: how many streams of each channel it speaks of.
        :raises FieldError: these bytes are none.
        """
        layout = struct.Struct(f"!I{streams}Q")
        if len(packed) < _COUNT.size or (len(packed) - _COUNT.size) % layout.size:
            raise FieldError("not whole numbers of channels")
        (controls,) = _COUNT.unpack_from(packed)
        rows: Iterator[tuple[int, ...]] = layout.iter_unpack(packed[_COUNT.size :])
        positions = cls(controls, tuple((number, tuple(offsets)) for number, *offsets in rows))
        positions.pack()
        return positions


def _bounded(streams: tuple[tuple[int, tuple[int, ...]], ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    if len(streams) > MAX_CHANNELS + MAX_REFUSED_CHANNELS:
        raise FieldError("more channels than a session can have")
    return streams


def _checked(number: int, maximum: int) -> int:
    if not 0 <= number <= maximum:
        raise FieldError("a number beyond the highest")
    return number


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
        check_channel(self.channel)
        check_stream(self.stream)
        check_offset(self.offset)

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
        check_channel(channel)
        check_stream(stream)
        check_offset(offset)
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
        check_channel(self.channel)
        check_stream(self.stream)
        check_offset(self.limit)


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
        check_channel(self.channel)
        check_stream(self.stream)
        check_offset(self.size)


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
        check_channel(self.channel)
        check_stream(self.stream)


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


@declare(0x12, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Ack(PackedMessage):
    """Control messages arrived.

    :ivar count: how many have arrived in this session, in order.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    count: int

    def check(self) -> None:
        check_offset(self.count)


@declare(0x13, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Ping(PackedMessage):
    """Asks for a sign of life.

    :ivar token: the number of pings sent on this link before this one.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    token: int

    def check(self) -> None:
        check_offset(self.token)


@declare(0x14, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Pong(PackedMessage):
    """Answers the latest PING; earlier ones that it answers too get no answer of their own.

    :ivar token: the ping's.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    token: int

    def check(self) -> None:
        check_offset(self.token)


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


@declare(0x28, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye(JsonMessage):
    """The session is over, on purpose; its jobs are ended.  The sender's last message.

    :ivar text: one line for people, or an empty one.
    """

    text: str = wire(Text(MAX_TEXT_BYTES))


@declare(0x01, CLIENT, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Auth(JsonMessage):
    """Log in: prove possession of a key, over this very TLS connection.

    :ivar user: the account to log in to.
    :ivar algorithm: the signature algorithm's SSH name, such as ``"ssh-ed25519"``.
    :ivar key: the public key, an SSH key blob (RFC 4253 section 6.6).
    :ivar signature: an SSH signature blob over the login message (docs/protocol.rst).
    """

    user: str = wire(Text(MAX_USER_BYTES))
    algorithm: str = wire(Text(64))
    key: bytes = wire(Binary(MAX_LOGIN_FRAME_BYTES))
    signature: bytes = wire(Binary(MAX_LOGIN_FRAME_BYTES))


@declare(0x02, SERVER, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuthOk(JsonMessage):
    """The login succeeded, and a session exists.

    :ivar session: the session's identifier, 16 bytes; it is no secret.
    :ivar instance: names this run of the server; another name means another run, which knows no session of this one.
    :ivar window: bytes of each stream that may be sent and not yet consumed.
    :ivar max_channels: jobs the session may have at once.
    :ivar detach_seconds: seconds for which the server keeps a session that has lost its link, at most.
    """

    session: bytes = wire(Binary(SESSION_ID_BYTES, min_bytes=SESSION_ID_BYTES))
    instance: str = wire(Text(64))
    window: int = wire(Integer(MIN_WINDOW, MAX_WINDOW))
    max_channels: int = wire(Integer(1, MAX_CHANNELS))
    detach_seconds: int = wire(Integer(0, MAX_DETACH_SECONDS), default=0)


@declare(0x03, SERVER, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True)
class AuthFail(Message):
    """The login failed.  It has no body: every failure looks the same."""

    def body(self) -> bytes:
        return b""

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        if body:
            raise FieldError("a body where there is none")
        return cls()


@declare(0x04, CLIENT, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Message):
    """Go on with a session over this link.

    :ivar session: the session's identifier, 16 bytes.
    :ivar attempt: a number above that of every attempt before it, from 1.
    :ivar proof: that the sender is the session's client, 32 bytes (:mod:`twisted_rsh.core.resuming`).
    :ivar positions: how much has arrived at the client.
    """

    layout: ClassVar[struct.Struct] = struct.Struct(f"!{SESSION_ID_BYTES}sQ{PROOF_BYTES}s")

    session: bytes
    attempt: int
    proof: bytes
    positions: Positions

    def body(self) -> bytes:
        if len(self.session) != SESSION_ID_BYTES or len(self.proof) != PROOF_BYTES:
            raise FieldError("an identifier or a proof of an impossible size")
        if not 1 <= self.attempt <= MAX_OFFSET:
            raise FieldError("no number of an attempt")
        if any(len(offsets) != len(OUTPUTS) for _, offsets in self.positions.streams):
            raise FieldError("not one offset for each stream")
        return self.layout.pack(self.session, self.attempt, self.proof) + self.positions.pack()

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        size = cls.layout.size
        if len(body) < size:
            raise FieldError(f"less than {size} bytes")
        session, attempt, proof = cls.layout.unpack_from(body)
        positions = Positions.unpack(body[size:], len(OUTPUTS))
        message = cls(session=session, attempt=attempt, proof=proof, positions=positions)
        message.body()
        return message


@declare(0x05, SERVER, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOk(Message):
    """The session goes on.

    :ivar proof: that the sender is the session's server, 32 bytes.
    :ivar positions: how much has arrived at the server.
    """

    layout: ClassVar[struct.Struct] = struct.Struct(f"!{PROOF_BYTES}s")

    proof: bytes
    positions: Positions

    def body(self) -> bytes:
        if len(self.proof) != PROOF_BYTES:
            raise FieldError("a proof of an impossible size")
        if any(len(offsets) != 1 for _, offsets in self.positions.streams):
            raise FieldError("not one offset for each stream")
        return self.proof + self.positions.pack()

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        if len(body) < PROOF_BYTES:
            raise FieldError(f"less than {PROOF_BYTES} bytes")
        return cls(proof=bytes(body[:PROOF_BYTES]), positions=Positions.unpack(body[PROOF_BYTES:], 1))


@declare(0x06, SERVER, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResumeFail(JsonMessage):
    """The session does not go on.  It is the same for every reason, and the last message on this link.

    :ivar instance: names this run of the server: a client can tell whether it is the one that knew its session.
    """

    instance: str = wire(Text(64))


MESSAGES: tuple[type[Message], ...] = (
    *(Auth, AuthOk, AuthFail, Resume, ResumeOk, ResumeFail),
    *(Data, Credit, Ack, Ping, Pong),
    *(Part, Open, Opened, Exit, End, Stop, Signal, Close, Goodbye, Resize, Suspended),
)
"""Every message of the protocol."""
