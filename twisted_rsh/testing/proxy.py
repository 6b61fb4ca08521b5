"""A TCP proxy on loopback whose connections fail as planned."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from twisted_rsh.testing.dial_order import DialOrder
from twisted_rsh.testing.proxied import ProxiedConnection
from twisted_rsh.testing.schedules import NO_FAULTS, Schedule

__all__ = ["HOST", "FaultProxy"]

HOST = "127.0.0.1"
"""Where a proxy listens: what it does to connections is nobody else's affair."""


class FaultProxy:
    """Listens on loopback, and connects everybody who comes to a target, by the plan of the connection.

    Bytes pass as they are.  Each direction can be closed on its own; a socket that reads slowly slows down the one that
    writes, and the proxy holds no more than :data:`~twisted_rsh.testing.proxied.QUEUE_BYTES`, and what the two
    transports buffer, of each direction.

    Call :meth:`start`, then dial 127.0.0.1 :attr:`port`.

    :param reactor: the reactor.
    :param target: where the server is; dialled anew for each connection.
    :param schedule: the plans of the connections, in the order in which they come.
    :ivar schedule: the same; setting another one changes what happens to the connections that follow.
    :ivar connections: how many connections came.
    :ivar cuts: how many of them were cut, by their plan or by :meth:`cut_all`.
    """

    def __init__(self, reactor: Any, target: IStreamClientEndpoint, schedule: Schedule = NO_FAULTS) -> None:
        self.schedule = schedule
        self.connections = 0
        self.cuts = 0
        self._reactor = reactor
        self._target = target
        self._order = DialOrder()
        self._open: set[ProxiedConnection] = set()
        self._is_stalled = False
        self._listening: IListeningPort | None = None
        self._emptied: Deferred[None] | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1.

        :raises RuntimeError: the proxy is not listening.
        """
        if self._listening is None:
            raise RuntimeError("the proxy is not listening; call start() first")
        address: Any = self._listening.getHost()
        port: int = address.port
        return port

    @property
    def open_connections(self) -> int:
        """How many connections are there now, those included of which one end alone is left."""
        return len(self._open)

    @property
    def held_bytes(self) -> int:
        """Bytes that wait in the proxy for a delay, a stall or their turn; what transports buffer is not counted."""
        return sum(connection.queued for connection in self._open)

    def start(self) -> Deferred[None]:
        """Listen.

        :returns: fires when :attr:`port` is known; fails with :class:`~twisted.internet.error.CannotListenError`.
        """

        async def listen() -> None:
            endpoint = TCP4ServerEndpoint(self._reactor, 0, interface=HOST)
            self._listening = await endpoint.listen(_Accepting(self))

        return Deferred.fromCoroutine(listen())

    def stop(self) -> Deferred[None]:
        """Stop listening and abort what is open.

        :returns: fires when nothing of the proxy is left on the reactor.
        """

        async def leave() -> None:
            if self._listening is not None:
                listening, self._listening = self._listening, None
                await maybeDeferred(listening.stopListening)
            if self._open:
                self._emptied = Deferred()
                for connection in list(self._open):
                    connection.shut()
                await self._emptied

        return Deferred.fromCoroutine(leave())

    def cut_all(self) -> None:
        """Cut every connection that is open now; their ends learn of it as their plans say."""
        for connection in list(self._open):
            connection.cut()

    def stall(self) -> None:
        """Deliver nothing any more, on no connection that is open or still comes: all are half-open."""
        self._is_stalled = True
        for connection in self._open:
            connection.stall()

    def resume(self) -> None:
        """End every stall, those of plans included; what was written meanwhile arrives."""
        self._is_stalled = False
        for connection in list(self._open):
            connection.resume()

    def release(self) -> None:
        """Let everything arrive that waits to be overtaken."""
        for connection in list(self._open):
            connection.release()

    def accept(self) -> Protocol:
        """Return the protocol of a connection that came."""
        index = self.connections
        self.connections += 1
        faults = self.schedule.plan(index)
        connection = ProxiedConnection(
            self._reactor,
            faults,
            self._target,
            cut=self._count_cut,
            over=self._forget,
            delivered=lambda total: self._order.delivered(index, total),
        )
        self._open.add(connection)
        if faults.late is not None:
            self._order.hold(index, faults.late, connection.overtaken)
        if self._is_stalled:
            connection.stall()
        return connection.client

    def _count_cut(self) -> None:
        self.cuts += 1

    def _forget(self, connection: ProxiedConnection) -> None:
        self._open.discard(connection)
        if self._emptied is not None and not self._open:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)


class _Accepting(Factory):
    noisy = False

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return self._proxy.accept()
