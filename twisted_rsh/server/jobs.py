"""The jobs of one session: which of them an event is for, and what becomes of them when the session loses its link."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.events import ChannelFreed, ChannelRequested, Event, RoomGained, SessionClosed
from twisted_rsh.core.requests import Disconnection, Grace, Keep
from twisted_rsh.core.roles import Stream
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.server.job import ChannelJob

if TYPE_CHECKING:
    from twisted_rsh.server.session import DurableSession

__all__ = ["SessionJobs"]


class SessionJobs:
    """Runs the jobs that one client asks for.

    :param session: the session.
    """

    __slots__ = ("__weakref__", "_carried", "_jobs", "_reference", "_unread")

    def __init__(self, session: DurableSession) -> None:
        # The session has its jobs: a reference back would keep both until the garbage collector comes.
        self._reference = weakref.ref(session)
        # In the order in which they get room when the link has room again: the first is moved to the end each time.
        self._jobs: dict[int, ChannelJob] = {}
        # The bytes of output that each job had left for the client when it ended.
        self._unread: dict[int, int] = {}
        self._carried: dict[Stream, int] = {}  # of the jobs that have ended

    @property
    def _session(self) -> DurableSession:
        session = self._reference()
        assert session is not None  # its link and each of its jobs hold it
        return session

    @property
    def count(self) -> int:
        """The number of jobs that run."""
        return len(self._jobs)

    @property
    def has_kept(self) -> bool:
        """Whether one of the jobs that run goes on to its end without a link."""
        return any(isinstance(job.on_disconnect, Keep) for job in self._jobs.values())

    def happened(self, event: Event) -> None:
        """Act on one event of the session."""
        match event:
            case ChannelRequested():
                self._start(event)
            case ChannelFreed(channel=channel):
                unread = self._unread.pop(channel, 0)
                if unread:
                    self._session.sessions.capacity.drop_output(unread)
            case RoomGained(channel=None):
                self._room_gained(event)
            case SessionClosed():
                self._session.client_left()
            case _:
                # An event for a job that has just ended crossed its end on the way.
                job = self._jobs.get(getattr(event, "channel", 0))
                if job is not None:
                    job.happened(event)

    def detach(self, longest: float) -> None:
        """Begin each job's grace, because the session has lost its link.

        A command in a persistent shell has no grace of its own: it goes on as long as the shell.

        :param longest: seconds of the longest grace that a session of this server may give.
        """
        for job in list(self._jobs.values()):
            if job.host not in self._jobs:
                job.begin_grace(longest)

    def attach(self) -> None:
        """Cancel every grace, because the session has a link again."""
        for job in self._jobs.values():
            job.cancel_grace()

    def leave(self) -> None:
        """Let the session go because the client ended it: end every job that is not kept without a link."""
        for job in list(self._jobs.values()):
            if isinstance(job.on_disconnect, Keep):
                job.release()
            else:
                job.disown()
        self._drop_output()

    def disown(self) -> None:
        """Let the session go: end every job."""
        for job in list(self._jobs.values()):
            job.disown()
        self._drop_output()

    def _drop_output(self) -> None:
        """Count the unread output no more: its client has left."""
        self._session.sessions.capacity.drop_output(sum(self._unread.values()))
        self._unread.clear()

    def describe(self) -> list[dict[str, object]]:
        """Return what the server's own account may know of each job, in the order of their channels."""
        return [job.describe() for _, job in sorted(self._jobs.items())]

    def bytes_carried(self) -> dict[Stream, int]:
        """Return the bytes of each stream of all jobs since the session began."""
        jobs, before = self._jobs.values(), self._carried
        return {stream: before.get(stream, 0) + sum(job.bytes_carried[stream] for job in jobs) for stream in Stream}

    def job_finished(self, job: ChannelJob, unread_output: int) -> None:
        """Forget a job that has ended; the job calls this.

        :param unread_output: bytes of its output that are held for the client.
        """
        del self._jobs[job.channel]
        for stream, size in job.bytes_carried.items():
            if size:
                self._carried[stream] = self._carried.get(stream, 0) + size
        session = self._session
        if job.counts_for_key:
            session.sessions.leave_job(session)
        if unread_output:
            self._unread[job.channel] = unread_output
        session.job_finished(job)

    def _start(self, event: ChannelRequested) -> None:
        request, refusal, session = event.request, None, self._session
        try:
            request = session.login.credentials.policy.narrow(request)
        except JobRefused as error:
            refusal = error
        host = None if request.in_shell is None else self._jobs.get(request.in_shell)
        policy = request.disconnection if host is None else host.on_disconnect
        job = ChannelJob(session, event.channel, request, policy)
        self._jobs[event.channel] = job
        refusal = job.announce() or refusal
        shell = None if host is None else host.shell
        unkept = None if request.on_disconnect is None else self._cannot_keep(request.on_disconnect)
        if refusal is not None:
            job.refuse(refusal.reason, refusal.text)
        elif session.over:  # an observer has ended it
            job.refuse(RefusalReason.GOING_AWAY, "the session is over")
        elif (bound := self._enter(session, job)) is not None:
            job.refuse(RefusalReason.RESOURCES, bound)
        elif unkept is not None:
            job.refuse(RefusalReason.NOT_SUPPORTED, unkept)
        elif request.in_shell is not None and shell is None:
            text = f"there is no persistent shell on channel {request.in_shell}, or not any more"
            job.refuse(RefusalReason.SHELL_GONE, text)
        else:
            job.start(shell, has_no_input=event.has_no_input)

    def _enter(self, session: DurableSession, job: ChannelJob) -> str | None:
        """Count a job for the limit of its key, and return one line if the key may have no further one."""
        most = session.login.credentials.policy.max_jobs
        if most is None or job.host is not None:  # what runs in a shell counts with the shell
            return None
        bound = session.sessions.enter_job(session, most)
        if bound is None:
            job.counts_for_key = True
        return bound

    def _cannot_keep(self, wanted: Disconnection) -> str | None:
        """Return one line if this server keeps no session for as long as a client wants its job to go on."""
        longest = self._session.core.limits.detach_seconds
        if isinstance(wanted, Keep) and not longest:
            return "the server keeps no job without its client, because of its --detach-timeout 0"
        if isinstance(wanted, Grace) and wanted.seconds > longest:
            return f"a grace of {wanted.seconds:.15g} s is longer than the server's --detach-timeout, {longest} s"
        return None

    def _room_gained(self, event: RoomGained) -> None:
        # The job that goes first may fill the link again, so each time another one goes first.
        if self._jobs:
            first = next(iter(self._jobs))
            self._jobs[first] = self._jobs.pop(first)
        for job in list(self._jobs.values()):
            job.happened(event)
