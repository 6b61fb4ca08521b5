"""The processes below a shell: finding them, signalling them, and telling whether they are suspended."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from twisted.internet.task import Clock

from tests.execution.owners import asynchronous, until
from tests.execution.real_shells import SHELLS, ShellRig
from tests.execution.real_trees import requires_proc
from twisted_rsh.core.endings import Exited
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.shells.signals import ShellSignals, would_die
from twisted_rsh.execution.trees.table import ProcessTable

needs_children = pytest.mark.skipif(
    not ProcessTable(Clock()).lists_children, reason="this system does not list children"
)


_taken: list[ShellSignals] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close what the test has taken for shells."""
    yield
    while _taken:
        _taken.pop().close()


def below(pid: int, table: ProcessTable | None = None) -> ShellSignals:
    """Take a process for a shell.  It has no transport: these tests use nothing but ``/proc``."""
    _taken.append(ShellSignals(cast("SpawnedProcess", None), pid, table or ProcessTable(Clock())))
    return _taken[-1]


@requires_proc
def test_processes_below() -> None:
    """Children and their descendants are found; a process that catches a signal would not die of it."""
    table = ProcessTable(Clock())
    with subprocess.Popen(["sh", "-c", "trap '' USR1; sleep 30 & echo; wait"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ours, shell = below(os.getpid(), table), below(process.pid, table)
        [sleep] = shell.descendants() or []
        assert shell.children() == {(sleep.pid, sleep.started)}
        assert {process.pid, sleep.pid} <= {record.pid for record in ours.descendants() or ()}
        record = table.read(process.pid)
        assert record is not None
        ours._earlier = {(process.pid, record.started)}
        assert not {process.pid, sleep.pid} & {record.pid for record in ours.descendants() or ()}
        ours._earlier = {(process.pid, record.started + 1)}
        assert process.pid in {record.pid for record in ours.descendants() or ()}
        assert would_die(process.pid, signal.SIGTERM)
        assert not would_die(process.pid, signal.SIGUSR1)
        shell._send([dataclasses.replace(record, started=record.started + 1)], signal.SIGKILL)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        shell._send([sleep, record], signal.SIGKILL)
    assert shell.children() == set()
    assert not would_die(process.pid, signal.SIGTERM)
    shell._send([record], signal.SIGKILL)


@needs_children
def test_children_come_and_go() -> None:
    """A shell without children is not listed; one that has some is, and so is any after the file was closed."""
    listed: list[int | None] = []

    class Table(ProcessTable):
        def children(self, pid: int | None = None) -> set[int]:
            listed.append(pid)
            return super().children(pid)

    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        shell = below(process.pid, Table(Clock()))
        shell.remember_children()
        assert not listed
        shell.close()
        shell.close()
        shell.remember_children()
        assert listed == [process.pid]
        assert process.stdin is not None
        process.stdin.close()
    with subprocess.Popen(["sh", "-c", "sleep 30 & echo; wait"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        shell = below(process.pid, Table(Clock()))
        shell.remember_children()
        assert listed[1:] == [process.pid]
        [(sleep, started)] = shell.children() or set()
        assert shell._earlier == {(sleep, started)}
        os.kill(sleep, signal.SIGKILL)
        process.wait(30)
        shell.remember_children()
        assert shell._earlier == set()


@requires_proc
def test_earlier_children() -> None:
    """A child of an earlier command gets no signal that is for the command."""
    script = "sleep 30 & echo; read go; sh -c 'echo; exec sleep 30'; echo $?; kill -KILL $!"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        shell = below(process.pid)
        shell.remember_children()
        assert not shell.signal_processes(signal.SIGTERM)
        process.stdin.write(b"go\n")
        process.stdout.readline()
        assert shell.signal_processes(signal.SIGTERM)
        assert process.stdout.readline() == b"143\n"
        assert process.wait(30) == 0, "the earlier child was still there"


@requires_proc
def test_many_processes() -> None:
    """The walk stops at the bound."""
    script = "sh -c 'sleep 30 & sleep 30 & echo; wait' & wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        shell = below(process.pid)
        for bound, found in ((4, 3), (3, 3), (2, 2), (1, 1)):
            assert len(shell.descendants(bound) or ()) == found
        os.killpg(process.pid, signal.SIGKILL)


def test_system_without_lists(tmp_path: Path) -> None:
    """Where the system does not list children the answer is ``None`` and not empty, and no command is suspended."""
    shell = below(os.getpid(), ProcessTable(Clock(), str(tmp_path)))
    assert shell.children() is None
    assert shell.descendants() is None
    assert shell.stopped_children() is None
    assert not shell.is_suspended()


@needs_children
def test_suspended_children() -> None:
    """A command is suspended when it has a living child and each of these is; an ended child does not count."""
    ours = below(os.getpid())
    ours.remember_children()
    with subprocess.Popen(["sleep", "600"]) as stopped, subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        answers = [ours.is_suspended()]
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        answers.append(ours.is_suspended())
        ours.remember_children()
        answers.append(ours.is_suspended())
        stopped.kill()
    assert answers == [False, True, False]


@requires_proc
@pytest.mark.parametrize("shell", SHELLS)
@asynchronous
async def test_a_shell_that_waits_alone(tmp_path: Path, shell: str) -> None:
    """A built-in `read` waits alone, and a shell with a program does not."""
    rig = ShellRig(tmp_path, shell)
    await rig.ready()
    for text, is_alone in (("echo on; read x", True), ("echo on; sleep 50; true", False)):
        command, owner = rig.begin(text)
        await owner.more_output(1)
        await until(rig.shell.signals.waits_alone if is_alone else lambda: bool(rig.shell.signals.descendants()))
        assert rig.shell.signals.waits_alone() is is_alone
        command.send_signal("INT")
        await owner.finished()
        assert owner.ending == Exited(130)
    await rig.leave()
