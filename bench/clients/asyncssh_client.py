"""Measures an SSH server with asyncssh's client.

``python -m bench.clients.asyncssh_client TASK``
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.conversation import answer, latencies, rate, reach, stream_rate
from bench.keyboard import ECHO_COMMAND, READY, WARM_UP_KEYS
from bench.surroundings import AES_GCM, client_key_path, known_hosts_path
from bench.task import GCM, Task

__all__ = ["main"]

WARM_UP = 5
"""Commands before those that count."""

WRITE_BYTES = 64 * 1024
"""Bytes of one write to a command's stdin."""

# Imported by its name: it is installed for the benchmark alone, and nothing else needs its types.
_asyncssh: Any = importlib.import_module("asyncssh")


class _Screen(_asyncssh.SSHClientSession):  # type: ignore[misc]  # as above, its types are not there
    """Counts what a command writes, and says when it is there and when it ends."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.count = 0
        self.shown = b""
        self.ended: asyncio.Future[None] = loop.create_future()
        self.more: asyncio.Future[None] = loop.create_future()
        self.keep = False

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Take output; asyncssh calls this."""
        self.count += len(data)
        if self.keep:
            self.shown += data
            if not self.more.done():
                self.more.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn of the end of the channel; asyncssh calls this."""
        self.ended.set_result(None)
        if not self.more.done():
            self.more.set_exception(EOFError("the channel was closed"))
            self.more.exception()  # retrieved: nobody need wait any more

    async def wait_for_more(self) -> None:
        """Wait until something was shown since the last time."""
        await self.more
        self.more = asyncio.get_running_loop().create_future()


async def _connect(task: Task) -> Any:
    options: dict[str, Any] = {"encryption_algs": [AES_GCM]} if task.variant == GCM else {}
    return await _asyncssh.connect(
        "127.0.0.1",
        task.port,
        username=task.user,
        client_keys=[client_key_path(task.folder)],
        known_hosts=known_hosts_path(task.folder),
        config=None,
        agent_path=None,
        **options,
    )


async def _timed(connection: Any, count: int, **options: Any) -> list[float]:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        done = await connection.run("true", **options)
        seconds.append(time.perf_counter() - start)
        if done.exit_status != 0:
            raise ValueError(f"true ended with {done.exit_status}")
    return seconds


async def _sequential(connection: Any, task: Task) -> dict[str, float]:
    await _timed(connection, WARM_UP)
    reach("ready")
    return latencies(await _timed(connection, task.sizes.commands))


async def _on_terminal(connection: Any, task: Task) -> dict[str, float]:
    terminal = {"request_pty": "force", "term_type": "xterm"}
    await _timed(connection, WARM_UP, **terminal)
    reach("ready")
    return latencies(await _timed(connection, task.sizes.commands, **terminal))


async def _parallel(connection: Any, task: Task) -> dict[str, float]:
    at_once = task.sizes.at_once
    each = task.sizes.commands // at_once
    await _timed(connection, WARM_UP)
    reach("ready")
    start = time.perf_counter()
    await asyncio.gather(*(_timed(connection, each) for _ in range(at_once)))
    return rate(each * at_once, time.perf_counter() - start)


async def _stdout(connection: Any, task: Task) -> dict[str, float]:
    total = task.sizes.stream_bytes
    await _timed(connection, WARM_UP)
    reach("ready")
    start = time.perf_counter()
    _, session = await connection.create_session(_Screen, f"head -c {total} /dev/zero", encoding=None)
    await session.ended
    seconds = time.perf_counter() - start
    if session.count != total:
        raise ValueError(f"{session.count} bytes came instead of {total}")
    return stream_rate(total, seconds)


async def _stdin(connection: Any, task: Task) -> dict[str, float]:
    total = task.sizes.stream_bytes
    block = bytes(WRITE_BYTES)
    await _timed(connection, WARM_UP)
    reach("ready")
    start = time.perf_counter()
    process = await connection.create_process("cat >/dev/null", encoding=None)
    for _ in range(total // WRITE_BYTES):
        process.stdin.write(block)
        await process.stdin.drain()
    process.stdin.write_eof()
    await process.wait()
    return stream_rate(total, time.perf_counter() - start)


async def _stalled(connection: Any, task: Task) -> dict[str, float]:
    beside = await _connect(task)
    await _timed(connection, WARM_UP)
    before = latencies(await _timed(beside, task.sizes.beside))
    reach("ready")
    channel, _ = await connection.create_session(_Screen, "yes", encoding=None)
    channel.pause_reading()
    for _ in range(task.sizes.stall_seconds):
        await asyncio.sleep(1)
        reach("stalling")
    during = latencies(await _timed(beside, task.sizes.beside))
    beside.abort()
    return {"before_p50_us": before["p50_us"], "beside_p50_us": during["p50_us"]}


async def _keystrokes(connection: Any, task: Task) -> dict[str, float]:
    terminal = {"request_pty": "force", "term_type": "xterm", "term_size": (80, 24)}
    channel, session = await connection.create_session(_Screen, ECHO_COMMAND, encoding=None, **terminal)
    session.keep = True
    while READY + b"\r\n" not in session.shown:
        await session.wait_for_more()
    reach("ready")
    seconds = []
    for _ in range(WARM_UP_KEYS + task.sizes.keys):
        session.shown = b""
        start = time.perf_counter()
        channel.write(b"x")
        await session.wait_for_more()
        seconds.append(time.perf_counter() - start)
        if session.shown != b"x":
            raise ValueError(f"the echo of x was {session.shown!a}")
    channel.close()
    return latencies(seconds[WARM_UP_KEYS:])


_WORKS: dict[str, Callable[[Any, Task], Awaitable[dict[str, float]]]] = {
    "W1": _sequential,
    "W1t": _on_terminal,
    "W2": _parallel,
    "W4": _stdout,
    "W5": _stdin,
    "W6": _stalled,
    "W8": _keystrokes,
}


async def _measure(task: Task) -> None:
    connection = await _connect(task)
    try:
        answer(await _WORKS[task.work](connection, task))
    finally:
        connection.abort()


def main(text: str) -> None:
    """Measure once.

    :param text: the task, as :meth:`bench.task.Task.to_json` writes it.
    """
    asyncio.run(_measure(Task.from_json(text)))


if __name__ == "__main__":
    main(sys.argv[1])
