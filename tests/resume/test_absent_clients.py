"""Clients that are away for longer, or for good: what waits for them, what it costs, and what ends."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.resume.real import REFUSED, Behind, output_until, until
from tests.server_process import ServerProcess, cpu_ticks, is_running, read_line, wait_until_gone
from tests.serving import asynchronous, reactor
from tests.system.test_soak import resident_bytes
from twisted_rsh.core.endings import Exited
from twisted_rsh.testing import NO_FAULTS
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record

pytestmark = pytest.mark.real

NUMBERS = 1_400_000
"""Lines that a command writes while no client is there: ten megabytes, no two of them alike."""

BLOCKED_SECONDS = 3.0
"""Seconds in which a command that is blocked, and its server, are looked at."""

MAX_GROWTH_BYTES = 8 * 1024 * 1024
"""Bytes by which a server's memory may grow while it repeats a window: less than the output that it must not hold."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in a process of its own."""
    process = ServerProcess(tmp_path / "server")
    yield process
    process.stop()


def fingerprint_of(server: ServerProcess) -> str:
    """Return the fingerprint of a server's key."""
    record = read_record(ConfigFolders.at(str(server.folder)), server.port)
    assert record is not None
    return format_fingerprint(record.spki_sha256)


async def settled(pid: int) -> int:
    """Wait until a process takes no more processor time, and return how much it has taken, in ticks."""
    before = -1
    while (now := cpu_ticks(pid)) != before:
        before = now
        await deferLater(reactor, 0.5)
    return now


@asynchronous
async def test_output_while_no_client_is_there(server: ServerProcess, tmp_path: Path) -> None:
    """M-07: ten megabytes are written while the client is away: the command blocks, neither it nor the server takes any
    processor time or memory for that, and then every byte arrives once and in order."""
    config = ConfigFolders.at(str(server.folder))
    behind = Behind(server.port, config, fingerprint_of(server))
    await behind.proxy.start()
    connection = await behind.connect()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    job = connection.start(f"echo $$; read line < {gate}; exec seq 1 {NUMBERS}")
    pid = int(await output_until(job.stdout, b"\n"))
    behind.proxy.schedule = REFUSED
    memory = resident_bytes(server.process.pid)
    behind.proxy.cut_all()
    await until(lambda: not connection.connected)
    gate.write_text("go\n")
    await until(lambda: Path(f"/proc/{pid}/comm").read_text() == "seq\n")
    child, kept = await settled(pid), await settled(server.process.pid)
    await deferLater(reactor, BLOCKED_SECONDS)
    assert cpu_ticks(pid) == child, "a blocked command takes nothing"
    assert cpu_ticks(server.process.pid) - kept <= 1
    assert resident_bytes(server.process.pid) - memory < MAX_GROWTH_BYTES
    behind.proxy.schedule = NO_FAULTS
    digest, size = hashlib.sha256(), 0
    async for chunk in job.stdout:
        digest.update(chunk)
        size += len(chunk)
    expected = subprocess.run(["seq", "1", str(NUMBERS)], capture_output=True, check=True).stdout
    assert len(expected) > 10_000_000
    assert (size, digest.digest()) == (len(expected), hashlib.sha256(expected).digest())
    assert (await job.wait()).ending == Exited(0)
    assert resident_bytes(server.process.pid) - memory < MAX_GROWTH_BYTES
    await behind.stop()


@asynchronous
async def test_killed_client_leaves_nothing(server: ServerProcess) -> None:
    """M-15: a client is killed without a goodbye: its command, and what that has started, end with their grace."""
    command = "sleep 300 & echo $$ $!; wait"
    client = server.start("--on-disconnect", "grace:1", "127.0.0.1", command)
    pids = [int(word) for word in (await deferToThread(read_line, client)).split()]
    client.send_signal(signal.SIGKILL)
    with client:
        client.communicate()
    assert all(is_running(pid) for pid in pids), "a grace is not a kill"
    await deferToThread(wait_until_gone, *pids)
