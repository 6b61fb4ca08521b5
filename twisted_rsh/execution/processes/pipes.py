"""The parent's ends of a job's pipes, as descriptors of the reactor: one reads output, the other writes input."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import termios
from collections import deque
from collections.abc import Callable

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.limits import SENT_DATA_BYTES
from twisted_rsh.execution.processes.descriptors import IgnoresStaleEvents, is_hang_up, peer_is_gone

__all__ = ["READ_BYTES", "WIDE_PIPE_BYTES", "InputPipe", "OutputPipe"]

READ_BYTES = 4 * SENT_DATA_BYTES
"""Bytes of one read: nearly what a Linux pipe holds, and whole frames.  Twice as fast as Twisted's 8 KiB
(docs/performance.rst)."""

WIDE_PIPE_BYTES = 256 * 1024
"""Bytes that the pipe of a busy output is made to hold, so that the job and the server take turns less often: measured,
8 % faster than Linux's 64 KiB at 10 % less processor time.  1 MiB is another 4 % faster, but of such pipes 64 are all
that a user may have; then the system makes every new pipe of that user a small one (pipe(7), ``pipe-user-pages-soft``).
"""

_PEER_IS_GONE = {errno.EPIPE, errno.EIO}
"""How a write fails when nobody can read it: the first for a pipe, the second for a terminal."""


class _Pipe(IgnoresStaleEvents):
    """What both ends have in common: a descriptor that is closed once, and says so once.

    One that is -1 is closed from the beginning, and says nothing.
    """

    def __init__(self, reactor: IReactorFDSet, fd: int, lost: Callable[[], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._lost = lost
        if fd >= 0:
            os.set_blocking(fd, False)

    def fileno(self) -> int:
        """The descriptor, or -1 when it is closed; the reactor asks."""
        return self._fd

    def logPrefix(self) -> str:
        """What the reactor calls this in its log."""
        return type(self).__name__

    @property
    def is_closed(self) -> bool:
        """Whether the descriptor is closed."""
        return self._fd < 0

    def _unwatch(self) -> None:
        """Let the reactor forget this pipe."""
        raise NotImplementedError

    def close(self) -> None:
        """Close our end now: what is unread or unwritten is dropped, and the other end finds a broken pipe."""
        if self._fd >= 0:
            self._unwatch()
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._lost()

    def connectionLost(self, reason: Failure) -> None:
        """Close; the reactor calls this at a hang-up without data, or when something it called has failed."""
        self.close()


@implementer(IReadDescriptor)
class OutputPipe(_Pipe):
    """Reads what a job writes, never more at a time than its reader has room for.

    :param reactor: watches the descriptor.
    :param fd: our end, which this object owns from now on; -1 for none.
    :param room: says how many bytes may be read now; at 0 this pipe pauses itself.
    :param received: takes the bytes.
    :param lost: learns, once, that the descriptor is closed.
    :ivar has_ended: whether it is closed because the reactor's read has found the end.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        fd: int,
        room: Callable[[], int],
        received: Callable[[bytes], None],
        lost: Callable[[], None],
    ) -> None:
        super().__init__(reactor, fd, lost)
        self._room = room
        self._received = received
        self._is_reading = False
        self._is_wide = not hasattr(fcntl, "F_SETPIPE_SZ")
        self.has_ended = False

    def pause(self) -> None:
        """Read no more until :meth:`resume`; a full pipe then stops the job.  Harmless when closed."""
        if not self.is_closed:
            self._is_reading = False
            self._unwatch()

    def resume(self) -> None:
        """Read again.  Harmless when reading already, or closed."""
        if not self.is_closed:
            self._is_reading = True
            self._reactor.addReader(self)

    def buffered(self) -> int:
        """Count the bytes that wait in the pipe; 0 when it is closed."""
        if self.is_closed:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._fd, termios.FIONREAD, count)
        return count[0]

    def is_exhausted(self) -> bool:
        """Whether every byte was read and nobody can write another, which a paused reader would not be told."""
        # The order matters: once nobody can write, the count is final.
        return self.is_closed or (peer_is_gone(self._fd) and self.buffered() == 0)

    def doRead(self) -> None:
        """Read once; the reactor calls this as long as there is something to read."""
        size = min(READ_BYTES, self._room())
        if size <= 0:
            self.pause()
            return
        data = self._read(size)
        if data:
            if len(data) == READ_BYTES:
                self._widen()
            self._received(data)
        elif data is not None:
            self.has_ended = True
            self.close()

    def _widen(self) -> None:
        """Let the pipe of an output that turned out to be busy hold more: once, and only then."""
        if not self._is_wide:
            self._is_wide = True
            with contextlib.suppress(OSError):  # the user has used up the allowance, or it is no pipe
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, WIDE_PIPE_BYTES)

    def _read(self, size: int) -> bytes | None:
        """Read without waiting: nothing at the end, and ``None`` where there is nothing yet."""
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return None

    def connectionLost(self, reason: Failure) -> None:
        """Read on at a hang-up, which the reactor reports when it has just seen no data; close at anything else.

        What was written between the two looks of the system would be lost otherwise: only a read finds the end.
        """
        if not reason.check(ConnectionDone, ConnectionLost):
            self.close()
            return
        self.doRead()
        if self._is_reading:
            self.resume()
        elif self.is_exhausted():  # the end needs no room
            self.close()

    def _unwatch(self) -> None:
        self._reactor.removeReader(self)


@implementer(IReadWriteDescriptor)
class InputPipe(_Pipe):
    """Writes what a job reads, and says how much of it the pipe took.

    What was written and not yet taken is held; whoever writes bounds it.  The pipe is also watched for its reader's
    going away, so that input nobody will read is not asked for.

    :param reactor: watches the descriptor.
    :param fd: our end, which this object owns from now on; -1 for none.
    :param taken: learns how many bytes the pipe took.
    :param lost: learns, once, that the descriptor is closed.
    """

    def __init__(self, reactor: IReactorFDSet, fd: int, taken: Callable[[int], None], lost: Callable[[], None]) -> None:
        super().__init__(reactor, fd, lost)
        self._taken = taken
        self._queue: deque[memoryview] = deque()
        self._ending = False

    def watch(self) -> None:
        """Begin to watch for the reader's going away.  Harmless when closed."""
        if not self.is_closed:
            self._reactor.addReader(self)

    def write(self, data: bytes) -> None:
        """Queue bytes.  Dropped when the pipe is closed or about to be.

        :param data: bytes; they go out as soon as the pipe can take them, mostly from within this call: a key that is
            typed should not wait for the reactor's next turn.
        """
        if data and not (self.is_closed or self._ending):
            self._queue.append(memoryview(data))
            if len(self._queue) == 1:
                try:
                    self.doWrite()
                except OSError:
                    self._reactor.addWriter(self)  # the reactor meets the same error, logs it, and closes the pipe

    def end(self) -> None:
        """Close the pipe behind what is queued."""
        if self._ending or self.is_closed:
            return
        self._ending = True
        if not self._queue:
            self._finish()

    def _finish(self) -> None:
        """Let the job see the end, now that everything is written."""
        self.close()

    def doWrite(self) -> None:
        """Write until the pipe is full or the queue empty; the reactor calls this when the pipe can take bytes."""
        total = 0
        is_broken = False
        try:
            while self._queue:
                chunk = self._queue[0]
                size = os.write(self._fd, chunk)
                total += size
                if size < len(chunk):
                    self._queue[0] = chunk[size:]
                else:
                    self._queue.popleft()
        except BlockingIOError:
            pass
        except OSError as e:
            if e.errno not in _PEER_IS_GONE:
                raise
            is_broken = True
        if self._queue:
            self._reactor.addWriter(self)
        else:
            self._reactor.removeWriter(self)
        if is_broken:
            self.close()
        elif self._ending and not self._queue:
            self._finish()
        if total:
            self._taken(total)

    def doRead(self) -> None:
        """Look whether the reader is gone: reactors that cannot tell a hang-up from data call this for both."""
        if peer_is_gone(self._fd):
            self.close()

    def connectionLost(self, reason: Failure) -> None:
        """Close, unless the reader is still there: then the hang-up was of another descriptor."""
        if not self.is_closed and is_hang_up(self._reactor, reason) and not peer_is_gone(self._fd):
            self.watch()
            if self._has_more:
                self._reactor.addWriter(self)
        else:
            self.close()

    @property
    def _has_more(self) -> bool:
        """Whether anything is left to be written."""
        return bool(self._queue)

    def _unwatch(self) -> None:
        self._queue.clear()
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
