"""Use of a descriptor that neither blocks the reactor nor changes a flag that other processes see.

The standard descriptors of a client are not its own.  ``O_NONBLOCK`` is a flag of the *open file description*
(open(2)), which the client shares with the shell that started it and with the other programs of its pipeline.  A
program that sets the flag, as Twisted's ``StandardIO`` does, makes the reads and writes of those programs fail with
``EAGAIN``, even after it was killed (twisted#3442).  So this module never changes a flag of a descriptor that it is
given:

===========================  ==============================================================================
the descriptor is            and is used
===========================  ==============================================================================
a pipe or a terminal         through a new open file description, opened by ``/proc/self/fd`` or by the
                             terminal's name, which may be non-blocking
one that cannot be reopened  after a ``poll`` before each call, in pieces that a ready descriptor takes at once
a socket                     with ``MSG_DONTWAIT`` in each call
anything else                directly: files and devices do not block, their offset stays shared, and ``epoll``
                             cannot watch them
===========================  ==============================================================================

The caller tries each call before it waits, once per turn of the reactor.  A reader without room and a writer without
data have nothing to do, and take no processor time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat

__all__ = [
    "PIECE_BYTES",
    "PSEUDOTERMINAL_MULTIPLEXER",
    "Descriptor",
    "ensure_standard_descriptors",
    "open_nonblocking",
]

PIECE_BYTES = 64 * 1024
"""Bytes read or written in one turn of the reactor: the size of Linux's pipes; a slow disk blocks for no longer."""

_ATOMIC_BYTES = 512
"""Bytes that a blocking pipe takes without blocking when ``poll`` reports it ready: the ``PIPE_BUF`` that POSIX
guarantees."""

PSEUDOTERMINAL_MULTIPLEXER = os.makedev(5, 2)
"""The device number of Linux's ``/dev/ptmx``: a process that opens it again gets another terminal."""


def ensure_standard_descriptors() -> None:
    """Open ``/dev/null`` on each of the descriptors 0, 1 and 2 that is closed.

    Call it first in a program.  Otherwise the next file or socket that the program opens becomes its stdin or stdout.

    :raises OSError: ``/dev/null`` cannot be opened.
    """
    for fd in (0, 1, 2):
        if not _is_open(fd):
            # open() returns the lowest free number, which is this one: all below it are open.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class Descriptor:
    """A descriptor whose calls do not block; this class is for those that never block by themselves.

    :func:`open_nonblocking` makes the right kind.  :meth:`read` and :meth:`write` raise `BlockingIOError` when they
    would have to wait.

    :param fd: the descriptor, which this object owns from now on.
    :ivar fd: the same, for the reactor to watch; -1 when closed.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self, size: int) -> bytes:
        """Read the bytes that are there.

        :param size: how many, at most.
        :returns: ``b""`` at the end.
        :raises OSError: the descriptor cannot be read; `BlockingIOError` when nothing is there yet.
        """
        return os.read(self.fd, size)

    def write(self, data: memoryview) -> int:
        """Write as many bytes as there is room for.

        :param data: at least one byte.
        :returns: the number of bytes written, at least 1.
        :raises OSError: the descriptor cannot be written; `BlockingIOError` when there is no room yet.
        """
        return os.write(self.fd, data)

    def close(self) -> None:
        """Close the descriptor.  May be called more than once."""
        if self.fd != -1:
            os.close(self.fd)
            self.fd = -1


class _PolledDescriptor(Descriptor):
    """A pipe or a terminal whose shared description has to be used as it is.

    A call can still block until the other end moves on, when another process uses the same description between the
    ``poll`` and the call.
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
        # poll() reports errors and hang-ups too; the read or write that follows says which.
        if not poll.poll(0):
            raise BlockingIOError


class _SocketDescriptor(Descriptor):
    """A socket, whose calls take a flag not to block."""

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
    """Open a descriptor once more, in the way of the table above that fits it.

    :param fd: the descriptor; it stays open, and its flags stay as they are.
    :param access: ``os.O_RDONLY`` or ``os.O_WRONLY``.
    :returns: a descriptor of its own; the caller closes it.
    :raises OSError: `fd` is not open.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        # With a default time-out Python makes every new socket object non-blocking, and with it the description.
        return _SocketDescriptor(os.dup(fd)) if socket.getdefaulttimeout() is None else _PolledDescriptor(os.dup(fd))
    # A descriptor of the wrong direction must fail as it is: opened again, it would be the other end of the pipe.
    opened_for = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    if (stat.S_ISFIFO(mode) or os.isatty(fd)) and opened_for in {access, os.O_RDWR}:
        own = _reopen(fd, access)
        return _PolledDescriptor(os.dup(fd)) if own is None else Descriptor(own)
    return Descriptor(os.dup(fd))


def _reopen(fd: int, access: int) -> int | None:
    """Open the same pipe or terminal again, non-blocking; return ``None`` where the system refuses."""
    status = os.fstat(fd)
    if status.st_rdev == PSEUDOTERMINAL_MULTIPLEXER:
        return None
    paths = [f"/proc/self/fd/{fd}"]
    with contextlib.suppress(OSError):  # not a terminal, or one without a name
        paths.append(os.ttyname(fd))
    for path in paths:
        try:
            own = os.open(path, access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            continue
        # Some systems duplicate the descriptor instead, without O_NONBLOCK; and the name may be another file's by now.
        if not os.get_blocking(own) and os.path.samestat(os.fstat(own), status):
            return own
        os.close(own)
    return None
