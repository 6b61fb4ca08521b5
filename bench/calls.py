"""``python -m bench.calls``: count the calls that one operation takes in the server and in the client.

A real server and a client of the library run on loopback as processes of their own, both under ``sys.setprofile``.  A
*call* is one of its events ``call`` and ``c_call`` in the main thread: Python enters a function, enters or resumes a
generator or coroutine, whoever has written it, or calls a function of C.  So the figures are about the code, and next
to nothing else: the machine, and what else it does, hardly change them.

A work is done in batches, after one that warms up.  The calls of the server are read when it has made none for
:data:`QUIET_SECONDS`.  The figure is that of the batch with the fewest calls, divided by its operations: a batch that
the machine interrupts has more and smaller reads.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from bench.counted import NUMBER, CallCount
from bench.keyboard import ECHO_COMMAND, READY
from bench.report import find_versions
from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, server_fingerprint
from twisted_rsh import Connection, Terminal, connect
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["GOALS", "WORKS", "Count", "main"]

HOST = "127.0.0.1"

BATCHES = 3
"""Batches of each work that count."""

QUIET_SECONDS = 0.1
"""Seconds without a call after which the server is done with a batch: longer than it delays any message."""

LOOKS = 100
"""Looks at a server that never becomes quiet, before its calls are taken as they are."""

BLOCK_BYTES = 64 * 1024
"""Bytes of a stream that count as one operation."""

AT_ONCE = 10
"""Commands under way together in W2."""


@dataclass(frozen=True, slots=True)
class Count:
    """The calls of one operation.

    :ivar server: those of the server.
    :ivar client: those of the client.
    """

    server: float
    client: float

    @property
    def both(self) -> float:
        """Those of both."""
        return self.server + self.client


Batch = Callable[[int], Awaitable[None]]
"""Does as many operations."""

Connect = Callable[[], Awaitable[Connection]]
"""Logs in once more."""


async def _sequential(client: Connection, _connect: Connect) -> Batch:
    async def run(count: int) -> None:
        for _ in range(count):
            (await client.run("true")).check()

    return run


async def _parallel(client: Connection, connect_one: Connect) -> Batch:
    one_after_another = await _sequential(client, connect_one)

    async def run(count: int) -> None:
        each = count // AT_ONCE
        await gatherResults([Deferred.fromCoroutine(one_after_another(each)) for _ in range(AT_ONCE)])  # type: ignore[arg-type]  # a coroutine

    return run


async def _builtin(client: Connection, _connect: Connect) -> Batch:
    shell = await client.open_shell()

    async def run(count: int) -> None:
        for _ in range(count):
            (await shell.run("true")).check()

    return run


async def _stdout(client: Connection, _connect: Connect) -> Batch:
    async def run(count: int) -> None:
        job = client.start(f"head -c {count * BLOCK_BYTES} /dev/zero")
        job.stdin.end()
        job.stdout.forward(lambda data: job.stdout.consumed(len(data)))
        job.stderr.forward(lambda data: job.stderr.consumed(len(data)))
        await job.wait()

    return run


async def _keystrokes(client: Connection, _connect: Connect) -> Batch:
    shown = b""
    waiting: Deferred[None] = Deferred()

    def show(data: bytes) -> None:
        nonlocal shown
        shown += data
        job.stdout.consumed(len(data))
        if shown.endswith((b"x", READY + b"\r\n")):
            waiting.callback(None)

    async def run(count: int) -> None:
        nonlocal shown, waiting
        for _ in range(count):
            shown, waiting = b"", Deferred()
            await job.stdin.write(b"x")
            await waiting

    job = client.start(ECHO_COMMAND, terminal=Terminal(term="xterm"))
    job.stdout.forward(show)
    await waiting
    return run


async def _logins(_client: Connection, connect_one: Connect) -> Batch:
    async def run(count: int) -> None:
        for _ in range(count):
            await (await connect_one()).close()

    return run


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of operation.

    :ivar title: what it is.
    :ivar operations: how many a batch has.
    :ivar begin: prepares, and returns what does a batch.
    """

    title: str
    operations: int
    begin: Callable[[Connection, Connect], Awaitable[Batch]]


WORKS = {
    "W1": Work("`true`, a fresh process", 10, _sequential),
    "W1s": Work("`true` in a persistent shell", 20, _builtin),
    "W2": Work("`true`, ten in flight", 20, _parallel),
    "W4": Work("64 KiB of stdout", 64, _stdout),
    "W7": Work("a login, and its end", 10, _logins),
    "W8": Work("a keystroke", 20, _keystrokes),
}
"""What is counted, by the names of ``bench.works``."""

GOALS = {"W1": 900, "W1s": 420, "W4": 280, "W8": 350}
"""Calls of both sides that one operation should take at most."""


class _Counter:
    """Counts the calls of batches on both sides."""

    def __init__(self, reactor: Any, own: CallCount, server: str) -> None:
        self._reactor = reactor
        self._own = own
        self._server = server

    async def count(self, work: Work, client: Connection, connect_one: Connect) -> Count:
        """Count the calls of one operation."""
        batch = await work.begin(client, connect_one)
        await batch(work.operations)
        counts = [await self._one(batch, work.operations) for _ in range(BATCHES)]
        return min(counts, key=lambda count: count.both)

    async def _one(self, batch: Batch, operations: int) -> Count:
        server, own = await self._quiet(), self._own.calls
        await batch(operations)
        own = self._own.calls - own
        return Count((await self._quiet() - server) / operations, own / operations)

    async def _quiet(self) -> int:
        """Wait until the server makes no calls, and return how many it has made."""
        last = -1
        for _ in range(LOOKS):
            (now,) = NUMBER.unpack(Path(self._server).read_bytes())
            if now == last:
                break
            last = now
            await deferLater(self._reactor, QUIET_SECONDS)
        return int(last)


async def _count_all(reactor: Any, folder: str, port: int, server: str, names: Sequence[str]) -> dict[str, Count]:
    own = CallCount(os.path.join(folder, "client.calls"))
    fingerprint = server_fingerprint(folder)

    async def connect_one() -> Connection:
        return await connect(reactor, HOST, port, config=ConfigFolders.at(folder), fingerprint=fingerprint)

    client = await connect_one()
    own.start()
    try:
        counter = _Counter(reactor, own, server)
        return {name: await counter.count(WORKS[name], client, connect_one) for name in names}
    finally:
        sys.setprofile(None)
        await client.close()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.calls", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--works", metavar="NAMES", default=",".join(WORKS), help=f"which [{','.join(WORKS)}]")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    options = parser.parse_args(arguments)
    options.works = options.works.split(",")
    unknown = [name for name in options.works if name not in WORKS]
    if unknown:
        parser.error(f"no such work: {', '.join(unknown)}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Count and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: with status 1 when something failed, otherwise with status 0.
    """
    options = _options(arguments)
    clean_up_when_ended()

    async def work(reactor: Any) -> None:
        found = await _count_all(reactor, folder, port, server, options.works)
        print(f"{'calls of one operation':<36} {'server':>8} {'client':>8} {'both':>8} {'goal':>8}")
        for name, count in found.items():
            title = f"{name:<4} {WORKS[name].title}"
            print(f"{title:<36} {count.server:8.0f} {count.client:8.0f} {count.both:8.0f} {GOALS.get(name, ''):>8}")
        if options.json:
            figures = {name: asdict(count) for name, count in found.items()}
            results = {"format": 1, "versions": find_versions(), "figures": figures}
            Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        server = os.path.join(folder, "server.calls")
        site = Site(folder=folder, shell="/bin/sh", python_options=["-m", "bench.counted", server])  # noqa: S604 - a name
        with running(OURS, site) as (_, port):
            react(lambda reactor: Deferred.fromCoroutine(work(reactor)))


if __name__ == "__main__":
    main()
