"""The search for another link when a session has lost its link: dial, wait, dial again, and stop in time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from twisted_rsh.client.errors import Error, LossReason, NoServer, SessionLost, WrongServer
from twisted_rsh.client.jobs import SessionJobs
from twisted_rsh.client.link import ClientLink, dial
from twisted_rsh.client.login import Welcome, resume
from twisted_rsh.clock import seconds_with_sleep

__all__ = [
    "DIALS_AT_ONCE",
    "FIRST_RETRY_SECONDS",
    "JUMP_SECONDS",
    "LAST_RETRY_SECONDS",
    "RESUME_SECONDS",
    "TICK_SECONDS",
    "Reconnector",
    "retry_delay",
]

RESUME_SECONDS = 10.0
"""Seconds from the beginning of a dial to the server's answer, which takes four round trips and no touch of a key.  The
next dial may find the network better than a connection that hangs."""

DIALS_AT_ONCE = 32
"""Dials that the sessions of one program make to one server at a time; the others wait for their turn.  A dial takes
this end some 6 ms of processor time, so that thousands at once would all take longer than :data:`RESUME_SECONDS`, and
none would succeed.  Where a dial takes 400 ms, four round trips of a slow network, 80 can succeed in a second."""

FIRST_RETRY_SECONDS = 0.05
"""Seconds between the first dial, which is made at once, and the second: a network that changes its address is back in
about that time."""

LAST_RETRY_SECONDS = 10.0
"""Seconds between dials at most: the longest time that a user waits in vain once the network is back."""

TICK_SECONDS = 1.0
"""Seconds between two looks at the clock during an outage."""

JUMP_SECONDS = 30.0
"""Seconds by which a look at the clock is late when the machine has slept: on a busy machine it is late by less."""


def retry_delay(failures: int, jitter: float) -> float:
    """Return the seconds until the next dial.

    The delay doubles with each failure, and a random half of it is left out, so that clients that a server lost all at
    once do not all come back at once.

    :param failures: how many dials have failed in a row, at least 1.
    :param jitter: a random number from 0 up to 1.
    """
    # The exponent reaches the maximum and never overflows.
    full = min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16), LAST_RETRY_SECONDS)
    return full * (1 - jitter / 2)


_TURNS: WeakValueDictionary[tuple[int, bytes], DeferredSemaphore] = WeakValueDictionary()
"""The turns of the dials, for each reactor and each server, by its pin."""


class Reconnector:
    """Finds one session another link during each outage.

    :param reactor: the reactor.
    :param endpoint: the server's address.
    :param pin: SHA-256 of the server's public key, 32 bytes.
    :param welcome: the session.
    :param elapsed: returns the time in seconds; see :func:`twisted_rsh.clock.seconds_with_sleep`.
    :param jitter: returns random numbers from 0 up to 1.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        pin: bytes,
        welcome: Welcome,
        elapsed: Callable[[], float] = seconds_with_sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._pin = pin
        self._welcome = welcome
        # The reactor lives as long as one of its reconnectors, and its turns too.
        self._turns = _TURNS.setdefault((id(reactor), pin), DeferredSemaphore(DIALS_AT_ONCE))
        self._elapsed = elapsed
        self._jitter = jitter
        self._jobs: SessionJobs | None = None
        self._lost_at = 0.0
        self._looked_at = 0.0
        self._not_before = 0.0
        self._failure = ""
        self._step: Deferred[ClientLink] | None = None
        self._ticking: IDelayedCall | None = None
        self._has_woken = False
        self._out_of_time = False

    async def search(self, jobs: SessionJobs) -> ClientLink:
        """Dial at once, and again and again, until the session goes on over another link.  Cancelling ends the search.

        :param jobs: the jobs of the session, which may change meanwhile: they decide how long the search may take.
        :returns: the link that carries the session now.
        :raises twisted_rsh.client.errors.SessionLost: the session does not go on; the reason is never
            :attr:`~twisted_rsh.client.errors.LossReason.LINK`.
        """
        self._jobs = jobs
        self._lost_at = self._looked_at = self._not_before = self._elapsed()
        self._failure = ""
        self._has_woken = self._out_of_time = False
        self._wait(self._lost_at)
        failures = 0
        try:
            while True:
                self._step = Deferred.fromCoroutine(self._attempt(failures))
                try:
                    return await self._step
                except CancelledError:
                    if self._out_of_time:
                        raise self._timed_out() from None
                    if not self._has_woken:
                        raise
                    self._has_woken, failures = False, 0
                except Exception as error:  # noqa: BLE001 - an endpoint may fail with anything, and is tried again
                    self._check(error)
                    self._failure = str(error)
                    failures += 1
        finally:
            if self._ticking is not None:
                self._ticking.cancel()
                self._ticking = None

    async def _attempt(self, failures: int) -> ClientLink:
        """Wait as long as the failures before this attempt demand, and for a turn; then dial and resume once."""
        if failures:
            await deferLater(self._reactor, retry_delay(failures, self._jitter()))
        await self._turns.acquire()
        try:
            return await Deferred.fromCoroutine(self._dial()).addTimeout(RESUME_SECONDS, self._reactor, _no_answer)
        finally:
            if self._turns.waiting:
                # In a turn of the reactor: dials that fail at once must not call each other, thousands deep.
                self._reactor.callLater(0, self._turns.release)
            else:
                self._turns.release()

    async def _dial(self) -> ClientLink:
        link = await dial(self._reactor, self._endpoint, (self._pin,), RESUME_SECONDS)
        await resume(link, self._welcome)
        return link

    def _check(self, error: Exception) -> None:
        """Raise the end of the session if a failed attempt means that; the next attempt may succeed otherwise."""
        if isinstance(error, WrongServer):
            raise SessionLost(f"the server's identity has changed: {error}", LossReason.IDENTITY) from error
        if isinstance(error, SessionLost) and error.reason is not LossReason.LINK:
            raise error
        if not isinstance(error, Error):
            self._log.failure("an attempt to resume failed", Failure(error), LogLevel.warn)

    def _tick(self) -> None:
        now = self._elapsed()
        has_slept = now - self._looked_at > TICK_SECONDS + JUMP_SECONDS
        self._looked_at = now
        self._ticking = None
        if has_slept:
            # What the network was before the sleep says nothing; one dial is due before the search is given up.
            self._not_before = now + RESUME_SECONDS
        assert self._step is not None
        if now >= self._deadline:
            self._out_of_time = True
            self._step.cancel()
            return
        self._wait(now)
        if has_slept:
            self._has_woken = True
            self._step.cancel()

    def _wait(self, now: float) -> None:
        self._ticking = self._reactor.callLater(max(min(TICK_SECONDS, self._deadline - now), 0.0), self._tick)

    @property
    def _deadline(self) -> float:
        assert self._jobs is not None
        return max(self._lost_at + self._jobs.patience(), self._not_before)

    def _timed_out(self) -> SessionLost:
        reason = f": {self._failure}" if self._failure else ""
        return SessionLost(f"no connection for {self._elapsed() - self._lost_at:.0f} s{reason}", LossReason.TIME)


def _no_answer(_result: object, seconds: float) -> Failure:
    return Failure(NoServer(f"no answer within {seconds:g} s"))
