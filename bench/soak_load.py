"""The load of a soak: everything that clients do, over and over, each kind on a connection of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from bench.surroundings import ROOT, environment
from twisted_rsh import Connection, Terminal, connect
from twisted_rsh.client.errors import Error
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.requests import Grace
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["GRACE_SECONDS", "Load"]

GRACE_SECONDS = 2.0
"""Seconds for which a job waits for a client that was killed; one that resumes needs less, on one machine."""

TRANSFER_BYTES = 4 * 1024 * 1024
"""Bytes of an upload or a download: sixteen windows."""

PAUSE_SECONDS = 0.02
"""Seconds between one thing and the next of the same kind, so that every kind has its turn."""

SHELL_COMMANDS = 20
"""Commands in a persistent shell before it is closed and another is started."""

CONNECTION_USES = 50
"""Things done over one connection before it is closed and another is made."""


LOGIN_TRIES = 10
"""Times that one connection is asked for: more than cuts half a second apart can spoil."""


class _Wrong(Exception):
    """Something came out otherwise than it should."""


class Load:
    """What runs against a server until it is stopped.

    :param reactor: the reactor.
    :param folder: the folder of the keys.
    :param port: the TCP port on 127.0.0.1 to connect to.
    :param fingerprint: of the server's key.
    :ivar done: how often each kind of thing was done.
    :ivar failures: what went wrong, a line each.
    """

    def __init__(self, reactor: Any, folder: str, port: int, fingerprint: str) -> None:
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self._reactor = reactor
        self._folder = folder
        self._port = port
        self._fingerprint = fingerprint
        self._draw = random.Random(1)
        self._stopping = False
        self._workers: list[Deferred[None]] = []

    def start(self) -> None:
        """Begin."""
        kinds: dict[str, Callable[[Connection], Awaitable[None]]] = {
            "commands": self._command,
            "shells": self._shell,
            "terminals": self._terminal,
            "uploads": self._upload,
            "downloads": self._download,
            "cancelled": self._cancelled,
        }
        self._workers = [Deferred.fromCoroutine(self._repeat(name, act)) for name, act in kinds.items()]
        self._workers.append(Deferred.fromCoroutine(self._kill_clients()))

    async def stop(self) -> None:
        """Finish what is under way, and begin nothing more."""
        self._stopping = True
        for worker in self._workers:
            await worker

    async def _repeat(self, name: str, act: Callable[[Connection], Awaitable[None]]) -> None:
        while not self._stopping:
            try:
                shell = await self._connect()
                for _ in range(CONNECTION_USES):
                    if self._stopping or shell.lost:
                        break
                    await act(shell)
                    self.done[name] += 1
                    await deferLater(self._reactor, PAUSE_SECONDS)
                await shell.close()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a result of the soak
                self.failures.append(f"{name}: {error!r}")
                await deferLater(self._reactor, 1.0)

    async def _connect(self) -> Connection:
        config = ConfigFolders.at(self._folder)
        for _ in range(LOGIN_TRIES - 1):
            # A login that is cut has begun nothing, and whoever asked for it asks again.
            with contextlib.suppress(Error):
                return await connect(
                    self._reactor, "127.0.0.1", self._port, config=config, fingerprint=self._fingerprint
                )
            await deferLater(self._reactor, PAUSE_SECONDS)
        return await connect(self._reactor, "127.0.0.1", self._port, config=config, fingerprint=self._fingerprint)

    async def _command(self, connection: Connection) -> None:
        result = await connection.run("echo out; echo err >&2; exit 3")
        _check((result.stdout, result.stderr, result.ending), (b"out\n", b"err\n", Exited(3)))

    async def _shell(self, connection: Connection) -> None:
        session = await connection.open_shell()
        for number in range(SHELL_COMMANDS):
            result = await session.run(f"n={number}; echo $n")
            _check((result.stdout, result.ending), (b"%d\n" % number, Exited(0)))
        session.close()
        await session.wait()

    async def _terminal(self, connection: Connection) -> None:
        job = connection.start("read line; echo got $line", terminal=Terminal())
        await job.stdin.write(b"a line\n")
        job.resize(100, 40)
        said = b"".join([chunk async for chunk in job.stdout])
        await job.wait()
        _check(b"got a line" in said, True)

    async def _upload(self, connection: Connection) -> None:
        result = await connection.run("wc -c", stdin=bytes(TRANSFER_BYTES))
        _check(int(result.stdout), TRANSFER_BYTES)

    async def _download(self, connection: Connection) -> None:
        job = connection.start(f"head -c {TRANSFER_BYTES} /dev/zero")
        job.stdin.end()
        size = 0
        async for chunk in job.stdout:
            size += len(chunk)
        await job.wait()
        _check(size, TRANSFER_BYTES)

    async def _cancelled(self, connection: Connection) -> None:
        job = connection.start("sleep 600 & sleep 600; wait", on_disconnect=Grace(GRACE_SECONDS))
        await job.when_started()
        await deferLater(self._reactor, self._draw.random() / 10)
        job.close()
        await job.wait()

    async def _kill_clients(self) -> None:
        options = ["--config-dir", self._folder, "-p", str(self._port), "--fingerprint", self._fingerprint]
        options += ["-q", "-n", "--on-disconnect", f"grace:{GRACE_SECONDS:g}"]
        command = [sys.executable, "-m", "twisted_rsh.client", *options, "127.0.0.1", "sleep 600 & sleep 600"]
        while not self._stopping:
            client = subprocess.Popen(
                command, cwd=ROOT, env=environment(self._folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            # Some are killed before they have logged in, some while their command runs.
            await deferLater(self._reactor, self._draw.uniform(0.1, 1.5))
            os.kill(client.pid, signal.SIGKILL)
            client.wait()
            self.done["killed"] += 1


def _check(found: object, expected: object) -> None:
    if found != expected:
        raise _Wrong(f"{found!r} instead of {expected!r}")
