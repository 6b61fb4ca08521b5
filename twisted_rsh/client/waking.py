"""The watch for sleep of the client's machine, after which the server is asked at once whether the link is alive."""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.clock import seconds_asleep
from twisted_rsh.link.pump import SessionPump

__all__ = ["AWAKE_SECONDS", "LOOK_SECONDS", "SLEPT_SECONDS", "WakeWatch"]

LOOK_SECONDS = 1.0
"""Seconds between two looks at the clocks, which take a few microseconds: a user who opens the lid waits no longer."""

SLEPT_SECONDS = 5.0
"""Seconds of sleep from which on the server is asked.  The server and the network hardly notice a shorter absence, and
on a busy machine the readings of the two clocks that are compared are a fraction of a second apart."""

AWAKE_SECONDS = 5.0
"""Seconds within which the server must have sent something after the machine has woken.  A network that needs longer to
come back is dialled again and again meanwhile, and the session resumes over the first connection."""


class WakeWatch:
    """Looks for sleep of the machine while a session lasts.

    The deadlines of a session stand still while the machine sleeps, so keepalive would find a dead link only after all
    of its silence.  Call :meth:`start` with the session, and :meth:`stop` at its end.

    :param clock: schedules the looks, usually the reactor.
    :param pump: the session's.
    :param asleep: returns the seconds for which the machine has slept; see :func:`twisted_rsh.clock.seconds_asleep`.
    """

    def __init__(self, clock: IReactorTime, pump: SessionPump, asleep: Callable[[], float] = seconds_asleep) -> None:
        self._clock = clock
        self._pump = pump
        self._asleep = asleep
        self._before = 0.0
        self._patience = 0.0
        self._call: IDelayedCall | None = None

    def start(self, *, resumes: bool) -> None:
        """Look from now on.

        :param resumes: whether the session can go on over another link.  Otherwise the server is asked as well, but the
            link has all the time that keepalive gives it.
        """
        self._patience = AWAKE_SECONDS if resumes else math.inf
        self._before = self._asleep()
        self._call = self._clock.callLater(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more.  May be called more than once."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        before, self._before = self._before, self._asleep()
        self._call = self._clock.callLater(LOOK_SECONDS, self._look)
        if self._before - before >= SLEPT_SECONDS:
            self._pump.answer_expected(0.0, self._patience)
