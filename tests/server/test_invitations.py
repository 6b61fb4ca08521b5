"""Invitations at a server: each lets one key in, once, over the connection that it was proven on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from twisted.cred.portal import Portal
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import ALICE, RawClient, client_key, frame, unframe
from tests.server.rig import Rig
from twisted_rsh.core.codec import Decoder, encode
from twisted_rsh.core.limits import MAX_INVITATION_FAILURES
from twisted_rsh.core.messages import Auth, AuthFail, AuthOk, Unavailable
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.server.invitations import MAX_INVITATIONS, Invitations, TooManyInvitations
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.trust.authorized_keys import parse_authorized_keys
from twisted_rsh.trust.cred import AuthorizedKeysChecker
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.invitation import invitation_name, invitation_proof

SECONDS = 600.0


@dataclass
class Inviting:
    """A server in memory that reads the keys of a folder, and its invitations."""

    rig: Rig
    config: ConfigFolders
    invitations: Invitations

    @property
    def keys(self) -> list[bytes]:
        """The keys that were added."""
        path = Path(self.config.authorized_keys_path)
        return sorted(parse_authorized_keys(path.read_bytes()).blobs) if path.exists() else []

    def claim(self, client: RawClient, secret: bytes, which: int = 1) -> Auth:
        """Make the AUTH of an invited client."""
        key = client_key(which)
        proof = invitation_proof(
            secret, exporter=client.exporter, server_spki_sha256=self.rig.pin, user=ALICE, key_blob=key.blob
        )
        return Auth(
            user=ALICE,
            algorithm=key.algorithm,
            key=key.blob,
            signature=key.sign_login(client.exporter, self.rig.pin, ALICE),
            invitation=invitation_name(secret),
            invitation_proof=proof,
        )

    def answer(self, client: RawClient, claim: Auth) -> object:
        """Send an AUTH and return the answer."""
        client.send(frame(encode(claim)))
        *_, payload = unframe(client.received)
        return Decoder(Role.CLIENT, Phase.LOGIN).decode(payload)[1]


@pytest.fixture
def inviting(rig: Rig, tmp_path: Path) -> Inviting:
    """The server."""
    config = ConfigFolders.at(str(tmp_path / "rsh"))
    rig.factory.portal = Portal(SingleUserRealm(rig.user), [AuthorizedKeysChecker(config, ALICE)])
    rig.factory.invitations = Invitations(rig.clock, config)
    return Inviting(rig, config, rig.factory.invitations)


def test_an_invited_key_logs_in(inviting: Inviting, logged: list[LogEvent]) -> None:
    """A-22: the key is added once, with a comment, and logs in; the next client with the same line is refused."""
    secret = inviting.invitations.make(SECONDS)
    client = inviting.rig.connect()
    assert isinstance(inviting.answer(client, inviting.claim(client, secret)), AuthOk)
    assert inviting.keys == [client_key(1).blob]
    assert " invited 20" in Path(inviting.config.authorized_keys_path).read_text()
    again = inviting.rig.connect()
    assert isinstance(inviting.answer(again, inviting.claim(again, secret, 2)), AuthFail)
    assert inviting.keys == [client_key(1).blob]
    plain = inviting.rig.connect()
    assert isinstance(
        inviting.answer(plain, replace(inviting.claim(plain, secret), invitation=None, invitation_proof=None)), AuthOk
    )
    assert not any(secret.hex() in formatEvent(event) for event in logged)


def test_two_clients_at_once(inviting: Inviting) -> None:
    """A-22: of two clients that use one line at the same time, one gets in."""
    secret = inviting.invitations.make(SECONDS)
    clients = [inviting.rig.connect() for _ in range(2)]
    claims = [inviting.claim(client, secret, which) for which, client in enumerate(clients, start=1)]
    answers = [inviting.answer(client, claim) for client, claim in zip(clients, claims, strict=True)]
    assert [type(answer) for answer in answers] == [AuthOk, AuthFail]
    assert inviting.keys == [client_key(1).blob]


@pytest.mark.parametrize(("seconds", "lasts"), [(SECONDS - 0.01, True), (SECONDS, False)])
def test_expiry(inviting: Inviting, seconds: float, lasts: bool) -> None:
    """A-22: an invitation can be used until its time is over, and not then."""
    secret = inviting.invitations.make(SECONDS)
    inviting.rig.clock.advance(seconds)
    client = inviting.rig.connect()
    assert isinstance(inviting.answer(client, inviting.claim(client, secret)), AuthOk if lasts else AuthFail)
    assert bool(inviting.keys) is lasts


@pytest.mark.parametrize(("failures", "lasts"), [(MAX_INVITATION_FAILURES - 1, True), (MAX_INVITATION_FAILURES, False)])
def test_wrong_proofs(inviting: Inviting, failures: int, lasts: bool) -> None:
    """A-22: the fifth wrong proof ends the invitation, the fourth does not."""
    secret = inviting.invitations.make(SECONDS)
    for _ in range(failures):
        client = inviting.rig.connect()
        claim = replace(inviting.claim(client, secret), invitation_proof=bytes(32))
        assert isinstance(inviting.answer(client, claim), AuthFail)
    assert inviting.keys == []
    client = inviting.rig.connect()
    assert isinstance(inviting.answer(client, inviting.claim(client, secret)), AuthOk if lasts else AuthFail)


def test_strangers_end_no_invitation(inviting: Inviting) -> None:
    """A-22: a client that does not know the name of an invitation cannot use it up, however often it tries."""
    secret = inviting.invitations.make(SECONDS)
    for number in range(2 * MAX_INVITATION_FAILURES):
        client = inviting.rig.connect(f"192.0.2.{number}")
        assert isinstance(inviting.answer(client, inviting.claim(client, bytes(16))), AuthFail)
        client.wire.lose()
    client = inviting.rig.connect()
    assert isinstance(inviting.answer(client, inviting.claim(client, secret)), AuthOk)


def test_replay(inviting: Inviting) -> None:
    """A-23: what was sent on one connection is refused on another, with the signature or with one that fits."""
    secret = inviting.invitations.make(SECONDS)
    first, second, third = (inviting.rig.connect() for _ in range(3))
    recorded = inviting.claim(first, secret)
    assert isinstance(inviting.answer(second, recorded), AuthFail)
    fresh = inviting.claim(third, secret)
    assert isinstance(inviting.answer(third, replace(fresh, invitation_proof=recorded.invitation_proof)), AuthFail)
    assert inviting.keys == []


@pytest.mark.parametrize("missing", ["invitation", "invitation_proof"])
def test_half_an_invitation(inviting: Inviting, missing: str) -> None:
    """One member without the other is a wrong proof, also for a key that may log in."""
    secret = inviting.invitations.make(SECONDS)
    client = inviting.rig.connect()
    claim = replace(inviting.claim(client, secret), **{missing: None})  # type: ignore[arg-type]  # both are bytes or None
    assert isinstance(inviting.answer(client, claim), AuthFail)


def test_the_signature_comes_first(inviting: Inviting) -> None:
    """An invitation is not used up by a client that does not hold the key which it names."""
    secret = inviting.invitations.make(SECONDS)
    client = inviting.rig.connect()
    claim = inviting.claim(client, secret)
    assert isinstance(inviting.answer(client, replace(claim, signature=bytes(10))), AuthFail)
    assert isinstance(inviting.answer(client, claim), AuthOk)


def test_wrong_invitations_are_punished(inviting: Inviting) -> None:
    """A wrong invitation counts as a login that failed: the third one has its source refused for a while."""
    for _ in range(3):
        client = inviting.rig.connect("192.0.2.9")
        assert isinstance(inviting.answer(client, inviting.claim(client, bytes(16))), AuthFail)
        client.wire.lose()
    assert inviting.rig.factory.strangers.penalties.refuses("192.0.2.9")


def test_a_file_that_cannot_be_written(inviting: Inviting, logged: list[LogEvent]) -> None:
    """A server that cannot keep the key says so, uses the invitation up, and names the file in its log alone."""
    secret = inviting.invitations.make(SECONDS)
    path = Path(inviting.config.authorized_keys_path)
    path.parent.mkdir(mode=0o700)
    path.write_text("")
    path.chmod(0o666)
    client = inviting.rig.connect()
    answer = inviting.answer(client, inviting.claim(client, secret))
    assert isinstance(answer, Unavailable)
    assert answer.text == "the server cannot keep your key, and its log says why; ask for another invitation"
    assert path.read_text() == ""
    assert any("chmod go-w" in formatEvent(event) for event in logged)
    path.chmod(0o600)
    client = inviting.rig.connect()
    assert isinstance(inviting.answer(client, inviting.claim(client, secret)), AuthFail)


def test_lines_of_the_user_stay(inviting: Inviting) -> None:
    """Adding a key leaves the lines of the file as they are, and a key that is there is not added again."""
    path = Path(inviting.config.authorized_keys_path)
    path.parent.mkdir(mode=0o700)
    text = f"# mine\n{client_key(1).public_line} me"
    path.write_text(text)
    for which in (1, 2):
        client = inviting.rig.connect()
        secret = inviting.invitations.make(SECONDS)
        assert isinstance(inviting.answer(client, inviting.claim(client, secret, which)), AuthOk)
    lines = path.read_text().splitlines()
    assert lines[:2] == text.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith(f"{client_key(2).public_line} invited ")


def test_a_server_without_invitations(rig: Rig) -> None:
    """A server whose application decides about keys refuses every invitation."""
    client = rig.connect()
    key = client_key()
    claim = Auth(
        user=ALICE,
        algorithm=key.algorithm,
        key=key.blob,
        signature=key.sign_login(client.exporter, rig.pin, ALICE),
        invitation=bytes(8),
        invitation_proof=bytes(32),
    )
    client.send(frame(encode(claim)))
    assert unframe(client.received) == [encode(AuthFail())]


def test_how_many_there_may_be(inviting: Inviting) -> None:
    """There may be four invitations at once; one that is over or used makes room."""
    for _ in range(MAX_INVITATIONS):
        inviting.invitations.make(SECONDS)
    with pytest.raises(TooManyInvitations, match="has 4 invitations"):
        inviting.invitations.make(SECONDS)
    inviting.rig.clock.advance(SECONDS)
    assert len({inviting.invitations.make(SECONDS) for _ in range(MAX_INVITATIONS)}) == 4
