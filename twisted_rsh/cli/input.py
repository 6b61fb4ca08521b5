"""The client's standard input, read only as far as its owner has room for."""

# ruff: noqa: N805 - a zope interface's methods have no self

from __future__ import annotations

import contextlib
import errno
import os
import select
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from twisted_rsh.cli.descriptors import PIECE_BYTES, open_nonblocking
from twisted_rsh.cli.escapes import EscapeKeys
from twisted_rsh.cli.job_control import BACKGROUND_SECONDS, in_foreground, unstopped
from twisted_rsh.cli.outage import GaveUp, Outage
from twisted_rsh.cli.terminal import local_encoding
from twisted_rsh.client.job import Job
from twisted_rsh.client.streams import IInputSource
from twisted_rsh.client.text import Transcoder
from twisted_rsh.closing import close_after_events
from twisted_rsh.core.endings import JobEnd
from twisted_rsh.core.errors import Error

__all__ = ["MAX_SENT_BYTES", "IInputOwner", "InputFailed", "InputReader", "JobInput"]

MAX_SENT_BYTES = 256 * 1024
"""Bytes of typed input that are remembered until the command's end tells whether it got them: as many as may be under
way (:data:`twisted_rsh.core.limits.DEFAULT_WINDOW`), since the window of a terminal's input never grows."""


class InputFailed(Error):
    """The client's own input could not be read to its end."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot read stdin: {error.strerror}")


class IInputOwner(Interface):
    """The owner of an :class:`InputReader`: takes what it reads, within the room there is.

    It is to the client's input what :class:`twisted_rsh.interfaces.IJobOwner` is to a job's output on the server.  The
    reader calls these methods from the reactor, never from within a method of its own.
    """

    def input_room() -> int:
        """Return how many bytes may be read now.

        :returns: bytes, 0 when there is no room; the owner calls :meth:`InputReader.resume` when it has room again.
        """

    def input_received(data: bytes) -> None:
        """Take input.

        :param data: at least one byte, and no more than :meth:`input_room` just said.
        """

    def input_ended(error: OSError | None) -> None:
        """Learn that no more input comes.  Called once at most, and not after :meth:`InputReader.stop`.

        :param error: the error that ended the input before its true end, such as that of a broken disk; ``None`` at the
            true end.  A terminal that vanished is a true end, and so is the input that ``nohup`` takes away.
        """


class _InBackground(Exception):
    """The terminal has another process group in its foreground."""


def _is_hung_up(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & select.POLLHUP for _fd, event in poll.poll(0))


@implementer(IReadDescriptor)
class InputReader:
    """Reads a descriptor as far as its owner has room, and not one byte further.

    Call :meth:`resume` to begin.  The end of a terminal's input (Ctrl-D) is as final as that of a pipe.  In the
    background the keys are another program's: the reader leaves a terminal alone until it is in the foreground.

    :param reactor: provides `IReactorFDSet` and `IReactorTime`.
    :param fd: the descriptor.  It stays open and its flags stay as they are.
    :param owner: takes what is read.
    :raises OSError: the descriptor is not open;
        :func:`~twisted_rsh.cli.descriptors.ensure_standard_descriptors` prevents that.
    """

    def __init__(self, reactor: Any, fd: int, owner: IInputOwner) -> None:
        self._reactor = reactor
        self._owner = owner
        self._is_terminal = os.isatty(fd)
        self._descriptor = open_nonblocking(fd, os.O_RDONLY)
        self._is_stopped = False
        self._is_watched = False
        self._turn: IDelayedCall | None = None

    def resume(self) -> None:
        """Learn that the owner has room, and read on.  May be called at any time."""
        if not self._is_stopped and not self._is_watched and self._turn is None:
            self._turn = self._reactor.callLater(0, self._read_first)

    def stop(self) -> None:
        """Read no more, and close what was opened.  May be called more than once."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._unwatch()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        close_after_events(self._reactor, self._descriptor.close)

    def _read_first(self) -> None:
        """Read without knowing whether there is something to read, since ``epoll`` cannot watch a file."""
        self._turn = None
        self._read()

    def _read(self) -> None:
        size = min(self._owner.input_room(), PIECE_BYTES)
        if size <= 0:
            self._unwatch()
            return
        error = None
        try:
            data = self._read_terminal(size) if self._is_terminal else self._descriptor.read(size)
        except BlockingIOError:
            self._watch()
            return
        except _InBackground:
            self._wait_in_background()
            return
        except OSError as e:
            data = b""
            error = None if self._is_end(e) else e
        if data:
            self._owner.input_received(data)
            self.resume()
        else:
            self._end(error)

    def _read_terminal(self, size: int) -> bytes:
        if not in_foreground(self._descriptor.fd):
            raise _InBackground
        try:
            with unstopped():
                return self._descriptor.read(size)
        except OSError as error:
            # The same error tells of the background, and of a terminal that is gone.
            if error.errno == errno.EIO and not _is_hung_up(self._descriptor.fd):
                raise _InBackground from None
            raise

    def _is_end(self, error: OSError) -> bool:
        if self._is_terminal:
            return error.errno == errno.EIO
        # nohup(1) gives a program that it finds on a terminal a /dev/null that is open for writing alone.
        return error.errno == errno.EBADF and os.fstat(self._descriptor.fd).st_rdev == os.stat(os.devnull).st_rdev

    def _wait_in_background(self) -> None:
        """Wait for a key, and after one that another program has not read yet wait a while.

        A reactor that watched for it would report it again and again.
        """
        if self._is_watched:
            self._unwatch()
            self._turn = self._reactor.callLater(BACKGROUND_SECONDS, self._read_first)
        else:
            self._watch()

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._reactor.addReader(self)

    def _unwatch(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._reactor.removeReader(self)

    def _end(self, error: OSError | None) -> None:
        self.stop()
        self._owner.input_ended(error)

    def fileno(self) -> int:
        """For the reactor: the descriptor to watch, -1 after the end."""
        return -1 if self._is_stopped else self._descriptor.fd

    def doRead(self) -> None:
        """For the reactor: there is something to read."""
        self._read()

    def connectionLost(self, reason: Failure) -> None:
        """For the reactor: nothing more comes.  The epoll reactor calls this when a pipe hangs up without data.

        :param reason: `ConnectionDone` at a hang-up; anything else when the reactor shuts down or a callback failed.
        """
        self._is_watched = False
        if self._is_stopped:
            return
        if isinstance(reason.value, ConnectionDone):
            self._end(None)
        else:
            self.stop()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "stdin"


@implementer(IInputOwner, IInputSource)
class JobInput:
    """Passes a descriptor on to the standard input of one command: bytes as they are, keys as text.

    Keys that are typed before the server has started the command stay in the terminal until it has, because only then
    their code page is known.  During an outage keys are read even so, up to a bound, and held: a raw terminal has no
    other way out.

    :param reactor: the reactor.
    :param fd: the descriptor.  What comes from a terminal is text in the terminal's own code page.
    :param job: the command.
    :param waiting: the wait for the command's end; cancelled when the user leaves during an outage.
    :param encoding: the code page of the command's text; ``None`` for the one that the server names.
    :param outage: looks at the keys.
    :param escapes: takes the keys that are for the client out of those that are typed; ``None`` to pass all on.
    :param ahead: input that has been read already, and comes before what the descriptor has.
    :ivar failure: why the command did not get its whole input: :class:`InputFailed`, or
        :class:`~twisted_rsh.cli.outage.GaveUp`; ``None`` otherwise.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        job: Job,
        waiting: Deferred[JobEnd],
        encoding: str | None,
        outage: Outage,
        *,
        escapes: EscapeKeys | None = None,
        ahead: bytes = b"",
    ) -> None:
        self.failure: Error | None = None
        self._job = job
        self._waiting = waiting
        self._encoding = encoding
        self._outage = outage
        self._transcoder: Transcoder | None = None
        self._is_typed = os.isatty(fd)
        self._is_started = not self._is_typed
        self._is_ended = False
        self._escapes = escapes
        self._held = ahead
        self._sent = bytearray()
        self._forgotten = 0
        self._reader = InputReader(reactor, fd, self)
        job.stdin.pull_from(self)
        if self._is_typed:
            outage.watch_keys(self)
            job.when_started().addCallback(self._started)
        else:
            self._reader.resume()

    def stop(self) -> None:
        """Read no more."""
        self._reader.stop()

    def resume(self) -> None:
        """Learn that the command has room, or that an outage has begun."""
        self._pass_on()
        self._reader.resume()

    def input_room(self) -> int:
        """See :class:`IInputOwner`."""
        if self._is_typed and self._outage.is_on:
            return PIECE_BYTES - len(self._held)
        return self._job.stdin.room if self._is_started else 0

    def input_received(self, data: bytes) -> None:
        """See :class:`IInputOwner`."""
        if self._is_typed and self._escapes is not None:
            self._held += self._escapes.feed(data)
            self._pass_on()
        elif self._is_typed and self._outage.typed(data):
            self.failure = GaveUp()
            self._waiting.cancel()
        else:
            self._held += data
            self._pass_on()

    def input_ended(self, error: OSError | None) -> None:
        """See :class:`IInputOwner`."""
        if error is None:
            self._is_ended = True
            self._pass_on()
        else:
            # A command that took half of its input for all of it would do harm.
            self.failure = InputFailed(error)
            self._job.close()

    def unread(self, end: JobEnd) -> bytes:
        """Return the keys that the command has not read, to be typed at the next prompt.

        :param end: the end of the command.
        :returns: the keys as the client's own terminal gives them; those that were sent only where the server knows
            which of them its terminal got.
        """
        if end.typed is None:
            return self._held
        unread = end.unread + bytes(self._sent[max(end.typed - self._forgotten, 0) :])
        with contextlib.suppress(LookupError):  # as in _convert
            back = Transcoder(self._encoding or self._job.encoding or "utf-8", local_encoding())
            unread = back.convert(unread) + back.finish()
        return unread + self._held

    def _started(self, _result: None) -> None:
        self._is_started = True
        self.resume()

    def _pass_on(self) -> None:
        """Give the command what is held, once it takes input, and then the end."""
        if not self._is_started:
            return
        # Only what was read during an outage may be more than there is room for.
        if self._held and (not self._outage.is_on or self._job.stdin.room):
            data, self._held = self._convert(self._held), b""
            if self._is_typed:
                self._sent += data
                surplus = max(len(self._sent) - MAX_SENT_BYTES, 0)
                del self._sent[:surplus]
                self._forgotten += surplus
            # If the command does not take all of it, the command's own end says why.
            self._job.stdin.write(data).addErrback(lambda failure: failure.trap(BrokenPipeError))
        if self._is_ended and not self._held:
            self._job.stdin.end()

    def _convert(self, data: bytes) -> bytes:
        encoding = self._encoding or self._job.encoding
        if self._is_typed and self._transcoder is None and encoding is not None:
            # Where Python does not know the code page, the bytes as they are come closest.
            with contextlib.suppress(LookupError):
                self._transcoder = Transcoder(local_encoding(), encoding)
        return data if self._transcoder is None else self._transcoder.convert(data)
