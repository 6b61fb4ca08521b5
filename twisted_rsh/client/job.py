"""A job on the server as its caller controls it, and what it takes to run one to its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from types import TracebackType
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from twisted_rsh.client.result import CommandFailed, Result
from twisted_rsh.client.streams import JobChannel, RemoteInput, RemoteOutput
from twisted_rsh.client.waiting import Once, Watchers, is_dropped
from twisted_rsh.core.endings import Ending, JobEnd, OutcomeUnknown
from twisted_rsh.core.errors import LocalProtocolError
from twisted_rsh.core.events import (
    ChannelOpened,
    DataReceived,
    Event,
    JobEnded,
    JobSuspended,
    RoomGained,
    ShellInspected,
    StreamEnded,
    StreamStopped,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.shell_state import ShellState

__all__ = ["PIECE_BYTES", "BinaryFile", "ChunkWatcher", "Job", "Stdin", "SuspensionWatcher", "run_to_end"]

PIECE_BYTES = 64 * 1024
"""Bytes that are read at a time from a file that a job gets as its input: a read of a regular file blocks for no longer
than such a piece takes."""


class BinaryFile(Protocol):
    """A binary file object, as far as a job's input needs it."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, `size` at most, and ``b""`` at the end."""


Stdin = bytes | BinaryFile | AsyncIterable[bytes]
"""The input of a command: bytes, a binary file object whose ``read()`` does not block for long, or an async iterable of
bytes."""

SuspensionWatcher = Callable[[str | None], object]
"""Called with the name of the signal that has suspended a job, and with ``None`` when the job goes on."""


ChunkWatcher = Callable[[bytes], object]
"""Called with the next bytes of an output, at least one, as soon as they come.  What it raises ends the command."""


class Job:
    """A job that :meth:`twisted_rsh.Connection.start` or :meth:`twisted_rsh.Shell.start` started.

    Its output waits on the server while it is not read, and then the job itself waits: read both outputs, or
    ``forward`` or ``stop`` the one that is of no interest.

    It is an async context manager; leaving the block closes it.

    :param request: what was asked for.
    :param channel: its channel of the session.
    :param has_no_input: whether the end of its input has been sent.
    :ivar stdin: its standard input; end it, or the job may wait for more for ever.
    :ivar stdout: its standard output.
    :ivar stderr: its standard error.
    :ivar encoding: the code page of its text, as the server named it; ``None`` until the server has started it.
    :ivar suspended: the name of the signal that has suspended it, such as ``"STOP"``; ``None`` while it runs, and
        when it has ended.  The server notices within a second or so; :meth:`watch_suspension` tells.
    :ivar channel: the number of its channel; what runs in a persistent shell names the shell by it.
    :ivar request: what was asked for.
    """

    def __init__(self, request: JobRequest, channel: JobChannel, *, has_no_input: bool = False) -> None:
        self.request = request
        self.channel = channel.number
        self.encoding: str | None = None
        self.suspended: str | None = None
        self.stdin = RemoteInput(channel, has_ended=has_no_input)
        self.stdout = RemoteOutput(channel, Stream.STDOUT)
        self.stderr = RemoteOutput(channel, Stream.STDERR)
        self._outputs = {Stream.STDOUT: self.stdout, Stream.STDERR: self.stderr}
        self._channel = channel
        self._start: Once[None] = Once()
        self._end: Once[JobEnd] = Once()
        self._suspension_watchers: Watchers[str | None] = Watchers()
        self._asked: list[Deferred[ShellState]] = []
        self._asking: list[Deferred[ShellState]] = []
        self._is_asked = False

    async def __aenter__(self) -> Job:  # noqa: PYI034 - Self is of Python 3.11
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not is_dropped(kind, self._channel.clock):
            await self.close()

    def when_started(self) -> Deferred[None]:
        """Wait until the server has started the job, so that its `encoding` is known, or the job has ended.

        :returns: fires, and never fails.
        """
        return self._start.wait()

    def wait(self) -> Deferred[JobEnd]:
        """Wait for the end of the job.

        :returns: fires, and never fails, when the server has told how the job ended or the session is over.  All of
            the output has arrived by then, though perhaps not been read.  Cancelling it ends the job.
        """
        return self._end.wait(self.close)

    @property
    def ending(self) -> Ending | None:
        """How it ended; ``None`` while it runs, as far as is known here."""
        return None if self._end.value is None else self._end.value.ending

    def inspect(self) -> Deferred[ShellState]:
        """Look at the state of the persistent shell that this job is.

        :returns: fires with what the server saw at a moment after this call; with nothing known for a job that is no
            shell, once the job has ended, and if the server gets so far behind that it cannot be asked again.
            Cancelling it changes nothing.
        :raises twisted_rsh.core.errors.LocalProtocolError: the job has not started, or the server is so far behind that
            the question would only queue up.
        """
        if not self._channel.is_open:
            return succeed(ShellState())
        if not self._is_asked:
            self._channel.inspect()
            self._is_asked = True
            waiting = self._asked
        else:  # the answer that is on its way may be about an earlier moment
            waiting = self._asking
        question: Deferred[ShellState] = Deferred(lambda _: None)
        waiting.append(question)
        return question

    def send_signal(self, name: str) -> None:
        """Send a signal to the job's whole process group.  Nothing happens if it has ended.

        :param name: a name of :data:`twisted_rsh.core.endings.SIGNAL_NAMES`, such as ``"INT"``.
        :raises twisted_rsh.core.errors.LocalProtocolError: there is no such signal, or the server is so far behind that
            the signal would only queue up.
        """
        self._channel.send_signal(name)

    def watch_suspension(self, watcher: SuspensionWatcher) -> Callable[[], None]:
        """Watch for a signal such as ``STOP`` that suspends the job, and for the moment when the job goes on.

        A suspended job has not ended.  Send it ``CONT`` with :meth:`send_signal` to have it go on.

        :param watcher: called with the signal's name, and with ``None`` when the job goes on; not called when it goes
            on only to end.
        :returns: a function that ends that; it may be called more than once.
        """
        return self._suspension_watchers.add(watcher)

    def resize(self, columns: int, rows: int) -> None:
        """Give the job's terminal another size.  Nothing happens if the job has ended, or has no terminal.

        :param columns: characters in a line, from 1 to 65535.
        :param rows: lines, from 1 to 65535.
        :raises twisted_rsh.core.errors.LocalProtocolError: the size is out of these bounds.
        """
        self._channel.resize(columns, rows)

    def close(self) -> Deferred[None]:
        """End the job if it has not ended, and drop what it still writes.  May be called more than once.

        :returns: fires, and never fails, when the job's ending has arrived or the session is over; :meth:`wait` has the
            ending then.
        """
        self._channel.close()
        self.stdin.closed()
        closing: Deferred[None] = self._end.wait().addCallback(lambda _: None)
        return closing

    def happened(self, event: Event) -> None:
        """For the session: something happened on this job's channel."""
        match event:
            case DataReceived():
                self.data_received(event.stream, event.data)
            case StreamEnded():
                self.stream_ended(event.stream)
            case RoomGained():
                self.stdin.room_gained()
            case ChannelOpened():
                self._begin(event.encoding, event.stdout, event.stderr)
            case StreamStopped():
                self.stdin.closed()
            case JobSuspended():
                self._suspended(event.signal)
            case ShellInspected():
                self._inspected(event.state)
            case JobEnded():
                self._channel.is_open = False  # before the output, whose reader may close the job
                if event.encoding is not None:
                    self._begin(event.encoding, event.output, event.errors)
                self.ended(event.end)

    def data_received(self, stream: Stream, data: bytes) -> None:
        """For the session: bytes of an output came."""
        self._outputs[stream].data_received(data)

    def stream_ended(self, stream: Stream) -> None:
        """For the session: no more of an output comes."""
        self._outputs[stream].ended()

    def room_gained(self, _stream: Stream) -> None:
        """For the session: there is room for more input."""
        self.stdin.room_gained()

    def ended(self, end: JobEnd) -> None:
        """For the session: the job has ended, or nothing more will be known of it."""
        self._channel.is_open = False
        self.suspended = None
        self.stdin.closed()
        self.stdout.ended()
        self.stderr.ended()
        self._start.happen(None)
        if self._asked or self._asking:
            self._answer_all(ShellState())
        self._end.happen(end)

    def _begin(self, encoding: str, stdout: bytes, stderr: bytes) -> None:
        """Take what the server has told with its answer."""
        self.encoding = encoding
        self._start.happen(None)
        if stdout:
            self.stdout.data_received(stdout)
        if stderr:
            self.stderr.data_received(stderr)

    def _inspected(self, state: ShellState) -> None:
        answered, self._asked, self._asking = self._asked, self._asking, []
        self._is_asked = bool(self._asked) and self._channel.is_open
        if self._is_asked:
            try:
                self._channel.inspect()
            except LocalProtocolError:  # the server is so far behind that it cannot be asked again
                self._is_asked = False
        if self._asked and not self._is_asked:
            self._answer_all(ShellState())
        _fire(answered, state)

    def _answer_all(self, state: ShellState) -> None:
        asked, self._asked, self._asking = self._asked + self._asking, [], []
        self._is_asked = False
        _fire(asked, state)

    def _suspended(self, signal: str | None) -> None:
        if signal != self.suspended:
            self.suspended = signal
            self._suspension_watchers.tell(signal)


def _fire(questions: list[Deferred[ShellState]], state: ShellState) -> None:
    for question in questions:
        if not question.called:  # it was cancelled
            question.callback(state)


async def run_to_end(
    job: Job,
    stdin: Stdin,
    *,
    check: bool,
    on_stdout: ChunkWatcher | None = None,
    on_stderr: ChunkWatcher | None = None,
) -> Result:
    """Give a job its input, and collect everything that it writes.

    :param job: the job; an output that is read already is left out.
    :param stdin: what the job reads; after it, the end of input.  It is read no further than the job takes it.
    :param check: whether anything but exit status 0 is a failure.
    :param on_stdout: called with what it writes to its standard output, as it comes; ``None`` for no call.
    :param on_stderr: the same of its standard error.
    :returns: the result.  To cancel what waits for it ends the job.
    :raises twisted_rsh.client.result.CommandFailed: that was asked for, and it failed.
    :raises Exception: whatever `stdin`, `on_stdout` or `on_stderr` raised, which has ended the job.  Where such an
        error has no other cause, its ``__cause__`` is a ``CommandFailed`` with what the job wrote until then.
    """
    errors: list[BaseException] = []

    def failed(failure: Failure) -> None:
        assert failure.value is not None  # Twisted's type allows for a failure that is made without one
        errors.append(failure.value)
        job.close()

    stdout, stderr = _collect(job.stdout, on_stdout, failed), _collect(job.stderr, on_stderr, failed)
    feeding = None
    if isinstance(stdin, bytes):
        if stdin:
            # A command that does not read all of its input is none the worse for it.
            job.stdin.write(stdin).addErrback(lambda failure: failure.trap(BrokenPipeError))
        job.stdin.end()
    else:
        feeding = Deferred.fromCoroutine(_feed(job.stdin, stdin)).addErrback(failed)
    try:
        end = await job.wait()
    except CancelledError as cancelled:
        errors.append(cancelled)
        end = JobEnd(OutcomeUnknown("it was cancelled before its ending arrived"))
    error = errors[0] if errors else None
    if feeding is not None:
        feeding.cancel()  # what is left of the input is of no use any more
    result = _result_of(job, b"".join(stdout), b"".join(stderr), end)
    if error is not None:
        raise error from error.__cause__ or CommandFailed(f"{result.command!a} was ended", result)
    return result.check() if check else result


def _collect(output: RemoteOutput, watcher: ChunkWatcher | None, failed: Callable[[Failure], object]) -> list[bytes]:
    """Collect what a job writes to an output.

    :param output: the output; one that its reader has already is left to that.
    :param watcher: called with each piece as well, or ``None``.
    :param failed: called with what the watcher raises.
    :returns: the pieces, of which there will be more until the job has ended.
    """
    chunks: list[bytes] = []

    def keep(data: bytes) -> None:
        chunks.append(data)
        output.consumed(len(data))
        if watcher is not None:
            try:
                watcher(data)
            except Exception:  # noqa: BLE001 - the application's own; it learns of it as of one of its input
                failed(Failure())

    if not output.is_read:
        output.forward(keep)
    return chunks


def _result_of(job: Job, stdout: bytes, stderr: bytes, end: JobEnd) -> Result:
    command = job.request.argv or job.request.command or ""
    encoding = job.encoding or "utf-8"
    return Result(command, stdout, stderr, end.ending, encoding, end.held_open, end.usage, folder=end.folder)


async def _feed(job_input: RemoteInput, stdin: BinaryFile | AsyncIterable[bytes]) -> None:
    if isinstance(stdin, AsyncIterable):
        is_dropped = False
        try:
            async for data in stdin:
                if not await _has_taken(job_input, data):
                    return
        except GeneratorExit:  # the program ends, and the generator is dropped as well
            is_dropped = True
            raise
        finally:
            if isinstance(stdin, AsyncGenerator) and not is_dropped:
                await stdin.aclose()
    else:
        while data := _read_piece(stdin):
            if not await _has_taken(job_input, data):
                return
    job_input.end()


async def _has_taken(job_input: RemoteInput, data: bytes) -> bool:
    try:
        await job_input.write(data)
    except BrokenPipeError:
        return False
    return True


def _read_piece(file: BinaryFile) -> bytes:
    data = file.read(PIECE_BYTES)
    if data is None:  # as an unbuffered file that does not block returns it; the command must not take it for the end
        raise BlockingIOError("a file that does not block cannot be the input of a command")
    return data
