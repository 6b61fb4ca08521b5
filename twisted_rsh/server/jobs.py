"""The jobs of one session: acts on what its core says happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelRequested,
    DataReceived,
    Event,
    RoomGained,
    SessionClosed,
    SignalReceived,
    StreamEnded,
    StreamStopped,
    TerminalResized,
)
from twisted_rsh.core.requests import Disconnection, Grace, Keep
from twisted_rsh.core.roles import OUTPUTS
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.server.capacity import Capacity
from twisted_rsh.server.job import ChannelJob

__all__ = ["SessionJobs"]


class SessionJobs:
    """Runs the jobs that one client asks for.

    :param session: the session's core.
    :param user: whose jobs they are.
    :param clock: keeps time-outs and measures durations.
    :param flush: writes what the session wants written.
    :param closed: called with a line for people when the client ends the session.
    :param finished: called each time that a job has ended, with what was to become of it without a link.
    :param capacity: whether the server has room for one more job.
    :param account: how the log calls the client, such as ``"ada from 127.0.0.1:50000"``.
    :param log_commands: whether the log names the commands.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        session: ServerSession,
        user: IShellUser,
        clock: IReactorTime,
        flush: Callable[[], None],
        closed: Callable[[str], None],
        finished: Callable[[Disconnection], None],
        *,
        capacity: Capacity,
        account: str,
        log_commands: bool,
    ) -> None:
        self._session = session
        self._user = user
        self._clock = clock
        self._flush = flush
        self._closed = closed
        self._finished = finished
        self._capacity = capacity
        self._account = account
        self._log_commands = log_commands
        self._jobs: dict[int, ChannelJob] = {}
        self._turns: deque[int] = deque()
        self._policies: dict[int, Disconnection] = {}
        self._graces: dict[int, IDelayedCall] = {}

    @property
    def count(self) -> int:
        """How many jobs run."""
        return len(self._jobs)

    @property
    def has_kept(self) -> bool:
        """Whether one of the jobs that run is to go on to its end without a link."""
        return any(isinstance(policy, Keep) for policy in self._policies.values())

    def happened(self, event: Event) -> None:
        """Act on one event of the session."""
        match event:
            case ChannelRequested():
                self._start(event)
            case RoomGained(channel=None):
                self._resume_all()
            case SessionClosed():
                self._closed(event.text)
            case _:
                # An event for a job that has just ended crossed its end on the way.
                job = self._jobs.get(getattr(event, "channel", 0) or 0)
                if job is not None:
                    _tell(job, event)

    def detach(self, longest: float) -> None:
        """Without a link, begin each job's grace; at its end, or now if it has none, the job is ended.

        A command in a persistent shell goes the way of the shell.

        :param longest: seconds of the longest grace that a session of this server may give.
        """
        for channel, job in list(self._jobs.items()):
            policy = self._policies[channel]
            if not isinstance(policy, Grace) or job.host in self._jobs:
                continue
            seconds = min(policy.seconds, longest)
            if seconds > 0:
                self._graces[channel] = self._clock.callLater(seconds, self._grace_over, channel)
            else:
                self._guarded(job.terminate)

    def attach(self) -> None:
        """There is a link again: every grace that is not over yet counts for nothing."""
        graces, self._graces = self._graces, {}
        for grace in graces.values():
            grace.cancel()

    def leave(self) -> None:
        """Let the session go because the client ended it: end every job but those that were to go on without a link."""
        self.attach()
        for channel, job in list(self._jobs.items()):
            self._guarded(job.release if isinstance(self._policies[channel], Keep) else job.disown)

    def disown(self) -> None:
        """Let the session go: end every job."""
        self.attach()
        for job in list(self._jobs.values()):
            self._guarded(job.disown)

    def describe(self) -> list[dict[str, object]]:
        """Return what its owner's account may know of each job, in the order of their channels."""
        return [
            {**job.describe(), "on_disconnect": _shown(self._policies[channel])}
            for channel, job in sorted(self._jobs.items())
        ]

    def _guarded(self, act: Callable[[], None]) -> None:
        # An application's job that breaks here must not keep the others.
        with self.log.failuresHandled("ending a job of {account} broke the program", account=self._account):
            act()

    def _grace_over(self, channel: int) -> None:
        del self._graces[channel]
        self._guarded(self._jobs[channel].terminate)

    def _start(self, event: ChannelRequested) -> None:
        job = ChannelJob(
            event.channel,
            event.request,
            self._session,
            self._flush,
            self._clock,
            self._job_finished,
            capacity=self._capacity,
            account=self._account,
            log_commands=self._log_commands,
        )
        self._jobs[event.channel] = job
        self._turns.append(event.channel)
        host_policy = None if job.host is None else self._policies.get(job.host)
        self._policies[event.channel] = host_policy or event.request.disconnection
        if event.request.in_shell is None:
            job.start(self._user.start_job, self._user.encoding)
            return
        host = self._jobs.get(event.request.in_shell)
        shell = None if host is None else host.shell
        if shell is None:
            text = f"there is no persistent shell on channel {event.request.in_shell}, or not any more"
            job.refuse(RefusalReason.SHELL_GONE, text)
        else:
            job.start(shell.start_command, self._user.encoding)

    def _job_finished(self, job: ChannelJob) -> None:
        del self._jobs[job.channel]
        self._turns.remove(job.channel)
        grace = self._graces.pop(job.channel, None)
        if grace is not None:
            grace.cancel()
        self._finished(self._policies.pop(job.channel))

    def _resume_all(self) -> None:
        # Whoever goes first may fill the link again, so the turn moves on each time.
        self._turns.rotate(-1)
        for channel in list(self._turns):
            for stream in OUTPUTS:
                if channel in self._jobs:
                    self._jobs[channel].resume_output(stream)


def _shown(policy: Disconnection) -> str:
    if isinstance(policy, Keep):
        return "keep"
    return f"grace:{policy.seconds:g}" if policy.seconds else "kill"


def _tell(job: ChannelJob, event: Event) -> None:
    match event:
        case DataReceived():
            job.write_input(event.data)
        case StreamEnded():
            job.end_input()
        case RoomGained(stream=stream) if stream is not None:
            job.resume_output(stream)
        case StreamStopped():
            job.close_output(event.stream)
        case SignalReceived():
            job.send_signal(event.signal)
        case TerminalResized():
            job.resize(event.columns, event.rows)
        case ChannelAbandoned():
            job.abandon()
