"""Real jobs, whose client reaches them over connections that a test breaks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater

from tests.server_process import HOST
from tests.serving import Serving, reactor
from twisted_rsh import Connection, connect, connect_to_endpoint
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.server.session import DurableSession
from twisted_rsh.testing import NO_FAULTS, FaultProxy, Faults, InTurn, MemoryEndpoint, Schedule
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.fingerprint import parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["REFUSED", "Behind", "in_memory", "only_session", "output_until", "proxied", "until"]

PATIENCE = 60.0
"""Seconds after which a test that waits for something gives up; never what a test measures."""

REFUSED = InTurn(afterwards=Faults(refuse=True))
"""The schedule of a server that cannot be reached."""


async def until(condition: Callable[[], object], what: str = "it never came") -> None:
    """Wait for what no call announces."""
    deadline = reactor.seconds() + PATIENCE
    while not condition():
        assert reactor.seconds() < deadline, what
        await deferLater(reactor, 0.005)


async def output_until(output: RemoteOutput, end: bytes) -> bytes:
    """Read a stream until what has come ends with something, and return all of it."""
    data = b""
    while not data.endswith(end):
        chunk = await output.read()
        assert chunk, data
        data += chunk
    return data


def only_session(serving: Serving) -> DurableSession:
    """Return the session that a server has."""
    (session,) = serving.service._factory.sessions
    return session


class Behind:
    """A proxy in front of a server, and the connections that were opened through it.

    :ivar proxy: the proxy.
    """

    def __init__(self, port: int, config: ConfigFolders, fingerprint: str) -> None:
        self.proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, HOST, port))
        self.config = config
        self.fingerprint = fingerprint
        self._connections: list[Connection] = []

    async def connect(self, limits: SessionLimits | None = None) -> Connection:
        """Connect and log in."""
        connection = await connect(
            reactor, HOST, self.proxy.port, config=self.config, fingerprint=self.fingerprint, limits=limits
        )
        self._connections.append(connection)
        return connection

    async def stop(self) -> None:
        """Close everything."""
        self.proxy.schedule = NO_FAULTS
        self.proxy.resume()
        for connection in self._connections:
            await connection.close()
        await self.proxy.stop()


@contextlib.asynccontextmanager
async def proxied(config: ConfigFolders, **options: Any) -> AsyncIterator[tuple[Serving, Behind]]:
    """Run a server in the test's process, and a proxy in front of it, while a block lasts.

    :param options: of the service.
    """
    serving = Serving(config, **options)
    await serving.start()
    behind = Behind(serving.port, config, serving.service.fingerprint)
    await behind.proxy.start()
    try:
        yield serving, behind
    finally:
        await behind.stop()
        await serving.stop()


@contextlib.asynccontextmanager
async def in_memory(
    config: ConfigFolders, *schedules: Schedule
) -> AsyncIterator[list[tuple[Connection, MemoryEndpoint]]]:
    """Run a server without a socket, and connect to it once for each schedule, while a block lasts."""
    serving = Serving(config)
    await serving.start()
    pin = parse_fingerprint(serving.service.fingerprint)
    key = load_or_create_client_key(config)
    ends = []
    for schedule in schedules:
        endpoint = MemoryEndpoint(reactor, serving.service._factory, schedule)
        ends.append((await connect_to_endpoint(reactor, endpoint, pin, key, serving.account.name), endpoint))
    try:
        yield ends
    finally:
        for connection, _ in ends:
            await connection.close()
        await serving.stop()
