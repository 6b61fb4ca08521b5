"""Finding a session another link when it has lost the one it had: dial, wait, dial again, and know when to stop."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.client.errors import LossReason, NoServer, SessionLost, WrongServer
from twisted_rsh.client.resuming import RESUME_SECONDS

if TYPE_CHECKING:
    from twisted.application.internet import ClientService

__all__ = [
    "FIRST_RETRY_SECONDS",
    "JUMP_SECONDS",
    "LAST_RETRY_SECONDS",
    "TICK_SECONDS",
    "Reconnector",
    "Sufferer",
    "elapsed_seconds",
    "retry_policy",
]

FIRST_RETRY_SECONDS = 0.05
"""Seconds between the first dial, which is made at once, and the second: a network that changes its address is back in
about that time."""

LAST_RETRY_SECONDS = 10.0
"""Seconds between dials at most: how long somebody waits in vain once the network is back."""

TICK_SECONDS = 1.0
"""Seconds between two looks at the clock during an outage."""

JUMP_SECONDS = 30.0
"""Seconds by which a look at the clock is late when the machine has slept: a busy one is late by less."""


def elapsed_seconds() -> float:
    """Return the time in seconds that nobody can set, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def retry_policy(jitter: Callable[[], float] = random.random) -> Callable[[int], float]:
    """Make a policy for :class:`twisted.application.internet.ClientService`.

    The delay doubles, and a random half of it is left out, so that clients which a server lost all at once do not all
    come back at once.

    :param jitter: returns numbers from 0 up to 1.
    :returns: from the number of failed dials, at least 1, to seconds until the next.
    """

    def delay(failures: int) -> float:
        # Far enough to reach the maximum, and never an overflow.
        full = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16), LAST_RETRY_SECONDS)
        return full * (1 - jitter() / 2)

    return delay


class Sufferer(Protocol):
    """Whose session has lost its link."""

    def patience(self) -> float | None:
        """Return the seconds for which to look for another, or ``None`` for as long as it takes."""

    def link_found(self) -> None:
        """Learn that there is another."""

    def given_up(self, error: SessionLost) -> None:
        """Learn that there will be none."""


class Reconnector:
    """Looks for a link during each outage of a session.

    :param clock: the reactor.
    :param dial: makes one attempt to resume; fires when the session goes on, and fails as
        :class:`~twisted_rsh.client.resuming.ResumeLink` says.
    :param sufferer: whose session it is.
    :param elapsed: returns the time in seconds; see :func:`elapsed_seconds`.
    :param jitter: returns numbers from 0 up to 1.
    """

    def __init__(
        self,
        clock: IReactorTime,
        dial: Callable[[], Deferred[None]],
        sufferer: Sufferer,
        elapsed: Callable[[], float] = elapsed_seconds,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._dial = dial
        self._sufferer = sufferer
        self._elapsed = elapsed
        self._jitter = jitter
        self._service: ClientService | None = None
        self._ticking: IDelayedCall | None = None
        self._lost_at = 0.0
        self._looked_at = 0.0
        self._not_before = 0.0
        self._failure = ""

    @property
    def is_searching(self) -> bool:
        """Whether a link is being looked for."""
        return self._service is not None

    def start(self) -> None:
        """The link is gone: dial at once, and go on until there is another or patience is at its end."""
        from twisted.application.internet import ClientService  # most clients never need it, and start without it

        self._lost_at = self._looked_at = self._not_before = self._elapsed()
        self._failure = ""
        # Of its own protocols the service sees none: it is asked for one attempt after the other until one succeeds,
        # and the link of that one belongs to the session.
        self._service = ClientService(
            _Attempts(self._attempt), Factory(), retryPolicy=retry_policy(self._jitter), clock=self._clock
        )
        self._wait(self._lost_at)
        self._service.startService()

    def stop(self) -> None:
        """Dial no more.  May be called at any time."""
        service, self._service = self._service, None
        ticking, self._ticking = self._ticking, None
        if ticking is not None:
            ticking.cancel()
        if service is not None:
            service.stopService()

    def _attempt(self) -> Deferred[IProtocol]:
        dialling = self._dial().addTimeout(RESUME_SECONDS, self._clock, _no_answer)
        waiting: Deferred[IProtocol] = Deferred(lambda _: dialling.cancel())

        def succeeded(_result: None) -> None:
            self.stop()
            self._sufferer.link_found()

        def failed(failure: Failure) -> None:
            if failure.check(CancelledError):
                return
            error = _final(failure.value)
            if error is not None:
                self._give_up(error)
                return
            self._failure = failure.getErrorMessage()
            waiting.errback(failure)

        dialling.addCallbacks(succeeded, failed)
        return waiting

    def _tick(self) -> None:
        now = self._elapsed()
        jumped = now - self._looked_at > TICK_SECONDS + JUMP_SECONDS
        self._looked_at = now
        self._ticking = None
        if jumped:
            # What the network was before the sleep says nothing; one dial is due before anything is given up.
            self._not_before = now + RESUME_SECONDS
        if now >= self._deadline:
            reason = f": {self._failure}" if self._failure else ""
            self._give_up(SessionLost(f"no connection for {now - self._lost_at:.0f} s{reason}", LossReason.TIME))
            return
        self._wait(now)
        if jumped and self._service is not None:
            self._service.stopService()
            self._service.startService()

    def _wait(self, now: float) -> None:
        self._ticking = self._clock.callLater(max(min(TICK_SECONDS, self._deadline - now), 0.0), self._tick)

    @property
    def _deadline(self) -> float:
        patience = self._sufferer.patience()
        return math.inf if patience is None else max(self._lost_at + patience, self._not_before)

    def _give_up(self, error: SessionLost) -> None:
        self.stop()
        self._sufferer.given_up(error)


@implementer(IStreamClientEndpoint)
class _Attempts:
    """An endpoint each of whose connections is an attempt to resume."""

    def __init__(self, attempt: Callable[[], Deferred[IProtocol]]) -> None:
        self._attempt = attempt

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._attempt()


def _no_answer(_result: object, seconds: float) -> Failure:
    return Failure(NoServer(f"no answer within {seconds:g} s"))


def _final(error: BaseException | None) -> SessionLost | None:
    """Return the end of the session that a failed attempt means, or ``None`` if the next may succeed."""
    if isinstance(error, WrongServer):
        return SessionLost(f"the server's identity has changed: {error}", LossReason.IDENTITY)
    if isinstance(error, SessionLost) and error.reason is not LossReason.LINK:
        return error
    return None
