"""Every message of the protocol: logging in and resuming, jobs, their streams, and the upkeep of a session.

:data:`MESSAGES`, at the end, lists them.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import ClassVar

from twisted_rsh.core.bodies import (
    BOTH,
    CLIENT,
    SERVER,
    JsonMessage,
    Layout,
    Message,
    PackedMessage,
    declare,
    json_object,
)
from twisted_rsh.core.command_text import decode_command, encode_command
from twisted_rsh.core.endings import ENDING, SIGNAL_NAMES, USAGE, Ending, ResourceUsage
from twisted_rsh.core.fields import (
    CHANNEL,
    OFFSET,
    Binary,
    Boolean,
    FieldError,
    Integer,
    Name,
    NativeText,
    Number,
    Text,
    inline,
    wire,
)
from twisted_rsh.core.limits import (
    INVITATION_NAME_BYTES,
    MAX_CHANNEL_ID,
    MAX_CHANNELS,
    MAX_CWD_BYTES,
    MAX_DATA_BYTES,
    MAX_DETACH_SECONDS,
    MAX_ENCODING_BYTES,
    MAX_JSON_COMMAND,
    MAX_LOGIN_FRAME_BYTES,
    MAX_NEXT_KEY_BYTES,
    MAX_OFFSET,
    MAX_PART_BYTES,
    MAX_REFUSED_CHANNELS,
    MAX_TERMINAL_SIZE,
    MAX_TEXT_BYTES,
    MAX_UNAVAILABLE_BYTES,
    MAX_UNREAD_BYTES,
    MAX_USER_BYTES,
    MAX_WINDOW,
    MIN_WINDOW,
    PROOF_BYTES,
    SESSION_ID_BYTES,
)
from twisted_rsh.core.one_frame import Reply, Run
from twisted_rsh.core.requests import REQUEST, JobRequest
from twisted_rsh.core.roles import OUTPUTS, Phase, Stream
from twisted_rsh.core.shell_state import SHELL_STATE, ShellState
from twisted_rsh.core.values import dataclass

__all__ = [
    "MESSAGES",
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
    "Inspect",
    "Inspected",
    "Open",
    "Opened",
    "Part",
    "Ping",
    "Pong",
    "Positions",
    "Reply",
    "Resize",
    "Resume",
    "ResumeFail",
    "ResumeOk",
    "Run",
    "Signal",
    "Stop",
    "Suspended",
    "Unavailable",
]

_SIZE = Integer(1, MAX_TERMINAL_SIZE)
_STREAM = Number(Stream)
_FOLDER = NativeText(MAX_CWD_BYTES)

_NEXT_KEY = Binary(MAX_NEXT_KEY_BYTES, min_bytes=1)

# Logging in.


@declare(0x01, CLIENT, Phase.LOGIN)
@dataclass(frozen=True, slots=True, kw_only=True)
class Auth(JsonMessage):
    """Log in: prove possession of a key, over this very TLS connection.

    :ivar user: the account to log in to.
    :ivar algorithm: the signature algorithm's SSH name, such as ``"ssh-ed25519"``.
    :ivar key: the public key, an SSH key blob (RFC 4253 section 6.6).
    :ivar signature: an SSH signature blob over the login message (docs/protocol.rst).
    :ivar invitation: the name of an invitation that the server has made; ``None`` for a key that may log in already.
    :ivar invitation_proof: proves that the sender has the secret of that invitation; ``None`` without one.
    """

    user: str = wire(Text(MAX_USER_BYTES))
    algorithm: str = wire(Text(64))
    key: bytes = wire(Binary(MAX_LOGIN_FRAME_BYTES))
    signature: bytes = wire(Binary(MAX_LOGIN_FRAME_BYTES))
    invitation: bytes | None = wire(Binary(INVITATION_NAME_BYTES, min_bytes=INVITATION_NAME_BYTES), default=None)
    invitation_proof: bytes | None = wire(Binary(PROOF_BYTES, min_bytes=PROOF_BYTES), default=None)


@declare(0x02, SERVER, Phase.LOGIN)
@dataclass(frozen=True, slots=True, kw_only=True)
class AuthOk(JsonMessage):
    """The login succeeded, and a session exists.

    :ivar session: the session's identifier, 16 bytes; it is no secret.
    :ivar instance: names this run of the server; another name means another run, which knows no session of this one.
    :ivar window: bytes of each stream that may be sent and not yet consumed.
    :ivar max_channels: jobs that the session may have at once.
    :ivar detach_seconds: the longest time, in seconds, for which the server keeps a session that has lost its link.
    :ivar run: whether the client may send RUN.
    :ivar next_key: the public key that the server will have, a SubjectPublicKeyInfo in DER; ``None`` for the same.
    :ivar next_key_proof: the signature of that key, which says that the server holds it (docs/protocol.rst).
    :ivar next_key_signature: the signature of the key that the server has, which says that the other one is next.
    """

    session: bytes = wire(Binary(SESSION_ID_BYTES, min_bytes=SESSION_ID_BYTES))
    instance: str = wire(Text(64))
    window: int = wire(Integer(MIN_WINDOW, MAX_WINDOW))
    max_channels: int = wire(Integer(1, MAX_CHANNELS))
    detach_seconds: int = wire(Integer(0, MAX_DETACH_SECONDS), default=0)
    run: bool = wire(Boolean(), default=False)
    next_key: bytes | None = wire(_NEXT_KEY, default=None)
    next_key_proof: bytes | None = wire(_NEXT_KEY, default=None)
    next_key_signature: bytes | None = wire(_NEXT_KEY, default=None)


@declare(0x03, SERVER, Phase.LOGIN)
@dataclass(frozen=True, slots=True)
class AuthFail(Message):
    """The login failed.  It has no body, so every failure looks the same."""

    def body(self) -> bytes:
        return b""

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        if body:
            raise FieldError("a body where there is none")
        return cls()


# Resuming.

_COUNT = struct.Struct("!Q")
_CHANNEL = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Positions:
    """How much one end has received.

    :ivar controls: the number of control messages.
    :ivar streams: for each channel on which more may come, in the order of their numbers, its number and the number of
        bytes of each stream, in the order of the streams.
    """

    controls: int
    streams: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def pack(self) -> bytes:
        """Return the packed form.

        :raises FieldError: a number is out of its bounds, or the channels are out of order.
        """
        if len(self.streams) > MAX_CHANNELS + MAX_REFUSED_CHANNELS:
            raise FieldError("more channels than a session can have")
        pieces = [_COUNT.pack(_checked(self.controls, MAX_OFFSET))]
        previous = 0
        for number, offsets in self.streams:
            if number <= previous:
                raise FieldError("channels out of order")
            previous = number
            pieces.append(_CHANNEL.pack(_checked(number, MAX_CHANNEL_ID)))
            pieces += [_COUNT.pack(_checked(offset, MAX_OFFSET)) for offset in offsets]
        return b"".join(pieces)

    @classmethod
    def unpack(cls, packed: bytes | memoryview, streams: int) -> Positions:
        """Read the packed form.

        :param streams: the number of streams that are listed for each channel.
        :raises FieldError: these bytes are not positions.
        """
        layout = struct.Struct(f"!I{streams}Q")
        if len(packed) < _COUNT.size or (len(packed) - _COUNT.size) % layout.size:
            raise FieldError("not whole numbers of channels")
        (controls,) = _COUNT.unpack_from(packed)
        rows: Iterator[tuple[int, ...]] = layout.iter_unpack(packed[_COUNT.size :])
        positions = cls(controls, tuple((number, tuple(offsets)) for number, *offsets in rows))
        positions.pack()
        return positions


def _checked(number: int, maximum: int) -> int:
    if not 0 <= number <= maximum:
        raise FieldError("a number beyond the highest")
    return number


@declare(0x04, CLIENT, Phase.LOGIN)
@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Message):
    """Go on with a session over this link.

    :ivar session: the session's identifier, 16 bytes.
    :ivar attempt: the number of this attempt, from 1 and above that of every attempt before it.
    :ivar proof: proves that the sender is the session's client, 32 bytes (:mod:`twisted_rsh.core.resuming`).
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
@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOk(Message):
    """The session goes on.

    :ivar proof: proves that the sender is the session's server, 32 bytes (:mod:`twisted_rsh.core.resuming`).
    :ivar positions: how much has arrived at the server.
    """

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
@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeFail(JsonMessage):
    """The session does not go on.  The last message on this link; it is the same for every reason.

    :ivar instance: names this run of the server, so that a client can tell whether this run knew its session.
    """

    instance: str = wire(Text(64))


@declare(0x07, SERVER, Phase.LOGIN)
@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable(JsonMessage):
    """The client has proved who it is, and the server cannot serve it now.  The last message on this link.

    :ivar text: one line for people that names what the server lacks, or the bound that is reached.
    """

    text: str = wire(Text(MAX_UNAVAILABLE_BYTES))


# Jobs.


@declare(0x21, CLIENT, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Open(JsonMessage):
    """Run a job on a new channel.

    A long command stands after the JSON object as it is, so that its length costs little at either end.

    :ivar channel: the new channel's number, higher than that of every channel before it in this session.
    :ivar request: the job; its members stand beside ``channel``.
    """

    channel: int = wire(CHANNEL)
    request: JobRequest = inline(REQUEST)

    def body(self) -> bytes:
        command = self.request.command
        if command is None or len(command) <= MAX_JSON_COMMAND:
            return JsonMessage.body(self)
        text = encode_command(command)
        if text is None:
            return JsonMessage.body(self)
        request = dataclasses.replace(self.request, command="")
        return JsonMessage.body(Open(channel=self.channel, request=request)) + b"\0" + text

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        head, zero, text = bytes(body).partition(b"\0")
        message: Open = cls.record.read(json_object(head))
        if not zero:
            return message
        if message.request.command != "" or not text:
            raise FieldError("a command in two places, or in none")
        request = dataclasses.replace(message.request, command=decode_command(text))
        return cls(channel=message.channel, request=request)


@declare(0x22, SERVER, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(JsonMessage):
    """The job runs.

    :ivar channel: the job's channel.
    :ivar encoding: the code page of the job's text, as Python names it.
    """

    channel: int = wire(CHANNEL)
    encoding: str = wire(Text(MAX_ENCODING_BYTES))


@declare(0x23, SERVER, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Exit(JsonMessage):
    """The job ended, or the server refused it.  The server's last message on the channel.

    :ivar channel: the job's channel.
    :ivar ending: how the job ended.
    :ivar stdout: bytes of the job's standard output in all.
    :ivar stderr: bytes of the job's standard error in all.
    :ivar held_open: whether a process that the job left behind still held its output.
    :ivar usage: what the job took, or ``None`` where that is not known.
    :ivar folder: the folder that a persistent shell is in after the command, or ``None``.
    :ivar typed: bytes of its input that its terminal got; ``None`` where the request had no ``typed_ahead``.
    :ivar unread: the keys that its terminal got and that it has not read.
    """

    channel: int = wire(CHANNEL)
    ending: Ending = wire(ENDING)
    stdout: int = wire(OFFSET)
    stderr: int = wire(OFFSET)
    held_open: bool = wire(Boolean())
    usage: ResourceUsage | None = wire(USAGE, default=None)
    folder: str | None = wire(_FOLDER, default=None)
    typed: int | None = wire(OFFSET, default=None)
    unread: bytes = wire(Binary(MAX_UNREAD_BYTES), default=b"")


@declare(0x26, CLIENT, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(JsonMessage):
    """Send a signal to the job's whole process group.

    :ivar channel: the job's channel.
    :ivar signal: the signal's name without ``SIG``.
    """

    channel: int = wire(CHANNEL)
    signal: str = wire(Name(SIGNAL_NAMES))


@declare(0x2A, SERVER, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Suspended(JsonMessage):
    """A signal has suspended the job, or the job goes on.

    :ivar channel: the job's channel.
    :ivar signal: the signal's name without ``SIG``; ``None`` when the job goes on.
    """

    channel: int = wire(CHANNEL)
    signal: str | None = wire(Name(SIGNAL_NAMES), default=None)


@declare(0x2B, CLIENT, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True)
class Inspect(PackedMessage):
    """Ask for the state of a persistent shell.

    :ivar channel: the shell's channel.
    """

    layout: ClassVar[Layout] = Layout("I", CHANNEL)

    channel: int


@declare(0x2C, SERVER, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected(JsonMessage):
    """Answer INSPECT.

    :ivar channel: the shell's channel.
    :ivar state: what the server has seen; its members stand beside ``channel``.
    """

    channel: int = wire(CHANNEL)
    state: ShellState = inline(SHELL_STATE)


@declare(0x29, CLIENT, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True)
class Resize(PackedMessage):
    """Give the job's terminal another size.

    :ivar channel: the job's channel.
    :ivar columns: characters in a line.
    :ivar rows: lines.
    """

    layout: ClassVar[Layout] = Layout("IHH", CHANNEL, _SIZE, _SIZE)

    channel: int
    columns: int
    rows: int


@declare(0x27, CLIENT, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True)
class Close(PackedMessage):
    """Close a channel: the server ends the job if it still runs.  The client's last message on the channel.

    :ivar channel: the channel.
    """

    layout: ClassVar[Layout] = Layout("I", CHANNEL)

    channel: int


# Streams.


@declare(0x10, BOTH, Phase.SESSION)
@dataclass(frozen=True, slots=True)
class Data(Message):
    """Bytes of a stream.

    :ivar channel: the job's channel.
    :ivar stream: the stream.
    :ivar offset: the number of bytes of the stream that came before these.
    :ivar data: from 1 to :data:`~twisted_rsh.core.limits.MAX_DATA_BYTES` bytes.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IBQ")

    channel: int
    stream: Stream
    offset: int
    data: bytes

    def body(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> tuple[bytes, ...]:
        _check_data(self.channel, self.stream, self.offset, len(self.data))
        return self.layout.pack(self.channel, self.stream, self.offset), self.data

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        size = cls.layout.size
        if len(body) <= size:
            raise FieldError("no data")
        channel, stream, offset = cls.layout.unpack_from(body)
        _check_data(channel, stream, offset, len(body) - size)
        return cls(channel, _STREAMS[stream], offset, bytes(body[size:]))


_STREAMS = {int(stream): stream for stream in Stream}


def _check_data(channel: int, stream: int, offset: int, size: int) -> None:
    # DATA is the most frequent message of a link, and one comparison is quicker than the kinds of a Layout.
    legal = 1 <= size <= MAX_DATA_BYTES and stream in _STREAMS
    if not (legal and 1 <= channel <= MAX_CHANNEL_ID and 0 <= offset <= MAX_OFFSET):
        raise FieldError("a channel, a stream, an offset or data out of its bounds")


@declare(0x11, BOTH, Phase.SESSION)
@dataclass(frozen=True, slots=True)
class Credit(PackedMessage):
    """The receiver of a stream consumed some of it.

    :ivar channel: the job's channel.
    :ivar stream: the stream.
    :ivar limit: the offset in bytes up to which the stream may now be sent; it only grows.
    :ivar consumed: bytes of the stream that the receiver holds no longer; it only grows.
    """

    layout: ClassVar[Layout] = Layout("IBQQ", CHANNEL, _STREAM, OFFSET, OFFSET)

    channel: int
    stream: Stream
    limit: int
    consumed: int


@declare(0x24, BOTH, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True)
class End(PackedMessage):
    """A stream ended.

    :ivar channel: the job's channel.
    :ivar stream: the stream.
    :ivar size: bytes of the stream in all.
    """

    layout: ClassVar[Layout] = Layout("IBQ", CHANNEL, _STREAM, OFFSET)

    channel: int
    stream: Stream
    size: int


@declare(0x25, BOTH, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True)
class Stop(PackedMessage):
    """The receiver of a stream wants no more of it: the program that writes the stream should see a broken pipe.

    :ivar channel: the job's channel.
    :ivar stream: the stream.
    """

    layout: ClassVar[Layout] = Layout("IB", CHANNEL, _STREAM)

    channel: int
    stream: Stream


# The upkeep of a session.


@declare(0x12, BOTH, Phase.SESSION)
@dataclass(frozen=True, slots=True)
class Ack(PackedMessage):
    """Control messages arrived.

    :ivar count: the number of control messages that have arrived in this session, in order.
    """

    layout: ClassVar[Layout] = Layout("Q", OFFSET)

    count: int


@declare(0x13, BOTH, Phase.SESSION)
@dataclass(frozen=True, slots=True)
class Ping(PackedMessage):
    """Ask for a sign of life.

    :ivar token: the number of pings sent on this link before this one.
    """

    layout: ClassVar[Layout] = Layout("Q", OFFSET)

    token: int


@declare(0x14, BOTH, Phase.SESSION)
@dataclass(frozen=True, slots=True)
class Pong(PackedMessage):
    """Answer the latest PING; earlier ones that it answers too get no answer of their own.

    :ivar token: the token of the latest PING.
    """

    layout: ClassVar[Layout] = Layout("Q", OFFSET)

    token: int


@declare(0x20, BOTH, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True)
class Part(Message):
    """The next piece of the body of a control message that one frame cannot carry; the message follows the last piece.

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
@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye(JsonMessage):
    """The sender ends the session on purpose, and with it the session's jobs.  The sender's last message.

    :ivar text: one line for people, or an empty one.
    """

    text: str = wire(Text(MAX_TEXT_BYTES))


MESSAGES: tuple[type[Message], ...] = (
    *(Auth, AuthOk, AuthFail, Resume, ResumeOk, ResumeFail, Unavailable),
    *(Data, Credit, Ack, Ping, Pong),
    *(Part, Open, Opened, Exit, End, Stop, Signal, Close, Goodbye, Resize, Suspended, Inspect, Inspected),
    *(Run, Reply),
)
"""Every message of the protocol, in the order of their type numbers."""
