"""From the start of a job's first process to the moment when its end may be told: what all kinds of job share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

from twisted.internet.interfaces import IReactorTime

from twisted_rsh.core.endings import Limit, LimitReached, ResourceUsage
from twisted_rsh.execution.interfaces import IFlowControlledProcess
from twisted_rsh.execution.job_tree import JobTree
from twisted_rsh.execution.ladder import KillLadder
from twisted_rsh.execution.plan import SpawnPlan
from twisted_rsh.execution.resource_usage import resource_usage
from twisted_rsh.execution.usage_watch import UsageLimits, UsageWatch

__all__ = ["JobLifetime"]


class JobLifetime:
    """Ends a job with all of its processes, when it must end, and keeps its limits.

    Give its plan to :meth:`marked`, its process to :meth:`started`, and tell it of the exit and of the end.

    :param clock: tells the time.
    :param tree: the job's processes, new.
    :param limits: what they may use together.
    :param over: called once, when nothing follows any more: its process has ended, and if it was made to end, all of
        its processes are gone or were killed.
    :ivar limit_reached: the ending of a job that used more than it may; ``None`` as long as it has not.
    :ivar is_over: whether `over` has been called.
    """

    def __init__(self, clock: IReactorTime, tree: JobTree, limits: UsageLimits, over: Callable[[], None]) -> None:
        self._clock = clock
        self._tree = tree
        self._limits = limits
        self._over = over
        self._watch = UsageWatch(clock, tree, limits, self._exceeded)
        self._ladder = KillLadder(clock, self._signal_all, self._ladder_finished)
        self._started_at = self._exited_at = clock.seconds()
        self._process: IFlowControlledProcess | None = None
        self._has_ended = False
        self.limit_reached: LimitReached | None = None
        self.is_over = False

    def marked(self, plan: SpawnPlan) -> SpawnPlan:
        """Return a plan whose process, and all that comes from it, can be found."""
        return replace(plan, environment=(*plan.environment, self._tree.mark))

    def started(self, process: IFlowControlledProcess) -> None:
        """Learn which process was started; to be called in the same turn of the reactor."""
        self._process = process
        if process.pid is not None:
            self._tree.started(process.pid)
        self._watch.start()

    def exited(self) -> None:
        """Learn that the process was waited for; to be called in the same turn of the reactor."""
        self._exited_at = self._clock.seconds()
        self._tree.reaped()

    def ended(self) -> None:
        """Learn that the process has exited and its streams are closed.

        A job that is made to end has not ended before all of its tree has: a server that stops waits for that.
        """
        self._has_ended = True
        if not self._ladder.is_climbing or not self._signal_all(0):
            self._conclude()

    def terminate(self) -> None:
        """Make the job end: it takes the :class:`KillLadder`.  Nothing happens when it is over."""
        if not self.is_over:
            self._ladder.start()

    @property
    def usage(self) -> ResourceUsage | None:
        """What the job took, once its process has exited; ``None`` where that is not known."""
        usage = None if self._process is None else self._process.resource_usage
        return None if usage is None else resource_usage(self._exited_at - self._started_at, usage)

    def _signal_all(self, number: int) -> bool:
        if self._tree.sees_processes:
            return self._tree.signal(number)
        # Where the system shows no processes, the groups that the transport knows of are all there is to signal.
        return self._process is not None and self._process.signal_group(number)

    def _ladder_finished(self) -> None:
        if self._has_ended:
            self._conclude()

    def _conclude(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._watch.stop()
            self._tree.close()
            self._over()

    def _exceeded(self, limit: Limit) -> None:
        self.limit_reached = LimitReached(limit, self._limits.amount(limit))
        if limit is Limit.MEMORY:
            self._signal_all(signal.SIGKILL)  # while it was asked nicely, it would take more
        self.terminate()
