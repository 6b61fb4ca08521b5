"""The layer of a link over a Unix socket: its handshake, its end, the users at both ends, and TLS in its place."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from tests.core.vectors import load
from tests.link.recorder import Recorder, over_tls
from tests.link.test_lane import Producer
from tests.link.wire import (
    ALICE,
    PEER,
    LocalWire,
    RawClient,
    RawPeer,
    SocketWire,
    frame,
    identity,
    wrapped,
)
from tests.server.resuming import NOTHING
from tests.server.rig import Rig
from twisted_rsh.client.errors import ForeignServer, NoServer, NotARemoteShell, ServerBusy, WrongServer
from twisted_rsh.client.link import ClientLink
from twisted_rsh.core.codec import encode
from twisted_rsh.core.limits import MAX_FRAME_BYTES
from twisted_rsh.core.local_handshake import PEER_CREDENTIALS, ClientHello, ServerHello
from twisted_rsh.core.messages import Auth, AuthFail, AuthOk, ResumeFail, ResumeOk
from twisted_rsh.core.resuming import ClientProof
from twisted_rsh.link.credentials import PeerCredentials, peer_credentials, trusted_servers
from twisted_rsh.link.lane import LocalLane
from twisted_rsh.link.local import END, LocalClientLayer, LocalServerLayer
from twisted_rsh.link.tls import BUFFER_BYTES, BUSY_ALERT, MAX_LOGIN_BYTES, PinnedClientTLS, ServerTLS
from twisted_rsh.trust.cred import VerifiedPeer

TRANSPORTS = (LocalWire,)

MALFORMED: list[dict[str, str]] = load("local")["malformed"]


class Dialled:
    """A real client's layer and link over a Unix socket.

    :ivar found: what the application gets: the link, or an error.
    """

    def __init__(self, *pins: bytes, trusted: frozenset[int] = frozenset({PEER.uid})) -> None:
        self.clock = Clock()
        found: Deferred[ClientLink] = Deferred()
        self.found: list[object] = []
        self.link = ClientLink(self.clock, PinnedClientTLS(*pins), pins, found)
        found.addCallbacks(self.found.append, lambda failure: self.found.append(failure.value))
        self.layer = LocalClientLayer(self.link, trusted)
        self.wire = LocalWire(self.clock)
        self.wire.connect(self.layer)

    def answer(self, data: bytes) -> object:
        """Let the server send bytes; return what the application gets."""
        self.wire.arrive(data)
        (outcome,) = self.found
        return outcome


def hello(pin: bytes = bytes(32)) -> bytes:
    """Return a server's frame of the handshake."""
    return frame(ServerHello(bytes(32), pin).pack())


@pytest.mark.parametrize("vector", [one for one in MALFORMED if one["sender"] == "client"], ids=lambda v: v["what"])
def test_a_client_that_greets_wrongly(rig: Rig, vector: dict[str, str]) -> None:
    """The server aborts at the last byte that is wrong, and not before, with a penalty as for any breach."""
    data = bytes.fromhex(vector["bytes"])
    wire = LocalWire(rig.clock)
    wire.connect(rig.protocol())
    wire.arrive(data[:-1])
    assert not wire.aborted()
    wire.arrive(data[-1:])
    assert wire.aborted()
    assert wire.take() == b""
    rig.clock.advance(0)
    assert (rig.waiting, rig.links) == (0, set())


@pytest.mark.parametrize("vector", [one for one in MALFORMED if one["sender"] == "server"], ids=lambda v: v["what"])
def test_a_server_that_greets_wrongly(vector: dict[str, str]) -> None:
    """The client says what it met, and sends nothing."""
    dialled = Dialled()
    dialled.wire.take()
    outcome = dialled.answer(bytes.fromhex(vector["bytes"]))
    assert isinstance(outcome, NotARemoteShell)
    assert dialled.wire.aborted()
    assert dialled.wire.take() == b""


def test_greetings_in_crumbs() -> None:
    """Both ends take the other's frame byte by byte; a server that has another pin than expected is none."""
    clock = Clock()
    crumbs = Recorder(clock)
    wire = LocalWire(clock)
    wire.connect(LocalServerLayer(crumbs, bytes(32), PEER))
    for byte in frame(ClientHello(bytes(32)).pack()) + frame(b"first"):
        assert crumbs.frames == []
        wire.arrive(bytes([byte]))
    assert crumbs.frames == [b"first"]
    dialled = Dialled(identity().pin)
    for byte in hello(identity().pin):
        assert dialled.found == []
        dialled.wire.arrive(bytes([byte]))
    assert dialled.found == [dialled.link]
    assert dialled.link.pin == identity().pin
    assert isinstance(Dialled(identity().pin).answer(hello()), WrongServer)


def test_a_server_that_is_busy() -> None:
    """The seven bytes of an alert, and the end of the connection, are the answer of a server without room."""
    dialled = Dialled()
    for byte in BUSY_ALERT:
        dialled.wire.arrive(bytes([byte]))
    assert dialled.found == []
    dialled.wire.lose()
    assert isinstance(dialled.found[0], ServerBusy)


def test_a_server_that_says_nothing() -> None:
    """A connection that ends before the greeting is one that may be tried again."""
    dialled = Dialled()
    dialled.wire.lose()
    assert isinstance(dialled.found[0], NoServer)


def test_a_server_of_another_user() -> None:
    """Nothing is sent to a process of a user who is not trusted; the error names the user."""
    dialled = Dialled(trusted=frozenset({PEER.uid + 1}))
    (outcome,) = dialled.found
    assert isinstance(outcome, ForeignServer)
    assert outcome.uid == PEER.uid
    assert dialled.wire.take() == b""
    assert dialled.wire.aborted()


def test_whom_a_client_trusts() -> None:
    """The client's own user and root; and the owner of a file that the user has named."""
    assert trusted_servers(1000, None) == {0, 1000}
    assert trusted_servers(1000, 2000) == {0, 1000, 2000}


def test_the_login_names_the_process(rig: Rig, logged: list[LogEvent]) -> None:
    """The portal gets the user that the system names, and the log names the process."""
    client = rig.log_in()
    [asked] = rig.checker.asked
    assert asked == VerifiedPeer(ALICE, PEER.uid, f"unix uid {PEER.uid} pid {PEER.pid}")
    assert asked.fingerprint == f"uid {PEER.uid}"
    lines = [formatEvent(event) for event in logged]
    assert any(f"alice from unix uid {PEER.uid} pid 4711 logged in with uid {PEER.uid}" in line for line in lines)
    assert isinstance(rig.link_of(client).tls, LocalLane)


@pytest.mark.parametrize(
    "claim",
    [
        {"algorithm": "ssh-ed25519"},
        {"key": b"x"},
        {"signature": b"x"},
        {"invitation": bytes(8), "invitation_proof": bytes(32)},
        {"user": "bob"},
    ],
    ids="-".join,
)
def test_any_other_claim_is_refused(rig: Rig, claim: dict[str, Any]) -> None:
    """A-01: a key, a signature or an invitation is of no use without TLS, and neither is another name."""
    client = rig.connect()
    whole: dict[str, Any] = {"user": ALICE, "algorithm": PEER_CREDENTIALS, "key": b"", "signature": b""}
    client.send(frame(encode(Auth(**(whole | claim)))))
    assert client.frames() == [encode(AuthFail())]
    assert not rig.sessions


def test_another_user_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-02: the user whom the system names must be the server's own."""
    monkeypatch.setattr(os, "geteuid", lambda: PEER.uid + 1)
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    assert client.frames() == [encode(AuthFail())]


@pytest.mark.parametrize("transport", [SocketWire], indirect=True)
def test_no_peer_logs_in_over_tls(rig: Rig) -> None:
    """Over TLS the system names no user, and a claim without a key is refused before the portal hears of it."""
    client = rig.connect()
    client.send(frame(encode(Auth(user=ALICE, algorithm=PEER_CREDENTIALS, key=b"", signature=b""))))
    assert client.frames() == [encode(AuthFail())]
    assert rig.checker.asked == []


def test_tls_over_a_unix_socket(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that begins TLS gets it, and logs in with its key, as at an endpoint of an application."""

    class Encrypted(LocalWire):
        pass

    monkeypatch.setattr(RawPeer, "transport", Encrypted)
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    (answer,) = client.frames()
    assert answer[0] == AuthOk.declaration.number
    assert rig.checker.asked[0].fingerprint.startswith("SHA256:")


def test_a_session_stays_with_its_kind_of_link(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-01: a session goes on over another Unix socket of the same user, and over no TLS; nor the other way round."""

    def resumed(proof: ClientProof) -> int:
        client = rig.connect()
        client.send(frame(encode(proof.claim(client.binding(rig.pin), NOTHING))))
        return client.frames()[0][0]

    begun: dict[type, RawClient] = {}
    for kind in (LocalWire, SocketWire):
        monkeypatch.setattr(RawPeer, "transport", kind)
        begun[kind] = rig.log_in()
        begun[kind].wire.lose()
    for kind, other in ((LocalWire, SocketWire), (SocketWire, LocalWire)):
        proof = ClientProof(begun[kind].session, begun[kind].secret(0))
        monkeypatch.setattr(RawPeer, "transport", other)
        assert resumed(proof) == ResumeFail.declaration.number
        monkeypatch.setattr(RawPeer, "transport", kind)
        assert resumed(proof) == ResumeOk.declaration.number


def test_a_flood_before_the_login() -> None:
    """R-01: more than 64 KiB before a session end the link, whatever they are."""
    link, client = over_tls()
    client.send(frame(b"x") * (MAX_LOGIN_BYTES // 5 + 1))
    assert "before the login" in link.reasons[0]


@pytest.mark.parametrize("in_session", [False, True])
def test_the_peer_ends_the_link(in_session: bool) -> None:
    """Frames before the end are handled, the end is answered with one, and the link has ended cleanly."""
    link, client = over_tls()
    if in_session:
        link.session_began()
    client.send(frame(b"last") + END + frame(b"behind"))
    assert link.frames == [b"last"]
    assert client.closed
    assert client.received == b""
    assert link.ended_cleanly


@pytest.mark.parametrize("in_session", [False, True])
def test_our_end_of_the_link(in_session: bool) -> None:
    """A link that closes waits for the peer's end, which tells that all it has written has arrived."""
    link, client = over_tls()
    if in_session:
        link.session_began()
    link.write_frames([b"last"])
    link.close()
    link.close()
    client.exchange()
    assert client.frames() == [b"last"]
    assert client.closed
    assert not client.wire.is_over
    client.connection.shutdown()
    client.exchange()
    assert link.ended_cleanly
    assert client.wire.take() == b""


def test_a_connection_that_just_closes() -> None:
    """Without the end of the link its connection was lost, whichever end has closed it."""
    link, client = over_tls()
    link.close()
    client.wire.lose()
    assert link.reasons
    assert not link.ended_cleanly


def test_a_full_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system does not take waits in the lane, which pauses the producer; Twisted gets it back at the end."""
    link, client = over_tls()
    link.session_began()
    lane = link.tls
    assert isinstance(lane, LocalLane)
    producer = Producer()
    lane.registerProducer(producer, True)
    monkeypatch.setattr(lane, "_send", lambda data: min(len(data), 1000))
    for _ in range(2 + BUFFER_BYTES // MAX_FRAME_BYTES):
        link.write_frames([bytes(MAX_FRAME_BYTES)])
    assert producer.calls == ["pause"]
    waiting = lane.unsent
    link.close()
    client.exchange()
    assert sum(map(len, client.frames())) < waiting
    assert link.tls is not lane


def test_bytes_on_the_wire() -> None:
    """The link's frames are what the socket carries."""
    link, client = over_tls()
    link.session_began()
    link.write_frames([b"one", b"two"])
    assert client.wire.take() == frame(b"one") + frame(b"two")


def test_a_system_without_peer_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client sends nothing where the system does not name the other end, and the server takes TLS alone."""
    monkeypatch.delattr(socket, "SO_PEERCRED")
    monkeypatch.delattr(socket, "LOCAL_PEERCRED", raising=False)
    assert isinstance(Dialled().found[0], NotARemoteShell)
    rig = Rig()
    wire = LocalWire(rig.clock)
    wire.connect(rig.protocol())
    wire.arrive(frame(ClientHello(bytes(32)).pack()))
    assert wire.is_over
    assert wire.take() == b""


@pytest.mark.parametrize("version", [0, 1])
def test_credentials_as_freebsd_has_them(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """``struct xucred`` begins with a version, which must be 0, and the user."""

    class Handle:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (0, 1)
            return struct.pack("II", version, 1234).ljust(min(size, 76), b"\0")

    class Transport:
        def getHandle(self) -> Handle:
            return Handle()

    monkeypatch.delattr(socket, "SO_PEERCRED")
    monkeypatch.setattr(socket, "LOCAL_PEERCRED", 1, raising=False)
    if version:
        with pytest.raises(OSError, match="unknown way"):
            peer_credentials(Transport())
    else:
        assert peer_credentials(Transport()) == PeerCredentials(1234, None)
        assert str(peer_credentials(Transport())) == "unix uid 1234"


def test_the_layers_of_both_ends_meet() -> None:
    """A real client and a real server export the same secrets, other ones on each link."""
    exported = set()
    for _ in range(2):
        clock = Clock()
        layer = wrapped(clock, Recorder(clock), ServerTLS(identity().private_key, identity().certificate))
        wire = LocalWire(clock)
        dialled = Dialled()
        wire.connect(layer)
        wire.arrive(dialled.wire.take())
        dialled.wire.arrive(wire.take())
        ends = [one.getHandle().export_keying_material(b"label", 32, b"") for one in (layer, dialled.layer)]
        assert ends[0] == ends[1]
        exported.add(ends[0])
    assert len(exported) == 2
