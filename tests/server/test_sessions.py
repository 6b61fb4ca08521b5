"""All sessions of a server: how many there may be, and what becomes of them when a key loses its right to log in."""

from __future__ import annotations

import os

import pytest
from twisted.cred.error import LoginDenied, UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import client_key, failures, frame
from tests.server.resuming import Resumer, is_alive, is_refused
from tests.server.rig import Rig, is_ended
from tests.server.waiting import is_gone, until
from tests.serving import Serving, asynchronous
from twisted_rsh.core.endings import OutcomeUnknown
from twisted_rsh.core.messages import Goodbye, Open
from twisted_rsh.core.requests import JobRequest, Keep
from twisted_rsh.server import sessions
from twisted_rsh.server.capacity import MAX_SESSIONS_PER_KEY
from twisted_rsh.server.sessions import KEY_REVOKED, MAX_DETACHED_PER_KEY
from twisted_rsh.trust.home import ConfigFolders

KEPT = Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep()))


def test_too_many_sessions_without_a_link(rig: Rig, logged: list[LogEvent]) -> None:
    """M-16: a key has a bound of sessions without a link; beyond it, the session that lost its link first ends."""
    rig.checker.answer = lambda: b"anybody"
    resumers = []
    for number in range(MAX_DETACHED_PER_KEY):
        resumers.append(Resumer(rig))
        resumers[-1].client.say(Open(channel=1, request=JobRequest(command=f"{number}", on_disconnect=Keep())))
    other = Resumer(rig, which=1)
    other.client.say(KEPT)
    other.lose()
    order = [*range(3, MAX_DETACHED_PER_KEY), *range(3)]
    for number in order:
        resumers[number].lose()
        rig.clock.advance(1)
    assert len(rig.sessions) == MAX_DETACHED_PER_KEY + 1
    resumers.append(Resumer(rig))
    assert len(rig.sessions) == MAX_DETACHED_PER_KEY + 2
    resumers[-1].lose()
    assert [job.request.command for job in rig.user.jobs if is_ended(job)] == ["3"]
    assert is_refused(resumers[3])
    assert len(rig.sessions) == MAX_DETACHED_PER_KEY + 1
    assert is_alive(resumers[4].resume())
    assert is_alive(other.resume())
    assert any("more than 16 sessions without a link" in formatEvent(event) for event in logged)


def test_sessions_without_a_link_count(rig: Rig) -> None:
    """M-16: a session counts for its key until it is over, with a link or without."""
    resumers = [Resumer(rig) for _ in range(MAX_SESSIONS_PER_KEY)]
    for resumer in resumers[:3]:
        resumer.client.say(KEPT)
        resumer.lose()
    refused = rig.connect()
    refused.send(frame(refused.auth(rig.pin)))
    assert refused.frames() == [b"\x03"]
    is_alive(resumers[0].resume())
    (session, *_) = rig.sessions
    session.end("enough")
    assert is_alive(rig.log_in())


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
