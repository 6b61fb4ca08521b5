"""A connection to a server, over which commands are run: what ``connect()`` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred, succeed

from twisted_rsh.client.collecting import collect
from twisted_rsh.client.errors import ConnectionLost
from twisted_rsh.client.persistent_shell import PersistentShell, start_shell
from twisted_rsh.client.remote_job import RemoteJob
from twisted_rsh.client.result import Result
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.endings import Ending, JobEnd, OutcomeUnknown, RefusalReason, Refused
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import Event, JobEnded, RoomGained, SessionClosed
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.link.framed_link import FramedLink
from twisted_rsh.link.pump import SessionPump

__all__ = ["RemoteShell"]


class RemoteShell:
    """Runs commands on the server.  :func:`twisted_rsh.client.connecting.connect` makes one.

    Any number of commands run at once, up to the server's limit, and none of them delays another.

    :ivar lost: why no more commands can be started, in one line; ``None`` while they can.
    """

    def __init__(self, session: ClientSession, pump: SessionPump, link: FramedLink) -> None:
        self._session = session
        self._pump = pump
        self._link = link
        self._jobs: dict[int, RemoteJob] = {}
        self.lost: str | None = None
        self._waiting: list[Deferred[str]] = []

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
        :returns: fires with the result, whatever the ending: see its ``ending``, or call its ``check()``.  Cancelling
            it ends the command.
        :raises twisted_rsh.client.errors.ConnectionLost: the connection is gone already; nothing was started.  When
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
    ) -> RemoteJob:
        """Start a command, to read and write while it runs.  The parameters are those of :meth:`run`.

        :returns: the job.  When it is refused, that is its ending.
        :raises twisted_rsh.client.errors.ConnectionLost: the connection is gone; nothing was started.
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
            )
        )

    def shell(
        self,
        program: str = "",
        *,
        cwd: str | None = None,
        environment: Mapping[str, str] | None = None,
        terminal: Terminal | None = None,
        max_cpu: float | None = None,
        max_memory: int | None = None,
    ) -> Deferred[PersistentShell]:
        """Start a shell that remembers: its folder, variables, functions and options outlive each command.

        :param program: which shell, a name or a path; an empty one for the user's own.
        :param cwd: the folder that it begins in, relative to the user's home folder; ``None`` for that folder.
        :param environment: names and values to add to its environment.
        :param terminal: the terminal that its commands are on, or ``None`` for pipes.
        :param max_cpu: seconds of processor time, of the shell and its commands together, after which the server ends
            it, or ``None``.
        :param max_memory: bytes of memory, likewise.
        :returns: fires with the shell when it takes commands; fails with
            :class:`~twisted_rsh.client.errors.ShellRefused` when there is none to be had, and with
            :class:`~twisted_rsh.client.errors.ConnectionLost`.  Cancelling it ends the shell.
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
            ),
        )

    def open(self, request: JobRequest) -> RemoteJob:
        """Start what a request asks for; :meth:`start` and :meth:`shell` are easier to call.

        :returns: the job.  When it is refused, that is its ending.
        :raises twisted_rsh.client.errors.ConnectionLost: the connection is gone; nothing was started.
        """
        if self.lost is not None:
            raise ConnectionLost(self.lost)
        try:
            channel = self._session.open(request)
        except LocalProtocolError as error:
            job = RemoteJob(0, self._session, self._pump)
            job.ended(JobEnd(_refusal(request, error)))
            return job
        self._jobs[channel] = job = RemoteJob(channel, self._session, self._pump)
        self._pump.flush()
        return job

    def close(self) -> Deferred[str]:
        """End the session and close the connection.  The server ends the jobs that still run.

        :returns: fires when the connection is gone, as that of :meth:`when_lost`.
        """
        if self.lost is None:
            self._pump.leave("")
            self._end("the connection was closed")
        return self.when_lost()

    def when_lost(self) -> Deferred[str]:
        """Wait until the connection is gone.

        :returns: fires with one line that says why.
        """
        if self._link.dead:
            return succeed(self.lost or "")
        waiting: Deferred[str] = Deferred(self._forget)
        self._waiting.append(waiting)
        return waiting

    def dispatch(self, event: Event) -> None:
        """For the link: something happened in the session."""
        match event:
            case RoomGained(channel=None):
                for job in list(self._jobs.values()):
                    job.stdin.room_gained()
            case SessionClosed():
                self._end(event.text or "the server ended the session")
                self._link.close()
            case JobEnded():
                self._jobs.pop(event.channel).happened(event)
            case _:
                channel = getattr(event, "channel", None)
                if channel in self._jobs:
                    self._jobs[channel].happened(event)

    def flush(self) -> None:
        """For the link: write what the session wants written."""
        self._pump.flush()

    def link_ended(self, reason: str) -> None:
        """For the link: it is gone."""
        self._pump.stop()
        self._end(f"the connection was lost: {reason}")
        while self._waiting:  # who is told may cancel the others
            self._waiting.pop(0).callback(self.lost or "")

    def _forget(self, waiting: Deferred[str]) -> None:
        self._waiting.remove(waiting)

    def _end(self, reason: str) -> None:
        if self.lost is not None:
            return
        self.lost = reason
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.ended(JobEnd(OutcomeUnknown(reason)))


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
