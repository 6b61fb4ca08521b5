"""Events that a session returns to its adapter: frozen values, named for what happened."""

from __future__ import annotations

from twisted_rsh.core.endings import JobEnd
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.shell_state import ShellState
from twisted_rsh.core.values import dataclass

__all__ = [
    "ChannelAbandoned",
    "ChannelFreed",
    "ChannelOpened",
    "ChannelRequested",
    "DataReceived",
    "Event",
    "InspectionRequested",
    "JobEnded",
    "JobSuspended",
    "LinkSilent",
    "RoomGained",
    "SessionClosed",
    "ShellInspected",
    "SignalReceived",
    "StreamEnded",
    "StreamStopped",
    "TerminalResized",
]


@dataclass(frozen=True, slots=True)
class ChannelRequested:
    """The client asks for a job.  Answer with ``accept`` or ``report_exit``.

    :ivar channel: the number of the job's channel.
    :ivar request: the job.
    :ivar has_no_input: whether its input has ended already; no ``StreamEnded`` comes.
    """

    channel: int
    request: JobRequest
    has_no_input: bool = False


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    """The job runs.

    :ivar channel: the number of the job's channel.
    :ivar encoding: the code page of the job's text.
    :ivar stdout: bytes of its standard output that came with the answer, as in :class:`DataReceived`.
    :ivar stderr: the same of its standard error.
    """

    channel: int
    encoding: str
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a stream arrived.  Call ``consumed`` when you hold them nowhere any more.

    :ivar channel: the number of the job's channel.
    :ivar stream: the stream.
    :ivar data: the bytes, at least one.
    """

    channel: int
    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """A stream ended: no more bytes of it come.

    :ivar channel: the number of the job's channel.
    :ivar stream: the stream.
    """

    channel: int
    stream: Stream


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The peer wants no more of a stream that we send; sending more is an error from now on.

    :ivar channel: the number of the job's channel.
    :ivar stream: the stream.
    """

    channel: int
    stream: Stream


@dataclass(frozen=True, slots=True)
class RoomGained:
    """There is room again to send.

    :ivar channel: the number of the channel, or ``None`` for every channel of the session.
    :ivar stream: the stream, or ``None`` for all streams.
    """

    channel: int | None
    stream: Stream | None


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """The client sends a signal to a job.

    :ivar channel: the number of the job's channel.
    :ivar signal: the signal's name without ``SIG``.
    """

    channel: int
    signal: str


@dataclass(frozen=True, slots=True)
class TerminalResized:
    """The client gives a job's terminal another size.

    :ivar channel: the number of the job's channel.
    :ivar columns: characters in a line, at least 1.
    :ivar rows: lines, at least 1.
    """

    channel: int
    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class InspectionRequested:
    """The client asks for the state of a persistent shell.  Answer with ``report_inspection``, or with ``report_exit``.

    :ivar channel: the number of a channel, which need not be a shell's.
    """

    channel: int


@dataclass(frozen=True, slots=True)
class ShellInspected:
    """The server answers ``inspect``.

    :ivar channel: the number of the shell's channel.
    :ivar state: what the server has seen.
    """

    channel: int
    state: ShellState


@dataclass(frozen=True, slots=True)
class ChannelAbandoned:
    """The client closed the channel of a job that has not ended: end the job, then call ``report_exit``.

    :ivar channel: the number of the job's channel.
    """

    channel: int


@dataclass(frozen=True, slots=True)
class ChannelFreed:
    """The client closed the channel of a job that has ended: it needs nothing of it any more.

    :ivar channel: the number of the job's channel.
    """

    channel: int


@dataclass(frozen=True, slots=True)
class JobSuspended:
    """A signal suspended a job, which has not ended, or the job goes on.

    :ivar channel: the number of the job's channel.
    :ivar signal: the signal's name without ``SIG``; ``None`` when the job goes on.
    """

    channel: int
    signal: str | None


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job ended; all of its output arrived before this event, or with it.

    :ivar channel: the number of the job's channel, which is free from now on.
    :ivar end: how the job ended, and what else is known.
    :ivar stdout: bytes of the job's standard output in all.
    :ivar stderr: bytes of the job's standard error in all.
    :ivar encoding: as in :class:`ChannelOpened`, if the job began with this event; otherwise ``None``.
    :ivar output: its standard output, if the job began with this event.
    :ivar errors: its standard error, likewise.
    """

    channel: int
    end: JobEnd
    stdout: int
    stderr: int
    encoding: str | None = None
    output: bytes = b""
    errors: bytes = b""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The peer ended the session on purpose.

    :ivar text: the peer's reason, for people; possibly empty.
    """

    text: str


@dataclass(frozen=True, slots=True)
class LinkSilent:
    """Nothing came from the peer for so long that the link counts as dead.

    :ivar seconds: the time since the peer last sent something.
    """

    seconds: float


Event = (
    ChannelAbandoned
    | ChannelFreed
    | ChannelOpened
    | ChannelRequested
    | DataReceived
    | InspectionRequested
    | JobEnded
    | JobSuspended
    | LinkSilent
    | RoomGained
    | SessionClosed
    | ShellInspected
    | SignalReceived
    | StreamEnded
    | StreamStopped
    | TerminalResized
)
"""Any of these events; dispatch on its class."""
