"""The way to a server over TCP, by its address or its name.

For an address, which needs no look-up, Twisted's own endpoints would do.  But their module loads everything that an
endpoint may need, which takes a client that runs one command as long as its login; so only a host name loads them.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.client.errors import NoServer

__all__ = ["CONNECT_SECONDS", "AddressEndpoint", "Connecting", "NameEndpoint"]

CONNECT_SECONDS = 30.0
"""Seconds that a TCP connection may take, as with Twisted's own endpoints."""


@implementer(IStreamClientEndpoint)
class AddressEndpoint:
    """A TCP port of an IPv4 or IPv6 address.

    :param reactor: provides `IReactorTCP` and `IReactorTime`.
    :param address: a numeric address.
    :param port: the TCP port.
    """

    def __init__(self, reactor: Any, address: str, port: int) -> None:
        self._reactor = reactor
        self._address = address
        self._port = port

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect.

        :param factory: makes the connection's protocol, and does not decline.
        :returns: fires with the protocol in the turn after the connection was made; fails with a
            :class:`twisted.internet.error.ConnectError`.  Cancelling it closes the socket.
        """
        connecting = Connecting(self._reactor, factory)
        self._reactor.connectTCP(self._address, self._port, connecting, timeout=CONNECT_SECONDS)
        return connecting.done


@implementer(IStreamClientEndpoint)
class NameEndpoint:
    """A TCP port of a host with a name.

    :param reactor: provides `IReactorPluggableNameResolver`, `IReactorTCP` and `IReactorTime`.
    :param name: the host's name.
    :param port: the TCP port.
    """

    def __init__(self, reactor: Any, name: str, port: int) -> None:
        self._reactor = reactor
        self._name = name
        self._port = port

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Look the name up and connect.

        :param factory: makes the connection's protocol.
        :returns: as that of :class:`twisted.internet.endpoints.HostnameEndpoint`; fails with
            :class:`~twisted_rsh.client.errors.NoServer` for what cannot be a host's name.
        """
        from twisted.internet.endpoints import HostnameEndpoint  # see above

        def explain(failure: Failure) -> None:
            failure.trap(ValueError)
            raise NoServer("it is no host name")

        connecting: Deferred[IProtocol] = HostnameEndpoint(self._reactor, self._name, self._port).connect(factory)
        connecting.addErrback(explain)
        return connecting


class Connecting(ClientFactory):
    """One attempt: tells whether it led to a connection.

    :param reactor: provides `IReactorTime`.
    :param factory: makes the connection's protocol, and does not decline.
    :ivar done: fires with the protocol in the turn after the connection was made, and fails as the attempt does.
        Cancelling it closes the socket.
    """

    noisy = False

    def __init__(self, reactor: Any, factory: IProtocolFactory) -> None:
        self.done: Deferred[IProtocol] = Deferred(self._cancel)
        self._reactor = reactor
        self._factory = factory
        self._connector: IConnector | None = None

    def startedConnecting(self, connector: IConnector) -> None:
        self._connector = connector

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        protocol = self._factory.buildProtocol(cast("IAddress", addr))
        # The reactor connects it to its transport after this call.
        self._reactor.callLater(0, self._connected, protocol)
        return cast("Protocol", protocol)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        if not self.done.called:
            self.done.errback(reason)

    def _connected(self, protocol: IProtocol) -> None:
        if not self.done.called:
            self.done.callback(protocol)

    def _cancel(self, _: Deferred[IProtocol]) -> None:
        if self._connector is not None:
            self._connector.disconnect()
