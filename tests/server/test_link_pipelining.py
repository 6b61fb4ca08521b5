"""Nothing may be pipelined behind AUTH or RESUME: what arrives before the server has answered is a breach."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from tests.link.wire import RawClient, failures, frame
from tests.server.resuming import NOTHING, Resumer, is_alive
from tests.server.rig import Rig
from twisted_rsh.core.codec import encode, encode_control
from twisted_rsh.core.messages import AuthOk, Open, Ping, ResumeOk
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.link.turns import TURN_SECONDS
from twisted_rsh.server.link import ServerLink

OPEN = frame(encode_control(Open(channel=1, request=JobRequest(command="true")), 0)[0])
PING = frame(encode(Ping(7)))


def each_cut(whole: bytes) -> pytest.MarkDecorator:
    """Run a test for some numbers of bytes of a frame, from one to all; for each number with the exhaustive tests."""
    some = {1, 4, 5, len(whole) - 1, len(whole)}
    return pytest.mark.parametrize(
        "cut",
        [pytest.param(n, marks=[] if n in some else [pytest.mark.exhaustive]) for n in range(1, len(whole) + 1)],
    )


def assert_breach(rig: Rig, client: RawClient) -> None:
    """The link is aborted without an answer and without a job, as for any breach before the login."""
    assert client.wire.aborted()
    assert client.frames() == []
    assert rig.user.jobs == []
    assert rig.waiting == 0


@each_cut(OPEN)
@pytest.mark.parametrize("record", [16384, 1], ids=["one record", "a record for each byte"])
def test_open_behind_auth_in_one_write(rig: Rig, record: int, cut: int) -> None:
    """S-07: AUTH and any part of an OPEN arrive together: a breach, before the portal is asked."""
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)) + OPEN[:cut], record)
    assert_breach(rig, client)
    assert rig.checker.asked == []


def test_open_behind_the_answer(rig: Rig) -> None:
    """The other side of that bound: the same OPEN, once the answer is there, is a job."""
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    (answer,) = client.frames()
    assert answer[0] == AuthOk.declaration.number
    for byte in OPEN:
        client.send(bytes([byte]))
    assert len(rig.user.jobs) == 1


def test_records_that_arrive_together() -> None:
    """S-07: AUTH and OPEN in records of their own: a breach as soon as the second is whole when the first is handled.

    Of a record that is not whole TLS tells nothing, so the bytes that are missing decide when it arrives.
    """
    rig = Rig()
    probe = rig.connect()
    probe.queue(OPEN)
    size = len(probe.drain())
    for cut in (0, 1, 5, size - 1, size):
        rig = Rig()
        client = rig.connect()
        client.queue(frame(client.auth(rig.pin)))
        first = client.drain()
        client.queue(OPEN)
        second = client.drain()
        client.protocol.dataReceived(first + second[:cut])
        client.exchange()
        if cut == size:
            assert_breach(rig, client)
        else:
            client.protocol.dataReceived(second[cut:])
            client.exchange()
            assert len(rig.user.jobs) == 1


@each_cut(OPEN)
def test_open_while_the_check_is_pending(rig: Rig, cut: int) -> None:
    """S-07: any part of an OPEN arrives while the portal decides: the link ends, and the user is logged out again."""
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    client.send(OPEN[:cut])
    assert client.wire.aborted() == (cut == len(OPEN)), "a part of a frame is a breach when the portal has answered"
    thinking.callback(b"alice")
    client.exchange()
    assert_breach(rig, client)
    assert rig.realm.logouts == 1
    assert rig.sessions == []


def test_auth_behind_auth(rig: Rig) -> None:
    """S-05: a second AUTH in the same write is a breach also when the first is refused at once."""
    client = rig.connect()
    client.send(frame(client.auth(rig.pin, which=1)) + frame(client.auth(rig.pin)))
    assert_breach(rig, client)
    assert rig.checker.asked == []


def test_auth_behind_a_refusal_that_is_pending(rig: Rig) -> None:
    """S-05: a part of a second AUTH that arrives before the first is refused is a breach as well."""
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    client.send(b"\0")
    thinking.errback(LookupError("no such user"))
    client.exchange()
    assert_breach(rig, client)


@each_cut(PING)
@pytest.mark.parametrize("pending", [False, True])
def test_anything_behind_resume(rig: Rig, pending: bool, cut: int) -> None:
    """S-07, M-10: any part of a frame behind RESUME, before its answer: the link ends, and the session is untouched."""
    resumer = Resumer(rig)
    client = rig.connect()
    claim = frame(encode(resumer.claim(client, NOTHING)))
    thinking: Deferred[bytes] = Deferred()
    if pending:
        rig.checker.answer = lambda: thinking
        client.send(claim)
        client.send(PING[:cut])
        thinking.callback(b"alice")
        client.exchange()
    else:
        client.send(claim + PING[:cut])
    assert_breach(rig, client)
    assert is_alive(resumer.client)


def test_behind_the_answer_to_resume(rig: Rig) -> None:
    """The other side: the session goes on over the link once RESUME is answered."""
    resumer = Resumer(rig)
    client = rig.connect()
    resumer.ask(client)
    assert client.frames()[0][0] == ResumeOk.declaration.number
    client.send(PING)
    assert client.frames() != []


@pytest.mark.parametrize("breach", [lambda rig, client: client.auth(rig.pin), lambda _rig, _client: encode(Ping(0))])
def test_the_penalty(breach: Callable[[Rig, RawClient], bytes]) -> None:
    """R-08: it costs its source what every protocol error costs."""
    rig = Rig()
    client = rig.connect("198.51.100.7")
    client.send(frame(client.auth(rig.pin)) + frame(breach(rig, client)))
    assert rig.factory.strangers.penalties.refuses("198.51.100.7")


def keep_busy(rig: Rig, link: ServerLink, other: object) -> None:
    """Have something else use up this turn of a link's server, so that the link waits."""

    def busy(_until: float) -> bool:
        rig.clock.rightNow += 2 * TURN_SECONDS
        return False

    link._turns.run(other, busy)


@pytest.mark.parametrize("kind", ["auth", "resume"])
def test_claim_of_a_client_that_is_gone(rig: Rig, logged: list[LogEvent], kind: str) -> None:
    """A claim that waits for its turn while its connection ends is dropped: it is no fault of the program."""
    resumer = Resumer(rig)
    client = rig.connect()
    claim = client.auth(rig.pin) if kind == "auth" else encode(resumer.claim(client))
    client.queue(frame(claim))
    data = client.drain()
    asked = len(rig.checker.asked)
    link = rig.link_of(client)
    keep_busy(rig, link, resumer)
    client.protocol.dataReceived(data)
    client.wire.lose()
    rig.clock.advance(1)
    assert link.dead
    assert len(rig.checker.asked) == asked
    assert failures(logged) == []


@pytest.mark.parametrize("is_gone", [False, True])
def test_open_that_waits_for_its_turn_while_the_check_is_pending(
    rig: Rig, logged: list[LogEvent], is_gone: bool
) -> None:
    """S-07: so is one that the server has not looked at when the portal answers, also of a client that is gone."""
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    client.queue(OPEN)
    data = client.drain()
    link = rig.link_of(client)
    keep_busy(rig, link, rig)
    client.protocol.dataReceived(data)
    if is_gone:
        client.wire.lose()
    thinking.callback(b"alice")
    client.exchange()
    assert link.dead
    assert client.frames() == []
    assert rig.user.jobs == []
    assert rig.realm.logouts == 1
    assert rig.sessions == []
    assert failures(logged) == []
