"""``python -m bench.attacks.one_cut``: the network of all clients fails at once, for three seconds.

Attacked are 30 clients of one key and 20 jobs that are to be kept, both at a server with its own bounds, and then 2,000
sessions of one key, which need ``--max-sessions-per-key`` and descriptors (``ulimit -n``).  In each session ``cat``
runs.  All connections go through one proxy, which cuts them in one moment and refuses new ones until the three seconds
are over.

Promised is that every session goes on with every byte of its job, as long as its job waits for it.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater, react

from bench.processes import descriptors, peak_mb, processor_seconds, resident_mb
from bench.servers.starting import OURS, QUIET_SECONDS, Site, crowd_size, running
from bench.surroundings import clean_up_when_ended, prepare
from twisted_rsh import Connection, Disconnection, Error, Grace, Job, Keep, connect
from twisted_rsh.core.limits import DEFAULT_WINDOW, SessionLimits
from twisted_rsh.core.roles import OUTPUTS
from twisted_rsh.testing import FaultProxy, Faults
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["main"]

CUT_SECONDS, QUICK_CUT_SECONDS = 3.0, 1.0
"""Seconds for which nothing connects."""

CLIENTS, KEPT, SESSIONS = 30, 20, 2000
"""The clients of each attack."""

GRACE_SECONDS = 600.0
"""Seconds for which a job waits for its client.  A command has a minute unless it asks for more; how long the storm
takes, clients and proxy in one process on a shared machine, is printed."""

AT_ONCE = 8
"""Connections that log in together: fewer than a server starts to turn some away for."""

LOGIN_TRIES = 3
"""Attempts to log in, which a client does not repeat by itself."""

DESCRIPTORS_EACH = 8
"""Descriptors that a session with a job takes at most: at the server its link, the job's pipes and its process; here a
link, and its two ends in the proxy."""

POLL_SECONDS = 0.02
"""Seconds between two looks at whether all are back."""

BACK_SECONDS = 120.0
"""Seconds after which this program waits for no more of them."""

ANSWER_SECONDS = 60.0
"""Seconds that a job has to echo a line once its session is back."""


class _Network:
    """The plans of the proxy's connections.

    :ivar is_down: whether a new connection is refused.
    """

    def __init__(self) -> None:
        self.is_down = False

    def plan(self, index: int) -> Faults:
        """Make the plan of a connection; the proxy calls this."""
        return Faults(refuse=self.is_down)


@dataclass(frozen=True, slots=True)
class _Attack:
    """One cut.

    :ivar name: its name in what is printed.
    :ivar clients: sessions.
    :ivar policy: what its job does without a connection.
    :ivar seconds: how long nothing connects.
    """

    name: str
    clients: int
    policy: Disconnection
    seconds: float


@dataclass(slots=True)
class _Client:
    connection: Connection
    job: Job


class _Cut:
    """Runs one attack on one server.

    :param attack: the attack.
    :param pid: the server's process.
    :ivar failures: what went wrong, a line each.
    """

    def __init__(self, reactor: Any, attack: _Attack, config: ConfigFolders, pid: int, port: int) -> None:
        self.failures: list[str] = []
        self._reactor = reactor
        self._attack = attack
        self._config = config
        self._pid = pid
        self._network = _Network()
        self._proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", port), self._network)
        self._fingerprint = load_or_create_server_key(config).fingerprint
        self._clients: list[_Client] = []

    async def run(self) -> None:
        """Log in, cut, wait, and look at every session."""
        await self._proxy.start()
        self._print("memory before", resident_mb(self._pid), "MB")
        began, spent = time.monotonic(), self._processor_times()
        shares = [range(first, self._attack.clients, AT_ONCE) for first in range(min(AT_ONCE, self._attack.clients))]
        await gatherResults([Deferred.fromCoroutine(self._log_in(share)) for share in shares])
        self._print("all logged in after", time.monotonic() - began, "s")
        self._print_processor_times("to log in", spent)
        await self._echo("before the cut")
        self._print("memory with all sessions", resident_mb(self._pid), "MB")
        self._print("descriptors with all sessions", descriptors(self._pid), "")
        self._network.is_down = True
        self._proxy.cut_all()
        await deferLater(self._reactor, self._attack.seconds)
        self._print("memory during the cut", resident_mb(self._pid), "MB")
        self._network.is_down = False
        spent = self._processor_times()
        back_after = await self._all_back()
        self._print("all back after", back_after, f"s, promised less than {GRACE_SECONDS - self._attack.seconds:g}")
        self._print_processor_times("to come back", spent)
        await self._echo("after the cut")
        self._print("memory after", resident_mb(self._pid), "MB")
        self._print("peak", peak_mb(self._pid), "MB")
        survived = sum(client.connection.connected for client in self._clients)
        self._print("sessions that went on", survived, f"of {self._attack.clients}, promised all")
        if survived < self._attack.clients:
            self.failures.append(f"{self._attack.clients - survived} sessions were lost")
        for share in range(0, len(self._clients), 100):
            await gatherResults([client.connection.close() for client in self._clients[share : share + 100]])
        await self._proxy.stop()

    async def _log_in(self, share: range) -> None:
        for _ in share:
            connection = await self._connect()
            job = connection.start(["cat"], on_disconnect=self._attack.policy)
            self._clients.append(_Client(connection, job))

    async def _connect(self) -> Connection:
        for _ in range(LOGIN_TRIES - 1):
            # On a machine that does too much, a handshake can take longer than its ten seconds.
            with contextlib.suppress(Error):
                return await self._dial()
        return await self._dial()

    async def _dial(self) -> Connection:
        limits = SessionLimits(keepalive_interval=QUIET_SECONDS)
        folders, pin = self._config, self._fingerprint
        port = self._proxy.port
        return await connect(self._reactor, "127.0.0.1", port, fingerprint=pin, config=folders, limits=limits)

    async def _all_back(self) -> float:
        began = time.monotonic()
        while True:
            away = sum(not client.connection.connected and client.connection.lost is None for client in self._clients)
            if not away or time.monotonic() - began > BACK_SECONDS:
                return time.monotonic() - began
            await deferLater(self._reactor, POLL_SECONDS)

    async def _echo(self, when: str) -> None:
        async def one(number: int, client: _Client) -> str | None:
            line = f"{number} {when}\n".encode()
            with contextlib.suppress(Exception):  # each failure is an answer that did not come
                await client.job.stdin.write(line)
                found = b""
                while len(found) < len(line):
                    piece = await client.job.stdout.read().addTimeout(ANSWER_SECONDS, self._reactor)
                    if not piece:
                        break
                    found += piece
                if found == line:
                    return None
            return f"session {number} has no echo {when}: {client.connection.lost}"

        asked = [Deferred.fromCoroutine(one(*item)) for item in enumerate(self._clients)]
        wrong = [line for line in await gatherResults(asked) if line is not None]
        self._print(f"exact echoes {when}", len(self._clients) - len(wrong), f"of {self._attack.clients}, promised all")
        self.failures += wrong[:3]

    def _processor_times(self) -> tuple[float, float]:
        return processor_seconds(self._pid), time.process_time()

    def _print_processor_times(self, what: str, before: tuple[float, float]) -> None:
        server, clients = self._processor_times()
        self._print(f"processor time of the server {what}", server - before[0], "s")
        self._print(f"processor time of all clients and the proxy {what}", clients - before[1], "s")

    def _print(self, name: str, value: float, unit: str) -> None:
        number = f"{value:.1f}" if isinstance(value, float) else str(value)
        print(f"{self._attack.name}: {name}: {number} {unit}".rstrip(), flush=True)


def _rounds(is_quick: bool) -> list[tuple[tuple[str, ...], list[_Attack]]]:
    """Return the options of each server, and the attacks on it."""
    seconds = QUICK_CUT_SECONDS if is_quick else CUT_SECONDS
    few = [
        _Attack("30 clients", CLIENTS, Grace(GRACE_SECONDS), seconds),
        _Attack("20 keep jobs", KEPT, Keep(), seconds),
    ]
    if is_quick:
        return [((), few)]
    sessions = crowd_size(SESSIONS * DESCRIPTORS_EACH) // DESCRIPTORS_EACH
    room = sessions * DEFAULT_WINDOW
    options = [("--max-sessions-per-key", sessions), ("--max-unread-input", room)]
    options.append(("--max-unread-output", len(OUTPUTS) * room))
    words = tuple(word for name, value in options for word in (name, str(value)))
    return [((), few), (words, [_Attack(f"{sessions} sessions", sessions, Grace(GRACE_SECONDS), seconds)])]


async def _run(reactor: Any, is_quick: bool) -> None:
    failures: list[str] = []
    for options, attacks in _rounds(is_quick):
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rshbench-"))
            prepare(folder)
            shell = "/bin/sh"
            pid, port = stack.enter_context(running(OURS, Site(folder=folder, shell=shell, server_options=options)))
            for attack in attacks:
                cut = _Cut(reactor, attack, ConfigFolders.at(folder), pid, port)
                await cut.run()
                failures += [f"{attack.name}: {failure}" for failure in cut.failures]
    for failure in failures:
        print(f"broken: {failure}")
    if failures:
        raise SystemExit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when the promise was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.one_cut", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a shorter cut, and without the 2,000 sessions")
    is_quick = parser.parse_args(arguments).quick
    clean_up_when_ended()
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor, is_quick)))


if __name__ == "__main__":
    main(sys.argv[1:])
