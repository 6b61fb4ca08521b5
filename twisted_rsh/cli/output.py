"""One output of the client: a descriptor that takes the streams of jobs and the client's own lines."""

from __future__ import annotations

import errno
import os
import signal
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from twisted_rsh.cli.descriptors import PIECE_BYTES, open_nonblocking
from twisted_rsh.cli.reader_watch import ReaderWatch
from twisted_rsh.cli.terminal import local_encoding
from twisted_rsh.client.job import Job
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.client.text import Transcoder
from twisted_rsh.client.waiting import Once
from twisted_rsh.closing import close_after_events

__all__ = [
    "NO_STYLE",
    "READER_LEFT_STATUS",
    "IOutputHolder",
    "LocalOutput",
    "ShownStream",
]

READER_LEFT_STATUS = 128 + signal.SIGPIPE
"""The exit status of a program whose output has no reader any more: what SIGPIPE makes of every other program."""

NO_STYLE = (b"", b"")
"""Bytes to write before and after a piece of output that looks like any other."""


class IOutputHolder(Interface):
    """The owner of the terminal's last line, such as a prompt, above which all output has to appear."""

    def output_waits() -> None:
        """Make place for output, then call :meth:`LocalOutput.release`.  May be called more than once."""


@implementer(IWriteDescriptor)
class LocalOutput:
    """Writes to one descriptor as fast as it takes the bytes, and gives a job credit for what it took.

    A terminal gets text in its own code page, anything else the bytes as they are.  The output holds what the
    descriptor has not taken yet; the credit of the streams bounds that.  When a write fails, because the reader is gone
    or the disk is full, the output drops what it holds and gets, and gives credit for it, so that the job reaches its
    end.

    :param reactor: provides `IReactorFDSet` and `IReactorTime`.
    :param fd: the descriptor.  It stays open and its flags stay as they are.
    :param style: bytes to write before and after each piece of a command's output on a terminal.
    :raises OSError: the descriptor is not open;
        :func:`~twisted_rsh.cli.descriptors.ensure_standard_descriptors` prevents that.
    :ivar is_terminal: whether the descriptor is a terminal.
    :ivar encoding: the code page of the terminals here.
    :ivar error: the error that a write failed with; ``None`` while the output works.
    """

    def __init__(self, reactor: Any, fd: int, style: tuple[bytes, bytes] = NO_STYLE) -> None:
        self.is_terminal = os.isatty(fd)
        self.encoding = local_encoding()
        self.error: OSError | None = None
        self._reactor = reactor
        self._fd = fd
        self._style = style if self.is_terminal else NO_STYLE
        self._descriptor = open_nonblocking(fd, os.O_WRONLY)
        self._pending = bytearray()
        # For each piece of what is pending: its bytes, the bytes of its stream that it stands for, and the stream.
        self._owed: deque[tuple[int, int, RemoteOutput | None]] = deque()
        self._streams: list[RemoteOutput] = []
        self._flushes: list[Deferred[None]] = []
        self._holder: IOutputHolder | None = None
        self._turn: IDelayedCall | None = None
        self._is_watched = False
        self._is_stopped = False
        self._is_line_start = True
        self._cursor_moved = False
        self._is_raw = False
        self._reader_left: Once[None] = Once()
        self._reader_watch: ReaderWatch | None = None

    def show(self, stream: RemoteOutput, job: Job | Shell, encoding: str | None) -> None:
        """Write all that comes on a stream of a job, from now to its end.

        :param stream: the stream, which has no other reader.
        :param job: names the code page of the stream's text, unless `encoding` does.
        :param encoding: the code page, or ``None``.
        """
        self.follow(stream)
        shown = ShownStream(self, stream, job, encoding)
        stream.forward(shown.piece, shown.end)

    def follow(self, stream: RemoteOutput) -> None:
        """Take note of a stream that is written here: its job is told when nothing can be written any more.

        :param stream: the stream; call :meth:`forget` at its end.
        """
        self._streams.append(stream)
        if self.error is not None:
            stream.stop()

    def transcoder(self, encoding: str | None) -> Transcoder | None:
        """Make what turns a command's text into that of the terminal.

        :param encoding: the code page of the text; ``None`` for UTF-8.
        :returns: ``None`` where the bytes are written as they are: this is no terminal, or Python does not know the
            code page.
        """
        try:
            return Transcoder(encoding or "utf-8", self.encoding) if self.is_terminal else None
        except LookupError:
            return None

    def forget(self, stream: RemoteOutput) -> None:
        """Take note that a stream has ended."""
        self._streams.remove(stream)

    def write(self, text: bytes, source_size: int, stream: RemoteOutput) -> None:
        """Write a piece of a stream, after all that was given before.

        :param text: the bytes to write.
        :param source_size: the bytes of the stream that they stand for, which get credit once all of `text` is written.
        :param stream: the stream.
        """
        if text:
            self._is_line_start = text.endswith(b"\n")
            before, after = self._style
            self._put(before + text + after, source_size, stream)
        else:
            # Half a character: the transcoder holds it until the other half comes.
            stream.consumed(source_size)

    def put(self, data: bytes) -> None:
        """Write bytes that no stream waits for.

        :param data: the bytes; wait for :meth:`flushed` after some of them, since all are held until then.
        """
        if data:
            self._is_line_start = data.endswith(b"\n")
            self._put(data)

    def say(self, line: str) -> None:
        """Write a line of the client's own.

        :param line: the line, without its line feed.
        """
        end = "\r\n" if self._is_raw and self.is_terminal else "\n"
        self._put((line + end).encode(self.encoding, "replace"))
        self._is_line_start = True

    def end_line(self) -> None:
        """Make sure that what follows begins a line, if this is a terminal."""
        if not self.is_terminal or self._is_line_start:
            return
        if self._cursor_moved:
            # Only the terminal knows where the cursor is.  As many spaces as it has columns either stay on the
            # cursor's line, if that is empty, or reach the next one.
            self._put(b" " * _columns(self._fd) + b"\r")
            self._is_line_start = True
        else:
            self.say("")

    def terminal_echoed(self) -> None:
        """Take note that the terminal itself has shown something, such as ``^C``, and not ended the line."""
        self._is_line_start = False

    def begin_command(self, is_lent: bool) -> None:
        """Take note that the output of another command follows.

        :param is_lent: whether the command has been lent this terminal.  The terminal is then raw, and a line feed does
            not return to the first column; afterwards the cursor may be anywhere, as an editor leaves it.
        """
        self._is_raw = self._cursor_moved = is_lent

    def end_command(self) -> None:
        """Take note that the terminal is no longer lent."""
        self._is_raw = False

    def hold(self, holder: IOutputHolder) -> None:
        """Write nothing until :meth:`release`.

        :param holder: told when there is something to write.
        """
        self._holder = holder
        self._pause()
        if self._pending:
            holder.output_waits()

    def release(self) -> None:
        """Write what has been held, and all that follows.  May be called more than once."""
        self._holder = None
        self._go_on()

    def flushed(self) -> Deferred[None]:
        """Wait until everything given so far, and until then, is written.

        :returns: fires with ``None``; also when the output failed or was stopped, and never with an error but the
            `CancelledError` of its own cancellation, which stops only the waiting.
        """
        if not self._pending:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._flushes.remove)
        self._flushes.append(waiting)
        return waiting

    def watch_reader(self) -> None:
        """Find out from now on that the reader of a pipe leaves, also while there is nothing to write."""
        self._reader_watch = ReaderWatch(self._reactor, self._fd, self._lose_reader)

    def when_reader_left(self) -> Deferred[None]:
        """Wait until :attr:`reader_left` is true.

        :returns: fires with ``None``.  Cancelling it changes nothing.
        """
        return self._reader_left.wait()

    def stop(self) -> None:
        """Write no more, drop what is pending, and close what was opened.  May be called more than once."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._reader_watch is not None:
            self._reader_watch.stop()
        self._pending.clear()
        self._pause()
        self._settle()
        close_after_events(self._reactor, self._descriptor.close)

    @property
    def is_pending(self) -> bool:
        """Whether there is something that is not written yet."""
        return bool(self._pending)

    @property
    def reader_left(self) -> bool:
        """Whether the output failed because its reader is gone, as ``head`` is when it has enough."""
        return self.error is not None and self.error.errno == errno.EPIPE

    def _put(self, data: bytes, source_size: int = 0, stream: RemoteOutput | None = None) -> None:
        if self._is_stopped:
            return
        self._owed.append((len(data), source_size, stream))
        self._pending += data
        if self._holder is None:
            self._go_on()
        else:
            self._holder.output_waits()

    def _pause(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._is_watched:
            self._is_watched = False
            self._reactor.removeWriter(self)

    def _go_on(self) -> None:
        if self._pending and not self._is_watched and self._turn is None:
            self._turn = self._reactor.callLater(0, self._write)

    def _write(self) -> None:
        self._turn = None
        try:
            size = self._write_piece()
        except BlockingIOError:
            self._is_watched = True
            self._reactor.addWriter(self)
            return
        except OSError as error:
            self._fail(error)
            size = len(self._pending)
        del self._pending[:size]
        self._give_credit(size)
        if self._holder is None:
            self._go_on()
        if not self._pending:
            self._settle()

    def _write_piece(self) -> int:
        if self.error is not None:
            return len(self._pending)
        with memoryview(self._pending) as pending, pending[:PIECE_BYTES] as piece:
            return self._descriptor.write(piece)

    def _lose_reader(self) -> None:
        if self.error is None and not self._is_stopped:
            self._pause()
            self._fail(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
            self._go_on()  # what is pending is dropped

    def _fail(self, error: OSError) -> None:
        self.error = error
        close_after_events(self._reactor, self._descriptor.close)
        for stream in self._streams:
            stream.stop()
        if self.reader_left:
            self._reader_left.happen(None)

    def _give_credit(self, size: int) -> None:
        """Give credit for each piece that the next bytes written complete."""
        while size:
            piece_size, source_size, stream = self._owed.popleft()
            if size < piece_size:
                self._owed.appendleft((piece_size - size, source_size, stream))
                return
            size -= piece_size
            if stream is not None and source_size:
                stream.consumed(source_size)

    def _settle(self) -> None:
        while self._flushes and not self._pending:  # one that was waiting may write more
            self._flushes.pop(0).callback(None)

    def fileno(self) -> int:
        """For the reactor: the descriptor to watch, -1 when there is none."""
        return -1 if self._is_stopped or self.error is not None else self._descriptor.fd

    def doWrite(self) -> None:
        """For the reactor: the descriptor has room."""
        self._is_watched = False
        self._reactor.removeWriter(self)
        self._write()

    def connectionLost(self, reason: Failure) -> None:
        """For the reactor: the reader hung up, or the reactor shuts down.

        :param reason: not looked at; the next write tells the two apart.
        """
        self._is_watched = False
        self._write()
        if self._is_watched:
            self.stop()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "output"


def _columns(fd: int) -> int:
    try:
        return os.get_terminal_size(fd).columns
    except OSError:  # the terminal is gone
        return 0


class ShownStream:
    """One stream of a job on its way to a :class:`LocalOutput`, which makes it.  The parameters are those of `show`."""

    def __init__(self, output: LocalOutput, stream: RemoteOutput, job: Job | Shell, encoding: str | None) -> None:
        self._output = output
        self._stream = stream
        self._job = job
        self._encoding = encoding
        self._transcoder: Transcoder | None = None

    def piece(self, data: bytes) -> None:
        """Write the next bytes of the stream."""
        if self._transcoder is None and self._output.is_terminal:
            self._transcoder = self._output.transcoder(self._encoding or self._job.encoding)
        text = data if self._transcoder is None else self._transcoder.convert(data)
        self._output.write(text, len(data), self._stream)

    def end(self) -> None:
        """Write what the transcoder still holds: nothing more comes."""
        rest = b"" if self._transcoder is None else self._transcoder.finish()
        if rest:
            self._output.write(rest, 0, self._stream)
        self._output.forget(self._stream)
