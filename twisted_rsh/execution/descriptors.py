"""Descriptors at the moment of a spawn: what the child gets, and how everything else of ours is kept from it."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Callable, Collection
from typing import Any

__all__ = ["FIRST_OWN", "FIRST_PRIVATE", "PipeEnds", "closing_actions", "open_pipe", "raised"]

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


def raised(fd: int) -> int:
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
        reading = raised(reading)
    except OSError:
        os.close(writing)
        raise
    try:
        return reading, raised(writing)
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
