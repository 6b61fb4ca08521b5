"""One job on the server, as its caller sees it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed

from twisted_rsh.client.remote_streams import RemoteInput, RemoteOutput
from twisted_rsh.client.watchers import Watchers
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.endings import JobEnd
from twisted_rsh.core.events import (
    ChannelOpened,
    DataReceived,
    Event,
    JobEnded,
    JobSuspended,
    RoomGained,
    StreamEnded,
    StreamStopped,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.link.pump import SessionPump

__all__ = ["TYPING_SECONDS", "RemoteJob", "SuspensionWatcher"]

TYPING_SECONDS = 10.0
"""Seconds within which the server must have said something when a person has typed something: whoever waits for the
echo of a key is not to wait for keepalive to find out that nobody is there."""


SuspensionWatcher = Callable[[str | None], object]
"""Called with the name of the signal that has suspended a job, and with ``None`` when it goes on."""


class RemoteJob:
    """A job that :meth:`twisted_rsh.client.remote_shell.RemoteShell.start` started.

    Its output waits on the server while nobody reads it, and then the job itself waits: read both outputs, or
    ``forward`` or ``stop`` the one that is of no interest.

    :ivar stdin: its standard input; end it, or the job may wait for more for ever.
    :ivar stdout: its standard output.
    :ivar stderr: its standard error.
    :ivar encoding: the code page of its text, as the server named it; ``None`` until the server has started it.
    :ivar suspended: the name of the signal that has suspended it, such as ``"STOP"``; ``None`` while it runs, and
        when it has ended.  The server notices within a second or so; :meth:`watch_suspension` tells.
    :ivar channel: the number of its channel; what runs in a persistent shell names the shell by it.
    :ivar request: what was asked for.
    """

    def __init__(
        self, channel: int, request: JobRequest, session: ClientSession, pump: SessionPump, typed: bool = False
    ) -> None:
        self.encoding: str | None = None
        self.suspended: str | None = None
        self.stdin = RemoteInput(self._input_room, self._send_input, self._end_input)
        self.stdout = self._output(Stream.STDOUT)
        self.stderr = self._output(Stream.STDERR)
        self._streams = dict(zip(OUTPUTS, (self.stdout, self.stderr), strict=True))
        self.channel = channel
        self.request = request
        self._typed = typed
        self._session = session
        self._pump = pump
        self._end: JobEnd | None = None
        self._closed = False
        self._waiting: list[Deferred[JobEnd]] = []
        self._starting: list[Deferred[None]] = []
        self._suspension_watchers: Watchers[str | None] = Watchers()

    def when_started(self) -> Deferred[None]:
        """Wait until the server has started the job, so that its `encoding` is known, or the job has ended.

        :returns: fires, and never fails.
        """
        if self.encoding is not None or self._end is not None:
            return succeed(None)
        starting: Deferred[None] = Deferred(self._starting.remove)
        self._starting.append(starting)
        return starting

    def wait(self) -> Deferred[JobEnd]:
        """Wait for the end of the job.

        :returns: fires, and never fails, when the server has told how the job ended or the connection is gone.  All
            of the output has arrived by then, though perhaps not been read.  Cancelling it ends the job.
        """
        if self._end is not None:
            return succeed(self._end)
        waiting: Deferred[JobEnd] = Deferred(self._cancelled)
        self._waiting.append(waiting)
        return waiting

    def send_signal(self, name: str) -> None:
        """Send a signal to the job's whole process group.  Nothing happens if it has ended.

        :param name: a name of :data:`twisted_rsh.core.signals.SIGNAL_NAMES`, such as ``"INT"``.
        :raises twisted_rsh.core.errors.LocalProtocolError: there is no such signal, or the server is so far behind that
            the signal would only queue up.
        """
        if self._is_live:
            self._session.send_signal(self.channel, name)
            self._pump.flush()

    def watch_suspension(self, watcher: SuspensionWatcher) -> Callable[[], None]:
        """Be told when a signal such as ``STOP`` has suspended the job, which has not ended, and when it goes on.

        Send it ``CONT`` with :meth:`send_signal` to have it go on.

        :param watcher: called with the signal's name, and with ``None`` when the job goes on; not called when it goes
            on only to end.
        :returns: ends that; may be called more than once.
        """
        return self._suspension_watchers.add(watcher)

    def resize(self, columns: int, rows: int) -> None:
        """Give the job's terminal another size.  Nothing happens if the job has ended, or has no terminal.

        :param columns: characters in a line, from 1 to 65535.
        :param rows: lines, likewise.
        :raises twisted_rsh.core.errors.LocalProtocolError: it is no size.
        """
        if self._is_live:
            self._session.resize(self.channel, columns, rows)
            self._pump.flush()

    def close(self) -> None:
        """Lose interest in the job: the server ends it, and what it still writes is dropped."""
        if self._is_live:
            self._closed = True
            self._session.close(self.channel)
            self._pump.flush()
            self.stdin.closed()

    def happened(self, event: Event) -> None:
        """For the shell: something happened on this job's channel."""
        match event:
            case DataReceived():
                self._streams[event.stream].data_received(event.data)
            case StreamEnded():
                self._streams[event.stream].ended()
            case RoomGained():
                self.stdin.room_gained()
            case ChannelOpened():
                self.encoding = event.encoding
                self._started()
            case StreamStopped():
                self.stdin.closed()
            case JobSuspended():
                self._suspended(event.signal)
            case JobEnded():
                self.ended(event.end)

    def ended(self, end: JobEnd) -> None:
        """For the shell: the job has ended, or nothing more will be known of it."""
        self._end = end
        self.suspended = None
        self.stdin.closed()
        self.stdout.ended()
        self.stderr.ended()
        self._started()
        while self._waiting:  # who is told may cancel the others
            self._waiting.pop(0).callback(end)

    def _suspended(self, signal: str | None) -> None:
        if signal != self.suspended:
            self.suspended = signal
            self._suspension_watchers.tell(signal)

    @property
    def _is_live(self) -> bool:
        return self._end is None and not self._closed

    def _started(self) -> None:
        while self._starting:
            self._starting.pop().callback(None)

    def _output(self, stream: Stream) -> RemoteOutput:
        def consumed(size: int) -> None:
            self._session.consumed(self.channel, stream, size)
            self._pump.flush()

        def stop() -> None:
            if self._is_live:
                self._session.stop_stream(self.channel, stream)
                self._pump.flush()

        return RemoteOutput(consumed, stop)

    def _input_room(self) -> int:
        return self._session.room(self.channel, Stream.STDIN)

    def _send_input(self, data: bytes) -> None:
        self._session.send_data(self.channel, Stream.STDIN, data)
        if self._typed:
            self._pump.answer_expected(TYPING_SECONDS)
        self._pump.flush()

    def _end_input(self) -> None:
        self._session.end_stream(self.channel, Stream.STDIN)
        self._pump.flush()

    def _cancelled(self, waiting: Deferred[JobEnd]) -> None:
        self._waiting.remove(waiting)
        self.close()
