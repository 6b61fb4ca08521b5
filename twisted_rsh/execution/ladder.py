"""The kill ladder: how a job that must end is asked, told, and made to."""

from __future__ import annotations

import signal
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

__all__ = ["GRACE_SECONDS", "LADDER", "MAX_SWEEPS", "POLL_SECONDS", "SWEEP_SECONDS", "KillLadder"]

GRACE_SECONDS = 5.0
"""Seconds between two steps: long enough for an editor or a database to put its files in order, and short enough that
the whole ladder takes no longer than a service manager waits for its service (systemd: 90 s, Docker: 10 s)."""

POLL_SECONDS = 0.25
"""Seconds between two looks at the group.  Its number may be given to other processes once it is gone, so the look
must be soon after that; a system would have to start as many processes as it has numbers in this time."""

LADDER = (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL)
"""The steps: HUP, which shells pass on and which says that the user is gone; TERM, for what ignores HUP on purpose,
as under ``nohup``; KILL, which nothing can ignore."""

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
        :meth:`twisted_rsh.execution.job_tree.JobTree.signal` is one, and
        :meth:`twisted_rsh.execution.process.SpawnedProcess.signal_group`, for those that stayed in the group, another.
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
