"""One job on the server, as its caller sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import Interface

from twisted_rsh.client.result import Result
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

__all__ = ["TYPING_SECONDS", "IInputSource", "Job", "RemoteInput", "RemoteOutput", "SuspensionWatcher", "Watchers", "collect"]


News = TypeVar("News")


class Watchers(Generic[News]):
    """Functions to call with each piece of news, for as long as their owners want it."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[News], object]] = []

    def add(self, watcher: Callable[[News], object]) -> Callable[[], None]:
        """Call a function from now on.

        :returns: ends that; may be called more than once.
        """
        self._watchers.append(watcher)

        def stop() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

        return stop

    def tell(self, news: News) -> None:
        """Call them all; who is told may add or end any of them."""
        for watcher in list(self._watchers):
            watcher(news)


class RemoteOutput:
    """A job's standard output or standard error.

    Read it with :meth:`read` or ``async for``, or have it passed on with :meth:`forward`.

    :param consumed: told how many bytes the caller has taken.
    :param stop: told that the caller wants no more.
    """

    def __init__(self, consumed: Callable[[int], None], stop: Callable[[], None]) -> None:
        self._consumed = consumed
        self._stop = stop
        self._chunks: deque[bytes] = deque()
        self._ended = False
        self._reader: Deferred[bytes] | None = None
        self._write: Callable[[bytes], None] | None = None
        self._end: Callable[[], None] = _do_nothing

    def read(self) -> Deferred[bytes]:
        """Read what comes next.

        :returns: fires with at least one byte, or with ``b""`` at the end.  Only the job's ending tells whether an end
            was the true one.
        :raises RuntimeError: somebody is reading already.
        """
        if self._reader is not None or self._write is not None:
            raise RuntimeError("somebody is reading this stream already")
        if self._chunks:
            chunk = self._chunks.popleft()
            self._consumed(len(chunk))
            return succeed(chunk)
        if self._ended:
            return succeed(b"")
        self._reader = Deferred(lambda _: self._forget_reader())
        return self._reader

    def forward(self, write: Callable[[bytes], None], end: Callable[[], None] | None = None) -> None:
        """Have everything passed on as it comes.  Call :meth:`consumed` when bytes are held nowhere any more.

        :param write: called with bytes, at least one.
        :param end: called once, at the end.
        :raises RuntimeError: somebody is reading already.
        """
        if self._reader is not None or self._write is not None:
            raise RuntimeError("somebody is reading this stream already")
        self._write = write
        self._end = end or _do_nothing
        while self._chunks:
            write(self._chunks.popleft())
        if self._ended:
            self._end()

    def consumed(self, size: int) -> None:
        """Take note that bytes which were passed on are held nowhere any more.

        :param size: bytes.
        """
        self._consumed(size)

    def stop(self) -> None:
        """Want no more: the job sees a broken pipe when it writes."""
        self._stop()

    def __aiter__(self) -> RemoteOutput:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def data_received(self, data: bytes) -> None:
        """For the job: bytes came."""
        if self._write is not None:
            self._write(data)
        elif self._reader is not None:
            reader, self._reader = self._reader, None
            self._consumed(len(data))
            reader.callback(data)
        else:
            self._chunks.append(data)

    def ended(self) -> None:
        """For the job: nothing more comes.  May be called more than once."""
        if self._ended:
            return
        self._ended = True
        self._end()
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.callback(b"")

    def _forget_reader(self) -> None:
        self._reader = None


class IInputSource(Interface):
    """A source that writes to a job's standard input what there is room for."""

    def resume() -> None:
        """Learn that there is room; :attr:`RemoteInput.room` says how much."""


class RemoteInput:
    """A job's standard input.

    :param room: tells how many bytes may be sent now.
    :param send: sends bytes, no more than there is room for.
    :param send_end: sends the end.
    """

    def __init__(self, room: Callable[[], int], send: Callable[[bytes], None], send_end: Callable[[], None]) -> None:
        self._room = room
        self._send = send
        self._send_end = send_end
        self._waiting: deque[tuple[memoryview, Deferred[None]]] = deque()
        self._source: IInputSource | None = None
        self._ending = False
        self._closed = False
        self._sending = False

    @property
    def room(self) -> int:
        """The number of bytes that :meth:`write` can send at once: 0 while earlier ones wait, and when the job takes no
        more input."""
        return 0 if self._waiting or self._ending or self._closed else max(self._room(), 0)

    def pull_from(self, source: IInputSource) -> None:
        """Tell a source whenever there is room again.

        :param source: asks for :attr:`room` before it writes.
        """
        self._source = source

    def write(self, data: bytes) -> Deferred[None]:
        """Send input.

        :param data: any number of bytes.  They are held until there is credit for them, so wait for the result before
            writing on.
        :returns: fires when all of it is on its way; fails with :class:`BrokenPipeError` when the job takes no more
            input, or has ended.  Cancelling it changes nothing about what is sent.
        :raises ValueError: the end has been sent.
        """
        if self._ending:
            raise ValueError("input after its end")
        if self._closed:
            return fail(BrokenPipeError("the job takes no more input"))
        if not data:
            return succeed(None)
        done: Deferred[None] = Deferred(lambda _: None)
        self._waiting.append((memoryview(data), done))
        self._send_now()
        return done

    def end(self) -> None:
        """Send the end of the input, behind what was written.  May be called more than once."""
        if not self._ending:
            self._ending = True
            self._send_now()

    def room_gained(self) -> None:
        """For the job: there may be room again."""
        self._send_now()
        if self._source is not None and self.room:
            self._source.resume()

    def _send_now(self) -> None:
        if self._sending:  # what is being sent has made room already; the loop below will see it
            return
        self._sending = True
        try:
            self._send_waiting()
        finally:
            self._sending = False

    def closed(self) -> None:
        """For the job: it takes no more input.  May be called more than once."""
        self._closed = True
        waiting, self._waiting = self._waiting, deque()
        for _, done in waiting:
            if not done.called:
                done.errback(BrokenPipeError("the job takes no more input"))

    def _send_waiting(self) -> None:
        while self._waiting and not self._closed:
            size = self._room()
            if size <= 0:
                return
            data, done = self._waiting.popleft()
            if size < len(data):
                self._waiting.appendleft((data[size:], done))
                self._send(bytes(data[:size]))
                continue
            self._send(bytes(data))
            if not done.called:
                done.callback(None)
        if self._ending and not self._closed:
            self._closed = True
            self._send_end()


def _do_nothing() -> None:
    return None


TYPING_SECONDS = 10.0
"""Seconds within which the server must have said something when a person has typed something: whoever waits for the
echo of a key is not to wait for keepalive to find out that nobody is there."""


SuspensionWatcher = Callable[[str | None], object]
"""Called with the name of the signal that has suspended a job, and with ``None`` when it goes on."""


class Job:
    """A job that :meth:`twisted_rsh.client.connection.Connection.start` started.

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

        :param name: a name of :data:`twisted_rsh.core.endings.SIGNAL_NAMES`, such as ``"INT"``.
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


def collect(job: Job, command: str | tuple[str, ...], stdin: bytes) -> Deferred[Result]:
    """Read everything that a job writes.

    :param job: the job; nobody reads or writes it yet.
    :param command: what the result is to call it.
    :param stdin: what the job reads; after it, the end of input.
    :returns: fires with the result, whatever the ending.  Cancelling it ends the job, and it fires all the same.
    """
    outputs: list[list[bytes]] = []
    for stream in (job.stdout, job.stderr):
        chunks: list[bytes] = []
        outputs.append(chunks)

        def keep(data: bytes, chunks: list[bytes] = chunks, consumed: object = stream.consumed) -> None:
            chunks.append(data)
            assert callable(consumed)
            consumed(len(data))

        stream.forward(keep)
    # A command that does not read all of its input is none the worse for it.
    job.stdin.write(stdin).addErrback(lambda failure: failure.trap(BrokenPipeError))
    job.stdin.end()

    async def wait() -> Result:
        end = await job.wait()
        stdout, stderr = (b"".join(chunks) for chunks in outputs)
        return Result(command, stdout, stderr, end.ending, job.encoding or "utf-8", end.held_open, end.usage)

    return Deferred.fromCoroutine(wait())
