"""A proxy on loopback, or at a Unix socket, whose connections fail as planned."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from twisted_rsh.testing.proxied import ProxiedConnection
from twisted_rsh.testing.schedules import NO_FAULTS, DialOrder, Schedule

__all__ = ["HOST", "FaultProxy"]

HOST = "127.0.0.1"
"""The address that a proxy listens on: loopback, so that no other machine can connect."""


class FaultProxy:
    """A listener on loopback that connects each client to a target; each connection has its plan.

    It passes bytes on unchanged.  Each direction can be closed on its own.  A slow reader slows its writer down: of
    each direction the proxy holds no more than :data:`~twisted_rsh.testing.proxied.QUEUE_BYTES` and the buffers of the
    transports.

    Call :meth:`start`, then dial 127.0.0.1 :attr:`port`.

    :param reactor: the reactor.
    :param target: the server's endpoint; the proxy dials it for each connection.
    :param schedule: the plans of the connections, in the order in which they come.
    :param place: where to listen, such as a Unix socket; ``None`` for a free TCP port.
    :ivar schedule: as above; another one may be set, for the connections that follow.
    :ivar connections: the number of connections that came.
    :ivar cuts: the number of connections that were cut, by their plan or by :meth:`cut_all`.
    """

    def __init__(
        self,
        reactor: Any,
        target: IStreamClientEndpoint,
        schedule: Schedule = NO_FAULTS,
        place: IStreamServerEndpoint | None = None,
    ) -> None:
        self.schedule = schedule
        self.connections = 0
        self.cuts = 0
        self._reactor = reactor
        self._target = target
        self._place = TCP4ServerEndpoint(reactor, 0, interface=HOST) if place is None else place
        self._order = DialOrder()
        self._open: set[ProxiedConnection] = set()
        self._is_stalled = False
        self._listening: IListeningPort | None = None
        self._emptied: Deferred[None] | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1, where the proxy was given no other place.

        :raises RuntimeError: the proxy is not listening.
        """
        if self._listening is None:
            raise RuntimeError("the proxy is not listening; call start() first")
        address: Any = self._listening.getHost()
        port: int = address.port
        return port

    @property
    def open_connections(self) -> int:
        """The number of connections that exist now, also those of which only one end is left."""
        return len(self._open)

    @property
    def held_bytes(self) -> int:
        """The number of bytes that wait in the proxy for a delay, a stall or their turn; transports may buffer more."""
        return sum(connection.queued for connection in self._open)

    def start(self) -> Deferred[None]:
        """Listen.

        :returns: fires when :attr:`port` is known; fails with :class:`~twisted.internet.error.CannotListenError` when
            the system has no port left.
        """

        async def listen() -> None:
            self._listening = await self._place.listen(_Accepting(self))

        return Deferred.fromCoroutine(listen())

    def stop(self) -> Deferred[None]:
        """Stop listening and abort every open connection.

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
        """Cut every open connection; their ends learn of the cut as their plans say."""
        for connection in list(self._open):
            connection.cut()

    def stall(self) -> None:
        """Deliver nothing on any connection, open or new, until :meth:`resume`: all are half-open."""
        self._is_stalled = True
        for connection in self._open:
            connection.stall()

    def resume(self) -> None:
        """End every stall, also those of plans; bytes that were written meanwhile arrive."""
        self._is_stalled = False
        for connection in list(self._open):
            connection.resume()

    def release(self) -> None:
        """Send all bytes that plans hold back for later connections."""
        for connection in list(self._open):
            connection.release()

    def accept(self) -> Protocol:
        """Make the protocol of a connection that has come."""
        index = self.connections
        self.connections += 1
        faults = self.schedule.plan(index)
        connection = ProxiedConnection(self, self._reactor, self._target, faults, self._order, index)
        self._open.add(connection)
        if self._is_stalled:
            connection.stall()
        return connection.client

    def connection_cut(self) -> None:
        """Count a cut; a connection calls this."""
        self.cuts += 1

    def connection_over(self, connection: ProxiedConnection) -> None:
        """Drop a connection that has lost both of its sockets; the connection calls this."""
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
