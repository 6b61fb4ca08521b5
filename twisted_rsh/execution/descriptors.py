"""Descriptors at the moment of a spawn: what the child gets, and how everything else of ours is kept from it."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Callable
from typing import Any

__all__ = ["FIRST_PRIVATE", "PipeEnds", "closing_actions", "open_pipe"]

FIRST_PRIVATE = 3
"""The first descriptor that a job must not see: it has stdin, stdout and stderr only."""

_CLOSE_RANGE_CLOEXEC = 4
"""From ``linux/close_range.h``: mark the range instead of closing it (Linux 5.11)."""

_LAST_DESCRIPTOR = 2**32 - 1
"""The end of a range that means every descriptor: the largest ``unsigned int``."""

PipeEnds = tuple[int, int]
"""The reading and the writing end of a pipe."""


def open_pipe() -> PipeEnds:
    """Open a pipe that no child inherits, clear of descriptors 0, 1 and 2.

    A server may run with those closed; a pipe that took their place would be overwritten while a child is set up.

    :returns: the reading and the writing end, both blocking; whoever asked closes them.
    :raises OSError: no descriptors are left; none stays open.
    """
    ends = list(os.pipe())
    try:
        for index, fd in enumerate(ends):
            if fd < FIRST_PRIVATE:
                ends[index] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_PRIVATE)
                os.close(fd)
    except OSError:
        for fd in ends:
            os.close(fd)
        raise
    return ends[0], ends[1]


def closing_actions() -> list[tuple[Any, ...]]:
    """Say how to keep every descriptor of this process but 0, 1 and 2 from the next child.

    What Python opens is never inherited (PEP 446), but what this process was started with may be, or what a library
    in C opened.  Where the system can close all the rest at once in the child (Python 3.14) that is used.  Elsewhere
    on Linux one call marks all of them not inheritable in *this* process: 3 us whatever their number, where looking at
    each takes 9 ms with 5,000 open.  A program that means to hand descriptors to children of its own marks them
    inheritable right before it starts them, as :mod:`subprocess` does.

    :returns: file actions to append to those of `os.posix_spawn`.
    """
    if hasattr(os, "POSIX_SPAWN_CLOSEFROM"):
        return [(os.POSIX_SPAWN_CLOSEFROM, FIRST_PRIVATE)]
    if _close_range is not None and _close_range(FIRST_PRIVATE, _LAST_DESCRIPTOR, _CLOSE_RANGE_CLOEXEC) == 0:
        return []
    return [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable_descriptors()]


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
