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

from bench.conversation import answer, latencies, rate, reach, stream_rate
from bench.keyboard import ECHO_COMMAND, READY, WARM_UP_KEYS, echo_latencies
from bench.task import BASH, PIPES, PROGRAM, Task
from twisted_rsh import Connection, connect
from twisted_rsh.core.requests import Terminal
from twisted_rsh.trust.home import ConfigFolders

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


async def _keystrokes(client: Connection, task: Task) -> dict[str, float]:
    shown = b""
    waiting: Deferred[None] | None = None

    def show(data: bytes) -> None:
        nonlocal shown, waiting
        shown += data
        job.stdout.consumed(len(data))
        told, waiting = waiting, None
        if told is not None:
            told.callback(None)

    def end() -> None:
        if waiting is not None:
            waiting.errback(EOFError(f"the job on the terminal ended after {shown!a}"))

    async def more() -> None:
        nonlocal waiting
        waiting = Deferred()
        await waiting

    async def press() -> float:
        nonlocal shown
        shown = b""
        start = time.perf_counter()
        await job.stdin.write(b"x")
        await more()
        seconds = time.perf_counter() - start
        if shown != b"x":
            raise ValueError(f"the echo of x was {shown!a}")
        return seconds

    job = client.start(ECHO_COMMAND, terminal=TERMINAL)
    job.stdout.forward(show, end)
    while READY + b"\r\n" not in shown:
        await more()
    reach("ready")
    seconds = [await press() for _ in range(WARM_UP_KEYS + task.sizes.keys)]
    waiting = None
    job.close()
    await job.wait()
    return latencies(seconds[WARM_UP_KEYS:])


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
}


def _type_into_program(task: Task) -> dict[str, float]:
    program = [sys.executable, "-m", "twisted_rsh.client", "--config-dir", task.folder, "-p", str(task.port), "-tt"]
    reach("ready")
    return latencies(echo_latencies([*program, "127.0.0.1", ECHO_COMMAND], task.sizes.keys))


async def _measure(reactor: Any, task: Task) -> None:
    config = ConfigFolders.at(task.folder)
    client = await connect(reactor, "127.0.0.1", task.port, config=config)
    if task.work == "W6":
        beside = await connect(reactor, "127.0.0.1", task.port, config=config)
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
