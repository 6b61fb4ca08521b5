"""The output of a process on a terminal: all of it arrives, within the credit, and before its end."""

from __future__ import annotations

import errno
import os
import signal
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from zope.interface.verify import verifyObject

from tests.execution.owners import asynchronous, lose, reactor, until
from tests.execution.processes.recorder import QUIET, PipeRecorder, end_of, master_pair, start_on_terminal, written
from twisted_rsh.execution.processes.pipes import READ_BYTES
from twisted_rsh.execution.processes.terminal import TerminalInput, TerminalOutput


@pytest.mark.exhaustive
@asynchronous
async def test_output_is_complete() -> None:
    """X-04: what a short command writes to a terminal right before its end arrives, 2000 times over."""
    running = 8
    wrong: list[bytes] = []

    async def some(first: int) -> None:
        for number in range(first, 2000, running):
            text = await written(f"echo {number}; exec printf %s.%s last {number}")
            if text != f"{number}\nlast.{number}".encode():
                wrong.append(text)

    await gatherResults([Deferred.fromCoroutine(some(first)) for first in range(running)])
    assert wrong == []


@asynchronous
async def test_output_behind_the_exit() -> None:
    """A terminal holds more at the exit than the system counts; reading ahead finds all of it."""
    protocol, process = start_on_terminal("head -c 8000 /dev/zero | tr '\\0' x; echo; exit 1", *QUIET)
    process._outputs[1].pause()
    await protocol.has_exited()
    assert process.buffered_output(1) == 8001
    assert not process.is_output_exhausted(1)
    assert protocol.output[1] == b""
    process.resume_output(1)
    await end_of(protocol)
    assert protocol.output[1] == b"x" * 8000 + b"\n"
    assert process.is_output_exhausted(1)


@asynchronous
async def test_credit() -> None:
    """A terminal is read within the credit, byte by byte if need be, also what was read ahead."""
    sizes: list[int] = []
    protocol, process = start_on_terminal("printf 0123456789; read x", *QUIET)
    protocol.room = 3
    received = protocol.childDataReceived

    def receive(childFD: int, data: bytes) -> None:
        protocol.room -= len(data)
        sizes.append(len(data))
        received(childFD, data)

    cast("Any", protocol).childDataReceived = receive
    await protocol.output_has(b"012")
    await until(lambda: process.buffered_output(1) == 7)
    assert sum(sizes) == 3
    protocol.room = 2
    process.resume_output(1)
    await protocol.output_has(b"01234")
    process._outputs[1].pause()
    protocol.room = 100
    process.resume_output(1)
    process.resume_output(1)
    process._outputs[1].pause()
    process.resume_output(1)
    await protocol.output_has(b"0123456789")
    assert process.buffered_output(1) == 0
    process.write(b"\n")
    await end_of(protocol)
    assert max(sizes) <= 5


@asynchronous
async def test_survivor() -> None:
    """X-16: a child in the background that holds the terminal delays nothing but the end of the output."""
    protocol, process = start_on_terminal("trap '' HUP; sleep 60 & echo $!", *QUIET)
    await protocol.has_exited()
    await protocol.output_has(b"\n")
    assert "lost 1" not in protocol.events
    assert not process.is_output_exhausted(1)
    assert process.buffered_output(1) == 0
    process.close_output(1)
    await end_of(protocol)
    survivor = int(protocol.output[1])
    assert process.signal_group(signal.SIGKILL)
    await until(lambda: not process.signal_group(0))
    with pytest.raises(ProcessLookupError):
        os.kill(survivor, 0)


@asynchronous
async def test_death_of_the_leader() -> None:
    """X-16: when the leader of the session is killed, what it had written is all there and the end comes."""
    protocol, _ = start_on_terminal("echo before; kill -KILL $$", *QUIET)
    reason = await end_of(protocol)
    assert reason.signal == signal.SIGKILL
    assert protocol.output[1] == b"before\n"


@asynchronous
async def test_hang_up() -> None:
    """To close output 1 hangs the terminal up: the process gets SIGHUP, and its input ends too."""
    protocol, process = start_on_terminal("trap 'exit 7' HUP; echo ready; while :; do read x || sleep 1; done", *QUIET)
    await protocol.output_has(b"ready\n")
    process.loseConnection()
    process.write(b"dropped")
    process.resize(1, 1)
    assert (await end_of(protocol)).exitCode == 7
    assert sorted(event for event in protocol.events if event.startswith("lost")) == ["lost 0", "lost 1", "lost 2"]


def test_master_that_is_read() -> None:
    """Nothing there is no end, a hang-up with data is none either, and no more is read ahead than allowed."""
    recorder = PipeRecorder()
    master, slave = master_pair(*QUIET)
    output = TerminalOutput(reactor, master, 1, recorder, recorder)
    assert verifyObject(IReadDescriptor, output)
    output.resume()
    output.doRead()
    assert (output.buffered(), output.is_exhausted()) == (0, False)
    output._ahead = bytes(READ_BYTES - 2)
    os.write(slave, b"abcd")
    assert output.buffered() == READ_BYTES
    assert not output.is_exhausted()
    os.close(slave)
    for reason in (ConnectionDone(), ConnectionLost(), ConnectionDone()):
        assert not output.is_closed
        lose(output, reason)
    assert recorder.received == [bytes(READ_BYTES - 2) + b"ab", b"cd"]
    assert recorder.closed == [1]
    assert output.buffered() == 0
    assert output.is_exhausted()


@pytest.mark.parametrize("data", [b"", b"late"])
def test_hang_up_between_two_looks(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Data that was written right before the hang-up is found, though the system has reported the end once."""
    recorder = PipeRecorder(10)
    master, slave = master_pair(*QUIET)
    output = TerminalOutput(reactor, master, 1, recorder)
    os.write(slave, data)
    os.close(slave)
    reads: list[int] = []
    real = os.read

    def read(fd: int, size: int) -> bytes:
        reads.append(fd)
        if len(reads) == 1:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, size)

    monkeypatch.setattr(os, "read", read)
    output.doRead()
    assert recorder.received == ([data] if data else [])
    output.close()


def test_failure_that_is_no_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other failure of a read or a write is the reactor's to log, which then closes."""
    recorder = PipeRecorder(10)
    master, slave = master_pair()
    output = TerminalOutput(reactor, master, 1, recorder, recorder)
    typing = TerminalInput(reactor, os.dup(master), 0, recorder, recorder)

    def fail(fd: int, what: object) -> Any:
        raise OSError(errno.ENXIO, "No such device or address")

    for name in ("read", "write"):
        monkeypatch.setattr(os, name, fail)
    with pytest.raises(OSError, match="No such device"):
        output.doRead()
    lose(output, RuntimeError())
    typing.end()
    with pytest.raises(OSError, match="No such device"):
        typing.doWrite()
    lose(typing, RuntimeError())
    assert recorder.closed == [1, 0]
    os.close(slave)
