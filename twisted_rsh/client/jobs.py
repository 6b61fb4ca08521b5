"""The jobs of one session: open them, pass events on to them, and end them with the session."""

from __future__ import annotations

import math
from dataclasses import replace

from twisted.internet.interfaces import IReactorTime

from twisted_rsh.client.errors import LossReason, SessionLost
from twisted_rsh.client.job import Job
from twisted_rsh.client.streams import JobChannel
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.endings import Ending, JobEnd, OutcomeUnknown, RefusalReason, Refused
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import Event, JobEnded, LinkSilent, RoomGained, SessionClosed
from twisted_rsh.core.limits import MAX_REQUEST_BYTES, MAX_SCRIPT_BYTES
from twisted_rsh.core.requests import KILL, Grace, JobRequest, Keep
from twisted_rsh.link.pump import SessionPump

__all__ = ["FAREWELL_SECONDS", "IDLE_SECONDS", "SessionJobs"]

IDLE_SECONDS = 60.0
"""Seconds for which a session in which nothing runs looks for another link: the grace of a command."""

FAREWELL_SECONDS = 5.0
"""Seconds for which a closed session looks for another link, because its GOODBYE may have been lost with the last one:
as long as the last link would have had to take it."""


class SessionJobs:
    """The jobs of one session that have not ended.

    :param session: the session's core.
    :param pump: writes what the session has to say.
    :param outlive_links: whether the jobs go on while the session has no link, unless they are told otherwise.
    :ivar loss: why no more jobs can be opened; ``None`` while they can.
    """

    def __init__(self, session: ClientSession, pump: SessionPump, *, outlive_links: bool) -> None:
        self.loss: SessionLost | None = None
        self._session = session
        self._pump = pump
        self._outlive_links = outlive_links
        self._jobs: dict[int, Job] = {}

    @property
    def clock(self) -> IReactorTime:
        """The clock of the session, usually the reactor."""
        return self._pump.clock

    def patience(self) -> float:
        """Return the seconds for which the session looks for another link: the longest time that one of its jobs has.

        :returns: at least 0, and no more than the server keeps the session; ``math.inf`` when a job is kept to its end;
            :data:`FAREWELL_SECONDS` when the session is over.
        """
        if self.loss is not None:
            return FAREWELL_SECONDS
        # A command in a persistent shell lives as long as that shell, which is a job of its own.
        choices = [job.request.disconnection for job in self._jobs.values() if job.request.in_shell is None]
        if any(isinstance(choice, Keep) for choice in choices):
            return math.inf
        graces = [choice.seconds for choice in choices if isinstance(choice, Grace)]
        return min(max(graces, default=IDLE_SECONDS), self._session.limits.detach_seconds)

    def open(self, request: JobRequest, *, has_no_input: bool = False) -> Job:
        """Send a request.

        :param request: the job.
        :param has_no_input: whether its input ends at once: then the end of it is sent with the request.
        :returns: the job.  If the request cannot be sent, the job's ending is a refusal.
        :raises twisted_rsh.client.errors.SessionLost: the session is over; nothing was sent.
        """
        if self.loss is not None:
            raise SessionLost(str(self.loss), self.loss.reason)
        if not self._outlive_links and request.on_disconnect is None and request.in_shell is None:
            request = replace(request, on_disconnect=KILL)  # no client will come back for it
        try:
            number = self._session.open(request, has_no_input=has_no_input)
        except LocalProtocolError as error:
            job = Job(request, JobChannel(self._session, self._pump, 0))
            job.ended(JobEnd(_refusal(request, error)))
            return job
        channel = JobChannel(self._session, self._pump, number, is_typed=self._is_typed(request))
        self._jobs[number] = job = Job(request, channel, has_no_input=has_no_input)
        self._session.listen(number, job)
        self._pump.flush()
        return job

    def happened(self, event: Event) -> None:
        """Pass an event of the session on to the jobs it concerns; end them all when the server ends the session."""
        if isinstance(event, JobEnded):
            self._jobs.pop(event.channel).happened(event)
        elif isinstance(event, RoomGained) and event.channel is None:
            for job in list(self._jobs.values()):
                job.happened(event)
        elif isinstance(event, SessionClosed):
            link = self._pump.link
            assert link is not None
            self.end_all(SessionLost(event.text or "the server ended the session", LossReason.CLOSED))
            link.close()
        elif not isinstance(event, LinkSilent):
            found = self._jobs.get(event.channel or 0)
            if found is not None:
                found.happened(event)

    def end_all(self, loss: SessionLost) -> None:
        """End every job with an unknown outcome, and open no more.  Nothing happens the second time.

        :param loss: why the session is over.
        """
        if self.loss is not None:
            return
        self.loss = loss
        self._session.listen_no_more()
        jobs = list(self._jobs.values())
        self._jobs.clear()
        for job in jobs:
            job.ended(JobEnd(OutcomeUnknown(str(loss))))

    def _is_typed(self, request: JobRequest) -> bool:
        """Tell whether a person types the input of a job and waits for its echo: the job is on a terminal."""
        shell = None if request.in_shell is None else self._jobs.get(request.in_shell)
        return (request if shell is None else shell.request).terminal is not None


def _refusal(request: JobRequest, error: LocalProtocolError) -> Ending:
    if error.code is not ErrorCode.MALFORMED_MESSAGE:
        text = f"{error.detail}, as many as the server's --max-jobs-per-session leaves room for"
        return Refused(RefusalReason.TOO_MANY_CHANNELS, text)
    words = [request.command or "", *(request.argv or ()), request.cwd or "", *sum(request.environment, ())]
    names = [request.shell or "", request.subsystem or "", request.terminal.term if request.terminal else ""]
    try:
        for word in words + names:
            word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return Refused(RefusalReason.BAD_TEXT, "the command has a character that no text has")
    if len(words) + sum(map(len, words)) <= MAX_REQUEST_BYTES:
        return Refused(RefusalReason.NOT_SUPPORTED, f"the request has a value out of its bounds: {error.detail}")
    bounds = f"at most {MAX_REQUEST_BYTES} bytes are allowed, or {MAX_SCRIPT_BYTES} of a command in a persistent shell"
    return Refused(RefusalReason.TOO_LONG, f"the command and its environment are too long to send; {bounds}")
