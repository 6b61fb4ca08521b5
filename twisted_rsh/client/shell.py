"""A shell on the server that remembers: each command finds what the one before it left."""

from __future__ import annotations

from types import TracebackType

from twisted.internet.defer import Deferred, DeferredLock

from twisted_rsh.client.errors import LossReason, SessionLost, ShellRefused
from twisted_rsh.client.job import Job, Stdin, run_to_end
from twisted_rsh.client.jobs import SessionJobs
from twisted_rsh.client.result import Result
from twisted_rsh.client.status import describe_ending
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.core.endings import JobEnd, OutcomeUnknown
from twisted_rsh.core.requests import JobRequest

__all__ = ["Shell", "start_shell"]


class Shell:
    """Runs commands one after another in one shell.  :meth:`twisted_rsh.Connection.open_shell` makes one.

    Each command has its own output, ending and time-out.  The shell keeps the folder, variables, functions, options,
    ``umask`` and ``ulimit``.

    It is an async context manager; leaving the block closes it.

    :param jobs: the jobs of the session.
    :param job: the shell itself, which has started.
    """

    def __init__(self, jobs: SessionJobs, job: Job) -> None:
        self._jobs = jobs
        self._job = job
        self._turn = DeferredLock()

    async def __aenter__(self) -> Shell:  # noqa: PYI034 - Self is of Python 3.11
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def stdout(self) -> RemoteOutput:
        """The output that is written while no command runs, as by a background process; unread, it waits on the
        server."""
        return self._job.stdout

    @property
    def stderr(self) -> RemoteOutput:
        """The same of standard error."""
        return self._job.stderr

    @property
    def encoding(self) -> str:
        """The code page of its text, as the server named it."""
        return self._job.encoding or "utf-8"

    def run(
        self,
        command: str,
        *,
        stdin: Stdin = b"",
        timeout: float | None = None,
        max_output: int | None = None,
        check: bool = False,
    ) -> Deferred[Result]:
        """Run a command, behind those that were asked for earlier, and collect what it writes.

        :param command: text for the shell, one line or many.
        :param stdin: the command's input, as for :meth:`twisted_rsh.Connection.run`.
        :param timeout: seconds after which the server ends the command, or ``None``; the shell goes on if it can.
        :param max_output: bytes of output after which the server ends the command, or ``None``.
        :param check: whether to fail with :class:`~twisted_rsh.CommandFailed` unless the command exits with status 0.
        :returns: fires with the result, whatever the ending; fails with :class:`~twisted_rsh.SessionLost` when the
            session is over before the command's turn, and with whatever `stdin` raised, which has ended the command.
            Cancelling it ends the command, or gives up its turn.
        """

        async def take_turn() -> Result:
            await self._turn.acquire()
            try:
                job = self.start(command, timeout=timeout, max_output=max_output)
                return await run_to_end(job, stdin, check=check)
            finally:
                self._turn.release()

        return Deferred.fromCoroutine(take_turn())

    def start(
        self,
        command: str,
        *,
        timeout: float | None = None,
        max_output: int | None = None,
        aside: bool = False,
        typed_ahead: bytes | None = None,
    ) -> Job:
        """Start a command, to read and write while it runs.  The other parameters are those of :meth:`run`.

        :param aside: whether it runs in a subshell, so that it changes nothing in this shell.
        :param typed_ahead: keys that a person has typed for it, at most
            :data:`~twisted_rsh.core.limits.MAX_TYPED_AHEAD_BYTES`, which its terminal gets without showing them; its
            end then tells what it left unread.  ``None`` when no person types.
        :returns: the command.  When it is refused, as because the shell runs another, that is its ending.
        :raises twisted_rsh.client.errors.SessionLost: the session is over; nothing was started.
        """
        return self._jobs.open(
            JobRequest(
                command=command,
                in_shell=self._job.channel,
                timeout=timeout,
                max_output=max_output,
                aside=aside,
                typed_ahead=typed_ahead,
            )
        )

    def resize(self, columns: int, rows: int) -> None:
        """Give the shell's terminal another size.  Nothing happens when it has none.

        :param columns: characters in a line, from 1 to 65535.
        :param rows: lines, likewise.
        :raises twisted_rsh.core.errors.LocalProtocolError: it is no size.
        """
        self._job.resize(columns, rows)

    def leave(self) -> Deferred[JobEnd]:
        """Let the shell exit by itself, as at the end of its input: it runs its traps, and chooses its status.

        :returns: fires, and never fails, with the end of the shell; cancelling it ends the shell.
        """
        self._job.stdin.end()
        return self._job.wait()

    def wait(self) -> Deferred[JobEnd]:
        """Wait for the end of the shell, as after ``exit``.

        :returns: fires, and never fails; cancelling it ends the shell.
        """
        return self._job.wait()

    def close(self) -> Deferred[None]:
        """End the shell, and whatever runs in it.  May be called more than once.

        :returns: fires, and never fails, when the shell's ending has arrived or the session is over.
        """
        return self._job.close()


def start_shell(jobs: SessionJobs, request: JobRequest) -> Deferred[Shell]:
    """Start a persistent shell.

    :param jobs: the jobs of the session.
    :param request: a request for a shell.
    :returns: as that of :meth:`twisted_rsh.Connection.open_shell`.
    """

    async def start() -> Shell:
        job = jobs.open(request)
        try:
            await job.when_started()
        except BaseException:
            job.close()
            raise
        if job.encoding is None:
            ending = (await job.wait()).ending
            if isinstance(ending, OutcomeUnknown):
                raise SessionLost(ending.text, jobs.loss.reason if jobs.loss is not None else LossReason.LINK)
            raise ShellRefused(describe_ending(ending) or "the shell ended before it took a command")
        return Shell(jobs, job)

    return Deferred.fromCoroutine(start())
