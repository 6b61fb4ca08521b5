"""Adopted children are reaped, and no other children."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock

from tests.execution.owners import asynchronous, reactor, until
from tests.execution.processes.recorder import Recorder, end_of, shell
from tests.execution.real_trees import requires_proc
from tests.tools import require_tool
from twisted_rsh.execution.processes import exits
from twisted_rsh.execution.processes.transport import spawn_process
from twisted_rsh.execution.trees.adoption import SWEEP_SECONDS, AdoptedChildren, become_subreaper
from twisted_rsh.execution.trees.guardian import Guardian
from twisted_rsh.execution.trees.table import ProcessTable

MANY = 200
"""Jobs that leave daemons behind; the promise was measured with 10,000."""

PR_SET_CHILD_SUBREAPER = 36
"""From ``linux/prctl.h``."""

GONE = 1 << 25
"""A process id that no process has."""

Spawn = Callable[..., int]


@pytest.fixture
def spawned() -> Iterator[Spawn]:
    """Start children that the test does not wait for, and end them after it."""
    pids = []

    def spawn(*argv: str, is_leader: bool = False, mark: str | None = None) -> int:
        environment = {"PATH": os.environ["PATH"]} | ({} if mark is None else {"TWISTED_RSH_JOB": mark})
        pids.append(os.posix_spawnp(argv[0], argv, environment, setsid=is_leader))
        return pids[-1]

    yield spawn
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


class Children:
    """Adopted children on a clock, and what is known of the others."""

    def __init__(self, *, knows_all: bool) -> None:
        self.clock = Clock()
        self.table = ProcessTable(self.clock)
        guardian = Guardian(reactor)
        self.adopted = AdoptedChildren(self.clock, self.table, guardian, b"ours", knows_all=knows_all)
        # Whatever this process had before the test is not what the test is about.
        for pid in self.table.children():
            self.adopted.job_started(pid)
            self.adopted.job_ended(pid)
        self.adopted.start()

    async def exited(self, pid: int) -> None:
        """Wait until a child is a zombie."""

        def is_zombie() -> bool:
            record = self.table.read(pid)
            assert record is not None
            return record.is_dead

        await until(is_zombie)

    def is_there(self, pid: int) -> bool:
        """Tell whether a child runs or waits to be reaped."""
        return pid in self.table.children()


@requires_proc
@asynchronous
async def test_everything_unknown_is_reaped(spawned: Spawn) -> None:
    """X-09: where every child of ours is known, every other one is reaped once it has exited, and not before."""
    children = Children(knows_all=True)
    dead, living, ours = spawned("true"), spawned("sleep", "600"), spawned("true")
    children.adopted.job_started(ours)
    await children.exited(dead)
    await children.exited(ours)
    assert children.adopted.sweep() == 1
    assert not children.is_there(dead)
    assert children.is_there(ours), "another part of the process waits for this one"
    assert set(children.adopted.living) == {living}


@requires_proc
@pytest.mark.parametrize("way", ["pidfd", "SIGCHLD"])
@asynchronous
async def test_a_process_that_is_no_job(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A child that the package itself watches, such as a check of a text, keeps its status for whoever watches it."""
    children = Children(knows_all=True)
    if way == "SIGCHLD":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    recorder = Recorder()
    check = spawn_process(reactor, recorder, shell("exit 3"))
    assert check.pid is not None
    pid = check.pid
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # without a turn of the reactor
    assert children.adopted.sweep() == 0
    reason = await end_of(recorder)
    assert isinstance(reason, ProcessTerminated)
    assert reason.exitCode == 3
    assert not exits.is_watched(pid)


@requires_proc
@asynchronous
async def test_storm(spawned: Spawn) -> None:
    """X-17: five hundred that exit together are all reaped at one look."""
    children = Children(knows_all=True)
    storm = [spawned("true") for _ in range(500)]
    for pid in storm:
        await children.exited(pid)
    assert children.adopted.sweep() == len(storm)
    assert not children.table.children() & set(storm)


@requires_proc
@asynchronous
async def test_an_applications_own_children(spawned: Spawn) -> None:
    """X-09: a child that the application may have started, in its session or one of its own, is left alone."""
    children = Children(knows_all=False)
    plain, leader, foreign = spawned("true"), spawned("true", is_leader=True), spawned("sleep", "600", mark="other")
    await children.exited(plain)
    await children.exited(leader)
    assert children.adopted.sweep() == 0
    assert {plain, leader} <= children.table.children()
    assert not children.adopted.living
    os.kill(foreign, signal.SIGKILL)


@requires_proc
@asynchronous
async def test_child_of_another_session(spawned: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """X-09: a child in a session that is neither ours nor its own was adopted, also where other code starts some."""
    children = Children(knows_all=False)
    daemon = spawned("true")
    await children.exited(daemon)
    monkeypatch.setattr(os, "getsid", lambda pid: 1)
    assert children.adopted.sweep() == 1
    assert not children.is_there(daemon)


@requires_proc
@asynchronous
async def test_child_with_a_mark(spawned: Spawn) -> None:
    """X-09: a child that was seen alive with a job's mark was adopted; its environment is not needed any more then."""
    children = Children(knows_all=False)
    daemon = spawned("sleep", "600", is_leader=True, mark="ours")
    await until(lambda: bool(children.adopted.sweep()) or bool(children.adopted.living))
    assert set(children.adopted.living) == {daemon}
    os.kill(daemon, signal.SIGKILL)
    await children.exited(daemon)
    assert children.adopted.sweep() == 1
    assert not children.is_there(daemon)


@requires_proc
@asynchronous
async def test_somebody_else_was_quicker(spawned: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failure when other code, which waits for any child, reaps a child first."""
    children = Children(knows_all=True)
    child = spawned("true")
    await children.exited(child)
    waitpid = os.waitpid

    def late(pid: int, flags: int) -> tuple[int, int]:
        waitpid(pid, flags)
        return waitpid(pid, flags)

    monkeypatch.setattr(os, "waitpid", late)
    assert children.adopted.sweep() == 0
    monkeypatch.setattr(os, "waitpid", lambda pid, flags: (0, 0))
    assert children.adopted.sweep() == 0


@requires_proc
@asynchronous
async def test_looks_while_there_may_be_something(spawned: Spawn) -> None:
    """Looks go on while a job runs or an adopted child lives, and then end: an idle server has no timer."""
    children = Children(knows_all=True)
    for job in (GONE, GONE + 1):
        children.adopted.job_started(job)
    assert len(children.clock.getDelayedCalls()) == 1
    children.clock.advance(SWEEP_SECONDS)
    daemon = spawned("sleep", "600")
    children.clock.advance(SWEEP_SECONDS)
    for job in (GONE, GONE + 1):
        children.adopted.job_ended(job)
    children.clock.advance(SWEEP_SECONDS)
    assert children.clock.getDelayedCalls(), "the daemon lives"
    os.kill(daemon, signal.SIGKILL)
    await children.exited(daemon)
    children.clock.advance(SWEEP_SECONDS)
    assert not children.is_there(daemon)
    assert not children.clock.getDelayedCalls()


@requires_proc
@asynchronous
async def test_last_look(spawned: Spawn) -> None:
    """Stopping reaps a last time; stopping what does nothing does nothing."""
    children = Children(knows_all=True)
    children.adopted.stop()
    children.adopted.job_started(GONE)
    assert not children.clock.getDelayedCalls()
    children.adopted.start()
    children.adopted.job_started(GONE)
    dead = spawned("true")
    await children.exited(dead)
    children.adopted.stop()
    assert not children.is_there(dead)
    assert not children.clock.getDelayedCalls()


def test_system_without_proc(tmp_path: object) -> None:
    """Without ``/proc`` nothing is looked at."""
    clock = Clock()
    table = ProcessTable(clock, str(tmp_path))
    adopted = AdoptedChildren(clock, table, Guardian(reactor), b"ours", knows_all=True)
    adopted.start()
    adopted.job_started(GONE)
    assert not clock.getDelayedCalls()


def test_system_without_subreapers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has no subreapers is told apart."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not become_subreaper()


@pytest.fixture
def subreaper() -> Iterator[bool]:
    """Make this process a subreaper until the test is over."""
    yield become_subreaper()
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


@requires_proc
@asynchronous
async def test_daemon_is_inherited(subreaper: bool) -> None:
    """X-09: what a child leaves behind becomes ours, is known for adopted, and is reaped, in any process."""
    assert subreaper
    argv = ["/bin/sh", "-c", "exec 2>&-; sleep 600 >&- & echo $!"]
    children = Children(knows_all=False)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as job:
        daemon = int(job.communicate()[0])
    children.adopted.sweep()
    assert set(children.adopted.living) == {daemon}
    os.kill(daemon, signal.SIGKILL)
    await children.exited(daemon)
    assert children.adopted.sweep() == 1
    assert not children.is_there(daemon)


@requires_proc
def test_many_daemons() -> None:
    """X-09: however many jobs leave daemons behind, no zombie stays, and no job's own status is taken."""
    require_tool("setsid")
    argv = [sys.executable, "-m", "tests.execution.trees.server_stand_in", "daemons", str(MANY)]
    result = json.loads(subprocess.check_output(argv))
    assert result["zombies"] == 0
    assert result["most"] > 0, "there was nothing to reap"
    assert result["statuses"] == [0]


@requires_proc
def test_no_descriptor_to_look_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-06: a look that the system does not allow is made again later."""
    children = Children(knows_all=False)
    children.adopted.job_started(GONE)
    children.adopted.job_ended(GONE)

    def exhausted() -> set[int]:
        raise OSError(errno.ENFILE, "Too many open files in system")

    monkeypatch.setattr(children.table, "children", exhausted)
    children.clock.advance(SWEEP_SECONDS)
    children.clock.advance(SWEEP_SECONDS)
    assert len(children.clock.getDelayedCalls()) == 1
    monkeypatch.undo()
    children.clock.advance(SWEEP_SECONDS)
    assert children.clock.getDelayedCalls() == []


@requires_proc
@asynchronous
async def test_no_descriptor_to_read_with(spawned: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-06: an adopted child that could not be read at one look is still known at the next, and is reaped."""
    children = Children(knows_all=False)
    daemon = spawned("sleep", "600", is_leader=True, mark="ours")
    children.adopted.job_started(GONE)
    children.adopted.job_ended(GONE)
    await until(lambda: bool(children.adopted.sweep()) or bool(children.adopted.living))
    with monkeypatch.context() as patch:
        patch.setattr(children.table, "read", lambda _: None)
        children.clock.advance(SWEEP_SECONDS)
    os.kill(daemon, signal.SIGKILL)
    await children.exited(daemon)
    children.clock.advance(SWEEP_SECONDS)
    assert not children.is_there(daemon)
