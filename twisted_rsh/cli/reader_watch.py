"""The departure of a pipe's reader, which a writer otherwise learns of when it writes."""

from __future__ import annotations

import fcntl
import os
import select
import stat
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["ReaderWatch"]


@implementer(IReadDescriptor)
class ReaderWatch:
    """Tells when the last reader of a pipe has left.

    It does nothing with a descriptor that is not the writing end of a pipe.

    :param reactor: provides `IReactorFDSet`.
    :param fd: the descriptor.  It stays open and its flags stay as they are.
    :param left: called from the reactor when the reader has left, once at most, and not after :meth:`stop`.
    """

    def __init__(self, reactor: Any, fd: int, left: Callable[[], object]) -> None:
        self._reactor = reactor
        self._left = left
        self._fd = -1
        is_writing_end = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
        if is_writing_end and stat.S_ISFIFO(os.fstat(fd).st_mode):
            self._fd = os.dup(fd)
            reactor.addReader(self)

    def stop(self) -> None:
        """Watch no more.  May be called more than once."""
        if self._fd != -1:
            self._reactor.removeReader(self)
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        """For the reactor: the descriptor to watch, -1 after the end."""
        return self._fd

    def doRead(self) -> None:
        """For the reactor: there is an error, since nothing can be read here."""
        self._look()

    def connectionLost(self, reason: Failure) -> None:
        """For the reactor: there is an error, or the reactor shuts down.

        :param reason: not looked at; the pipe tells the two apart.
        """
        self._look()

    def logPrefix(self) -> str:
        """For Twisted's log."""
        return "stdout's reader"

    def _look(self) -> None:
        poll = select.poll()
        poll.register(self._fd, 0)
        is_left = any(event & (select.POLLERR | select.POLLHUP) for _fd, event in poll.poll(0))
        self.stop()
        if is_left:
            self._left()
