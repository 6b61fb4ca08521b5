"""The run of one command on many hosts: who is dialled when, what counts as a failure, and how the run is ended."""

# ruff: noqa: N805 - a zope interface's methods have no self

from __future__ import annotations

import contextlib
import enum
from collections import Counter, deque
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import Interface

from twisted_rsh import (
    Connection,
    Ending,
    Error,
    Exited,
    Job,
    JobEnd,
    LocalProtocolError,
    OutcomeUnknown,
    SessionLost,
    TimedOut,
)

__all__ = [
    "DEADLINE_SECONDS",
    "END_SECONDS",
    "LEAVE_SECONDS",
    "LOGIN_SECONDS",
    "MAX_LOGINS",
    "Fleet",
    "HostRun",
    "HostState",
    "IFleetWatcher",
    "Target",
]

LEAVE_SECONDS = 1.0
"""Seconds that a server has to answer the goodbye of a host's connection before the next host has its place."""

MAX_LOGINS = 16
"""Hosts that are dialled at once.  A login takes some ten milliseconds of processor time here: those that all begin
together would all end late, on a busy machine behind the servers' deadlines; and a server behind many names turns away
what comes at once."""

LOGIN_SECONDS = 5.0
"""Seconds after which a host that is being dialled counts no more among :data:`MAX_LOGINS`: it takes no time here but
waiting, and dead hosts must not hold up the others."""

END_SECONDS = 10.0
"""Seconds that the commands have to end after TERM, before the server ends them: as long as a server takes itself from
its first signal to KILL."""

DEADLINE_SECONDS = 15.0
"""Seconds from the time-out of a command until the client stops waiting for its ending: the server may take ten to end
the command."""


class HostState(enum.Enum):
    """The state of one host; the value is its name for people."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed out"
    NOT_RUN = "not run"


_FOLLOWERS = {
    HostState.WAITING: {HostState.CONNECTING, HostState.NOT_RUN},
    HostState.CONNECTING: {HostState.RUNNING, HostState.UNREACHABLE, HostState.NOT_RUN},
    HostState.RUNNING: {HostState.OK, HostState.FAILED, HostState.TIMED_OUT, HostState.UNREACHABLE},
}
"""The states that may follow each state; what is not here is an end."""

_BAD = frozenset({HostState.FAILED, HostState.UNREACHABLE, HostState.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class Target:
    """One host, and how its command is run.

    :ivar name: what people call it.
    :ivar connect: connects to it; what it returns is cancelled when the run ends before.
    :ivar start: starts the command on the connection.
    :ivar timeout: seconds that the command was given; ``None`` for no limit.
    :ivar takes_input: whether the command reads the input of the run; otherwise it has none.
    """

    name: str
    connect: Callable[[], Deferred[Connection]]
    start: Callable[[Connection], Job]
    timeout: float | None = None
    takes_input: bool = True


@dataclass(eq=False, slots=True)
class HostRun:
    """One host of a run.

    :ivar target: the host.
    :ivar state: what it is at.
    :ivar end: how the command ended; ``None`` if it has not, or never ran.
    :ivar error: one line that says why there is no ending; ``None`` otherwise.
    :ivar seconds: from the dial to the end.
    :ivar encoding: the code page of the command's text, as the server named it; ``None`` if it never ran.
    :ivar was_ended: whether the run has ended the command, because of another host or of the user.
    """

    target: Target
    state: HostState = HostState.WAITING
    end: JobEnd | None = None
    error: str | None = None
    seconds: float = 0.0
    encoding: str | None = None
    was_ended: bool = False

    @property
    def name(self) -> str:
        """What people call the host."""
        return self.target.name

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state not in _FOLLOWERS

    @property
    def ending(self) -> Ending | None:
        """How the command ended; ``None`` if it has not, or never ran."""
        return None if self.end is None else self.end.ending


class IFleetWatcher(Interface):
    """Takes what the hosts of a run write, and follows their states."""

    def job_started(host: HostRun, job: Job) -> None:
        """Read the outputs of a command from now on; unread, they would stop it.

        :param host: the host.
        :param job: the command, whose outputs nothing reads yet.
        """

    def state_changed(host: HostRun) -> None:
        """Learn that a host is in another state.  In its last one, everything about it is known."""


class _Place:
    """What a host that is being worked on holds."""

    def __init__(self, host: HostRun, began_at: float) -> None:
        self.host = host
        self.began_at = began_at
        self.connecting: Deferred[Any] | None = None
        self.connection: Connection | None = None
        self.job: Job | None = None
        self.is_overdue = False


class Fleet:
    """Runs one command on many hosts, so many at once.

    :param reactor: the reactor.
    :param targets: the hosts, in the order in which they are dialled.
    :param watcher: takes the output, and follows the states: provides :class:`IFleetWatcher`.
    :param parallel: hosts that are worked on at once.
    :param batch: hosts after which all of them must have ended before the next are dialled; ``None`` for no batches.
    :param may_fail: hosts that may fail; after one more no further host is dialled.  ``None`` for any number.
    :param ends_others: whether the commands that run are ended then, too.
    :param read_input: makes the input of one host's command; ``None`` for no input.
    :ivar hosts: the hosts.
    :ivar counts: how many of them are in each state.
    """

    def __init__(
        self,
        reactor: Any,
        targets: Sequence[Target],
        watcher: Any,
        *,
        parallel: int,
        batch: int | None = None,
        may_fail: int | None = None,
        ends_others: bool = False,
        read_input: Callable[[], AsyncIterable[bytes]] | None = None,
    ) -> None:
        self.hosts = [HostRun(target) for target in targets]
        self.counts: Counter[HostState] = Counter({HostState.WAITING: len(self.hosts)})
        self._reactor = reactor
        self._watcher = watcher
        self._parallel = parallel
        self._batch = batch or len(self.hosts) or 1
        self._may_fail = may_fail
        self._ends_others = ends_others
        self._read_input = read_input
        self._waiting: deque[HostRun] = deque()
        self._places: dict[HostRun, _Place] = {}
        self._stop_reason: str | None = None
        self._error: BaseException | None = None
        self._ending: IDelayedCall | None = None
        self._logins = DeferredSemaphore(MAX_LOGINS)

    async def run(self) -> None:
        """Run the command everywhere; afterwards each host of :attr:`hosts` is over.

        :raises Exception: what :meth:`leave` was given.
        """
        for start in range(0, len(self.hosts), self._batch):
            self._waiting.extend(self.hosts[start : start + self._batch])
            # Deferreds of their own: all of them work at once.
            places = min(self._parallel, len(self._waiting))
            for worker in [Deferred.fromCoroutine(self._work()) for _ in range(places)]:
                await worker
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        if self._error is not None:
            raise self._error

    def stop(self, reason: str) -> None:
        """Dial no further host, and give up those that are being dialled.  The commands that run go on.

        :param reason: why, in one line.
        """
        if self._stop_reason is None:
            self._stop_reason = reason
        for place in list(self._places.values()):
            if place.connecting is not None:
                place.connecting.cancel()

    def send_signal(self, name: str, *, is_end: bool = True) -> None:
        """Send a signal to every command that runs.

        :param name: as for :meth:`twisted_rsh.Job.send_signal`.
        :param is_end: whether it is meant to end them, so that their endings are the user's doing.
        """
        for place in list(self._places.values()):
            if place.job is not None:
                place.host.was_ended |= is_end
                # A server that is far behind has enough signals waiting already.
                with contextlib.suppress(LocalProtocolError):
                    place.job.send_signal(name)

    def leave(self, reason: str, error: BaseException | None = None) -> None:
        """End everything at once: the servers end the commands, and no ending is awaited.

        :param reason: why, in one line.
        :param error: what :meth:`run` raises then; ``None`` for nothing.
        """
        self._error = self._error or error
        self.stop(reason)
        for place in list(self._places.values()):
            place.host.was_ended = True
            if place.connection is not None:
                place.connection.close()

    async def _work(self) -> None:
        while self._waiting:
            host = self._waiting.popleft()
            if self._stop_reason is not None:
                host.error = self._stop_reason
                self._change(host, HostState.NOT_RUN)
                continue
            place = self._places[host] = _Place(host, self._reactor.seconds())
            try:
                await self._run_on(place)
            finally:
                del self._places[host]

    async def _run_on(self, place: _Place) -> None:
        try:
            place.connection = connection = await self._connect(place)
        except (CancelledError, Error, OSError) as error:
            if self._stop_reason is None:
                self._over(place, HostState.UNREACHABLE, str(error))
            else:
                self._over(place, HostState.NOT_RUN, self._stop_reason)
            return
        finally:
            place.connecting = None
        try:
            if self._stop_reason is None:
                await self._run_command(place, connection)
            else:  # the login succeeded in the moment in which it was given up
                self._over(place, HostState.NOT_RUN, self._stop_reason)
        finally:
            # The next host has the place when this one's connection is gone.
            await connection.close().addTimeout(LEAVE_SECONDS, self._reactor, lambda _result, _seconds: None)

    async def _connect(self, place: _Place) -> Connection:
        place.connecting = self._logins.acquire()
        await place.connecting
        # Whether it is connected by then or not, another may begin.
        leaving = self._reactor.callLater(LOGIN_SECONDS, self._logins.release)
        try:
            place.began_at = self._reactor.seconds()
            self._change(place.host, HostState.CONNECTING)
            place.connecting = place.host.target.connect()
            connection: Connection = await place.connecting
            return connection
        finally:
            if leaving.active():
                leaving.cancel()
                self._logins.release()

    async def _run_command(self, place: _Place, connection: Connection) -> None:
        host = place.host
        try:
            place.job = job = host.target.start(connection)
        except SessionLost as error:
            self._over(place, HostState.UNREACHABLE, str(error))
            return
        self._change(host, HostState.RUNNING)
        self._watcher.job_started(host, job)
        feeding = Deferred.fromCoroutine(self._feed(job, host.target.takes_input)).addErrback(self._input_failed)
        deadline = None
        if host.target.timeout is not None:
            deadline = self._reactor.callLater(host.target.timeout + DEADLINE_SECONDS, self._overdue, place)
        try:
            host.end = end = await job.wait()
        finally:
            place.job = None
            if deadline is not None and deadline.active():
                deadline.cancel()
        feeding.cancel()  # what is left of the input is of no use any more
        host.encoding = job.encoding
        if place.is_overdue:
            self._over(place, HostState.TIMED_OUT, f"no word within {DEADLINE_SECONDS:g} s after its time was up")
        else:
            self._over(place, _state_after(end.ending), None)

    def _overdue(self, place: _Place) -> None:
        place.is_overdue = True
        if place.connection is not None:
            place.connection.close()

    async def _feed(self, job: Job, takes_input: bool) -> None:
        # A command that does not read all of its input is none the worse for it.
        with contextlib.suppress(BrokenPipeError):
            if self._read_input is not None and takes_input:
                async for data in self._read_input():
                    await job.stdin.write(data)
            job.stdin.end()

    def _input_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self.leave(str(failure.value), failure.value)

    def _over(self, place: _Place, state: HostState, error: str | None) -> None:
        host = place.host
        host.error = error
        host.seconds = self._reactor.seconds() - place.began_at
        self._change(host, state)
        bad = sum(self.counts[one] for one in _BAD)
        if self._may_fail is not None and bad > self._may_fail and self._stop_reason is None:
            self.stop(f"{bad} of {len(self.hosts)} hosts had failed")
            if self._ends_others:
                self.send_signal("TERM")
                self._ending = self._reactor.callLater(END_SECONDS, self._end_all)

    def _end_all(self) -> None:
        for place in list(self._places.values()):
            if place.job is not None:
                place.job.close()

    def _change(self, host: HostRun, state: HostState) -> None:
        assert state in _FOLLOWERS[host.state], f"{host.name}: {host.state} -> {state}"
        self.counts[host.state] -= 1
        self.counts[state] += 1
        host.state = state
        self._watcher.state_changed(host)


def _state_after(ending: Ending) -> HostState:
    match ending:
        case Exited(0):
            return HostState.OK
        case TimedOut():
            return HostState.TIMED_OUT
        case OutcomeUnknown():
            return HostState.UNREACHABLE
    return HostState.FAILED
