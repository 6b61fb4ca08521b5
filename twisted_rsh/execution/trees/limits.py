"""Limits of processor time and memory for all the processes of a job together.

The system has such limits for one process only (setrlimit(2)), or for a control group, which an ordinary user does not
have.  So a watch looks at the job at intervals, and notices at the next look what the job did in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.core.endings import Limit
from twisted_rsh.execution.trees.table import TICKS_PER_SECOND, ProcessRecord
from twisted_rsh.execution.trees.tree import JobTree

__all__ = ["NO_LIMITS", "SAMPLE_SECONDS", "ProcessorAccount", "UsageLimits", "UsageWatch", "resident_bytes"]

SAMPLE_SECONDS = 0.1
"""Seconds between two looks.  A process that fills memory at 1 GB/s is noticed 100 MB above its limit.  32 jobs with
limits share the looks of one (:meth:`twisted_rsh.execution.trees.table.ProcessTable.records`)."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLimits:
    """Bounds of what all the processes of a job together may use.

    :ivar cpu: seconds of processor time, or ``None`` for no limit.
    :ivar memory: bytes of memory (:func:`resident_bytes`), or ``None`` for no limit.
    """

    cpu: float | None = None
    memory: int | None = None

    @property
    def are_set(self) -> bool:
        """Tell whether there is any limit."""
        return self.cpu is not None or self.memory is not None

    def exceeded(self, seconds: float, memory: int) -> Limit | None:
        """Return the limit that a use is above.

        :param seconds: processor time.
        :param memory: bytes.
        :returns: the limit, processor time first; ``None`` when the use is within both.
        """
        if self.cpu is not None and seconds > self.cpu:
            return Limit.CPU
        if self.memory is not None and memory > self.memory:
            return Limit.MEMORY
        return None

    def amount(self, limit: Limit) -> int:
        """Return a limit in the unit of :class:`twisted_rsh.core.endings.LimitReached`; 0 for one that is not set.

        :param limit: which of the two.
        """
        return round((self.cpu or 0) * 1000) if limit is Limit.CPU else self.memory or 0


NO_LIMITS = UsageLimits()
"""Neither limit is set."""


def resident_bytes(members: Iterable[ProcessRecord]) -> int:
    """Add up the memory of processes.

    :param members: the processes.
    :returns: bytes that are in memory; what several of them share counts for each.
    """
    return sum(record.resident_pages for record in members) * _PAGE_BYTES


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

    It never looks at a job without limits.  It needs ``/proc``: elsewhere a request for a limit is refused, with
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
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to look, :data:`SAMPLE_SECONDS` from now: a shorter command costs no look."""
        if self._limits.are_set:
            self._call = self._clock.callLater(SAMPLE_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more; harmless at any time."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        members = self._tree.members(SAMPLE_SECONDS / 2)
        limit = self._limits.exceeded(self._processor.add(members), resident_bytes(members.values()))
        if limit is not None:
            self._reached(limit)
        else:
            self._call = self._clock.callLater(SAMPLE_SECONDS, self._look)
