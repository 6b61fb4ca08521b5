"""The client's own descriptors: every kind of them, within what is allowed, and their flags never touched."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_twisted
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

import twisted_rsh
from twisted_rsh.client.stdio import PIECE_BYTES, InputReader, OutputWriter

reactor: Any = installed_reactor

Test = TypeVar("Test", bound=Callable[..., Coroutine[Any, Any, None]])

asynchronous: Callable[[Test], Test] = pytest_twisted.ensureDeferred
"""Runs a coroutine as a test, on the reactor."""

PLENTY = 1 << 30
"""Bytes: more than any test reads."""

TURNS = 20
"""Turns of the reactor after which something that was to happen by itself would have happened."""


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Every test leaves as many descriptors, readers, writers and timed calls as it found."""

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
    import tty

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


@pytest.fixture(params=["reopened", "refused", "non-blocking", "default time-out"])
def circumstance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the world is: as usual; another user's terminal; descriptors as rsync gives them; a careless library."""
    circumstance: str = request.param

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    if circumstance == "refused":
        monkeypatch.setattr(os, "open", refuse)
    if circumstance == "default time-out":
        monkeypatch.setattr(socket, "getdefaulttimeout", lambda: 1.0)
    return circumstance


def flags(*fds: int) -> list[int]:
    """The flags of the open file descriptions."""
    return [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in fds]


@pytest.mark.parametrize("opener", STREAMS)
@asynchronous
async def test_input_comes_as_far_as_allowed(opener: Opener, circumstance: str) -> None:
    """C-07: a pipe, a socket or a terminal is read live and never beyond what is allowed; C-05: flags stay."""
    ours, theirs = opener()
    os.set_blocking(ours, circumstance != "non-blocking")
    before = flags(ours, theirs)
    reading = Reading(ours, allowed=0)
    os.write(theirs, b"abcdef")
    await turns()
    assert reading.data == b""
    reading.reader.allow(2)
    assert await reading.until(2) == b"ab"
    await turns()
    assert reading.data == b"ab"
    assert os.read(ours, 1) == b"c"
    reading.reader.allow(PLENTY)
    assert await reading.until(5) == b"abdef"
    os.write(theirs, b"g")
    assert await reading.until(6) == b"abdefg"
    assert flags(ours, theirs) == before
    close(theirs)
    await reading.ended
    await turns()
    assert (reading.ends, reading.reader.error, reading.reader.fileno()) == (1, None, -1)
    assert flags(ours) == before[:1]
    close(ours)


@pytest.mark.parametrize("opener", STREAMS)
@asynchronous
async def test_hang_up_while_waiting_is_the_end(opener: Opener) -> None:
    """C-07: the other end goes away while the reactor watches: that ends the input, once."""
    ours, theirs = opener()
    reading = Reading(ours)
    await turns()
    assert reading.reader in reactor.getReaders()
    close(theirs)
    await reading.ended
    await turns()
    assert (reading.ends, reading.reader.error) == (1, None)
    close(ours)


@pytest.mark.parametrize("opener", STREAMS)
@asynchronous
async def test_output_waits_for_its_reader(opener: Opener, circumstance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C-06: a slow reader blocks the output, at no cost, and gets every byte; C-05: flags stay."""
    ours, theirs = opener()[::-1] if opener is open_pipe else opener()
    os.set_blocking(ours, circumstance != "non-blocking")
    before = flags(ours, theirs)
    writing = Writing(ours)
    data = bytes(range(256)) * 4096
    writing.writer.write(data)
    flushed = writing.writer.flushed()
    while writing.writer not in reactor.getWriters():
        await turns(1)
    reported = writing.written
    assert 0 < reported < len(data)

    monkeypatch.setattr(writing.writer, "doWrite", lambda: pytest.fail("the reactor kept trying"))
    await turns()
    assert reactor.getDelayedCalls() == []
    monkeypatch.undo()

    received = b""
    while len(received) < len(data):
        if select.select([theirs], [], [], 0)[0]:
            received += os.read(theirs, PIECE_BYTES)
        await turns(1)
    await flushed
    assert received == data
    assert writing.written == len(data)
    assert flags(ours, theirs) == before
    writing.writer.stop()
    writing.writer.stop()
    assert flags(ours, theirs) == before
    close(ours, theirs)


@pytest.mark.parametrize("opener", ENDING_STREAMS)
@pytest.mark.parametrize("is_blocked", [False, True])
@asynchronous
async def test_reader_that_goes_away_closes_the_output(opener: Opener, is_blocked: bool) -> None:
    """C-06: a broken pipe is reported once; what is dropped counts as written, so that credit keeps flowing."""
    ours, theirs = opener()[::-1] if opener is open_pipe else opener()
    writing = Writing(ours)
    data = bytes(1024 * 1024)
    if not is_blocked:
        close(theirs)
    writing.writer.write(data)
    if is_blocked:
        while writing.writer not in reactor.getWriters():
            await turns(1)
        assert writing.errors == []
        close(theirs)
    await writing.writer.flushed()
    assert [error.errno for error in writing.errors] in ([errno.EPIPE], [errno.EIO])
    assert writing.written == len(data)
    writing.writer.write(b"more")
    await writing.writer.flushed()
    assert writing.written == len(data) + 4
    assert len(writing.errors) == 1
    writing.writer.stop()
    close(ours)


@asynchronous
async def test_named_pipe_without_writers_has_an_end(tmp_path: Path) -> None:
    """C-07: a named pipe whose writer left its data and went: opened again, the system never reports its end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    both = os.open(fifo, os.O_RDWR)
    ours = os.open(fifo, os.O_RDONLY)
    os.write(both, b"left")
    close(both)
    reading = Reading(ours)
    await reading.ended
    assert reading.data == b"left"
    close(ours)


@asynchronous
async def test_file_is_read_from_its_offset_and_left_behind_what_was_read(tmp_path: Path) -> None:
    """C-07: a regular file is read in pieces from where it stands, and no further than allowed."""
    path = tmp_path / "input"
    data = bytes(range(256)) * 1024
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 3, os.SEEK_SET)
    reading = Reading(fd, allowed=PIECE_BYTES + 1)
    await reading.until(PIECE_BYTES + 1)
    await turns()
    assert reading.data == data[3 : PIECE_BYTES + 4]
    assert os.lseek(fd, 0, os.SEEK_CUR) == PIECE_BYTES + 4
    assert reading.reader not in reactor.getReaders()
    reading.reader.allow(PLENTY)
    await reading.ended
    assert reading.data == data[3:]
    close(fd)


@asynchronous
async def test_files_keep_their_offset_and_append_mode(tmp_path: Path) -> None:
    """C-06: output goes where the inherited description stands, behind what others appended."""
    path = tmp_path / "output"
    path.write_bytes(b"old\n")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    writing = Writing(fd)
    data = bytes(3 * PIECE_BYTES)
    writing.writer.write(b"first\n")
    await writing.writer.flushed()
    os.write(fd, b"other\n")
    writing.writer.write(data)
    await writing.writer.flushed()
    writing.writer.stop()
    assert path.read_bytes() == b"old\nfirst\nother\n" + data
    assert os.lseek(fd, 0, os.SEEK_CUR) == path.stat().st_size
    close(fd)


@asynchronous
async def test_null_device() -> None:
    """C-07: /dev/null ends at once as input, once something is allowed, and takes everything as output."""
    fd = os.open(os.devnull, os.O_RDWR)
    reading = Reading(fd, allowed=0)
    await turns()
    assert reading.ends == 0
    reading.reader.allow(1)
    await reading.ended
    writing = Writing(fd)
    writing.writer.write(bytes(PLENTY // 1024))
    await writing.writer.flushed()
    assert writing.written == PLENTY // 1024
    writing.writer.stop()
    close(fd)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@asynchronous
async def test_full_disk() -> None:
    """C-06: a full disk is reported once with ENOSPC, and the rest is dropped and counted."""
    fd = os.open("/dev/full", os.O_WRONLY)
    writing = Writing(fd)
    writing.writer.write(b"abc")
    await writing.writer.flushed()
    writing.writer.write(b"def")
    await writing.writer.flushed()
    assert [error.errno for error in writing.errors] == [errno.ENOSPC]
    assert writing.written == 6
    writing.writer.stop()
    close(fd)


@asynchronous
async def test_wrong_direction_fails_instead_of_opening_another_end() -> None:
    """C-07: the writing end of a pipe as stdin is an input that fails, not a thief of the reader's data."""
    ours, theirs = os.pipe()
    reading = Reading(theirs)
    await reading.ended
    assert reading.reader.error is not None
    assert reading.reader.error.errno == errno.EBADF
    writing = Writing(ours)
    writing.writer.write(b"x")
    await writing.writer.flushed()
    assert [error.errno for error in writing.errors] == [errno.EBADF]
    writing.writer.stop()
    close(ours, theirs)


@asynchronous
async def test_input_that_breaks_is_told_from_its_end(tmp_path: Path) -> None:
    """C-07: a folder as stdin ends the input, with the error to look at."""
    fd = os.open(tmp_path, os.O_RDONLY)
    reading = Reading(fd)
    await reading.ended
    assert isinstance(reading.reader.error, IsADirectoryError)
    close(fd)


def test_closed_descriptor_is_refused() -> None:
    """C-07: a descriptor that is not open is an error at once."""
    ours, theirs = os.pipe()
    close(ours, theirs)
    with pytest.raises(OSError, match="Bad file descriptor"):
        InputReader(reactor, ours, lambda _: None, lambda: None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        OutputWriter(reactor, theirs, lambda _: None, lambda _: None)


@asynchronous
async def test_end_of_terminal_input_is_final() -> None:
    """C-07: after Ctrl-D nothing more is read, though the terminal would give it."""
    behind, terminal = os.openpty()
    reading = Reading(terminal)
    os.write(behind, b"a\n\x04")
    await reading.ended
    os.write(behind, b"b\n")
    reading.reader.allow(1)
    await turns()
    assert (reading.data, reading.ends) == (b"a\n", 1)
    close(behind, terminal)


@asynchronous
async def test_stopped_reader_is_silent() -> None:
    """Stopped before its turn, while waiting, or by its own callback, a reader calls nobody any more."""
    ours, theirs = os.pipe()
    soon = Reading(ours)
    soon.reader.stop()
    waiting = Reading(ours)
    await turns()
    waiting.reader.stop()
    waiting.reader.stop()
    within = InputReader(reactor, ours, lambda _: within.stop(), lambda: pytest.fail("ended"))
    within.allow(1)
    within.allow(1)
    os.write(theirs, b"abc")
    close(theirs)
    await turns()
    assert (soon.data, soon.ends, waiting.data, waiting.ends, within.fileno()) == (b"", 0, b"", 0, -1)
    assert os.read(ours, 9) == b"c"
    close(ours)


@asynchronous
async def test_stopped_writer_drops_and_settles() -> None:
    """Stopped before its turn or while blocked, a writer drops what it holds and lets nobody wait."""
    ours, theirs = os.pipe()
    soon = Writing(theirs)
    soon.writer.write(b"x")
    flushed = soon.writer.flushed()
    soon.writer.stop()
    await flushed
    soon.writer.write(b"y")
    await soon.writer.flushed()
    blocked = Writing(theirs)
    blocked.writer.write(bytes(1024 * 1024))
    flushed = blocked.writer.flushed()
    while blocked.writer not in reactor.getWriters():
        await turns(1)
    blocked.writer.stop()
    await flushed
    assert (soon.written, soon.errors, blocked.errors, blocked.writer.fileno()) == (0, [], [], -1)
    close(ours, theirs)


@asynchronous
async def test_owner_may_stop_or_write_from_its_callbacks() -> None:
    """The owner may stop the output when it hears of its failure, and write on when it hears of progress."""
    ours, theirs = os.pipe()
    written: list[int] = []

    def more(size: int) -> None:
        written.append(size)
        if len(written) == 1:
            writer.write(b"second")

    writer = OutputWriter(reactor, theirs, more, lambda _: writer.stop())
    writer.write(b"first")
    await writer.flushed()
    assert written == [5, 6]
    close(ours)
    writer.write(b"lost")
    await writer.flushed()
    await turns()
    assert written == [5, 6]
    close(theirs)


@asynchronous
async def test_waiting_for_a_flush_can_be_cancelled() -> None:
    """Cancelling the wait leaves the output and the other waiters alone."""
    ours, theirs = os.pipe()
    writing = Writing(theirs)
    writing.writer.write(b"x")
    given_up, kept = writing.writer.flushed(), writing.writer.flushed()
    given_up.cancel()
    with pytest.raises(CancelledError):
        await given_up
    await kept
    assert os.read(ours, 2) == b"x"
    writing.writer.stop()
    close(ours, theirs)


@asynchronous
async def test_shutdown_of_the_reactor_is_neither_end_nor_failure() -> None:
    """What the reactor does to all that waits when it stops must not look like the end of the input."""
    ours, theirs = os.pipe()
    reading, writing = Reading(ours), Writing(theirs)
    await turns()
    verifyObject(IReadDescriptor, reading.reader)
    verifyObject(IWriteDescriptor, writing.writer)
    assert (reading.reader.logPrefix(), writing.writer.logPrefix()) == ("stdin", "output")
    reactor.removeReader(reading.reader)
    reading.reader.connectionLost(Failure(ConnectionLost()))
    writing.writer.write(bytes(1024 * 1024))
    while writing.writer not in reactor.getWriters():
        await turns(1)
    reactor.removeWriter(writing.writer)
    writing.writer.connectionLost(Failure(ConnectionLost()))
    assert (reading.ends, writing.errors) == (0, [])
    assert (reading.reader.fileno(), writing.writer.fileno()) == (-1, -1)
    close(ours, theirs)


@asynchronous
async def test_system_that_duplicates_instead_of_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where opening a descriptor's name gives a duplicate without our flag, it is not taken for non-blocking."""
    ours, theirs = os.pipe()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda path, flags: os.dup(ours))
        reading = Reading(ours)
    await turns()
    os.write(theirs, b"x")
    assert await reading.until(1) == b"x"
    reading.reader.stop()
    close(ours, theirs)


COPIER = """
import sys
if sys.argv[1] == "asyncio":
    from twisted.internet import asyncioreactor
    asyncioreactor.install()
from twisted.internet import reactor
from twisted_rsh.client.stdio import InputReader, OutputWriter, ensure_standard_descriptors

ensure_standard_descriptors()
status = 0
def take(data):
    output.write(data)
def fail(error):
    global status
    status = error.errno
    messages.write(type(error).__name__.encode())
def end():
    done = output.flushed()
    done.addCallback(lambda _: messages.flushed())
    done.addCallback(lambda _: reactor.stop())
messages = OutputWriter(reactor, 2, lambda size: None, lambda error: None)
output = OutputWriter(reactor, 1, lambda size: reader.allow(size), fail)
reader = InputReader(reactor, 0, take, end)
reactor.callWhenRunning(reader.allow, 65536)
reactor.callWhenRunning(messages.write, b"ready\\n")
reactor.run()
sys.exit(status)
"""
"""A program that copies stdin to stdout with a window of 64 KiB."""

ROOT = Path(twisted_rsh.__file__).parents[1]

both_reactors = pytest.mark.parametrize("kind", ["default", "asyncio"])


def copier(kind: str) -> list[str]:
    """The command that runs the copier on this kind of reactor."""
    return [sys.executable, "-c", COPIER, kind]


@both_reactors
@pytest.mark.parametrize("opener", ENDING_STREAMS)
def test_flags_outlive_a_killed_client(kind: str, opener: Opener) -> None:
    """C-05: the parent's descriptors are as they were while the client runs and after SIGKILL took it."""
    stdin, feeding = opener()
    drain, stdout = opener()
    messages, stderr = opener()
    shared = stdin, stdout, stderr
    before = flags(*shared)
    with subprocess.Popen(copier(kind), stdin=stdin, stdout=stdout, stderr=stderr, cwd=ROOT) as process:
        assert os.read(messages, 100) == b"ready\n"
        os.write(feeding, b"live")
        assert os.read(drain, 100) == b"live"
        assert flags(*shared) == before
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert flags(*shared) == before
    close(stdin, feeding, drain, stdout, messages, stderr)


@both_reactors
def test_copy_through_pipes_is_complete(kind: str) -> None:
    """C-07: a megabyte through pipes comes out as it went in, and the end arrives."""
    data = bytes(range(256)) * 4096
    result = subprocess.run(copier(kind), input=data, capture_output=True, cwd=ROOT)
    assert (result.returncode, result.stdout, result.stderr) == (0, data, b"ready\n")


@both_reactors
def test_copy_from_file_to_file(kind: str, tmp_path: Path) -> None:
    """C-07: regular files, which epoll refuses, on both ends."""
    data = bytes(range(256)) * 4096
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        result = subprocess.run(copier(kind), stdin=source, stdout=target, stderr=subprocess.PIPE, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, b"ready\n")
    assert (tmp_path / "out").read_bytes() == data


@both_reactors
@pytest.mark.parametrize("redirection", ["<&-", "</dev/null", ">&- </dev/null", "<&- >&- 2>&-"])
def test_closed_descriptors_do_not_hang(kind: str, redirection: str) -> None:
    """C-07: closed or null descriptors end the copy at once, without an error."""
    result = subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *copier(kind)], cwd=ROOT, timeout=60)
    assert result.returncode == 0


@both_reactors
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_does_not_stop_the_input(kind: str) -> None:
    """C-06: with stdout on a full disk the input is still read to its end."""
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            copier(kind), input=bytes(1024 * 1024), stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=60
        )
    assert (result.returncode, result.stderr) == (errno.ENOSPC, b"ready\nOSError")


@both_reactors
def test_broken_pipe_does_not_stop_the_input(kind: str) -> None:
    """C-06: with nobody reading stdout the input is still read to its end."""
    ours, theirs = os.pipe()
    close(ours)
    result = subprocess.run(
        copier(kind), input=bytes(1024 * 1024), stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, timeout=60
    )
    close(theirs)
    assert (result.returncode, result.stderr) == (errno.EPIPE, b"ready\nBrokenPipeError")


def test_standard_descriptors_are_filled_up() -> None:
    """C-07: each closed one of 0, 1 and 2 becomes /dev/null, for children too; open ones are left alone."""
    program = """
import os, sys
from twisted_rsh.client.stdio import ensure_standard_descriptors
kept = os.fstat(1)
os.close(0)
os.close(2)
ensure_standard_descriptors()
null = os.stat(os.devnull)
filled = all(os.path.samestat(os.fstat(fd), null) and os.get_inheritable(fd) for fd in (0, 2))
print(filled, os.path.samestat(os.fstat(1), kept))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout == "True True\n"
