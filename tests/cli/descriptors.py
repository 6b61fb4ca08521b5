"""Readers and writers that remember what happened, and every kind of descriptor to try them on."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.serving import reactor
from twisted_rsh.cli.input import InputReader
from twisted_rsh.cli.output import OutputWriter

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

TURNS = 20
"""Turns of the reactor after which something that was to happen by itself would have happened."""


@contextmanager
def nothing_leaks() -> Iterator[None]:
    """Check that as many descriptors, readers, writers and timed calls are left as there were."""

    def census() -> tuple[list[str], int, int, int]:
        counts = len(reactor.getReaders()), len(reactor.getWriters()), len(reactor.getDelayedCalls())
        return (sorted(os.listdir("/dev/fd")), *counts)

    pytest_twisted.blockon(deferLater(reactor, 0))  # a reactor opens descriptors of its own when it starts
    while reactor.getDelayedCalls():  # of jobs that other tests ended
        pytest_twisted.blockon(deferLater(reactor, 0.01))
    before = census()
    yield
    assert census() == before


class Reading:
    """A reader, what it delivered, and its end."""

    def __init__(self, fd: int, allowed: int = PLENTY) -> None:
        self.data = b""
        self.ends = 0
        self.ended: Deferred[None] = Deferred()
        self._change: Deferred[None] = Deferred()
        self.reader = InputReader(reactor, fd, self._take, self._end)
        self.reader.allow(allowed)

    def _take(self, data: bytes) -> None:
        assert data
        self.data += data
        change, self._change = self._change, Deferred()
        change.callback(None)

    def _end(self) -> None:
        self.ends += 1
        self.ended.callback(None)

    async def until(self, size: int) -> bytes:
        while len(self.data) < size:
            await self._change
        return self.data


class Writing:
    """A writer, what it reported, and its failure."""

    def __init__(self, fd: int) -> None:
        self.written = 0
        self.errors: list[OSError] = []
        self.writer = OutputWriter(reactor, fd, self._count, self.errors.append)

    def _count(self, size: int) -> None:
        assert size > 0
        self.written += size


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
    """The same the other way round: this end must not be opened again, that would make a new terminal."""
    terminal, behind = open_terminal()
    return behind, terminal


ENDING_STREAMS = [open_pipe, open_sockets, open_terminal]
"""What one can wait for, and what fails when the other end is gone."""

STREAMS = [*ENDING_STREAMS, open_behind_terminal]
"""What one can wait for; behind a terminal, what is typed ahead waits for whoever opens it next."""

Opener = Callable[[], tuple[int, int]]


CIRCUMSTANCES = ["reopened", "refused", "non-blocking", "default time-out"]
"""How the world may be: as usual; another user's terminal; descriptors as rsync gives them; a careless library."""


def apply_circumstance(circumstance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the world so, as far as a test need not do it to its own descriptors."""

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    if circumstance == "refused":
        monkeypatch.setattr(os, "open", refuse)
    if circumstance == "default time-out":
        monkeypatch.setattr(socket, "getdefaulttimeout", lambda: 1.0)


def flags(*fds: int) -> list[int]:
    """The flags of the open file descriptions."""
    return [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in fds]
