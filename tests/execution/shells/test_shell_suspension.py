"""A command in a persistent shell that is suspended has not ended, and its owner learns why it hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.conftest import async_fixture
from tests.execution.owners import RecordingOwner, asynchronous, reactor, until
from tests.execution.real_shells import SHELLS, ShellRig, account
from tests.execution.trees.test_suspension import Listener
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells.observation import ShellSuspension
from twisted_rsh.execution.shells.shell import ShellJob
from twisted_rsh.execution.shells.signals import ShellFamily
from twisted_rsh.execution.trees.suspension import LOOK_SECONDS
from twisted_rsh.execution.trees.table import ProcessTable
from twisted_rsh.execution.user import LocalUser

needs_proc = pytest.mark.skipif(not ProcessTable(Clock()).lists_children, reason="this system does not list children")
STOPPER = "sh -c 'echo $$; kill -STOP $$; echo over; exit 3'"
"""Says who it is, and stops until somebody lets it go on."""


@async_fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ShellRig]:
    """A shell on pipes; the parameter says which."""
    rig = ShellRig(tmp_path, request.param)
    await rig.ready()
    yield rig
    await rig.leave()


def pid_in(owner: RecordingOwner) -> int:
    """Return the number that a command printed first."""
    return int(owner.stdout.split()[0])


@needs_proc
@pytest.mark.parametrize("rig", ["bash", "dash"], indirect=True)
@asynchronous
async def test_stopped_command(rig: ShellRig) -> None:
    """X-01: it is told as stopped, goes on when it gets CONT, by whatever way, and ends as it would have."""
    owner = Listener()
    command = rig.shell.start_command(JobRequest(command=f"{STOPPER}; sleep {1.5 * LOOK_SECONDS}; {STOPPER}"), owner)
    await owner.when(lambda: owner.told == ["STOP"])
    assert not owner.endings
    os.kill(pid_in(owner), signal.SIGCONT)
    await owner.when(lambda: owner.told == ["STOP", "goes on", "STOP"])
    command.send_signal("CONT")
    await owner.finished()
    assert owner.ending == Exited(3)
    assert owner.stdout.count(b"over") == 2


@needs_proc
@pytest.mark.parametrize("rig", ["zsh"], indirect=True)
@asynchronous
async def test_shell_that_does_not_wait(rig: ShellRig) -> None:
    """zsh goes on without a program that is suspended, and says so with its status: the command has ended."""
    owner = Listener()
    rig.shell.start_command(JobRequest(command=STOPPER), owner).end_input()
    await owner.finished()
    assert (owner.ending, owner.told) == (Exited(128 + signal.SIGSTOP), [])
    os.kill(pid_in(owner), signal.SIGKILL)


@needs_proc
@pytest.mark.parametrize("rig", SHELLS, indirect=True)
@asynchronous
async def test_what_runs_is_not_stopped(rig: ShellRig) -> None:
    """Neither a process of an earlier command that is, nor one in the background of a command that goes on, counts."""
    left = await rig.run("sleep 600 & kill -STOP $!; echo $!")
    owner = Listener()
    command = rig.shell.start_command(
        JobRequest(command=f"sleep 600 & kill -STOP $!; echo $!; sleep {2.5 * LOOK_SECONDS}; kill -KILL $!"), owner
    )
    command.end_input()
    await owner.finished()
    assert owner.told == []
    waiting, reader = rig.begin("read line")
    await until(lambda: waiting.has_begun)
    assert not rig.shell._reach.is_suspended()
    waiting.end_input()
    await reader.finished()
    os.kill(pid_in(left), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell")
@pytest.mark.parametrize("on_terminal", [False, True])
@asynchronous
async def test_stopped_shell(tmp_path: Path, on_terminal: bool) -> None:
    """X-01: when a command stops the shell itself, both are told of, and ``CONT`` for the command is the shell's."""
    owner, user = Listener(), LocalUser(reactor, account(tmp_path))
    request = JobRequest(shell="sh" if sys.platform == "darwin" else "bash")
    shell = user.start_job(request, owner)
    assert isinstance(shell, ShellJob)
    running = Listener()
    command = shell.start_command(JobRequest(command="kill -STOP $$; echo over"), running)
    await running.when(lambda: running.told == ["STOP"])
    assert owner.told == ["STOP"]
    command.send_signal("CONT")
    await running.finished()
    assert running.stdout == b"over\n"
    shell.end_input()
    await owner.finished()


def test_owners_that_do_not_listen() -> None:
    """Nobody is told, and nothing is looked at."""
    clock = Clock()
    watch = ShellSuspension(clock, RecordingOwner(), lambda: True)
    watch.command_begins(RecordingOwner())
    watch.job_stopped("STOP")
    watch.job_continued()
    assert not clock.getDelayedCalls()


def test_one_look_a_second() -> None:
    """However many commands there are: a short one is seldom looked at, and between commands nothing is."""
    clock, looks = Clock(), list[float]()

    def is_suspended() -> bool:
        looks.append(clock.seconds())
        return False

    watch = ShellSuspension(clock, RecordingOwner(), is_suspended)
    for _ in range(300):
        watch.command_begins(Listener())
        clock.advance(LOOK_SECONDS / 100)
        watch.command_ended()
    assert 2 <= len(looks) <= 3
    clock.advance(LOOK_SECONDS)
    clock.advance(LOOK_SECONDS)
    assert not clock.getDelayedCalls()
    watch.command_begins(Listener())
    watch.stop()
    watch.stop()
    assert not clock.getDelayedCalls()


def test_each_change_is_told_once() -> None:
    """Of the shell and of its children together, and to the running command alone."""
    clock, suspended = Clock(), [False]
    shell, first, second = Listener(), Listener(), Listener()
    watch = ShellSuspension(clock, shell, lambda: suspended[0])
    watch.command_begins(first)
    for answer in (True, True, False):
        suspended[0] = answer
        clock.advance(LOOK_SECONDS)
    assert first.told == ["STOP", "goes on"]
    watch.job_stopped("TSTP")
    suspended[0] = True
    clock.advance(LOOK_SECONDS)
    watch.job_continued()
    assert first.told == ["STOP", "goes on", "TSTP"], "its children are suspended still"
    assert shell.told == ["TSTP", "goes on"]
    watch.command_ended()
    watch.job_stopped("STOP")
    watch.command_begins(second)
    assert first.told == ["STOP", "goes on", "TSTP"]
    assert second.told == ["STOP"], "it begins in a shell that is suspended"
    watch.stop()


def test_on_a_terminal_nothing_is_looked_at() -> None:
    """The shell has job control there."""
    clock, owner = Clock(), Listener()
    watch = ShellSuspension(clock, RecordingOwner(), None)
    watch.command_begins(owner)
    assert not clock.getDelayedCalls()
    watch.job_stopped("STOP")
    assert owner.told == ["STOP"]


@needs_proc
def test_children_of_all_kinds() -> None:
    """Those that have ended do not count; without any that lives, nothing is suspended; one that runs is enough."""
    family = ShellFamily(ProcessTable(Clock()), os.getpid())
    earlier = family.children() or set()
    with subprocess.Popen(["sleep", "600"]) as stopped, subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        answers = [family.is_suspended(earlier)]
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        answers.append(family.is_suspended(earlier))
        answers.append(family.is_suspended(family.children() or set()))
        stopped.kill()
    assert answers == [False, True, False]


def test_where_the_system_does_not_tell(tmp_path: Path) -> None:
    """A command there is never suspended."""
    assert not ShellFamily(ProcessTable(Clock(), str(tmp_path)), os.getpid()).is_suspended()
