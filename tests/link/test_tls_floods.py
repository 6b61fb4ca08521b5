"""Attacks of a peer on TLS itself: bytes without any message, and answers that the peer does not read."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from tests.link.recorder import Recorder
from tests.link.records import KEY_UPDATE_BYTES, HandmadeRecords, handshake_record
from tests.link.test_tls import Dialling
from tests.link.wire import MALLORY, Identity, RawClient, Wire, frame, identity, wrapped
from tests.server.rig import Rig
from twisted_rsh.client.errors import Error
from twisted_rsh.link import tls as tls_module
from twisted_rsh.link.tls import (
    BIO_READ_BYTES,
    MAX_INSIDE_BYTES,
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

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)  # type: ignore[arg-type]  # all that it asks of a reactor is not asked here
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

    stopWriting = stopReading = startWriting

    def getPeer(self) -> IPv4Address:
        """Return any address."""
        return IPv4Address("TCP", "192.0.2.7", 1)

    def abortConnection(self) -> None:
        """Remember."""
        self.aborted = True


class Flooded:
    """A link over a transport whose peer does not read; the handshake is over."""

    def __init__(self, *, in_session: bool = True) -> None:
        self.clock = Clock()
        self.link = Recorder(self.clock)
        self.protocol: Any = wrapped(self.clock, self.link, ServerTLS(MALLORY.private_key, MALLORY.certificate))
        self.transport = Deaf(self.clock)
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
        assert isinstance(self.protocol, LinkTLS)
        return unsent_bytes(self.transport) - self.protocol._own_unsent

    def update(self, count: int, at_once: int = 1000) -> None:
        """Ask for so many new keys, some of them in one piece as they come from a socket.

        OpenSSL answers each with the next thing that arrives.
        """
        for start in range(0, count, at_once):
            pieces = [self.records.key_update() for _ in range(min(at_once, count - start))]
            self.protocol.dataReceived(b"".join(pieces))


def test_a_flood_of_key_updates() -> None:
    """H-11: the link keeps unread answers of TLS up to its bound, and one answer more aborts it."""
    flooded = Flooded()
    room = (MAX_REPLY_BYTES - flooded.replies) // KEY_UPDATE_BYTES
    flooded.update(1 + room)
    assert flooded.replies == room * KEY_UPDATE_BYTES <= MAX_REPLY_BYTES
    assert flooded.link.reasons == []
    flooded.update(1)
    assert flooded.transport.aborted
    assert flooded.link.reasons == [f"the peer does not read more than {MAX_REPLY_BYTES} bytes of TLS's own answers"]


def test_nothing_stays_inside_tls() -> None:
    """H-11: however much comes at once, all but 256 KiB of the answers are where they are counted."""
    flooded = Flooded()
    at_once, piece = 2400, 2400 * KEY_UPDATE_BYTES
    assert piece < 65536, "what a socket gives at a time"
    for _ in range(MAX_INSIDE_BYTES // (piece - BIO_READ_BYTES)):
        flooded.update(at_once, at_once)
        assert flooded.replies % BIO_READ_BYTES == 0
    flooded.update(at_once, at_once)
    assert flooded.replies > MAX_INSIDE_BYTES
    assert flooded.replies % KEY_UPDATE_BYTES == 0, "all of them"


def test_what_is_read_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """H-11: a peer that reads the answers may have any number of them."""
    monkeypatch.setattr(tls_module, "MAX_REPLY_BYTES", 100 * KEY_UPDATE_BYTES)
    flooded = Flooded()
    for _ in range(20):
        flooded.update(90)
        flooded.transport.take()
    assert len(flooded.transport.taken) == (20 * 90 - 1) * KEY_UPDATE_BYTES
    assert flooded.link.reasons == []


def test_our_own_bytes_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reader of the link's own bytes does not end the link: credit bounds these."""
    monkeypatch.setattr(tls_module, "MAX_REPLY_BYTES", 100 * KEY_UPDATE_BYTES)
    flooded = Flooded()
    flooded.link.write_frames([bytes(16_000)] * 50 + [b"x"] * 50)
    flooded.protocol.dataReceived(flooded.records.data(frame(b"hi")))
    assert unsent_bytes(flooded.transport) > 800_000
    flooded.update(100)
    assert flooded.link.frames == [b"hi"]
    flooded.transport.take(400_000)
    flooded.protocol.dataReceived(flooded.records.data(frame(b"ho")))
    assert flooded.link.reasons == []


def test_own_bytes_that_were_read_give_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """H-11: bytes that were written and read long ago do not raise the bound of unread answers."""
    monkeypatch.setattr(tls_module, "MAX_REPLY_BYTES", 100 * KEY_UPDATE_BYTES)
    flooded = Flooded()
    flooded.link.write_frames([bytes(16_000)] * 50)
    flooded.transport.take()
    flooded.protocol.dataReceived(flooded.records.data(frame(b"hi")))
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
    flooded.protocol.dataReceived(flooded.records.data(b"")[: left % KEY_UPDATE_BYTES])
    assert flooded.link.reasons == []
    flooded.protocol.dataReceived(b"\0")
    assert flooded.transport.aborted
    assert flooded.link.reasons == [f"more than {MAX_LOGIN_BYTES} bytes before the login"]


def test_a_login_in_the_last_bytes() -> None:
    """A session that begins with the very piece that passes the bound has begun: nothing counts any more."""
    flooded, left = stranger()
    flooded.link.act = lambda _payload: flooded.link.session_began()
    flooded.update(left // KEY_UPDATE_BYTES)
    flooded.protocol.dataReceived(flooded.records.data(frame(bytes(1000))))
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
