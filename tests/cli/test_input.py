"""Input of the client's own: within the room there is, to the end, and not a byte further."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.cli.descriptors import PLENTY, Reading, close, nothing_leaks, open_terminal, turns
from tests.readable import is_readable
from tests.server_process import PATIENCE
from tests.serving import asynchronous, reactor
from twisted_rsh.cli.descriptors import PIECE_BYTES
from twisted_rsh.cli.input import IInputOwner, InputReader, JobInput
from twisted_rsh.cli.outage import GaveUp, Outage
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.job import Job
from twisted_rsh.client.streams import JobChannel, RemoteInput
from twisted_rsh.client.waiting import Watchers
from twisted_rsh.core.endings import JobEnd


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Every test leaves things as it found them."""
    with nothing_leaks():
        yield


def test_closed_descriptor_is_refused() -> None:
    """C-07: a descriptor that is not open is an error at once."""
    ours, theirs = os.pipe()
    reading = Reading(ours)
    reading.reader.stop()
    close(ours, theirs)
    with pytest.raises(OSError, match="Bad file descriptor"):
        InputReader(reactor, ours, reading)


@asynchronous
async def test_end_of_terminal_input_is_final() -> None:
    """C-07: after Ctrl-D nothing more is read, though the terminal would give it."""
    behind, terminal = os.openpty()
    reading = Reading(terminal)
    os.write(behind, b"a\n\x04")
    await reading.ended
    os.write(behind, b"b\n")
    reading.allow(1)
    await turns()
    assert (reading.data, reading.errors) == (b"a\n", [None])
    close(behind, terminal)


@asynchronous
async def test_room_that_shrinks_while_the_reader_waits() -> None:
    """C-07: a reader that the reactor watches asks for room again when bytes come, and costs nothing without any."""
    ours, theirs = os.pipe()
    reading = Reading(ours, room=3)
    await turns()
    assert reading.reader in reactor.getReaders()
    reading.allow(-3)
    os.write(theirs, b"abc")
    while reading.reader in reactor.getReaders():
        await turns(1)
    assert (reading.data, reactor.getDelayedCalls()) == (b"", [])
    reading.allow(2)
    assert await reading.until(2) == b"ab"
    await turns()
    assert reading.data == b"ab"
    assert os.read(ours, 9) == b"c"
    reading.reader.stop()
    close(ours, theirs)


@asynchronous
async def test_background_leaves_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """C-07: in the background no key is read, nor looked for all the time, and all of them are in the foreground."""
    terminal, behind = open_terminal()
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp() + 1)
    reading = Reading(terminal)
    await turns()
    assert (reading.data, reactor.getDelayedCalls()) == (b"", [])
    os.write(behind, b"keys")
    while not reactor.getDelayedCalls():
        await turns(1)
    await turns()
    assert reading.reader not in reactor.getReaders()
    reading.allow(1)
    await turns()
    assert (reading.data, len(reactor.getDelayedCalls())) == (b"", 1)
    monkeypatch.undo()
    assert await reading.until(4) == b"keys"
    close(behind)
    await reading.ended
    close(terminal)


@asynchronous
async def test_foreground_that_is_lost_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """C-07: the error of a read in the background is no end of the input, as that of a terminal that is gone is."""
    terminal, behind = open_terminal()
    blocked = []

    def refuse(fd: int, size: int) -> bytes:
        blocked.append(signal.SIGTTIN in signal.pthread_sigmask(signal.SIG_BLOCK, set()))
        monkeypatch.undo()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", refuse)
    reading = Reading(terminal)
    await turns()
    assert (blocked, reading.errors) == ([True], [])
    assert signal.SIGTTIN not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
    os.write(behind, b"keys")
    assert await reading.until(4) == b"keys"
    close(behind)
    await reading.ended
    assert reading.errors == [None]
    close(terminal)


@asynchronous
async def test_input_that_nohup_takes_away(tmp_path: Path) -> None:
    """C-07: a /dev/null that is open for writing is an empty input, and a file that is is an error."""
    for path, error in ((Path(os.devnull), None), (tmp_path / "file", errno.EBADF)):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        reading = Reading(fd)
        await reading.ended
        assert [error and error.errno for error in reading.errors] == [error]
        close(fd)


class Stopping(Reading):
    """An owner that stops its reader as soon as it gets something."""

    def input_received(self, data: bytes) -> None:
        """See IInputOwner."""
        super().input_received(data)
        self.reader.stop()


@asynchronous
async def test_stopped_reader_is_silent() -> None:
    """Stopped before its turn, while waiting, or by its owner, a reader calls its owner no more."""
    ours, theirs = os.pipe()
    soon = Reading(ours)
    soon.reader.stop()
    waiting = Reading(ours)
    await turns()
    waiting.reader.stop()
    waiting.reader.stop()
    within = Stopping(ours, room=2)
    os.write(theirs, b"abc")
    close(theirs)
    await turns()
    assert (soon.data, soon.errors, waiting.data, waiting.errors) == (b"", [], b"", [])
    assert (within.data, within.errors, within.reader.fileno()) == (b"ab", [], -1)
    assert os.read(ours, 9) == b"c"
    close(ours)


@asynchronous
async def test_shutdown_of_the_reactor_is_no_end() -> None:
    """The reactor drops all readers when it stops; that must not look like the end of the input."""
    ours, theirs = os.pipe()
    reading = Reading(ours)
    await turns()
    verifyObject(IReadDescriptor, reading.reader)
    verifyObject(IInputOwner, reading)
    assert reading.reader.logPrefix() == "stdin"
    reactor.removeReader(reading.reader)
    reading.reader.connectionLost(Failure(ConnectionLost()))
    assert (reading.errors, reading.reader.fileno()) == ([], -1)
    close(ours, theirs)


class StandInJob(JobChannel):
    """Stands in for a job and its channel, and takes as much input as the test says.

    :ivar taken: the input that it got.
    :ivar room: bytes that it takes now.
    :ivar is_ended: whether it got the end of its input.
    :ivar closed: how often it was closed.
    """

    def __init__(self, encoding: str | None = None, room: int = 0) -> None:
        self.taken = b""
        self.room = room
        self.is_ended = False
        self.closed = 0
        self.encoding = encoding
        self.starting: Deferred[None] = Deferred()
        self.stdin = RemoteInput(self)

    def when_started(self) -> Deferred[None]:
        """See Job."""
        return self.starting

    def close(self) -> None:
        """See JobChannel."""
        self.closed += 1

    def gain(self, size: int) -> None:
        """Take so many bytes more."""
        self.room += size
        self.stdin.room_gained()

    def input_room(self) -> int:
        """See JobChannel."""
        return self.room

    def send_input(self, data: bytes) -> None:
        """See JobChannel."""
        self.room -= len(data)
        self.taken += data

    def end_input(self) -> None:
        """See JobChannel."""
        self.is_ended = True


class Feeding:
    """An input of a stand-in for a job, and an outage that begins and ends at the test's command.

    :ivar job: the stand-in.
    :ivar input: the input.
    :ivar waiting: the wait for the job's end.
    """

    def __init__(self, fd: int, job: StandInJob, encoding: str | None = None) -> None:
        self.job = job
        self._watchers: Watchers[str | None] = Watchers()
        connection = SimpleNamespace(watch_link=self._watchers.add)
        outputs = LocalOutputs(reactor)
        outputs.stop()
        self.outage = Outage(reactor, outputs)
        self.outage.follow(cast("Connection", connection))
        self.waiting: Deferred[JobEnd] = Deferred()
        self.input = JobInput(reactor, fd, cast("Job", job), self.waiting, encoding, self.outage)

    def lose_link(self) -> None:
        """Begin an outage."""
        self._watchers.tell("cut")

    def find_link(self) -> None:
        """End it."""
        self._watchers.tell(None)

    def stop(self) -> None:
        """Read no more."""
        self.input.stop()
        self.outage.stop()


@asynchronous
async def test_command_gets_what_it_takes_and_no_more_is_read(tmp_path: Path) -> None:
    """C-07: the offset of a file is never past what the command takes, through any number of steps, up to the end."""
    data = bytes(range(256)) * 1024
    (tmp_path / "input").write_bytes(data)
    fd = os.open(tmp_path / "input", os.O_RDONLY)
    job = StandInJob(room=100_000)
    feeding = Feeding(fd, job)
    size = 100_000
    for step in (0, 1, PIECE_BYTES, PIECE_BYTES + 7):
        job.gain(step)
        size += step
        await turns()
        assert (job.taken, os.lseek(fd, 0, os.SEEK_CUR)) == (data[:size], size)
    assert not job.is_ended
    job.gain(PLENTY)
    await turns()
    assert (job.taken, job.is_ended, feeding.input.failure) == (data, True, None)
    feeding.stop()
    close(fd)


@asynchronous
async def test_command_that_takes_no_more_leaves_the_rest() -> None:
    """H-07: when the command takes no more input, not a byte more is read."""
    ours, theirs = os.pipe()
    job = StandInJob(room=PLENTY)
    feeding = Feeding(ours, job)
    os.write(theirs, b"taken")
    await turns()
    job.stdin.closed()
    os.write(theirs, b"left")
    await turns()
    assert (job.taken, job.is_ended) == (b"taken", False)
    feeding.stop()
    assert os.read(ours, 9) == b"left"
    close(ours, theirs)


@asynchronous
async def test_input_error_closes_the_command() -> None:
    """C-07: an error is not the end of the input: the command is closed, and the failure names the reason."""
    ours, theirs = os.pipe()
    job = StandInJob(room=PLENTY)
    feeding = Feeding(theirs, job)
    await turns()
    assert (job.closed, job.is_ended) == (1, False)
    assert str(feeding.input.failure) == "cannot read stdin: Bad file descriptor"
    feeding.stop()
    close(ours, theirs)


@asynchronous
async def test_keys_stay_in_the_terminal_until_the_command_has_started() -> None:
    """Keys typed ahead are not read before the code page is known, and are then converted."""
    terminal, behind = open_terminal()
    job = StandInJob(room=PLENTY)
    feeding = Feeding(terminal, job, encoding="gbk")
    os.write(behind, "字".encode())
    assert is_readable(terminal, PATIENCE)
    await turns()
    assert is_readable(terminal)
    job.encoding = "utf-8"
    job.starting.callback(None)
    while not job.taken:
        await turns(1)
    assert job.taken == "字".encode("gbk")
    feeding.stop()
    close(terminal, behind)


@asynchronous
async def test_keys_are_held_during_an_outage() -> None:
    """C-09: during an outage keys are read although the command takes none, up to a bound, and are its input after."""
    terminal, behind = open_terminal()
    job = StandInJob("utf-8")
    feeding = Feeding(terminal, job)
    job.starting.callback(None)
    os.write(behind, b"early")
    assert is_readable(terminal, PATIENCE)
    await turns()
    assert is_readable(terminal)
    feeding.lose_link()
    while feeding.input.input_room() > PIECE_BYTES - 5:
        await turns(1)
    count = 5
    while count < PIECE_BYTES:
        count += os.write(behind, b"x" * min(1000, PIECE_BYTES - count))
        while feeding.input.input_room() > PIECE_BYTES - count:
            await turns(1)
    os.write(behind, b"more")
    await turns()
    assert (feeding.input.input_room(), job.taken) == (0, b"")
    feeding.find_link()
    job.gain(PLENTY)
    while not job.taken.endswith(b"more"):
        await turns(1)
    assert job.taken == b"early" + b"x" * (PIECE_BYTES - 5) + b"more"
    feeding.stop()
    close(terminal, behind)


@asynchronous
async def test_way_out_of_an_outage() -> None:
    """C-09: ``~.`` cancels the wait for the command, says why, and is no input."""
    terminal, behind = open_terminal()
    job = StandInJob("utf-8", PLENTY)
    feeding = Feeding(terminal, job)
    feeding.lose_link()
    os.write(behind, b"~.")
    with pytest.raises(CancelledError):
        await feeding.waiting
    assert (type(feeding.input.failure), job.taken) == (GaveUp, b"")
    feeding.stop()
    close(terminal, behind)
