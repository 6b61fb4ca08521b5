"""The master of a job's terminal, as two descriptors of the reactor: one reads what the job writes, the other types."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from twisted.internet.interfaces import IReadDescriptor, IReadWriteDescriptor
from zope.interface import implementer

from twisted_rsh.execution.interfaces import IJobReactor
from twisted_rsh.execution.pipes import READ_BYTES, InputPipe, OutputPipe
from twisted_rsh.execution.terminal import end_of_input

__all__ = ["TerminalInput", "TerminalOutput"]


@implementer(IReadDescriptor)
class TerminalOutput(OutputPipe):
    """Reads what a job writes to its terminal.

    How much waits there cannot be asked: the system counts only what it has already put in line, and what was written
    right before an exit may not be.  Only a read tells, so that whoever asks makes this object read ahead, at most
    :data:`twisted_rsh.execution.pipes.READ_BYTES`.

    The parameters are those of :class:`twisted_rsh.execution.pipes.OutputPipe`, but that the reactor also tells time.
    """

    def __init__(
        self,
        reactor: IJobReactor,
        fd: int,
        room: Callable[[], int],
        received: Callable[[bytes], None],
        lost: Callable[[], None],
    ) -> None:
        super().__init__(reactor, fd, room, received, lost)
        self._clock = reactor
        self._ahead = b""
        self._is_due = False

    def resume(self) -> None:
        """Read again.  Harmless when reading already, or closed."""
        super().resume()
        self._deliver_soon()

    def buffered(self) -> int:
        """Count the bytes that wait in the terminal, as far as they were read ahead; 0 when it is closed."""
        self._look_ahead()
        return len(self._ahead)

    def is_exhausted(self) -> bool:
        """Whether every byte was read and nobody holds the terminal open, which a paused reader would not be told."""
        return self._look_ahead() and not self._ahead

    def doRead(self) -> None:
        """Read once, or hand over what was read ahead; the reactor calls this as long as there is something to read."""
        super().doRead()
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        """Hand over what was read ahead: the reactor no longer sees it."""
        if self._ahead and self._is_reading and not self._is_due:
            self._is_due = True
            self._clock.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._is_due = False
        if self._ahead and self._is_reading:
            self.doRead()

    def _look_ahead(self) -> bool:
        """Read what there is, as far as allowed, and return whether that was the end."""
        if self.is_closed:
            return True
        while len(self._ahead) < READ_BYTES:
            data = self._read_terminal(READ_BYTES - len(self._ahead))
            if not data:
                self._deliver_soon()
                return data is not None
            self._ahead += data
        self._deliver_soon()
        return False

    def _read(self, size: int) -> bytes | None:
        if not self._ahead:
            return self._read_terminal(size)
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data

    def _read_terminal(self, size: int) -> bytes | None:
        """Read without waiting: nothing when the job's side is closed and everything was read."""
        data = self._read_once(size)
        # The system looks for data first and for the hang-up afterwards: what is written between the two looks is there
        # still, so that only a second end is the end.
        return self._read_once(size) if data == b"" else data

    def _read_once(self, size: int) -> bytes | None:
        try:
            return super()._read(size)
        except OSError as e:
            if e.errno != errno.EIO:  # Linux's way to say what others say with nothing
                raise
            return b""

    def close(self) -> None:
        """Close this descriptor of the master now; what was read ahead is dropped too."""
        self._ahead = b""
        self._is_reading = False
        super().close()


@implementer(IReadWriteDescriptor)
class TerminalInput(InputPipe):
    """Types what a job reads from its terminal.

    The end of the input is the terminal's end-of-file character, behind everything else; the master stays open, since
    without it the terminal would be hung up.  The going away of the job's side is noticed by whoever reads the master.

    The parameters are those of :class:`twisted_rsh.execution.pipes.InputPipe`.
    """

    def __init__(self, reactor: IJobReactor, fd: int, taken: Callable[[int], None], lost: Callable[[], None]) -> None:
        super().__init__(reactor, fd, taken, lost)
        self._last = b""
        self._is_finishing = False
        self._end: bytes | None = None

    def watch(self) -> None:
        """Watch nothing: what is readable here is the job's output."""

    def write(self, data: bytes) -> None:
        """Queue bytes.  Dropped after the end of the input, or when the descriptor is closed.

        :param data: bytes; they go out as soon as the terminal can take them, mostly from within this call.
        """
        if not self._ending:
            self._last = data[-1:] or self._last
        super().write(data)

    def end_marker(self) -> bytes:
        """Return what to type so that whoever reads sees the end of the input
        (:func:`twisted_rsh.execution.terminal.end_of_input`); nothing once this is closed."""
        return b"" if self.is_closed else end_of_input(self._fd, self._last)

    def _finish(self) -> None:
        self._is_finishing = True
        self._reactor.addWriter(self)

    @property
    def _has_more(self) -> bool:
        return super()._has_more or (self._is_finishing and self._end != b"")

    def doWrite(self) -> None:
        """Write until the terminal is full or all is written; the reactor calls this when it can take bytes."""
        if not self._is_finishing:
            super().doWrite()
            return
        if self._end is None:
            self._end = self.end_marker()
        try:
            while self._end:
                self._end = self._end[os.write(self._fd, self._end) :]
        except BlockingIOError:
            return
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            self.close()
            return
        self._reactor.removeWriter(self)
