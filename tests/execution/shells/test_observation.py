"""Observations of commands in a persistent shell: the resources that each used, and whether it is suspended."""

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
from tests.execution.real_shells import KINDS, SHELLS, ShellRig, account
from tests.execution.real_trees import requires_proc
from tests.execution.trees.test_suspension import Listener
from twisted_rsh.core.endings import Exited, Refused, ResourceUsage
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells.observation import ShellMeter, ShellSuspension
from twisted_rsh.execution.shells.shell import ShellJob
from twisted_rsh.execution.shells.signals import ShellSignals
from twisted_rsh.execution.trees.suspension import LOOK_SECONDS
from twisted_rsh.execution.trees.table import TICKS_PER_SECOND, ProcessTable
from twisted_rsh.execution.user import LocalUser

pytestmark = pytest.mark.real

needs_children = pytest.mark.skipif(
    not ProcessTable(Clock()).lists_children, reason="this system does not list children"
)


@async_fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ShellRig]:
    """A shell; the parameter says which, and whether on a terminal."""
    rig = ShellRig(tmp_path, *request.param)
    await rig.ready()
    yield rig
    await rig.leave()


def each(*kinds: tuple[str, bool]) -> pytest.MarkDecorator:
    """Run a test with each of these kinds of shell."""
    return pytest.mark.parametrize(
        "rig", kinds, indirect=True, ids=lambda kind: f"{kind[0]}-{'terminal' if kind[1] else 'pipes'}"
    )


ON_PIPES = [(shell, False) for shell in SHELLS]
"""Every shell on pipes."""

# Resources

BUSY = f"{sys.executable} -I -S -c 'import time\nwhile time.process_time() < 0.3: sum(range(9999))'"
"""Uses 0.3 s of processor time, however busy the machine is."""

LOOP = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
"""Keeps the shell itself busy."""


def taken(owner: RecordingOwner) -> ResourceUsage:
    """Return the reported usage of a command that has ended."""
    assert owner.usage is not None
    assert owner.usage.peak_memory is None
    return owner.usage


@requires_proc
@each(*KINDS)
@asynchronous
async def test_times_of_each_command(rig: ShellRig) -> None:
    """A busy child, a sleeping child and a busy shell have their own times, without those of the previous command."""
    busy = taken(await rig.run(BUSY))
    assert 0.2 <= busy.user + busy.system <= 1.0
    assert busy.user >= 0.2
    assert busy.wall >= 0.3
    sleeping = taken(await rig.run("sleep 0.3"))
    assert sleeping.wall >= 0.3
    assert sleeping.user + sleeping.system <= 0.1
    loop = taken(await rig.run(LOOP))
    assert loop.user >= 0.05
    assert loop.user + loop.system <= loop.wall + 0.05


@requires_proc
@each(*KINDS)
@asynchronous
async def test_background_process(rig: ShellRig) -> None:
    """The time of a background process counts for the command that waits for it, and for no other."""
    os.mkfifo(rig.home / "gate")
    started = taken(await rig.run(f"( read go < {rig.home}/gate; {BUSY} ) & true"))
    between = taken(await rig.run("sleep 0.1"))
    for usage in (started, between):
        assert usage.user + usage.system <= 0.1
    waiting = taken(await rig.run(f"echo go > {rig.home}/gate; wait"))
    assert waiting.user >= 0.2


@requires_proc
@each(*KINDS)
@asynchronous
async def test_command_that_ends_the_shell(rig: ShellRig) -> None:
    """The usage of such a command comes from the shell's exit, without the usage of earlier commands."""
    await rig.run(BUSY)
    owner = await rig.run(f"{BUSY}; exit 3")
    assert owner.ending == Exited(3)
    assert 0.2 <= taken(owner).user <= 0.55
    await rig.ended()
    assert rig.owner.usage is not None
    assert rig.owner.usage.user >= 0.5


@requires_proc
@each(("dash", False))
@asynchronous
async def test_command_that_never_began(rig: ShellRig) -> None:
    """A command that never began has no usage."""
    command, owner = rig.begin("true")
    command.terminate()
    await owner.finished()
    assert isinstance(owner.ending, Refused)
    assert owner.usage is None


def test_look_of_less_than_a_tick(tmp_path: Path) -> None:
    """A command that begins within a tick of the last one's end takes over the look; a tick later it has its own."""
    stat = tmp_path / "7" / "stat"
    stat.parent.mkdir()

    def used(ticks: int) -> None:
        stat.write_text("7 (sh) S" + " 0" * 10 + f" {ticks} 0 0 0 0\n")

    used(0)
    clock = Clock()
    meter = ShellMeter(clock, 7, str(tmp_path))
    tick = 1 / TICKS_PER_SECOND
    for pause, before, during in ((1.0, 5, 3), (0.9 * tick, 0, 2), (1.1 * tick, 4, 6), (-60.0, 4, 1)):
        clock.rightNow += pause
        total = int(stat.read_text().split()[13])
        used(total + before)
        meter.command_begins()
        used(total + before + during)
        meter.command_ended()
        usage = meter.take()
        assert usage is not None
        assert usage.user == pytest.approx(during * tick)
    clock.advance(0.5 * tick)
    used(100)
    meter.command_begins()
    meter.command_ended()
    usage = meter.take()
    assert usage is not None
    assert usage.user > 50 * tick
    meter.shell_exited(None)


def test_usage_is_returned_once() -> None:
    """The wall time is the clock's, and 0 when that was set back; a usage that was taken is gone."""
    with subprocess.Popen(["sleep", "600"]) as process:
        clock = Clock()
        meter = ShellMeter(clock, process.pid)
        meter.command_begins()
        clock.advance(2.5)
        meter.command_ended()
        if Path("/proc/self/stat").exists():
            usage = meter.take()
            assert usage is not None
            assert usage.wall == 2.5
        assert meter.take() is None
        meter.command_begins()
        clock.rightNow -= 100
        meter.command_ended()
        usage = meter.take()
        assert usage is None or usage.wall == 0
        meter.command_begins()
        process.kill()
        process.wait()
        meter.command_ended()
        assert meter.take() is None, "the usage of a process that is gone is not known"
        meter.shell_exited(None)
        assert meter._fd is None


def test_where_there_is_no_proc(tmp_path: Path) -> None:
    """Without ``/proc`` no usage is known, and no call fails."""
    meter = ShellMeter(Clock(), os.getpid(), str(tmp_path))
    meter.command_begins()
    meter.command_ended()
    meter.shell_exited(None)
    assert meter.take() is None


def test_names_that_look_like_fields(tmp_path: Path) -> None:
    """A program's name may look like the fields that follow it."""
    (tmp_path / "7").mkdir()
    ticks = os.sysconf("SC_CLK_TCK")
    meters: list[ShellMeter] = []
    for scale in (0, 1):
        times = " ".join(str(scale * number * ticks) for number in (1, 2, 4, 8))
        (tmp_path / "7" / "stat").write_bytes(
            b"7 (a) S 1 2) " + b"S 1 7 7 0 -1 0 0 0 0 0 " + times.encode() + b" 20 0 1\n"
        )
        if not meters:
            meters.append(ShellMeter(Clock(), 7, str(tmp_path)))
            meters[0].command_begins()
    meters[0].command_ended()
    assert meters[0].take() == ResourceUsage(wall=0.0, user=5.0, system=10.0, peak_memory=None)
    meters[0].shell_exited(None)


# Suspension

STOPPER = "sh -c 'echo $$; kill -STOP $$; echo over; exit 3'"
"""Prints its process id, and suspends itself until it gets CONT."""


def pid_in(owner: RecordingOwner) -> int:
    """Return the number that a command has printed first."""
    return int(owner.stdout.split()[0])


@needs_children
@each(("bash", False), ("dash", False))
@asynchronous
async def test_stopped_command(rig: ShellRig) -> None:
    """X-01: a suspended command is reported, goes on when it gets CONT by any way, and ends as usual."""
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


@needs_children
@each(("zsh", False))
@asynchronous
async def test_shell_that_does_not_wait(rig: ShellRig) -> None:
    """zsh does not wait for a suspended program: the command ends with the status that says so."""
    owner = Listener()
    rig.shell.start_command(JobRequest(command=STOPPER), owner).end_input()
    await owner.finished()
    assert (owner.ending, owner.told) == (Exited(128 + signal.SIGSTOP), [])
    os.kill(pid_in(owner), signal.SIGKILL)


@needs_children
@each(*ON_PIPES)
@asynchronous
async def test_running_command_is_not_suspended(rig: ShellRig) -> None:
    """A suspended process of an earlier command, or in the background of a running command, does not count."""
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
    assert not rig.shell.signals.is_suspended()
    waiting.end_input()
    await reader.finished()
    os.kill(pid_in(left), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell")
@pytest.mark.parametrize("on_terminal", [False, True])
@asynchronous
async def test_stopped_shell(tmp_path: Path, on_terminal: bool) -> None:
    """X-01: when a command suspends its shell, both owners are told; ``CONT`` for the command reaches the shell."""
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


class Answers(ShellSignals):
    """Answers as the test says, and records the times of the looks."""

    def __init__(self, clock: Clock, suspended: bool = False) -> None:
        self.suspended = suspended
        self.looks: list[float] = []
        self._clock = clock

    def is_suspended(self) -> bool:
        """Return the answer of the test."""
        self.looks.append(self._clock.seconds())
        return self.suspended


def test_owners_that_do_not_listen() -> None:
    """Without a listener no child is looked at."""
    clock = Clock()
    watch = ShellSuspension(clock, RecordingOwner(), Answers(clock, True))
    watch.command_begins(RecordingOwner())
    watch.job_stopped("STOP")
    watch.job_continued()
    assert not clock.getDelayedCalls()


def test_one_look_a_second() -> None:
    """There is one look a second, however many short commands there are, and none between commands."""
    clock = Clock()
    answers = Answers(clock)
    watch = ShellSuspension(clock, RecordingOwner(), answers)
    for _ in range(300):
        watch.command_begins(Listener())
        clock.advance(LOOK_SECONDS / 100)
        watch.command_ended()
    assert 2 <= len(answers.looks) <= 3
    clock.advance(LOOK_SECONDS)
    clock.advance(LOOK_SECONDS)
    assert not clock.getDelayedCalls()
    watch.command_begins(Listener())
    watch.stop()
    watch.stop()
    assert not clock.getDelayedCalls()


def test_each_change_is_told_once() -> None:
    """The running command is told once of each change, whether of the shell, of its children or of both."""
    clock = Clock()
    answers = Answers(clock)
    shell, first, second = Listener(), Listener(), Listener()
    watch = ShellSuspension(clock, shell, answers)
    watch.command_begins(first)
    for answer in (True, True, False):
        answers.suspended = answer
        clock.advance(LOOK_SECONDS)
    assert first.told == ["STOP", "goes on"]
    watch.job_stopped("TSTP")
    answers.suspended = True
    clock.advance(LOOK_SECONDS)
    watch.job_continued()
    assert first.told == ["STOP", "goes on", "TSTP"], "its children are still suspended"
    assert shell.told == ["TSTP", "goes on"]
    watch.command_ended()
    watch.job_stopped("STOP")
    watch.command_begins(second)
    assert first.told == ["STOP", "goes on", "TSTP"]
    assert second.told == ["STOP"], "it begins in a suspended shell"
    watch.stop()


def test_on_a_terminal_nothing_is_looked_at() -> None:
    """On a terminal the shell has job control, and no child is looked at."""
    clock, owner = Clock(), Listener()
    watch = ShellSuspension(clock, RecordingOwner(), None)
    watch.command_begins(owner)
    assert not clock.getDelayedCalls()
    watch.job_stopped("STOP")
    assert owner.told == ["STOP"]
