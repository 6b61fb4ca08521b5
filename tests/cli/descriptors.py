"""Inputs and outputs that record what happens to them, and every kind of descriptor to try them on."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import implementer

from tests.serving import reactor
from twisted_rsh.cli.input import IInputOwner, InputReader
from twisted_rsh.cli.output import LocalOutput
from twisted_rsh.cli.terminal import local_encoding
from twisted_rsh.client.job import Job
from twisted_rsh.client.streams import JobChannel, RemoteOutput
from twisted_rsh.core.roles import Stream

__all__ = [
    "CIRCUMSTANCES",
    "ENDING_STREAMS",
    "PLENTY",
    "STREAMS",
    "TURNS",
    "Opener",
    "Reading",
    "Writing",
    "apply_circumstance",
    "close",
    "flags",
    "nothing_leaks",
    "open_behind_terminal",
    "open_pipe",
    "open_sockets",
    "open_terminal",
    "turns",
]

PLENTY = 1 << 30
"""Bytes: more than any test reads."""

PIECE = 1024
"""Bytes that a stream gets at once."""

TURNS = 20
"""Turns of the reactor within which all happens that happens by itself."""


@contextmanager
def nothing_leaks() -> Iterator[None]:
    """Check that a block leaves as many descriptors, readers, writers and timed calls as it found."""

    def census() -> tuple[list[str], int, int, int]:
        counts = len(reactor.getReaders()), len(reactor.getWriters()), len(reactor.getDelayedCalls())
        return (sorted(os.listdir("/dev/fd")), *counts)

    pytest_twisted.blockon(deferLater(reactor, 0))  # a reactor opens descriptors of its own when it starts
    while reactor.getDelayedCalls():  # of jobs that other tests ended
        pytest_twisted.blockon(deferLater(reactor, 0.01))
    before = census()
    yield
    pytest_twisted.blockon(deferLater(reactor, 0))  # the turn in which descriptors are closed
    assert census() == before


@implementer(IInputOwner)
class Reading:
    """The owner of a reader, which records what it gets.

    :param room: bytes that it takes before :meth:`allow` gives it more room.
    :ivar data: the bytes that it got.
    :ivar errors: the argument of each call of `input_ended`.
    :ivar ended: fires at the first of them.
    """

    def __init__(self, fd: int, room: int = PLENTY) -> None:
        self.data = b""
        self.errors: list[OSError | None] = []
        self.ended: Deferred[None] = Deferred()
        self._room = room
        self._change: Deferred[None] = Deferred()
        self.reader = InputReader(reactor, fd, self)
        self.reader.resume()

    def allow(self, size: int) -> None:
        """Have room for so many bytes more."""
        self._room += size
        self.reader.resume()

    def input_room(self) -> int:
        """See IInputOwner."""
        return self._room

    def input_received(self, data: bytes) -> None:
        """See IInputOwner."""
        assert 0 < len(data) <= self._room
        self._room -= len(data)
        self.data += data
        change, self._change = self._change, Deferred()
        change.callback(None)

    def input_ended(self, error: OSError | None) -> None:
        """See IInputOwner."""
        self.errors.append(error)
        if not self.ended.called:
            self.ended.callback(None)

    async def until(self, size: int) -> bytes:
        """Wait until it has got so many bytes in all, and return them."""
        while len(self.data) < size:
            await self._change
        return self.data


class Writing(JobChannel):
    """An output that shows one stream, and the stream's channel.

    :ivar output: the output.
    :ivar written: bytes that the stream got credit for.
    :ivar errors: the error of the output at each time that it stopped the stream.
    """

    def __init__(self, fd: int) -> None:
        self.written = 0
        self.errors: list[OSError | None] = []
        self.output = LocalOutput(reactor, fd)
        self._stream = RemoteOutput(self, Stream.STDOUT)
        # In the code page of the terminals here, so that bytes pass as they are.
        self.output.show(self._stream, cast("Job", SimpleNamespace(encoding=local_encoding())), None)

    def write(self, data: bytes) -> None:
        """Let bytes come on the stream, in the pieces of a network."""
        for start in range(0, len(data), PIECE):
            self._stream.data_received(data[start : start + PIECE])

    def output_consumed(self, stream: Stream, size: int) -> None:
        """See JobChannel."""
        assert size > 0
        self.written += size

    def stop_output(self, stream: Stream) -> None:
        """See JobChannel."""
        self.errors.append(self.output.error)


async def turns(count: int = TURNS) -> None:
    """Let the reactor turn."""
    for _ in range(count):
        await deferLater(reactor, 0)


def close(*fds: int) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def open_pipe() -> tuple[int, int]:
    """Open a pipe: the reading end and the writing end."""
    return os.pipe()


def open_sockets() -> tuple[int, int]:
    """Open a pair of stream sockets."""
    first, second = socket.socketpair()
    return first.detach(), second.detach()


def open_terminal() -> tuple[int, int]:
    """Open a terminal in raw mode: the terminal, and the program behind it."""
    behind, terminal = os.openpty()
    tty.setraw(terminal)
    return terminal, behind


def open_behind_terminal() -> tuple[int, int]:
    """Open one the other way round: this end must not be opened again, because that would make a new terminal."""
    terminal, behind = open_terminal()
    return behind, terminal


ENDING_STREAMS = [open_pipe, open_sockets, open_terminal]
"""The descriptors that a reactor can watch, and that fail when the other end is gone."""

STREAMS = [*ENDING_STREAMS, open_behind_terminal]
"""The descriptors that a reactor can watch.  Behind a terminal, keys typed ahead wait for the next program that opens
it."""

Opener = Callable[[], tuple[int, int]]


CIRCUMSTANCES = ["reopened", "refused", "non-blocking", "default time-out"]
"""The circumstances to test in: the usual ones; another user's terminal; descriptors as rsync gives them; a library
that sets a default time-out."""


def apply_circumstance(circumstance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring a circumstance about, except for "non-blocking", which a test does to its own descriptors."""

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    if circumstance == "refused":
        monkeypatch.setattr(os, "open", refuse)
    if circumstance == "default time-out":
        monkeypatch.setattr(socket, "getdefaulttimeout", lambda: 1.0)


def flags(*fds: int) -> list[int]:
    """Return the flags of the open file descriptions."""
    return [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in fds]
