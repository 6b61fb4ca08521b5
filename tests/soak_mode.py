"""M-23, soak mode: with ``--cut-links SEED`` every server is reached through a proxy that keeps cutting connections.

With ``--over-socket`` clients reach each server over its Unix socket, which is where the proxy is then.

Whoever starts a server for a test asks :func:`cutting` whether the links to it are to be cut, and if so lets clients
dial a proxy: :class:`ServiceProxy` for a server in the test's process, :class:`ProxyProcess` for one in a process of
its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, UNIXServerEndpoint

from twisted_rsh.testing import End, FaultProxy, Faults, Int32Frames, TLSRecords
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record, remove_record, write_record

__all__ = [
    "CUT_TESTS",
    "HOST",
    "LOGIN_RECORDS",
    "MAX_RECORDS",
    "CutLinks",
    "Cutting",
    "ProxyProcess",
    "ServiceProxy",
    "begin_cutting",
    "cut_path",
    "cutting",
    "cutting_proxy",
    "over_socket",
    "use_socket",
]

MAX_RECORDS = 50
"""TLS records behind the login, of both directions, after which a connection is cut at the latest."""

LOGIN_RECORDS = 13
"""TLS records of a connection until its client has logged in, or resumed, with those of TLS itself: a login that is cut
fails, by design, and who starts a program again cannot be the test."""

LOGIN_FRAMES = 4
"""The same of frames over a Unix socket: one each way for the handshake, and for the login."""

CUT_TESTS = (
    "cli",
    "client",
    "fleet",
    "system",
    "server/test_service.py",
    "server/test_capacity.py",
    "server/test_control.py",
    "tools",
    "test_api.py",
    "test_classic_faults.py",
    "test_embedding.py",
    "test_examples.py",
    "watching",
)
"""The tests of what a user does, in this folder: what must hold while connections keep failing."""

PROXY_SECONDS = 30.0
"""Seconds that a proxy's process has to start or to end; it takes one, on a machine that does nothing else."""

HOST = "127.0.0.1"
"""Where servers and proxies listen."""


@dataclass(frozen=True, slots=True)
class CutLinks:
    """A schedule in which each connection logs in or resumes, and is cut :data:`MAX_RECORDS` later at most.

    Small numbers of records are as likely as large ones: most tests need only a few.

    :ivar seed: any text.
    :ivar is_local: whether the connections are over a Unix socket, without TLS.
    """

    seed: str
    is_local: bool = False

    def plan(self, index: int) -> Faults:
        """See :class:`twisted_rsh.testing.schedules.Schedule`."""
        draw = random.Random(f"{self.seed}/{index}")
        count = min(int((MAX_RECORDS + 1) ** draw.random()), MAX_RECORDS)
        server_end, client_end = (draw.choice((End.RESET, End.CLOSED)) for _ in range(2))
        return Faults(
            cut_after_records=count + (LOGIN_FRAMES if self.is_local else LOGIN_RECORDS),
            records=Int32Frames if self.is_local else TLSRecords,
            server_end=server_end,
            client_end=client_end,
        )


class Cutting:
    """One run of tests whose links are cut.

    :param seed: what the cuts are drawn from.
    :ivar servers: how many servers were behind a proxy.
    :ivar connections: how many connections were made to them.
    :ivar cuts: how many of those were cut.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.servers = 0
        self.connections = 0
        self.cuts = 0

    def server_seed(self) -> str:
        """Return what the cuts of another server's connections are drawn from.

        It names the test that runs, so that a test by itself has the cuts that it has among others.
        """
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        return f"{self.seed}/{test}"

    def count(self, connections: int, cuts: int) -> None:
        """Count what happened to one server."""
        self.servers += 1
        self.connections += connections
        self.cuts += cuts

    @property
    def is_enough(self) -> bool:
        """Whether the cuts can have shown anything: there is one for each server, on average."""
        return self.cuts >= max(self.servers, 1)

    def __str__(self) -> str:
        """Return one line for the report."""
        cuts = f"{self.cuts} of {self.connections} connections to {self.servers} servers were cut"
        return f"{cuts} (--cut-links {self.seed})"


_current: Cutting | None = None


def begin_cutting(seed: int) -> Cutting:
    """Cut the links to all servers that are started from now on."""
    global _current
    _current = Cutting(seed)
    return _current


def cutting() -> Cutting | None:
    """Return the run, if its links are to be cut."""
    return _current


_over_socket = False


def use_socket() -> None:
    """Let clients reach all servers that are started from now on over their Unix sockets."""
    global _over_socket
    _over_socket = True


def over_socket() -> bool:
    """Whether clients reach servers over their Unix sockets; else over TCP."""
    return _over_socket


def cut_path(socket: str) -> str:
    """Return the path of the proxy's socket before a server's: no longer than that, which may have no room."""
    return f"{socket.removesuffix('.link.sock').removesuffix('.sock')}.cut"


def cutting_proxy(reactor: Any, port: int, socket: str | None, seed: str) -> FaultProxy:
    """Return a proxy before a server.

    :param port: the server's TCP port.
    :param socket: its Unix socket; ``None`` where clients use TCP.
    :param seed: what the cuts are drawn from.
    """
    if socket is None:
        return FaultProxy(reactor, TCP4ClientEndpoint(reactor, HOST, port), CutLinks(seed))
    place = UNIXServerEndpoint(reactor, cut_path(socket), mode=0o600)
    return FaultProxy(reactor, UNIXClientEndpoint(reactor, socket), CutLinks(seed, is_local=True), place)


class ServiceProxy:
    """A proxy in the test's process, before a server there.

    :param run: counts the cuts.
    :param reactor: the reactor.
    :param config: of the server and its clients.
    :param port: the server's.
    """

    def __init__(self, run: Cutting, reactor: Any, config: ConfigFolders, port: int) -> None:
        self._run = run
        self._config = config
        self._port = port
        record = read_record(config, port)
        assert record is not None
        self._record = record
        self._proxy = cutting_proxy(reactor, port, record.socket, run.server_seed())

    @property
    def port(self) -> int:
        """The port to dial."""
        return self._proxy.port if self._record.socket is None else self._port

    async def start(self) -> None:
        """Listen, and let clients find the server behind the proxy as they find the server itself."""
        await self._proxy.start()
        socket = self._record.socket
        write_record(
            self._config, self.port, replace(self._record, socket=None if socket is None else cut_path(socket))
        )

    async def stop(self) -> None:
        """Leave nothing behind."""
        remove_record(self._config, self.port, self._record.instance_id)
        await self._proxy.stop()
        self._run.count(self._proxy.connections, self._proxy.cuts)


class ProxyProcess:
    """A proxy in a process of its own, before a server in another.

    :param run: counts the cuts.
    :param port: the server's.
    :param records: the folder of the server's record.
    :ivar port: the port to dial.
    """

    def __init__(self, run: Cutting, port: int, records: Path) -> None:
        self._run = run
        original = records / f"{port}.json"
        record = json.loads(original.read_bytes())
        socket = record.get("socket")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cutting_proxy", str(port), run.server_seed(), socket or ""],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        place = self._process.stdout.readline().strip()
        self.port = int(place) if socket is None else port
        # Not as a client would read and write it: here, it may be another user's.
        self._record = records / f"{self.port}.json"
        status = original.stat()
        self._record.write_text(json.dumps(record if socket is None else {**record, "socket": cut_path(socket)}))
        os.chown(self._record, status.st_uid, status.st_gid)
        os.chmod(self._record, status.st_mode & 0o777)

    def stop(self) -> None:
        """Let clients find the server no more.  May be called more than once."""
        self._record.unlink(missing_ok=True)
        self.kill()

    def kill(self) -> None:
        """End it, and leave its record, as a server that was killed does.  May be called more than once."""
        if self._process.returncode is not None:
            return
        # It ends when its input does, so that none is left when the tests are killed.
        try:
            output, _ = self._process.communicate(timeout=PROXY_SECONDS)
        finally:
            self._process.kill()
        connections, cuts = map(int, output.split())
        self._run.count(connections, cuts)
