"""The public face: the names that an application imports, and what it does with them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater

import twisted_rsh
from tests.serving import Serving, asynchronous, cut, reactor
from twisted_rsh import (
    BadFingerprint,
    CommandFailed,
    Connection,
    Exited,
    FileProblem,
    JobEnd,
    LimitReached,
    OutcomeUnknown,
    SessionLost,
    ShellRefused,
    Signalled,
    connect,
)
from twisted_rsh.client.job import PIECE_BYTES
from twisted_rsh.core.limits import DEFAULT_WINDOW, START_WINDOWS

MUCH = bytes(range(256)) * 8192
"""Bytes of input: more than any window."""


# Running commands.


@asynchronous
async def test_run(connection: Connection) -> None:
    """A command's outputs arrive apart, with its status."""
    result = await connection.run("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.ending) == (b"out\n", b"err\n", Exited(3))


@asynchronous
async def test_check_raises_for_anything_but_success(connection: Connection) -> None:
    """``check()`` raises an exception for a command that failed."""
    assert (await connection.run(["echo", "汉字"])).check().text == "汉字\n"
    with pytest.raises(CommandFailed, match="exited with status 3") as caught:
        (await connection.run("echo why >&2; exit 3")).check()
    assert caught.value.result.error_text == "why\n"


@asynchronous
async def test_run_can_check(connection: Connection) -> None:
    """``run(..., check=True)`` does the same, on a connection and in a shell."""
    assert (await connection.run("echo fine", check=True)).text == "fine\n"
    with pytest.raises(CommandFailed, match="'exit 4': exited with status 4") as caught:
        await connection.run("exit 4", check=True)
    assert caught.value.result.command == "exit 4"
    with pytest.raises(CommandFailed, match="wrote more than 3 bytes") as caught:
        await connection.run(["yes"], max_output=3, check=True)
    assert isinstance(caught.value.result.ending, LimitReached)
    assert caught.value.result.command == ("yes",)
    async with await connection.open_shell("bash") as shell:
        assert (await shell.run("echo fine", check=True)).text == "fine\n"
        with pytest.raises(CommandFailed, match="exited with status 5"):
            await shell.run("(exit 5)", check=True)
        assert (await shell.run("echo $?", check=True)).text == "5\n"


@asynchronous
async def test_many_at_once(connection: Connection) -> None:
    """Commands run side by side on one connection."""
    results = await gatherResults([connection.run("cat", stdin=str(number).encode()) for number in range(20)])
    assert [result.text for result in results] == [str(number) for number in range(20)]


@asynchronous
async def test_conversation_with_a_job(connection: Connection) -> None:
    """A job is written to and read from while it runs, and ended by a signal."""
    job = connection.start(["cat"])
    await job.stdin.write(b"ping\n")
    assert await job.stdout.read() == b"ping\n"
    job.send_signal("TERM")
    assert (await job.wait()).ending == Signalled("TERM")
    assert [piece async for piece in job.stderr] == []


# What a command reads.


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    """Give some pieces, each a moment after the one before."""
    for piece in data:
        await deferLater(reactor, 0)
        yield piece


class CountingFile(io.BytesIO):
    """A file in memory that counts how often it is read, and how much at most at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads = 0
        self.largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Count, and read."""
        data = super().read(size)
        self.reads += 1
        self.largest = max(self.largest, len(data))
        return data


@asynchronous
async def test_stdin_is_bytes(connection: Connection) -> None:
    """The command gets the bytes and then the end; without any, it gets the end at once."""
    assert (await connection.run("cat", stdin=b"some")).text == "some"
    assert (await connection.run("cat")).text == ""
    assert (await connection.run(["cat"], stdin=MUCH)).stdout == MUCH


@asynchronous
async def test_stdin_is_a_file(connection: Connection, tmp_path: Path) -> None:
    """The command gets what a file has from its position on, read in pieces of 64 KiB."""
    path = tmp_path / "input"
    path.write_bytes(b"skipped " + MUCH)
    with path.open("rb") as file:
        file.seek(8)
        assert (await connection.run(["cat"], stdin=file, check=True)).stdout == MUCH
    counting = CountingFile(MUCH)
    assert (await connection.run(["cat"], stdin=counting)).stdout == MUCH
    assert (counting.largest, counting.reads) == (PIECE_BYTES, len(MUCH) // PIECE_BYTES + 1)
    async with await connection.open_shell("bash") as shell:
        assert (await shell.run("cat", stdin=io.BytesIO(b"for one command"))).text == "for one command"


@asynchronous
async def test_stdin_is_an_async_iterable(connection: Connection) -> None:
    """The command gets the pieces in order, empty ones included, and the end behind the last."""
    result = await connection.run(["cat"], stdin=pieces(b"one ", b"", b"two ", MUCH), check=True)
    assert result.stdout == b"one two " + MUCH
    async with await connection.open_shell("bash") as shell:
        assert (await shell.run("cat", stdin=pieces(b"a", b"b"))).text == "ab"


@asynchronous
async def test_stdin_is_read_no_further_than_the_command_takes_it(connection: Connection) -> None:
    """While the command reads nothing, a file waits at the first windows; when the command ends, it is read no more."""
    file = CountingFile(bytes(16 * DEFAULT_WINDOW))
    running = connection.run("head -c 3 | wc -c", stdin=file)
    assert (await running).text == "3\n"
    assert PIECE_BYTES < file.tell() < (START_WINDOWS + 4) * DEFAULT_WINDOW


@asynchronous
async def test_endless_stdin_of_a_command_that_ends(connection: Connection) -> None:
    """An iterable that never ends is closed when the command takes no more, or has ended while the iterable waited."""
    closed: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                await deferLater(reactor, 0)
                yield bytes(1000)
        finally:
            closed.append("endless")

    async def silent() -> AsyncIterator[bytes]:
        try:
            yield b"only this\n"
            await deferLater(reactor, 1000)
        finally:
            closed.append("silent")

    result = await connection.run("head -c 5 | wc -c", stdin=endless(), check=True)
    assert (result.text, closed) == ("5\n", ["endless"])
    result = await connection.run("read line; echo $line", stdin=silent(), check=True)
    assert (result.text, closed) == ("only this\n", ["endless", "silent"])


@asynchronous
async def test_stdin_of_a_command_that_closes_it(connection: Connection, tmp_path: Path) -> None:
    """An iterable is closed, and a file is read no more, as soon as a command has closed its input, though it runs."""
    closed: Deferred[None] = Deferred()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                await deferLater(reactor, 0)
                yield bytes(1000)
        finally:
            closed.callback(None)

    gate = tmp_path / "gate"
    os.mkfifo(gate)
    running = connection.run(f"exec <&-; cat {gate}", stdin=endless())
    await closed
    assert not running.called
    await connection.run(f"echo open > {gate}", check=True)
    assert (await running).text == "open\n"
    file = CountingFile(bytes(100 * DEFAULT_WINDOW))
    assert (await connection.run("exec <&-; echo over", stdin=file)).text == "over\n"
    assert file.tell() < len(file.getvalue())


@asynchronous
async def test_error_of_stdin_ends_the_command(connection: Connection) -> None:
    """``run()`` raises an error of the iterable or the file, and the command is ended; a shell goes on."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"first"
        raise LookupError("no more")

    class BrokenFile(io.BytesIO):
        """A file that cannot be read."""

        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    class Nonblocking(io.RawIOBase):
        """A file that has nothing to read now."""

        def read(self, size: int = -1, /) -> None:
            return None

    with pytest.raises(LookupError, match="no more"):
        await connection.run("cat; sleep 1000", stdin=broken())
    with pytest.raises(OSError, match="Input/output error"):
        await connection.run("cat; sleep 1000", stdin=BrokenFile())
    with pytest.raises(BlockingIOError, match="does not block"):
        await connection.run("cat; sleep 1000", stdin=Nonblocking())  # type: ignore[arg-type]
    async with await connection.open_shell("bash") as shell:
        with pytest.raises(LookupError, match="no more"):
            await shell.run("cat; sleep 1000", stdin=broken())
    assert (await connection.run("echo alive")).text == "alive\n"


@asynchronous
async def test_cancelled_run_stops_reading(connection: Connection) -> None:
    """A cancelled ``run()`` closes the iterable that it reads."""
    closed: list[bool] = []

    async def silent() -> AsyncIterator[bytes]:
        try:
            yield b"begun"
            await deferLater(reactor, 1000)
        finally:
            closed.append(True)

    running = connection.run("cat", stdin=silent())
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    assert closed == [True]


# Blocks and ends.


@asynchronous
async def test_a_connection_is_closed_behind_its_block(serving: Serving) -> None:
    """Leaving the block of a connection closes it, also by an exception, which passes."""
    with pytest.raises(LookupError):
        async with await connect(reactor, "127.0.0.1", serving.port, config=serving.config) as connection:
            job = connection.start("sleep 1000")
            raise LookupError
    assert (connection.lost, connection.connected) == ("the connection was closed", False)
    assert isinstance((await job.wait()).ending, OutcomeUnknown)


@asynchronous
async def test_a_job_is_closed_behind_its_block(connection: Connection) -> None:
    """Leaving the block of a job ends it; a job that has ended keeps its ending."""
    async with connection.start("exec sleep 1000") as job:
        await job.when_started()
    waiting = job.wait()
    assert waiting.called, "the block waits for the ending"
    assert isinstance((await waiting).ending, Signalled)
    async with connection.start("sort") as job:
        await job.stdin.write(b"b\na\n")
        job.stdin.end()
        assert b"".join([chunk async for chunk in job.stdout]) == b"a\nb\n"
        end = await job.wait()
    assert end == await job.wait()
    assert end.ending == Exited(0)


@asynchronous
async def test_a_shell_is_closed_behind_its_block(connection: Connection) -> None:
    """Leaving the block of a shell ends it, and what runs in it."""
    async with await connection.open_shell("bash") as shell:
        await shell.run("cd /")
        assert (await shell.run("pwd", check=True)).text == "/\n"
        job = shell.start("sleep 1000")
        await job.when_started()
    waiting = shell.wait()
    assert waiting.called, "the block waits for the ending"
    assert (await job.wait()).ending != Exited(0)


@asynchronous
async def test_close_means_the_same_everywhere(serving: Serving) -> None:
    """``close()`` fires with ``None`` when the thing is over, again and again, and cancelling it undoes nothing."""
    connection = await serving.connect()
    shell = await connection.open_shell("bash")
    job = connection.start("exec sleep 1000")
    for thing in (job, shell):
        given_up, first, second = thing.close(), thing.close(), thing.close()
        given_up.cancel()
        with pytest.raises(CancelledError):
            await given_up
        assert await first is None  # type: ignore[func-returns-value]
        assert await second is None  # type: ignore[func-returns-value]
        waiting = thing.wait()
        assert waiting.called
        assert isinstance(await waiting, JobEnd)
        assert thing.close().called
    given_up, first, second = connection.close(), connection.close(), connection.close()
    given_up.cancel()
    with pytest.raises(CancelledError):
        await given_up
    assert await first is None  # type: ignore[func-returns-value]
    assert await second is None  # type: ignore[func-returns-value]
    assert connection.close().called
    assert not connection.connected


@pytest.mark.uncut("the session is told to end with its connection")
@asynchronous
async def test_close_does_not_fail_when_the_session_is_lost(serving: Serving) -> None:
    """With the session, a job and a shell are over; closing them is done at once, and the ending is unknown."""
    connection = await serving.connect(resume=False)
    shell = await connection.open_shell("bash")
    job = connection.start("exec sleep 1000")
    await job.when_started()
    closing = job.close()
    cut(connection)
    await closing
    await shell.close()
    await connection.close()
    for waiting in (job.wait(), shell.wait()):
        assert isinstance((await waiting).ending, OutcomeUnknown)


@asynchronous
async def test_end_of_the_day(serving: Serving) -> None:
    """A closed connection starts nothing more, and says why; a new one does."""
    connection = await connect(reactor, "127.0.0.1", serving.port, config=serving.config)
    await connection.close()
    with pytest.raises(SessionLost, match="the connection was closed"):
        await connection.run("true")
    with pytest.raises(SessionLost, match="the connection was closed"):
        await connection.open_shell()
    again = await serving.connect()
    assert (await again.run("true")).status == 0


# Names.


def test_every_name_is_there() -> None:
    """Each public name can be imported from the package and is shown by ``dir()``; another cannot."""
    for name in twisted_rsh.__all__:
        assert getattr(twisted_rsh, name) is not None
    assert set(dir(twisted_rsh)) >= set(twisted_rsh.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = twisted_rsh.nonsense


def test_error_is_the_base_of_every_error() -> None:
    """``except twisted_rsh.Error`` catches each exception that the package exports; some are also another thing."""
    errors = [
        thing
        for thing in (getattr(twisted_rsh, name) for name in twisted_rsh.__all__)
        if isinstance(thing, type) and issubclass(thing, BaseException)
    ]
    assert {CommandFailed, FileProblem, SessionLost, ShellRefused} <= set(errors)
    assert all(issubclass(error, twisted_rsh.Error) for error in errors)
    assert issubclass(BadFingerprint, ValueError)


def test_version() -> None:
    """The version of the package is that of the installed distribution."""
    assert twisted_rsh.__version__ == version("twisted-rsh")


def test_import_is_cheap() -> None:
    """The package by itself loads no Twisted: a program that only looks at its options is fast."""
    program = "import sys, twisted_rsh; twisted_rsh.__version__; sys.exit('twisted' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_import_chooses_no_reactor() -> None:
    """An application that imports everything can still install the reactor it wants."""
    program = "import sys; from twisted_rsh import *; sys.exit('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
