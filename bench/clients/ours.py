"""Measures a server of this package through the client's API, and a keystroke also through the client program.

``python -m bench.clients.ours TASK``
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from bench.conversation import answer, beside_figures, latencies, rate, reach, stream_rate
from bench.keyboard import ECHO_COMMAND, READY, WARM_UP_KEYS, echo_latencies
from bench.task import BASH, PIPES, PROGRAM, UNIX, Task
from twisted_rsh import Connection, connect
from twisted_rsh.core.requests import Terminal
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["main"]

WARM_UP = 5
"""Commands before those that count: what is done once is not what these works measure."""

WRITE_BYTES = 256 * 1024
"""Bytes of one write to a command's stdin."""

TERMINAL = Terminal(term="xterm")


async def _timed(count: int, run: Callable[[], Awaitable[Any]]) -> list[float]:
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        (await run()).check()
        seconds.append(time.perf_counter() - start)
    return seconds


async def _sequential(client: Connection, task: Task, terminal: Terminal | None = None) -> dict[str, float]:
    def run() -> Awaitable[Any]:
        return client.run("true") if terminal is None else client.run("true", terminal=terminal)

    await _timed(WARM_UP, run)
    reach("ready")
    return latencies(await _timed(task.sizes.commands, run))


async def _on_terminal(client: Connection, task: Task) -> dict[str, float]:
    return await _sequential(client, task, None if task.variant == PIPES else TERMINAL)


async def _builtin(client: Connection, task: Task) -> dict[str, float]:
    shell = await client.open_shell("bash" if task.variant == BASH else "")
    await _timed(WARM_UP, lambda: shell.run("true"))
    reach("ready")
    return latencies(await _timed(task.sizes.builtins, lambda: shell.run("true")))


async def _parallel(client: Connection, task: Task) -> dict[str, float]:
    at_once = task.sizes.at_once
    each = task.sizes.commands // at_once
    await _timed(WARM_UP, lambda: client.run("true"))
    reach("ready")
    start = time.perf_counter()
    workers = [Deferred.fromCoroutine(_timed(each, lambda: client.run("true"))) for _ in range(at_once)]
    await gatherResults(workers)
    return rate(each * at_once, time.perf_counter() - start)


async def _stdout(client: Connection, task: Task) -> dict[str, float]:
    total = task.sizes.stream_bytes
    await _timed(WARM_UP, lambda: client.run("true"))
    reach("ready")
    received = 0

    def count(data: bytes) -> None:
        nonlocal received
        received += len(data)
        job.stdout.consumed(len(data))

    start = time.perf_counter()
    job = client.start(f"head -c {total} /dev/zero")
    job.stdin.end()
    job.stdout.forward(count)
    job.stderr.forward(lambda data: job.stderr.consumed(len(data)))
    await job.wait()
    seconds = time.perf_counter() - start
    if received != total:
        raise ValueError(f"{received} bytes came instead of {total}")
    return stream_rate(total, seconds)


async def _stdin(client: Connection, task: Task) -> dict[str, float]:
    total = task.sizes.stream_bytes
    block = bytes(WRITE_BYTES)
    await _timed(WARM_UP, lambda: client.run("true"))
    reach("ready")
    start = time.perf_counter()
    job = client.start("cat >/dev/null")
    for _ in range(total // WRITE_BYTES):
        await job.stdin.write(block)
    job.stdin.end()
    await job.wait()
    return stream_rate(total, time.perf_counter() - start)


async def _stalled(client: Connection, beside: Connection, task: Task, reactor: Any) -> dict[str, float]:
    await _timed(WARM_UP, lambda: client.run("true"))
    before = latencies(await _timed(task.sizes.beside, lambda: beside.run("true")))
    reach("ready")
    job = client.start("yes")
    for _ in range(task.sizes.stall_seconds):
        await deferLater(reactor, 1.0)
        reach("stalling")
    during = latencies(await _timed(task.sizes.beside, lambda: beside.run("true")))
    job.close()
    await job.wait()
    return {"before_p50_us": before["p50_us"], "beside_p50_us": during["p50_us"]}


class _Echo:
    """A job on a terminal that shows what is typed.

    :param client: the connection.
    """

    def __init__(self, client: Connection) -> None:
        self._shown = b""
        self._waiting: Deferred[None] | None = None
        self._job = client.start(ECHO_COMMAND, terminal=TERMINAL)
        self._job.stdout.forward(self._show, self._end)

    async def ready(self) -> None:
        """Wait until it shows what is typed."""
        while READY + b"\r\n" not in self._shown:
            await self._more()

    async def type(self, keys: int) -> list[float]:
        """Type keys, each when the last one is shown.

        :returns: seconds of each.
        """
        return [await self._press() for _ in range(keys)]

    async def close(self) -> None:
        """End the job."""
        self._waiting = None
        self._job.close()
        await self._job.wait()

    def _show(self, data: bytes) -> None:
        self._shown += data
        self._job.stdout.consumed(len(data))
        told, self._waiting = self._waiting, None
        if told is not None:
            told.callback(None)

    def _end(self) -> None:
        if self._waiting is not None:
            self._waiting.errback(EOFError(f"the job on the terminal ended after {self._shown!a}"))

    async def _more(self) -> None:
        self._waiting = Deferred()
        await self._waiting

    async def _press(self) -> float:
        self._shown = b""
        start = time.perf_counter()
        await self._job.stdin.write(b"x")
        await self._more()
        seconds = time.perf_counter() - start
        if self._shown != b"x":
            raise ValueError(f"the echo of x was {self._shown!a}")
        return seconds


async def _keystrokes(client: Connection, task: Task) -> dict[str, float]:
    echo = _Echo(client)
    await echo.ready()
    reach("ready")
    seconds = await echo.type(WARM_UP_KEYS + task.sizes.keys)
    await echo.close()
    return latencies(seconds[WARM_UP_KEYS:])


async def _keystrokes_beside(client: Connection, task: Task) -> dict[str, float]:
    echo = _Echo(client)
    await echo.ready()
    reach("ready")
    alone = await echo.type(WARM_UP_KEYS + task.sizes.keys)
    bulk = client.start("cat /dev/zero")
    bulk.stdout.forward(lambda data: bulk.stdout.consumed(len(data)))
    start, before = time.perf_counter(), bulk.stdout.total
    beside = await echo.type(WARM_UP_KEYS + task.sizes.keys)
    flow = stream_rate(bulk.stdout.total - before, time.perf_counter() - start)
    bulk.close()
    await bulk.wait()
    await echo.close()
    return beside_figures(alone[WARM_UP_KEYS:], beside[WARM_UP_KEYS:]) | flow


_WORKS: dict[str, Callable[[Connection, Task], Awaitable[dict[str, float]]]] = {
    "W1": _sequential,
    "W1c": _sequential,
    "W1s": _builtin,
    "W1t": _on_terminal,
    "W2": _parallel,
    "W2c": _parallel,
    "W4": _stdout,
    "W5": _stdin,
    "W8": _keystrokes,
    "W8b": _keystrokes_beside,
}


def _type_into_program(task: Task) -> dict[str, float]:
    # -4, because by itself it would use the server's Unix socket.
    options = ["--config-dir", task.folder, "-p", str(task.port), "-4", "-tt"]
    program = [sys.executable, "-m", "twisted_rsh.client", *options]
    reach("ready")
    return latencies(echo_latencies([*program, "127.0.0.1", ECHO_COMMAND], task.sizes.keys))


async def _measure(reactor: Any, task: Task) -> None:
    config = ConfigFolders.at(task.folder)
    # With a fingerprint the client uses TCP, also at the port of a proxy, of which the server has left no record.
    # Without one it uses the server's Unix socket.
    fingerprint = None if task.variant == UNIX else load_or_create_server_key(config).fingerprint
    client = await connect(reactor, "127.0.0.1", task.port, config=config, fingerprint=fingerprint)
    if task.work == "W6":
        beside = await connect(reactor, "127.0.0.1", task.port, config=config, fingerprint=fingerprint)
        figures = await _stalled(client, beside, task, reactor)
        await beside.close()
    else:
        figures = await _WORKS[task.work](client, task)
    await client.close()
    answer(figures)


def main(text: str) -> None:
    """Measure once.

    :param text: the task, as :meth:`bench.task.Task.to_json` writes it.
    :raises SystemExit: always, when it is done; with status 1, and the reason on stderr, when that failed.
    """
    task = Task.from_json(text)
    if task.variant == PROGRAM:
        answer(_type_into_program(task))
    else:
        react(lambda reactor: Deferred.fromCoroutine(_measure(reactor, task)))


if __name__ == "__main__":
    main(sys.argv[1])
