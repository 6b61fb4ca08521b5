"""Locks of files and folders between programs, of which one at a time changes what is there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

__all__ = ["locked_folder", "try_lock"]

_PAUSE_SECONDS = 0.01
"""Seconds between two attempts to lock a folder."""


@contextlib.contextmanager
def locked_folder(folder: str, seconds: float) -> Iterator[None]:
    """Lock a folder while a block lasts.  The system unlocks it if this program dies.

    :param folder: its path; empty for the current one.
    :param seconds: how long to wait for another program.  The caller blocks meanwhile, so a server that serves does not
        wait at all.
    :raises OSError: the folder cannot be opened; or another program has locked it, a :class:`BlockingIOError`.
    """
    descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, seconds)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            raise BlockingIOError(errno.EAGAIN, "another program is changing it")
        time.sleep(_PAUSE_SECONDS)


def try_lock(descriptor: int) -> bool:
    """Lock a file or a folder, if no other program has, for as long as the descriptor is open.

    :param descriptor: an open descriptor of it.
    :returns: whether it is locked now by this program.
    :raises OSError: its file system knows no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
