"""What is asked of the server, over one connection."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from twisted_rsh.client import RemoteShell

__all__ = ["parallel_commands", "sequential_commands", "stalled_reader", "stdin_rate", "stdout_rate"]

WRITE_BYTES = 256 * 1024
"""Bytes of one write to a command's stdin."""

STALL_SECONDS = 5.0
"""Seconds for which nobody reads."""


async def sequential_commands(shell: RemoteShell, count: int) -> float:
    """Run ``true`` so many times, one after another; return commands per second."""
    start = time.perf_counter()
    for _ in range(count):
        (await shell.run("true")).check()
    return count / (time.perf_counter() - start)


async def parallel_commands(shell: RemoteShell, count: int, at_once: int) -> float:
    """Run ``true`` so many times, several at once; return commands per second."""

    async def some() -> None:
        for _ in range(count // at_once):
            (await shell.run("true")).check()

    start = time.perf_counter()
    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(at_once)])
    return count / (time.perf_counter() - start)


async def stdout_rate(shell: RemoteShell, total: int) -> float:
    """Read so many bytes of a command's output; return MB (10^6 bytes) per second."""
    start = time.perf_counter()
    received = 0

    def count(data: bytes) -> None:
        nonlocal received
        received += len(data)
        job.stdout.consumed(len(data))

    job = shell.start(f"head -c {total} /dev/zero")
    job.stdin.end()
    job.stdout.forward(count)
    job.stderr.forward(lambda data: job.stderr.consumed(len(data)))
    await job.wait()
    assert received == total
    return total / (time.perf_counter() - start) / 1e6


async def stdin_rate(shell: RemoteShell, total: int) -> float:
    """Write so many bytes to a command; return MB (10^6 bytes) per second."""
    block = bytes(WRITE_BYTES)
    start = time.perf_counter()
    job = shell.start("cat >/dev/null")
    for _ in range(total // WRITE_BYTES):
        await job.stdin.write(block)
    job.stdin.end()
    await job.wait()
    return total / (time.perf_counter() - start) / 1e6


async def stalled_reader(shell: RemoteShell, reactor: Any, server: int) -> tuple[float, float]:
    """Start ``yes`` and read nothing of it.

    :param server: the server's process id.
    :returns: the server's memory before in MB, and its growth in MB.
    """
    before = _memory(server)
    job = shell.start("yes")
    await deferLater(reactor, STALL_SECONDS)
    growth = _memory(server) - before
    job.close()
    await job.wait()
    return before, growth


def _memory(pid: int) -> float:
    """Return a process's resident memory in MB, as Linux's /proc tells it."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
    raise LookupError("no VmRSS")
