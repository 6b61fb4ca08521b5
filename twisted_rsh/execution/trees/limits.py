"""Limits of processes, processor time and memory for all the processes of a job together.

The system has such limits for one process, or for all of a user's (setrlimit(2): ``RLIMIT_CPU``, ``RLIMIT_NPROC``), or
for a control group, which an ordinary user mostly does not have.  Where a job has one, the kernel keeps what it has
controllers for (:mod:`twisted_rsh.execution.trees.job_group`).  For everything else a watch looks at the job at
intervals, and notices at the next look what the job did in between.  A job that forks without end could take the
processor away from the watch before the next look; :func:`backstop` keeps it from that.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.core.endings import Limit
from twisted_rsh.execution.trees.table import TICKS_PER_SECOND, ProcessRecord, ProcessTable
from twisted_rsh.execution.trees.tree import JobTree

__all__ = [
    "BACKSTOP_FACTOR",
    "NO_LIMITS",
    "SAMPLE_SECONDS",
    "ProcessorAccount",
    "UsageLimits",
    "UsageWatch",
    "backstop",
    "resident_bytes",
    "thread_count",
]

SAMPLE_SECONDS = 0.1
"""Seconds between two looks.  A process that fills memory at 1 GB/s is noticed 100 MB above its limit.  32 jobs with
limits share the looks of one (:meth:`twisted_rsh.execution.trees.table.ProcessTable.records`)."""

BACKSTOP_FACTOR = 2
"""The backstop lies this many times the bound of a job above all processes of the machine: once the bound for the job
itself, and once for what other jobs of the same user start."""

Amount = TypeVar("Amount", int, float)

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLimits:
    """Bounds of what all the processes of a job together may use.

    :ivar cpu: seconds of processor time, or ``None`` for no limit.
    :ivar memory: bytes of memory (:func:`resident_bytes`), or ``None`` for no limit.
    :ivar processes: processes at once, with their threads, or ``None`` for no limit.
    :ivar bounds: the limits that stay when the job is over, for what it has left behind; ``None`` for none.
    """

    cpu: float | None = None
    memory: int | None = None
    processes: int | None = None
    bounds: UsageLimits | None = None

    @property
    def are_set(self) -> bool:
        """Tell whether there is any limit."""
        return self.cpu is not None or self.memory is not None or self.processes is not None

    def within(self, bounds: UsageLimits) -> UsageLimits:
        """Return the smaller one of each limit.

        :param bounds: the server's limits.  They stay when the job is over.
        """
        return UsageLimits(
            cpu=_smaller(self.cpu, bounds.cpu),
            memory=_smaller(self.memory, bounds.memory),
            processes=_smaller(self.processes, bounds.processes),
            bounds=bounds if bounds.are_set else None,
        )

    def without(self, kept: Collection[Limit]) -> UsageLimits:
        """Return the limits that are not kept by other means.

        :param kept: those that are.
        """
        return replace(
            self,
            cpu=None if Limit.CPU in kept else self.cpu,
            memory=None if Limit.MEMORY in kept else self.memory,
            processes=None if Limit.PROCESSES in kept else self.processes,
        )

    def exceeded(self, seconds: float, memory: int, processes: int) -> Limit | None:
        """Return the limit that a use is above.

        :param seconds: processor time.
        :param memory: bytes.
        :param processes: processes and further threads.
        :returns: the limit, the number of processes first, then processor time; ``None`` when the use is within all.
        """
        if self.processes is not None and processes > self.processes:
            return Limit.PROCESSES
        if self.cpu is not None and seconds > self.cpu:
            return Limit.CPU
        if self.memory is not None and memory > self.memory:
            return Limit.MEMORY
        return None

    def amount(self, limit: Limit) -> int:
        """Return a limit in the unit of :class:`twisted_rsh.core.endings.LimitReached`; 0 for one that is not set.

        :param limit: which of the three.
        """
        if limit is Limit.CPU:
            return round((self.cpu or 0) * 1000)
        return (self.memory if limit is Limit.MEMORY else self.processes) or 0


NO_LIMITS = UsageLimits()
"""No limit is set."""


def _smaller(one: Amount | None, other: Amount | None) -> Amount | None:
    """Return the smaller limit; ``None``, which is no limit, is the greatest."""
    return other if one is None else one if other is None else min(one, other)


def resident_bytes(members: Iterable[ProcessRecord]) -> int:
    """Add up the memory of processes.

    :param members: the processes.
    :returns: bytes that are in memory; what several of them share counts for each.
    """
    return sum(record.resident_pages for record in members) * _PAGE_BYTES


def thread_count(members: Iterable[ProcessRecord]) -> int:
    """Count the processes and their further threads, as the system counts them for its own limits.

    :param members: the processes.
    """
    return sum(record.threads for record in members)


@contextlib.contextmanager
def backstop(limits: UsageLimits, table: ProcessTable) -> Iterator[None]:
    """Let the processes that are started in a block inherit a limit that ends endless forking before the watch looks.

    It is ``RLIMIT_NPROC``, beyond which fork(2) fails.  The system counts all processes of the user, and does not hold
    root to it.  So the limit lies above what there is (:data:`BACKSTOP_FACTOR`), and the watch lifts it when there is
    more.  It is a soft limit, which a process may lift itself.

    :param limits: those of the job that its control group does not keep; without a number of processes nothing is done.
    :param table: the processes of this machine.
    """
    if limits.processes is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (_forks(limits.processes, table, soft), hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


def _forks(processes: int, table: ProcessTable, most: int) -> int:
    """Return the backstop for a job with this bound, at most as high as another limit."""
    wanted = thread_count(table.records().values()) + BACKSTOP_FACTOR * processes
    return wanted if most == resource.RLIM_INFINITY else min(wanted, most)


class ProcessorAccount:
    """Adds up the processor time of a job, including that of processes which have ended.

    The system adds the time of a process that was waited for to its parent's.  A process that was not waited for, or
    not yet, counts with the time that the last look saw.
    """

    def __init__(self) -> None:
        self._last: Mapping[int, ProcessRecord] = {}
        self._departed = 0
        self._advanced: dict[int, int] = {}

    def add(self, members: Mapping[int, ProcessRecord]) -> float:
        """Add a look at the job.

        :param members: its living processes by number.
        :returns: seconds of processor time, user's and system's, that the job has taken so far.
        """
        staying = {pid: record for pid, record in self._last.items() if _is_same(members.get(pid), record)}
        expected = dict.fromkeys(staying, 0)
        for pid, record in self._last.items():
            if pid not in staying:
                heir = self._heir(record, staying)
                if heir is None:
                    self._departed += _ticks(record)
                else:
                    expected[heir] += _ticks(record)
        advanced = {}
        for pid, ticks in expected.items():
            inherited = members[pid].children_ticks - staying[pid].children_ticks
            before = self._advanced.get(pid, 0)
            advanced[pid] = max(0, before + ticks - inherited)
            self._departed += advanced[pid] - before
        self._advanced = advanced
        self._last = dict(members)
        return (self._departed + sum(map(_ticks, members.values()))) / TICKS_PER_SECOND

    def _heir(self, record: ProcessRecord, staying: Mapping[int, ProcessRecord]) -> int | None:
        """Find the nearest ancestor that still lives: the time of a chain of waits ends up there."""
        for _ in self._last:
            if record.parent in staying:
                return record.parent
            if record.parent not in self._last:
                break
            record = self._last[record.parent]
        return None


def _ticks(record: ProcessRecord) -> int:
    return record.own_ticks + record.children_ticks


def _is_same(record: ProcessRecord | None, other: ProcessRecord) -> bool:
    return record is not None and record.started == other.started


class UsageWatch:
    """Looks at a job at intervals, and reports once that it has used more than it may.

    What a job leaves behind is watched until nothing is left, if there are limits for that.  It never looks at a job
    without limits.  It needs ``/proc``: elsewhere a request for a limit is refused, with
    :attr:`twisted_rsh.core.endings.RefusalReason.NOT_SUPPORTED`.

    :param clock: calls at intervals.
    :param tree: the job's processes.
    :param limits: what they may use.
    :param reached: called once, with the limit that the job is above; the watch looks no more then.
    """

    def __init__(
        self,
        clock: IReactorTime,
        tree: JobTree,
        limits: UsageLimits,
        reached: Callable[[Limit], None],
    ) -> None:
        self._clock = clock
        self._tree = tree
        self._limits = limits
        self._reached = reached
        self._processor = ProcessorAccount()
        self._is_over = False
        self._lifted_at = 0
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to look, :data:`SAMPLE_SECONDS` from now: a shorter command costs no look."""
        if self._limits.processes is not None:
            self._lifted_at = thread_count(self._tree.table.records().values())
        if self._limits.are_set:
            self._call = self._clock.callLater(SAMPLE_SECONDS, self._look)

    def stop(self) -> None:
        """Note that the job is over: look no more, unless there are limits for what it leaves behind."""
        self._is_over = True
        if self._limits.bounds is not None:
            self._limits = self._limits.bounds
            if self._tree.group is not None and self._tree.group.is_populated:
                self._tree.group.bound(self._limits.memory, self._limits.processes)
        elif self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        group = self._tree.group
        # A job that could not join its group is outside, and the group is empty.
        if group is None or not group.is_populated:
            limits, limit = self._limits, None
        else:
            limits = self._limits.without({*group.kept, Limit.CPU})
            limit = group.reached() or self._limits.without(group.kept).exceeded(group.seconds(), 0, 0)
        if limits is self._limits or limits.are_set:
            members = self._tree.members(SAMPLE_SECONDS / 2)
            if self._is_over and not members and not self._tree.table.is_blind:
                return
            processes = thread_count(members.values())
            seconds = self._processor.add(members)
            limit = limit or limits.exceeded(seconds, resident_bytes(members.values()), processes)
            if limits.processes is not None:
                self._lift_backstop(limits.processes, members)
        if limit is not None:
            self._reached(limit)
        else:
            self._call = self._clock.callLater(SAMPLE_SECONDS, self._look)

    def _lift_backstop(self, processes: int, members: Iterable[int]) -> None:
        """Make room again for the job's forks, when the rest of the machine has taken what was left for it."""
        count = thread_count(self._tree.table.records(SAMPLE_SECONDS).values())
        if count <= self._lifted_at + processes // 2:
            return
        self._lifted_at = count
        for pid in members:
            with contextlib.suppress(OSError, ValueError):  # it has just ended, or become another user
                _, hard = resource.prlimit(pid, resource.RLIMIT_NPROC)
                limit = _forks(processes, self._tree.table, hard)
                resource.prlimit(pid, resource.RLIMIT_NPROC, (limit, hard))
