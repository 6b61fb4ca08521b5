"""All sessions of a server: how many there may be, and what becomes of them when a key loses its right to log in."""

from __future__ import annotations

import os

import pytest
from twisted.cred.error import LoginDenied, UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import client_key, failures, frame
from tests.server.resuming import Resumer, is_alive, lines
from tests.server.rig import Rig, exits, is_ended
from tests.server.waiting import is_gone, until
from tests.serving import Serving, asynchronous
from twisted_rsh.core.codec import Decoder
from twisted_rsh.core.endings import Exited, OutcomeUnknown
from twisted_rsh.core.messages import Data, Goodbye, Open, Positions, Unavailable
from twisted_rsh.core.requests import JobRequest, Keep
from twisted_rsh.core.roles import Phase, Role, Stream
from twisted_rsh.limited_log import TRACEBACKS_A_MINUTE
from twisted_rsh.server import sessions
from twisted_rsh.server.capacity import MAX_SESSIONS_PER_KEY
from twisted_rsh.server.sessions import KEY_REVOKED
from twisted_rsh.trust.home import ConfigFolders

KEPT = Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep()))


def refused(rig: Rig, which: int = 0) -> str:
    """Try to log in; return the line with which the server puts the client off, and see that it closes the link."""
    client = rig.connect()
    client.send(frame(client.auth(rig.pin, which=which)))
    (answer,) = client.frames()
    _, message = Decoder(Role.CLIENT, Phase.LOGIN).decode(answer)
    assert isinstance(message, Unavailable)
    assert client.closed
    return message.text


@pytest.mark.parametrize("policy", [None, Keep()], ids=["grace", "keep"])
def test_one_cut_of_all(rig: Rig, policy: Keep | None) -> None:
    """M-16: as many sessions as a key may have lose their links at once: each goes on, with every byte of its job."""
    request = JobRequest(command="true", on_disconnect=policy)
    resumers = [Resumer(rig) for _ in range(MAX_SESSIONS_PER_KEY)]
    for number, resumer in enumerate(resumers):
        resumer.client.say(Open(channel=1, request=request))
        rig.user.jobs[-1].owner.output_received(Stream.STDOUT, b"%d before" % number)
    for resumer in resumers:
        resumer.lose()
    rig.clock.advance(3)
    for number, (resumer, job) in enumerate(zip(resumers, rig.user.jobs, strict=True)):
        resumer.resume(Positions(1, ((1, (0, 0)),)))
        job.owner.output_received(Stream.STDOUT, b"%d after" % number)
        job.end()
        resumer.client.exchange()
        heard = resumer.client.heard()
        data = [message.data for message in heard if isinstance(message, Data)]
        assert data == [b"%d before" % number, b"%d after" % number]
        (exit_,) = exits(heard)
        assert exit_.ending == Exited(0)
    assert not any(is_ended(job) for job in rig.user.jobs)


def test_too_many_sessions(rig: Rig, logged: list[LogEvent]) -> None:
    """M-16: a key with as many sessions as it may have is put off by a line of its own that names the bound; other keys
    are not, nor is this one when a session has ended; nothing that exists is ended."""
    rig.checker.answer = lambda: b"anybody"
    resumers = [Resumer(rig) for _ in range(MAX_SESSIONS_PER_KEY)]
    for resumer in resumers[:3]:
        resumer.client.say(KEPT)
        resumer.lose()
    text = "this key has 32 sessions, as many as the server's --max-sessions-per-key allows; try again later"
    assert refused(rig) == text
    assert text in lines(logged)[-1]
    assert rig.realm.logouts == 1
    assert is_alive(rig.log_in(which=1))
    assert is_alive(resumers[0].resume())
    assert refused(rig) == text
    rig.sessions[0].end("enough")
    assert is_alive(rig.log_in())
    assert refused(rig) == text
    assert not any(is_ended(job) for job in rig.user.jobs[1:])


def test_a_key_that_may_not_log_in_learns_nothing() -> None:
    """A-09: a server that is full refuses a key that is not authorized, or not proven, as any other server does."""
    rig = Rig(max_sessions=1, max_sessions_per_key=1)
    rig.log_in()
    for how in ({"which": 1}, {"user": "bob"}):
        stranger = rig.connect()
        stranger.send(frame(stranger.auth(rig.pin, **how)))
        assert stranger.frames() == [b"\x03"]


def test_sessions_that_only_wait() -> None:
    """M-16: sessions without link and job keep their endings, and keep out no other session of their key; but they
    count for the whole server."""
    rig = Rig(max_sessions_per_key=2, max_sessions=4)
    waiting = [Resumer(rig) for _ in range(2)]
    for resumer in waiting:
        resumer.client.say(Open(channel=1, request=JobRequest(command="true")))
        resumer.lose()
    assert "--max-sessions-per-key" in refused(rig)
    for job in rig.user.jobs:
        job.end()
    others = [rig.log_in() for _ in range(2)]
    text = "the server has 4 sessions, as many as its --max-sessions allows; try again later"
    assert refused(rig) == text
    for resumer in waiting:
        assert exits(resumer.resume(Positions(1)).heard())
    assert all(is_alive(client) for client in others)
    others[0].say(Goodbye(text=""))
    assert "this key has 3 sessions" in refused(rig)


def recheck(rig: Rig) -> list[int]:
    """Have the keys checked again; return the answer, if it has come."""
    ended: list[int] = []
    rig.factory.sessions.recheck_keys(rig.factory.portal).addCallback(ended.append)
    return ended


@pytest.mark.parametrize("error", [UnauthorizedLogin, LoginDenied, UnhandledCredentials])
def test_a_key_that_was_taken_away(rig: Rig, error: type[Exception]) -> None:
    """A-12: every session of that key ends, with a link or without, and its client learns why; others go on."""
    rig.checker.answer = lambda: b"anybody"
    mine, away, others = Resumer(rig), Resumer(rig), Resumer(rig, which=1)
    for resumer in (mine, away, others):
        resumer.client.say(Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep())))
    away.lose()
    mine.client.heard()

    def answer() -> bytes:
        if rig.checker.asked[-1].key_blob == client_key().blob:
            raise error
        return b"somebody"

    rig.checker.answer = answer
    assert recheck(rig) == [2]
    mine.client.exchange()
    assert mine.client.heard() == [Goodbye(text=KEY_REVOKED)]
    assert mine.client.closed
    assert ["terminate" in job.names() for job in rig.user.jobs] == [True, True, False]
    assert is_alive(others.client)
    assert len(rig.sessions) == 1
    assert rig.realm.logouts == 3  # of the two sessions, and of the check of the third


def test_a_portal_that_breaks(rig: Rig, logged: list[LogEvent]) -> None:
    """A-12: a portal that breaks ends no session."""
    resumer = Resumer(rig)
    rig.checker.answer = lambda: fail(ConnectionError("the directory is down"))
    assert recheck(rig) == [0]
    assert is_alive(resumer.client)
    assert len(failures(logged)) == 1


@pytest.mark.parametrize("more", [0, 1])
def test_a_portal_that_breaks_for_many(rig: Rig, more: int, logged: list[LogEvent]) -> None:
    """A-12: the log has a bounded number of tracebacks, however many sessions there are, and says what is left out."""
    for _ in range(TRACEBACKS_A_MINUTE + more):
        Resumer(rig)
    rig.checker.answer = lambda: fail(ConnectionError("the directory is down"))
    assert recheck(rig) == [0]
    assert len(failures(logged)) == TRACEBACKS_A_MINUTE
    assert any("are left out" in formatEvent(event) for event in logged) is bool(more)


def test_a_portal_that_gives_no_user(rig: Rig) -> None:
    """A-12: an answer without a user ends the session."""
    resumer = Resumer(rig)
    resumer.lose()
    rig.realm.avatar = lambda: (None, None, None)
    assert recheck(rig) == [1]
    assert rig.sessions == []


def test_a_session_that_ends_meanwhile(rig: Rig) -> None:
    """A-12: a session that has ended when the portal answers is not ended again."""
    resumer = Resumer(rig)
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    ended = recheck(rig)
    resumer.client.say(Goodbye(text=""))
    assert ended == []
    thinking.errback(UnauthorizedLogin())
    assert ended == [0]
    assert rig.realm.logouts == 1


def test_no_sessions(rig: Rig) -> None:
    """A-12: without sessions the portal is not asked."""
    assert recheck(rig) == [0]
    assert rig.checker.asked == []


def test_many_sessions(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-12: the reactor takes turns between the checks of many sessions; one that ends meanwhile is not asked about."""
    monkeypatch.setattr(sessions, "RECHECKED_AT_ONCE", 2)
    for _ in range(5):
        Resumer(rig)
    rig.checker.asked.clear()
    rig.checker.answer = lambda: fail(UnauthorizedLogin())
    ended = recheck(rig)
    assert len(rig.checker.asked) == 2
    list(rig.sessions)[-1].end("for the test")
    rig.clock.advance(0)
    assert (len(rig.checker.asked), ended) == (4, [4])


@asynchronous
async def test_a_line_that_was_deleted(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """A-12: at a real server: after the key's line is deleted, a check ends the session and its process."""
    serving = Serving(config)
    await serving.start()
    connection = await serving.connect()
    job = connection.start("echo $$; exec sleep 1000")
    pid = int(await job.stdout.read())
    assert await serving.service.recheck_keys() == 0
    os.unlink(config.client_public_key_path)
    assert await serving.service.recheck_keys() == 1
    assert (await job.wait()).ending == OutcomeUnknown(KEY_REVOKED)
    await until(lambda: is_gone(pid))
    await serving.stop()
    assert any("1 sessions were ended" in formatEvent(event) for event in logged)
