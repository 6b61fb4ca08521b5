"""A server's listening ports: on every address of the operator's choice, or on none."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import cast

from twisted.internet import tcp
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTCP, IStreamServerEndpoint
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from twisted_rsh.limited_log import RateLimitedLog
from twisted_rsh.log_level import leveled_log

__all__ = [
    "check_interfaces",
    "default_interfaces",
    "interface_endpoint",
    "listen_on_all",
    "stop_listening",
    "tcp_port_of",
]

_log = Logger(namespace=__name__, observer=leveled_log)

LOOPBACK = "127.0.0.1"
LOOPBACK_6 = "::1"

BACKLOG = 128
"""Connections that the system holds until the server accepts them: more than may exist without a login by default."""


def default_interfaces() -> tuple[str, ...]:
    """Return the loopback addresses of this machine: IPv4's, and IPv6's where there is one.

    Both, because another user's program could take the free one, and a client of ``localhost`` would reach that.
    """
    if not socket.has_ipv6:
        return (LOOPBACK,)
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((LOOPBACK_6, 0))
    except OSError:
        return (LOOPBACK,)
    return (LOOPBACK, LOOPBACK_6)


def check_interfaces(interfaces: Sequence[str], port: int) -> None:
    """Check, without listening, that a TCP port is free on every one of some interfaces.

    :param interfaces: numeric addresses.
    :param port: the TCP port; 0 is always free.
    :raises twisted.internet.error.CannotListenError: it is not free, or an address is not this machine's.
    """
    for interface in interfaces:
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As Twisted listens: without it, connections that have just ended would look like a server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((interface, port))
                probe.listen(1)
            except OSError as error:
                raise CannotListenError(interface, port, error) from error


def interface_endpoint(reactor: IReactorTCP, interface: str, port: int) -> IStreamServerEndpoint:
    """Return the endpoint of one numeric address, IPv4 or IPv6, and a TCP port."""
    if ":" in interface:
        return TCP6ServerEndpoint(reactor, port, BACKLOG, interface)
    return TCP4ServerEndpoint(reactor, port, BACKLOG, interface)


def tcp_port_of(port: IListeningPort) -> int | None:
    """Return the number of a listening TCP port, or ``None`` if the port is of another kind."""
    number = getattr(port.getHost(), "port", None)
    return number if isinstance(number, int) else None


async def listen_on_all(
    factory: IProtocolFactory,
    interfaces: Sequence[str],
    tcp_port: int,
    endpoints: Sequence[IStreamServerEndpoint],
    reactor: IReactorTCP,
    ports: list[IListeningPort],
) -> None:
    """Listen on a TCP port of some interfaces, and on some endpoints.

    :param factory: makes the protocol of each connection.
    :param interfaces: numeric addresses; all of them get the same port.
    :param tcp_port: its number; 0 for one that the system chooses for the first interface and the others then share.
    :param endpoints: further endpoints to listen on.
    :param reactor: the reactor.
    :param ports: gets each port as soon as it listens, those of the interfaces first.  Stop them if this fails.
    :raises twisted.internet.error.CannotListenError: one is taken.
    """
    for interface in interfaces:
        port = await interface_endpoint(reactor, interface, tcp_port).listen(factory)
        ports.append(_quiet(port))
        tcp_port = tcp_port or tcp_port_of(port) or 0
    for endpoint in endpoints:
        ports.append(_quiet(await endpoint.listen(factory)))  # noqa: PERF401 - a failure must leave the ports before it


async def stop_listening(ports: Sequence[IListeningPort]) -> None:
    """Stop listening on some ports, and wait until all have stopped.  One that does not stop is logged."""
    for stopping in [maybeDeferred(port.stopListening).addErrback(_log_failure) for port in ports]:
        await stopping


def _log_failure(failure: Failure) -> None:
    if failure.check(CancelledError):
        failure.raiseException()
    _log.failure("a port of the server does not stop", failure)  # such as one of an application


def _quiet(port: IListeningPort) -> IListeningPort:
    """Limit the lines that a port of the reactor logs when it has no descriptor for a connection: one for each.

    Twisted has no public name for the logger of a port.
    """
    if isinstance(port, tcp.Port):
        log = Logger(namespace="twisted.internet.tcp")
        limited = cast("ILogObserver", RateLimitedLog(log).pass_on)
        port._logger = Logger(log.namespace, observer=limited)  # noqa: SLF001 - see above
    return port
