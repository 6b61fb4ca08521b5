"""The tree of one job: all the processes that come from it, and how to signal every one of them.

A process belongs to a job when it is in the job's session or process group, when an ancestor of it belongs, or when it
carries the job's mark in its environment.  A process that has belonged once belongs for good.  So a daemon that has
forked twice and called ``setsid`` is found, unless it also wiped its environment and lost its parents between two
looks.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.execution.trees.job_group import JobGroup
from twisted_rsh.execution.trees.table import MARK_NAME, SHARED_SECONDS, TICKS_PER_SECOND, ProcessRecord
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.interfaces import ISuspensionListener

__all__ = ["PROOF_SECONDS", "JobTree"]

PROOF_SECONDS = 1.0
"""Seconds for which the job's group number still counts as the job's after its leader has been reaped.  The number is
free once the group is gone.  The system gives it to another process only after it has started as many processes as it
has numbers, 32,768 or more."""

PROVE_EVERY_SECONDS = PROOF_SECONDS / 4
"""Seconds between two looks at a group whose leader has been reaped.  Each takes one system call, and extends the
proof: processes that fork and exit faster than ``/proc`` can be read still hold the number of their group."""

_START_MARGIN_TICKS = TICKS_PER_SECOND
"""Clock ticks by which a process may seem older than its job: two clocks are rounded, and some more."""


class JobTree:
    """The processes of one job.

    Make it before the job is started and put :attr:`mark` into the job's environment.  Call :meth:`started` right after
    the start, :meth:`reaped` when the job's first process has been waited for, and :meth:`close` when the job is over.
    :meth:`signal` ends it, step by step (:class:`twisted_rsh.execution.lifetime.KillLadder`).

    It never signals a process that only has the number of one that belonged (:meth:`ProcessTable.signal`).  Where there
    is no ``/proc``, as on macOS, the tree is the job's process group.

    :param trees: what all job trees share; hears of the start and the end of this one.
    :ivar table: the processes of this machine.
    :ivar steps: divides the reactor's turns among the ends of jobs.
    :ivar mark: a name and a value for the environment of the job.
    :ivar pid: the number of the job's first process; ``None`` before :meth:`started`.
    :ivar group: the job's own control group, or ``None``; its first process has to join it.
    """

    def __init__(self, trees: JobTrees) -> None:
        self._trees = trees
        self._clock: IReactorTime = trees.reactor
        self.table = trees.table
        self.steps = trees.steps
        self._value = trees.new_mark()
        self._known: dict[int, int] = {}
        self._killed: dict[int, int] = {}
        self._is_reaped = False
        self._group_is_gone = False
        self._is_closed = False
        self._must_end = False
        self._stopped_at: float | None = None
        self._proof: IDelayedCall | None = None
        self._reaped_at = self._proved_at = 0.0
        self._started_at = 0.0
        self._empty_since: float | None = None
        self._born = _now_in_ticks() if self.table.is_supported else 0
        self.mark = (MARK_NAME, self._value)
        self.pid: int | None = None
        self.group: JobGroup | None = None

    def enclose(self, memory: int | None, processes: int | None) -> None:
        """Give the job a control group of its own, where the server may make one; call it before the start.

        :param memory: bytes that its processes may use together, or ``None`` for no limit.
        :param processes: processes and threads that it may have at once, or ``None`` for no limit.
        """
        if self._trees.control_group is not None:
            self.group = self._trees.control_group.enclose(memory, processes)

    @property
    def sees_processes(self) -> bool:
        """Tell whether this system shows its processes; otherwise only the job's own group can be signalled."""
        return self.table.is_supported

    def started(self, pid: int) -> None:
        """Learn which process the job is.

        :param pid: the job's first process, a child of this process that has not been waited for, and the leader of a
            session and process group of its own.
        """
        self.pid = pid
        self._started_at = self._clock.seconds()
        self._trees.job_started(pid, self._value, self._born)

    def tell_suspension(self, listener: ISuspensionListener) -> None:
        """Report from now on when a signal from elsewhere suspends the job, and when it goes on.

        Call it in the turn of the reactor in which the job was started.

        :param listener: is called from the reactor, until the job's first process has been waited for.
        """
        if self.pid is not None:
            self._trees.suspension.watch(self.pid, listener)

    def reaped(self) -> None:
        """Learn that the job's first process was waited for.  Call it in the same turn of the reactor.

        It takes one system call, and no look at ``/proc``.
        """
        self._is_reaped = True
        self._reaped_at = self._proved_at = self._clock.seconds()
        if self.pid is not None:
            self._trees.job_reaped(self.pid)
        if self._signal_group(0):
            self._prove_later()

    def must_end(self) -> None:
        """Learn that all of the job is to be ended: the guardian goes on with that, also when its own group is gone.

        Call :meth:`close` in the end.
        """
        self._must_end = True
        if self._group_is_gone and self.pid is not None:
            self._is_closed = False
            self._trees.job_group_gone(self.pid, self._value, self._born)

    def close(self) -> None:
        """Report the end of the job, unless that was done; what the job left behind is left alone."""
        if not self._is_closed and self.pid is not None:
            self._is_closed = True
            self._trees.job_ended(self.pid, self._value)
        self._stop_proving()
        if self.group is not None and self._trees.control_group is not None:
            self._trees.control_group.release(self.group)

    def _prove_later(self) -> None:
        self._proof = self._clock.callLater(PROVE_EVERY_SECONDS, self._prove)

    def _prove(self) -> None:
        """See that the group is still there: while it is, the system gives its number to no other process."""
        self._proof = None
        if self._number_is_ours and self._signal_group(0):
            self._prove_later()

    def _stop_proving(self) -> None:
        if self._proof is not None:
            self._proof.cancel()
            self._proof = None

    def members(self, max_age: float = SHARED_SECONDS) -> dict[int, ProcessRecord]:
        """Find the living processes of the job.

        :param max_age: seconds; a look that is no older is used again, as in :meth:`ProcessTable.records`.
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
        if self.group is not None:
            self._add(found, others, [others[pid] for pid in self.group.pids() if pid in others])
        self._add(found, others, self._in_session(records, found, others))
        _add_descendants(found, others)
        marked = [record for record in others.values() if self.table.mark_of(record) == self._value]
        if marked:
            self._add(found, others, marked)
            _add_descendants(found, others)
        self._known = {pid: record.started for pid, record in found.items()}
        return found

    def prepare(self, number: int) -> bool:
        """Take a slice of the look that :meth:`signal` needs.

        :param number: the signal's number, or 0.
        :returns: whether the look is there; if not, call this again in a later turn.
        """
        if self.pid is None or not self.table.is_supported or (number == 0 and self._is_any_known_alive()):
            return True
        if number == signal.SIGKILL and self.group is not None and self.group.is_populated:
            return True
        if self._stopped_at is None:
            if not self.table.prepare(self._started_at):
                return False
            found = self._look()[0] if number == signal.SIGKILL else {}
            if not found:
                return True
            self._stop(found)
        return self.table.prepare(math.nextafter(self._stopped_at or 0.0, math.inf))

    def prepare_rest(self) -> bool:
        """Take a slice of the look that :meth:`pass_on` needs.

        :returns: whether the look is there; if not, call this again in a later turn.
        """
        return not self.table.is_supported or self.table.prepare(math.nextafter(self._reaped_at, math.inf))

    def signal(self, number: int) -> bool:
        """Send a signal to every process of the job.

        It also reaches processes of the group that fork and exit faster than a look can see, while the group's number
        is the job's.  ``SIGSTOP`` precedes ``SIGKILL``, so that none can fork while the others are killed; call it
        again soon after, until no process is left.  It looks at all processes in one piece, unless :meth:`prepare` has
        done so just before.

        :param number: a signal's number, or 0 to ask only.
        :returns: whether any process of the job was there.
        """
        if self.pid is None:
            return False
        if not self.table.is_supported:
            return self._signal_group(number)
        if number == 0 and self._is_any_known_alive():
            return True
        if number == signal.SIGKILL and self.group is not None and self.group.kill():
            return True  # what is outside of the group, the next call looks for
        found, was_there = self._look()
        if number == signal.SIGKILL and found and self._stopped_at is None:
            self._stop(found)
            found |= self.members(0)
        if number:
            self._send(found, number)
        if number == signal.SIGKILL:
            self._stopped_at = None
            self._kill_again(found)
        return was_there

    def _stop(self, members: Mapping[int, ProcessRecord]) -> None:
        # A stopped process can still be seen to be the parent of what it forked; a killed one cannot.
        self._send(members, signal.SIGSTOP)
        self._stopped_at = self._clock.seconds()

    def pass_on(self, number: int) -> bool:
        """Send a signal that the job's own group has got to the processes outside of the group.

        Call :meth:`prepare_rest` until it returns true, and then this.

        :param number: the signal's number.
        :returns: whether any process of the job may be left, in the group or outside.
        """
        if not self.table.is_supported:
            return self._signal_group(0)
        found = self.members()
        for record in found.values():
            if record.group != self.pid:
                self.table.signal(record, number)
        return bool(found) or self.table.is_blind

    # Who belongs

    def _look(self) -> tuple[dict[int, ProcessRecord], bool]:
        """Find the living processes, and tell whether there may be any.

        A shared look may be older than the youngest process.  So a job counts as empty when a look shows it empty that
        began after an earlier one had done so.
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
        """Find the processes in the job's session or group, if these numbers are still the job's."""
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
        """Tell whether the system cannot have given the job's number to another process, group or session."""
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
        """Signal the group at once, which no fork can escape, and then each process outside of it."""
        group = self.pid if self._number_is_ours and self._signal_group(number) else None
        for record in members.values():
            if record.group != group:
                self.table.signal(record, number)

    def _kill_again(self, members: Mapping[int, ProcessRecord]) -> None:
        """Kill by the control group what is still there after a kill: it may have become another user."""
        seen = {pid: record.started for pid, record in members.items()}
        left = dict(seen.items() & self._killed.items())
        self._killed = seen
        group = self._trees.control_group
        if left and group is not None:
            group.kill(left, self.table)

    def _signal_group(self, number: int) -> bool:
        """Signal the job's own group, and return whether it was there."""
        if self.pid is None or self._group_is_gone:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            self._group_is_gone = True
            self._stop_proving()
            if self._must_end and not self._is_closed:
                self._trees.job_group_gone(self.pid, self._value, self._born)
            else:
                self.close()
        except PermissionError:
            pass  # it is there, and not ours to signal: a set-user-id program
        if self._is_reaped and not self._group_is_gone and self._number_is_ours:
            self._proved_at = self._clock.seconds()
        return not self._group_is_gone


def _now_in_ticks() -> int:
    """Return the age of the system, in the unit in which ``/proc`` gives the start of a process."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_SECOND)


def _is_alive(record: ProcessRecord | None, started: int) -> bool:
    """Tell whether a process is the one that started then, and has not ended."""
    return record is not None and record.started == started and not record.is_dead


def _add_descendants(found: dict[int, ProcessRecord], others: dict[int, ProcessRecord]) -> None:
    """Move the descendants of the processes in `found` from `others` to `found`."""
    children: dict[int, list[ProcessRecord]] = {}
    for record in others.values():
        children.setdefault(record.parent, []).append(record)
    parents = list(found)
    while parents:
        for child in children.get(parents.pop(), ()):
            found[child.pid] = others.pop(child.pid)
            parents.append(child.pid)
