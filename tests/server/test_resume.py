"""RESUME at a server: who may, over what, and that nobody else can even tell whether there is a session."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import ALICE, RawClient, client_key, failures, frame
from tests.server.resuming import NOTHING, Resumer, answers
from tests.server.rig import Rig
from twisted_rsh.core.codec import encode
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.limits import DEFAULT_WINDOW, MAX_OFFSET
from twisted_rsh.core.login_messages import Resume, ResumeFail
from twisted_rsh.core.messages import Close, Credit, Data, End, Exit, Open, Opened, Ping, Pong, Signal
from twisted_rsh.core.positions import Positions
from twisted_rsh.core.resuming import ClientProof, LinkBinding, ServerProof
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.server.line_limit import LINES_A_MINUTE

STDIN, STDOUT, STDERR = Stream
OPEN = Open(channel=1, command="true")
FAIL = encode(ResumeFail(instance="one run"))
AMOUNT = 10_000_000
"""Bytes that a job writes while its client is away."""


def lines(logged: list[LogEvent]) -> list[str]:
    """Return the lines that the server has logged."""
    return [formatEvent(event) for event in logged if event["log_namespace"].startswith("twisted_rsh")]


def is_alive(client: RawClient) -> bool:
    """Tell whether a session still answers over a connection."""
    client.heard()
    client.say(Ping(77))
    return Pong(77) in client.heard()


def refusal(rig: Rig, claim: Resume) -> bytes:
    """Send a RESUME over a new connection; return all that comes back, which ends it."""
    client = rig.connect()
    client.send(frame(encode(claim)))
    assert client.closed
    return client.received


# What a resume is for.


def test_output_and_ending_after_a_cut(rig: Rig) -> None:
    """M-06: a job that ends without a link: its client gets the output, and then the ending, each once."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, b"before")
    resumer.client.exchange()
    assert resumer.client.heard() == [Opened(channel=1, encoding="utf-8"), Data(1, STDOUT, 0, b"before")]
    resumer.lose()
    job.end(Exited(7))
    client = resumer.resume(Positions(1, ((1, (3, 0)),)))
    assert client.heard() == [
        Data(1, STDOUT, 3, b"ore"),
        Exit(channel=1, ending=Exited(7), stdout=6, stderr=0, held_open=False),
    ]
    client.say(Close(1), Open(channel=2, command="true"))
    assert client.heard() == [Opened(channel=2, encoding="utf-8")]


def test_a_long_absence_with_output(rig: Rig) -> None:
    """M-07: a job that has 10 MB to write waits when nobody takes them, and no byte is lost or comes twice."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    data = os.urandom(1000) * (AMOUNT // 1000)
    written = 0

    def write(stream: Stream = STDOUT) -> None:
        nonlocal written
        while stream is STDOUT and (room := job.owner.output_room(STDOUT)) and written < AMOUNT:
            job.owner.output_received(STDOUT, data[written : written + room])
            written = min(written + room, AMOUNT)

    job.resume_output = write  # type: ignore[method-assign]  # a job that goes on when it may
    received = bytearray()

    def take(client: RawClient) -> None:
        client.exchange()
        for message in client.heard():
            if isinstance(message, Data):
                assert message.offset == len(received)
                received.extend(message.data)

    write()
    take(resumer.client)
    assert written == DEFAULT_WINDOW
    for _ in range(20):
        resumer.lose()
        before = written
        write()
        rig.away(30)
        write()
        assert written == before
        client = resumer.resume(Positions(1, ((1, (len(received), 0)),)))
        take(client)
        client.say(Credit(1, STDOUT, len(received) + DEFAULT_WINDOW))
        write()
        take(client)
    while len(received) < AMOUNT:
        client.say(Credit(1, STDOUT, len(received) + DEFAULT_WINDOW))
        write()
        take(client)
    assert received == data


def test_input_that_was_under_way(rig: Rig) -> None:
    """M-05: input and a signal that reached the job before a cut reach it once; the answer says how much has."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Data(1, STDIN, 0, b"some"), Signal(channel=1, signal="USR1"))
    (job,) = rig.user.jobs
    resumer.lose()
    client = rig.connect()
    answer = resumer.welcome(client, resumer.ask(client))
    assert answer.positions == Positions(2, ((1, (4,)),))
    client.say(Data(1, STDIN, 4, b" more"), End(1, STDIN, 9))
    assert job.calls[1:] == [
        ("send_signal", "USR1"),
        *[("resume_output", stream) for stream in OUTPUTS],
        ("write_input", b" more"),
        ("end_input",),
    ]
    assert job.input == b"some more"


def test_another_address(rig: Rig, logged: list[LogEvent]) -> None:
    """M-21: a client that has moved resumes from where it is now, and the log says so."""
    resumer = Resumer(rig)
    resumer.lose()
    rig.away(30)
    resumer.resume(address=IPv4Address("TCP", "198.51.100.9", 4711))
    shown = resumer.session.hex()[:8]
    assert lines(logged)[-1] == (
        f"session {shown} of alice from 192.0.2.7:50000 resumed from 198.51.100.9:4711 after 30 s"
    )
    (session,) = rig.sessions
    assert session.describe()["peer"] == "198.51.100.9:4711"


def test_a_stopped_terminal(rig: Rig) -> None:
    """M-18: a client that takes no output for ten minutes, and answers all the same, is not taken for dead."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    assert job.fill() == DEFAULT_WINDOW
    for _ in range(40):
        rig.clock.advance(15)
        client.exchange()
        client.say(*[Pong(ping.token) for ping in client.heard() if isinstance(ping, Ping)])
    (session,) = rig.sessions
    assert session.detached_at is None
    client.say(Credit(1, STDOUT, 2 * DEFAULT_WINDOW))
    assert job.fill() == DEFAULT_WINDOW


def test_a_server_that_was_suspended(rig: Rig) -> None:
    """M-22: an hour that passes at once costs the link; what a job's grace counts is the time without one."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    rig.clock.advance(3600)
    assert resumer.client.wire.aborted()
    assert job.calls == []
    rig.away(59)
    assert is_alive(resumer.resume())
    resumer.lose()
    rig.clock.advance(3600)
    assert job.names()[-1] == "terminate"
    assert rig.sessions == []


# One link at a time.


def test_two_links_at_once(rig: Rig) -> None:
    """M-08: the old link is aborted before the new one is answered, and what still comes over it is not looked at."""
    resumer = Resumer(rig)
    old = resumer.client
    old.say(OPEN)
    (job,) = rig.user.jobs
    link = rig.link_of(old)
    (session,) = rig.sessions
    late = encode(Data(1, STDIN, 0, b"late"))
    client = resumer.resume()
    assert old.wire.aborted()
    link.dataReceived(frame(late))
    session.frame_received(link, late)
    assert job.input == b""
    assert job.names() == ["resume_output", "resume_output"]
    client.say(Data(1, STDIN, 0, b"new"))
    assert job.input == b"new"
    old.exchange()
    assert old.wire.is_lost
    assert is_alive(client)
    assert len(rig.sessions) == 1


def test_a_late_frame_does_not_confirm(rig: Rig) -> None:
    """M-08: what comes over the old link does not show that the answer on the new one has arrived."""
    resumer = Resumer(rig)
    old = resumer.client
    link = rig.link_of(old)
    lost = rig.connect()
    resumer.ask(lost)  # the answer does not arrive
    (session,) = rig.sessions
    session.frame_received(link, encode(Ping(1)))
    lost.wire.lose()
    assert is_alive(resumer.resume())


def test_an_answer_that_is_lost(rig: Rig) -> None:
    """M-02: a client that never had the answer resumes with the secret that it has, any number of times."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    for _ in range(5):
        client = rig.connect()
        resumer.ask(client)
        client.wire.lose()
    assert is_alive(resumer.resume(Positions(0)))
    assert len(rig.user.jobs) == 1


def test_a_late_attempt(rig: Rig) -> None:
    """M-09: a RESUME over a connection that its client has given up on does not steal the session back."""
    resumer = Resumer(rig)
    given_up = rig.connect()
    late = resumer.claim(given_up)
    client = resumer.resume()
    given_up.send(frame(encode(late)))
    assert given_up.frames() == [FAIL]
    assert given_up.closed
    assert is_alive(client)


def test_a_late_attempt_before_the_confirmation(rig: Rig) -> None:
    """M-09: also while the server still takes the secret that it was made with."""
    resumer = Resumer(rig)
    given_up, client = rig.connect(), rig.connect()
    late = resumer.claim(given_up)
    claim = resumer.ask(client)
    given_up.send(frame(encode(late)))
    assert given_up.frames() == [FAIL]
    resumer.welcome(client, claim)
    assert is_alive(client)


# Nobody else.


def test_a_stolen_identifier(logged: list[LogEvent]) -> None:
    """M-10: without the secret there are 10,000 refusals, not told from those for an identifier that nobody has."""
    rig = Rig(penalties=False)
    resumer = Resumer(rig)
    client = resumer.client
    thief = rig.connect()
    binding = thief.binding(rig.pin)
    for number in range(10_000):
        claim = ClientProof(resumer.session, number.to_bytes(32, "big")).claim(binding, NOTHING)
        assert rig.factory.sessions.claimed(claim, binding) is None
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
    """M-10: who fails to resume is penalised as one who fails to log in is; the session does not notice."""
    resumer = Resumer(rig)
    for number in range(3):
        thief = rig.connect(host="192.0.2.7")
        claim = ClientProof(resumer.session, number.to_bytes(32, "big")).claim(thief.binding(rig.pin), NOTHING)
        thief.send(frame(encode(claim)))
        assert thief.received == frame(FAIL)
    assert rig.factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 50001)) is None
    assert is_alive(resumer.client)


def test_the_same_work_for_nobody(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """M-10: for an identifier that nobody has a proof is computed, too, so that the time does not tell."""
    resumer = Resumer(rig)
    client = rig.connect()
    binding = client.binding(rig.pin)
    computed: list[bytes] = []
    holds = ServerProof.holds

    def counting(proof: ServerProof, claim: Resume, link: LinkBinding) -> bool:
        computed.append(claim.session)
        return holds(proof, claim, link)

    monkeypatch.setattr(ServerProof, "holds", counting)
    for identifier in (resumer.session, bytes(16)):
        claim = ClientProof(identifier, bytes(32)).claim(binding, NOTHING)
        assert rig.factory.sessions.claimed(claim, binding) is None
    assert computed == [resumer.session, bytes(16)]


def test_a_retired_secret(rig: Rig) -> None:
    """M-11: the secret of the link before is of no use once the client has spoken over the new one."""
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
    """M-12: a RESUME is of no use on any other connection, and of none to any other server."""
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
    """M-14: a key that may log in, and a session of one's own, open no session of another user's."""
    rig.checker.answer = lambda: b"anybody"
    resumer, other = Resumer(rig), Resumer(rig, which=1)
    client = rig.connect()
    claim = ClientProof(resumer.session, other.client.secret(0)).claim(client.binding(rig.pin), NOTHING)
    client.send(frame(encode(claim)))
    assert client.frames() == [FAIL]
    assert is_alive(resumer.client)
    assert is_alive(other.client)


def test_another_run_of_the_server(rig: Rig) -> None:
    """M-19: it knows no session of this one, and says which run it is."""
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
    """M-13: they cost that connection, and nothing else: no answer, no byte, and the session is as it was."""
    resumer = Resumer(rig)
    old = resumer.client
    old.say(OPEN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, bytes(100))
    old.exchange()
    # RESUME acknowledges everything that comes before its positions.
    resumer.resume(Positions(1, ((1, (100, 0)),)))
    old = resumer.client
    assert old.heard() == []
    old.say(Credit(1, STDOUT, DEFAULT_WINDOW + 10))
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
    """M-13: numbers beyond the highest are no RESUME at all."""
    resumer = Resumer(rig)
    client = rig.connect()
    payload = encode(resumer.claim(client, Positions(MAX_OFFSET)))
    client.send(frame(payload[:-8] + b"\xff" * 8))
    assert client.wire.aborted()
    assert client.received == b""
    assert is_alive(resumer.client)


# In its place.


def test_resume_in_a_session(rig: Rig) -> None:
    """S-08: behind a login it is a breach, which ends the link and the session."""
    resumer = Resumer(rig)
    client = resumer.client
    client.say(OPEN)
    client.send(frame(encode(resumer.claim(client))))
    assert client.wire.aborted()
    assert rig.user.jobs[0].names()[-1] == "terminate"
    assert rig.sessions == []


def test_resume_after_a_refused_login(rig: Rig) -> None:
    """S-08: behind an AUTH that was refused, too, and then it costs the link alone."""
    resumer = Resumer(rig)
    client = rig.connect()
    client.send(frame(client.auth(rig.pin, which=5)))
    resumer.ask(client)
    assert client.wire.aborted()
    assert is_alive(resumer.client)


@pytest.mark.parametrize("behind", ["AUTH", "RESUME", "PING"])
def test_a_frame_while_the_key_is_checked(rig: Rig, behind: str, logged: list[LogEvent]) -> None:
    """S-08: until RESUME is answered nothing is legal; the session is as it was, and no avatar leaks."""
    resumer = Resumer(rig)
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    claim = resumer.ask(client)
    payload = {"AUTH": client.auth(rig.pin), "RESUME": encode(claim), "PING": encode(Ping(0))}[behind]
    client.send(frame(payload))
    assert client.wire.aborted()
    thinking.callback(ALICE.encode())
    assert rig.realm.logouts == 1
    assert client.received == b""
    rig.checker.answer = None
    assert is_alive(resumer.client)
    assert is_alive(resumer.resume())
    assert failures(logged) == []


def test_auth_after_a_resume(rig: Rig) -> None:
    """S-08: behind a resume an AUTH is a breach."""
    resumer = Resumer(rig)
    client = resumer.resume()
    client.send(frame(client.auth(rig.pin)))
    assert client.wire.aborted()
    assert rig.sessions == []
    assert rig.realm.logouts == 2


# The key is looked at again.


def test_a_key_that_is_not_authorized_any_more(rig: Rig, logged: list[LogEvent]) -> None:
    """A-12: its session cannot be resumed, and the answer is that for everybody."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    resumer.lose()

    def refuse() -> None:
        raise UnauthorizedLogin

    rig.checker.answer = refuse
    client = rig.connect()
    resumer.ask(client)
    assert client.frames() == [FAIL]
    assert client.closed
    assert lines(logged)[-1].endswith("refused: its key is refused now")
    assert rig.checker.asked[-1].key_blob == client_key().blob
    rig.checker.answer = None
    assert is_alive(resumer.resume())


def test_a_portal_that_breaks(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: a portal that breaks at a resume lets nobody in, with one line in the log; it is not a refusal, which the
    client would take for the end of its session, and the next dial succeeds."""
    resumer = Resumer(rig)
    rig.checker.answer = lambda: 1 / 0
    client = rig.connect()
    resumer.ask(client)
    assert client.frames() == []
    assert client.closed
    assert len(failures(logged)) == 1
    assert is_alive(resumer.client)
    rig.checker.answer = None
    assert is_alive(resumer.resume())


def test_each_resume_logs_its_own_avatar_out(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: the user object of a check is logged out at once, also where that breaks; the session keeps its own."""
    resumer = Resumer(rig)
    resumer.resume()
    assert rig.realm.logouts == 1
    rig.realm.logout = lambda: 1 / 0  # type: ignore[method-assign,assignment]  # an application's mistake
    assert is_alive(resumer.resume())
    assert len(failures(logged)) == 1


def test_a_session_that_ends_while_its_key_is_checked(rig: Rig) -> None:
    """M-15: it is looked at again when the portal has answered."""
    resumer = Resumer(rig)
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    resumer.ask(client)
    (session,) = rig.sessions
    session.end("enough")
    thinking.callback(ALICE.encode())
    client.exchange()
    assert client.frames() == [FAIL]


def test_two_resumes_while_the_key_is_checked(rig: Rig) -> None:
    """M-09: of two attempts the later one counts, in whichever order the portal answers."""
    resumer = Resumer(rig)
    first, second = rig.connect(), rig.connect()
    waiting: list[Deferred[bytes]] = []

    def think() -> Deferred[bytes]:
        waiting.append(Deferred())
        return waiting[-1]

    rig.checker.answer = think
    resumer.ask(first)
    claim = resumer.ask(second)
    waiting[1].callback(ALICE.encode())
    waiting[0].callback(ALICE.encode())
    first.exchange()
    second.exchange()
    assert first.frames() == [FAIL]
    resumer.welcome(second, claim)
    assert is_alive(second)


def test_a_portal_that_never_answers(rig: Rig) -> None:
    """R-02: the deadline of the login is that of a resume."""
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, command="true", keep=True))
    resumer.lose()
    rig.checker.answer = Deferred
    client = rig.connect()
    resumer.ask(client)
    rig.clock.advance(LOGIN_SECONDS)
    assert client.wire.aborted()
    assert rig.waiting == 0
    rig.checker.answer = None
    assert is_alive(resumer.resume())


def test_a_resume_leaves_the_waiting_room(rig: Rig) -> None:
    """R-01: a connection that has resumed does not count among those without a login, and has no deadline."""
    resumer = Resumer(rig)
    client = resumer.resume()
    assert rig.waiting == 0
    for _ in range(5):
        rig.clock.advance(15)
        assert is_alive(client)


def test_a_job_that_breaks_at_a_resume(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: an exception in an application's job ends the link and the session, as it does at any other time."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    job.raises.add("resume_output")
    resumer.lose()
    client = rig.connect()
    resumer.ask(client)
    assert client.wire.aborted()
    assert rig.sessions == []
    assert job.names()[-1] == "terminate"
    assert len(failures(logged)) == 1


def test_no_secret_in_the_log(rig: Rig, logged: list[LogEvent]) -> None:
    """O-10: neither the log nor any text form of what it is given has a secret, a proof or a whole identifier."""
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
