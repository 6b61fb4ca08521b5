"""Deadlines that are all equally far away and that mostly pass unused, as one call of the reactor.

A call of the reactor's own costs twenty calls until it is cancelled and has left the reactor's queue, and the reactor
wakes up for it all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Deadline", "Deadlines"]


class Deadline:
    """A call that is due at a time; :meth:`Deadlines.add` makes it.

    :param at: the time on the clock, in seconds.
    :param call: what is called then.
    :ivar at: as above.
    :ivar call: as above; ``None`` once it has been cancelled.
    """

    __slots__ = ("at", "call")

    def __init__(self, at: float, call: Callable[[], object]) -> None:
        self.at = at
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Call nothing."""
        self.call = None


class Deadlines:
    """Calls each of its calls the same time after it was added, unless it is cancelled.

    One call of the clock serves all.  It stays when they are cancelled, for those that follow at once.

    :param clock: tells the time and calls later, usually the reactor.
    :param seconds: the time.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._waiting: deque[Deadline] = deque()  # in the order in which they are due
        self._timer: IDelayedCall | None = None

    def add(self, call: Callable[[], object]) -> Deadline:
        """Have something called when the time has passed.

        :param call: is called from the reactor; its exception keeps no other call.
        :returns: the deadline, which can be cancelled.
        """
        deadline = Deadline(self._clock.seconds() + self._seconds, call)
        self._waiting.append(deadline)
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._timer_fired)
        return deadline

    def rest(self) -> None:
        """Leave no call of the clock behind when nothing waits."""
        self._drop_cancelled()
        if not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        try:
            self._drop_cancelled()
            while self._waiting and self._waiting[0].at <= now:
                call = self._waiting.popleft().call
                if call is not None:
                    call()
                self._drop_cancelled()
        finally:
            if self._waiting and self._timer is None:
                # Never longer than the time itself, whatever the clock was set to.
                delay = min(max(self._waiting[0].at - now, 0.0), self._seconds)
                self._timer = self._clock.callLater(delay, self._timer_fired)

    def _drop_cancelled(self) -> None:
        while self._waiting and self._waiting[0].call is None:
            self._waiting.popleft()
