"""The guardian leaves no process of a server that was killed."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, capturedLogs

from tests.execution.owners import PATIENCE, asynchronous, lose, open_descriptors, reactor, until
from tests.execution.real_trees import is_alive, requires_proc
from twisted_rsh.execution.processes.exits import ExitReport
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.trees.guardian import MAX_RESTART_SECONDS, RESTART_SECONDS, Guardian
from twisted_rsh.execution.trees.table import MARK_NAME

PIPE_BYTES = 4096
"""The smallest pipe that Linux makes."""


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    """A guardian whose steps are a second apart."""
    guardian = Guardian(reactor, 1)
    guardian.start()
    yield guardian
    guardian.stop()


@pytest.fixture
def warnings() -> Iterator[Sequence[LogEvent]]:
    """Collect the events that are logged."""
    with capturedLogs() as logged:
        yield logged


@pytest.fixture
def group() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts process groups that stand in for jobs."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


Group = Callable[[], "subprocess.Popen[bytes]"]


async def gone(guardian: Guardian) -> None:
    """Wait until the guardian has exited and was reaped."""
    await until(lambda: guardian.pid is None)


@requires_proc
@pytest.mark.parametrize("again", [(), pytest.param(("again",), marks=pytest.mark.real)], ids=["first", "second"])
@asynchronous
async def test_server_is_killed(again: tuple[str, ...]) -> None:
    """X-10: when a server gets SIGKILL nothing of its jobs is left: stubborn, stopped or daemonised.

    So it is when its guardian was killed before.  The guardian's whole process group gets every polite signal, which
    does not impress it.
    """
    argv = [sys.executable, "-m", "tests.execution.trees.server_stand_in", "jobs", *again]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        assert all(map(is_alive, told["pids"]))
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGTSTP):
            os.kill(told["guardian"], number)
        os.killpg(server.pid, signal.SIGKILL)
        try:
            await until(lambda: not any(map(is_alive, told["pids"])))
        finally:
            for pid in filter(is_alive, told["pids"]):
                os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_alive(told["guardian"]))


@asynchronous
async def test_nothing_to_do(guardian: Guardian, group: Group, warnings: Sequence[LogEvent]) -> None:
    """X-10: a guardian that knows of no job, or of none any more, goes at once and touches nothing."""
    job = group()
    guardian.job_started(job.pid, b"abc")
    guardian.doWrite()
    guardian.job_ended(job.pid)
    guardian.job_ended(job.pid)
    guardian.stop()
    await deferLater(reactor, 0)  # the turn in which its pipe is closed
    await gone(guardian)
    assert job.poll() is None
    assert not warnings


@asynchronous
async def test_thousands_of_jobs(guardian: Guardian, group: Group) -> None:
    """X-10: the guardian keeps up with a server that has thousands of jobs, started and ended, and ends those left."""
    pid_max = 2**22  # no process of Linux has a number above it
    first, last = group(), group()
    guardian.job_started(first.pid, b"mark")
    for number in range(1, 3001):
        guardian.job_started(pid_max + number, b"%032d" % number)
    guardian._tell_now()
    await until(lambda: not guardian._untold)
    for number in range(1, 3001, 2):
        guardian.job_ended(pid_max + number)
    guardian.job_started(last.pid, b"mark")
    guardian._tell_now()
    await until(lambda: not guardian._untold)
    guardian.stop()
    await until(lambda: first.poll() is not None and last.poll() is not None)


@asynchronous
async def test_most_jobs_are_not_told(guardian: Guardian) -> None:
    """A job that has ended before the guardian is told costs it nothing; one that runs on is told soon."""
    guardian.job_started(7, b"abc")
    guardian.job_ended(7)
    assert not guardian._untold
    guardian.job_started(8, b"abc")
    assert guardian._untold
    await until(lambda: not guardian._untold)
    assert guardian._told == {b"8"}
    guardian.job_ended(8)
    assert guardian._untold


@asynchronous
async def test_what_remains(guardian: Guardian, group: Group) -> None:
    """X-15: of several jobs only those that have not ended are ended; a number that was used again is the newer job."""
    first, second, third, fourth = (group() for _ in range(4))
    for job in (first, second, third, fourth):
        guardian.job_started(job.pid, b"abc")
    guardian.doWrite()
    guardian.job_ended(second.pid)
    guardian.job_ended(first.pid)
    guardian.job_ended(fourth.pid)
    guardian.doWrite()
    guardian.job_started(fourth.pid, b"def")
    guardian.stop()
    await deferLater(reactor, 0)  # the turn in which its pipe is closed
    assert third.wait(PATIENCE) == -signal.SIGHUP
    assert fourth.wait(PATIENCE) == -signal.SIGHUP
    await gone(guardian)
    assert first.poll() is None
    assert second.poll() is None


@asynchronous
async def test_killed_at_once(guardian: Guardian) -> None:
    """O-09: the jobs of a server that ends at once are killed without a polite signal, now and by the guardian."""
    script = "trap 'echo asked' HUP TERM; echo; while :; do sleep 600 & wait; done"
    pipe = subprocess.PIPE
    known, escaped = (
        subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=pipe, env={MARK_NAME: "once"})
        for _ in range(2)
    )
    ended = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        for process in (known, escaped):
            assert process.stdout is not None
            process.stdout.readline()
        guardian.job_started(known.pid, b"once")
        guardian.job_started(ended.pid, b"def")
        guardian.job_ended(ended.pid)
        guardian.kill_jobs()
        assert known.wait(PATIENCE) == -signal.SIGKILL
        if Path("/proc/self/environ").exists():
            # It has left the group, and only the guardian finds its mark, when the server is gone.
            assert escaped.poll() is None
            guardian.close()
            await until(lambda: escaped.poll() is not None)
            assert escaped.returncode == -signal.SIGKILL
            assert escaped.stdout is not None
            os.set_blocking(escaped.stdout.fileno(), False)  # what it has started lives on a moment longer
            assert not escaped.stdout.read()
        assert ended.poll() is None
    finally:
        for process in (known, escaped, ended):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@asynchronous
async def test_killed_without_a_guardian(guardian: Guardian, group: Group) -> None:
    """O-09: without a guardian, or with one that reads nothing, the groups of the jobs are killed all the same."""
    jobs = [group() for _ in range(3)]
    guardian.job_started(jobs[0].pid, b"abc")
    # It is gone, and the server has not noticed.
    first = guardian.pid
    os.kill(first or 0, signal.SIGKILL)
    guardian.kill_jobs()
    assert jobs[0].wait(PATIENCE) == -signal.SIGKILL
    await until(lambda: guardian.pid != first)
    guardian.job_started(jobs[1].pid, b"abc")
    guardian.kill_jobs()
    assert jobs[1].wait(PATIENCE) == -signal.SIGKILL
    assert jobs[2].poll() is None


@requires_proc
@asynchronous
async def test_its_descriptors(guardian: Guardian) -> None:
    """X-12: the guardian holds its pipe and /dev/null, nothing of the server's, and no folder."""
    folder = f"/proc/{guardian.pid}/fd"
    # The system closes what is not for it while it starts; a spawn may return a moment earlier.
    await until(lambda: set(os.listdir(folder)) == {"0", "1", "2"})
    await until(lambda: os.readlink(f"/proc/{guardian.pid}/cwd") == "/")
    assert os.readlink(f"{folder}/1") == os.readlink(f"{folder}/2") == os.devnull
    assert os.getsid(guardian.pid or 0) == guardian.pid


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="only Linux makes pipes smaller")
@asynchronous
async def test_full_pipe(guardian: Guardian, group: Group) -> None:
    """X-10: a guardian that does not read delays no job, and learns the truth when it reads again."""
    assert guardian.pid is not None
    os.kill(guardian.pid, signal.SIGSTOP)
    fcntl.fcntl(guardian.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    told, ended = group(), group()
    guardian.job_started(ended.pid, b"a" * 32)
    guardian.doWrite()
    number = 1 << 25  # more than any process has
    while not guardian._untold:
        number += 1
        guardian.job_started(number, b"b" * 32)
        guardian.doWrite()
    guardian.job_started(told.pid, b"c" * 32)
    for late in range(number + 1, number + 10_000):
        guardian.job_started(late, b"d" * 32)
        guardian.job_ended(late)
    guardian.job_ended(ended.pid)
    assert len(guardian._untold) < 10, "what began and ended meanwhile is not kept"
    os.kill(guardian.pid, signal.SIGCONT)
    await until(lambda: not guardian._untold)
    for each in range(1 << 25, number + 1):
        guardian.job_ended(each)
    await until(lambda: not guardian._untold)
    guardian.stop()
    await deferLater(reactor, 0)  # the turn in which its pipe is closed
    assert told.wait(PATIENCE) == -signal.SIGHUP
    assert ended.poll() is None


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="only Linux makes pipes smaller")
@asynchronous
async def test_stop_of_one_that_does_not_know(guardian: Guardian, group: Group, warnings: Sequence[LogEvent]) -> None:
    """X-15: a guardian that could not be told of the end of a job is ended rather than trusted."""
    assert guardian.pid is not None
    os.kill(guardian.pid, signal.SIGSTOP)
    fcntl.fcntl(guardian.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    job = group()
    number = job.pid
    while not guardian._untold:
        guardian.job_started(number, b"a" * 32)
        guardian.doWrite()
        number += 1 << 25
    guardian.job_ended(job.pid)
    guardian.stop()
    await deferLater(reactor, 0)  # the turn in which its pipe is closed
    await gone(guardian)
    assert job.poll() is None
    assert not warnings


@pytest.mark.real
@asynchronous
async def test_guardian_that_was_killed(guardian: Guardian, group: Group, warnings: Sequence[LogEvent]) -> None:
    """X-10: a guardian that was killed is a warning; another one is started, and told of the jobs that run by then."""
    first, running, ended, late = guardian.pid, group(), group(), group()
    assert first is not None
    for job in (running, ended):
        guardian.job_started(job.pid, b"abc")
    guardian.doWrite()
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    guardian.job_ended(ended.pid)
    guardian.job_started(late.pid, b"def")
    await until(lambda: guardian.pid not in (None, first))
    [warning] = warnings
    assert (warning["problem"], warning["delay"]) == ("the guardian is gone", 0)
    guardian.stop()
    await gone(guardian)
    assert (running.wait(PATIENCE), late.wait(PATIENCE)) == (-signal.SIGHUP, -signal.SIGHUP)
    assert ended.poll() is None


class DyingGuardian(Guardian):
    """A guardian on a clock, each of whose processes dies at once, or cannot be started."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(cast("IJobReactor", clock))
        self.clock = clock
        self.attempts: list[float] = []
        self.cannot_start = False

    def _spawn(self) -> None:
        self.attempts.append(self.clock.seconds())
        if self.cannot_start:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.pid = 7


@pytest.mark.parametrize("cannot_start", [False, True])
def test_attempts_become_rare(warnings: Sequence[LogEvent], cannot_start: bool) -> None:
    """X-10: a guardian that keeps dying, or cannot be started, is replaced at once, and then more and more rarely."""
    guardian = DyingGuardian(Clock())
    guardian.cannot_start = cannot_start
    guardian.start()
    for step in (0, 1) * 4 * round(MAX_RESTART_SECONDS):
        if guardian.pid is not None:
            guardian.process_exited(ExitReport(0))
        guardian.clock.advance(step)
    waited = [later - earlier for earlier, later in pairwise(guardian.attempts)]
    expected = [RESTART_SECONDS * 2**number for number in range(6)]
    assert waited[:9] == [0, *expected, MAX_RESTART_SECONDS, MAX_RESTART_SECONDS]
    assert len(warnings) >= len(waited)
    guardian.stop()
    assert not guardian.clock.getDelayedCalls()


def test_healthy_guardian_is_replaced_at_once() -> None:
    """X-10: the death of a guardian that lived long begins a new series of attempts; a moment less does not."""
    for lived, waits in ((MAX_RESTART_SECONDS, 0), (MAX_RESTART_SECONDS - 1, RESTART_SECONDS)):
        guardian = DyingGuardian(Clock())
        guardian.start()
        guardian.process_exited(ExitReport(0))
        guardian.clock.advance(0)
        guardian.clock.advance(lived)
        guardian.process_exited(ExitReport(0))
        [call] = guardian.clock.getDelayedCalls()
        assert call.getTime() - guardian.clock.seconds() == waits
        guardian.stop()


@asynchronous
async def test_reactor_gives_up(guardian: Guardian) -> None:
    """`connectionLost` closes the pipe, once."""
    assert guardian.logPrefix() == "Guardian"
    before = open_descriptors()
    lose(guardian, OSError())
    lose(guardian, OSError())
    await deferLater(reactor, 0)  # the turn in which descriptors are closed
    assert len(open_descriptors()) == len(before) - 1
    guardian.stop()
    await gone(guardian)


@asynchronous
async def test_guardian_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guardian that cannot be started leaves no descriptor behind; one that never was can be told and stopped."""

    def fail(*args: object, **kwargs: object) -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawn", fail)
    await deferLater(reactor, 0)  # the turn in which what tests before this have closed is closed
    before = open_descriptors()
    guardian = Guardian(reactor)
    guardian.start()
    guardian.job_started(7, b"abc")
    guardian.stop()
    await deferLater(reactor, 0)  # the turn in which descriptors are closed
    assert open_descriptors() == before


def test_mark_is_a_word(guardian: Guardian) -> None:
    """A mark that would mean something to a shell is a mistake of the caller's."""
    with pytest.raises(AssertionError):
        guardian.job_started(7, b"a b")
