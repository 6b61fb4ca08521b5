"""The three streams of a remote job, as its caller sees them.

What a caller has not read yet is held here, and never more than the session's window of it: the server gets credit only
for what the caller has taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed

__all__ = ["RemoteInput", "RemoteOutput"]


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
        self._ending = False
        self._closed = False
        self._sending = False

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
        self.room_gained()
        return done

    def end(self) -> None:
        """Send the end of the input, behind what was written.  May be called more than once."""
        if not self._ending:
            self._ending = True
            self.room_gained()

    def room_gained(self) -> None:
        """For the job: there may be room again."""
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
