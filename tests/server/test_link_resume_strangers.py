"""RESUME by a stranger, or with impossible values: the session is untouched, and the answer tells nothing about it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent

from tests.link.wire import failures, frame
from tests.server.resuming import FAIL, NOTHING, Resumer, answers, is_alive, lines, refusal
from tests.server.rig import Rig
from twisted_rsh.core.codec import encode
from twisted_rsh.core.limits import DEFAULT_WINDOW, MAX_OFFSET
from twisted_rsh.core.messages import Credit, Open, Positions, Resume, ResumeFail
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.resuming import ClientProof, LinkBinding, ServerProof
from twisted_rsh.core.roles import Stream
from twisted_rsh.limited_log import LINES_A_MINUTE
from twisted_rsh.link.tls import REFUSED_ALERT

OPEN = Open(channel=1, request=JobRequest(command="true"))


# Nobody else.


def test_a_stolen_identifier(logged: list[LogEvent]) -> None:
    """M-10: without the secret all of 10,000 resumes are refused, in the same way as for an unknown identifier."""
    rig = Rig(penalties=False)
    resumer = Resumer(rig)
    client = resumer.client
    thief = rig.connect()
    binding = thief.binding(rig.pin)
    for number in range(10_000):
        claim = ClientProof(resumer.session, number.to_bytes(32, "big")).claim(binding, NOTHING)
        assert rig.factory.sessions.find_resumable(claim, binding) is None
    received = set()
    for identifier in (resumer.session, bytes(16)):
        for number in range(LINES_A_MINUTE):
            one = rig.connect()
            claim = ClientProof(identifier, number.to_bytes(32, "big")).claim(one.binding(rig.pin), NOTHING)
            one.send(frame(encode(claim)))
            assert one.closed
            received.add(one.received)
            one.wire.lose()
    assert received == {frame(FAIL)}
    assert len(rig.checker.asked) == 1  # the login's: what is not proven is not looked up
    assert is_alive(client)
    refused = [line for line in lines(logged) if "refused" in line]
    assert len(refused) == LINES_A_MINUTE  # nobody fills the log
    assert refused[0].endswith(" from 192.0.2.7:50000 refused: there is no such session, or this is not its client")


def test_a_thief_is_shut_out(rig: Rig) -> None:
    """M-10: a refused resume has a penalty like a refused login; the session does not notice."""
    resumer = Resumer(rig)
    for number in range(3):
        thief = rig.connect(host="192.0.2.7")
        claim = ClientProof(resumer.session, number.to_bytes(32, "big")).claim(thief.binding(rig.pin), NOTHING)
        thief.send(frame(encode(claim)))
        assert thief.received == frame(FAIL)
    assert rig.answer_at_once(IPv4Address("TCP", "192.0.2.7", 50001)) == REFUSED_ALERT
    assert is_alive(resumer.client)


def test_the_same_work_for_nobody(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-10: the server also computes a proof for an unknown identifier, so that the time tells nothing."""
    resumer = Resumer(rig)
    client = rig.connect()
    binding = client.binding(rig.pin)
    computed: list[bytes] = []
    holds = ServerProof.verifies

    def counting(proof: ServerProof, claim: Resume, link: LinkBinding) -> bool:
        computed.append(claim.session)
        return holds(proof, claim, link)

    monkeypatch.setattr(ServerProof, "verifies", counting)
    for identifier in (resumer.session, bytes(16)):
        claim = ClientProof(identifier, bytes(32)).claim(binding, NOTHING)
        assert rig.factory.sessions.find_resumable(claim, binding) is None
    assert computed == [resumer.session, bytes(16)]


def test_a_retired_secret(rig: Rig) -> None:
    """M-11: the secret of an earlier link is of no use once the client has spoken over the new one."""
    resumer = Resumer(rig)
    thief = copy.copy(resumer.proof)
    client = resumer.resume()
    thief.claim(client.binding(rig.pin), NOTHING)
    assert is_alive(client)
    other = rig.connect()
    claim = thief.claim(other.binding(rig.pin), NOTHING)
    other.send(frame(encode(claim)))
    assert other.frames() == [FAIL]
    assert is_alive(client)


def test_a_replayed_resume(rig: Rig) -> None:
    """M-12: a RESUME is of no use on another connection or at another server."""
    resumer = Resumer(rig)
    given_up = rig.connect()
    claim = resumer.claim(given_up)
    assert refusal(rig, claim) == frame(FAIL)
    other = rig.connect()
    elsewhere = resumer.proof.claim(other.binding(bytes(32)), NOTHING)
    other.send(frame(encode(elsewhere)))
    assert other.frames() == [FAIL]
    assert is_alive(resumer.client)


@pytest.mark.parametrize("changed", ["session", "attempt", "positions"])
def test_every_part_is_proven(rig: Rig, changed: str) -> None:
    """M-12: a proof covers the whole RESUME."""
    one, two = Resumer(rig), Resumer(rig)
    client = rig.connect()
    claim = one.claim(client)
    if changed == "session":
        claim = replace(claim, session=two.session)
    elif changed == "attempt":
        claim = replace(claim, attempt=2)
    else:
        claim = replace(claim, positions=Positions(1))
    client.send(frame(encode(claim)))
    assert client.frames() == [FAIL]


def test_another_users_session(rig: Rig) -> None:
    """M-14: a client with a session of its own cannot resume another user's."""
    rig.checker.answer = lambda: b"anybody"
    resumer, other = Resumer(rig), Resumer(rig, which=1)
    client = rig.connect()
    claim = ClientProof(resumer.session, other.client.secret(0)).claim(client.binding(rig.pin), NOTHING)
    client.send(frame(encode(claim)))
    assert client.frames() == [FAIL]
    assert is_alive(resumer.client)
    assert is_alive(other.client)


def test_another_run_of_the_server(rig: Rig) -> None:
    """M-19: another run of the server knows no session of this one, and names itself."""
    resumer = Resumer(rig)
    other = Rig(instance_id="another run")
    client = other.connect()
    claim = resumer.proof.claim(client.binding(other.pin), NOTHING)
    client.send(frame(encode(claim)))
    assert answers(client) == [ResumeFail(instance="another run")]
    assert client.closed


# Positions that cannot be.

POSITIONS = {
    "more controls than were sent": Positions(2, ((1, (10, 0)),)),
    "fewer controls than were acknowledged": Positions(0, ((1, (10, 0)),)),
    "more bytes than were sent": Positions(1, ((1, (101, 0)),)),
    "the highest offset": Positions(1, ((1, (MAX_OFFSET, 0)),)),
    "bytes of a stream without any": Positions(1, ((1, (10, 1)),)),
    "fewer bytes than were taken": Positions(1, ((1, (9, 0)),)),
    "a channel that there never was": Positions(1, ((1, (10, 0)), (2, (0, 0)))),
    "a channel that has been closed": Positions(1, ((1, (10, 0)), (3, (0, 0)))),
}


@pytest.mark.parametrize("which", POSITIONS)
@pytest.mark.parametrize("attached", [True, False], ids=["attached", "detached"])
def test_impossible_positions(rig: Rig, which: str, attached: bool, logged: list[LogEvent]) -> None:
    """M-13: impossible positions end their connection without an answer; the session is as before."""
    resumer = Resumer(rig)
    old = resumer.client
    old.say(OPEN)
    (job,) = rig.user.jobs
    job.owner.output_received(Stream.STDOUT, bytes(100))
    old.exchange()
    # RESUME acknowledges everything that comes before its positions.
    resumer.resume(Positions(1, ((1, (100, 0)),)))
    old = resumer.client
    assert old.heard() == []
    old.say(Credit(1, Stream.STDOUT, DEFAULT_WINDOW + 10, 10))
    if not attached:
        resumer.lose()
    client = rig.connect()
    resumer.ask(client, POSITIONS[which])
    assert client.wire.aborted()
    assert client.received == b""
    assert "terminate" not in job.names()
    if attached:
        assert is_alive(old)
    assert is_alive(resumer.resume(Positions(1, ((1, (100, 0)),))))
    assert failures(logged) == []


def test_positions_that_cannot_be_written(rig: Rig) -> None:
    """M-13: a RESUME with numbers beyond the highest cannot be read."""
    resumer = Resumer(rig)
    client = rig.connect()
    payload = encode(resumer.claim(client, Positions(MAX_OFFSET)))
    client.send(frame(payload[:-8] + b"\xff" * 8))
    assert client.wire.aborted()
    assert client.received == b""
    assert is_alive(resumer.client)


def test_no_secret_in_the_log(rig: Rig, logged: list[LogEvent]) -> None:
    """O-10: neither the log nor the text form of any logged object has a secret, a proof or a whole identifier."""
    resumer = Resumer(rig)
    secrets = [resumer.session, resumer.client.secret(0)]
    client = resumer.resume()
    secrets.append(client.secret(1))
    refusal(rig, replace(resumer.claim(client), attempt=1))
    resumer.lose()
    (session,) = rig.sessions
    text = "\n".join([*map(str, logged), repr(session), repr(session._proof)])
    for secret in secrets:
        assert secret.hex() not in text
        assert repr(secret) not in text
