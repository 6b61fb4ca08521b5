"""Our ends of a job's pipes, as descriptors of the reactor: one reads output within a bound, the other writes input."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import termios
from collections import deque
from weakref import WeakSet

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor, IReadWriteDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.execution.processes.descriptors import WatchedDescriptor, peer_is_gone
from twisted_rsh.execution.processes.interfaces import IInputSource, IJobReactor, IPipeOwner

__all__ = [
    "READS_AT_ONCE",
    "READ_BYTES",
    "WIDE_PIPE_BYTES",
    "FlowControlledProtocol",
    "InputPipe",
    "OutputPipe",
    "open_terminals",
]

READ_BYTES = 64 * 1024 - 18
"""Bytes of one read: nearly what a Linux pipe holds.  With the type, the header and the length of the frame, 18 bytes,
they fill four TLS records; a fifth one for the rest would cost both ends as many calls as a full one.  Twice as fast as
Twisted's 8 KiB (docs/performance.rst)."""

READS_AT_ONCE = 4
"""Reads of one event of the reactor at most: what a wide pipe holds.  To return to the reactor after each read makes an
output an eighth slower.  While a terminal is open, it still does: the echo of a key would come 0.3 ms later."""

open_terminals: WeakSet[OutputPipe] = WeakSet()
"""The terminals of jobs from which this process reads."""

WIDE_PIPE_BYTES = 256 * 1024
"""Bytes that the pipe of a busy output is made to hold, so that the job and the server take turns less often: measured,
8 % faster than Linux's 64 KiB at 10 % less processor time.  1 MiB is another 4 % faster, but a user may have no more
than 64 such pipes; the system makes every later pipe of that user a small one (pipe(7), ``pipe-user-pages-soft``)."""

_CAN_WIDEN = hasattr(fcntl, "F_SETPIPE_SZ")
"""Whether this system can make a pipe hold more, as Linux can."""

_HANG_UPS = (ConnectionDone, ConnectionLost)
"""What the reactor reports when the other end is closed."""

_PEER_IS_GONE = {errno.EPIPE, errno.EIO}
"""Error numbers of a write that no process can read: the first is a pipe's, the second a terminal's."""


@implementer(IInputSource)
class FlowControlledProtocol(ProcessProtocol):
    """A process protocol that bounds what is read for it and counts what its process takes.

    This base reads whatever comes and counts nothing.
    """

    def output_room(self, childFD: int) -> int:
        """Return how many bytes of an output may be read now.

        Each read is preceded by this call.  At 0 the output is paused until its `resume_output`.

        :param childFD: 1 or 2.
        """
        return READ_BYTES

    def input_taken(self, size: int) -> None:
        """See :meth:`IInputSource.input_taken`."""


class _Pipe(WatchedDescriptor):
    """One end of a pipe, which never blocks and reports once that it is closed.

    :param reactor: watches the descriptor.
    :param fd: our end, which this object owns from now on.  With -1 the pipe is closed from the beginning and does not
        report it.
    :param number: the descriptor that the other end is in the child.
    :param owner: learns that the pipe is closed; ``None`` when nothing depends on it.
    :ivar was_closed_by_reactor: whether it is closed because the reactor has found its end.
    """

    def __init__(self, reactor: IJobReactor, fd: int, number: int, owner: IPipeOwner | None) -> None:
        super().__init__(reactor, fd)
        self._number = number
        self._owner = owner
        self.was_closed_by_reactor = False
        if fd >= 0:
            os.set_blocking(fd, False)

    def buffered(self) -> int:
        """Count the bytes that wait in the pipe; 0 when it is closed, and where the system does not tell."""
        if self.is_closed:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._fd, termios.FIONREAD, count)
        return count[0]

    def close(self) -> None:
        """Close our end now: what is unread or unwritten is dropped, and the other end finds a broken pipe."""
        if not self.is_closed:
            super().close()
            if self._owner is not None:
                self._owner.pipe_closed(self._number)

    def connectionLost(self, reason: Failure) -> None:
        """Close: the other end is closed, or the reactor's call has failed."""
        self.was_closed_by_reactor = True
        super().connectionLost(reason)


@implementer(IReadDescriptor)
class OutputPipe(_Pipe):
    """Reads what a job writes, never more at a time than its protocol has room for.

    Call :meth:`resume` to begin.

    :param reactor: watches the descriptor.
    :param fd: our end, which this object owns from now on; -1 for none.
    :param number: the descriptor that the other end is in the child.
    :param protocol: its `output_room` bounds each read, and its `childDataReceived` takes the bytes.
    :param owner: learns that the pipe is closed; ``None`` when nothing depends on it.
    :ivar is_reading: whether it reads: it has been resumed, and not paused since.
    """

    def __init__(
        self,
        reactor: IJobReactor,
        fd: int,
        number: int,
        protocol: FlowControlledProtocol,
        owner: IPipeOwner | None = None,
    ) -> None:
        super().__init__(reactor, fd, number, owner)
        self._protocol = protocol
        self.is_reading = False
        self._is_wide = not _CAN_WIDEN

    def pause(self) -> None:
        """Stop reading until :meth:`resume`; a full pipe then stops the job.  Harmless when closed."""
        if not self.is_closed:
            self.is_reading = False
            self.watch_reading(False)

    def resume(self) -> None:
        """Read from now on.  Harmless when reading already, or closed."""
        if not self.is_closed:
            self.is_reading = True
            self.watch_reading(True)

    def is_exhausted(self) -> bool:
        """Tell whether every byte was read and no process can write another; a paused pipe does not notice."""
        # The order matters: once no process can write, the count is final.
        return self.is_closed or (peer_is_gone(self._fd) and self.buffered() == 0)

    def doRead(self) -> None:
        """Read, and again after a whole read; the reactor calls this as long as there is something to read."""
        for _ in range(READS_AT_ONCE):
            size = min(READ_BYTES, self._protocol.output_room(self._number))
            if size <= 0:
                self.pause()
                return
            data = self._read(size)
            if not data:
                if data is not None:
                    self.was_closed_by_reactor = True
                    self.close()
                return
            if len(data) == READ_BYTES and not self._is_wide:
                self._widen()
            self._protocol.childDataReceived(self._number, data)
            if len(data) < READ_BYTES or self.is_closed or not self.is_reading or open_terminals:
                return

    def _widen(self) -> None:
        """Let the pipe of a busy output hold more."""
        self._is_wide = True
        with contextlib.suppress(OSError):  # the user has used up the allowance, or it is no pipe
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, WIDE_PIPE_BYTES)

    def _read(self, size: int) -> bytes | None:
        """Read without waiting: no bytes at the end, ``None`` where there is nothing yet."""
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return None

    def connectionLost(self, reason: Failure) -> None:
        """Read on at a hang-up, which the reactor reports when it has just seen no data; close at anything else.

        What the job wrote between the system's two looks would be lost otherwise: only a read finds the end.

        :param reason: a hang-up, or the failure.
        """
        if not isinstance(reason.value, _HANG_UPS):
            super().connectionLost(reason)
            return
        self._is_watched_reading = False
        self.doRead()
        if self.is_closed:
            return
        if self.is_reading:
            self.resume()
        elif self.is_exhausted():  # the end needs no room
            self.was_closed_by_reactor = True
            self.close()


@implementer(IReadWriteDescriptor)
class InputPipe(_Pipe):
    """Writes what a job reads, and reports how much of it the pipe took.

    It holds what was written and not yet taken; the source bounds that.  Call :meth:`watch` to learn that the reader
    goes away, so that the source need not go on.

    :param reactor: watches the descriptor.
    :param fd: our end, which this object owns from now on; -1 for none.
    :param number: the descriptor that the other end is in the child.
    :param source: learns how many bytes the pipe took; ``None`` when it need not.
    :param owner: learns that the pipe is closed; ``None`` when nothing depends on it.
    :ivar was_ended_empty: whether its source has ended it when all bytes were taken, and knows that they were.
    """

    def __init__(
        self,
        reactor: IJobReactor,
        fd: int,
        number: int,
        source: IInputSource | None = None,
        owner: IPipeOwner | None = None,
    ) -> None:
        super().__init__(reactor, fd, number, owner)
        self._source = source
        self._queue: deque[memoryview] = deque()
        self._ending = False
        self.was_ended_empty = False

    def watch(self) -> None:
        """Watch from now on whether the reader goes away.  Harmless when closed."""
        if not self.is_closed:
            self.watch_reading(True)

    def write(self, data: bytes) -> None:
        """Queue bytes.  They are dropped when the pipe is closed or about to be.

        :param data: bytes; they go out as soon as the pipe can take them, mostly from within this call: a key that is
            typed should not wait for the reactor's next turn.
        """
        if data and not (self.is_closed or self._ending):
            self._queue.append(memoryview(data))
            if len(self._queue) == 1:
                try:
                    self._write_queued()
                except OSError:
                    self.watch_writing(True)  # the reactor meets the same error, logs it, and closes the pipe

    def end(self) -> None:
        """Close the pipe after what is queued."""
        if self._ending or self.is_closed:
            return
        self._ending = True
        if not self._queue:
            self.was_ended_empty = True
            self._finish()

    def close(self) -> None:
        """Close our end now: what is queued is dropped, and the job finds the end of its input."""
        self._queue.clear()
        super().close()

    def _finish(self) -> None:
        """Let the job see the end, now that everything is written."""
        self.close()

    def doWrite(self) -> None:
        """Write until the pipe is full or the queue empty; the reactor calls this when the pipe can take bytes."""
        self._write_queued()

    def _write_queued(self) -> None:
        """Write what the pipe takes now, and report it; may close the pipe."""
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
        self.watch_writing(bool(self._queue))
        if is_broken:
            self.close()
        elif self._ending and not self._queue:
            self._finish()
        if total and self._source is not None:
            self._source.input_taken(total)

    def doRead(self) -> None:
        """Look whether the reader is gone; a reactor that cannot tell a hang-up from data calls this for both."""
        if peer_is_gone(self._fd):
            self.was_closed_by_reactor = True
            self.close()
