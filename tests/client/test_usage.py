"""The time and memory that a command takes, and the limits of both, over a real connection."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from tests.execution.owners import until
from tests.server_process import is_running
from tests.serving import asynchronous
from twisted_rsh import Connection
from twisted_rsh.core.endings import Exited, Limit, LimitReached, RefusalReason, Refused
from twisted_rsh.execution.processes.exits import MAXRSS_UNIT

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")

BUSY = "while :; do :; done"

DAEMON = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.closerange(0, 3)
        os.execvp("sleep", ["sleep", "1000"])
    os._exit(0)
os.wait()
"""
"""Starts a process that has left the session, the group and the parents that the job gave it."""


@asynchronous
async def test_times_and_memory(connection: Connection) -> None:
    """The result tells the time that passed, the processor time, and the memory of the largest process."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    result = await connection.run([sys.executable, "-c", f"x = b'x' * {own + 50_000_000}; sum(range(3_000_000))"])
    assert result.ending == Exited(0)
    usage = result.usage
    assert usage is not None
    assert usage.user > 0
    assert usage.system >= 0
    assert usage.wall >= (usage.user + usage.system) / 4
    assert usage.peak_memory is not None
    assert own + 50_000_000 < usage.peak_memory < own + 500_000_000
    small = (await connection.run(["true"])).usage
    assert small is not None
    assert small.peak_memory is None, "it is the server's own that is seen"


@needs_proc
@asynchronous
async def test_a_command_in_a_shell(connection: Connection) -> None:
    """It has a usage of its own, without what the shell took before, and without the memory."""
    shell = await connection.open_shell()
    busy = (await shell.run("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")).usage
    usage = (await shell.run("sleep 0.3")).usage
    assert busy is not None
    assert busy.user >= 0.05
    assert usage is not None
    assert usage.wall >= 0.3
    assert usage.user + usage.system <= 0.1
    assert usage.peak_memory is None
    shell.close()


@asynchronous
async def test_a_refused_command_took_nothing(connection: Connection) -> None:
    """A command that never ran has no usage."""
    result = await connection.run(["/no/such/program"])
    assert result.usage is None
    assert result.ending == Refused(RefusalReason.NOT_FOUND, "/no/such/program: command not found")


@asynchronous
async def test_limit_of_processor_time(connection: Connection) -> None:
    """A command that computes for longer than it may is ended, also when a child of it does the computing."""
    result = await connection.run(f"echo begun; sh -c '{BUSY}'", max_cpu=0.2)
    assert (result.ending, result.text) == (LimitReached(Limit.CPU, 200), "begun\n")
    assert result.usage is not None
    assert result.status == 125


@asynchronous
async def test_limit_of_memory(connection: Connection) -> None:
    """A command that takes more memory than it may is ended at once, and says how far it got."""
    greedy = "x = []\nprint('begun', flush=True)\nwhile True: x.append(bytearray(1_000_000))"
    result = await connection.run([sys.executable, "-c", greedy], max_memory=100_000_000)
    assert (result.ending, result.text) == (LimitReached(Limit.MEMORY, 100_000_000), "begun\n")


@asynchronous
async def test_below_the_limits(connection: Connection) -> None:
    """Limits that are not reached change nothing, whichever of them are given."""
    result = await connection.run("echo x", max_cpu=10, max_memory=1 << 30, max_output=2)
    assert (result.ending, result.text) == (Exited(0), "x\n")


@asynchronous
async def test_limit_of_output(connection: Connection) -> None:
    """The output within the limit arrives to the last byte, and then the command is ended."""
    result = await connection.run("yes", max_output=100_001)
    assert result.ending == LimitReached(Limit.OUTPUT, 100_001)
    assert result.stdout == (b"y\n" * 50_001)[:100_001]


@pytest.mark.parametrize("how", ["timeout", "close"])
@asynchronous
async def test_a_daemon_ends_with_its_job(connection: Connection, how: str) -> None:
    """X-09: a job that is made to end takes along what it has turned into a daemon."""
    job = connection.start(
        f"{sys.executable} -c '{DAEMON}'; exec sleep 1000", timeout=1.0 if how == "timeout" else None
    )
    pid = int(await job.stdout.read())
    assert is_running(pid)
    if how == "close":
        job.close()
    await job.wait()
    await until(lambda: not is_running(pid))


@asynchronous
async def test_a_daemon_stays_behind_a_job_that_has_ended(connection: Connection) -> None:
    """A process that a job leaves behind when it ends by itself is meant to stay, as with ``ssh``."""
    result = await connection.run([sys.executable, "-c", DAEMON])
    assert (result.ending, result.held_open) == (Exited(0), False)
    pid = int(result.text)
    assert is_running(pid)
    kill = await connection.run(["kill", str(pid)])
    assert kill.ending == Exited(0)
