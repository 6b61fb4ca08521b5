"""The kill ladder: how a job that must end is asked, told, and made to."""

from __future__ import annotations

import signal
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

__all__ = ["GRACE_SECONDS", "LADDER", "POLL_SECONDS", "KillLadder"]

GRACE_SECONDS = 5.0
"""Seconds between two steps: long enough for an editor or a database to put its files in order, and short enough that
the whole ladder takes no longer than a service manager waits for its service (systemd: 90 s, Docker: 10 s)."""

POLL_SECONDS = 0.25
"""Seconds between two looks at the group.  Its number may be given to other processes once it is gone, so the look
must be soon after that; a system would have to start as many processes as it has numbers in this time."""

LADDER = (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL)
"""The steps: HUP, which shells pass on and which says that the user is gone; TERM, for what ignores HUP on purpose,
as under ``nohup``; KILL, which nothing can ignore."""

_POLLS_PER_STEP = round(GRACE_SECONDS / POLL_SECONDS)


class KillLadder:
    """Ends a process group, politely first, and stops as soon as it is gone.

    It needs no news of the group's leader: it goes on when the leader has exited and the rest of the group has not.

    :param clock: tells the time.
    :param signal_group: sends a signal to the group, or only looks when given 0; returns whether any of it was still
        there.  :meth:`twisted_rsh.execution.process.SpawnedProcess.signal_group` is one.
    :param finished: called once when the group is gone, or the last step taken; ``None`` when nobody waits for it.
    :ivar is_climbing: whether it has been started and is not finished.
    """

    def __init__(
        self, clock: IReactorTime, signal_group: Callable[[int], bool], finished: Callable[[], None] | None = None
    ) -> None:
        self._clock = clock
        self._signal_group = signal_group
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
        step, between = divmod(polls, _POLLS_PER_STEP)
        is_there = self._signal_group(0 if between else LADDER[step])
        if is_there and polls < _POLLS_PER_STEP * (len(LADDER) - 1):
            self._clock.callLater(POLL_SECONDS, self._poll, polls + 1)
            return
        self.is_climbing = False
        if self._finished is not None:
            self._finished()
