"""What a command in a persistent shell takes: its own times, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.conftest import async_fixture
from tests.execution.owners import RecordingOwner, asynchronous
from tests.execution.real_shells import KINDS, ShellRig
from twisted_rsh.core.endings import Exited, Refused, ResourceUsage
from twisted_rsh.execution.shells.observation import ShellMeter

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
BUSY = f"{sys.executable} -I -S -c 'import time\nwhile time.process_time() < 0.3: sum(range(9999))'"
"""Takes 0.3 s of processor time, however long that takes."""

LOOP = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
"""Keeps the shell itself busy."""


@async_fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ShellRig]:
    """A shell; the parameter says which, and whether on a terminal."""
    rig = ShellRig(tmp_path, *request.param)
    await rig.ready()
    yield rig
    await rig.leave()


each = pytest.mark.parametrize(
    "rig", KINDS, indirect=True, ids=lambda kind: f"{kind[0]}-{'terminal' if kind[1] else 'pipes'}"
)


def taken(owner: RecordingOwner) -> ResourceUsage:
    """Return what is told of a command that has ended."""
    assert owner.usage is not None
    assert owner.usage.peak_memory is None
    return owner.usage


@needs_proc
@each
@asynchronous
async def test_times_of_each_command(rig: ShellRig) -> None:
    """Those of a child, of the shell itself, and of one that only sleeps; none has those of the one before."""
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


@needs_proc
@each
@asynchronous
async def test_background_process(rig: ShellRig) -> None:
    """Its time is in the command that waits for it, and in no other."""
    os.mkfifo(rig.home / "gate")
    started = taken(await rig.run(f"( read go < {rig.home}/gate; {BUSY} ) & true"))
    between = taken(await rig.run("sleep 0.1"))
    for usage in (started, between):
        assert usage.user + usage.system <= 0.1
    waiting = taken(await rig.run(f"echo go > {rig.home}/gate; wait"))
    assert waiting.user >= 0.2


@needs_proc
@each
@asynchronous
async def test_command_that_ends_the_shell(rig: ShellRig) -> None:
    """What it took is known from the shell's own exit, without what it took before."""
    await rig.run(BUSY)
    owner = await rig.run(f"{BUSY}; exit 3")
    assert owner.ending == Exited(3)
    assert 0.2 <= taken(owner).user <= 0.55
    await rig.ended()
    assert rig.owner.usage is not None
    assert rig.owner.usage.user >= 0.5


@needs_proc
@pytest.mark.parametrize("rig", [("dash", False)], indirect=True)
@asynchronous
async def test_command_that_never_began(rig: ShellRig) -> None:
    """It took nothing."""
    command, owner = rig.begin("true")
    command.terminate()
    await owner.finished()
    assert isinstance(owner.ending, Refused)
    assert owner.usage is None


def test_each_command_is_told_once() -> None:
    """The wall is the clock's, also when that is set back, and what was taken is gone."""
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
        assert meter.take() is None, "nobody knows what a process took that is gone"
        meter.shell_exited(None)
        assert meter._fd is None


def test_where_there_is_no_proc(tmp_path: Path) -> None:
    """Nothing is known, and nothing breaks."""
    meter = ShellMeter(Clock(), os.getpid(), str(tmp_path))
    meter.command_begins()
    meter.command_ended()
    meter.shell_exited(None)
    assert meter.take() is None


def test_names_that_look_like_fields(tmp_path: Path) -> None:
    """A program may call itself anything."""
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
