"""Jobs that leave things behind, and ways to see what is left of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from zope.interface import implementer

from twisted_rsh.execution.processes.exits import ExitReport, IExitListener, watch_exit
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.spawn import SpawnPlan, spawn
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees

__all__ = ["DAEMON", "Job", "is_alive", "numbers", "program", "requires_proc", "stand_in_job"]

requires_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="this system has no /proc")

DAEMON = """
import os, signal, sys, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"%d\\n" % os.getpid())
        {then}
        time.sleep(600)
    os._exit(0)
os.wait()
os.write(1, os.read(read, 100))
{finally_}
"""
"""Python: a daemon by the book, whose number is written to stdout once its parent has ended."""


def program(then: str = "pass", finally_: str = "time.sleep(600)") -> tuple[str, ...]:
    """A program that leaves a daemon behind.

    :param then: what the daemon does first.
    :param finally_: what the program itself does then.
    """
    return (sys.executable, "-S", "-E", "-c", DAEMON.format(then=then, finally_=finally_))


@implementer(IExitListener)
class Job:
    """A process with a tree, reaped as a server reaps it.

    :ivar tree: its processes.
    :ivar stdout: its output, to be read.
    :ivar reports: how it exited, once it has.
    """

    def __init__(self, reactor: IJobReactor, tree: JobTree, argv: tuple[str, ...], *, marked: bool = True) -> None:
        environment = ((b"PATH", os.fsencode(os.environ["PATH"])), *((tree.mark,) if marked else ()))
        arguments = tuple(map(os.fsencode, argv))
        spawned = spawn(SpawnPlan(arguments[0], arguments, environment, b"/"))
        self.tree = tree
        self.pid = spawned.pid
        self.stdout = spawned.stdout
        self.reports: list[ExitReport] = []
        for unused in (spawned.stdin, spawned.stderr):
            assert unused is not None  # it is on pipes
            os.close(unused)
        tree.started(spawned.pid)
        watch_exit(reactor, spawned.pid, self)

    def process_exited(self, report: ExitReport) -> None:
        """See :class:`IExitListener`."""
        self.reports.append(report)
        self.tree.reaped()

    def number(self) -> int:
        """Read the number of a process that the job has started, waiting for it."""
        return numbers(self.stdout, 1)[0]


def numbers(fd: int, count: int) -> list[int]:
    """Read so many lines, each a number, waiting for them."""
    data = b""
    while data.count(b"\n") < count:
        piece = os.read(fd, 1 << 16)
        assert piece, "the job has ended early"
        data += piece
    return list(map(int, data.split()))


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return not file.read().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def stand_in_job(reactor: IJobReactor, trees: JobTrees, *argv: str, marked: bool = True) -> Iterator[Job]:
    """Run a job and make sure that nothing of it is left when the test is over."""
    job = Job(reactor, JobTree(trees), argv, marked=marked)
    try:
        yield job
    finally:
        os.close(job.stdout)
        for pid in job.tree.members(0):
            os.kill(pid, signal.SIGKILL)
