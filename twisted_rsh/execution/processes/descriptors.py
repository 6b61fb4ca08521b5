"""Descriptors at the moment of a spawn: what the child gets, and how everything else of ours is kept from it."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

__all__ = [
    "FIRST_OWN",
    "FIRST_PRIVATE",
    "IgnoresStaleEvents",
    "PipeEnds",
    "above_child_fds",
    "closing_actions",
    "is_hang_up",
    "open_pipe",
    "peer_is_gone",
]

FIRST_PRIVATE = 3
"""The first descriptor that a job must not see: it has stdin, stdout and stderr only."""

FIRST_OWN = 10
"""The first descriptor that this process uses for its side of a job.  A child's own are single digits, because dash
accepts no other in a redirection; one of ours in their place would be overwritten while the child is set up."""

_CLOSE_RANGE_CLOEXEC = 4
"""From ``linux/close_range.h``: mark the range instead of closing it (Linux 5.11)."""

_LAST_DESCRIPTOR = 2**32 - 1
"""The end of a range that means every descriptor: the largest ``unsigned int``."""

PipeEnds = tuple[int, int]
"""The reading and the writing end of a pipe."""


def above_child_fds(fd: int) -> int:
    """Move a descriptor out of the numbers that a child may have, if it is among them.

    :param fd: a descriptor; when it is moved it is closed, and when that fails it is closed as well.
    :returns: the descriptor, at least :data:`FIRST_OWN`; no child inherits it.
    :raises OSError: no descriptors are left.
    """
    if fd >= FIRST_OWN:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN)
    finally:
        os.close(fd)


def open_pipe() -> PipeEnds:
    """Open a pipe that no child inherits, clear of the numbers that a child may have.

    :returns: the reading and the writing end, both blocking; whoever asked closes them.
    :raises OSError: no descriptors are left; none stays open.
    """
    reading, writing = os.pipe()
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


def closing_actions(kept: Collection[int] = ()) -> list[tuple[Any, ...]]:
    """Say how to keep every descriptor of this process but 0, 1 and 2 from the next child.

    What Python opens is never inherited (PEP 446), but what this process was started with may be, or what a library
    in C opened.  Where the system can close all the rest at once in the child (Python 3.14) that is used.  Elsewhere
    on Linux one call marks all of them not inheritable in *this* process: 3 us whatever their number, where looking at
    each takes 9 ms with 5,000 open.  A program that means to hand descriptors to children of its own marks them
    inheritable right before it starts them, as :mod:`subprocess` does.

    :param kept: numbers, all below :data:`FIRST_OWN`, that earlier actions have given the child, 0, 1 and 2 or not.
    :returns: file actions to append to those of `os.posix_spawn`.
    """
    if hasattr(os, "POSIX_SPAWN_CLOSEFROM"):
        first = max([FIRST_PRIVATE, *(number + 1 for number in kept)])
        between = [(os.POSIX_SPAWN_CLOSE, fd) for fd in range(FIRST_PRIVATE, first) if fd not in kept]
        return [*between, (os.POSIX_SPAWN_CLOSEFROM, first)]
    if _close_range is not None and _close_range(FIRST_PRIVATE, _LAST_DESCRIPTOR, _CLOSE_RANGE_CLOEXEC) == 0:
        return []
    return [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable_descriptors() if fd not in kept]


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
            if fd >= FIRST_PRIVATE and os.get_inheritable(fd):
                found.append(fd)
        except OSError:  # the descriptor that listed the folder is closed by now
            continue
    return found


_ABNORMAL = select.POLLHUP | select.POLLERR
"""What poll(2) says of a pipe whose other end is closed: POLLHUP to a reader, POLLERR (or, on macOS, POLLHUP) to a
writer."""


def is_hang_up(reactor: object, reason: Failure) -> bool:
    """Say whether the reactor calls ``connectionLost`` for a hang-up: nothing has failed, and it goes on itself.

    :param reactor: which calls.
    :param reason: what it says.
    """
    return reason.check(ConnectionDone, ConnectionLost) is not None and getattr(reactor, "running", False)


def peer_is_gone(fd: int) -> bool:
    """Say whether nobody holds the other end of a pipe, or the job's side of a terminal.

    :param fd: our end.
    """
    poller = select.poll()
    poller.register(fd, 0)
    return any(event & _ABNORMAL for _, event in poller.poll(0))


class IgnoresStaleEvents:
    """A descriptor that is only read or only written: what it is not asked for it need not answer.

    Without an answer the reactor takes it for broken, and has it closed.  Whoever reads or writes overrides one.
    """

    def doRead(self) -> None:
        """Do nothing: what there is to read is another's."""

    def doWrite(self) -> None:
        """Do nothing: the room is another's."""
