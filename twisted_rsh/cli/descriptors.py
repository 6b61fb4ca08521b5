"""How to use a descriptor without waiting for it, and without changing a flag that others share.

===========================  ==============================================================================
the descriptor is            and is used
===========================  ==============================================================================
a pipe or a terminal         through a new open file description of our own, by ``/proc/self/fd`` or the
                             terminal's name, which may be non-blocking
the same, not to be opened   after asking ``poll`` each time, in pieces that a ready descriptor takes at once
a socket                     with ``MSG_DONTWAIT``
anything else                directly: files and devices do not keep anyone waiting, the offset stays shared,
                             and ``epoll`` could not watch them
===========================  ==============================================================================
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat

__all__ = ["PIECE_BYTES", "Descriptor", "ensure_standard_descriptors", "open_nonblocking"]

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


_ATOMIC_BYTES = 512
"""Bytes that a blocking pipe takes at once when ``poll`` calls it ready: the ``PIPE_BUF`` that POSIX guarantees."""

_PSEUDOTERMINAL_MULTIPLEXER = os.makedev(5, 2)
"""Linux's ``/dev/ptmx``: opening one again makes another terminal."""


class Descriptor:
    """One way to use a descriptor without waiting: this one for descriptors that never make anyone wait.

    :meth:`read` and :meth:`write` raise `BlockingIOError` when nothing can be done now.

    :ivar fd: a descriptor of this way's own, -1 when closed.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self, size: int) -> bytes:
        """Read what is there.

        :param size: bytes, at most.
        :returns: ``b""`` at the end.
        :raises OSError: it cannot be read; `BlockingIOError` when nothing is there yet.
        """
        return os.read(self.fd, size)

    def write(self, data: memoryview) -> int:
        """Write as much as there is room for.

        :param data: at least one byte.
        :returns: bytes that were taken, at least 1.
        :raises OSError: it cannot be written; `BlockingIOError` when there is no room yet.
        """
        return os.write(self.fd, data)

    def close(self) -> None:
        """Close this way's own descriptor."""
        os.close(self.fd)
        self.fd = -1

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self.fd != -1


class _PolledDescriptor(Descriptor):
    """For a pipe or a terminal whose shared description has to be used as it is.

    Another process that uses it in the same instant can still make us wait, until the other end moves on.
    """

    def read(self, size: int) -> bytes:
        self._require(select.POLLIN)
        return super().read(size)

    def write(self, data: memoryview) -> int:
        self._require(select.POLLOUT)
        with data[:_ATOMIC_BYTES] as piece:
            return super().write(piece)

    def _require(self, event: int) -> None:
        poll = select.poll()
        poll.register(self.fd, event)
        # Errors and hang-ups are reported too; read and write tell what they are.
        if not poll.poll(0):
            raise BlockingIOError


class _SocketDescriptor(Descriptor):
    """For a socket: it can be told with each call not to wait."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._socket = socket.socket(fileno=fd)

    def read(self, size: int) -> bytes:
        return self._socket.recv(size, socket.MSG_DONTWAIT)

    def write(self, data: memoryview) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def close(self) -> None:
        self._socket.close()
        self.fd = -1


def open_nonblocking(fd: int, access: int) -> Descriptor:
    """Choose how to use a descriptor.

    :param fd: stays open, and its flags as they are; the way has a descriptor of its own.
    :param access: ``os.O_RDONLY`` or ``os.O_WRONLY``.
    :returns: the way; close it.
    :raises OSError: `fd` is not open.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        # With a default time-out, Python makes every socket object non-blocking, and so the shared description.
        return _SocketDescriptor(os.dup(fd)) if socket.getdefaulttimeout() is None else _PolledDescriptor(os.dup(fd))
    # A descriptor opened for the other direction must fail as it is: opened again, it would be another end.
    opened_for = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    if (stat.S_ISFIFO(mode) or os.isatty(fd)) and opened_for in {access, os.O_RDWR}:
        own = _reopen(fd, access)
        return _PolledDescriptor(os.dup(fd)) if own is None else Descriptor(own)
    return Descriptor(os.dup(fd))


def _reopen(fd: int, access: int) -> int | None:
    """Open the same pipe or terminal again, non-blocking.

    :returns: a new descriptor, or ``None`` where the system or the permissions do not allow it.
    """
    status = os.fstat(fd)
    if status.st_rdev == _PSEUDOTERMINAL_MULTIPLEXER:
        return None
    paths = [f"/proc/self/fd/{fd}"]
    with contextlib.suppress(OSError):  # not a terminal, or one without a name
        paths.append(os.ttyname(fd))
    for path in paths:
        try:
            own = os.open(path, access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            continue
        # Some systems duplicate the descriptor instead, without our flag, and a name may have changed hands.
        if not os.get_blocking(own) and os.path.samestat(os.fstat(own), status):
            return own
        os.close(own)
    return None
