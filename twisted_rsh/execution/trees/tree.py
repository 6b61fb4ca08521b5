"""All the processes that one job has brought into the world, and how to signal every one of them.

A process belongs to a job when it is in the job's session or process group, when an ancestor of it belongs, or when it
carries the job's mark in its environment.  What has belonged once belongs for good.  So a daemon that has forked twice
and called ``setsid`` is found, unless it also wiped its environment and lost its parents between two looks.
"""

# ruff: noqa: N805 - a zope interface's methods have no self

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterable, Mapping

from twisted.internet.interfaces import IReactorTime
from zope.interface import Interface

from twisted_rsh.execution.trees.control_group import ControlGroup
from twisted_rsh.execution.trees.table import MARK_NAME, SHARED_SECONDS, ProcessRecord, ProcessTable

__all__ = ["MARK_BYTES", "PROOF_SECONDS", "ITreeOwner", "JobTree"]

MARK_BYTES = 16
"""Random bytes in the mark of a job: two are never the same, and nobody guesses one."""

PROOF_SECONDS = 1.0
"""Seconds for which a process group that was the job's still counts as the job's after its leader has been reaped.
Its number is free once the group is gone; a system would have to start as many processes as it has numbers in this
time, 32,768 or more, before it were anybody else's."""

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""The unit of a process's starting time in ``/proc``."""

_START_MARGIN_TICKS = _TICKS_PER_SECOND
"""Clock ticks by which a process may seem older than its job: roundings of two clocks, and then some."""


class ITreeOwner(Interface):
    """Whoever keeps count of all jobs: hears of each when it starts and when it ends."""

    def tree_started(pid: int, mark: bytes, born: int) -> None:
        """Learn that a job was started.

        :param pid: the number of its first process, and of its process group.
        :param mark: the value of its mark.
        :param born: clock ticks from the start of the system to before its start; 0 where that is not known.
        """

    def tree_reaped(pid: int) -> None:
        """Learn that the job's first process was waited for: it is no child of ours any more."""

    def tree_ended(pid: int) -> None:
        """Learn that the job's process group is gone, or that nobody cares any more.  Called once, after the others."""


class JobTree:
    """The processes of one job.

    Make it before the job is started, put :attr:`mark` into the job's environment, call :meth:`started` right after,
    and :meth:`reaped` when the job's first process has been waited for.  :meth:`signal` is what a
    :class:`twisted_rsh.execution.lifetime.KillLadder` takes.

    No signal ever reaches a process that only has the number of one that belonged (:meth:`ProcessTable.signal`).  Where
    there is no ``/proc``, as on macOS, the tree is the job's process group.

    :param clock: tells the time.
    :param table: the processes of this machine.
    :param mark: the job's mark, or ``None`` to draw one.
    :param owner: hears of the start and the end; ``None`` when nobody keeps count.
    :param control_group: kills what a ``SIGKILL`` of ours does not reach; ``None`` where there is none.
    :ivar table: the processes of this machine, as it was given.
    :ivar mark: a name and a value for the environment of the job.
    :ivar pid: the number of the job's first process; ``None`` before :meth:`started`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        table: ProcessTable,
        mark: bytes | None = None,
        owner: ITreeOwner | None = None,
        control_group: ControlGroup | None = None,
    ) -> None:
        self._clock = clock
        self.table = table
        self._value = secrets.token_hex(MARK_BYTES).encode("ascii") if mark is None else mark
        self._owner = owner
        self._control_group = control_group
        self._known: dict[int, int] = {}
        self._killed: dict[int, int] = {}
        self._is_reaped = False
        self._group_is_gone = False
        self._proved_at = 0.0
        self._started_at = 0.0
        self._empty_since: float | None = None
        self._born = _now_in_ticks() if table.is_supported else 0
        self.mark = (MARK_NAME, self._value)
        self.pid: int | None = None

    @property
    def sees_processes(self) -> bool:
        """Whether this system shows its processes; else only the job's own group can be signalled."""
        return self.table.is_supported

    def started(self, pid: int) -> None:
        """Learn which process the job is.

        :param pid: the job's first process, a child of ours that nobody has waited for, and the leader of a session
            and process group of its own.
        """
        self.pid = pid
        self._started_at = self._clock.seconds()
        if self._owner is not None:
            self._owner.tree_started(pid, self._value, self._born)

    def reaped(self) -> None:
        """Learn that the job's first process was waited for, by whomever.  Call it in the same turn.

        Costs one system call, and no look at ``/proc``.
        """
        self._is_reaped = True
        self._proved_at = self._clock.seconds()
        if self._owner is not None and self.pid is not None:
            self._owner.tree_reaped(self.pid)
        self._signal_group(0)

    def close(self) -> None:
        """Learn that the job is over and nobody will ask about it any more; what it left behind is left alone."""
        self._tell_end()

    def members(self, max_age: float = SHARED_SECONDS) -> dict[int, ProcessRecord]:
        """Find the living processes of the job.

        :param max_age: seconds; what was known so long ago will do, as for :meth:`ProcessTable.records`.
        :returns: the processes by number; empty where there is no ``/proc``.
        """
        if self.pid is None or not self.table.is_supported:
            return {}
        # A look from before the job's start shows nothing of it.
        records = self.table.records(max_age if self.table.looked_at > self._started_at else 0)
        found = {pid: records[pid] for pid, start in self._known.items() if _is_alive(records.get(pid), start)}
        others = {
            record.pid: record
            for record in records.values()
            if record.started >= self._born - _START_MARGIN_TICKS and not record.is_dead and record.pid not in found
        }
        others.pop(os.getpid(), None)
        self._add(found, others, self._in_session(records, found, others))
        _add_descendants(found, others)
        marked = [record for record in others.values() if self.table.mark_of(record) == self._value]
        if marked:
            self._add(found, others, marked)
            _add_descendants(found, others)
        self._known = {pid: record.started for pid, record in found.items()}
        return found

    def signal(self, number: int) -> bool:
        """Send a signal to every process of the job.

        It also reaches those of the process group that fork and exit faster than one can look, while the group's
        number is the job's.  ``SIGKILL`` is preceded by ``SIGSTOP``, so that none can fork while the others are
        killed; ask again soon after, until nothing is left.

        :param number: a signal's number, or 0 to ask only.
        :returns: whether any process of the job was there.
        """
        if self.pid is None:
            return False
        if not self.table.is_supported:
            return self._signal_group(number)
        if number == 0 and self._is_any_known_alive():
            return True
        found, was_there = self._look()
        if number == signal.SIGKILL and found:
            # A stopped process can still be seen to be the parent of what it forked; a killed one cannot.
            self._send(found, signal.SIGSTOP)
            found |= self.members(0)
        if number:
            self._send(found, number)
        if number == signal.SIGKILL:
            self._kill_again(found)
        return was_there

    # Who belongs

    def _look(self) -> tuple[dict[int, ProcessRecord], bool]:
        """Find the living processes, and say whether there may be any.

        A look that somebody else took may be older than the youngest process.  So a job is empty when it is so in a
        look that began after it had first seemed to be: its own, or the next that is shared.
        """
        now = self._clock.seconds()
        found = self.members()
        if self._is_any_known_alive():
            self._empty_since = None
            return found, True
        if self._empty_since is None:
            self._empty_since = now
        return found, self.table.looked_at < self._empty_since

    def _in_session(
        self, records: Mapping[int, ProcessRecord], found: Mapping[int, ProcessRecord], others: dict[int, ProcessRecord]
    ) -> list[ProcessRecord]:
        """Find those in the job's session or group, if these numbers are the job's still."""
        candidates = [record for record in others.values() if self.pid in (record.session, record.group)]
        if not self._is_reaped:
            return candidates
        if any(self.pid in (record.session, record.group) for record in found.values()) or any(
            self.table.mark_of(record) == self._value for record in candidates
        ):
            self._proved_at = self._clock.seconds()
        return candidates if self._number_is_ours else []

    @property
    def _number_is_ours(self) -> bool:
        """Whether the job's number can be nobody else's, as that of a process, a group or a session."""
        return not self._is_reaped or self._clock.seconds() - self._proved_at <= PROOF_SECONDS

    @staticmethod
    def _add(
        found: dict[int, ProcessRecord], others: dict[int, ProcessRecord], records: Iterable[ProcessRecord]
    ) -> None:
        for record in records:
            found[record.pid] = others.pop(record.pid)

    def _is_any_known_alive(self) -> bool:
        return any(_is_alive(self.table.read(pid), start) for pid, start in self._known.items())

    # Signals

    def _send(self, members: Mapping[int, ProcessRecord], number: int) -> None:
        """Signal the group at once, which no fork can escape, and everybody outside of it."""
        group = self.pid if self._number_is_ours and self._signal_group(number) else None
        for record in members.values():
            if record.group != group:
                self.table.signal(record, number)

    def _kill_again(self, members: Mapping[int, ProcessRecord]) -> None:
        """Kill by the control group what was killed before and is still there: it became another user, perhaps."""
        seen = {pid: record.started for pid, record in members.items()}
        left = dict(seen.items() & self._killed.items())
        self._killed = seen
        if left and self._control_group is not None:
            self._control_group.kill(left, self.table)

    def _signal_group(self, number: int) -> bool:
        """Signal the job's own group; returns whether it was there."""
        if self.pid is None or self._group_is_gone:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            self._group_is_gone = True
            self._tell_end()
        except PermissionError:
            pass  # it is there, and not ours to signal: a set-user-id program
        return not self._group_is_gone

    def _tell_end(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None and self.pid is not None:
            owner.tree_ended(self.pid)


def _now_in_ticks() -> int:
    """The age of the system, as ``/proc`` gives the start of a process."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_SECOND)


def _is_alive(record: ProcessRecord | None, started: int) -> bool:
    """Whether a number belongs to the process that started then, and it runs."""
    return record is not None and record.started == started and not record.is_dead


def _add_descendants(found: dict[int, ProcessRecord], others: dict[int, ProcessRecord]) -> None:
    """Move from `others` to `found` whatever descends from what is there."""
    children: dict[int, list[ProcessRecord]] = {}
    for record in others.values():
        children.setdefault(record.parent, []).append(record)
    parents = list(found)
    while parents:
        for child in children.get(parents.pop(), ()):
            found[child.pid] = others.pop(child.pid)
            parents.append(child.pid)
