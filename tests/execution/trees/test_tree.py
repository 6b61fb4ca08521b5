"""No process of a job escapes, and none but a job's own is ever signalled."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from twisted.internet.task import Clock, deferLater

from tests.execution.owners import asynchronous, reactor, until
from tests.execution.real_trees import is_alive, numbers, program, requires_proc, stand_in_job
from twisted_rsh.execution.lifetime import KillLadder
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.trees import tree as job_tree_module
from twisted_rsh.execution.trees.table import ProcessRecord, ProcessTable
from twisted_rsh.execution.trees.tree import PROOF_SECONDS, JobTree
from twisted_rsh.execution.trees.trees import JobTrees

pytestmark = requires_proc


@pytest.fixture
def trees() -> JobTrees:
    """Trees in a process that is not changed for them."""
    return JobTrees(reactor)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that belongs to no job."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def tree_on(clock: Clock, proc: Path | None = None) -> JobTree:
    """Make a tree on a clock, of the processes of this machine or of a folder that stands in for ``/proc``."""
    trees = JobTrees(cast("IJobReactor", clock))
    if proc is not None:
        trees.table = ProcessTable(clock, str(proc))
    return JobTree(trees)


def survives(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process outlives the moment that a signal takes."""
    try:
        process.wait(0.1)
    except subprocess.TimeoutExpired:
        return True
    return False


def clock_ticks(pid: int) -> int:
    """When a process started."""
    record = ProcessTable(Clock()).read(pid)
    assert record is not None
    return record.started


@asynchronous
async def test_daemon_by_the_book(trees: JobTrees) -> None:
    """X-09: a daemon that forked twice and called setsid is of the job, and ends with it."""
    with stand_in_job(reactor, trees, *program()) as job:
        daemon = job.number()
        assert set(job.tree.members(0)) == {job.pid, daemon}
        assert job.tree.signal(signal.SIGTERM)
        await until(lambda: not is_alive(daemon))
        await until(lambda: bool(job.reports))
        await until(lambda: not job.tree.signal(0))
        assert not job.tree.signal(signal.SIGTERM)
        assert not job.tree.signal(signal.SIGKILL)


@asynchronous
async def test_daemon_of_a_job_that_has_exited(trees: JobTrees) -> None:
    """X-09: a daemon is found although nothing else of its job is left."""
    with stand_in_job(reactor, trees, *program(finally_="")) as job:
        daemon = job.number()
        await until(lambda: bool(job.reports))
        assert set(job.tree.members(0)) == {daemon}
        assert job.tree.signal(signal.SIGKILL)
        await until(lambda: not is_alive(daemon))


@asynchronous
async def test_what_was_seen_once_is_known(trees: JobTrees) -> None:
    """Without the mark a daemon is still known when it was seen as a descendant before it lost its parents."""
    script = "import os, time; os.setsid() if os.fork() == 0 else 0; print(os.getpid(), flush=True); time.sleep(600)"
    with stand_in_job(reactor, trees, sys.executable, "-S", "-c", script, marked=False) as job:
        both = set(numbers(job.stdout, 2))
        assert set(job.tree.members(0)) == both
        os.kill(job.pid, signal.SIGKILL)
        await until(lambda: bool(job.reports))
        [child] = both - {job.pid}
        assert set(job.tree.members(0)) == {child}
        assert job.tree.signal(0)


@asynchronous
async def test_the_rest_of_a_session(trees: JobTrees) -> None:
    """X-07: a process in a group of its own is found by its session, after the first has exited and without a mark."""
    script = """
import os, time
if os.fork() == 0:
    os.setpgid(0, 0)
    print(os.getpid(), flush=True)
    time.sleep(600)
"""
    with stand_in_job(reactor, trees, sys.executable, "-S", "-c", script, marked=False) as job:
        background = job.number()
        await until(lambda: bool(job.reports))
        assert set(job.tree.members(0)) == {background}
        job.tree.signal(signal.SIGKILL)
        await until(lambda: not is_alive(background))


@asynchronous
async def test_a_group_that_is_gone_behind_the_end(trees: JobTrees) -> None:
    """X-07: the guardian forgets a job that is over, also if only the last signal finds that its group is gone."""
    with stand_in_job(reactor, trees, "/bin/sh", "-c", "sleep 600 & echo $!") as job:
        rest = job.number()
        await until(lambda: bool(job.reports))
        job.tree.must_end()
        os.kill(rest, signal.SIGKILL)
        await until(lambda: not os.path.exists(f"/proc/{rest}"))
        job.tree.close()
        assert trees._guardian._jobs == {}
        job.tree.signal(signal.SIGKILL)
        assert trees._guardian._jobs == {}


def test_a_number_proves_nothing_for_long(stranger: subprocess.Popen[bytes]) -> None:
    """X-15: when the job's number has been free for a while, a process that has it is not the job's."""
    clock = Clock()
    tree = tree_on(clock)
    tree.started(stranger.pid)
    tree.reaped()
    assert set(tree.members(0)) == {stranger.pid}
    clock.advance(PROOF_SECONDS)
    assert set(tree.members(0)) == {stranger.pid}
    tree = tree_on(clock)
    tree.started(stranger.pid)
    tree.reaped()
    clock.advance(PROOF_SECONDS + 0.1)
    assert not tree.members(0)
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        assert not tree.signal(number)
    assert survives(stranger)


@pytest.mark.parametrize("way", ["pidfd", "no pidfd", "no descriptors"])
def test_recycled_pid(stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """X-15: a process that has the number of one that belonged, and another start, gets no signal."""
    if way == "no pidfd":
        monkeypatch.delattr(os, "pidfd_open")
    elif way == "no descriptors":

        def fail(pid: int, flags: int = 0) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(os, "pidfd_open", fail)
    tree = tree_on(Clock())
    table = tree.table
    record = table.records()[stranger.pid]
    tree._send({stranger.pid: dataclasses.replace(record, started=record.started - 1)}, signal.SIGKILL)
    assert survives(stranger)
    tree._send({stranger.pid: record}, signal.SIGKILL)
    stranger.wait()
    tree._send({stranger.pid: record}, signal.SIGKILL)


def test_known_number_of_another(stranger: subprocess.Popen[bytes]) -> None:
    """X-15: what was known under a number is forgotten when the number has become another's."""
    tree = tree_on(Clock())
    dead = subprocess.Popen(["true"])
    dead.wait()
    tree.started(dead.pid)
    tree.reaped()
    tree._known = {stranger.pid: clock_ticks(stranger.pid) - 1}
    assert not tree.signal(0)
    assert not tree.signal(signal.SIGKILL)
    assert survives(stranger)


@asynchronous
async def test_shared_look(trees: JobTrees) -> None:
    """X-07: a look from before a job's start, or of a moment ago, never makes a job seem to be gone that is not."""
    trees.table.records(0)
    with stand_in_job(reactor, trees, "/bin/sleep", "600") as job:
        assert job.tree.signal(0)
        looks = trees.table.looks
        os.kill(job.pid, signal.SIGKILL)
        await until(lambda: bool(job.reports))
        trees.table.records(0)
        assert job.tree.signal(0), "something may have been born after the look"
        assert trees.table.looks == looks + 1
        trees.table.records(0)
        assert not job.tree.signal(0)
        assert trees.table.looks == looks + 2


def test_older_processes(stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is older than the job is not the job's, and its environment is not looked at."""
    monkeypatch.setattr(job_tree_module, "_START_MARGIN_TICKS", -1000)
    tree = tree_on(Clock())
    tree.started(stranger.pid)
    assert not tree.members()


def test_tree_without_a_job() -> None:
    """A tree whose job was never started has no process, and says so."""
    tree = tree_on(Clock())
    assert not tree.members()
    assert not tree.signal(signal.SIGKILL)
    tree.reaped()
    tree.close()


def test_process_of_another_user(stranger: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that became another user is still there, although it cannot be signalled."""

    def refuse(*args: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", refuse)
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    tree = tree_on(Clock())
    tree.started(stranger.pid)
    assert tree.signal(signal.SIGTERM)
    assert tree.signal(signal.SIGKILL)
    table = ProcessTable(Clock())
    table.signal(table.records()[stranger.pid], signal.SIGTERM)


@asynchronous
async def test_stopped_daemon_dies(trees: JobTrees) -> None:
    """X-07: a process that is stopped is continued, so that it learns of its end."""
    with stand_in_job(reactor, trees, *program("os.kill(os.getpid(), signal.SIGSTOP)")) as job:
        daemon = job.number()
        finished: list[bool] = []
        KillLadder(reactor, job.tree.signal, lambda: finished.append(True)).start()
        await until(lambda: bool(finished))
        assert not is_alive(daemon)
        assert not is_alive(job.pid)


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(os.getpid(), flush=True)
deadline = time.time() + 100
while time.time() < deadline:
    if os.fork() == 0:
        {child}
        time.sleep(0.3)
        os._exit(0)
    time.sleep(0.002)
"""


@pytest.mark.parametrize("child", ["pass", "os.setsid()"])
@asynchronous
async def test_stubborn_job(trees: JobTrees, monkeypatch: pytest.MonkeyPatch, child: str) -> None:
    """X-08: a job that ignores HUP and TERM and forks all the time is gone after KILL; the reactor goes on."""
    monkeypatch.setattr("twisted_rsh.execution.lifetime.POLL_SECONDS", 0.01)
    with stand_in_job(reactor, trees, sys.executable, "-S", "-c", STUBBORN.format(child=child)) as job:
        job.number()
        finished: list[bool] = []
        ladder = KillLadder(reactor, job.tree.signal, lambda: finished.append(True))
        ladder.start()
        turns = 0

        def is_finished() -> bool:
            nonlocal turns
            turns += 1
            return bool(finished)

        await until(is_finished)
        assert turns > 10
        assert not job.tree.members(0)


CHAIN = """
import os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deadline = time.time() + 60
if os.fork(): os._exit(0)
while time.time() < deadline:
    if os.fork():
        os._exit(0)
    time.sleep(0.002)
"""


@pytest.mark.real
@pytest.mark.parametrize("seconds", [0.0, PROOF_SECONDS + 0.2])
@asynchronous
async def test_chain_of_forks(trees: JobTrees, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """X-08: processes that fork and exit faster than one can look are killed as a group.

    No look sees one of them here, and the ladder also begins long after the first process was reaped.
    """
    with stand_in_job(reactor, trees, sys.executable, "-S", "-c", CHAIN) as job:

        def look_and_miss(*_: float) -> dict[int, ProcessRecord]:
            trees.table.records(0)
            return {}

        monkeypatch.setattr(job.tree, "members", look_and_miss)
        await until(lambda: bool(job.reports))
        await deferLater(reactor, seconds)
        finished: list[bool] = []
        KillLadder(reactor, job.tree.signal, lambda: finished.append(True)).start()
        await until(lambda: bool(finished))
        await until(lambda: not is_group(job.pid))


def is_group(number: int) -> bool:
    """Tell whether there is a process group of that number."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_group_too_quick_to_be_seen(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    """X-08: a group of which no look has seen a process is still signalled while its number is the job's."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").touch()
    tree = tree_on(Clock(), tmp_path)
    tree.started(stranger.pid)
    assert not tree.signal(0)
    assert not tree.signal(signal.SIGTERM)
    assert stranger.wait() == -signal.SIGTERM
    tree.reaped()
    assert not tree.signal(signal.SIGKILL)


def test_system_without_proc(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    """Without ``/proc`` the tree is the process group, and a group that is gone stays gone."""
    tree = tree_on(Clock(), tmp_path)
    tree.started(stranger.pid)
    assert not tree.members()
    assert tree.signal(0)
    assert tree.signal(signal.SIGKILL)
    stranger.wait()
    tree.reaped()
    assert not tree.signal(0)
    assert not tree.signal(signal.SIGKILL)


@asynchronous
async def test_marks_differ(trees: JobTrees) -> None:
    """Two jobs of one server never share a process."""
    assert JobTree(trees).mark != JobTree(trees).mark
    with stand_in_job(reactor, trees, "/bin/sleep", "600") as one, stand_in_job(reactor, trees, *program()) as other:
        daemon = other.number()
        assert set(one.tree.members(0)) == {one.pid}
        assert set(other.tree.members(0)) == {other.pid, daemon}
        one.tree.signal(signal.SIGKILL)
        await until(lambda: bool(one.reports))
        assert is_alive(daemon)
        assert is_alive(other.pid)


@asynchronous
async def test_a_normal_end_reads_nothing(trees: JobTrees) -> None:
    """A job that ends by itself costs no look at the machine's processes."""
    with stand_in_job(reactor, trees, "/bin/true") as job:
        await until(lambda: bool(job.reports))
        job.tree.close()
        assert trees.table.looks == 0


def test_own_process_is_no_member() -> None:
    """The server never counts itself in, whatever its environment says."""
    tree = tree_on(Clock())
    tree._born = 0
    tree.started(os.getsid(0))
    tree.mark = (b"", b"")
    assert os.getpid() not in tree.members()
