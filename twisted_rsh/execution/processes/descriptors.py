"""Descriptors of this process: their numbers, which of them a child inherits, and how the reactor watches them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.interfaces import IFileDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.closing import close_after_events
from twisted_rsh.execution.processes.interfaces import IJobReactor

__all__ = [
    "FIRST_OWN",
    "WatchedDescriptor",
    "above_child_fds",
    "can_close_ranges",
    "close_all_but",
    "closing_actions",
    "count_descriptors",
    "open_pipe",
    "peer_is_gone",
]

_FIRST_PRIVATE = 3
"""The first descriptor that a job must not see: a job has stdin, stdout and stderr only."""

FIRST_OWN = 10
"""The first descriptor that this process uses for its side of a job.  A child's descriptors are single digits, because
dash accepts no other number in a redirection.  Setting up the child would overwrite one of ours among them."""

_CLOSE_RANGE_CLOEXEC = 4
"""From ``linux/close_range.h``: mark the range instead of closing it (Linux 5.11)."""

_LAST_DESCRIPTOR = 2**32 - 1
"""The end of a range that means every descriptor: the largest ``unsigned int``."""


# Numbers


def above_child_fds(fd: int) -> int:
    """Move a descriptor out of the numbers that a child may have, if it is among them.

    :param fd: a descriptor.  This function closes it when it moves it, and also when moving it fails.
    :returns: the descriptor, at least :data:`FIRST_OWN`; no child inherits it.
    :raises OSError: no descriptors are left.
    """
    if fd >= FIRST_OWN:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN)
    finally:
        os.close(fd)


def open_pipe() -> tuple[int, int]:
    """Open a pipe that no child inherits, clear of the numbers that a child may have.

    :returns: the reading and the writing end, both blocking; the caller closes them.
    :raises OSError: no descriptors are left; none stays open.
    """
    reading, writing = os.pipe()
    if reading >= FIRST_OWN and writing >= FIRST_OWN:
        return reading, writing
    try:
        reading = above_child_fds(reading)
    except OSError:
        os.close(writing)
        raise
    try:
        return reading, above_child_fds(writing)
    except OSError:
        os.close(reading)
        raise


# Inheritance


def closing_actions(kept: Collection[int] = ()) -> list[tuple[Any, ...]]:
    """Keep every descriptor of this process but 0, 1 and 2 from the next child.

    A child never inherits what Python opens (PEP 446), but it may inherit what this process was started with or what a
    library in C opened.  Where the system can close all the rest in the child (``POSIX_SPAWN_CLOSEFROM``, Python 3.13)
    one action does so.  Elsewhere on Linux one call marks all of them not inheritable in *this* process; it takes 3 us
    however many there are, while a look at each takes 9 ms with 5,000 open.  A program that hands descriptors to
    children of its own marks them inheritable right before it starts them, as :mod:`subprocess` does.

    :param kept: numbers, all below :data:`FIRST_OWN`, that earlier actions have given the child; they may include 0, 1
        and 2.
    :returns: file actions to append to those of `os.posix_spawn`.
    """
    if hasattr(os, "POSIX_SPAWN_CLOSEFROM"):
        first = max([_FIRST_PRIVATE, *(number + 1 for number in kept)])
        between = [(os.POSIX_SPAWN_CLOSE, fd) for fd in range(_FIRST_PRIVATE, first) if fd not in kept]
        return [*between, (os.POSIX_SPAWN_CLOSEFROM, first)]
    if _close_range is not None and _close_range(_FIRST_PRIVATE, _LAST_DESCRIPTOR, _CLOSE_RANGE_CLOEXEC) == 0:
        return []
    return [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable_descriptors() if fd not in kept]


def count_descriptors(newest: int) -> int:
    """Tell about how many descriptors this process has open.

    :param newest: the number of one that was opened last.
    :returns: what Linux tells since 6.2 (proc(5), the size of ``/proc/PID/fd``); elsewhere the number, since a new
        descriptor has the lowest that is free.  It is too small then where many low ones were closed.
    """
    try:
        return os.stat("/proc/self/fd").st_size or newest
    except OSError:
        return newest


def can_close_ranges() -> bool:
    """Tell whether the system can close a range of descriptors (Linux 5.9)."""
    # The last number, which no descriptor has.
    return _close_range is not None and _close_range(_LAST_DESCRIPTOR, _LAST_DESCRIPTOR, 0) == 0


def close_all_but(kept: int, first: int) -> None:
    """Close all descriptors of the calling thread's table but one.

    :param kept: that one.
    :param first: the first number that is closed, at most `kept`.
    :raises OSError: the system cannot close a range (:func:`can_close_ranges`).
    """
    for start, end in ((first, kept - 1), (kept + 1, _LAST_DESCRIPTOR)):
        if start <= end and (_close_range is None or _close_range(start, end, 0) != 0):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _find_close_range() -> Callable[[int, int, int], int] | None:
    """Look up ``close_range(2)`` in the C library; ``None`` where it has none."""
    function = getattr(ctypes.CDLL(None), "close_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_uint, ctypes.c_uint, ctypes.c_int)
        function.restype = ctypes.c_int
    return function


_close_range = _find_close_range()


def _inheritable_descriptors() -> list[int]:
    """List the descriptors that a child would inherit, without 0, 1 and 2."""
    found = []
    for entry in os.listdir("/dev/fd"):
        fd = int(entry)
        try:
            if fd >= _FIRST_PRIVATE and os.get_inheritable(fd):
                found.append(fd)
        except OSError:  # the descriptor that listed the folder is closed by now
            continue
    return found


# Watching

_ABNORMAL = select.POLLHUP | select.POLLERR
"""The events of poll(2) when the other end of a pipe is closed: POLLHUP for a reader, POLLERR (on macOS POLLHUP) for a
writer."""


def peer_is_gone(fd: int) -> bool:
    """Tell whether every process has closed the other end of a pipe, or the job's side of a terminal.

    :param fd: our end.
    """
    poller = select.poll()
    poller.register(fd, 0)
    return any(event & _ABNORMAL for _, event in poller.poll(0))


@implementer(IFileDescriptor)
class WatchedDescriptor:
    """A descriptor that the reactor watches, and whose number stays taken until all events of one look are dealt with.

    A subclass adds `doRead` or `doWrite`, or both, and calls :meth:`watch_reading` or :meth:`watch_writing`.  These ask
    the reactor only for what changes, because the reactor takes four calls to find that nothing does.

    :param reactor: watches the descriptor.
    :param fd: the descriptor, which this object owns from now on; -1 for one that is closed from the beginning.
    :ivar is_closed: whether the descriptor is closed.
    """

    def __init__(self, reactor: IJobReactor, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self._is_watched_reading = self._is_watched_writing = False
        self.is_closed = fd < 0

    def fileno(self) -> int:
        """Return the descriptor for the reactor, or -1 when it is closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return the name that the reactor uses in its log."""
        return type(self).__name__

    def watch_reading(self, is_watched: bool) -> None:
        """Have the reactor call `doRead` when there is something to read, or not any more."""
        if is_watched is not self._is_watched_reading:
            change = self._reactor.addReader if is_watched else self._reactor.removeReader
            change(self)  # type: ignore[arg-type]  # the subclass reads
            self._is_watched_reading = is_watched

    def watch_writing(self, is_watched: bool) -> None:
        """Have the reactor call `doWrite` when there is room to write, or not any more."""
        if is_watched is not self._is_watched_writing:
            change = self._reactor.addWriter if is_watched else self._reactor.removeWriter
            change(self)  # type: ignore[arg-type]  # the subclass writes
            self._is_watched_writing = is_watched

    def close(self) -> None:
        """Stop watching the descriptor now, and close it (:func:`twisted_rsh.closing.close_after_events`).

        Harmless when it is closed.
        """
        if not self.is_closed:
            if self._is_watched_reading:
                self.watch_reading(False)
            if self._is_watched_writing:
                self.watch_writing(False)
            fd, self._fd, self.is_closed = self._fd, -1, True
            close_after_events(self._reactor, os.close, fd)

    def connectionLost(self, reason: Failure) -> None:
        """Close; the reactor calls this at a hang-up without data, or when something it called has failed.

        The reactor has stopped watching the descriptor before.

        :param reason: a hang-up, or the failure.
        """
        self._is_watched_reading = self._is_watched_writing = False
        self.close()
