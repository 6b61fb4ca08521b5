"""The life of a job of any kind: from the start of its first process to the moment at which its end may be reported."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twisted_rsh.core.endings import Ending, Limit, LimitReached, ResourceUsage, Signalled
from twisted_rsh.core.roles import Stream
from twisted_rsh.execution.processes.exits import resource_usage
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.trees.guardian import GRACE_SECONDS, LADDER
from twisted_rsh.execution.trees.limits import UsageLimits, UsageWatch
from twisted_rsh.execution.trees.steps import Steps
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.log_level import leveled_log

if TYPE_CHECKING:
    from twisted_rsh.execution.job import ProcessJob
    from twisted_rsh.execution.shells.shell import ShellJob

__all__ = [
    "ENDED_BY_SIGNAL_SECONDS",
    "ENDING_SIGNALS",
    "MAX_BLIND_SWEEPS",
    "MAX_SWEEPS",
    "PASSED_ON_SECONDS",
    "POLL_SECONDS",
    "SWEEP_SECONDS",
    "TERMINAL_SIGNALS",
    "JobLifetime",
    "KillLadder",
    "OutputBacklog",
]

POLL_SECONDS = 0.25
"""Seconds between two looks at the group.  The system may reuse the group's number once the group is gone, so a look
must follow soon after that: the system would have to start as many processes as it has numbers in this time."""

SWEEP_SECONDS = 0.1
"""Seconds between two sweeps.  A sweep is one more KILL, for processes that were forked during the last one; it also
waits for killed processes to be reaped."""

MAX_SWEEPS = 20
"""Sweeps after KILL.  After these two seconds only processes that cannot be killed are left: one that the system itself
holds, as on a network file system that is gone, or another user's."""

MAX_BLIND_SWEEPS = 600
"""Sweeps while the system has no descriptors left to look with: for a minute.  Until then only the job's own group gets
the signals, and what is outside of it may be left."""

ENDING_SIGNALS = frozenset({"HUP", "INT", "KILL", "QUIT", "TERM"})
"""The signals by which a client asks a job to end.  A job may catch them, put its files in order, and exit."""

ENDED_BY_SIGNAL_SECONDS = 10.0
"""Seconds within which the exit of a job counts as the answer to such a signal: as long as ``docker stop`` waits.  A
program that survives the signal, such as an interpreter that goes on with its next line, mostly lives longer."""

TERMINAL_SIGNALS = ("HUP", "INT", "QUIT")
"""The signals that a terminal sends for its user: when it is closed, and for its keys.  The server does not see them:
only a job that dies of one shows it.  A shell at its prompt may exit with 130 long after a key, and for itself."""

PASSED_ON_SECONDS = 1.0
"""Seconds that the rest of a job has to act on a signal of the client's that ended the first process, before the ladder
begins: HUP at once would cut off what the signal has just told to put its files in order."""

_POLLS_PER_STEP = round(GRACE_SECONDS / POLL_SECONDS)

_LAST_POLL = _POLLS_PER_STEP * (len(LADDER) - 1)


class KillLadder:
    """Ends all the processes of a job, politely first, and stops as soon as they are gone.

    It does not depend on the job's first process: it goes on when that has exited and others have not.  A suspended
    process gets CONT after HUP and TERM, or it would not notice them.

    :param clock: tells the time.
    :param signal_all: sends a signal to all of them, or only looks when given 0; returns whether any was still there.
        :meth:`twisted_rsh.execution.trees.tree.JobTree.signal` is one.
        :meth:`twisted_rsh.execution.processes.transport.SpawnedProcess.signal_group` is another; it reaches the
        processes that stayed in the group.
    :param finished: called once, when they are gone or the last step is done; ``None`` for no call.
    :param prepare: called with the number before `signal_all`, again and again until it returns true, so that this
        takes little time; :meth:`twisted_rsh.execution.trees.tree.JobTree.prepare`, or ``None`` for none.
    :param steps: shared by ladders that may climb together; ``None`` for a ladder of its own.
    :param is_blind: tells whether `signal_all` could not look for them; ``None`` if it always can.
    :ivar is_climbing: whether it has been started and is not finished.
    """

    def __init__(
        self,
        clock: IReactorTime,
        signal_all: Callable[[int], bool],
        finished: Callable[[], None] | None = None,
        prepare: Callable[[int], bool] | None = None,
        steps: Steps | None = None,
        is_blind: Callable[[], bool] | None = None,
    ) -> None:
        self._clock = clock
        self._is_blind = is_blind
        self._signal_all = signal_all
        self._finished = finished
        self._prepare = prepare
        self._steps = Steps(clock) if steps is None else steps
        self._is_started = False
        self._started_at = 0.0
        self.is_climbing = False

    def start(self, delay: float = 0.0) -> None:
        """Begin.  Later calls do nothing.

        :param delay: seconds until the first step, less than a whole step; until then it only looks.
        """
        if not self._is_started:
            self._is_started = self.is_climbing = True
            self._started_at = self._clock.seconds() + delay
            self._take(self._poll, -round(delay / POLL_SECONDS))

    def kill(self) -> None:
        """Take the last step at once.  If the ladder was started before, they get one KILL, and it goes on.

        It looks at all processes in one piece: what exceeds a limit may fork faster than a look in slices ends.
        """
        is_there = self._signal_all(signal.SIGKILL)
        if not self._is_started:
            self._is_started = self.is_climbing = True
            self._sweep_again(0, is_there=is_there)

    def _take(self, step: Callable[[int], bool], number: int) -> None:
        self._steps.take(partial(step, number))

    def _is_prepared(self, number: int) -> bool:
        return self._prepare is None or self._prepare(number)

    def _poll(self, polls: int) -> bool:
        """Take the step that is due after this many polls, or only look; return false if it is not prepared."""
        if polls == _LAST_POLL:
            return self._sweep(0)
        step, between = divmod(polls, _POLLS_PER_STEP)
        number = 0 if between else LADDER[step]
        if not self._is_prepared(number):
            return False
        is_there = self._signal_all(number)
        if is_there and not between:
            self._signal_all(signal.SIGCONT)
        if is_there:
            # Where looks are late, leave some out, so that the next signal is not.
            late = math.floor((self._clock.seconds() - self._started_at) / POLL_SECONDS)
            following = min(max(polls + 1, late), (step + 1) * _POLLS_PER_STEP)
            self._clock.callLater(POLL_SECONDS, self._take, self._poll, following)
        else:
            self._signal_all(signal.SIGKILL)  # reaches processes that fork and exit faster than a look can see
            self._finish()
        return True

    def _sweep(self, sweeps: int) -> bool:
        """Kill the remaining processes, and again after :data:`SWEEP_SECONDS` as long as there are any."""
        if not self._is_prepared(signal.SIGKILL):
            return False
        self._sweep_again(sweeps, is_there=self._signal_all(signal.SIGKILL))
        return True

    def _sweep_again(self, sweeps: int, *, is_there: bool) -> None:
        is_blind = self._is_blind is not None and self._is_blind()
        if is_there and sweeps < (MAX_BLIND_SWEEPS if is_blind else MAX_SWEEPS):
            self._clock.callLater(SWEEP_SECONDS, self._take, self._sweep, sweeps + 1)
        else:
            self._finish()

    def _finish(self) -> None:
        self.is_climbing = False
        if self._finished is not None:
            self._finished()


class OutputBacklog:
    """Output that a process had written at one moment and that its owner has not got yet.

    :param process: the process; its outputs are measured.
    """

    def __init__(self, process: SpawnedProcess) -> None:
        self._process = process
        self._owed: dict[int, int] = {}

    def measure(self) -> bool:
        """Start over with the bytes that both outputs hold now, and return whether there are any."""
        self._owed = self._process.buffered_outputs()
        return bool(self._owed)

    def delivered(self, stream: Stream, size: int) -> bool:
        """Count bytes that the owner got.

        :param stream: the output.
        :param size: bytes.
        :returns: whether these include the last byte of this output's backlog.
        """
        owed = self._owed.pop(stream, 0)
        if owed > size:
            self._owed[stream] = owed - size
        return 0 < owed <= size

    def closed(self, stream: Stream) -> None:
        """Expect nothing more of an output that was closed."""
        self._owed.pop(stream, None)

    def has(self, stream: Stream) -> bool:
        """Return whether bytes of this output are still to be delivered."""
        return stream in self._owed

    @property
    def is_empty(self) -> bool:
        """Whether both outputs are delivered."""
        return not self._owed


class JobLifetime:
    """Ends a job with all of its processes when it must end, and keeps its limits.

    Start the plan that :meth:`marked` returns, give the process to :meth:`started`, then call :meth:`exited` and
    :meth:`ended`.

    A job that ends by itself may leave processes behind.  It does not end by itself when it is terminated, and when a
    signal of its client's ends it: a signal of which its process dies, or one of :data:`ENDING_SIGNALS` after which its
    process exits in any way within :data:`ENDED_BY_SIGNAL_SECONDS`.

    :param clock: tells the time.
    :param tree: the job's processes, new.
    :param limits: the resources that they may use together.
    :param job: its `tell_end` is called once, when its process has ended.  If the job was made to end, all of its
        processes are gone by then, or were killed.
    :ivar limit_reached: the ending of a job that exceeded a limit; ``None`` until then.
    :ivar is_over: whether `tell_end` has been called.
    """

    _log = Logger(observer=leveled_log)

    def __init__(self, clock: IReactorTime, tree: JobTree, limits: UsageLimits, job: ProcessJob | ShellJob) -> None:
        self._clock = clock
        self._tree = tree
        self._limits = limits
        self._job: ProcessJob | ShellJob | None = job
        self._watch = UsageWatch(clock, tree, limits, self._exceeded) if limits.are_set else None
        self._ladder: KillLadder | None = None
        self._started_at = self._exited_at = clock.seconds()
        self._process: SpawnedProcess | None = None
        self._has_ended = False
        self._is_passing_on = False
        self._signals: dict[str, float] = {}
        self.limit_reached: LimitReached | None = None
        self.is_over = False

    def marked(self, plan: SpawnPlan) -> SpawnPlan:
        """Return the plan with the mark of the tree in its environment; every process of the job inherits the mark.

        The process joins the tree's control group, if there is one, before it executes the program.
        """
        group = self._tree.group
        joins = None if group is None else os.fsencode(group.path)
        return SpawnPlan(plan.executable, plan.argv, (*plan.environment, self._tree.mark), plan.cwd, joins)

    def started(self, process: SpawnedProcess) -> None:
        """Take over the process that was started, in the same turn of the reactor."""
        self._process = process
        if process.pid is not None:
            self._tree.started(process.pid)
        if self._watch is not None:
            self._watch.start()

    def has_terminal(self) -> None:
        """Count a death by one of :data:`TERMINAL_SIGNALS` as the client's doing."""
        self._signals.update(dict.fromkeys(TERMINAL_SIGNALS, -math.inf))

    def signal_sent(self, name: str) -> None:
        """Note that a signal of the client's was sent to the process.

        :param name: the signal's name without ``SIG``.
        """
        self._signals[name] = self._clock.seconds()

    def signal_rest(self, name: str) -> None:
        """Send a signal of the client's to what is left of a job that is made to end, whose process has exited.

        :param name: the name of a signal of this system's, without ``SIG``.
        """
        if self._is_climbing or self._is_passing_on:
            self._signal_all(signal.Signals[f"SIG{name}"])

    def exited(self, ending: Ending) -> None:
        """Note that the process was waited for, in the same turn of the reactor.

        :param ending: how it ended.
        """
        self._exited_at = self._clock.seconds()
        name = self._fatal_signal(ending)
        if name is not None:
            self._tree.must_end()
        limit = None if self._tree.group is None else self._tree.group.reached()  # it is removed when the job is gone
        self._tree.reaped()
        if limit is not None and self.limit_reached is None:
            self._exceeded(limit)
        if name is not None:
            self._is_passing_on = True
            self._tree.steps.take(partial(self._pass_on, signal.Signals[f"SIG{name}"]))

    def ended(self) -> None:
        """Note that the process has exited and its streams are closed.

        A job that is made to end is over when its whole tree has ended: a server that stops waits for that.
        """
        self._has_ended = True
        if not self._is_passing_on:
            self._tree.steps.take(self._conclude_if_gone)  # the jobs of a client mostly end together

    def _pass_on(self, number: int) -> bool:
        """Pass a signal that has ended the process on to the rest, and end that unless it ends itself."""
        if not self._tree.prepare_rest():
            return False
        self._is_passing_on = False
        if self._tree.pass_on(number):
            self._find_ladder().start(PASSED_ON_SECONDS)
        if self._has_ended:
            self.ended()
        return True

    def _conclude_if_gone(self) -> bool:
        """Conclude, unless the job is made to end and not all of it is gone; that is left to the ladder."""
        if self.is_over:
            return True
        if self._is_climbing:
            if not self._tree.prepare(0):
                return False
            if self._signal_all(0):
                return True
        self._conclude()
        return True

    def terminate(self) -> None:
        """End the job by the :class:`KillLadder`.  Nothing happens when it is over."""
        if not self.is_over:
            self._tree.must_end()
            self._find_ladder().start()

    @property
    def usage(self) -> ResourceUsage | None:
        """The resources that the job used, once its process has exited; ``None`` where they are not known."""
        usage = None if self._process is None else self._process.resource_usage
        return None if usage is None else resource_usage(self._exited_at - self._started_at, usage)

    def _fatal_signal(self, ending: Ending) -> str | None:
        """Name the signal of the client's that ended the process; ``None`` when the process ended by itself."""
        if isinstance(ending, Signalled) and ending.signal in self._signals:
            return ending.signal
        if not self._signals:
            return None
        recent = [
            (at, name)
            for name, at in self._signals.items()
            if name in ENDING_SIGNALS and self._exited_at - at <= ENDED_BY_SIGNAL_SECONDS
        ]
        return max(recent)[1] if recent else None

    def _signal_all(self, number: int) -> bool:
        if self._tree.sees_processes:
            return self._tree.signal(number)
        # Where the system shows no processes, only the groups that the transport knows can be signalled.
        return self._process is not None and self._process.signal_group(number)

    @property
    def _is_climbing(self) -> bool:
        return self._ladder is not None and self._ladder.is_climbing

    def _find_ladder(self) -> KillLadder:
        """Return the job's one ladder; most jobs end by themselves and have none."""
        if self._ladder is None:
            tree = self._tree
            self._ladder = KillLadder(
                self._clock,
                self._signal_all,
                self._ladder_finished,
                tree.prepare,
                tree.steps,
                lambda: tree.table.is_blind,
            )
        return self._ladder

    def _ladder_finished(self) -> None:
        if self._has_ended:
            self._conclude()

    def _conclude(self) -> None:
        if not self.is_over:
            self.is_over = True
            if self._watch is not None:
                self._watch.stop()
            self._tree.close()
            if self._job is not None:
                self._job.tell_end()
            self._job = self._process = None  # the watch may go on for what is left, without all that the owner holds

    def _exceeded(self, limit: Limit) -> None:
        if self.is_over:
            self._log.warn("what a job left behind is ended: it exceeds the limit of {limit}", limit=limit.value)
        else:
            self.limit_reached = LimitReached(limit, self._limits.amount(limit))
            self._tree.must_end()
        if limit is Limit.CPU and not self.is_over:
            self.terminate()
        else:
            self._find_ladder().kill()  # a polite end would give it time to take more
