"""The client's own standard descriptors under a reactor, without a trace left on them.

Twisted's ``StandardIO`` makes the descriptors non-blocking.  That flag belongs to the open file description, which the
client shares with the shell that started it and with its siblings in a pipeline; they then fail with ``EAGAIN``, even
after the client was killed (twisted#3442).  Here no flag of a shared description is ever changed:
:func:`twisted_rsh.client.ways.find_way` chooses how.

Every way is tried before it is waited for, one piece per turn of the reactor.  A reader that is allowed nothing and a
writer that is blocked are left with nothing to do, and cost nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.client.ways import find_way

__all__ = ["PIECE_BYTES", "InputReader", "OutputWriter", "ensure_standard_descriptors"]

PIECE_BYTES = 64 * 1024
"""Bytes read or written in one turn of the reactor: the size of Linux's pipes; a slow disk blocks for no longer."""


def ensure_standard_descriptors() -> None:
    """Open ``/dev/null`` on each of the descriptors 0, 1 and 2 that is closed.

    Call this first in a program.  Otherwise the next file or socket that it opens becomes its stdin or stdout.

    :raises OSError: ``/dev/null`` cannot be opened.
    """
    for fd in (0, 1, 2):
        if not _is_open(fd):
            # The lowest free number is this one, since those below are open.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@implementer(IReadDescriptor)
class InputReader:
    """Reads a descriptor as far as it is allowed to, and not one byte further.

    It is allowed nothing at first: call :meth:`allow`.  All calls to the owner come from the reactor, never from
    within a method.  The end of a terminal's input (Ctrl-D) is as final as that of a pipe.

    :param reactor: provides `IReactorFDSet` and `IReactorTime`.
    :param fd: the descriptor to read.  It stays open and its flags stay as they are.
    :param on_data: called with bytes, at least one, and no more than are allowed.
    :param on_end: called once, when there is no more input; not after :meth:`stop`.
    :raises OSError: the descriptor is not open: :func:`ensure_standard_descriptors` prevents that.
    :ivar error: what ended the input before its true end, such as an I/O error of a disk; ``None`` otherwise.  A
        terminal that vanished is a true end.
    """

    def __init__(self, reactor: Any, fd: int, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.error: OSError | None = None
        self._reactor = reactor
        self._on_data = on_data
        self._on_end = on_end
        self._is_terminal = os.isatty(fd)
        self._way = find_way(fd, os.O_RDONLY)
        self._allowed = 0
        self._waiting = False
        self._turn: IDelayedCall | None = None

    def allow(self, size: int) -> None:
        """Add to what may be read.

        :param size: bytes, at least 0.
        """
        self._allowed += size
        self._go_on()

    def stop(self) -> None:
        """Read no more, and close what was opened.  May be called more than once."""
        if self._waiting:
            self._waiting = False
            self._reactor.removeReader(self)
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._way.is_open:
            self._way.close()

    def _go_on(self) -> None:
        if self._way.is_open and self._allowed and not self._waiting and self._turn is None:
            self._turn = self._reactor.callLater(0, self._read)

    def _read(self) -> None:
        self._turn = None
        try:
            data = self._way.read(min(self._allowed, PIECE_BYTES))
        except BlockingIOError:
            self._waiting = True
            self._reactor.addReader(self)
            return
        except OSError as error:
            if not (self._is_terminal and error.errno == errno.EIO):
                self.error = error
            data = b""
        if not data:
            self._end()
            return
        self._allowed -= len(data)
        self._on_data(data)
        self._go_on()

    def _end(self) -> None:
        self.stop()
        self._on_end()

    def fileno(self) -> int:
        """For the reactor: the descriptor to watch, -1 after the end."""
        return self._way.fd

    def doRead(self) -> None:
        """For the reactor: there is something to read."""
        self._waiting = False
        self._reactor.removeReader(self)
        self._read()

    def connectionLost(self, reason: Failure) -> None:
        """For the reactor: nothing more comes.  The epoll reactor calls this when a pipe hangs up without data.

        :param reason: `ConnectionDone` at a hang-up; anything else when the reactor shuts down or a callback failed.
        """
        self._waiting = False
        if isinstance(reason.value, ConnectionDone):
            self._end()
        else:
            self.stop()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "stdin"


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
        self._way = find_way(fd, os.O_WRONLY)
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
