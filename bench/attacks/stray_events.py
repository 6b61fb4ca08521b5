"""``python -m bench.attacks.stray_events``: events of closed descriptors that reach new connections.

Attacked is the reactor, which knows a descriptor by its number.  Jobs are made so that the server closes their pipes
before it has seen that the pipes hang up: the first process of each ends, then connections come, and then the process
that held the pipes ends.  For this moment the server is stopped, so that one look of its reactor finds all of it, as on
a machine that is busy.  Promised is that no new connection ends.  ``--close-at-once`` has the server close descriptors
at once, as it must not: then the load ends connections.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare, server_fingerprint
from twisted_rsh import Connection, Job, connect
from twisted_rsh.execution.processes import descriptors
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["close_at_once", "main"]

SECONDS = 60.0
QUICK_SECONDS = 4.0
"""Seconds after which no other round begins, and with ``--quick``."""

JOBS = 6
"""Jobs of a round: each has three pipes whose numbers become free."""

CONNECTIONS = 9
"""Connections that come in the middle of a round: as many as a server never turns away at random."""

STOP_SECONDS = 10.0
"""Seconds within which the system stops the server, or notices that processes are gone."""

QUIET_SECONDS = 0.2
"""Seconds after a round in which connections may end for no reason."""

COMMAND = "exec 3<&0; sleep 600 <&3 & echo $$ $!; exec sleep 600"
"""A job of two processes, of which the second holds its input and both outputs as well."""

OPTIONS = ("--no-penalties",)
"""Many connections without a login are this attack's own."""

CLOSING_AT_ONCE = """
import runpy, sys
from bench.attacks.stray_events import close_at_once
close_at_once()
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""What runs the server so that it has the fault."""


def close_at_once() -> None:
    """Have this process close descriptors while events wait."""

    def close(_reactor: object, close: Callable[..., object], *arguments: object) -> None:
        close(*arguments)

    cast("Any", descriptors).close_after_events = close


class _Attack:
    """The rounds against one server.

    :ivar connections: how many came in the middle of a round.
    :ivar ended: how many of them the server ended.
    """

    def __init__(self, reactor: Any, pid: int, port: int, connection: Connection) -> None:
        self.connections = 0
        self.ended = 0
        self._reactor = reactor
        self._pid = pid
        self._port = port
        self._connection = connection

    async def round(self) -> None:
        """Let jobs end and connections come in one look of the server."""
        jobs = [self._connection.start(COMMAND) for _ in range(JOBS)]
        processes = await gatherResults([Deferred.fromCoroutine(self._processes(job)) for job in jobs])
        with contextlib.ExitStack() as stack:
            os.kill(self._pid, signal.SIGSTOP)
            try:
                _wait(lambda: _state(self._pid) == "T")
                for first, _ in processes:
                    os.kill(first, signal.SIGKILL)
                _wait(lambda: all(_state(first) in "ZX" for first, _ in processes))
                sockets = [stack.enter_context(socket.socket()) for _ in range(CONNECTIONS)]
                for each in sockets:
                    each.connect(("127.0.0.1", self._port))
                for _, second in processes:
                    os.kill(second, signal.SIGKILL)
                _wait(lambda: all(_state(second) in "ZX" for _, second in processes))
            finally:
                os.kill(self._pid, signal.SIGCONT)
            for job in jobs:
                await job.wait()
            await deferLater(self._reactor, QUIET_SECONDS)
            self.connections += len(sockets)
            self.ended += sum(map(_is_ended, sockets))

    async def _processes(self, job: Job) -> tuple[int, int]:
        line = b""
        while not line.endswith(b"\n"):
            line += await job.stdout.read()
        first, second = map(int, line.split())
        return first, second


def _state(pid: int) -> str:
    """Return the letter with which the system names a process's state; ``X`` when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the system took too long")
        time.sleep(0.001)


def _is_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def _attack(reactor: Any, folder: str, pid: int, port: int, seconds: float) -> _Attack:
    deadline = time.monotonic() + seconds
    connection = await connect(
        reactor, "127.0.0.1", port, config=ConfigFolders.at(folder), fingerprint=server_fingerprint(folder)
    )
    attack = _Attack(reactor, pid, port, connection)
    while time.monotonic() < deadline:
        await attack.round()
    await connection.close()
    return attack


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack, and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when the promise was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.stray_events", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="for a few seconds only")
    parser.add_argument("--close-at-once", action="store_true", help="have the server make the fault")
    options = parser.parse_args(arguments)
    clean_up_when_ended()

    async def run(reactor: Any) -> None:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rshbench-"))
            prepare(folder)
            python_options = ("-c", CLOSING_AT_ONCE) if options.close_at_once else ()
            shell = "/bin/sh"
            site = Site(folder=folder, shell=shell, python_options=python_options, server_options=OPTIONS)
            pid, port = stack.enter_context(running(OURS, site))
            attack = await _attack(reactor, folder, pid, port, QUICK_SECONDS if options.quick else SECONDS)
        print(f"new connections: {attack.connections}")
        print(f"of these ended: {attack.ended}, promised 0")
        if attack.ended or not attack.connections:
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
