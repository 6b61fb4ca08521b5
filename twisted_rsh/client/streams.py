"""The three streams of a job as its caller reads and writes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import Interface

from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.roles import Stream
from twisted_rsh.link.pump import SessionPump

__all__ = ["TYPING_SECONDS", "IInputSource", "JobChannel", "RemoteInput", "RemoteOutput"]

# Not an attribute of the class: an event would hold the object that logged it.
_log = Logger(f"{__name__}.RemoteOutput")

TYPING_SECONDS = 10.0
"""Seconds within which the server must have sent something after a person has typed: a user who waits for the echo of a
key learns of a dead connection sooner than keepalive would find it.  A ping is due after half of that."""


class JobChannel:
    """One job's channel of the session.  Everything that is sent on it is written at once.

    :param session: the session's core.
    :param pump: writes what the session has to say.
    :param number: the number of the channel; 0, which no channel has, for a job that was never sent.
    :param is_typed: whether a person types the job's input and waits for its echo.
    :ivar is_open: whether the job has neither ended nor been closed.
    """

    def __init__(self, session: ClientSession, pump: SessionPump, number: int, *, is_typed: bool = False) -> None:
        self.number = number
        self.is_open = True
        self._session = session
        self._pump = pump
        self._is_typed = is_typed

    @property
    def clock(self) -> IReactorTime:
        """The clock of the session, usually the reactor."""
        return self._pump.clock

    def input_room(self) -> int:
        """Return how many bytes of input may be sent now."""
        return self._session.room(self.number, Stream.STDIN)

    def send_input(self, data: bytes) -> None:
        """Send input.

        :param data: no more than there is room for.
        """
        self._session.send_data(self.number, Stream.STDIN, data)
        if self._is_typed:
            self._pump.answer_expected(TYPING_SECONDS / 2, TYPING_SECONDS)
        self._pump.flush()

    def end_input(self) -> None:
        """Send the end of the input."""
        self._session.end_stream(self.number, Stream.STDIN)
        self._pump.flush()

    def output_consumed(self, stream: Stream, size: int) -> None:
        """Grant the server room for as many further bytes of an output.

        :param size: bytes that were received and are held nowhere any more.
        """
        self._session.consumed(self.number, stream, size)
        self._pump.flush()

    def stop_output(self, stream: Stream) -> None:
        """Tell the server that no more of an output is wanted."""
        if self.is_open:
            self._session.stop_stream(self.number, stream)
            self._pump.flush()

    def send_signal(self, name: str) -> None:
        """Send a signal.

        :raises twisted_rsh.core.errors.LocalProtocolError: there is no such signal, or the server is too far behind.
        """
        if self.is_open:
            self._session.send_signal(self.number, name)
            self._pump.flush()

    def resize(self, columns: int, rows: int) -> None:
        """Send the size of the terminal.

        :raises twisted_rsh.core.errors.LocalProtocolError: the size is out of its bounds.
        """
        if self.is_open:
            self._session.resize(self.number, columns, rows)
            self._pump.flush()

    def inspect(self) -> None:
        """Ask for the state of the persistent shell that the job is.  The last question has been answered.

        :raises twisted_rsh.core.errors.LocalProtocolError: the job has not started, or the server is too far behind.
        """
        self._session.inspect(self.number)
        self._pump.flush()

    def close(self) -> None:
        """Have the server end the job; what it still writes is dropped."""
        if self.is_open:
            self.is_open = False
            self._session.close(self.number)
            self._pump.flush()


class RemoteOutput:
    """A job's standard output or standard error.

    Read it with :meth:`read` or ``async for``, or have it passed on with :meth:`forward`.

    :param channel: the job's channel.
    :param stream: which of the two it is.
    :ivar total: bytes that have arrived.
    """

    def __init__(self, channel: JobChannel, stream: Stream) -> None:
        self.total = 0
        self._channel = channel
        self._stream = stream
        self._chunks: deque[bytes] = deque()
        self._has_ended = False
        self._reader: Deferred[bytes] | None = None
        self._write: Callable[[bytes], object] | None = None
        self._end: Callable[[], object] | None = None

    @property
    def is_read(self) -> bool:
        """Whether it is passed on, or is being read."""
        return self._reader is not None or self._write is not None

    def read(self) -> Deferred[bytes]:
        """Read the next bytes.

        :returns: fires with at least one byte, or with ``b""`` at the end.  Only the job's ending tells whether the
            end was the true one.  Cancelling it loses nothing.
        :raises RuntimeError: the stream is being read already.
        """
        self._check_unread()
        if self._chunks:
            chunk = self._chunks.popleft()
            self.consumed(len(chunk))
            return succeed(chunk)
        if self._has_ended:
            return succeed(b"")
        self._reader = Deferred(lambda _: self._forget_reader())
        return self._reader

    def forward(self, write: Callable[[bytes], object], end: Callable[[], object] | None = None) -> None:
        """Pass everything on as it comes.  Call :meth:`consumed` when bytes are held nowhere any more.

        An exception that one of the functions raises is logged, and changes nothing else.

        :param write: called with bytes, at least one.
        :param end: called once, at the end; ``None`` for no call.
        :raises RuntimeError: the stream is being read already.
        """
        self._check_unread()
        self._write, self._end = write, end
        while self._chunks:
            _call(write, self._chunks.popleft())
        if self._has_ended:
            self._tell_end()

    def consumed(self, size: int) -> None:
        """Let the job write as many further bytes as were passed on and are held nowhere any more.

        :param size: bytes.
        """
        self._channel.output_consumed(self._stream, size)

    def stop(self) -> None:
        """Take no more: the job gets a broken pipe when it writes.  Nothing happens when the job is over."""
        self._channel.stop_output(self._stream)

    def __aiter__(self) -> RemoteOutput:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    def data_received(self, data: bytes) -> None:
        """For the job: bytes came."""
        self.total += len(data)
        if self._write is not None:
            _call(self._write, data)
        elif self._reader is not None:
            reader, self._reader = self._reader, None
            self.consumed(len(data))
            reader.callback(data)
        else:
            self._chunks.append(data)

    def ended(self) -> None:
        """For the job: nothing more comes.  May be called more than once."""
        if self._has_ended:
            return
        self._has_ended = True
        self._tell_end()
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.callback(b"")

    def _tell_end(self) -> None:
        if self._end is not None:
            _call(self._end)

    def _check_unread(self) -> None:
        if self.is_read:
            raise RuntimeError("the stream is being read already")

    def _forget_reader(self) -> None:
        self._reader = None


def _call(function: Callable[..., object], *values: bytes) -> None:
    """Call a function of the application.  Log its exception, which must end neither the link nor the job."""
    try:
        function(*values)
    except Exception:  # noqa: BLE001 - an application may raise anything
        _log.failure("a function that takes the output of a job raised an exception")


class IInputSource(Interface):
    """A source that writes to a job's standard input as much as there is room for."""

    def resume() -> None:
        """Learn that there is room; :attr:`RemoteInput.room` says how much."""


class RemoteInput:
    """A job's standard input.

    :param channel: the job's channel.
    :param has_ended: whether its end has been sent.
    """

    def __init__(self, channel: JobChannel, *, has_ended: bool = False) -> None:
        self._channel = channel
        self._waiting: deque[tuple[bytes | memoryview, Deferred[None]]] = deque()
        self._source: IInputSource | None = None
        self._is_ending = has_ended
        self._is_closed = has_ended
        self._is_sending = False

    @property
    def room(self) -> int:
        """The number of bytes that :meth:`write` can send at once: 0 while earlier ones wait, and when the job takes no
        more input."""
        return 0 if self._waiting or self._is_ending or self._is_closed else self._channel.input_room()

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
        if self._is_ending:
            raise ValueError("input after its end")
        if self._is_closed:
            return fail(BrokenPipeError("the job takes no more input"))
        if not data:
            return succeed(None)
        done: Deferred[None] = Deferred(lambda _: None)
        self._waiting.append((data, done))
        self._send_now()
        return done

    def end(self) -> None:
        """Send the end of the input, after what was written.  May be called more than once."""
        if not self._is_ending:
            self._is_ending = True
            self._send_now()

    def room_gained(self) -> None:
        """For the job: there may be room again."""
        self._send_now()
        if self._source is not None and self.room:
            self._source.resume()

    def _send_now(self) -> None:
        if self._is_sending:  # what is being sent has made room already; the loop below will see it
            return
        self._is_sending = True
        try:
            self._send_waiting()
        finally:
            self._is_sending = False

    def closed(self) -> None:
        """For the job: it takes no more input.  May be called more than once."""
        self._is_closed = True
        waiting, self._waiting = self._waiting, deque()
        for _, done in waiting:
            if not done.called:
                done.errback(BrokenPipeError("the job takes no more input"))

    def _send_waiting(self) -> None:
        while self._waiting and not self._is_closed:
            size = self._channel.input_room()
            if size <= 0:
                return
            data, done = self._waiting.popleft()
            if size < len(data):
                view = memoryview(data)
                self._waiting.appendleft((view[size:], done))
                self._channel.send_input(bytes(view[:size]))
                continue
            self._channel.send_input(bytes(data))
            if not done.called:
                done.callback(None)
        if self._is_ending and not self._is_closed:
            self._is_closed = True
            self._channel.end_input()
