"""A connection to a server, over which commands are run: what ``connect()`` gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred, succeed

from twisted_rsh.client.errors import LossReason, SessionLost
from twisted_rsh.client.job import Job, Watchers, collect
from twisted_rsh.client.reconnecting import Reconnector
from twisted_rsh.client.result import Result
from twisted_rsh.client.resuming import LinkOwner
from twisted_rsh.client.shell import Shell, start_shell
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.endings import Ending, JobEnd, OutcomeUnknown, RefusalReason, Refused
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import Event, JobEnded, RoomGained, SessionClosed
from twisted_rsh.core.requests import KILL, Disconnection, Grace, JobRequest, Keep, Terminal
from twisted_rsh.link.framed_link import FramedLink
from twisted_rsh.link.pump import SessionPump

__all__ = ["IDLE_SECONDS", "Connection", "LinkWatcher"]


IDLE_SECONDS = 60.0
"""Seconds for which a session in which nothing runs looks for another connection: what a command is given."""

FAREWELL_SECONDS = 5.0
"""Seconds for which a session that was closed looks for another connection, because its goodbye may have been lost with
the last one: as long as the last one would have had to take it."""

MAX_FAREWELLS = 3
"""Connections that may be lost with a goodbye before it is left unsaid; the server then waits for the jobs' grace."""

LinkWatcher = Callable[[str | None], object]
"""Called with one line when the connection was lost, and with ``None`` when there is another."""


class Connection:
    """Runs commands on the server.  :func:`twisted_rsh.client.connecting.connect` makes one.

    Any number of commands run at once, up to the server's limit, and none of them delays another.

    The session outlives its connections, unless :func:`~twisted_rsh.client.connecting.connect` was told otherwise:
    while it has none, commands go on, new ones wait to be sent, and nothing fails; :attr:`connected` tells.  When it is
    over, for whatever reason, the ending of each job that was left is
    :class:`~twisted_rsh.core.endings.OutcomeUnknown`.

    :ivar lost: why no more commands can be started, in one line; ``None`` while they can, also during an outage.
    :ivar loss: which kind of reason that is; ``None`` like :attr:`lost`.
    :ivar link_owner: for the links: whom to tell.
    """

    def __init__(self, session: ClientSession, pump: SessionPump) -> None:
        self._session = session
        self._pump = pump
        self._reconnector: Reconnector | None = None
        self._jobs: dict[int, Job] = {}
        self.lost: str | None = None
        self.loss: LossReason | None = None
        self.link_owner = LinkOwner(self.link_ended, self.broken)
        self._waiting: list[Deferred[str]] = []
        self._watchers: Watchers[str | None] = Watchers()
        self._farewells = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._pump.link is not None

    def watch_link(self, watcher: LinkWatcher) -> Callable[[], None]:
        """Be told of outages.

        :param watcher: called with one line when the connection was lost and another is being looked for, and with
            ``None`` when there is another.  It is not called for the end of the session: see :meth:`when_lost`.
        :returns: ends that; may be called more than once.
        """
        return self._watchers.add(watcher)

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        terminal: Terminal | None = None,
        max_output: int | None = None,
        max_cpu: float | None = None,
        max_memory: int | None = None,
        on_disconnect: Disconnection | None = None,
    ) -> Deferred[Result]:
        """Run a command and collect what it writes.

        :param command: a command line for the user's shell, or a program and its arguments, which no shell sees.
        :param stdin: what the command reads; after it, the end of input.
        :param cwd: its working folder, relative to the user's home folder; ``None`` for that folder.
        :param environment: names and values to add to its environment.
        :param timeout: seconds after which the server ends it, or ``None``; the result has what it wrote until then.
        :param terminal: the terminal to give it, or ``None`` for pipes.
        :param max_output: bytes of output after which the server ends it, or ``None``.
        :param max_cpu: seconds of processor time, of all its processes together, after which the server ends it, or
            ``None``.
        :param max_memory: bytes of memory, of all its processes together, above which the server ends it, or ``None``.
        :param on_disconnect: what becomes of it while the session has no connection:
            :data:`~twisted_rsh.core.requests.KILL`, :class:`~twisted_rsh.core.requests.Grace` or
            :class:`~twisted_rsh.core.requests.Keep`; ``None`` for a minute's grace, and an hour's on a terminal.
        :returns: fires with the result, whatever the ending: see its ``ending``, or call its ``check()``.  Cancelling
            it ends the command.
        :raises twisted_rsh.client.errors.SessionLost: the connection is gone already; nothing was started.  When
            it is lost later, the result's ending is :class:`~twisted_rsh.core.endings.OutcomeUnknown`.
        """
        job = self.start(
            command,
            cwd=cwd,
            environment=environment,
            timeout=timeout,
            terminal=terminal,
            max_output=max_output,
            max_cpu=max_cpu,
            max_memory=max_memory,
            on_disconnect=on_disconnect,
        )
        return collect(job, command if isinstance(command, str) else tuple(command), stdin)

    def start(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        terminal: Terminal | None = None,
        max_output: int | None = None,
        max_cpu: float | None = None,
        max_memory: int | None = None,
        on_disconnect: Disconnection | None = None,
    ) -> Job:
        """Start a command, to read and write while it runs.  The parameters are those of :meth:`run`.

        :returns: the job.  When it is refused, that is its ending.
        :raises twisted_rsh.client.errors.SessionLost: the connection is gone; nothing was started.
        """
        return self.open(
            JobRequest(
                command=command if isinstance(command, str) else None,
                argv=None if isinstance(command, str) else tuple(command),
                cwd=cwd,
                environment=tuple((environment or {}).items()),
                timeout=timeout,
                terminal=terminal,
                max_output=max_output,
                max_cpu=max_cpu,
                max_memory=max_memory,
                on_disconnect=on_disconnect,
            )
        )

    def open_shell(
        self,
        program: str = "",
        *,
        cwd: str | None = None,
        environment: Mapping[str, str] | None = None,
        terminal: Terminal | None = None,
        max_cpu: float | None = None,
        max_memory: int | None = None,
        on_disconnect: Disconnection | None = None,
    ) -> Deferred[Shell]:
        """Start a shell that remembers: its folder, variables, functions and options outlive each command.

        :param program: which shell, a name or a path; an empty one for the user's own.
        :param cwd: the folder that it begins in, relative to the user's home folder; ``None`` for that folder.
        :param environment: names and values to add to its environment.
        :param terminal: the terminal that its commands are on, or ``None`` for pipes.
        :param max_cpu: seconds of processor time, of the shell and its commands together, after which the server ends
            it, or ``None``.
        :param max_memory: bytes of memory, likewise.
        :param on_disconnect: what becomes of it, and of what runs in it, while the session has no connection, as for
            :meth:`run`; ``None`` for an hour's grace.
        :returns: fires with the shell when it takes commands; fails with
            :class:`~twisted_rsh.client.errors.ShellRefused` when there is none to be had, and with
            :class:`~twisted_rsh.client.errors.SessionLost`.  Cancelling it ends the shell.
        """
        return start_shell(
            self.open,
            JobRequest(
                shell=program,
                cwd=cwd,
                environment=tuple((environment or {}).items()),
                terminal=terminal,
                max_cpu=max_cpu,
                max_memory=max_memory,
                on_disconnect=on_disconnect,
            ),
        )

    def open(self, request: JobRequest) -> Job:
        """Start what a request asks for; :meth:`start` and :meth:`shell` are easier to call.

        :returns: the job.  When it is refused, that is its ending.
        :raises twisted_rsh.client.errors.SessionLost: the connection is gone; nothing was started.
        """
        if self.lost is not None:
            raise SessionLost(self.lost, self.loss or LossReason.LINK)
        if self._reconnector is None and request.on_disconnect is None and request.in_shell is None:
            request = replace(request, on_disconnect=KILL)  # nobody will come back for it
        try:
            channel = self._session.open(request)
        except LocalProtocolError as error:
            job = Job(0, request, self._session, self._pump)
            job.ended(JobEnd(_refusal(request, error)))
            return job
        self._jobs[channel] = job = Job(channel, request, self._session, self._pump, self._typed(request))
        self._pump.flush()
        return job

    def close(self) -> Deferred[str]:
        """End the session and close the connection, at once during an outage.  The server ends the jobs that still run.

        If the connection is lost in that moment, the server is told over another, if there is one to be had within
        :data:`FAREWELL_SECONDS`.  A server that cannot be told ends the jobs when their grace is over.

        :returns: fires when the connection is gone, as that of :meth:`when_lost`.
        """
        if self.lost is None:
            self._farewells = MAX_FAREWELLS if self.connected else 0
            self._pump.leave("")
            self._end("the connection was closed", LossReason.CLOSED)
        return self.when_lost()

    def when_lost(self) -> Deferred[str]:
        """Wait until the session is over for good.

        :returns: fires with one line that says why, once its connection is gone too.
        """
        if self.lost is not None and not self.connected and not self._is_searching:
            return succeed(self.lost)
        waiting: Deferred[str] = Deferred(self._forget)
        self._waiting.append(waiting)
        return waiting

    def outlive_links(self, reconnector: Reconnector) -> None:
        """For the first link: the session does not end with it."""
        self._reconnector = reconnector

    def happened(self, event: Event) -> None:
        """For the link: something happened in the session."""
        match event:
            case RoomGained(channel=None):
                for job in list(self._jobs.values()):
                    job.stdin.room_gained()
            case SessionClosed():
                link = self._pump.link
                assert link is not None
                self._end(event.text or "the server ended the session", LossReason.CLOSED)
                link.close()
            case JobEnded():
                self._jobs.pop(event.channel).happened(event)
            case _:
                channel = getattr(event, "channel", None)
                if channel in self._jobs:
                    self._jobs[channel].happened(event)

    def link_ended(self, link: FramedLink, reason: str) -> None:
        """For a link: it is gone."""
        if link is not self._pump.link:
            return
        self._pump.stop()
        if self.lost is not None:
            self._leave_without(link)
        elif self._reconnector is None or self.patience() == 0:
            self._end(f"the connection was lost: {reason}", LossReason.LINK)
        else:
            self._reconnector.start()
            self._watchers.tell(reason)

    @property
    def _is_searching(self) -> bool:
        return self._reconnector is not None and self._reconnector.is_searching

    def _leave_without(self, link: FramedLink) -> None:
        """The session is over, and so is its link; if the server may not have heard it, say goodbye over another."""
        if self._reconnector is not None and self._farewells and not link.ended_cleanly:
            self._farewells -= 1
            self._reconnector.start()
        else:
            self._tell_waiting()

    def broken(self, what: str) -> None:
        """For a link: the server broke the protocol, which another link would not mend."""
        self._end(f"the connection was lost: {what}", LossReason.PROTOCOL)

    def patience(self) -> float | None:
        """For the reconnector: say for how many seconds to look for a link; ``None`` for as long as it takes."""
        if self.lost is not None:
            return FAREWELL_SECONDS
        # A command in a persistent shell lives as long as that shell, which is a job of its own.
        policies = [job.request.disconnection for job in self._jobs.values() if job.request.in_shell is None]
        if any(isinstance(policy, Keep) for policy in policies):
            return None
        graces = [policy.seconds for policy in policies if isinstance(policy, Grace)]
        return min(max(graces, default=IDLE_SECONDS), self._session.limits.detach_seconds)

    def link_found(self) -> None:
        """For the reconnector: the session goes on, or the server has heard that it does not."""
        if self.lost is None:
            self._watchers.tell(None)

    def given_up(self, error: SessionLost) -> None:
        """For the reconnector: it does not."""
        if self.lost is None:
            self._end(str(error), error.reason)
        else:
            self._tell_waiting()

    def _typed(self, request: JobRequest) -> bool:
        """Tell whether what a job reads is what a person types who waits for it to appear."""
        shell = None if request.in_shell is None else self._jobs.get(request.in_shell)
        return (request if shell is None else shell.request).terminal is not None

    def _tell_waiting(self) -> None:
        while self._waiting:  # who is told may cancel the others
            self._waiting.pop(0).callback(self.lost or "")

    def _forget(self, waiting: Deferred[str]) -> None:
        self._waiting.remove(waiting)

    def _end(self, text: str, reason: LossReason) -> None:
        if self.lost is not None:
            return
        self.lost, self.loss = text, reason
        # With a connection the search is over, or just succeeding: what is said within that moment goes over it.
        if self._reconnector is not None and not self.connected:
            self._reconnector.stop()
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.ended(JobEnd(OutcomeUnknown(text)))
        if not self.connected:
            self._tell_waiting()


def _refusal(request: JobRequest, error: LocalProtocolError) -> Ending:
    if error.code is not ErrorCode.MALFORMED_MESSAGE:
        return Refused(RefusalReason.TOO_MANY_CHANNELS, error.detail)
    words = [request.command or "", *(request.argv or ()), request.cwd or "", *sum(request.environment, ())]
    try:
        for word in words:
            word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return Refused(RefusalReason.BAD_TEXT, "the command has a character that no text has")
    return Refused(RefusalReason.TOO_LONG, "the command is too long to send")
