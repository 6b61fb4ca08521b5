"""Real commands, signals, sizes and ends of input, each of them cut around the moment at which it is sent."""

from __future__ import annotations

import random
import sys
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.resume.real import in_memory, output_until, until
from tests.serving import asynchronous
from twisted_rsh import Connection, Terminal
from twisted_rsh.core.endings import Exited, Signalled
from twisted_rsh.testing import HEALTHY, Direction, Faults, LaneFaults, MemoryEndpoint
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.exhaustive

CLIENTS = 8
"""Clients that work side by side, each over connections of its own: most of the time of one is spent waiting."""

COMMANDS = 1000
"""Commands that are cut around their start."""

SIGNALS = 160
"""Signals that are cut likewise, and as many sizes."""

ENDS = 80
"""Ends of input that are cut likewise."""

BEFORE_BYTES = 60
"""Bytes before the request at which a dialled is cut at the earliest: within the end of the resume."""

AROUND_BYTES = 260
"""Bytes among which the cut is drawn; a request and its answer, with their TLS records, take 100 to 200."""

COUNTER = """
import os, signal
signals = {signal.SIGUSR1, signal.SIGWINCH}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
while True:
    if signal.sigwait(signals) == signal.SIGUSR1:
        print("USR1", flush=True)
    else:
        print(*os.get_terminal_size(), flush=True)
"""
"""Writes a line for each signal, and for each size."""


class Around:
    """A schedule that cuts each dialled once, around what follows the resume, from a seed.

    :ivar endpoint: the connections; to be set when there are some.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._resumed: dict[Direction, int] | None = None

    async def learn(self, connection: Connection, endpoint: MemoryEndpoint) -> None:
        """Resume once without a cut, and look at how many bytes that takes."""
        await reconnect(connection, endpoint)
        dialled = endpoint.connections[-1]
        self._resumed = {way: dialled.delivered(way) for way in Direction}

    def plan(self, index: int) -> Faults:
        """See Schedule."""
        if self._resumed is None:
            return HEALTHY
        way = self._random.choice(list(Direction))
        offset = self._random.randrange(AROUND_BYTES)
        return Faults.going(way, LaneFaults(cut_after=self._resumed[way] - BEFORE_BYTES + offset))


async def reconnect(connection: Connection, endpoint: MemoryEndpoint) -> None:
    """Cut the dialled that there is, and wait for another that is not cut at once."""
    before = endpoint.dials
    endpoint.cut_all()
    await until(lambda: connection.connected and endpoint.dials > before)


async def all_at_once(coroutines: Iterable[Coroutine[Any, Any, int]]) -> int:
    """Run coroutines side by side, and return the sum of their results."""
    return sum(await gatherResults([Deferred.fromCoroutine(each) for each in coroutines], consumeErrors=True))


@asynchronous
async def test_command_starts_once(config: ConfigFolders, tmp_path: Path) -> None:
    """M-04: a command appends a line to a file, a thousand times, each cut around its start: one line for each."""
    schedules = [Around(seed=seed) for seed in range(CLIENTS)]

    async def run_share(who: int, schedule: Around, connection: Connection, endpoint: MemoryEndpoint) -> int:
        await schedule.learn(connection, endpoint)
        cut = 0
        for number in range(COMMANDS // CLIENTS):
            await reconnect(connection, endpoint)
            dialled = endpoint.connections[-1]
            result = await connection.run(f"echo {number} >> {tmp_path}/{who}")
            assert result.ending == Exited(0)
            cut += dialled.is_cut
        return cut

    async with in_memory(config, *schedules) as ends:
        cut = await all_at_once(run_share(who, schedules[who], *end) for who, end in enumerate(ends))
    assert cut > COMMANDS / 2, "most cuts were while the command was under way"
    for who in range(CLIENTS):
        assert (tmp_path / str(who)).read_text().split() == [str(n) for n in range(COMMANDS // CLIENTS)]


@asynchronous
async def test_signals_and_sizes_come_once(config: ConfigFolders) -> None:
    """M-05: a child that counts gets each signal, and each size, once, wherever the dialled is cut."""
    schedules = [Around(seed=100 + seed) for seed in range(CLIENTS)]

    async def send_share(schedule: Around, connection: Connection, endpoint: MemoryEndpoint) -> int:
        job = connection.start([sys.executable, "-c", COUNTER], terminal=Terminal(columns=50))
        await output_until(job.stdout, b"ready\r\n")
        await schedule.learn(connection, endpoint)
        cut = 0
        for number in range(SIGNALS // CLIENTS):
            await reconnect(connection, endpoint)
            dialled = endpoint.connections[-1]
            job.send_signal("USR1")
            assert await output_until(job.stdout, b"\n") == b"USR1\r\n"
            cut += dialled.is_cut
            await reconnect(connection, endpoint)
            dialled = endpoint.connections[-1]
            job.resize(100 + number, 40)
            assert await output_until(job.stdout, b"\n") == b"%d 40\r\n" % (100 + number)
            cut += dialled.is_cut
        job.send_signal("TERM")
        rest = b"".join([chunk async for chunk in job.stdout])
        end = await job.wait()
        assert (end.ending, rest) == (Signalled("TERM"), b"")
        return cut

    async with in_memory(config, *schedules) as ends:
        cut = await all_at_once(send_share(schedules[who], *end) for who, end in enumerate(ends))
    assert cut > SIGNALS / 2, "many cuts were while something was under way"


@asynchronous
async def test_input_ends_once(config: ConfigFolders) -> None:
    """M-05: the end of input on a terminal ends one reader; a second one would end the next reader as well."""
    schedules = [Around(seed=200 + seed) for seed in range(CLIENTS)]

    async def end_share(schedule: Around, connection: Connection, endpoint: MemoryEndpoint) -> int:
        await schedule.learn(connection, endpoint)
        cut = 0
        for _ in range(ENDS // CLIENTS):
            job = connection.start("cat; echo one; cat; echo two", terminal=Terminal())
            await job.when_started()
            await reconnect(connection, endpoint)
            dialled = endpoint.connections[-1]
            await job.stdin.write(b"text\n")
            job.stdin.end()
            shown = await output_until(job.stdout, b"one\r\n")
            assert shown == b"text\r\ntext\r\none\r\n", "the echo, and what cat made of it"
            cut += dialled.is_cut
            job.send_signal("TERM")
            rest = b"".join([chunk async for chunk in job.stdout])
            end = await job.wait()
            assert (end.ending, rest) == (Signalled("TERM"), b"")
        return cut

    async with in_memory(config, *schedules) as ends:
        cut = await all_at_once(end_share(schedules[who], *end) for who, end in enumerate(ends))
    assert cut > ENDS / 4, "many cuts were while it was under way"
