"""The place where metrics are read: HTTP on a Unix socket or a loopback address, while the server runs.

HTTP/1.1 with one request for each connection, which is all that Prometheus and ``curl`` need, so everything is bounded.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.interfaces import IServerObserver
from twisted_rsh.server import ServerEvent, ServerStarted, ServerStopped, SocketServerEndpoint
from twisted_rsh.watching.metrics import Metrics

__all__ = ["MAX_READERS", "MetricsPlace", "MetricsPort", "parse_metrics_place"]

MAX_READERS = 16
"""Connections that may exist at once: several Prometheus servers, and a person who looks."""

READER_SECONDS = 10.0
"""Seconds for which a connection exists at most."""

MAX_REQUEST_BYTES = 8 * 1024
"""Bytes of the head of a request at most; that of Prometheus has some 300."""


@dataclass(frozen=True, slots=True)
class MetricsPlace:
    """Where metrics are served.

    :ivar path: the absolute path of a Unix socket, or an empty text for TCP.
    :ivar host: a numeric loopback address, or an empty text.
    :ivar port: the TCP port.
    """

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Write it as the option ``--metrics`` has it."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_metrics_place(text: str) -> MetricsPlace:
    """Read ``unix:/PATH``, ``127.0.0.1:PORT`` or ``[::1]:PORT``.

    :raises ValueError: it is none of these, or an address that other machines can reach; the text says which.
    """
    kind, _, path = text.partition(":")
    if kind == "unix":
        if not os.path.isabs(path):
            raise ValueError(f"{text!a} names no absolute path, such as unix:/run/user/1000/metrics.sock")
        return MetricsPlace(path=path)
    host, _, port = text.rpartition(":")
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        # An address of IPv6 without brackets may be all of the text.
        in_brackets = host.startswith("[") and host.endswith("]")
        address = ipaddress.IPv6Address(host[1:-1]) if in_brackets else ipaddress.IPv4Address(host)
        number = int(port) if port.isascii() and port.isdecimal() else -1
    except ValueError:
        address, number = ipaddress.IPv4Address(0), -1
    if not 1 <= number <= 65535:
        raise ValueError(f"{text!a} is neither unix:/PATH nor a numeric address and a port, such as 127.0.0.1:9101")
    if not address.is_loopback:
        raise ValueError(f"{text!a} can be reached by other machines; give a loopback address, and a proxy in front")
    return MetricsPlace(host=str(address), port=number)


@implementer(IServerObserver)
class MetricsPort:
    """Serves metrics from the start of a server to its end.  Give it to the server after the metrics.

    :param reactor: the reactor.
    :param metrics: the metrics.
    :param place: where to listen.
    :raises OSError: something else listens there, or the system does not allow it; it names the place.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(self, reactor: Any, metrics: Metrics, place: MetricsPlace) -> None:
        self._reactor = reactor
        self._place = place
        self._readers = _Readers(reactor, metrics, place)
        self._port: IListeningPort | None = None
        # twistd becomes a daemon before the server starts, and a daemon's stderr is closed.
        _check(reactor, place)

    def happened(self, event: ServerEvent) -> None:
        """Listen when the server starts, and stop when it stops."""
        match event:
            case ServerStarted():
                self._listen().addCallbacks(self._listens, self._cannot_listen)
            case ServerStopped():
                port, self._port = self._port, None
                if port is not None:
                    port.stopListening()

    def _listen(self) -> Deferred[IListeningPort]:
        place, readers = self._place, self._readers
        if place.path:
            return SocketServerEndpoint(self._reactor, place.path).listen(readers)
        return execute(self._reactor.listenTCP, place.port, readers, interface=place.host)

    def _listens(self, port: IListeningPort) -> None:
        self._port = port

    def _cannot_listen(self, failure: Failure) -> None:
        failure.trap(CannotListenError)
        self.log.critical("the metrics are not served: {reason}", reason=failure.getErrorMessage())


def _check(reactor: Any, place: MetricsPlace) -> None:
    """Find out whether there can be a socket at a place.

    :raises OSError: there cannot.
    """
    try:
        if place.path:
            SocketServerEndpoint(reactor, place.path).check()
            return
        with socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((place.host, place.port))
    except (OSError, ValueError) as error:
        reason = f"{getattr(error, 'strerror', None) or error}; choose another place with --metrics"
        raise OSError(getattr(error, "errno", None) or errno.EINVAL, reason, str(place)) from None


class _Readers(Factory):
    """Makes the protocols of the connections, a bounded number at once."""

    noisy = False

    def __init__(self, reactor: Any, metrics: Metrics, place: MetricsPlace) -> None:
        self.reactor = reactor
        self.count = 0
        self._metrics = metrics
        self._hosts = _hosts_of(place)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return _Reader(self) if self.count < MAX_READERS else None

    def answer(self, head: bytes) -> bytes:
        """Return the answer to the head of a request."""
        first, *lines = head.split(b"\r\n")
        method, _, rest = first.partition(b" ")
        target, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return _response("400 Bad Request")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        # A web page can have the user's browser ask, under a name of its own (DNS rebinding).
        if self._hosts is not None and fields.get(b"host", b"").lower() not in self._hosts:
            return _response("403 Forbidden")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", fields=("Allow: GET, HEAD",))
        if target.partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found")
        kind, body = self._metrics.page(fields.get(b"accept", b"").decode("latin-1"))
        return _response("200 OK", body, kind, with_body=method == b"GET")


class _Reader(Protocol):
    """One connection: one request, one answer."""

    transport: Any

    def __init__(self, readers: _Readers) -> None:
        self._readers = readers
        self._head = b""
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._readers.count += 1
        self._deadline = self._readers.reactor.callLater(READER_SECONDS, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        self._head += data
        head, end, _ = self._head.partition(b"\r\n\r\n")
        if not end and len(self._head) <= MAX_REQUEST_BYTES:
            return
        self.transport.stopReading()
        self.transport.write(self._readers.answer(head) if end else _response("431 Request Header Fields Too Large"))
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._readers.count -= 1
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()


def _hosts_of(place: MetricsPlace) -> frozenset[bytes] | None:
    """Return what the header ``Host`` may be; ``None`` for anything: no browser reaches a Unix socket."""
    if place.path:
        return None
    return frozenset({str(place).encode(), f"localhost:{place.port}".encode()})


def _response(
    status: str, body: bytes = b"", kind: str = "", *, fields: tuple[str, ...] = (), with_body: bool = True
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *fields]
    if kind:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body if with_body else b"")
