"""Proofs of ownership: the vectors, recomputed by hand from the protocol's formula, and the proofs that are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from typing import Any

import pytest

from tests.core.pair import SESSION_ID
from tests.core.vectors import load
from twisted_rsh.core.codec import Decoder, encode
from twisted_rsh.core.errors import LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.messages import Positions, Resume, ResumeOk
from twisted_rsh.core.resuming import SECRET_LABEL, ClientProof, LinkBinding, ServerProof, secret_context
from twisted_rsh.core.roles import Phase, Role

VECTORS: dict[str, Any] = load("resume")
ATTEMPTS: list[dict[str, Any]] = VECTORS["attempts"]
SESSION, PIN = bytes.fromhex(VECTORS["session"]), bytes.fromhex(VECTORS["pin"])
LINK = LinkBinding(bytes(32), PIN)
HERE = Positions(3)


def resume(payload: str) -> Resume:
    """Return the RESUME of this payload."""
    _, message = Decoder(Role.SERVER, Phase.LOGIN).decode(bytes.fromhex(payload))
    assert isinstance(message, Resume)
    return message


def by_hand(label: str, secret: str, attempt: dict[str, Any], positions: str) -> str:
    """Return the proof as docs/protocol.rst says it: every part is bytes of one size, one behind the other."""
    message = (
        label.encode()
        + bytes.fromhex(attempt["exporter"])
        + PIN
        + SESSION
        + attempt["attempt"].to_bytes(8, "big")
        + hashlib.sha256(bytes.fromhex(positions)).digest()
    )
    return hmac.new(bytes.fromhex(secret), message, hashlib.sha256).hexdigest()


def secret_of(attempt: int) -> str:
    """Return the secret of the link that began with this attempt, or with the login."""
    return str(ATTEMPTS[attempt - 1]["secret"] if attempt else VECTORS["secret"])


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: f"attempt {attempt['attempt']}")
def test_vectors_by_hand(attempt: dict[str, Any]) -> None:
    """Every proof is the HMAC of what the protocol lists, and stands in its message."""
    secret = secret_of(attempt["made_with"])
    proof = by_hand("twisted-rsh/1 resume client", secret, attempt, attempt["client_positions"])
    assert proof == attempt["client_proof"]
    number = attempt["attempt"].to_bytes(8, "big")
    payload = b"\x04" + SESSION + number + bytes.fromhex(proof + attempt["client_positions"])
    assert payload.hex() == attempt["resume"]
    if attempt["outcome"] != "lost":
        proof = by_hand("twisted-rsh/1 resume server", secret, attempt, attempt["server_positions"])
        assert proof == attempt["server_proof"]
        assert "05" + proof + attempt["server_positions"] == attempt["resume_ok"]


def test_vectors_by_the_core() -> None:
    """M-11, M-12: both sides go through all attempts, with the right secret each time; then all forgeries fail."""
    client = ClientProof(SESSION, bytes.fromhex(VECTORS["secret"]))
    server = ServerProof(SESSION, bytes.fromhex(VECTORS["secret"]))
    for attempt in ATTEMPTS:
        link, fresh = LinkBinding(bytes.fromhex(attempt["exporter"]), PIN), bytes.fromhex(attempt["secret"])
        told = resume(attempt["resume"])
        claim = client.claim(link, told.positions)
        assert encode(claim).hex() == attempt["resume"]
        if attempt["outcome"] == "lost":
            continue
        assert server.verifies(claim, link)
        answer = server.accept(claim, link, Positions.unpack(bytes.fromhex(attempt["server_positions"]), 1), fresh)
        assert encode(answer).hex() == attempt["resume_ok"]
        assert not server.verifies(claim, link)
        if attempt["outcome"] == "resumed":
            client.confirm(claim, answer, link, fresh)
        if attempt["confirmed"]:
            server.confirm()
    for forgery in VECTORS["refused"]:
        link = LinkBinding(bytes.fromhex(forgery["exporter"]), PIN)
        assert not server.verifies(resume(forgery["resume"]), link), forgery["why"]
    link = LinkBinding(bytes.fromhex(VECTORS["refused"][0]["exporter"]), PIN)
    assert server.verifies(client.claim(link, Positions(0)), link)


def test_the_vectors_show_the_two_steps() -> None:
    """One proof has the old secret behind a lost answer, and one has the new secret behind an answer that arrived."""
    assert {attempt["outcome"] for attempt in ATTEMPTS} == {"lost", "answer lost", "resumed"}
    assert [attempt["made_with"] for attempt in ATTEMPTS] == [0, 0, 0, 3, 4]
    assert bytes.fromhex(VECTORS["secret_label"]) == SECRET_LABEL
    assert bytes.fromhex(VECTORS["client_label"]) == b"twisted-rsh/1 resume client"
    assert bytes.fromhex(VECTORS["server_label"]) == b"twisted-rsh/1 resume server"


def test_the_context_of_a_secret() -> None:
    """The context is the session and the attempt in eight bytes."""
    assert secret_context(SESSION_ID, 0) == SESSION_ID + bytes(8)
    assert secret_context(SESSION_ID, 258) == SESSION_ID + bytes(6) + b"\x01\x02"


def proofs() -> tuple[ClientProof, ServerProof]:
    """Return both sides' proofs after a login."""
    return ClientProof(SESSION_ID, b"first"), ServerProof(SESSION_ID, b"first")


def test_an_attempt_counts_once() -> None:
    """M-09, M-12: an accepted attempt is refused when it comes again, and so is an earlier one."""
    client, server = proofs()
    early, late = client.claim(LINK, HERE), client.claim(LINK, HERE)
    server.accept(late, LINK, HERE, b"second")
    assert not server.verifies(early, LINK)
    assert not server.verifies(late, LINK)
    assert server.verifies(client.claim(LINK, HERE), LINK)


def test_both_secrets_until_the_client_is_heard() -> None:
    """M-11: the old secret is good until the client sends something on the new link, and never again."""
    client, server = proofs()
    thief = ClientProof(SESSION_ID, b"first")
    thief._attempt = 10
    claim = client.claim(LINK, HERE)
    client.confirm(claim, server.accept(claim, LINK, HERE, b"second"), LINK, b"second")
    assert server.verifies(client.claim(LINK, HERE), LINK)
    assert server.verifies(thief.claim(LINK, HERE), LINK)
    server.confirm()
    assert not server.verifies(thief.claim(LINK, HERE), LINK)
    assert server.verifies(client.claim(LINK, HERE), LINK)
    server.confirm()
    assert server.verifies(client.claim(LINK, HERE), LINK)


def test_an_answer_to_what_was_given_up() -> None:
    """M-09: a client refuses the answer to an attempt that it gave up, and accepts that to its latest."""
    client, server = proofs()
    early = client.claim(LINK, HERE)
    answer = server.accept(early, LINK, HERE, b"second")
    late = client.claim(LINK, HERE)
    with pytest.raises(LocalProtocolError):
        client.confirm(early, answer, LINK, b"second")
    assert server.verifies(late, LINK)
    client.confirm(late, server.accept(late, LINK, HERE, b"third"), LINK, b"third")
    server.confirm()
    assert server.verifies(client.claim(LINK, HERE), LINK)


def test_another_server() -> None:
    """M-20: an answer without the secret changes nothing, whatever is wrong with it."""
    client, server = proofs()
    claim = client.claim(LINK, HERE)
    answer = server.accept(claim, LINK, HERE, b"second")
    wrong: list[tuple[ResumeOk, LinkBinding]] = [
        (dataclasses.replace(answer, proof=bytes(32)), LINK),
        (dataclasses.replace(answer, proof=claim.proof), LINK),
        (dataclasses.replace(answer, positions=Positions(4)), LINK),
        (answer, LinkBinding(b"\1" * 32, PIN)),
        (answer, LinkBinding(bytes(32), bytes(32))),
    ]
    for forged, link in wrong:
        with pytest.raises(RemoteProtocolError):
            client.confirm(claim, forged, link, b"second")
    client.confirm(claim, answer, LINK, b"second")
