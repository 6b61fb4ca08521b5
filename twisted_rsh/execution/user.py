"""The user of a stand-alone server: whoever has logged in runs jobs as the server's own account."""

from __future__ import annotations

from typing import Any, cast

from zope.interface import implementer

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.job import ProcessJob, start_job
from twisted_rsh.execution.plan import plan_job
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.spawn import check_system
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.execution.shells.shell import ShellJob, start_shell
from twisted_rsh.execution.trees.limits import UsageLimits
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.interfaces import IJobOwner, IShellUser, ISuspensionListener, JobRefused

__all__ = ["LocalUser"]


@implementer(IShellUser)
class LocalUser:
    """Runs every request as a process of this machine, or in a shell that is one.

    :param reactor: watches the processes, and tells the time: any POSIX reactor, which is an
        :class:`~twisted_rsh.execution.processes.interfaces.IJobReactor`.
    :param account: the user they run as (:meth:`twisted_rsh.execution.account.Account.current`).
    :param trees: knows the processes of all jobs; ``None`` for one of this user's own, which changes nothing about the
        process that it is in (:class:`twisted_rsh.execution.trees.trees.JobTrees`).
    :raises twisted_rsh.execution.processes.spawn.UnsupportedSystem: this system has no `posix_spawn` for jobs.
    :ivar name: the account's name, for the log.
    :ivar encoding: the account's code page.
    """

    def __init__(
        self,
        reactor: Any,
        account: Account,
        trees: JobTrees | None = None,
    ) -> None:
        check_system()
        self._reactor = cast("IJobReactor", reactor)
        self._account = account
        self._trees = trees or JobTrees(self._reactor)
        self.name = account.name
        self.encoding = account.encoding

    def start_job(self, request: JobRequest, owner: IJobOwner) -> ProcessJob | ShellJob:
        """Start a process, or a persistent shell, for a request.

        The request's `timeout` is the owner's to keep: it calls :meth:`ProcessJob.terminate` when the time is up.

        :param request: what the client asked for.
        :param owner: whom to report to, never from within this call; also of suspensions, if it provides
            :class:`~twisted_rsh.interfaces.ISuspensionListener`.
        :returns: the running job.
        :raises JobRefused: it will not run, and why; nothing was started.
        """
        limits = UsageLimits(cpu=request.max_cpu, memory=request.max_memory)
        tree = self._trees.new()
        if limits.are_set and not tree.sees_processes:
            text = "the server's system cannot keep limits of processor time and memory; run the command without"
            raise JobRefused(RefusalReason.NOT_SUPPORTED, text)
        job = self._start(request, owner, tree, limits)
        listener = job.suspension if isinstance(job, ShellJob) else ISuspensionListener(owner, None)
        if listener is not None:
            self._trees.tell_suspension(tree, listener)
        return job

    def _start(
        self, request: JobRequest, owner: IJobOwner, tree: JobTree, limits: UsageLimits
    ) -> ProcessJob | ShellJob:
        if request.shell is not None:
            shell = plan_shell(request, self._account)
            return start_shell(self._reactor, shell, owner, tree, request.terminal, limits=limits)
        plan = plan_job(request, self._account)
        return start_job(
            self._reactor,
            plan,
            owner,
            tree,
            request.terminal,
            limits=limits,
        )
