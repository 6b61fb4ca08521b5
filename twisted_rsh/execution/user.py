"""The user of a stand-alone server: runs jobs as the server's own account."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from zope.interface import implementer

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.job import ProcessJob, start_job
from twisted_rsh.execution.plan import plan_job
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.spawn import check_system
from twisted_rsh.execution.sftp import SYSTEM
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.execution.shells.shell import ShellJob, start_shell
from twisted_rsh.execution.trees.limits import NO_LIMITS, UsageLimits, backstop
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.interfaces import IJobOwner, ILimitedUser, ISuspensionListener, JobRefused

__all__ = ["LocalUser"]


@dataclass(slots=True)
class _Choices:
    """What the operator has chosen for all jobs from now on.

    :ivar bounds: what each job may use; :data:`NO_LIMITS` for as much as it wants.
    :ivar sftp: as for :class:`LocalUser`.
    """

    bounds: UsageLimits
    sftp: str


@implementer(ILimitedUser)
class LocalUser:
    """Runs every request as a process of this machine, or as a persistent shell.

    :param reactor: watches the processes, and tells the time: any POSIX reactor, which is an
        :class:`~twisted_rsh.execution.processes.interfaces.IJobReactor`.
    :param account: the account that jobs run as (:meth:`twisted_rsh.execution.account.Account.current`).
    :param trees: keeps the jobs of this reactor from leaving processes behind; ``None`` for one of this user's own,
        which changes nothing about this process (:class:`twisted_rsh.execution.trees.trees.JobTrees`).
    :param folder: where persistent shells have the FIFOs of their commands' input, in a folder of its own each; made
        when it is needed.  ``None`` for the system's folder for temporary files.
    :param bounds: what each job may use, whatever its request says; ``None`` for as much as it wants.
    :param sftp: what serves files: the system's ``sftp-server`` where there is one (``"system"``), this package's own
        server (``"own"``), none (``"off"``), or the absolute path of a program.
    :raises ValueError: there are bounds, and this system, which has no ``/proc`` of Linux's kind, cannot keep them.
    :raises twisted_rsh.execution.processes.spawn.UnsupportedSystem: this system cannot start jobs.
    :ivar name: the account's name, for the log.
    :ivar encoding: the account's code page.
    """

    def __init__(
        self,
        reactor: Any,
        account: Account,
        trees: JobTrees | None = None,
        folder: str | None = None,
        bounds: UsageLimits | None = None,
        sftp: str = SYSTEM,
    ) -> None:
        check_system()
        self._reactor = cast("IJobReactor", reactor)
        self._account = account
        self._folder = folder
        self._trees = JobTrees(self._reactor) if trees is None else trees
        self._choices = _Choices(NO_LIMITS, sftp)
        self._limits = NO_LIMITS
        self.change_choices(bounds, sftp)
        self.name = account.name
        self.encoding = account.encoding

    def change_choices(self, bounds: UsageLimits | None, sftp: str) -> None:
        """Let further jobs have other bounds, and other servers of files; also those of users that :meth:`limit` made.

        :param bounds: as for the class.
        :param sftp: as for the class.
        :raises ValueError: as for the class; nothing has changed then.
        """
        wanted = bounds if bounds is not None and bounds.are_set else NO_LIMITS
        self._check_kept(wanted)
        self._choices.bounds, self._choices.sftp = wanted, sftp

    def limit(self, *, cpu: float | None, memory: int | None, processes: int | None) -> LocalUser:
        """See :class:`twisted_rsh.server.ILimitedUser`."""
        limits = UsageLimits(cpu=cpu, memory=memory, processes=processes).within(self._limits)
        self._check_kept(limits)
        limited = copy.copy(self)
        limited._limits = limits  # noqa: SLF001 - it is another one of this class
        return limited

    def _check_kept(self, limits: UsageLimits) -> None:
        if limits.are_set and not self._trees.table.is_supported:
            raise ValueError("this system has no /proc like Linux, by which the server could bound what a job uses")

    @property
    def _bounds(self) -> UsageLimits:
        """What a job may use that is started now."""
        if self._limits is NO_LIMITS:
            return self._choices.bounds
        return replace(self._limits.within(self._choices.bounds), bounds=None)

    def start_job(self, request: JobRequest, owner: IJobOwner) -> ProcessJob | ShellJob:
        """Start a process, or a persistent shell, for a request.

        The owner keeps the request's `timeout`: it calls the job's `terminate` when the time is up.

        :param request: the client's request.
        :param owner: receives the job's reports, never from within this call.  It also learns of suspensions if it
            provides :class:`~twisted_rsh.interfaces.ISuspensionListener`.
        :returns: the running job.
        :raises JobRefused: it will not run, and why; nothing was started.
        """
        limits, bounds = NO_LIMITS, self._bounds
        if bounds is not NO_LIMITS or request.max_cpu is not None or request.max_memory is not None:
            limits = UsageLimits(cpu=request.max_cpu, memory=request.max_memory).within(bounds)
        tree = JobTree(self._trees)
        if limits.are_set and not tree.sees_processes:
            text = "the server's system cannot keep limits of processor time and memory; run the command without"
            raise JobRefused(RefusalReason.NOT_SUPPORTED, text)
        if request.shell is not None:
            plan = plan_shell(request, self._account)
            with self._kept(limits, tree):
                shell = start_shell(
                    self._reactor, plan, owner, tree, request.terminal, limits=limits, folder=self._folder
                )
            tree.tell_suspension(shell.suspension)
            return shell
        spawn = plan_job(request, self._account, sftp=self._choices.sftp)
        if limits is NO_LIMITS:
            job = start_job(self._reactor, spawn, owner, tree, request.terminal)
        else:
            with self._kept(limits, tree):
                job = start_job(self._reactor, spawn, owner, tree, request.terminal, limits=limits)
        listener = ISuspensionListener(owner, None)
        if listener is not None:
            tree.tell_suspension(listener)
        return job

    @staticmethod
    @contextlib.contextmanager
    def _kept(limits: UsageLimits, tree: JobTree) -> Iterator[None]:
        """Let the job that is started in a block have the limits; a job that is not started leaves no group behind."""
        if limits.are_set:
            tree.enclose(limits.memory, limits.processes)
        kept = () if tree.group is None else tree.group.kept
        try:
            with backstop(limits.without(kept), tree.table):
                yield
        except BaseException:
            if tree.group is not None:
                tree.group.remove()
            raise
