"""Keys that are taken away while their sessions go on, and the signal that makes a server look."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.cred.error import LoginDenied, UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent, formatEvent
from zope.interface import implementer

from tests.link.wire import client_key, failures
from tests.server.resuming import Resumer, is_alive
from tests.server.rig import Rig
from tests.server.test_service import is_gone, until
from tests.serving import Serving, asynchronous
from twisted_rsh.core.endings import OutcomeUnknown
from twisted_rsh.core.messages import Goodbye, Open
from twisted_rsh.server.sessions import KEY_REVOKED
from twisted_rsh.server.sighup import ISighupListener, SighupHandler
from twisted_rsh.trust.home import ConfigFolders


def recheck(rig: Rig) -> list[int]:
    """Have the keys checked again; return the answer, if there is one yet."""
    ended: list[int] = []
    rig.factory.sessions.recheck_keys(rig.factory.portal).addCallback(ended.append)
    return ended


@pytest.mark.parametrize("error", [UnauthorizedLogin, LoginDenied, UnhandledCredentials])
def test_a_key_that_was_taken_away(rig: Rig, error: type[Exception]) -> None:
    """A-12: every session of that key is ended, with a link or without, and its client is told; others go on."""
    rig.checker.answer = lambda: b"anybody"
    mine, away, others = Resumer(rig), Resumer(rig), Resumer(rig, which=1)
    for resumer in (mine, away, others):
        resumer.client.say(Open(channel=1, command="true", keep=True))
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
    """A-12: a portal that knows nothing, because it broke, takes no session away."""
    resumer = Resumer(rig)
    rig.checker.answer = lambda: fail(ConnectionError("the directory is down"))
    assert recheck(rig) == [0]
    assert is_alive(resumer.client)
    assert len(failures(logged)) == 1


def test_a_portal_that_gives_no_user(rig: Rig) -> None:
    """A-12: an answer that would let nobody in takes the session away."""
    resumer = Resumer(rig)
    resumer.lose()
    rig.realm.avatar = lambda: (None, None, None)
    assert recheck(rig) == [1]
    assert rig.sessions == []


def test_a_session_that_ends_meanwhile(rig: Rig) -> None:
    """A-12: one that has ended when the portal answers is not ended again."""
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
    """A-12: without sessions there is nothing to ask."""
    assert recheck(rig) == [0]
    assert rig.checker.asked == []


@asynchronous
async def test_a_line_that_was_deleted(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """A-12: at a real server: the key's line is gone, the keys are checked, and so are the session and its process."""
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


# The signal.


class Threads:
    """A reactor that calls at once."""

    def callFromThread(self, call: Callable[[], object]) -> None:
        """Call."""
        call()


@implementer(ISighupListener)
class Hung:
    """A program with a handler, and what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.handler = SighupHandler(Threads(), self)  # type: ignore[arg-type]  # all that is asked of the reactor

    def sighup_received(self) -> None:
        """Note it."""
        self.told.append("hung up")

    def terminal_gone(self) -> None:
        """Note it."""
        self.told.append("gone")


@pytest.fixture
def before() -> Iterator[Any]:
    """Put the signal back to what it was."""
    handler = signal.getsignal(signal.SIGHUP)
    yield handler
    signal.signal(signal.SIGHUP, handler)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the process has a terminal, which the test says."""
    has = [True]
    real_open = os.open

    def open_(path: str, *arguments: Any, **options: Any) -> int:
        if path != "/dev/tty":
            return real_open(path, *arguments, **options)
        if not has[0]:
            raise OSError
        return real_open("/dev/null", os.O_RDWR)

    monkeypatch.setattr(os, "open", open_)
    return has


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize(("had", "has"), [(False, False), (True, True), (True, False)])
def test_hang_up(before: Any, terminal: list[bool], ignored: bool, had: bool, has: bool) -> None:
    """A-12: the signal is for the server, unless it says that the terminal is gone and nohup has not been asked for."""
    default = signal.SIG_IGN if ignored else signal.SIG_DFL
    signal.signal(signal.SIGHUP, default)
    hung = Hung()
    terminal[0] = had
    hung.handler.install()
    terminal[0] = has
    os.kill(os.getpid(), signal.SIGHUP)
    assert hung.told == ["gone" if had and not has and not ignored else "hung up"]
    hung.handler.restore()
    assert signal.getsignal(signal.SIGHUP) == default


def test_a_handler_of_before(before: Any, terminal: list[bool]) -> None:
    """A-12: what the program did at the signal before is done too."""
    hung = Hung()
    signal.signal(signal.SIGHUP, lambda *_: hung.told.append("before"))
    hung.handler.install()
    terminal[0] = False
    os.kill(os.getpid(), signal.SIGHUP)
    assert hung.told == ["before", "hung up"]


def test_the_real_terminal() -> None:
    """A-12: whether there is one is asked of the system, and leaves no descriptor behind."""
    before = os.listdir("/dev/fd")
    hung = Hung()
    hung.handler.install()
    hung.handler.restore()
    assert os.listdir("/dev/fd") == before
