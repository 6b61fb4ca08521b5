"""Children that this process adopts as a subreaper: what its descendants leave behind, which it must reap.

Source: prctl(2), ``PR_SET_CHILD_SUBREAPER`` (Linux 3.4).  It changes the whole process, so the owner of the process
decides: a stand-alone server does it, an embedding application may.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import sys

from twisted.internet import process as twisted_process
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.execution.processes.exits import is_watched
from twisted_rsh.execution.trees.guardian import Guardian
from twisted_rsh.execution.trees.table import SLICE_SECONDS, ProcessRecord, ProcessTable

__all__ = ["SWEEP_SECONDS", "AdoptedChildren", "become_subreaper"]

SWEEP_SECONDS = 1.0
"""Seconds between two looks at this process's children, and so the longest that a zombie stays.  A look takes 30 us and
16 us more for each child that is not known.  There are no looks while there are neither jobs nor adopted children."""

_PR_SET_CHILD_SUBREAPER = 36
"""From ``linux/prctl.h``."""


def become_subreaper() -> bool:
    """Let orphaned descendants become this process's children instead of init's, from now on.

    Each of them must be reaped: start :class:`AdoptedChildren`.

    :returns: whether it is so; ``False`` where the system has no such thing.
    """
    if not sys.platform.startswith("linux"):
        return False
    result: int = ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return result == 0


class AdoptedChildren:
    """Reaps the children that this process did not start.

    It never takes the status of a child that another part of this process waits for: the first process of a job, the
    guardian, or a process of Twisted's.  In a process that starts no other children, every other child is adopted.
    Elsewhere it reaps only what is certain to be adopted: a child in a session that is neither this process's nor its
    own, since a child starts in its parent's session and can leave that only for one of its own; and a child that a
    look has seen alive with the mark of a job.

    :param clock: tells the time.
    :param table: the processes of this machine; where that is not supported, this does nothing.
    :param guardian: the guardian, which is a child of this process.
    :param mark_prefix: how the mark of every job begins.
    :param knows_all: whether this process starts no children but jobs, the guardian and processes of Twisted's.
        ``False`` in an application that may start its own.
    :ivar living: the adopted children that were alive at the last look: the number of each, and the clock ticks from
        the start of the system to its own.
    """

    def __init__(
        self, clock: IReactorTime, table: ProcessTable, guardian: Guardian, mark_prefix: bytes, *, knows_all: bool
    ) -> None:
        self._clock = clock
        self._table = table
        self._guardian = guardian
        self._mark_prefix = mark_prefix
        self._knows_all = knows_all
        self._running: set[int] = set()
        self._unreaped: set[int] = set()
        self._is_started = False
        self._call: IDelayedCall | None = None
        self._unseen: set[int] = set()
        self._seen: dict[int, int] = {}
        self._looks_again = False
        self.living: dict[int, int] = {}

    def start(self) -> None:
        """Look for adopted children from now on, while a job runs or has left a process behind."""
        self._is_started = True

    def stop(self) -> None:
        """Look no more, after a last look."""
        self._is_started = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
            with contextlib.suppress(OSError):  # as in a look
                self.sweep()

    def job_started(self, pid: int) -> None:
        """Learn that a job was started: its first process is no adopted child, but it may leave some behind.

        :param pid: the number of its first process.
        """
        self._unreaped.add(pid)
        self._running.add(pid)
        if self._is_started:
            self._look_later()

    def job_reaped(self, pid: int) -> None:
        """Learn that the first process of a job was waited for: its number may be another's from now on.

        :param pid: its number.
        """
        self._unreaped.discard(pid)

    def job_ended(self, pid: int) -> None:
        """Learn that a job has ended.

        :param pid: the number of its first process.
        """
        self._running.discard(pid)

    def sweep(self) -> int:
        """Reap now what can be reaped.

        :returns: how many zombies are gone.
        """
        self._begin()
        return self._go_on(math.inf)

    def _begin(self) -> None:
        self._unseen, self._seen = self._table.children(), {}
        self._looks_again = bool(self._running)  # they may leave children behind that this look does not list

    def _go_on(self, seconds: float) -> int:
        """Look at further children, for some time; return how many zombies are gone."""
        reaped = 0
        session = os.getsid(0)
        began = self._clock.seconds()
        while self._unseen and self._clock.seconds() - began < seconds:
            pid = self._unseen.pop()
            if self._is_ours(pid):
                continue
            record = self._table.read(pid)
            if record is None:  # it is gone, or there is no descriptor to read it with: the next look tells
                self._looks_again = True
                if pid in self.living:
                    self._seen[pid] = self.living[pid]
                continue
            if record.parent != os.getpid() or not self._is_adopted(record, session):
                continue
            if record.is_dead:
                reaped += _reap(pid)
            else:
                self._seen[pid] = record.started
        if not self._unseen:
            self.living = self._seen
        return reaped

    def _look_later(self) -> None:
        if self._call is None and self._table.is_supported:
            self._call = self._clock.callLater(SWEEP_SECONDS, self._look)

    def _look(self) -> None:
        self._call = None
        try:
            if not self._unseen:
                self._begin()
            self._go_on(SLICE_SECONDS)
        except OSError:  # the whole machine has no descriptor left: look again later
            self._look_later()
            return
        if self._unseen:
            self._call = self._clock.callLater(0, self._look)
        elif self.living or self._running or self._looks_again:
            self._look_later()

    def _is_ours(self, pid: int) -> bool:
        """Tell whether another part of this process waits for a child."""
        return (
            pid in self._unreaped
            or is_watched(pid)
            or pid == self._guardian.pid
            or pid in twisted_process.reapProcessHandlers
        )

    def _is_adopted(self, record: ProcessRecord, session: int) -> bool:
        if self._knows_all or record.session not in (session, record.pid):
            return True
        if self.living.get(record.pid) == record.started:
            return True
        mark = None if record.is_dead else self._table.mark_of(record)
        return mark is not None and mark.startswith(self._mark_prefix)


def _reap(pid: int) -> int:
    """Reap one zombie; return how many that were."""
    try:
        return 1 if os.waitpid(pid, os.WNOHANG)[0] else 0
    except ChildProcessError:  # another part of this process, which waits for any child, was quicker
        return 0
