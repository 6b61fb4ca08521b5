"""A TCP connection to a numeric address."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet import error
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from twisted_rsh.client.address import CONNECT_SECONDS, AddressEndpoint

reactor: Any = _reactor


class Greeting(Protocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.arrived: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.arrived.callback(data)


class Server(Protocol):
    """Greets."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_connected(address: str) -> None:
    """The endpoint fires with the protocol, on its transport."""
    port = reactor.listenTCP(0, Factory.forProtocol(Server), interface=address)
    try:
        protocol = await AddressEndpoint(reactor, address, port.getHost().port).connect(Factory.forProtocol(Greeting))
        assert isinstance(protocol, Greeting)
        assert protocol.transport is not None
        assert await protocol.arrived == b"hello"
    finally:
        await port.stopListening()


async def test_refused() -> None:
    """Where nothing listens, it fails."""
    port = reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1")
    number = port.getHost().port
    await port.stopListening()
    with pytest.raises(error.ConnectionRefusedError):
        await AddressEndpoint(reactor, "127.0.0.1", number).connect(Factory.forProtocol(Greeting))


def begin() -> tuple[MemoryReactorClock, Any, Deferred[Any]]:
    """Begin to connect without a network; return the attempt."""
    clock = MemoryReactorClock()
    connecting = AddressEndpoint(clock, "192.0.2.1", 8082).connect(Factory.forProtocol(Greeting))
    host, port, factory, timeout, _ = clock.tcpClients[0]
    assert (host, port, timeout) == ("192.0.2.1", 8082, CONNECT_SECONDS)
    return clock, factory, connecting


def test_failure_of_the_attempt() -> None:
    """The reactor's reason, such as a time-out, is the endpoint's."""
    clock, factory, connecting = begin()
    factory.clientConnectionFailed(clock.connectors[0], Failure(error.TimeoutError()))
    assert isinstance(_error_of(connecting), error.ConnectError)


def test_cancelling() -> None:
    """Cancelling ends the attempt, and what the reactor reports then is ignored."""
    clock, factory, connecting = begin()
    connector = clock.connectors[0]
    factory.startedConnecting(connector)
    connecting.cancel()
    assert connector._disconnected
    factory.clientConnectionFailed(connector, Failure(error.TimeoutError()))
    assert isinstance(_error_of(connecting), CancelledError)


def test_cancelling_a_connection() -> None:
    """Cancelling between the connection and the turn that reports it ends the connection."""
    clock, factory, connecting = begin()
    connector = clock.connectors[0]
    factory.startedConnecting(connector)
    factory.buildProtocol(None)
    connecting.cancel()
    assert connector._disconnected
    clock.advance(0)
    assert isinstance(_error_of(connecting), CancelledError)


def _error_of(connecting: Deferred[Any]) -> BaseException:
    failures: list[Any] = []
    connecting.addErrback(failures.append)
    found: BaseException = failures[0].value
    return found
