"""Everything that all job trees of a reactor share: the process table, the guardian, the control group and others."""

from __future__ import annotations

import os
import secrets

from twisted.logger import Logger

from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.trees.adoption import AdoptedChildren, become_subreaper
from twisted_rsh.execution.trees.control_group import ControlGroup, ControlGroupUnavailable
from twisted_rsh.execution.trees.guardian import Guardian
from twisted_rsh.execution.trees.steps import Steps
from twisted_rsh.execution.trees.suspension import SuspensionWatch
from twisted_rsh.execution.trees.table import ProcessTable
from twisted_rsh.log_level import leveled_log

__all__ = ["MARK_BYTES", "JobTrees"]

MARK_BYTES = 16
"""Random bytes in the mark of a job, half of them common to all jobs of a server: no two jobs have the same mark, and
no other user can guess one."""


class JobTrees:
    """Keeps jobs from leaving processes behind; a :class:`twisted_rsh.execution.trees.tree.JobTree` reports to it.

    Without :meth:`start` it changes nothing about this process, and the trees work: a job's mark finds what daemonises,
    and init reaps it.

    :param reactor: tells the time, and watches the guardian.
    :param owns_process: whether this process is a server and nothing else.  :meth:`start` then makes it a child
        subreaper, and every child that neither a job nor Twisted waits for is reaped.  An application that is a
        subreaper already calls :meth:`start` to have its adopted children reaped.
    :param guardian: the guardian that :meth:`start` starts, or ``None`` for one with the kill ladder's grace.
    :param control_group: the control group that :meth:`start` moves this process into; ``None`` to stay where it is.
        Only for a process that is a server and nothing else.
    :ivar reactor: the reactor.
    :ivar table: the processes of this machine; its `is_supported` says whether limits of memory and processor time
        can be kept.
    :ivar steps: divides the reactor's turns among the ends of jobs.
    :ivar control_group: the control group, or ``None``.
    :ivar suspension: notices that a job is suspended from outside, and that it goes on.
    """

    _log = Logger(observer=leveled_log)

    def __init__(
        self,
        reactor: IJobReactor,
        *,
        owns_process: bool = False,
        guardian: Guardian | None = None,
        control_group: ControlGroup | None = None,
    ) -> None:
        self.reactor = reactor
        self.table = ProcessTable(reactor)
        self.steps = Steps(reactor)
        self.control_group = control_group
        self._owns_process = owns_process
        self._mark_prefix = secrets.token_hex(MARK_BYTES // 2).encode("ascii")
        self._guardian = Guardian(reactor) if guardian is None else guardian
        self.suspension = SuspensionWatch(reactor)
        self._adopted = AdoptedChildren(reactor, self.table, self._guardian, self._mark_prefix, knows_all=owns_process)

    def start(self) -> None:
        """Start the guardian, reap what this process inherits and, where it is a server and nothing else, inherit.

        A guardian that cannot be started is a warning in the log, and is tried again.  The log also says whether there
        is a control group, and why not, and by which means the bounds of jobs are kept.
        """
        self.table.keep_descriptor()
        if self._owns_process:
            become_subreaper()
        self._adopted.start()
        self.suspension.start()
        folder = "" if self.control_group is None else self._create(self.control_group)
        # Before this process enters the group: the guardian has to outlive what it ends.
        if self.control_group is not None and folder:
            self.control_group.enter_guardians()
            self._guardian.start(folder, self._mark_prefix, self.control_group.controllers)
            self._enter(self.control_group)
        else:
            self._guardian.start(mark_prefix=self._mark_prefix)

    def _create(self, group: ControlGroup) -> str:
        """Make the control group, and return its folder; empty where there can be none."""
        try:
            return group.create()
        except ControlGroupUnavailable as e:
            self._log.info("the jobs have no control group: {reason}", reason=e)
            return ""

    def _enter(self, group: ControlGroup) -> None:
        try:
            folder = group.enter()
            text = "the jobs are in the control group {folder}; {bounds}"
            self._log.info(text, folder=folder, bounds=group.bounds_kept)
        except ControlGroupUnavailable as e:
            self._log.info("the jobs have no control group: {reason}", reason=e)

    def stop(self) -> None:
        """Let the guardian go, which ends the jobs that still run, leave the control group, and reap a last time."""
        if self.control_group is not None:
            self.control_group.leave()
        self._guardian.stop()
        self._adopted.stop()
        self.suspension.stop()

    def kill_jobs(self) -> None:
        """Kill all jobs now; a signal's handler may call this.  What escapes, the guardian kills when this process has
        ended, which should be at once."""
        self._guardian.kill_jobs()

    # For the trees

    def new_mark(self) -> bytes:
        """Draw the mark of a job that is about to be started."""
        return self._mark_prefix + os.urandom(MARK_BYTES // 2).hex().encode("ascii")

    def job_started(self, pid: int, mark: bytes, born: int) -> None:
        """Learn that a job was started.

        :param pid: the number of its first process, and of its process group.
        :param mark: its mark.
        :param born: clock ticks from the start of the system to before its start; 0 where that is not known.
        """
        self._guardian.job_started(pid, mark, born)
        self._adopted.job_started(pid)

    def job_reaped(self, pid: int) -> None:
        """Learn that the first process of a job was waited for: it is no child of this process any more.

        :param pid: its number.
        """
        self._adopted.job_reaped(pid)
        self.suspension.forget(pid)

    def job_group_gone(self, pid: int, mark: bytes, born: int) -> None:
        """Learn that the process group of a job is gone; the other processes of the job are being ended.

        :param pid: the number of its first process, which may be another's from now on.
        :param mark: its mark.
        :param born: as in :meth:`job_started`.
        """
        self._adopted.job_ended(pid)
        self._guardian.job_ended(pid)
        self._guardian.rest_ends(mark, born)

    def job_ended(self, pid: int, mark: bytes) -> None:
        """Learn that a job is over, or that its process group is gone and the rest is left alone.

        :param pid: the number of its first process.
        :param mark: its mark.
        """
        self._adopted.job_ended(pid)
        self._guardian.job_ended(pid)
        self._guardian.rest_ended(mark)
