"""Limits of a job's processor time and memory, over all of its processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.execution.owners import asynchronous, reactor, until
from tests.execution.real_trees import requires_proc, stand_in_job
from twisted_rsh.core.endings import Limit
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.trees.limits import (
    SAMPLE_SECONDS,
    ProcessorAccount,
    UsageLimits,
    UsageWatch,
    resident_bytes,
)
from twisted_rsh.execution.trees.table import ProcessRecord, SpareDescriptor
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees

TICKS = os.sysconf("SC_CLK_TCK")

PAGE = os.sysconf("SC_PAGE_SIZE")

MIB = 1024 * 1024


def record(pid: int, parent: int = 1, own: float = 0, children: float = 0, started: int = 1) -> ProcessRecord:
    """A process that has taken so many seconds."""
    return ProcessRecord(pid, started, parent, 10, 10, False, round(own * TICKS), round(children * TICKS), 3)


def add(account: ProcessorAccount, *records: ProcessRecord) -> float:
    """Take account of a look at these processes."""
    return account.add({each.pid: each for each in records})


def test_memory() -> None:
    """Memory is counted in bytes, of all processes together."""
    assert resident_bytes([record(10), record(11)]) == 6 * PAGE


def test_living_processes() -> None:
    """A living process counts, together with the children that it waited for."""
    assert add(ProcessorAccount(), record(10, own=1, children=2), record(11, 10, own=3)) == 6


def test_child_that_was_waited_for() -> None:
    """A child that was waited for counts once, in its parent's account, with what it took since the last look."""
    account = ProcessorAccount()
    assert add(account, record(10, own=1), record(11, 10, own=3)) == 4
    assert add(account, record(10, own=1, children=3.5)) == 4.5
    assert add(account, record(10, own=2, children=3.5)) == 5.5


def test_child_that_nobody_waited_for() -> None:
    """A child without a wait counts as it was last seen, and not twice when its parent waits after all."""
    account = ProcessorAccount()
    assert add(account, record(10), record(11, 10, own=3)) == 3
    assert add(account, record(10, own=1)) == 4
    assert add(account, record(10, own=1, children=3)) == 4
    assert add(account, record(10, own=1, children=5)) == 6


def test_orphans() -> None:
    """Processes that leave without an heir count as they were last seen, also when their number is another's."""
    account = ProcessorAccount()
    assert add(account, record(10, own=1), record(11, own=2)) == 3
    assert add(account, record(11, own=2)) == 3
    assert add(account, record(11, own=0.5, started=2)) == 3.5
    assert add(account) == 3.5


def test_whole_branch_that_was_waited_for() -> None:
    """When a child and its own child are gone together, their time is found with who waited for both."""
    account = ProcessorAccount()
    assert add(account, record(10), record(11, 10, own=2), record(12, 11, own=3)) == 5
    assert add(account, record(10, children=5)) == 5


def test_circle() -> None:
    """A look that was taken while numbers changed hands may show a circle; it is no reason to look for ever."""
    account = ProcessorAccount()
    assert add(account, record(10, 11, own=1), record(11, 10, own=1)) == 2
    assert add(account) == 2


PROCESS = st.tuples(st.integers(10, 14), st.integers(1, 14), st.integers(0, 9), st.integers(0, 9))


@given(st.lists(st.lists(PROCESS, max_size=5), max_size=10))
def test_never_less(looks: list[list[tuple[int, int, int, int]]]) -> None:
    """No sequence of looks makes the time of a job, or that of its departed processes, negative."""
    account = ProcessorAccount()
    for look in looks:
        account.add({pid: record(pid, parent, own, children) for pid, parent, own, children in look})
        assert sum(account._advanced.values()) <= account._departed


class Watched:
    """A watch and what it has told."""

    def __init__(self, max_cpu: float | None = None, max_memory: int | None = None) -> None:
        self.trees = JobTrees(reactor)
        self.told: list[Limit] = []
        self.max_cpu = max_cpu
        self.max_memory = max_memory

    async def limit_of(self, script: str) -> Limit:
        """Run Python that goes beyond a limit, and return which."""
        with stand_in_job(reactor, self.trees, sys.executable, "-S", "-c", script) as job:
            watch = UsageWatch(
                reactor, job.tree, UsageLimits(cpu=self.max_cpu, memory=self.max_memory), self.told.append
            )
            watch.start()
            await until(lambda: bool(self.told))
            assert not job.reports
            watch.stop()
            job.tree.signal(signal.SIGKILL)
            await until(lambda: bool(job.reports))
        [limit] = self.told
        return limit


FILL = "import time; x = bytearray(b'x') * {size}; time.sleep(600)"


@requires_proc
@asynchronous
async def test_memory_of_one_process() -> None:
    """A process that takes 200 MB is noticed."""
    assert await Watched(max_memory=150 * MIB, max_cpu=60).limit_of(FILL.format(size=200_000_000)) is Limit.MEMORY


@requires_proc
@asynchronous
async def test_memory_of_several() -> None:
    """Processes that keep the limit each and not together are noticed."""
    script = "import os; os.fork(); os.fork();" + FILL.format(size=60_000_000)
    assert await Watched(max_memory=150 * MIB).limit_of(script) is Limit.MEMORY


BUSY = {
    "itself": "while True: pass",
    "child in a session of its own": """
if os.fork() == 0:
    os.setsid()
    while True: pass
os.wait()
""",
    "short children": """
while True:
    if os.fork() == 0:
        while time.process_time() < 0.02: pass
        os._exit(0)
    os.wait()
""",
    "children without a wait": """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        while time.process_time() < 0.3: pass
        os._exit(0)
    time.sleep(0.3)
""",
}
"""Ways to take processor time, in Python."""


@requires_proc
@pytest.mark.parametrize("way", BUSY)
@asynchronous
async def test_processor_time(way: str) -> None:
    """A busy loop is noticed wherever in the job it runs."""
    script = "import os, signal, time\n" + BUSY[way]
    assert await Watched(max_cpu=0.5).limit_of(script) is Limit.CPU


@requires_proc
@asynchronous
async def test_within_the_limits() -> None:
    """A job within its limits is left alone, and looked at no more when it has ended."""
    watched = Watched(max_cpu=60, max_memory=1024 * MIB)
    with stand_in_job(reactor, watched.trees, "/bin/sleep", "600") as job:
        watch = UsageWatch(reactor, job.tree, UsageLimits(cpu=60, memory=1024 * MIB), watched.told.append)
        watch.start()
        await until(lambda: watched.trees.table.looks > 2)
        watch.stop()
        watch.stop()
        assert not watched.told


def test_replaced_record() -> None:
    """The same number with another start is another process."""
    account = ProcessorAccount()
    first = record(10, own=1)
    assert add(account, first) == 1
    assert add(account, replace(first, started=2)) == 2


@requires_proc
def test_no_descriptor_to_look_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-06: what a job has left behind is watched on after a look that the machine had no descriptor for."""
    clock = Clock()
    tree = JobTree(JobTrees(cast("IJobReactor", clock)))
    memory = UsageLimits(memory=1)
    reached: list[Limit] = []
    watch = UsageWatch(clock, tree, memory.within(memory), reached.append)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as left:
        try:
            tree.started(left.pid)
            watch.start()
            watch.stop()
            with monkeypatch.context() as patch:
                patch.setattr(SpareDescriptor, "list_folder", no_descriptor)
                clock.advance(SAMPLE_SECONDS)
            before = list(reached)
            clock.advance(SAMPLE_SECONDS)
        finally:
            left.kill()
    assert (before, reached) == ([], [Limit.MEMORY])


def no_descriptor(_: SpareDescriptor, path: str) -> None:
    """List no folder."""
    raise OSError(errno.ENFILE, os.strerror(errno.ENFILE), path)
