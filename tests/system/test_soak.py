"""X-09, X-17: ten thousand commands later a server has what it had before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.server_process import HOST, PATIENCE, ServerProcess
from tests.serving import asynchronous, reactor
from twisted_rsh import Connection, Terminal, connect
from twisted_rsh.core.endings import Exited
from twisted_rsh.trust.home import ConfigFolders

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux shows what a process has"),
]

COMMANDS = 10_000
"""Commands of each soak in all."""

WARM_UP = 1_000
"""Commands before the first look: what a program loads, compiles and keeps on first use is there by then."""

AT_ONCE = 20
"""Commands under way at the same time."""

MAX_GROWTH_BYTES = 3 * 1024 * 1024
"""Bytes that the memory may be larger: 300 for each command would be a leak that is seen, and an allocator that keeps
a few pages is not one."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in a process of its own."""
    process = ServerProcess(tmp_path / "home")
    yield process
    process.stop()


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no VmRSS")


def children(pid: int) -> set[int]:
    """Return a process's children, zombies included."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()}


async def only_the_guardian_is_left(pid: int) -> None:
    """Wait until a server has reaped what it inherited; it looks once a second."""
    deadline = reactor.seconds() + PATIENCE
    while len(children(pid)) > 1:
        assert reactor.seconds() < deadline, children(pid)
        await deferLater(reactor, 0.05)


async def run_many(connection: Connection, count: int) -> None:
    """Run so many commands of all kinds, several at once."""
    session = await connection.open_shell("bash")
    kinds = (
        lambda: connection.run("echo out; echo err >&2; exit 3"),
        lambda: connection.run(["cat"], stdin=b"x" * 1000),
        lambda: connection.run("(exit 3) & exit 3"),
        lambda: connection.run(["sh", "-c", "exit 3"], terminal=Terminal()),
        lambda: session.run("(exit 3)"),
    )
    remaining = iter(range(count))

    async def some() -> None:
        for number in remaining:
            result = await kinds[number % len(kinds)]()
            assert result.ending in (Exited(3), Exited(0)), result

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(AT_ONCE)], consumeErrors=True)
    session.close()
    await session.wait()


@asynchronous
async def test_ten_thousand_commands(server: ServerProcess) -> None:
    """X-09: descriptors, children and memory of the server are what they were after the first thousand."""
    connection = await connect(reactor, HOST, server.port, config=ConfigFolders.at(str(server.folder)))
    pid = server.process.pid
    await run_many(connection, WARM_UP)
    await only_the_guardian_is_left(pid)
    before = (len(os.listdir(f"/proc/{pid}/fd")), children(pid))
    memory = resident_bytes(pid)
    await run_many(connection, COMMANDS - WARM_UP)
    await only_the_guardian_is_left(pid)
    assert (len(os.listdir(f"/proc/{pid}/fd")), children(pid)) == before
    assert resident_bytes(pid) - memory < MAX_GROWTH_BYTES
    await connection.close()
