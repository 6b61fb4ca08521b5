"""RESUME in the place of a login: once per connection, and with a key that may still log in."""

from __future__ import annotations

import errno

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent

from tests.link.wire import ALICE, client_key, failures, frame
from tests.server.resuming import FAIL, Resumer, is_alive, lines
from tests.server.rig import Rig
from twisted_rsh.core.codec import encode
from twisted_rsh.core.messages import Open, Ping, Unavailable
from twisted_rsh.core.requests import JobRequest, Keep
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.server.link import UNCHECKED
from twisted_rsh.server.portal import KeyCheck

OPEN = Open(channel=1, request=JobRequest(command="true"))


# In its place.


def test_resume_in_a_session(rig: Rig) -> None:
    """S-08: RESUME after a login is a breach, which ends the link and the session."""
    resumer = Resumer(rig)
    client = resumer.client
    client.say(OPEN)
    client.send(frame(encode(resumer.claim(client))))
    assert client.wire.aborted()
    assert rig.user.jobs[0].names()[-1] == "terminate"
    assert rig.sessions == []


def test_resume_after_a_refused_login(rig: Rig) -> None:
    """S-08: RESUME after a refused AUTH is a breach, which ends the link alone."""
    resumer = Resumer(rig)
    client = rig.connect()
    client.send(frame(client.auth(rig.pin, which=5)))
    resumer.ask(client)
    assert client.wire.aborted()
    assert is_alive(resumer.client)


@pytest.mark.parametrize("behind", ["AUTH", "RESUME", "PING"])
def test_a_frame_while_the_key_is_checked(rig: Rig, behind: str, logged: list[LogEvent]) -> None:
    """S-08: a frame before the answer to RESUME ends the link, not the session; the avatar is logged out."""
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
    """S-08: AUTH after a resume is a breach."""
    resumer = Resumer(rig)
    client = resumer.resume()
    client.send(frame(client.auth(rig.pin)))
    assert client.wire.aborted()
    assert rig.sessions == []
    assert rig.realm.logouts == 2


# The key is looked at again.


def test_a_key_that_is_not_authorized_any_more(rig: Rig, logged: list[LogEvent]) -> None:
    """A-12: the server refuses the resume with the answer that every refused client gets."""
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
    """S-13: a portal that breaks at a resume costs one line in the log and the link.  The client is put off: a refusal
    would be the end of its session, and the next dial succeeds."""
    resumer = Resumer(rig)
    rig.checker.answer = lambda: 1 / 0
    client = rig.connect()
    resumer.ask(client)
    assert client.frames() == [encode(Unavailable(text=f"{UNCHECKED[KeyCheck.UNKNOWN]}; try again later"))]
    assert client.closed
    assert len(failures(logged)) == 1
    assert is_alive(resumer.client)
    rig.checker.answer = None
    assert is_alive(resumer.resume())


def test_a_portal_without_descriptors(rig: Rig, logged: list[LogEvent]) -> None:
    """R-05: a resume that meets no descriptors is put off in one line, without a traceback in the log, and the next one
    succeeds; a check of all keys ends no session then."""
    resumer = Resumer(rig)
    rig.checker.answer = lambda: fail(OSError(errno.EMFILE, "none"))
    client = rig.connect()
    resumer.ask(client)
    assert client.frames() == [encode(Unavailable(text=f"{UNCHECKED[KeyCheck.EXHAUSTED]}; try again later"))]
    assert "(ulimit -n)" in lines(logged)[-1]
    ended: list[int] = []
    rig.factory.sessions.recheck_keys(rig.factory.portal).addCallback(ended.append)
    assert ended == [0]
    assert failures(logged) == []
    rig.checker.answer = None
    assert is_alive(resumer.resume())


def test_each_resume_logs_its_own_avatar_out(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: the user object of a check is logged out at once, even if that breaks; the session keeps its own."""
    resumer = Resumer(rig)
    resumer.resume()
    assert rig.realm.logouts == 1
    rig.realm.error = ValueError("an application's mistake")
    assert is_alive(resumer.resume())
    assert len(failures(logged)) == 1


def test_a_session_that_ends_while_its_key_is_checked(rig: Rig) -> None:
    """M-15: the server looks the session up again when the portal has answered."""
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
    """M-09: the later of two attempts counts, in whichever order the portal answers."""
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
    """R-02: a resume has the deadline of a login."""
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep())))
    resumer.lose()
    rig.checker.answer = Deferred
    client = rig.connect()
    resumer.ask(client)
    rig.clock.advance(LOGIN_SECONDS)
    assert client.wire.aborted()
    assert rig.waiting == 0
    rig.checker.answer = None
    assert is_alive(resumer.resume())
