"""The jobs of one session: acts on what its core says happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from twisted.internet.interfaces import IReactorTime
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
from twisted_rsh.core.roles import OUTPUTS
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.server.capacity import Capacity
from twisted_rsh.server.channel_job import ChannelJob

__all__ = ["SessionJobs"]


class SessionJobs:
    """Runs the jobs that one client asks for.

    :param session: the session's core.
    :param user: whose jobs they are.
    :param clock: keeps time-outs and measures durations.
    :param flush: writes what the session wants written.
    :param closed: called with a line for people when the client ends the session.
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
        self._capacity = capacity
        self._account = account
        self._log_commands = log_commands
        self._jobs: dict[int, ChannelJob] = {}
        self._turns: deque[int] = deque()

    def dispatch(self, event: Event) -> None:
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

    def disown(self) -> None:
        """Let the session go: end every job."""
        for job in list(self._jobs.values()):
            # An application's job that breaks here must not keep the others.
            with self.log.failuresHandled("ending a job of {account} broke the program", account=self._account):
                job.disown()

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

    def _resume_all(self) -> None:
        # Whoever goes first may fill the link again, so the turn moves on each time.
        self._turns.rotate(-1)
        for channel in list(self._turns):
            for stream in OUTPUTS:
                if channel in self._jobs:
                    self._jobs[channel].resume_output(stream)


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
