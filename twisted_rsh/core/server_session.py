"""The server's side of a session: it receives requests for jobs, and reports how the jobs go on."""

from __future__ import annotations

from twisted_rsh.core.channel import Channel, ChannelInput, ChannelState
from twisted_rsh.core.codec import encode_control
from twisted_rsh.core.endings import JobEnd, RefusalReason, Refused
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelFreed,
    ChannelRequested,
    Event,
    InspectionRequested,
    SignalReceived,
    TerminalResized,
)
from twisted_rsh.core.limits import MAX_ANSWERS, MAX_REFUSED_CHANNELS, SessionLimits
from twisted_rsh.core.messages import Close, Exit, Inspect, Inspected, Open, Opened, Resize, Signal, Suspended
from twisted_rsh.core.one_frame import Reply, Run
from twisted_rsh.core.roles import Role, Stream
from twisted_rsh.core.session import Session
from twisted_rsh.core.shell_state import ShellState

__all__ = ["ServerSession"]


class ServerSession(Session):
    """The session as the server has it.  Only :meth:`twisted_rsh.core.login.ServerLogin.accept` creates one.

    :param limits: the bounds that the server announced.
    :param now: the time in seconds.
    """

    role = Role.SERVER
    sends_unlinked = True
    from_us = ChannelInput.FROM_SERVER
    from_peer = ChannelInput.FROM_CLIENT
    listening = (ChannelState.REQUESTED, ChannelState.RUNNING)
    resumable = frozenset({ChannelState.RUNNING, ChannelState.ENDED})

    def __init__(self, limits: SessionLimits, now: float) -> None:
        super().__init__(limits, now)
        self._last_channel = 0
        self._unanswered: set[int] = set()
        self._told: dict[int, str] = {}
        self._asked: set[int] = set()

    @property
    def has_channels(self) -> bool:
        """Whether any channel is left: the client has not closed it, or the server has not sent its ending."""
        return bool(self._channels)

    def unread_output(self, channel: int) -> int:
        """Return the bytes of a channel's output that are kept for the client, without those out of the reserve.

        It is 0 for a channel that is free.
        """
        found = self._channels.get(channel)
        if found is None:
            return 0
        return found.sends[Stream.STDOUT].kept_in_window + found.sends[Stream.STDERR].kept_in_window

    def is_unanswered(self, channel: int) -> bool:
        """Tell whether a request still waits for :meth:`accept` or :meth:`report_exit`, abandoned or not."""
        return channel in self._unanswered

    def takes_reply(self, channel: int) -> bool:
        """Tell whether a request that is not answered takes the job's first output, and its end, with the answer."""
        return channel in self._unanswered and self._channels[channel].takes_reply

    def accept(self, channel: int, encoding: str, stdout: bytes = b"", stderr: bytes = b"") -> None:
        """Answer a request: the job runs.

        :param channel: the channel of the request.
        :param encoding: the code page of the job's text.
        :param stdout: the first bytes of the job's standard output, if the request :meth:`takes_reply`; with `stderr`
            at most :data:`~twisted_rsh.core.limits.MAX_REPLY_OUTPUT_BYTES`.  They are sent whatever the link does.
            Those of a stream that the client has stopped are dropped.
        :param stderr: the first bytes of its standard error, likewise.
        :raises LocalProtocolError: the request has been answered already, takes no output, or the code page's name is
            too long; nothing has changed.
        """
        found = self._speaking(channel, ChannelInput.OPENED)
        if stdout or stderr:
            self._send_reply(found, encoding, stdout, stderr, None)
        else:
            self._send_control(Opened(channel=channel, encoding=encoding))
        incoming = self._say(channel, ChannelInput.OPENED).receives
        self._unanswered.discard(channel)
        # Input may have been consumed while the channel did not yet allow the credit for it.
        self._credits[channel, Stream.STDIN] = incoming[Stream.STDIN]

    def report_suspension(self, channel: int, signal: str | None) -> None:
        """Report that a signal has suspended a job, or that the job goes on.

        While messages wait for the client, only the last state is kept; a state that the client knows is not sent.
        Nothing happens when the client has closed the channel.

        :param channel: the job's channel.
        :param signal: the signal's name without ``SIG``; ``None`` when the job goes on.
        :raises LocalProtocolError: there is no such signal, or the channel does not allow it; nothing has changed.
        """
        encode_control(Suspended(channel=channel, signal=signal), 0)  # raises here for an unknown signal
        if self._speaking(channel, self.from_us).state is ChannelState.RUNNING:
            self._latest[channel] = signal

    def _send_latest(self, channel: int, latest: str | None) -> None:
        if latest != self._told.pop(channel, None):
            self._send_control(Suspended(channel=channel, signal=latest))
        if latest is not None:
            self._told[channel] = latest

    def report_inspection(self, channel: int, state: ShellState) -> None:
        """Answer the client's question about a shell.  Nothing happens when the client has closed the channel.

        :param channel: the channel of the question.
        :param state: what there is to say of the shell.
        :raises LocalProtocolError: there is no question, or a value is out of its bounds; nothing has changed.
        """
        encode_control(Inspected(channel=channel, state=state), 0)  # raises here for a value out of its bounds
        if self._speaking(channel, self.from_us).state is not ChannelState.RUNNING:
            return
        if channel not in self._asked or channel in self._answers:
            raise LocalProtocolError(ErrorCode.CHANNEL_STATE, f"an answer on channel {channel}, unasked for")
        self._answers[channel] = state

    def _send_answer(self, channel: int, answer: ShellState) -> None:
        self._asked.discard(channel)
        self._send_control(Inspected(channel=channel, state=answer))

    def report_exit(self, channel: int, end: JobEnd) -> None:
        """Report how a job ended, or that it is refused.  Send all of its output first; nothing may follow the ending.

        Streams that have not ended end with it.

        :param channel: the job's channel.
        :param end: how the job ended, and what else is known.
        :raises LocalProtocolError: the ending has been reported already, or is out of its bounds; nothing has changed.
        """
        found = self._speaking(channel, ChannelInput.EXIT)
        sends = found.sends
        self._send_control(
            Exit(
                channel=channel,
                ending=end.ending,
                stdout=sends[Stream.STDOUT].sent,
                stderr=sends[Stream.STDERR].sent,
                held_open=end.held_open,
                usage=end.usage,
                folder=end.folder,
                typed=end.typed,
                unread=end.unread,
            )
        )
        self._ended(found)

    def report_run(self, channel: int, encoding: str, end: JobEnd, stdout: bytes, stderr: bytes) -> None:
        """Tell the client that a job has run and how it ended: in one REPLY, or in an answer and an EXIT.

        REPLY is sent if it has a field for all that is known.

        :param channel: the channel of the request.
        :param encoding: as for :meth:`accept`.
        :param end: as for :meth:`report_exit`.
        :param stdout: all bytes of the job's standard output, as for :meth:`accept`.
        :param stderr: all bytes of its standard error.
        :raises LocalProtocolError: as for both.  If it is the end that is out of its bounds, the request is answered.
        """
        found = self._speaking(channel, ChannelInput.OPENED)
        if not (found.takes_reply and Reply.can_tell(end)):
            self.accept(channel, encoding, stdout, stderr)
            self.report_exit(channel, end)
            return
        self._send_reply(found, encoding, stdout, stderr, end)
        found.advance(ChannelInput.OPENED)
        self._ended(found)

    def _send_reply(self, found: Channel, encoding: str, stdout: bytes, stderr: bytes, end: JobEnd | None) -> None:
        if not found.takes_reply:
            raise LocalProtocolError(ErrorCode.CHANNEL_STATE, f"output with the answer on channel {found.number}")
        out, errors = found.sends[Stream.STDOUT], found.sends[Stream.STDERR]
        stdout, stderr = b"" if out.stopped else stdout, b"" if errors.stopped else stderr
        self._send_control(Reply(channel=found.number, encoding=encoding, stdout=stdout, stderr=stderr, end=end))
        if stdout:
            out.count_apart(len(stdout))
        if stderr:
            errors.count_apart(len(stderr))

    def _ended(self, channel: Channel) -> None:
        """Follow the table for an ending that was sent, and forget what it makes needless.

        :param channel: one that allows it.
        """
        self._advance(channel, ChannelInput.EXIT)
        channel.receives[Stream.STDIN].release()
        self._unanswered.discard(channel.number)
        self._forget_state(channel.number)

    def _receive_run(self, message: Run) -> list[Event]:
        events = self._closed(message.closes) if message.closes else []
        events += self._receive_open(message)
        channel = self._channels[message.channel]
        channel.takes_reply = True
        channel.receives[Stream.STDIN].end(0)
        return events

    def _receive_open(self, message: Open | Run) -> list[Event]:
        if message.channel <= self._last_channel:
            raise RemoteProtocolError(ErrorCode.CHANNEL_STATE, f"channel {message.channel} was used before")
        self._last_channel = message.channel
        if len(self._channels) >= self.limits.max_channels + MAX_REFUSED_CHANNELS:
            raise RemoteProtocolError(ErrorCode.CHANNEL_STATE, "too many channels left unclosed")
        if self._outbox.blocked and self._outbox.waiting > MAX_ANSWERS * (
            self.limits.max_channels + MAX_REFUSED_CHANNELS
        ):
            raise RemoteProtocolError(ErrorCode.SEQUENCE, "one channel after the other, and no acknowledgement")
        running = 0
        if len(self._channels) >= self.limits.max_channels:
            running = sum(channel.state is not ChannelState.ENDED for channel in self._channels.values())
        self._channels[message.channel] = self._new_channel(message.channel, message.request)
        self._unanswered.add(message.channel)
        if running >= self.limits.max_channels:
            text = f"this session has {running} jobs, as many as the server's --max-jobs-per-session allows"
            self.report_exit(message.channel, JobEnd(Refused(RefusalReason.TOO_MANY_CHANNELS, text)))
            return []
        return [ChannelRequested(message.channel, message.request, type(message) is Run)]

    def _receive_signal(self, message: Signal) -> list[Event]:
        channel = self._hear(message.channel, self.from_peer)
        if channel.over:
            return []
        return [SignalReceived(message.channel, message.signal)]

    def _receive_resize(self, message: Resize) -> list[Event]:
        channel = self._hear(message.channel, self.from_peer)
        if channel.over:
            return []
        return [TerminalResized(message.channel, message.columns, message.rows)]

    def _receive_inspect(self, message: Inspect) -> list[Event]:
        channel = self._hear(message.channel, self.from_peer)
        if channel.over:
            return []
        if channel.state is ChannelState.REQUESTED or message.channel in self._asked:
            raise RemoteProtocolError(
                ErrorCode.CHANNEL_STATE, f"a question on channel {message.channel} too early, or before the last answer"
            )
        self._asked.add(message.channel)
        return [InspectionRequested(message.channel)]

    def _receive_close(self, message: Close) -> list[Event]:
        return self._closed(message.channel)

    def _closed(self, number: int) -> list[Event]:
        channel = self._hear(number, ChannelInput.CLOSE)
        self._forget_state(number)
        if channel.state is ChannelState.FREED:
            return [ChannelFreed(number)]
        return [ChannelAbandoned(number)]

    receivers = Session.receivers | {
        Open: _receive_open,
        Run: _receive_run,
        Signal: _receive_signal,
        Resize: _receive_resize,
        Inspect: _receive_inspect,
        Close: _receive_close,
    }

    def _forget_state(self, channel: int) -> None:
        if self._latest or self._told or self._answers or self._asked:
            self._latest.pop(channel, None)
            self._told.pop(channel, None)
            self._answers.pop(channel, None)
            self._asked.discard(channel)
