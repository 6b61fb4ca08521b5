"""Connections without sockets: what a protocol's transport saw, and a TLS end that the test drives byte by byte."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.trust.keys import key_blob, private_key
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.limits import PROOF_BYTES
from twisted_rsh.core.local_handshake import (
    CLIENT_HELLO_BYTES,
    PEER_CREDENTIALS,
    SERVER_HELLO_BYTES,
    ClientHello,
    LocalSecrets,
    ServerHello,
)
from twisted_rsh.core.messages import Auth
from twisted_rsh.core.resuming import SECRET_LABEL, LinkBinding, secret_context
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.link.credentials import PeerCredentials
from twisted_rsh.link.local import END, LocalClientLayer, LocalLayer, LocalServerLayer
from twisted_rsh.link.tls import ALPN, LinkTLSFactory
from twisted_rsh.server.job import OPENED_HELD_SECONDS
from twisted_rsh.trust.client_key import ClientKey
from twisted_rsh.trust.fingerprint import spki_sha256
from twisted_rsh.trust.ssh_keys import parse_public_key

__all__ = [
    "ALICE",
    "MALLORY",
    "PEER",
    "Identity",
    "LocalConnection",
    "LocalWire",
    "One",
    "RawClient",
    "RawPeer",
    "RawServer",
    "SocketWire",
    "Watch",
    "Wire",
    "client_key",
    "collecting_log",
    "failures",
    "frame",
    "identity",
    "unframe",
    "wrapped",
]

ALICE = "alice"
"""The one user that the servers of these tests know."""

_PREFIX = struct.Struct("!I")
_ADDRESS = IPv4Address("TCP", "192.0.2.7", 50000)

PEER = PeerCredentials(os.geteuid(), 4711)
"""The process at the other end of a Unix socket."""


@functools.cache
def client_key(which: int = 0) -> ClientKey:
    """Return a key that can log in, the same one each time; `which` tells several apart."""
    return ClientKey(parse_public_key(key_blob("ssh-ed25519", which)), private_key("ssh-ed25519", which))


@dataclass(frozen=True)
class Identity:
    """A TLS server's key, and a certificate of it."""

    private_key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pin(self) -> bytes:
        """The pin that a client expects."""
        return spki_sha256(self.private_key.public_key())


@functools.cache
def identity(which: int = 0, *, expired: bool = False) -> Identity:
    """Return an identity; the same `which` has the same key, and another certificate where that differs."""
    key = ec.derive_private_key(777 + which, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anything")])
    end = dt.datetime(2001 if expired else 9999, 1, 1, tzinfo=dt.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_after(end)
    builder = builder.not_valid_before(dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc))
    return Identity(key, builder.sign(key, SHA256()))


MALLORY = identity(666)
"""The identity of another server than the expected one."""


def frame(payload: bytes) -> bytes:
    """Put the length before a payload."""
    return _PREFIX.pack(len(payload)) + payload


def unframe(data: bytes) -> list[bytes]:
    """Return the payloads of whole frames."""
    payloads = []
    while data:
        (size,) = _PREFIX.unpack_from(data)
        assert len(data) >= 4 + size, "half a frame"
        payloads.append(data[4 : 4 + size])
        data = data[4 + size :]
    return payloads


@implementer(ITCPTransport, IConsumer)
class Wire:
    """The transport under a protocol: keeps what is written, and remembers how it was closed.

    :ivar disconnecting: whether the protocol closed it.
    :ivar is_lost: whether the protocol was told that it is gone.
    :ivar no_delay: whether the protocol has switched Nagle's algorithm off.
    :ivar producer: what the protocol has registered.
    """

    def __init__(self, clock: Clock, address: IPv4Address = _ADDRESS) -> None:
        self.clock = clock
        self._address = address
        self.protocol: IProtocol | None = None
        self.disconnecting = False
        self._aborted = False
        self.is_lost = False
        self.no_delay = False
        self.producer: Any = None
        self._is_reading = True
        self._written: list[bytes] = []

    def connect(self, protocol: IProtocol) -> None:
        """Become a protocol's transport."""
        self.protocol = protocol
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        """Keep."""
        self._written.append(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Keep."""
        self._written.extend(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Remember."""
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Forget."""
        self.producer = None

    def pauseProducing(self) -> None:
        """Remember."""
        self._is_reading = False

    def resumeProducing(self) -> None:
        """Remember."""
        self._is_reading = True

    @property
    def is_reading(self) -> bool:
        """Whether the protocol takes what arrives."""
        return self._is_reading

    def arrive(self, data: bytes) -> bool:
        """Deliver bytes; return whether the protocol got some."""
        if data:
            assert self.protocol is not None
            self.protocol.dataReceived(data)
        return bool(data)

    def getPeer(self) -> IPv4Address:
        """Return any address."""
        return self._address

    getHost = getPeer

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remember."""
        self.no_delay = enabled

    def getTcpNoDelay(self) -> bool:
        """Tell."""
        return self.no_delay

    def getTcpKeepAlive(self) -> bool:
        """Nobody asks."""
        raise NotImplementedError

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nobody asks."""
        raise NotImplementedError

    def loseWriteConnection(self) -> None:
        """Nobody asks."""
        raise NotImplementedError

    def loseConnection(self) -> None:
        """Close; the protocol hears of it later, as from a socket."""
        self.disconnecting = True
        self.clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self) -> None:
        """Abort likewise."""
        self._aborted = True
        self.clock.callLater(0, self.lose, ConnectionAborted())

    def lose(self, reason: Exception | None = None) -> None:
        """Tell the protocol that the connection is gone."""
        if not self.is_lost:
            self.is_lost = True
            assert self.protocol is not None
            self.protocol.connectionLost(Failure(reason or ConnectionLost()))

    def take(self) -> bytes:
        """Return what was written, and forget it."""
        written, self._written = self._written, []
        return b"".join(written)

    def aborted(self) -> bool:
        """Whether the protocol aborted it."""
        return self._aborted

    @property
    def is_over(self) -> bool:
        """Whether the protocol has closed or aborted the connection, or lost it."""
        return self._aborted or self.disconnecting or self.is_lost


class Watch:
    """A reactor, as far as descriptors know it: the descriptors that it watches."""

    def __init__(self) -> None:
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard


class Socket:
    """The socket of a :class:`SocketWire`."""

    def __init__(self, wire: SocketWire) -> None:
        self.incoming = bytearray()
        self._wire = wire

    def fileno(self) -> int:
        """Return any number."""
        return 1000

    def recv_into(self, buffer: memoryview) -> int:
        """Give what has arrived."""
        if not self.incoming:
            raise BlockingIOError
        size = min(len(buffer), len(self.incoming))
        buffer[:size] = self.incoming[:size]
        del self.incoming[:size]
        return size

    def send(self, data: bytes) -> int:
        """Take everything."""
        self._wire.write(bytes(data))
        return len(data)


@implementer(ISystemHandle)
class SocketWire(Wire, FileDescriptor):  # type: ignore[misc]  # Twisted's flags are numbers
    """A wire with a socket, as the reactor's own transports have one: a link with a session takes it."""

    def __init__(self, clock: Clock, address: IPv4Address = _ADDRESS) -> None:
        self._producer: Any = None
        self.watch = Watch()
        FileDescriptor.__init__(self, self.watch)  # type: ignore[arg-type]  # all that is asked of a reactor here
        Wire.__init__(self, clock, address)
        self.connected = 1
        self._socket = Socket(self)
        self.watch.addReader(self)

    def getHandle(self) -> Socket:
        """Return the socket."""
        return self._socket

    @property
    def producer(self) -> Any:
        """Return the producer of the lane that has the socket, or else of this transport."""
        layer: Any = self.protocol
        if layer is None:
            return self._producer
        link = layer.link if isinstance(layer, LocalLayer) else layer.wrappedProtocol
        return getattr(link.tls, "_producer", None) or self._producer

    @producer.setter
    def producer(self, producer: object) -> None:
        self._producer = producer

    @property
    def is_reading(self) -> bool:
        """Whether this transport, or a lane in its place, is watched for reading."""
        return bool(self.watch.readers)

    pauseProducing = FileDescriptor.pauseProducing
    resumeProducing = FileDescriptor.resumeProducing

    def arrive(self, data: bytes) -> bool:
        """Let bytes come to the socket, which keeps them until they are read."""
        self._socket.incoming += data
        has_read = False
        while self._socket.incoming and self.watch.readers:
            has_read = True
            [reader] = self.watch.readers
            ended = reader.doRead()
            if ended is not None:
                reader.connectionLost(Failure(ended))
        return has_read

    def doRead(self) -> None:
        """Deliver one read."""
        buffer = memoryview(bytearray(self.bufferSize))
        size = self._socket.recv_into(buffer)
        assert self.protocol is not None
        self.protocol.dataReceived(bytes(buffer[:size]))

    def writeSomeData(self, data: bytes) -> int:
        """Take everything."""
        return self._socket.send(data)

    def abortConnection(self) -> None:
        """Abort, and read no more."""
        self.watch.removeReader(self)
        super().abortConnection()

    def loseConnection(self) -> None:
        """Close, and read no more."""
        self.watch.removeReader(self)
        super().loseConnection()

    def lose(self, reason: Exception | None = None) -> None:
        """Tell the one that reads that the connection is gone."""
        for reader in self.watch.readers or {self}:
            reader.connectionLost(Failure(reason or ConnectionLost()))
            break

    def connectionLost(self, reason: Failure) -> None:
        """Tell the protocol."""
        if not self.is_lost:
            self.is_lost = True
            self.connected = 0
            self.watch.removeReader(self)
            assert self.protocol is not None
            self.protocol.connectionLost(reason)


class LocalSocket(Socket):
    """The socket of a :class:`LocalWire`: one of this machine, whose other end is this user's."""

    family = socket.AF_UNIX

    def getsockopt(self, _level: int, _option: int, _size: int) -> bytes:
        """Return the credentials of the other end."""
        return struct.pack("3i", PEER.pid or 0, PEER.uid, 0)


class LocalWire(SocketWire):
    """A wire that is a Unix socket: no TLS, and the system names the user at the other end."""

    def __init__(self, clock: Clock, _address: object = None) -> None:
        super().__init__(clock)
        self._socket = LocalSocket(self)
        self._address = UNIXAddress(None)  # type: ignore[assignment]  # that of a peer without a name


class LocalConnection:
    """The other end of a Unix socket, with the methods of an end of TLS.

    :param is_client: which end it is.
    :param pin: that of the server, if this is one.
    """

    def __init__(self, *, is_client: bool, pin: bytes = bytes(32)) -> None:
        self._is_client = is_client
        own = ClientHello(bytes(range(32))) if is_client else ServerHello(bytes(range(32, 64)), pin)
        self._own = own
        self._secrets: LocalSecrets | None = None
        self._outgoing = frame(own.pack()) if is_client else b""
        self._incoming = b""

    def do_handshake(self) -> None:
        """Read the other end's frame."""
        size = 4 + (SERVER_HELLO_BYTES if self._is_client else CLIENT_HELLO_BYTES)
        if len(self._incoming) < size:
            raise SSL.WantReadError
        payload, self._incoming = self._incoming[4:size], self._incoming[size:]
        if isinstance(self._own, ClientHello):
            self._secrets = LocalSecrets(self._own, ServerHello.parse(payload))
        else:
            self._secrets = LocalSecrets(ClientHello.parse(payload), self._own)
            self._outgoing += frame(self._own.pack())

    def send(self, data: bytes) -> int:
        """Send."""
        self._outgoing += data
        return len(data)

    def shutdown(self) -> None:
        """End the link."""
        self._outgoing += END

    def bio_read(self, size: int) -> bytes:
        """Return what goes on the wire."""
        if not self._outgoing:
            raise SSL.WantReadError
        data, self._outgoing = self._outgoing[:size], self._outgoing[size:]
        return data

    def bio_write(self, data: bytes) -> None:
        """Take what has come on the wire."""
        self._incoming += data

    def recv(self, _size: int) -> bytes:
        """Return whole frames; the end of the link is told as that of TLS is."""
        at = 0
        while len(self._incoming) - at >= 4:
            (length,) = _PREFIX.unpack_from(self._incoming, at)
            if not length and not at:
                raise SSL.ZeroReturnError
            if not length or len(self._incoming) - at < 4 + length:
                break
            at += 4 + length
        if not at:
            raise SSL.WantReadError
        data, self._incoming = self._incoming[:at], self._incoming[at:]
        return data

    def export_keying_material(self, label: bytes, size: int, context: bytes) -> bytes:
        """Return a secret of the link."""
        assert self._secrets is not None
        return self._secrets.export_keying_material(label, size, context)


class RawPeer:
    """The end opposite a protocol under test.

    :param clock: the protocol's clock.
    :param protocol: the protocol, TLS included.
    :param connection: this end of TLS, or of a Unix socket.
    :param delay: seconds between the connection and this end's first byte.
    :param address: where the protocol sees it come from.
    :cvar transport: what the protocol's transport is: without a socket or with one.
    :ivar wire: the protocol's transport.
    :ivar received: the plaintext that the protocol has sent.
    :ivar recorded: the bytes on the wire that the protocol has sent.
    :ivar closed: whether the protocol has ended TLS.
    :ivar failure: what broke TLS, if anything did.
    """

    transport: ClassVar[type[Wire]] = Wire

    def __init__(
        self,
        clock: Clock,
        protocol: IProtocol,
        connection: SSL.Connection | LocalConnection,
        delay: float = 0.0,
        address: IPv4Address = _ADDRESS,
    ) -> None:
        self.clock = clock
        self.protocol = protocol
        self.connection: Any = connection
        self.wire = self.transport(clock, address)
        self.received = b""
        self.recorded = b""
        self.closed = False
        self.failure: SSL.Error | None = None
        self._handshaken = False
        self.wire.connect(protocol)
        clock.advance(delay)
        self.exchange()

    @property
    def exporter(self) -> bytes:
        """This connection's channel binding, as this end sees it."""
        value: bytes = self.connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        return value

    def send(self, plaintext: bytes, record: int = 16384) -> None:
        """Send plaintext, cut into records, and let everything arrive."""
        self.queue(plaintext, record)
        self.exchange()

    def queue(self, plaintext: bytes, record: int = 16384) -> None:
        """Encrypt plaintext, and keep it for the next exchange."""
        for start in range(0, len(plaintext), record):
            self.connection.send(plaintext[start : start + record])

    def exchange(self) -> None:
        """Move bytes and time's due calls until nothing moves."""
        while True:
            self.clock.advance(0)
            incoming = self.wire.take()
            self.recorded += incoming
            if incoming:
                self.connection.bio_write(incoming)
            self._look()
            outgoing = self.drain()
            has_arrived = not self.wire.is_lost and self.wire.arrive(outgoing)
            if not (has_arrived or incoming):
                return

    def arrive(self) -> None:
        """Let arrive what this end has said, in one piece, and nothing else happen."""
        self.wire.arrive(self.drain())

    def drain(self) -> bytes:
        """Return the bytes that this end wants on the wire, which then do not arrive by themselves."""
        pieces = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                pieces.append(self.connection.bio_read(65536))
        return b"".join(pieces)

    def frames(self) -> list[bytes]:
        """Return the payloads that the protocol has sent since the last call."""
        data, self.received = self.received, b""
        return unframe(data)

    def _look(self) -> None:
        try:
            if not self._handshaken:
                self.connection.do_handshake()
                self._handshaken = True
            while True:
                self.received += self.connection.recv(65536)
        except SSL.WantReadError:
            return
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error as error:
            self.failure = self.failure or error


class RawClient(RawPeer):
    """A client that says whatever the test wants.

    :param alpn: the protocols it offers, or none.
    :param maximum: the highest TLS version it offers.
    :param delay: seconds between the connection and its first byte.
    :param address: where the server sees it come from.
    :ivar session: the identifier of its session, once it has logged in.
    :ivar secrets: the connection's secrets, by the labels of NSS's key log.
    """

    def __init__(
        self,
        clock: Clock,
        protocol: IProtocol,
        alpn: Sequence[bytes] = (ALPN,),
        maximum: int = SSL.TLS1_3_VERSION,
        delay: float = 0.0,
        address: IPv4Address = _ADDRESS,
    ) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(maximum)
        context.set_options(SSL.OP_NO_TICKET)
        self.secrets: dict[str, bytes] = {}
        context.set_keylog_callback(self._keep_secret)
        if alpn:
            context.set_alpn_protos(list(alpn))
        connection = SSL.Connection(context, None)
        connection.set_connect_state()
        self.session = b""
        self._sequence = 0
        self._decoder = Decoder(Role.CLIENT, Phase.SESSION)
        local = LocalConnection(is_client=True) if self.transport is LocalWire else None
        super().__init__(clock, protocol, local or connection, delay, address)

    def _keep_secret(self, _connection: SSL.Connection, line: bytes) -> None:
        label, _, secret = line.decode().split()
        self.secrets[label] = bytes.fromhex(secret)

    def auth(self, pin: bytes, *, user: str = ALICE, which: int = 0, exporter: bytes | None = None) -> bytes:
        """Return the payload of an AUTH, right for this connection unless told otherwise."""
        if self.transport is LocalWire:
            algorithm = PEER_CREDENTIALS if not which else "ssh-ed25519"
            return encode(Auth(user=user, algorithm=algorithm, key=b"", signature=b""))
        key = client_key(which)
        signature = key.sign_login(self.exporter if exporter is None else exporter, pin, user)
        return encode(Auth(user=user, algorithm=key.algorithm, key=key.blob, signature=signature))

    def secret(self, attempt: int, session: bytes | None = None) -> bytes:
        """Return this connection's secret of a session, as this end sees it."""
        context = secret_context(self.session if session is None else session, attempt)
        value: bytes = self.connection.export_keying_material(SECRET_LABEL, PROOF_BYTES, context)
        return value

    def binding(self, pin: bytes) -> LinkBinding:
        """Return what ties a proof to this connection."""
        return LinkBinding(self.exporter, pin)

    def take_over(self, before: RawClient) -> None:
        """Go on counting where another connection of the same session was."""
        self.session = before.session
        self._sequence = before._sequence

    def payloads(self, message: Message) -> list[bytes]:
        """Return the payloads of a message of the session, with the next sequence numbers."""
        if not message.declaration.sequenced:
            return [encode(message)]
        payloads = encode_control(message, self._sequence)
        self._sequence += len(payloads)
        return payloads

    def say(self, *messages: Message) -> None:
        """Send messages of the session, all in one piece."""
        self.send(b"".join(frame(payload) for message in messages for payload in self.payloads(message)))
        self.clock.advance(OPENED_HELD_SECONDS)
        self.exchange()

    def heard(self) -> list[Message]:
        """Return the session's messages that the server has sent since the last call."""
        return [self._decoder.decode(payload)[1] for payload in self.frames()]


class RawServer(RawPeer):
    """A server that says whatever the test wants.

    :param who: its key and certificate.
    :param alpn: the protocol it chooses, or ``None`` for no answer.
    :param maximum: the highest TLS version it speaks.
    """

    def __init__(
        self,
        clock: Clock,
        protocol: IProtocol,
        who: Identity,
        alpn: bytes | None = ALPN,
        maximum: int = SSL.TLS1_3_VERSION,
    ) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(maximum)
        context.set_options(SSL.OP_NO_TICKET)
        context.use_privatekey(who.private_key)
        context.use_certificate(who.certificate)

        def select(_connection: SSL.Connection, _offered: list[bytes]) -> Any:
            return SSL.NO_OVERLAPPING_PROTOCOLS if alpn is None else alpn

        context.set_alpn_select_callback(select)
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        local = LocalConnection(is_client=False, pin=who.pin) if self.transport is LocalWire else None
        super().__init__(clock, protocol, local or connection)


class One(Factory):
    """A factory of one protocol, for wrapping TLS around it."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._only = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return it."""
        return self._only


def wrapped(
    clock: Clock, link: Protocol, tls: IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator
) -> Any:
    """Return a link with TLS around it, or what takes its place on a Unix socket."""
    is_client = IOpenSSLClientConnectionCreator.providedBy(tls)
    if RawPeer.transport is LocalWire:
        return LocalClientLayer(link, {PEER.uid}) if is_client else LocalServerLayer(link, bytes(32), PEER)
    return LinkTLSFactory(tls, is_client, One(link), clock).buildProtocol(None)


@contextlib.contextmanager
def collecting_log() -> Iterator[list[LogEvent]]:
    """Collect what is logged meanwhile."""
    events: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def failures(events: list[LogEvent]) -> list[LogEvent]:
    """Return the events that tell of a bug: tracebacks and errors."""
    return [event for event in events if event["log_level"] in (LogLevel.error, LogLevel.critical)]
