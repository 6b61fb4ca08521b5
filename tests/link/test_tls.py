"""TLS: one version, one protocol name, one key; each check alone stops a wrong peer."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from zope.interface import providedBy
from zope.interface.declarations import Provides

from tests.link.recorder import over_tls
from tests.link.wire import (
    ALICE,
    MALLORY,
    Identity,
    RawClient,
    RawPeer,
    RawServer,
    SocketWire,
    Wire,
    client_key,
    failures,
    frame,
    identity,
    unframe,
    wrapped,
)
from tests.server.rig import Rig
from twisted_rsh import Connection
from twisted_rsh.client.errors import Error, NotARemoteShell, SessionLost, WrongServer
from twisted_rsh.client.link import ClientLink
from twisted_rsh.client.login import log_in
from twisted_rsh.core.codec import Decoder
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.messages import Auth
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.link import tls as tls_module
from twisted_rsh.link.lane import Lane
from twisted_rsh.link.tls import LinkTLS, PinnedClientTLS, exporter, peer_spki_sha256, reason_text

HANDSHAKE_RECORDS = {20, 21, 22}
"""TLS record types that carry no data: change_cipher_spec, alert, handshake (RFC 8446, section 5.1)."""


class Gullible(PinnedClientTLS):
    """A client's TLS whose look at the certificate is lost."""

    def _verify(self, _connection: SSL.Connection, certificate: X509, _error: int, depth: int, _ok: int) -> bool:
        return True


class Dialling:
    """A real client's link and the raw server that it meets."""

    def __init__(
        self,
        who: Identity,
        alpn: bytes | None = b"twisted-rsh/1",
        maximum: int = SSL.TLS1_3_VERSION,
        tls: PinnedClientTLS | None = None,
    ) -> None:
        self.clock = Clock()
        self.pin = identity().pin
        tls = tls or PinnedClientTLS(self.pin)
        self.outcomes: list[object] = []
        found: Deferred[ClientLink] = Deferred()
        self.link = ClientLink(self.clock, tls, (self.pin,), found)

        async def connect() -> Connection:
            link = await found
            return Connection(link, await log_in(link, client_key(), ALICE, SessionLimits()))

        connecting = Deferred.fromCoroutine(connect())
        connecting.addCallbacks(self.outcomes.append, lambda failure: self.outcomes.append(failure.value))
        self.server = RawServer(self.clock, wrapped(self.clock, self.link, tls), who, alpn, maximum)

    @property
    def error(self) -> Error:
        """The events that the application got."""
        (outcome,) = self.outcomes
        assert isinstance(outcome, Error)
        return outcome


def record_types(data: bytes) -> set[int]:
    """Return the types of the TLS records in some bytes."""
    types = set()
    while data:
        types.add(data[0])
        data = data[5 + int.from_bytes(data[3:5], "big") :]
    return types


def test_only_tls_1_3_is_served(rig: Rig, logged: list[LogEvent]) -> None:
    """L-01: an offer of TLS 1.2 and below gets an alert."""
    client = rig.connect(maximum=SSL.TLS1_2_VERSION)
    assert client.failure is not None
    assert "protocol version" in str(client.failure)
    assert client.wire.is_over
    assert rig.links == set()
    assert failures(logged) == []


def test_only_tls_1_3_is_dialled() -> None:
    """L-01: a server that speaks TLS 1.2 at most is sent nothing."""
    dialling = Dialling(identity(), maximum=SSL.TLS1_2_VERSION)
    assert isinstance(dialling.error, NotARemoteShell)
    assert dialling.server.received == b""


def test_a_client_without_alpn(rig: Rig, logged: list[LogEvent]) -> None:
    """L-02: it is turned away after the handshake, and what it sent with it is never parsed."""
    client = RawClient(rig.clock, rig.protocol(), alpn=())
    client.send(frame(client.auth(rig.pin)))
    assert client.wire.aborted()
    assert (client.frames(), rig.checker.asked) == ([], [])
    assert failures(logged) == []
    assert [event["reason"] for event in logged if "reason" in event and "peer" in event] == [
        "the peer speaks None, not b'twisted-rsh/1'"
    ]


def test_a_login_behind_the_handshake(rig: Rig) -> None:
    """L-02: nothing is parsed either when the AUTH comes in one piece with the end of the handshake."""
    client = RawClient(rig.clock, rig.protocol(), alpn=())
    link, other = over_tls(alpn=())
    other.send(frame(b"whatever"))
    assert (link.is_ready, link.frames) == (False, [])
    assert link.reasons == ["the peer speaks None, not b'twisted-rsh/1'"]
    assert client.wire.aborted()


@pytest.mark.parametrize("alpn", [b"h2", b"http/1.1", b"twisted-rsh/2", b"twisted-rsh/", b"x"])
def test_another_protocol(rig: Rig, logged: list[LogEvent], alpn: bytes) -> None:
    """L-03: a client that speaks something else is turned away, without a traceback."""
    client = rig.connect(alpn=[alpn])
    client.send(frame(client.auth(rig.pin)))
    assert client.wire.aborted()
    assert rig.checker.asked == []
    assert failures(logged) == []


def test_our_protocol_among_others(rig: Rig) -> None:
    """L-03: a client that speaks ours too gets it."""
    client = rig.connect(alpn=[b"h2", b"twisted-rsh/1"])
    client.send(frame(client.auth(rig.pin)))
    assert len(client.frames()) == 1
    assert client.connection.get_alpn_proto_negotiated() == b"twisted-rsh/1"


@pytest.mark.parametrize("alpn", [None, b"h2"])
def test_a_server_with_another_protocol(alpn: bytes | None, logged: list[LogEvent]) -> None:
    """L-02, L-03: a server, even with the right key, that does not choose our protocol is sent nothing.

    One that chooses what was not offered (RFC 7301, section 3.2) is stopped by the look at the result as well.
    """
    dialling = Dialling(identity(), alpn=alpn)
    assert isinstance(dialling.error, NotARemoteShell)
    assert dialling.server.received == b""
    assert dialling.server.wire.is_over
    assert failures(logged) == []


def test_the_right_server() -> None:
    """L-04: the pinned key is all that counts: the client logs in."""
    dialling = Dialling(identity())
    (payload,) = unframe(dialling.server.received)
    assert isinstance(Decoder(Role.SERVER, Phase.LOGIN).decode(payload)[1], Auth)
    assert dialling.outcomes == []


def test_the_wrong_server() -> None:
    """L-04, C-01: nothing of ours goes to a server with another key: neither the user's name nor the user's key."""
    dialling = Dialling(MALLORY)
    assert isinstance(dialling.error, WrongServer)
    assert "SHA256:" in str(dialling.error)
    assert dialling.server.received == b""
    assert record_types(dialling.server.recorded) <= HANDSHAKE_RECORDS
    for secret in (ALICE.encode(), client_key().blob):
        assert secret not in dialling.server.recorded
    assert dialling.server.wire.is_over
    assert dialling.server.failure is not None


@pytest.mark.parametrize("expired", [False, True])
def test_the_right_key_in_another_certificate(expired: bool) -> None:
    """L-04: a new certificate of the pinned key works, and so does one whose time is over."""
    identity.cache_clear()
    dialling = Dialling(identity(expired=expired))
    assert len(unframe(dialling.server.received)) == 1
    assert dialling.outcomes == []


def test_without_the_look_during_the_handshake() -> None:
    """L-05: if TLS compared nothing, the look after the handshake would still stop the wrong server, unsent to."""
    dialling = Dialling(MALLORY, tls=Gullible(identity().pin))
    assert isinstance(dialling.error, WrongServer)
    assert dialling.server.received == b""
    assert dialling.server.wire.aborted()


def test_without_the_look_after_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """L-05: if the look after the handshake saw what it wants, TLS would still stop the wrong server."""
    pin = identity().pin
    monkeypatch.setattr("twisted_rsh.client.link.peer_spki_sha256", lambda _transport: pin)
    dialling = Dialling(MALLORY)
    assert isinstance(dialling.error, WrongServer)
    assert dialling.server.received == b""


def test_without_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """L-05: a server that shows no key at all is not the right one."""
    monkeypatch.setattr("OpenSSL.SSL.Connection.get_peer_certificate", lambda _self: None)
    dialling = Dialling(identity())
    assert isinstance(dialling.error, NotARemoteShell)
    assert dialling.server.received == b""


def test_without_the_choice_of_a_protocol(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> None:
    """L-05: if the server chose whatever is offered, the look after the handshake would still turn h2 away."""
    monkeypatch.setattr(tls_module, "ALPN", b"h2")
    client = rig.connect(alpn=[b"h2"])
    assert client.connection.get_alpn_proto_negotiated() == b"h2"
    assert client.wire.aborted()


def test_an_unreadable_certificate_matches_no_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    """L-05: whatever goes wrong in the look at the certificate, the answer is no."""

    def broken(_kind: int, _certificate: X509) -> bytes:
        raise RuntimeError

    monkeypatch.setattr(tls_module, "dump_certificate", broken)
    dialling = Dialling(identity())
    assert isinstance(dialling.error, NotARemoteShell)
    assert dialling.server.received == b""


def test_a_key_of_another_kind() -> None:
    """L-05: the digest of an Ed448 key is compared like any other, and a second certificate is not looked at."""
    tls = PinnedClientTLS(identity().pin)
    connection = tls.clientConnectionForTLS(None)  # type: ignore[arg-type]  # it is not looked at
    key = Ed448PrivateKey.generate()
    builder = x509.CertificateBuilder().public_key(key.public_key()).serial_number(1)
    name = x509.Name([])
    dates = identity().certificate
    strange = (
        builder.subject_name(name)
        .issuer_name(name)
        .not_valid_before(dates.not_valid_before_utc)
        .not_valid_after(dates.not_valid_after_utc)
        .sign(key, None)
    )
    assert not tls._verify(connection, X509.from_cryptography(strange), 18, 0, 0)
    right = X509.from_cryptography(identity().certificate)
    assert tls._verify(connection, right, 18, 0, 0)
    assert not tls._verify(connection, right, 18, 1, 0)


def test_both_ends_export_the_same(rig: Rig) -> None:
    """RFC 9266: the channel binding is the same at both ends, and another on every connection."""
    one, other = rig.connect(), rig.connect()
    near, far = rig.link_of(one).tls, rig.link_of(other).tls
    assert exporter(near) == one.exporter != other.exporter == exporter(far)
    assert len(one.exporter) == 32
    assert isinstance(near, LinkTLS)
    assert near.negotiatedProtocol == b"twisted-rsh/1"
    assert peer_spki_sha256(near) is None


def test_why_a_connection_has_ended() -> None:
    """The reason is a line for people: OpenSSL's own words without Python's form of them, or Twisted's."""
    queue = [("SSL routines", "", "no application protocol"), ("SSL routines", "", "bad record type")]
    assert reason_text(Failure(SSL.Error(queue))) == "no application protocol; bad record type"
    assert reason_text(Failure(SSL.Error([]))) == "TLS has failed"
    assert reason_text(Failure(SSL.SysCallError(104, "Connection reset by peer")))
    assert reason_text(Failure(ConnectionDone())) == "Connection was closed cleanly"


def test_what_twisted_declares_is_made_once(rig: Rig) -> None:
    """The declarations with which Twisted gives a connection the interfaces of its transport outlive the connection."""
    client = rig.connect()
    layer = rig.link_of(client).tls
    assert isinstance(layer, LinkTLS)
    kind, interfaces = type(layer), list(providedBy(layer.transport))
    assert interfaces
    client.wire.lose()
    del client, layer
    gc.collect()
    kept = [weakref.ref(Provides(kind, interface)) for interface in interfaces]
    gc.collect()
    assert None not in [reference() for reference in kept]


TURN = b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"\x00\x06\x00\x04user"
"""A STUN binding request (RFC 8489), as a browser's TURN over TCP begins; read as a frame, 64 KiB long."""


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost:8082\r\n\r\n",
        b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\n\r\n",
        TURN,
        b"SSH-2.0-OpenSSH_9.9\r\n",
        frame(b"\x21" + bytes(8) + b'{"channel":1,"command":"true"}'),
        frame(b'\x01{"user":"alice"}') * 3,
        bytes(4),
        b"\xff" * 100,
        os.urandom(4096),
    ],
    ids=["http", "websocket", "turn", "ssh", "open", "auth", "zeros", "ones", "random"],
)
def test_what_is_no_tls(rig: Rig, logged: list[LogEvent], data: bytes) -> None:
    """L-08, S-11: other protocols, and our own frames in clear, get at most an alert: no state, no parse."""
    protocol = rig.protocol()
    wire = Wire(rig.clock)
    wire.connect(protocol)
    protocol.dataReceived(data)
    rig.clock.advance(0)
    answer = wire.take()
    assert record_types(answer) <= {21}
    if not wire.is_over:  # what could still become a TLS record has until the deadline
        rig.clock.advance(10)
    assert wire.is_over
    rig.clock.advance(0)
    assert (rig.links, rig.waiting, rig.checker.asked, rig.user.jobs) == (set(), 0, [], [])
    assert failures(logged) == []


def test_https(rig: Rig, logged: list[LogEvent]) -> None:
    """L-08: a browser that speaks TLS completes the handshake at most, and gets nothing."""
    client = rig.connect(alpn=[b"h2", b"http/1.1"])
    client.send(b"GET / HTTP/1.1\r\nHost: localhost:8082\r\n\r\n")
    assert client.received == b""
    assert client.wire.aborted()
    assert failures(logged) == []


def answered(dialling: Dialling, act: Callable[[RawServer], object]) -> Error:
    """Return what the application is told when the server does something instead of answering the AUTH."""
    act(dialling.server)
    dialling.server.exchange()
    return dialling.error


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x02",
        b"\x02{}",
        b"\x02[]",
        b'\x02{"session":"AAAAAAAAAAAAAAAAAAAAAA==","instance":"x","window":0,"max_channels":1}',
        b'\x02{"session":"AAAAAAAAAAAAAAAAAAAAAA==","instance":"x","window":1e9,"max_channels":1}',
        b'\x02{"session":"AA==","instance":"x","window":4096,"max_channels":1}',
        b'\x02{"session":"AAAAAAAAAAAAAAAAAAAAAA==","instance":"x","window":4096,"max_channels":4294967296}',
        b"\x03body",
        b'\x01{"user":"alice","algorithm":"ssh-ed25519","key":"","signature":""}',
        b"\x10\x00\x00\x00\x01\x01" + bytes(8) + b"data",
        b"\x13" + bytes(8),
        b"\x23" + bytes(8) + b"{}",
        b"\xff" * 20,
    ],
)
def test_a_bad_answer_to_the_login(payload: bytes, logged: list[LogEvent]) -> None:
    """C-02, S-04: whatever the server answers instead of AUTH_OK or AUTH_FAIL, the client says that it is lost."""
    error = answered(Dialling(identity()), lambda server: server.send(frame(payload)))
    assert isinstance(error, SessionLost)
    assert "during the login" in str(error)
    assert failures(logged) == []


def test_an_answer_too_long() -> None:
    """C-02: an answer beyond 4 KiB ends the link at its length."""
    dialling = Dialling(identity())
    error = answered(dialling, lambda server: server.send((4097).to_bytes(4, "big")))
    assert isinstance(error, SessionLost)
    assert dialling.server.wire.aborted()


def test_a_server_that_hangs_up() -> None:
    """C-02: so does one that goes away without an answer, or never gives one."""
    assert isinstance(answered(Dialling(identity()), lambda server: server.wire.lose()), SessionLost)
    silent = Dialling(identity())
    assert isinstance(answered(silent, lambda _server: silent.clock.advance(60)), SessionLost)


def test_p_256_is_what_a_server_has() -> None:
    """The identities of these tests are what the real server uses."""
    assert isinstance(identity().private_key.curve, ec.SECP256R1)


def test_a_session_has_a_lane_where_there_is_a_socket(rig: Rig) -> None:
    """Twisted's TLS carries the login; from then on a lane does, unless the transport has no socket."""
    client = rig.connect()
    link = rig.link_of(client)
    assert isinstance(link.tls, LinkTLS)
    client.send(frame(client.auth(rig.pin)))
    assert isinstance(link.tls, Lane) == (RawPeer.transport is SocketWire)
    assert len(client.frames()) == 1
