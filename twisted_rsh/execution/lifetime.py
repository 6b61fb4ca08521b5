"""From the start of a job's first process to the moment when its end may be told: what all kinds of job share."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

from twisted.internet.interfaces import IReactorTime

from twisted_rsh.core.endings import Limit, LimitReached, ResourceUsage
from twisted_rsh.execution.plan import SpawnPlan
from twisted_rsh.execution.processes.exits import resource_usage
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.trees.guardian import GRACE_SECONDS, LADDER
from twisted_rsh.execution.trees.limits import UsageLimits, UsageWatch
from twisted_rsh.execution.trees.tree import JobTree

__all__ = ["MAX_SWEEPS", "POLL_SECONDS", "SWEEP_SECONDS", "JobLifetime", "KillLadder"]

POLL_SECONDS = 0.25
"""Seconds between two looks at the group.  Its number may be given to other processes once it is gone, so the look
must be soon after that; a system would have to start as many processes as it has numbers in this time."""

SWEEP_SECONDS = 0.1
"""Seconds between two sweeps, which are KILL again for what forked while others were killed, or waits to be reaped."""

MAX_SWEEPS = 20
"""Sweeps after KILL.  Two seconds later only what cannot be killed is left: a process that the system itself holds, as
on a network file system that is gone, or another user's."""

_POLLS_PER_STEP = round(GRACE_SECONDS / POLL_SECONDS)

_LAST_POLL = _POLLS_PER_STEP * (len(LADDER) - 1)


class KillLadder:
    """Ends all the processes of a job, politely first, and stops as soon as they are gone.

    It needs no news of the job's first process: it goes on when that has exited and others have not.  A process that
    is stopped is continued behind HUP and TERM, or it would not learn of them.

    :param clock: tells the time.
    :param signal_all: sends a signal to all of them, or only looks when given 0; returns whether any was still there.
        :meth:`twisted_rsh.execution.trees.tree.JobTree.signal` is one, and
        :meth:`twisted_rsh.execution.processes.transport.SpawnedProcess.signal_group`, for those that stayed in the
            group, another.
    :param finished: called once when they are gone, or the last step taken; ``None`` when nobody waits for it.
    :ivar is_climbing: whether it has been started and is not finished.
    """

    def __init__(
        self, clock: IReactorTime, signal_all: Callable[[int], bool], finished: Callable[[], None] | None = None
    ) -> None:
        self._clock = clock
        self._signal_all = signal_all
        self._finished = finished
        self._is_started = False
        self.is_climbing = False

    def start(self) -> None:
        """Take the first step now.  The second call and later ones do nothing."""
        if not self._is_started:
            self._is_started = self.is_climbing = True
            self._poll(0)

    def _poll(self, polls: int) -> None:
        """Look, or take the step that is due after so many looks."""
        if polls == _LAST_POLL:
            self._sweep(0)
            return
        step, between = divmod(polls, _POLLS_PER_STEP)
        is_there = self._signal_all(0 if between else LADDER[step])
        if is_there and not between:
            self._signal_all(signal.SIGCONT)
        if is_there:
            self._clock.callLater(POLL_SECONDS, self._poll, polls + 1)
        else:
            self._signal_all(signal.SIGKILL)  # reaches what forks and exits faster than one can see it
            self._finish()

    def _sweep(self, sweeps: int) -> None:
        """Kill what is left, again and again."""
        if self._signal_all(signal.SIGKILL) and sweeps < MAX_SWEEPS:
            self._clock.callLater(SWEEP_SECONDS, self._sweep, sweeps + 1)
        else:
            self._finish()

    def _finish(self) -> None:
        self.is_climbing = False
        if self._finished is not None:
            self._finished()


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
        self._process: SpawnedProcess | None = None
        self._has_ended = False
        self.limit_reached: LimitReached | None = None
        self.is_over = False

    def marked(self, plan: SpawnPlan) -> SpawnPlan:
        """Return a plan whose process, and all that comes from it, can be found."""
        return replace(plan, environment=(*plan.environment, self._tree.mark))

    def started(self, process: SpawnedProcess) -> None:
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
