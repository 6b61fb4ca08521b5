"""What the core tells its adapter: frozen values, named for what happened."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_rsh.core.endings import JobEnd
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream

__all__ = [
    "ChannelAbandoned",
    "ChannelOpened",
    "ChannelRequested",
    "DataReceived",
    "Event",
    "JobEnded",
    "JobSuspended",
    "LinkSilent",
    "RoomGained",
    "SessionClosed",
    "SignalReceived",
    "StreamEnded",
    "StreamStopped",
    "TerminalResized",
]


@dataclass(frozen=True, slots=True)
class ChannelRequested:
    """The client asks for a job.  Answer with ``accept`` or ``report_exit``.

    :ivar channel: the number of its channel.
    :ivar request: what to run.
    """

    channel: int
    request: JobRequest


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    """The job runs.

    :ivar channel: the number of its channel.
    :ivar encoding: the code page of its text.
    """

    channel: int
    encoding: str


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a stream arrived.  Call ``consumed`` when they are held nowhere any more.

    :ivar channel: the number of its channel.
    :ivar stream: which stream.
    :ivar data: the bytes, at least one.
    """

    channel: int
    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """No more bytes of a stream come.

    :ivar channel: the number of its channel.
    :ivar stream: which stream.
    """

    channel: int
    stream: Stream


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The peer wants no more of a stream that we send; sending more is an error from now on.

    :ivar channel: the number of its channel.
    :ivar stream: which stream.
    """

    channel: int
    stream: Stream


@dataclass(frozen=True, slots=True)
class RoomGained:
    """There is room again to send.

    :ivar channel: the number of the channel, or ``None`` for every channel of the session.
    :ivar stream: which stream, or ``None`` for all.
    """

    channel: int | None
    stream: Stream | None


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """The client sends a signal to a job.

    :ivar channel: the number of its channel.
    :ivar signal: the signal's name.
    """

    channel: int
    signal: str


@dataclass(frozen=True, slots=True)
class TerminalResized:
    """The client gives a job's terminal another size.

    :ivar channel: the number of its channel.
    :ivar columns: characters in a line, at least 1.
    :ivar rows: lines, at least 1.
    """

    channel: int
    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class ChannelAbandoned:
    """The client is no longer interested in a job that runs: end it, then ``report_exit``.

    :ivar channel: the number of its channel.
    """

    channel: int


@dataclass(frozen=True, slots=True)
class JobSuspended:
    """A job was suspended by a signal, and has not ended, or it goes on.

    :ivar channel: the number of its channel.
    :ivar signal: the signal's name without ``SIG``; ``None`` when it goes on.
    """

    channel: int
    signal: str | None


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job ended; all of its output arrived before this.

    :ivar channel: the number of its channel, which is free from now on.
    :ivar end: how, and what is known beside that.
    :ivar stdout: bytes of its standard output in all.
    :ivar stderr: bytes of its standard error in all.
    """

    channel: int
    end: JobEnd
    stdout: int
    stderr: int


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The peer ended the session on purpose.

    :ivar text: its reason, for people; possibly empty.
    """

    text: str


@dataclass(frozen=True, slots=True)
class LinkSilent:
    """Nothing came from the peer for so long that the link counts as dead.

    :ivar seconds: how long.
    """

    seconds: float


Event = (
    ChannelAbandoned
    | ChannelOpened
    | ChannelRequested
    | DataReceived
    | JobEnded
    | JobSuspended
    | LinkSilent
    | RoomGained
    | SessionClosed
    | SignalReceived
    | StreamEnded
    | StreamStopped
    | TerminalResized
)
"""Any of the above; dispatch on its class."""
