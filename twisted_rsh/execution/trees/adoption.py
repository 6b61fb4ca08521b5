"""Processes that this process inherits: a child subreaper gets what its descendants leave behind, and must reap it.

Source: prctl(2), ``PR_SET_CHILD_SUBREAPER`` (Linux 3.4).  It changes the whole process, so the owner of the process
decides: a stand-alone server does it, an embedding application is asked.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.execution.trees.table import ProcessRecord, ProcessTable

__all__ = ["SWEEP_SECONDS", "AdoptedChildren", "become_subreaper"]

SWEEP_SECONDS = 1.0
"""Seconds between two looks at this process's children, and so the longest that a zombie stays.  A look takes 30 us and
16 us for each child that nobody knows; nothing looks while there are neither jobs nor adopted children."""

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

    It never takes the status of a child that somebody waits for.  In a process whose every child is known, everything
    else is adopted.  In any other, only that is reaped of which it is certain: a child in a session that is neither
    this process's nor its own cannot have been started here, as a child starts in its parent's session and can only
    leave that for one of its own; and a child that was seen alive with the mark of one of our jobs.

    :param clock: tells the time.
    :param table: the processes of this machine; where that is not supported, nothing is ever done.
    :param is_ours: says of a child's number whether this process started it, so that somebody else waits for it.
    :param knows_all: whether `is_ours` knows of every child that this process starts.  ``False`` in an application
        that may run processes of its own.
    :param is_our_mark: says of a mark whether one of our jobs has it, or had.
    :param is_busy: says whether a job runs, from which more may be inherited.
    :ivar living: the numbers of the adopted children that were alive at the last look.
    """

    def __init__(
        self,
        clock: IReactorTime,
        table: ProcessTable,
        is_ours: Callable[[int], bool],
        *,
        knows_all: bool,
        is_our_mark: Callable[[bytes], bool],
        is_busy: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._table = table
        self._is_ours = is_ours
        self._knows_all = knows_all
        self._is_our_mark = is_our_mark
        self._is_busy = is_busy
        self._adopted: dict[int, int] = {}
        self._call: IDelayedCall | None = None
        self.living: frozenset[int] = frozenset()

    def expect(self) -> None:
        """Learn that a job was started; looks follow while any runs or has left something."""
        if self._call is None and self._table.is_supported:
            self._call = self._clock.callLater(SWEEP_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more, after a last look."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
            self.sweep()

    def sweep(self) -> int:
        """Reap now what can be reaped.

        :returns: how many zombies are gone.
        """
        reaped = 0
        adopted: dict[int, int] = {}
        session = os.getsid(0)
        for pid in self._table.children():
            if self._is_ours(pid):
                continue
            record = self._table.read(pid)
            if record is None or record.parent != os.getpid() or not self._is_adopted(record, session):
                continue
            if record.is_dead:
                reaped += _reap(pid)
            else:
                adopted[pid] = record.started
        self._adopted = adopted
        self.living = frozenset(adopted)
        return reaped

    def _look(self) -> None:
        self._call = None
        try:
            self.sweep()
        except OSError:  # there is not one descriptor on the whole machine: see later
            self.expect()
        if self.living or self._is_busy():
            self.expect()

    def _is_adopted(self, record: ProcessRecord, session: int) -> bool:
        if self._knows_all or record.session not in (session, record.pid):
            return True
        if self._adopted.get(record.pid) == record.started:
            return True
        mark = None if record.is_dead else self._table.mark_of(record)
        return mark is not None and self._is_our_mark(mark)


def _reap(pid: int) -> int:
    """Reap one zombie; returns how many that were."""
    try:
        return 1 if os.waitpid(pid, os.WNOHANG)[0] else 0
    except ChildProcessError:  # somebody who waits for anything was quicker
        return 0
