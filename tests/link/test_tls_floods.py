"""Attacks of a peer on TLS itself: bytes without any message, and answers that the peer does not read."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ISystemHandle
from twisted.internet.task import Clock
from zope.interface import implementer

from tests.link.recorder import Recorder
from tests.link.records import KEY_UPDATE_BYTES, HandmadeRecords, handshake_record
from tests.link.test_tls import Dialling
from tests.link.wire import MALLORY, Identity, RawClient, RawPeer, SocketWire, Watch, Wire, frame, identity, wrapped
from tests.server.rig import Rig
from twisted_rsh.client.errors import Error
from twisted_rsh.link import lane as lane_module
from twisted_rsh.link import tls as tls_module
from twisted_rsh.link.lane import Lane, TLSLane
from twisted_rsh.link.tls import (
    BIO_READ_BYTES,
    BUFFER_BYTES,
    MAX_LOGIN_BYTES,
    MAX_REPLY_BYTES,
    LinkTLS,
    ServerTLS,
    unsent_bytes,
)


class Deaf(FileDescriptor):
    """A transport of the reactor's whose peer takes what the test lets it take.

    :ivar taken: the bytes that the peer has taken.
    :ivar pieces: in how many pieces.
    :ivar room: how many bytes it takes now, at a time.
    :ivar error: how it fails.
    :ivar aborted: whether the protocol has aborted it.
    """

    def __init__(self) -> None:
        self.watch = Watch()
        super().__init__(self.watch)  # type: ignore[arg-type]  # all that is asked of a reactor here
        self.connected = 1
        self.taken = b""
        self.room = 0
        self.pieces = 0
        self.error: Exception | None = None
        self.aborted = False

    def take(self, size: int = 2**30) -> None:
        """Let the peer take so many bytes."""
        self.room = size
        FileDescriptor.doWrite(self)
        self.room = 0

    def writeSomeData(self, data: bytes) -> int | BaseException:
        """Take what there is room for."""
        if self.error is not None:
            return self.error
        self.pieces += 1
        piece = bytes(data[: self.room])
        self.taken += piece
        return len(piece)

    def startWriting(self) -> None:
        """The test says when."""

    stopWriting = startWriting

    def getPeer(self) -> IPv4Address:
        """Return any address."""
        return IPv4Address("TCP", "192.0.2.7", 1)

    def abortConnection(self) -> None:
        """Remember."""
        self.aborted = True


@implementer(ISystemHandle)
class DeafSocket(Deaf):
    """The same with a socket, which a link with a session takes.

    :ivar incoming: the bytes that have arrived.
    """

    def __init__(self) -> None:
        super().__init__()
        self.incoming = b""

    def getHandle(self) -> DeafSocket:
        """Return itself: the methods of a socket are below."""
        return self

    def take(self, size: int = 2**30) -> None:
        """Let the peer take so many bytes."""
        self.room = size
        for writer in list(self.watch.writers):
            writer.doWrite()
        self.room = 0

    def fileno(self) -> int:
        """Return any number."""
        return 1000

    def recv_into(self, buffer: memoryview) -> int:
        """Give all that has arrived."""
        size = len(self.incoming)
        buffer[:size], self.incoming = self.incoming, b""
        return size

    def send(self, data: bytes) -> int:
        """Take what there is room for."""
        size = self.writeSomeData(data)
        if not isinstance(size, int):
            raise OSError(errno.EPIPE, "broken pipe")
        if not size:
            raise BlockingIOError
        return size


class Flooded:
    """A link over a transport whose peer does not read; the handshake is over."""

    def __init__(self, *, in_session: bool = True) -> None:
        self.clock = Clock()
        self.link = Recorder(self.clock)
        self.protocol: Any = wrapped(self.clock, self.link, ServerTLS(MALLORY.private_key, MALLORY.certificate))
        self.transport = DeafSocket() if RawPeer.transport is SocketWire else Deaf()
        client = RawClient(self.clock, self.protocol)
        # From here on the link writes to a peer that does not read.
        self.protocol.transport = self.transport
        self.client = client
        self.records = HandmadeRecords(client.connection, client.secrets)
        if in_session:
            self.link.session_began()

    @property
    def replies(self) -> int:
        """Bytes of TLS's own that wait to be read."""
        tls = self.link.tls
        assert isinstance(tls, LinkTLS | TLSLane)
        return tls.unread_answers

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        tls = self.link.tls
        return tls.unsent if isinstance(tls, Lane) else unsent_bytes(self.transport)

    def arrive(self, data: bytes) -> None:
        """Let bytes arrive in one read."""
        tls = self.link.tls
        if isinstance(tls, Lane):
            assert isinstance(self.transport, DeafSocket)
            self.transport.incoming += data
            tls.doRead()
        else:
            self.protocol.dataReceived(data)

    def update(self, count: int, at_once: int = 1000) -> None:
        """Ask for so many new keys, some of them in one piece as they come from a socket.

        OpenSSL answers each with the next thing that arrives.
        """
        for start in range(0, count, at_once):
            pieces = [self.records.key_update() for _ in range(min(at_once, count - start))]
            self.arrive(b"".join(pieces))


SHORT_BYTES = 100 * KEY_UPDATE_BYTES
"""The bound of unread answers in most of these tests."""


def bound(monkeypatch: pytest.MonkeyPatch, *, replies: int, inside: int) -> None:
    """Set other bounds of the bytes of TLS's own answers: unread ones, and those inside OpenSSL."""
    for module in (lane_module, tls_module):
        monkeypatch.setattr(module, "MAX_REPLY_BYTES", replies)
        monkeypatch.setattr(module, "MAX_INSIDE_BYTES", inside)


@pytest.fixture
def short_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the peer leave a hundred answers of TLS unread, and have them counted at once."""
    bound(monkeypatch, replies=SHORT_BYTES, inside=0)


@pytest.mark.usefixtures("short_bound")
def test_a_flood_of_key_updates() -> None:
    """H-11: the link keeps unread answers of TLS up to its bound, and one answer more aborts it."""
    flooded = Flooded()
    room = (SHORT_BYTES - flooded.replies) // KEY_UPDATE_BYTES
    flooded.update(1 + room)
    assert flooded.replies == room * KEY_UPDATE_BYTES <= SHORT_BYTES
    assert flooded.link.reasons == []
    flooded.update(1)
    assert flooded.transport.aborted
    assert flooded.link.reasons == [f"the peer does not read more than {MAX_REPLY_BYTES} bytes of TLS's own answers"]


def test_nothing_stays_inside_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """H-11: however much comes at once, all but a bounded number of the answers are where they are counted."""
    inside = 2 * BIO_READ_BYTES
    bound(monkeypatch, replies=MAX_REPLY_BYTES, inside=inside)
    flooded = Flooded()
    at_once, asked = 2400, 0
    assert at_once * KEY_UPDATE_BYTES < BUFFER_BYTES, "what a socket gives at a time"
    while asked * KEY_UPDATE_BYTES < 4 * inside:
        flooded.update(at_once, at_once)
        asked += at_once
        assert (asked - 1) * KEY_UPDATE_BYTES - flooded.replies <= inside


@pytest.mark.usefixtures("short_bound")
def test_what_is_read_does_not_count() -> None:
    """H-11: a peer that reads the answers may have any number of them."""
    flooded = Flooded()
    for _ in range(20):
        flooded.update(90)
        flooded.transport.take()
    assert len(flooded.transport.taken) == (20 * 90 - 1) * KEY_UPDATE_BYTES
    assert flooded.link.reasons == []


@pytest.mark.usefixtures("short_bound")
def test_our_own_bytes_do_not_count() -> None:
    """A slow reader of the link's own bytes does not end the link: credit bounds these."""
    flooded = Flooded()
    flooded.link.write_frames([bytes(16_000)] * 50 + [b"x"] * 50)
    flooded.arrive(flooded.records.data(frame(b"hi")))
    assert flooded.unsent > 800_000
    flooded.update(100)
    assert flooded.link.frames == [b"hi"]
    flooded.transport.take(400_000)
    flooded.arrive(flooded.records.data(frame(b"ho")))
    assert flooded.link.reasons == []


@pytest.mark.usefixtures("short_bound")
def test_own_bytes_that_were_read_give_no_room() -> None:
    """H-11: bytes that were written and read long ago do not raise the bound of unread answers."""
    flooded = Flooded()
    flooded.link.write_frames([bytes(16_000)] * 50)
    flooded.transport.take()
    flooded.arrive(flooded.records.data(frame(b"hi")))
    flooded.update(101)
    assert flooded.link.reasons == []
    flooded.update(1)
    assert flooded.transport.aborted


def test_a_transport_that_does_not_say() -> None:
    """One that is not the reactor's own, as an application's or a test's, counts as read."""
    assert unsent_bytes(Wire(Clock())) == 0


def stranger() -> tuple[Flooded, int]:
    """Return a link whose peer has not logged in, and the bytes that it may still send."""
    flooded = Flooded(in_session=False)
    return flooded, flooded.protocol._login_bytes_left


def test_bytes_before_the_login() -> None:
    """R-09: 64 KiB may come before a session, TLS's own included, and not one byte more."""
    flooded, left = stranger()
    assert 0 < MAX_LOGIN_BYTES - left < 5000, "the handshake"
    flooded.update(left // KEY_UPDATE_BYTES)
    flooded.arrive(flooded.records.data(b"")[: left % KEY_UPDATE_BYTES])
    assert flooded.link.reasons == []
    flooded.arrive(b"\0")
    assert flooded.transport.aborted
    assert flooded.link.reasons == [f"more than {MAX_LOGIN_BYTES} bytes before the login"]


def test_a_login_in_the_last_bytes() -> None:
    """A session that begins with the very piece that passes the bound has begun: nothing counts any more."""
    flooded, left = stranger()
    flooded.link.act = lambda _payload: flooded.link.session_began()
    flooded.update(left // KEY_UPDATE_BYTES)
    flooded.arrive(flooded.records.data(frame(bytes(1000))))
    assert flooded.protocol._login_bytes_left < 0
    flooded.update(5000)
    assert len(flooded.link.frames) == 1
    assert flooded.link.reasons == []


def test_a_handshake_that_does_not_end(rig: Rig) -> None:
    """R-09, L-10: a ClientHello of 100 KiB is not waited for: the link is gone at 64 KiB."""
    protocol = rig.protocol()
    wire = Wire(rig.clock)
    wire.connect(protocol)
    hello = b"\x01" + (100_000).to_bytes(3, "big") + b"\x03\x03" + bytes(100_000)
    sent = 0
    for start in range(0, len(hello), 10_000):
        record = handshake_record(hello[start : start + 10_000])
        protocol.dataReceived(record)
        sent += len(record)
        if wire.is_over:
            break
    assert wire.is_over
    assert sent <= MAX_LOGIN_BYTES + 10_005
    rig.clock.advance(0)
    assert (rig.links, rig.waiting) == (set(), 0)


def test_crumbs_before_the_login(rig: Rig) -> None:
    """R-09: a login in one-byte records, each 22 bytes longer, does not come to its end."""
    client = rig.connect()
    client.send(frame(bytes(4000)), record=1)
    assert client.wire.aborted()
    assert rig.waiting == 0


def test_a_session_has_no_such_bound(rig: Rig) -> None:
    """A client that has logged in may send on."""
    client = rig.log_in()
    for _ in range(3000):
        client.queue(frame(b"\x12" + bytes(8)))
    client.exchange()
    assert not client.wire.is_over


def with_a_long_certificate(size: int) -> Identity:
    """Return the server's identity, wrapped in a certificate of about so many bytes."""
    plain = identity()
    builder = x509.CertificateBuilder().subject_name(plain.certificate.subject).issuer_name(plain.certificate.issuer)
    builder = builder.public_key(plain.private_key.public_key()).serial_number(1)
    builder = builder.not_valid_before(plain.certificate.not_valid_before_utc)
    builder = builder.not_valid_after(plain.certificate.not_valid_after_utc)
    padding = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(size))
    return Identity(plain.private_key, builder.add_extension(padding, critical=False).sign(plain.private_key, SHA256()))


@pytest.mark.parametrize("size", [80_000, 200_000])
def test_a_certificate_without_end(size: int) -> None:
    """L-10: a server whose certificate is longer than a whole login may be does not get a session, the key right or
    not."""
    dialling = Dialling(with_a_long_certificate(size))
    assert isinstance(dialling.error, Error)
    assert dialling.server.wire.is_over


def test_a_long_certificate() -> None:
    """L-10: one that is merely long is a wrapper like any other."""
    dialling = Dialling(with_a_long_certificate(20_000))
    assert dialling.outcomes == []
    assert len(dialling.server.received) > 100
