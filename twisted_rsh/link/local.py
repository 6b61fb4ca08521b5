"""The layer below a link over a Unix socket, in place of TLS: a handshake in the clear, and an end that is confirmed.

The two ends are processes of one machine, and the system says which user each of them is: the client of the server's,
before it sends anything, and the server of the client's, when it logs in.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterable
from typing import Any, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.limits import PROOF_BYTES
from twisted_rsh.core.local_handshake import (
    CLIENT_HELLO_BYTES,
    PROTOCOL_NAME,
    SERVER_HELLO_BYTES,
    ClientHello,
    LocalSecrets,
    ServerHello,
)
from twisted_rsh.link.credentials import PeerCredentials, peer_credentials
from twisted_rsh.link.tls import BUSY_ALERT, MAX_LOGIN_BYTES, Exporter

__all__ = ["END", "LocalClientFactory", "LocalClientLayer", "LocalLayer", "LocalServerLayer"]

_LENGTH = struct.Struct("!I")

END = _LENGTH.pack(0)
"""A frame of no bytes: the last that an end sends, as ``close_notify`` is on TLS."""


class LocalLayer(Protocol):
    """The layer below a link over a Unix socket.  A subclass is one of its two ends.

    :param link: the link, as :class:`~twisted_rsh.link.tls.LinkTLS` knows it.
    :ivar link: as above.
    :ivar negotiatedProtocol: the protocol of both ends; ``None`` before the handshake is complete.
    :ivar first_bytes: the first bytes that the peer has sent, as many as an alert has.
    """

    def __init__(self, link: Any) -> None:
        self.link = link
        self.negotiatedProtocol: bytes | None = None
        self.first_bytes = b""
        self._secrets: LocalSecrets | None = None
        self._greeting: bytes | None = b""  # what has arrived of the peer's; None once the handshake is complete
        self._login_bytes_left = MAX_LOGIN_BYTES
        self._has_ended = False
        self._peer_has_ended = False

    # For the subclass to implement.

    hello_bytes: int
    """Bytes of the peer's frame of the handshake, without its length."""

    def hello_received(self, payload: bytes) -> LocalSecrets:
        """Complete the handshake.

        :param payload: the peer's frame.
        :returns: the secrets of the link.
        :raises RemoteProtocolError: it is malformed, or of another version.
        """
        raise NotImplementedError

    # For the link and its lane to call: a transport.

    @property
    def _socket(self) -> Any:
        return self.transport

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        """Write frames, in one piece; nothing happens once this end has ended the link."""
        if not self._has_ended:
            self._socket.write(b"".join(pieces))

    def getPeer(self) -> IAddress:
        """Return the address of the other end."""
        return cast("IAddress", self._socket.getPeer())

    def getHandle(self) -> Exporter:
        """Return what exports the secrets of the link; the handshake must be complete."""
        assert self._secrets is not None
        return self._secrets

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Let the transport pause a producer while it is full."""
        self._socket.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Have the transport forget the producer."""
        self._socket.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read nothing more for now."""
        self._socket.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self._socket.resumeProducing()

    def loseConnection(self) -> None:
        """End the link after what was written: the connection closes once the peer has ended it as well."""
        if self._greeting is not None:
            self._socket.loseConnection()
        elif not self._has_ended:
            self._has_ended = True
            self._socket.write(END)

    def abortConnection(self) -> None:
        """Abort the connection."""
        self._socket.abortConnection()

    def take_back(self, unsent: bytes, _own: int) -> None:
        """Send what the lane could not send."""
        self._socket.write(unsent)

    def end_received(self) -> None:
        """Learn of the peer's :data:`END`: answer it, and close after what was written."""
        if not self._peer_has_ended:
            self._peer_has_ended = True
            self.loseConnection()
            self._socket.loseConnection()

    # For Twisted to call.

    def connectionMade(self) -> None:
        self.link.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        size = len(data)
        if len(self.first_bytes) < len(BUSY_ALERT):
            self.first_bytes += data[: len(BUSY_ALERT) - len(self.first_bytes)]
        if self._greeting is not None:
            data = self._greet(self._greeting + data)
        if data:
            self.link.is_receiving = True
            self.link.dataReceived(data)
            self.link.arrival_ended()
        if self._login_bytes_left >= 0:
            self._login_bytes_left -= size
            if self._login_bytes_left < 0:
                self.link.login_bytes_spent()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # As with TLS: a connection that just closes has ended no link.
        self.link.connectionLost(Failure(ConnectionDone() if self._peer_has_ended else CONNECTION_LOST))

    def _greet(self, arrived: bytes) -> bytes:
        """Read the peer's frame of the handshake, once it is there; return what follows it."""
        prefix = _LENGTH.pack(self.hello_bytes)
        size = len(prefix) + self.hello_bytes
        self._greeting = arrived[:size]
        if not arrived.startswith(prefix[: len(arrived)]):
            if not BUSY_ALERT.startswith(self.first_bytes[:1]):  # an alert is followed by the end of the connection
                self.link.fail_with(
                    RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, f"no greeting of {PROTOCOL_NAME.decode()}")
                )
            return b""
        if len(arrived) < size:
            return b""
        try:
            self._secrets = self.hello_received(arrived[len(prefix) : size])
        except RemoteProtocolError as error:
            self.link.fail_with(error)
            return b""
        self._greeting = None
        self.negotiatedProtocol = PROTOCOL_NAME
        self.link.handshakeCompleted()
        return arrived[size:]

    def _say_hello(self, hello: bytes) -> None:
        self._socket.write(_LENGTH.pack(len(hello)) + hello)


class LocalServerLayer(LocalLayer):
    """The server's end.

    :param link: as for :class:`LocalLayer`.
    :param pin: SHA-256 of the server's public key, 32 bytes.
    :param credentials: the client's.
    :ivar credentials: as above.
    """

    hello_bytes = CLIENT_HELLO_BYTES

    def __init__(self, link: Any, pin: bytes, credentials: PeerCredentials) -> None:
        super().__init__(link)
        self.credentials = credentials
        self._pin = pin

    def hello_received(self, payload: bytes) -> LocalSecrets:
        client = ClientHello.parse(payload)
        server = ServerHello(os.urandom(PROOF_BYTES), self._pin)
        self._say_hello(server.pack())
        return LocalSecrets(client, server)


class LocalClientLayer(LocalLayer):
    """The client's end.  It sends nothing to a process of a user that it does not trust.

    :param link: as for :class:`LocalLayer`.
    :param trusted: the users whose server the client trusts.
    :ivar server_pin: SHA-256 of the server's public key, as the server says; empty before the handshake is complete.
    :ivar stranger: the process that listens there, if it is of no user that is trusted; ``None`` otherwise.
    """

    hello_bytes = SERVER_HELLO_BYTES

    def __init__(self, link: Any, trusted: Collection[int]) -> None:
        super().__init__(link)
        self.server_pin = b""
        self.stranger: PeerCredentials | None = None
        self._trusted = trusted
        self._hello = ClientHello(os.urandom(PROOF_BYTES))

    def connectionMade(self) -> None:
        super().connectionMade()
        try:
            server = peer_credentials(self.transport)
        except OSError as error:
            self.link.fail(str(error))
            return
        if server.uid in self._trusted:
            self._say_hello(self._hello.pack())
        else:
            self.stranger = server
            self.link.fail("another user's process listens there")

    def hello_received(self, payload: bytes) -> LocalSecrets:
        server = ServerHello.parse(payload)
        self.server_pin = server.pin
        return LocalSecrets(self._hello, server)


class LocalClientFactory(Factory):
    """Puts the client's layer below the links of another factory.

    :param links: the other factory.
    :param trusted: as for :class:`LocalClientLayer`.
    """

    noisy = False

    def __init__(self, links: Factory, trusted: Collection[int]) -> None:
        self._links = links
        self._trusted = trusted

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return LocalClientLayer(self._links.buildProtocol(addr), self._trusted)
