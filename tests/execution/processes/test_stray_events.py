"""A stale event, which was for another descriptor of the same number, ends no descriptor of any kind."""

from __future__ import annotations

import os
import signal

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.execution.owners import asynchronous, reactor, until
from tests.execution.processes.recorder import QUIET, ExitRecorder, PipeRecorder, master_pair
from tests.execution.processes.stray_events import EVENTS, stray_event
from twisted_rsh.execution.processes.descriptors import is_hang_up, peer_is_gone
from twisted_rsh.execution.processes.exits import PidfdWatch
from twisted_rsh.execution.processes.pipes import InputPipe, OutputPipe
from twisted_rsh.execution.processes.terminal import TerminalInput, TerminalOutput

every_event = pytest.mark.parametrize("event", EVENTS)


def moved(fd: int, number: int) -> int:
    """Give a descriptor another number."""
    os.dup2(fd, number, inheritable=False)
    os.close(fd)
    return number


@every_event
@asynchronous
async def test_output(event: str) -> None:
    """X-09: the output of a job, or the reports of a shell: what is written afterwards is read, and the end found."""
    recorder = PipeRecorder(10)
    reading, writing = os.pipe()

    def place(number: int) -> None:
        OutputPipe(reactor, moved(reading, number), 1, recorder, recorder).resume()

    await stray_event(event, place)
    assert not recorder.closed
    os.write(writing, b"abc")
    os.close(writing)
    await until(lambda: bool(recorder.closed))
    assert b"".join(recorder.received) == b"abc"


@every_event
@asynchronous
async def test_input(event: str) -> None:
    """X-09: the input of a job, or the lines for a shell: what was queued is written, and the end found."""
    recorder = PipeRecorder(10)
    reading, writing = os.pipe()
    size = 256 * 1024

    def place(number: int) -> None:
        pipe = InputPipe(reactor, moved(writing, number), 0, recorder, recorder)
        pipe.watch()
        pipe.write(bytes(size))

    await stray_event(event, place)
    assert not recorder.closed
    while sum(recorder.taken) < size:
        os.read(reading, size)
        await deferLater(reactor, 0)
    os.close(reading)
    await until(lambda: bool(recorder.closed))


@every_event
@asynchronous
async def test_terminal_output(event: str) -> None:
    """X-09: the output of a job on a terminal."""
    recorder = PipeRecorder(10)
    master, slave = master_pair(*QUIET)

    def place(number: int) -> None:
        TerminalOutput(reactor, moved(master, number), 1, recorder, recorder).resume()

    await stray_event(event, place)
    assert not recorder.closed
    os.write(slave, b"abc")
    os.close(slave)
    await until(lambda: bool(recorder.closed))
    assert b"".join(recorder.received) == b"abc"


@every_event
@asynchronous
async def test_terminal_input(event: str) -> None:
    """X-09: what is typed on a terminal: its end is typed still."""
    recorder = PipeRecorder(10)
    master, slave = master_pair(*QUIET)
    placed: list[TerminalInput] = []

    def place(number: int) -> None:
        placed.append(TerminalInput(reactor, moved(master, number), 0, recorder, recorder))
        placed[0].write(b"abc\n")
        placed[0].end()

    await stray_event(event, place)
    assert not recorder.closed
    [typing] = placed
    await until(lambda: typing not in reactor.getWriters())
    os.set_blocking(slave, False)
    assert [os.read(slave, 10) for _ in range(2)] == [b"abc\n", b""]
    os.close(slave)
    typing.close()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfd")
@every_event
@asynchronous
async def test_exit(event: str) -> None:
    """X-09: the exit of a process is still seen."""
    exits = ExitRecorder()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})

    def place(number: int) -> None:
        assert PidfdWatch(reactor, pid, exits).fileno() == number

    await stray_event(event, place)
    assert exits.reports == []
    os.kill(pid, signal.SIGKILL)
    await until(lambda: bool(exits.reports))
    assert exits.reports[0].status == signal.SIGKILL


@asynchronous
async def test_what_a_hang_up_is() -> None:
    """A hang-up is what the reactor says of either direction while it runs, and a failure is none."""
    await deferLater(reactor, 0)
    assert is_hang_up(reactor, Failure(ConnectionDone()))
    assert is_hang_up(reactor, Failure(ConnectionLost()))
    assert not is_hang_up(reactor, Failure(OSError()))
    assert not is_hang_up(object(), Failure(ConnectionDone()))


@pytest.mark.parametrize("ours", [0, 1])
def test_other_end_of_a_pipe(ours: int) -> None:
    """Of either end of a pipe the system says whether there is another, even while it holds data."""
    ends = os.pipe()
    assert not peer_is_gone(ends[ours])
    os.write(ends[1], b"x")
    assert not peer_is_gone(ends[ours])
    os.close(ends[1 - ours])
    assert peer_is_gone(ends[ours])
    os.close(ends[ours])
