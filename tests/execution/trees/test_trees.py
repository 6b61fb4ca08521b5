"""The one object that a server asks: what it makes, what it counts, and what it tells the guardian."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator

import pytest
from twisted.internet import process as twisted_process
from twisted.logger import capturedLogs

from tests.execution.owners import asynchronous, reactor, until
from tests.execution.real_trees import is_alive, program, requires_proc, stand_in_job
from twisted_rsh.execution.trees import trees as job_trees_module
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobTrees]:
    """Trees with everything on, but that this process, the tests', does not become a subreaper."""
    asked: list[bool] = []
    monkeypatch.setattr(job_trees_module, "become_subreaper", lambda: asked.append(True))
    trees = JobTrees(reactor, owns_process=True)
    trees.start()
    assert asked == [True]
    yield trees
    trees.stop()


@asynchronous
async def test_counts(trees: JobTrees) -> None:
    """X-10: the guardian knows of a job while it runs, and it is ours until it is reaped."""
    assert trees._adopted._is_ours(trees._guardian.pid or -1)
    with stand_in_job(reactor, trees, "/bin/sleep", "600") as job:
        assert trees._adopted._is_ours(job.pid)
        assert trees._guardian._jobs == {b"%d" % job.pid: (job.tree.mark[1], job.tree._born)}
        job.tree.signal(signal.SIGKILL)
        await until(lambda: bool(job.reports))
        assert not trees._adopted._is_ours(job.pid)
        assert not trees._guardian._jobs
        assert not trees._adopted._running


@requires_proc
@asynchronous
async def test_what_a_job_leaves_in_its_group(trees: JobTrees) -> None:
    """X-10: the guardian knows of a job whose group is not gone, until its tree is closed."""
    with stand_in_job(reactor, trees, "/bin/sh", "-c", "sleep 600 & echo $!") as job:
        background = job.number()
        await until(lambda: bool(job.reports))
        assert not trees._adopted._is_ours(job.pid)
        assert set(trees._guardian._jobs) == {b"%d" % job.pid}
        job.tree.close()
        job.tree.close()
        assert not trees._guardian._jobs
        assert is_alive(background)


@requires_proc
@pytest.mark.parametrize("is_told_late", [False, True])
@asynchronous
async def test_what_is_being_ended_without_its_group(trees: JobTrees, is_told_late: bool) -> None:
    """X-10: the guardian goes on with a job that is being ended when only processes outside of its group are left.

    The number of the group may be another's by then, so that it is not signalled any more.
    """
    with stand_in_job(reactor, trees, *program(finally_="pass")) as job:
        daemon = job.number()
        if not is_told_late:
            job.tree.must_end()
        await until(lambda: bool(job.reports))
        if is_told_late:
            assert not trees._guardian._jobs, "it ended by itself"
            job.tree.must_end()
        mark = job.tree.mark[1]
        assert trees._guardian._jobs == {b"rest" + mark: (mark, job.tree._born)}
        assert is_alive(daemon)
        job.tree.close()
        assert not trees._guardian._jobs


@asynchronous
async def test_unchanged_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a start, as in an application that was not asked, there is no guardian, no look and no subreaper."""
    monkeypatch.setattr(job_trees_module, "become_subreaper", lambda: pytest.fail("no subreaper was asked for"))
    before = len(reactor.getDelayedCalls())
    trees = JobTrees(reactor)
    with stand_in_job(reactor, trees, "/bin/true") as job:
        assert len(reactor.getDelayedCalls()) == before
        await until(lambda: bool(job.reports))
    trees.stop()


@asynchronous
async def test_application_that_is_a_subreaper(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that asks gets the reaping and the guardian, and stays what it is."""
    monkeypatch.setattr(job_trees_module, "become_subreaper", lambda: pytest.fail("no subreaper was asked for"))
    trees = JobTrees(reactor)
    trees.start()
    with stand_in_job(reactor, trees, *program()) as job:
        daemon = job.number()
        assert job.tree.signal(signal.SIGKILL)
        await until(lambda: bool(job.reports) and not is_alive(daemon))
    trees.stop()
    await until(lambda: trees._guardian.pid is None)


def test_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server knows the marks that it has given, and no other server's."""
    one, other = JobTrees(reactor), JobTrees(reactor)
    _, mark = JobTree(one).mark
    assert mark != JobTree(one).mark[1]
    assert mark.startswith(one._adopted._mark_prefix)
    assert not mark.startswith(other._adopted._mark_prefix)


def test_processes_of_twisted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that Twisted waits for is not reaped."""
    trees = JobTrees(reactor)
    assert not trees._adopted._is_ours(7)
    monkeypatch.setitem(twisted_process.reapProcessHandlers, 7, object())
    assert trees._adopted._is_ours(7)


@asynchronous
async def test_no_guardian(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guardian that cannot be started is a warning, jobs run without it, and it is started when it can be."""

    def fail(*args: object, **kwargs: object) -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    trees = JobTrees(reactor)
    with monkeypatch.context() as patched, capturedLogs() as logged:
        patched.setattr(os, "posix_spawn", fail)
        trees.start()
    assert [event["problem"] for event in logged] == [f"no guardian ({os.strerror(errno.EAGAIN)})"]
    with stand_in_job(reactor, trees, "/bin/true"):
        assert trees._guardian.pid is None
        await until(lambda: trees._guardian.pid is not None)
    trees.stop()
    await until(lambda: trees._guardian.pid is None)
