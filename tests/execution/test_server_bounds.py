"""The bounds that a server sets for each job, on both sides of each, and for what a job leaves behind."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from tests.execution.owners import RecordingOwner, asynchronous, reactor, until
from tests.execution.real_trees import is_alive, requires_proc
from twisted_rsh.core.endings import Ending, Exited, Limit, LimitReached
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.trees.limits import SAMPLE_SECONDS, UsageLimits, thread_count
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import IShellJob

pytestmark = [requires_proc, pytest.mark.real]

MIB = 1024 * 1024

SOME_LOOKS = 4 * SAMPLE_SECONDS
"""Seconds in which a watch looks more than once."""


def bounded(**bounds: float) -> LocalUser:
    """The user of a server with bounds."""
    account = Account.current(os.environ, shell="/bin/sh", encoding="utf-8")  # noqa: S604 - a path, not a flag
    return LocalUser(reactor, account, bounds=UsageLimits(**bounds))  # type: ignore[arg-type]  # whole numbers are floats


async def ending_of(user: LocalUser, command: str, **limits: float) -> Ending:
    """Run a command with the limits of its client to its end."""
    owner = RecordingOwner()
    user.start_job(JobRequest(command=command, **limits), owner).end_input()  # type: ignore[arg-type]  # as above
    await owner.finished()
    return owner.ending


@pytest.mark.parametrize(("others", "ending"), [(3, Exited(0)), (4, LimitReached(Limit.PROCESSES, 4))])
@asynchronous
async def test_processes(others: int, ending: Ending) -> None:
    """As many processes as the bound run on; with one more the job is ended, and the ending says why."""
    # The shell is one of them.
    sleeps = "".join(f"sleep {SOME_LOOKS if others < 4 else 600} & " for _ in range(others))
    assert await ending_of(bounded(processes=4), f"{sleeps} wait") == ending


@pytest.mark.parametrize(("threads", "ending"), [(4, Exited(0)), (5, LimitReached(Limit.PROCESSES, 4))])
@asynchronous
async def test_threads(threads: int, ending: Ending) -> None:
    """A thread counts like a process."""
    script = f"import threading, time; [threading.Thread(target=time.sleep, args=({SOME_LOOKS},), daemon=True).start()"
    script += f" for _ in range({threads - 1})]; time.sleep({SOME_LOOKS})"
    assert await ending_of(bounded(processes=4), f"exec {sys.executable} -S -c '{script}'") == ending


@asynchronous
async def test_backstop() -> None:
    """A job inherits a limit by which endless forking fails, above what the machine has; a job without a bound none.

    The limit is lifted when others have taken the room.
    """
    owner = RecordingOwner()
    show = "grep 'Max processes' /proc/self/limits"
    user = bounded(processes=50)
    job = user.start_job(JobRequest(command=f"{show}; read line; {show}"), owner)
    await owner.when(lambda: b"\n" in owner.stdout)
    mine = resource.getrlimit(resource.RLIMIT_NPROC)
    others = [subprocess.Popen(["sleep", "600"]) for _ in range(40)]
    lifted = user._trees.table.looks + 6
    await until(lambda: user._trees.table.looks > lifted)
    job.write_input(b"\n")
    await owner.finished()
    for other in others:
        other.kill()
        other.wait()
    first, second = (int(line.split()[2]) for line in owner.stdout.splitlines())
    assert thread_count(user._trees.table.records().values()) - 60 < first
    assert second >= first + 25
    assert resource.getrlimit(resource.RLIMIT_NPROC) == mine
    free = RecordingOwner()
    bounded(memory=MIB * 1000).start_job(JobRequest(command=show), free)
    await free.finished()
    assert free.stdout.split()[2] == (b"unlimited" if mine[0] == resource.RLIM_INFINITY else b"%d" % mine[0])


FILL = "exec {python} -S -c 'import time; x = b\"x\" * {size}; time.sleep({seconds})'"

BUSY = "exec {python} -S -c 'import time\nwhile time.process_time() < {seconds}: pass'"


@pytest.mark.parametrize(("asked", "held"), [(None, 100), (60, 60), (200, 100)])
@asynchronous
async def test_memory(asked: int | None, held: int) -> None:
    """The server's bound of memory holds for a client that asks for none or for more; a client may ask for less."""
    user, limits = bounded(memory=100 * MIB), {} if asked is None else {"max_memory": asked * MIB}
    # An interpreter takes 10 MiB.
    below = FILL.format(python=sys.executable, size=(held - 30) * MIB, seconds=SOME_LOOKS)
    assert await ending_of(user, below, **limits) == Exited(0)
    above = FILL.format(python=sys.executable, size=(held + 1) * MIB, seconds=600)
    assert await ending_of(user, above, **limits) == LimitReached(Limit.MEMORY, held * MIB)


@pytest.mark.parametrize(("asked", "held"), [(None, 0.6), (0.3, 0.3), (5.0, 0.6)])
@asynchronous
async def test_processor_time(asked: float | None, held: float) -> None:
    """So does its bound of processor time."""
    user, limits = bounded(cpu=0.6), {} if asked is None else {"max_cpu": asked}
    assert await ending_of(user, BUSY.format(python=sys.executable, seconds=held / 2), **limits) == Exited(0)
    above = BUSY.format(python=sys.executable, seconds=600)
    assert await ending_of(user, above, **limits) == LimitReached(Limit.CPU, round(held * 1000))


@asynchronous
async def test_shell() -> None:
    """A persistent shell has the bounds with all that it runs; its ending, and that of its command, say which."""
    owner, command_owner = RecordingOwner(), RecordingOwner()
    shell = bounded(processes=3).start_job(JobRequest(shell="bash"), owner)  # noqa: S604 - a name, not a flag
    assert IShellJob.providedBy(shell)
    request = JobRequest(command="sleep 600 & sleep 600 & sleep 600 & wait")
    shell.start_command(request, command_owner).end_input()
    await owner.finished()
    assert owner.ending == command_owner.ending == LimitReached(Limit.PROCESSES, 3)


@asynchronous
async def test_left_behind() -> None:
    """What a job leaves behind stays within the bounds, or is ended; the watch goes with it."""
    owner = RecordingOwner()
    command = "setsid sh -c 'echo $$; read line </dev/zero; sleep 0.5; sleep 600 & sleep 600 & wait' >&1 2>/dev/null &"
    command = command.replace("read line </dev/zero; ", "exec >/dev/null; ")
    before = len(reactor.getDelayedCalls())
    bounded(processes=2).start_job(JobRequest(command=command), owner).end_input()
    await owner.finished()
    assert owner.ending == Exited(0)
    left = int(owner.stdout)
    assert is_alive(left)
    await until(lambda: not is_alive(left))
    await until(lambda: len(reactor.getDelayedCalls()) <= before)
