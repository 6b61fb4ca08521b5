"""Two recorders on loopback, and a proxy between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater

from tests.serving import asynchronous, reactor
from tests.testing.ends import Recorder, Recorders
from twisted_rsh.testing import Direction, FaultProxy, Faults, InTurn

__all__ = ["PATIENCE", "Loopback", "asynchronous", "gone", "reactor", "until"]

PATIENCE = 30.0
"""Seconds after which a test that waits for something gives up; never what a test measures."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what no call announces."""
    deadline = reactor.seconds() + PATIENCE
    while not condition():
        assert reactor.seconds() < deadline
        await deferLater(reactor, 0.005)


async def gone(end: Recorder) -> None:
    """Wait until a connection is lost."""
    await until(lambda: end.is_lost)


class Loopback:
    """A server of recorders, and a proxy in front of it.

    :ivar servers: the server's ends.
    :ivar proxy: what clients dial.
    """

    def __init__(self) -> None:
        self.servers = Recorders()
        self.proxy: FaultProxy
        self._listening: IListeningPort

    async def start(self) -> None:
        """Listen, with a schedule in which nothing goes wrong."""
        self._listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.servers)
        address: Any = self._listening.getHost()
        self.proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", address.port))
        await self.proxy.start()

    def plan(self, *plans: Faults) -> None:
        """Say what happens to the connections that follow the present ones."""
        self.proxy.schedule = InTurn((Faults(),) * self.proxy.connections + plans)

    async def dial(self) -> Recorder:
        """Connect a client to the proxy."""
        client = Recorder()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.proxy.port), client)
        return client

    async def pair(self) -> tuple[Recorder, Recorder]:
        """Connect a client, and return it and the server's end."""
        before = len(self.servers.made)
        client = await self.dial()
        await until(lambda: len(self.servers.made) > before)
        server = self.servers.last
        await server.made
        return client, server

    async def ways(self, direction: Direction) -> tuple[Recorder, Recorder]:
        """Connect a client, and return the writing and the reading end of a direction."""
        client, server = await self.pair()
        return (client, server) if direction is Direction.TO_SERVER else (server, client)

    async def stop(self) -> None:
        """Leave nothing on the reactor."""
        await self.proxy.stop()
        stopped: Any = self._listening.stopListening()
        await stopped
        for server in self.servers.made:
            server.wire.abortConnection()
        await until(lambda: all(server.reason is not None for server in self.servers.made))
