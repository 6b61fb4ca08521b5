"""A job that is suspended from outside has not ended, and its listener learns why it hangs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.execution.owners import RecordingOwner, asynchronous, reactor, start_job
from twisted_rsh.core.endings import Exited, Signalled
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.trees.suspension import LOOK_SECONDS, SuspensionWatch
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import ISuspensionListener

pytestmark = pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell")


@implementer(ISuspensionListener)
class Listener(RecordingOwner):
    """Records what it is told."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.told: list[str] = []
        self._then = then

    def job_stopped(self, signal: str) -> None:
        """See :class:`ISuspensionListener`."""
        self.told.append(signal)
        if self._then is not None:
            self._then()
        self._look()

    def job_continued(self) -> None:
        """See :class:`ISuspensionListener`."""
        self.told.append("goes on")
        self._look()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A child in a process group of its own: the system drops SIGTSTP in one that is orphaned (credentials(7))."""
    with subprocess.Popen(["sleep", "600"], preexec_fn=os.setpgrp) as process:  # noqa: PLW1509 - no thread runs here
        yield process
        process.kill()


def change(process: subprocess.Popen[bytes], number: int) -> None:
    """Suspend a child, or let it go on, and wait until the system would say so."""
    process.send_signal(number)
    options = os.WCONTINUED if number == signal.SIGCONT else os.WSTOPPED
    os.waitid(os.P_PID, process.pid, options | os.WNOWAIT)


def test_told_once(sleeper: subprocess.Popen[bytes]) -> None:
    """Each suspension and each continuation is told once, within the time of a look, with the signal's name."""
    clock, listener = Clock(), Listener()
    verifyObject(ISuspensionListener, listener)
    watch = SuspensionWatch(clock)
    watch.watch(sleeper.pid, listener)
    clock.advance(LOOK_SECONDS)
    for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGTSTP):
        change(sleeper, number)
        clock.advance(LOOK_SECONDS / 2)
        clock.advance(LOOK_SECONDS / 2)
        clock.advance(LOOK_SECONDS)
    assert listener.told == ["STOP", "goes on", "TSTP"]
    watch.forget(sleeper.pid)
    watch.forget(sleeper.pid)
    assert not clock.getDelayedCalls()


def test_short_suspension(sleeper: subprocess.Popen[bytes]) -> None:
    """A suspension that was not reported is not reported to go on, either."""
    clock, listener = Clock(), Listener()
    watch = SuspensionWatch(clock)
    watch.watch(sleeper.pid, listener)
    change(sleeper, signal.SIGSTOP)
    change(sleeper, signal.SIGCONT)
    clock.advance(LOOK_SECONDS)
    assert listener.told == []


def test_exit_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    """X-06: the status of a child that has exited is still there for who waits for it; one that is gone is no error."""
    clock, listener = Clock(), Listener()
    watch = SuspensionWatch(clock)
    watch.watch(sleeper.pid, listener)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    clock.advance(LOOK_SECONDS)
    assert sleeper.wait() == -signal.SIGKILL
    clock.advance(LOOK_SECONDS)
    assert listener.told == []


def test_forgotten_while_told(sleeper: subprocess.Popen[bytes]) -> None:
    """A listener may make the watch forget the job that it would look at next."""
    clock = Clock()
    watch = SuspensionWatch(clock)
    with subprocess.Popen(["sleep", "600"]) as other:
        first, second = Listener(lambda: watch.forget(other.pid)), Listener()
        watch.watch(sleeper.pid, first)
        watch.watch(other.pid, second)
        change(sleeper, signal.SIGSTOP)
        change(other, signal.SIGSTOP)
        clock.advance(LOOK_SECONDS)
        assert (first.told, second.told) == (["STOP"], [])
        other.kill()


def test_listener_that_breaks(sleeper: subprocess.Popen[bytes]) -> None:
    """A listener's own error does not end the looks."""

    def break_down() -> None:
        raise ZeroDivisionError

    clock, listener = Clock(), Listener(break_down)
    watch = SuspensionWatch(clock)
    watch.watch(sleeper.pid, listener)
    change(sleeper, signal.SIGSTOP)
    with pytest.raises(ZeroDivisionError):
        clock.advance(LOOK_SECONDS)
    change(sleeper, signal.SIGCONT)
    clock.advance(LOOK_SECONDS)
    assert listener.told == ["STOP", "goes on"]


def test_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system cannot be asked nothing is."""
    monkeypatch.delattr(os, "waitid")
    clock = Clock()
    SuspensionWatch(clock).watch(1, Listener())
    assert not clock.getDelayedCalls()


@asynchronous
async def test_suspended_job() -> None:
    """X-01: a job that stops itself is told as stopped, goes on when it is told to, and ends as it would have."""
    trees = JobTrees(reactor)
    account = Account.current(os.environ, shell="/bin/sh", encoding="utf-8")  # noqa: S604 - a path, not a flag
    owner = Listener()
    job = LocalUser(reactor, account, trees).start_job(JobRequest(command="kill -STOP $$; exit 3"), owner)
    await owner.when(lambda: owner.told == ["STOP"])
    assert not owner.endings
    job.send_signal("CONT")
    await owner.finished()
    assert owner.ending == Exited(3)
    assert not trees.suspension._watched


@asynchronous
async def test_nobody_asked() -> None:
    """An owner that is no listener costs nothing."""
    owner = RecordingOwner()
    before = len(reactor.getDelayedCalls())
    job = start_job(owner, "/bin/sleep", "600")
    assert len(reactor.getDelayedCalls()) <= before + 1
    job.send_signal("KILL")
    await owner.finished()
    assert owner.ending == Signalled("KILL")


def test_tree_that_was_not_started() -> None:
    """A job that does not run is not asked after."""
    trees = JobTrees(reactor)
    JobTree(trees).tell_suspension(Listener())
    assert not trees.suspension._watched
