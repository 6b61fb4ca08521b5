"""Blocks that are left because their coroutine, or their asynchronous generator, is dropped."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.utils import getProcessOutputAndValue

from tests.serving import Serving, asynchronous, reactor
from twisted_rsh import Connection
from twisted_rsh.testing import MemoryPair, ScriptedUser

BLOCKS = ("connection", "job", "shell")

PROGRAM = """
import os, signal, sys
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
import twisted_rsh

async def ticks(reactor):
    while True:
        await deferLater(reactor, 1)
        yield b"tick"

async def main(reactor):
    port, config = int(sys.argv[1]), twisted_rsh.ConfigFolders.at(sys.argv[2])
    async with await twisted_rsh.connect(reactor, port=port, config=config) as connection:
        async with await connection.open_shell() as shell, connection.start("cat") as job:
            await job.when_started()
            reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
            await connection.run("sleep 1000", stdin=ticks(reactor))

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class StoppableClock(Clock):
    """A clock that tells, as a reactor does, whether it runs."""

    running = True


async def open_block(kind: str, connection: Connection) -> AbstractAsyncContextManager[object]:
    """Return a context manager of one kind."""
    match kind:
        case "connection":
            return connection
        case "job":
            return connection.start("by hand")
        case _:
            return await connection.open_shell()


@pytest.mark.parametrize("kind", BLOCKS)
def test_dropped_with_the_reactor(kind: str) -> None:
    """A coroutine that is dropped behind the end of the reactor leaves its block at once, and awaits nothing."""
    clock = StoppableClock()
    pair = MemoryPair(clock, ScriptedUser({"by hand": None}))
    connection = pair.run_until_complete(pair.connect())
    block = pair.run_until_complete(open_block(kind, connection))

    async def stay() -> None:
        async with block:
            await Deferred()

    staying = stay()
    staying.send(None)
    clock.running = False
    staying.close()  # RuntimeError if it awaits
    assert connection.lost is None
    clock.running = True
    pair.run_until_complete(pair.close())


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_generator_that_is_closed(kind: str) -> None:
    """An asynchronous generator that is closed while the reactor runs closes what its block has, and waits for it."""
    clock = StoppableClock()
    user = ScriptedUser({"by hand": None})
    pair = MemoryPair(clock, user)
    connection = pair.run_until_complete(pair.connect())
    block = pair.run_until_complete(open_block(kind, connection))

    async def generate() -> AsyncIterator[int]:
        async with block:
            yield 1

    async def take_one() -> None:
        generator = generate()
        assert await anext(generator) == 1
        await generator.aclose()  # type: ignore[attr-defined]  # an asynchronous generator has it

    pair.run_until_complete(take_one())
    if kind == "connection":
        assert not connection.connected
    assert all(job.ending for job in user.jobs)
    assert all(shell.ending for shell in user.shells)
    pair.run_until_complete(pair.close())


@asynchronous
async def test_an_interrupted_program_says_nothing(serving: Serving) -> None:
    """A program that Ctrl-C ends within its blocks prints no traceback."""
    arguments = ["-c", PROGRAM, str(serving.port), serving.config.config]
    output, errors, status = await getProcessOutputAndValue(
        sys.executable, arguments, dict(os.environ), reactor=reactor
    )
    assert (output, errors.decode(), status) == (b"", "", 0)
