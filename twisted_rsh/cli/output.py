"""One of the client's own outputs: where a command's output is shown, and the client's own remarks."""

from __future__ import annotations

import errno
import locale
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.cli.descriptors import PIECE_BYTES, open_nonblocking
from twisted_rsh.client.job import Job
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.client.text import Transcoder, text_codec

__all__ = ["LocalOutput", "OutputWriter", "ShownStream", "local_encoding"]


@implementer(IWriteDescriptor)
class OutputWriter:
    """Writes a descriptor as fast as it takes the bytes.

    It holds what was not taken yet without a bound of its own: give it only as much as the credit allows, and more
    credit for what :meth:`on_written` reports.  All calls to the owner come from the reactor, never from within a
    method.

    When the reader of a pipe is gone, the disk is full, or anything else fails, the output is closed for good.  What
    was and will be given is then dropped, and reported as written all the same, so that credit keeps flowing and the
    job can get to its end.

    :param reactor: provides `IReactorFDSet` and `IReactorTime`.
    :param fd: the descriptor to write.  It stays open and its flags stay as they are.
    :param on_written: called with a number of bytes, at least 1, that need not be held any longer.
    :param on_closed: called once, when writing failed, with the error: `BrokenPipeError`, or an `OSError` with
        ``ENOSPC``; before `on_written` is called for what is dropped.  Not called after :meth:`stop`.
    :raises OSError: the descriptor is not open: :func:`ensure_standard_descriptors` prevents that.
    """

    def __init__(
        self, reactor: Any, fd: int, on_written: Callable[[int], None], on_closed: Callable[[OSError], None]
    ) -> None:
        self._reactor = reactor
        self._on_written = on_written
        self._on_closed = on_closed
        self._way = open_nonblocking(fd, os.O_WRONLY)
        self._stopped = False
        self._pending = bytearray()
        self._waiting = False
        self._turn: IDelayedCall | None = None
        self._flushes: list[Deferred[None]] = []

    def write(self, data: bytes) -> None:
        """Write, behind everything that was given before.  Ignored after :meth:`stop`.

        :param data: bytes.
        """
        if not self._stopped:
            self._pending += data
            self._go_on()

    def flushed(self) -> Deferred[None]:
        """Wait until everything given so far, and until then, is written.

        :returns: fires with ``None``; also when the output failed or was stopped, and never with an error but the
            `CancelledError` of its own cancellation, which stops only the waiting.
        """
        if not self._pending:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._flushes.remove)
        self._flushes.append(waiter)
        return waiter

    def stop(self) -> None:
        """Write no more, drop what is pending, and close what was opened.  May be called more than once."""
        self._stopped = True
        self._pending.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._close()
        self._settle()

    def _close(self) -> None:
        if self._waiting:
            self._waiting = False
            self._reactor.removeWriter(self)
        if self._way.is_open:
            self._way.close()

    def _go_on(self) -> None:
        if self._pending and not self._waiting and self._turn is None:
            self._turn = self._reactor.callLater(0, self._write)

    def _write(self) -> None:
        self._turn = None
        try:
            size = self._write_piece()
        except BlockingIOError:
            self._waiting = True
            self._reactor.addWriter(self)
            return
        except OSError as error:
            self._close()
            self._on_closed(error)
            size = len(self._pending)  # 0 if that call stopped us
        del self._pending[:size]
        if size:
            self._on_written(size)
        self._go_on()
        if not self._pending:
            self._settle()

    def _write_piece(self) -> int:
        if not self._way.is_open:
            return len(self._pending)
        with memoryview(self._pending) as pending, pending[:PIECE_BYTES] as piece:
            return self._way.write(piece)

    def _settle(self) -> None:
        while self._flushes and not self._pending:  # a waiter may go on writing
            self._flushes.pop(0).callback(None)

    def fileno(self) -> int:
        """For the reactor: the descriptor to watch, -1 when there is none."""
        return self._way.fd

    def doWrite(self) -> None:
        """For the reactor: there is room."""
        self._waiting = False
        self._reactor.removeWriter(self)
        self._write()

    def connectionLost(self, reason: Failure) -> None:
        """For the reactor: the reader hung up, or the reactor shuts down.

        :param reason: not looked at; writing tells the two apart.
        """
        self._waiting = False
        self._write()
        if self._waiting:
            self.stop()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "output"


def local_encoding() -> str:
    """Return the code page of this machine's terminals, as Python names it."""
    return text_codec(locale.getpreferredencoding(False))


class LocalOutput:
    """Writes to a descriptor, and gives credit for what it took.

    A terminal gets text in its own code page; anything else gets the bytes as they are.

    :param reactor: the reactor.
    :param fd: the descriptor.
    :param style: bytes to write before and after each piece of a command's output on a terminal, to tell it apart.
    :ivar is_terminal: whether it is a terminal.
    :ivar error: what made it fail; ``None`` while it works.
    :ivar at_line_start: whether what was written last ended its line.
    :ivar cursor_moved: whether what was written may have moved a terminal's cursor, as an editor does.
    :ivar is_raw: whether the terminal, if it is one, takes a line feed for just that.
    """

    def __init__(self, reactor: Any, fd: int, style: tuple[bytes, bytes] = (b"", b"")) -> None:
        self.is_terminal = os.isatty(fd)
        self.error: OSError | None = None
        self.at_line_start = True
        self.cursor_moved = False
        self.is_raw = False
        self._style = style if self.is_terminal else (b"", b"")
        self._fd = fd
        self._writer = OutputWriter(reactor, fd, self._written, self._failed)
        self._owed: deque[tuple[int, int, RemoteOutput | None]] = deque()
        self._streams: list[RemoteOutput] = []

    def show(self, stream: RemoteOutput, job: Job | Shell, encoding: str | None) -> None:
        """Write what comes on a stream of a job, from now to its end.

        :param encoding: the code page of its text; ``None`` for the one that the server names.
        """
        showing = self.prepare(stream, job, encoding)
        stream.forward(showing.piece, showing.end)

    def prepare(self, stream: RemoteOutput, job: Job | Shell, encoding: str | None) -> ShownStream:
        """Be ready to write what comes on a stream, when the caller passes it on.  The parameters are as above."""
        self._streams.append(stream)
        if self.error is not None:
            stream.stop()
        return ShownStream(self, stream, lambda: encoding or job.encoding)

    def write(self, text: bytes, source_size: int, stream: RemoteOutput) -> None:
        """Write a piece of a stream.

        :param text: what to write.
        :param source_size: bytes of the stream that it stands for, to give credit for once it is written.
        """
        before, after = self._style if text else (b"", b"")
        piece = before + text + after
        if text:
            self.at_line_start = text.endswith(b"\n")
        if not piece:
            # Half a character: it counts when the other half has come.
            stream.consumed(source_size)
            return
        self._owed.append((len(piece), source_size, stream))
        self._writer.write(piece)

    def forget(self, stream: RemoteOutput) -> None:
        """Take note that a stream has ended."""
        self._streams.remove(stream)

    def say(self, line: str) -> None:
        """Write a line of the client's own, without its line feed."""
        end = "\r\n" if self.is_raw and self.is_terminal else "\n"
        data = (line + end).encode(local_encoding(), "replace")
        self._owed.append((len(data), 0, None))
        self._writer.write(data)
        self.at_line_start = True

    def end_line(self) -> None:
        """See to it that what follows begins a line, if this is a terminal."""
        if not self.is_terminal or self.at_line_start:
            return
        if self.cursor_moved:
            # Where the cursor is, only the terminal knows: spaces fill its line, or reach the next one.
            data = b" " * _columns(self._fd) + b"\r"
            self._owed.append((len(data), 0, None))
            self._writer.write(data)
            self.at_line_start = True
        else:
            self.say("")

    def flushed(self) -> Deferred[None]:
        """Wait until everything is written, or never will be."""
        return self._writer.flushed()

    def stop(self) -> None:
        """Close what was opened to write."""
        self._writer.stop()

    @property
    def reader_left(self) -> bool:
        """Whether it failed because whoever read it is gone."""
        return self.error is not None and self.error.errno == errno.EPIPE

    def _written(self, size: int) -> None:
        while size:
            piece_size, source_size, stream = self._owed.popleft()
            if size < piece_size:
                self._owed.appendleft((piece_size - size, source_size, stream))
                return
            size -= piece_size
            if stream is not None and source_size:
                stream.consumed(source_size)

    def _failed(self, error: OSError) -> None:
        self.error = error
        for stream in self._streams:
            stream.stop()


def _columns(fd: int) -> int:
    try:
        return os.get_terminal_size(fd).columns
    except OSError:  # the terminal is gone
        return 0


class ShownStream:
    """One stream on its way to a :class:`LocalOutput`, which makes them.

    :param output: where it is written.
    :param stream: where it comes from.
    :param encoding: called once there is text: its code page, if it is known.
    """

    def __init__(self, output: LocalOutput, stream: RemoteOutput, encoding: Callable[[], str | None]) -> None:
        self._output = output
        self._stream = stream
        self._encoding = encoding
        self._transcoder: Transcoder | None = None

    def piece(self, data: bytes) -> None:
        """Write what came."""
        if self._transcoder is None and self._output.is_terminal:
            self._transcoder = _transcoder(self._encoding())
        text = data if self._transcoder is None else self._transcoder.convert(data)
        self._output.write(text, len(data), self._stream)

    def end(self) -> None:
        """Write what is left: nothing more comes."""
        if self._transcoder is not None:
            self._output.write(self._transcoder.finish(), 0, self._stream)
        self._output.forget(self._stream)


def _transcoder(source: str | None) -> Transcoder | None:
    try:
        return Transcoder(source or "utf-8", local_encoding())
    except LookupError:
        # A code page that Python does not know here: the bytes are the best there is.
        return None
