"""The client's side of a session: it opens jobs, and reports what happens to them."""

from __future__ import annotations

from twisted_rsh.core.channel import Channel, ChannelInput, ChannelState
from twisted_rsh.core.codec import encode_control
from twisted_rsh.core.endings import JobEnd
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import ChannelOpened, Event, JobEnded, JobSuspended, ShellInspected
from twisted_rsh.core.limits import MAX_CHANNEL_ID, MAX_REFUSED_CHANNELS, SessionLimits
from twisted_rsh.core.messages import Close, Exit, Inspect, Inspected, Open, Opened, Resize, Signal, Suspended
from twisted_rsh.core.one_frame import Reply, Run
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Role, Stream
from twisted_rsh.core.session import Session

__all__ = ["ClientSession"]


class ClientSession(Session):
    """The session as the client has it.  Only :class:`twisted_rsh.core.login.ClientLogin` creates one.

    :param limits: the bounds that the server announced.
    :param now: the time in seconds.
    :param takes_run: whether the server has said that it takes RUN.
    """

    role = Role.CLIENT
    sends_unlinked = False
    from_us = ChannelInput.FROM_CLIENT
    from_peer = ChannelInput.FROM_SERVER
    listening = (ChannelState.RUNNING,)
    resumable = frozenset(ChannelState)

    def __init__(self, limits: SessionLimits, now: float, *, takes_run: bool = False) -> None:
        super().__init__(limits, now)
        self._takes_run = takes_run
        self._next_channel = 1
        self._asked: set[int] = set()

    def open(self, request: JobRequest, *, has_no_input: bool = False) -> int:
        """Ask for a job.  Input may be sent at once; the answer is ``ChannelOpened`` or ``JobEnded``.

        :param request: the job.
        :param has_no_input: whether its input ends at once, which then need not be sent.
        :returns: the number of its channel.
        :raises LocalProtocolError: the request is too long for the protocol or holds text that cannot travel
            (``MALFORMED_MESSAGE``), or the session has as many channels as it can have (``CHANNEL_STATE``).
        """
        number = self._next_channel
        if len(self._channels) >= self.limits.max_channels + MAX_REFUSED_CHANNELS:
            raise LocalProtocolError(ErrorCode.CHANNEL_STATE, f"there are {len(self._channels)} channels already")
        if number > MAX_CHANNEL_ID:
            raise LocalProtocolError(ErrorCode.CHANNEL_STATE, "the session has used all of its channel numbers")
        is_run = has_no_input and self._takes_run and Run.fits(request)
        if is_run:
            closes = self._unclosed.pop() if self._unclosed else 0
            self._send_control(Run(channel=number, request=request, closes=closes))
        else:
            self._send_control(Open(channel=number, request=request))
        self._next_channel += 1
        self._channels[number] = channel = self._new_channel(number, request)
        if is_run:
            channel.takes_reply = channel.sends[Stream.STDIN].ended = True
        elif has_no_input:
            self.end_stream(number, Stream.STDIN)
        return number

    def send_signal(self, channel: int, signal: str) -> None:
        """Send a signal to a job.

        :param channel: the job's channel.
        :param signal: the signal's name without ``SIG``.
        :raises LocalProtocolError: there is no such signal, the channel does not allow it, or so many messages wait
            for the server's acknowledgement that this one would only queue up behind them.
        """
        if self._outbox.blocked:
            raise LocalProtocolError(ErrorCode.SEQUENCE, "the server has not acknowledged earlier messages")
        self._say(channel)
        self._send_control(Signal(channel=channel, signal=signal))

    def resize(self, channel: int, columns: int, rows: int) -> None:
        """Give a job's terminal another size.  While messages wait for the server, only the last size is kept.

        :param channel: the job's channel.
        :param columns: characters in a line, at least 1.
        :param rows: lines, at least 1.
        :raises LocalProtocolError: a terminal cannot have this size, or the channel does not allow it.
        """
        encode_control(Resize(channel, columns, rows), 0)  # raises here for an impossible size
        self._speaking(channel, self.from_us)
        self._latest[channel] = (columns, rows)

    def _send_latest(self, channel: int, latest: tuple[int, int]) -> None:
        self._send_control(Resize(channel, *latest))

    def inspect(self, channel: int) -> None:
        """Ask for the state of a persistent shell; the answer is ``ShellInspected``, or ``JobEnded`` if that is sooner.

        :param channel: the shell's channel.
        :raises LocalProtocolError: the channel has not been opened or is closed, the last question is not answered, or
            so many messages wait for the server's acknowledgement that this one would only queue up behind them.
        """
        if self._outbox.blocked:
            raise LocalProtocolError(ErrorCode.SEQUENCE, "the server has not acknowledged earlier messages")
        if self._speaking(channel, self.from_us).state is not ChannelState.RUNNING or channel in self._asked:
            raise LocalProtocolError(ErrorCode.CHANNEL_STATE, f"channel {channel} does not allow a question")
        self._send_control(Inspect(channel))
        self._asked.add(channel)

    def close(self, channel: int) -> None:
        """Close a channel, so that the server ends its job.  ``JobEnded`` still comes.

        :param channel: the job's channel.
        :raises LocalProtocolError: the channel is closed already.
        """
        incoming = self._say(channel, ChannelInput.CLOSE).receives
        self._latest.pop(channel, None)
        self._asked.discard(channel)
        for stream in OUTPUTS:
            incoming[stream].discard()
        self._send_control(Close(channel))

    def _receive_opened(self, message: Opened) -> list[Event]:
        channel = self._hear(message.channel, ChannelInput.OPENED)
        if channel.state is ChannelState.ABANDONED:
            return []
        return [ChannelOpened(message.channel, message.encoding)]

    def _receive_suspended(self, message: Suspended) -> list[Event]:
        channel = self._hear(message.channel, self.from_peer)
        if channel.over:
            return []
        return [JobSuspended(message.channel, message.signal)]

    def _receive_inspected(self, message: Inspected) -> list[Event]:
        channel = self._hear(message.channel, self.from_peer)
        if channel.over:
            return []
        if message.channel not in self._asked:
            raise RemoteProtocolError(ErrorCode.CHANNEL_STATE, f"an answer on channel {message.channel}, unasked for")
        self._asked.discard(message.channel)
        return [ShellInspected(message.channel, message.state)]

    def _receive_exit(self, message: Exit) -> list[Event]:
        end = JobEnd(
            message.ending,
            message.held_open,
            message.usage,
            folder=message.folder,
            typed=message.typed,
            unread=message.unread,
        )
        self._ended(self._find(message.channel), message.stdout, message.stderr)
        return [JobEnded(message.channel, end, message.stdout, message.stderr)]

    def _ended(self, channel: Channel, stdout: int, stderr: int) -> None:
        """Follow the table for an ending that has come, and have CLOSE sent.

        :param channel: the job's channel.
        :param stdout: bytes of standard output in all, as the server says.
        :param stderr: the same of standard error.
        """
        self._advance(channel, ChannelInput.EXIT)
        number = channel.number
        self._latest.pop(number, None)
        self._asked.discard(number)
        if channel.state is not ChannelState.ENDED:
            return  # a resume may have left out the output of an abandoned job
        for stream, total in zip(OUTPUTS, (stdout, stderr), strict=True):
            received = channel.receives[stream].received
            if received != total:
                raise RemoteProtocolError(
                    ErrorCode.STREAM_STATE, f"{stream.name} had {total} bytes in all, {received} arrived"
                )
        self._advance(channel, ChannelInput.CLOSE)
        self._unclosed.append(number)

    def _receive_reply(self, message: Reply) -> list[Event]:
        number, end = message.channel, message.end
        channel = self._hear(number, ChannelInput.OPENED)
        if not channel.takes_reply:
            raise RemoteProtocolError(ErrorCode.CHANNEL_STATE, f"a reply on channel {number}, which OPEN opened")
        stdout, stderr = message.stdout, message.stderr
        # One event: an error of the application while it takes the output must not lose the end.
        output = (
            self._first_output(channel, Stream.STDOUT, stdout) if stdout else b"",
            self._first_output(channel, Stream.STDERR, stderr) if stderr else b"",
        )
        if end is not None:
            self._ended(channel, len(stdout), len(stderr))
            return [JobEnded(number, end, len(stdout), len(stderr), message.encoding, *output)]
        return [] if channel.over else [ChannelOpened(number, message.encoding, *output)]

    def _first_output(self, channel: Channel, stream: Stream, data: bytes) -> bytes:
        """Take the bytes of a stream that came with the answer; return none if the application does not want them."""
        incoming = channel.receives[stream]
        if channel.over:
            incoming.pass_over(0, len(data))
            return b""
        incoming.receive(0, len(data))
        if incoming.discarding:
            self._credits[channel.number, stream] = incoming
            return b""
        return data

    receivers = Session.receivers | {
        Opened: _receive_opened,
        Exit: _receive_exit,
        Reply: _receive_reply,
        Suspended: _receive_suspended,
        Inspected: _receive_inspected,
    }
