"""Everything that keeps jobs from leaving processes behind, for all the jobs of a reactor: one object to ask."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from twisted.internet import process as twisted_process
from twisted.logger import Logger
from zope.interface import implementer

from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.trees.adoption import AdoptedChildren, become_subreaper
from twisted_rsh.execution.trees.control_group import ControlGroup, ControlGroupUnavailable
from twisted_rsh.execution.trees.guardian import Guardian
from twisted_rsh.execution.trees.suspension import SuspensionWatch
from twisted_rsh.execution.trees.table import ProcessTable
from twisted_rsh.execution.trees.tree import MARK_BYTES, ITreeOwner, JobTree
from twisted_rsh.interfaces import ISuspensionListener

__all__ = ["JobTrees"]


@implementer(ITreeOwner)
class JobTrees:
    """Makes the :class:`JobTree` of each job, and knows of all of them.

    Without :meth:`start` nothing about this process is changed, and the trees work all the same: what daemonises is
    found by its mark, and reaped by init.

    :param reactor: tells the time, and watches the guardian.
    :param owns_process: whether this process is a server and nothing else: :meth:`start` then makes it a child
        subreaper, and every child that no job and no Twisted process accounts for is reaped.  In an application, only
        if it is a subreaper already and asks for it with :meth:`start`.
    :param guardian: the guardian that :meth:`start` starts, or ``None`` for one with the kill ladder's grace.
    :param control_group: the control group that :meth:`start` moves this process into; ``None`` to stay where it is.
        Only for a process that is a server and nothing else.
    :ivar table: the processes of this machine; its `is_supported` says whether limits of memory and processor time
        can be kept.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IJobReactor,
        *,
        owns_process: bool = False,
        guardian: Guardian | None = None,
        control_group: ControlGroup | None = None,
    ) -> None:
        self._owns_process = owns_process
        self._prefix = secrets.token_hex(MARK_BYTES // 2).encode("ascii")
        self._unreaped: set[int] = set()
        self._running: set[int] = set()
        self._guardian = Guardian(reactor) if guardian is None else guardian
        self._reactor = reactor
        self._control_group = control_group
        self._is_started = False
        self._suspension = SuspensionWatch(reactor)
        self.table = ProcessTable(reactor)
        self._adopted = AdoptedChildren(
            reactor,
            self.table,
            self._is_ours,
            knows_all=owns_process,
            is_our_mark=lambda mark: mark.startswith(self._prefix),
            is_busy=lambda: bool(self._running),
        )

    def start(self) -> None:
        """Start the guardian, reap what is inherited and, where this process is ours, inherit.

        A guardian that cannot be started is a warning in the log.  Whether there is a control group, and why not, is
        in the log, too.
        """
        self._is_started = True
        self.table.keep_descriptor()
        if self._owns_process:
            become_subreaper()
        folder = "" if self._control_group is None else self._try_group(self._control_group.create)
        try:
            # Before this process enters the group: the guardian has to outlive what it ends.
            self._guardian.start(folder, self._prefix)
        except OSError as e:
            self._log.warn(
                "no guardian ({error}); if this server is killed, its jobs will outlive it", error=e.strerror
            )

        if self._control_group is not None and folder and self._try_group(self._control_group.enter):
            self._log.info("the jobs are in the control group {folder}", folder=folder)

    def _try_group(self, step: Callable[[], str]) -> str:
        """Take a step towards the control group; returns nothing where there is none to be had."""
        try:
            return step()
        except ControlGroupUnavailable as e:
            self._log.info("the jobs have no control group: {reason}", reason=e)
            return ""

    def stop(self) -> None:
        """Let the guardian go, which ends the jobs that still run, leave the control group, and reap a last time."""
        self._is_started = False
        if self._control_group is not None:
            self._control_group.leave()
        self._guardian.stop()
        self._adopted.stop()

    def new(self) -> JobTree:
        """Make the tree of a job that is about to be started.

        :returns: the tree; put its `mark` into the job's environment.
        """
        mark = self._prefix + secrets.token_hex(MARK_BYTES // 2).encode("ascii")
        return JobTree(self._reactor, self.table, mark, self, self._control_group)

    def tell_suspension(self, tree: JobTree, listener: ISuspensionListener) -> None:
        """Have somebody told when a signal from elsewhere suspends a job, and when it goes on.

        :param tree: the tree of the job, which has been started in this turn of the reactor.
        :param listener: who is told, from the reactor, until the job's first process has exited.
        """
        if tree.pid is not None:
            self._suspension.watch(tree.pid, listener)

    # ITreeOwner

    def tree_started(self, pid: int, mark: bytes, born: int) -> None:
        """See :class:`ITreeOwner`."""
        self._unreaped.add(pid)
        self._running.add(pid)
        self._guardian.job_started(pid, mark, born)
        if self._is_started:
            self._adopted.expect()

    def tree_reaped(self, pid: int) -> None:
        """See :class:`ITreeOwner`."""
        self._unreaped.discard(pid)
        self._suspension.forget(pid)

    def tree_ended(self, pid: int) -> None:
        """See :class:`ITreeOwner`."""
        self._running.discard(pid)
        self._guardian.job_ended(pid)

    def _is_ours(self, pid: int) -> bool:
        return pid in self._unreaped or pid == self._guardian.pid or pid in twisted_process.reapProcessHandlers
