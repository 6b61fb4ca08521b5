"""The line of an invitation, and the proof that a client has it."""

from __future__ import annotations

import pytest

from twisted_rsh.core.limits import INVITATION_NAME_BYTES, PROOF_BYTES
from twisted_rsh.trust.invitation import SECRET_BYTES, BadInvitation, Invitation, invitation_name, invitation_proof

PIN = bytes(range(32))
SECRET = bytes(range(100, 100 + SECRET_BYTES))
LINE = (
    "rsh1:alice@build.example.org:8082:aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq:mrswmz3infvgw3dnnzxxa4lsom"
)


@pytest.mark.parametrize(
    ("user", "host", "port"),
    [
        ("alice", "build.example.org", 8082),
        ("alice", "2001:db8::1", 1),
        ("EXAMPLE\\al ice@corp:'\u00e9", "192.0.2.7", 65535),
    ],
)
def test_line_and_back(user: str, host: str, port: int) -> None:
    """What the line says is read again as it was, and nothing in it is special to a shell."""
    invitation = Invitation(user, host, port, PIN, SECRET)
    assert Invitation.parse(f"  {invitation.line}\n") == invitation
    assert Invitation.is_line(invitation.line)
    assert not set(invitation.line) & set(" \t\n'\"\\$`;&|<>(){}*?!#")


def test_the_line_is_as_documented() -> None:
    """The form of the line stays, since a server and a client may be of different versions."""
    assert Invitation("alice", "build.example.org", 8082, PIN, SECRET).line == LINE


def test_the_secret_is_not_shown() -> None:
    """The secret is in no representation, which may get into a log."""
    assert "secret" not in repr(Invitation("alice", "build", 8082, PIN, SECRET))


@pytest.mark.parametrize(
    "text",
    [
        "",
        LINE[:-1],
        LINE + "a",
        LINE.upper(),
        LINE.replace("rsh1", "rsh2"),
        LINE.replace("alice@", ""),
        LINE.replace("alice", "%ff"),
        LINE.replace("8082", "0"),
        LINE.replace("8082", "65536"),
        LINE.replace("build.example.org", "::1"),
        LINE.replace(":8082", ""),
        LINE + "\n" + LINE,
        LINE[:-1] + "b",
    ],
)
def test_anything_else(text: str) -> None:
    """A line that was copied in part or changed is refused, without its secret in the error."""
    with pytest.raises(BadInvitation) as caught:
        Invitation.parse(text)
    assert str(caught.value).isprintable()
    assert LINE[-20:-2] not in str(caught.value)


def test_proof_covers_everything() -> None:
    """A-23: the proof is another one for another secret, connection, server, user or key."""
    given = {"exporter": bytes(32), "server_spki_sha256": PIN, "user": "alice", "key_blob": b"key"}
    changed = [
        (SECRET, given),
        (bytes(SECRET_BYTES), given),
        (SECRET, given | {"exporter": bytes([1]) * 32}),
        (SECRET, given | {"server_spki_sha256": bytes(32)}),
        (SECRET, given | {"user": "alic", "key_blob": b"ekey"}),
        (SECRET, given | {"key_blob": b"another key"}),
    ]
    proofs = {invitation_proof(secret, **values) for secret, values in changed}  # type: ignore[arg-type]
    assert len(proofs) == len(changed)
    assert {len(proof) for proof in proofs} == {PROOF_BYTES}
    assert len(invitation_name(SECRET)) == INVITATION_NAME_BYTES
    assert invitation_name(SECRET) != invitation_name(bytes(SECRET_BYTES))
