"""A shell on the server that remembers what one command did when it runs the next."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredLock

from twisted_rsh.client.errors import SessionLost, ShellRefused
from twisted_rsh.client.job import Job, RemoteOutput, collect
from twisted_rsh.client.result import Result
from twisted_rsh.client.status import describe_ending
from twisted_rsh.core.endings import JobEnd, OutcomeUnknown
from twisted_rsh.core.requests import JobRequest

__all__ = ["Shell", "start_shell"]


class Shell:
    """Runs commands one after another in one shell; made by :meth:`twisted_rsh.client.Connection.shell`.

    Each command has its own output, ending and time-out.  What the shell keeps is the shell's: the folder, variables,
    functions, options, ``umask`` and ``ulimit``.

    :param job: the shell itself.
    :param open_job: starts what a request asks for.
    """

    def __init__(self, job: Job, open_job: Callable[[JobRequest], Job]) -> None:
        self._job = job
        self._open_job = open_job
        self._turn = DeferredLock()

    @property
    def stdout(self) -> RemoteOutput:
        """What is written while no command runs, as by a background process; unread, it waits on the server."""
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
        stdin: bytes = b"",
        timeout: float | None = None,
        max_output: int | None = None,
    ) -> Deferred[Result]:
        """Run a command, behind those that were asked for earlier, and collect what it writes.

        :param command: text for the shell, one line or many.
        :param stdin: what the command reads; after it, the end of input.
        :param timeout: seconds after which the server ends the command, or ``None``; the shell goes on if it can.
        :param max_output: bytes of output after which the server ends the command, or ``None``.
        :returns: fires with the result, whatever the ending; fails with
            :class:`~twisted_rsh.client.errors.SessionLost` when the connection is gone before its turn.  Cancelling
            it ends the command, or gives up its turn.
        """

        async def take_turn() -> Result:
            await self._turn.acquire()
            try:
                return await collect(self.start(command, timeout=timeout, max_output=max_output), command, stdin)
            finally:
                self._turn.release()

        return Deferred.fromCoroutine(take_turn())

    def start(self, command: str, *, timeout: float | None = None, max_output: int | None = None) -> Job:
        """Start a command, to read and write while it runs.  The parameters are those of :meth:`run`.

        :returns: the command.  When it is refused, as because the shell runs another, that is its ending.
        :raises twisted_rsh.client.errors.SessionLost: the connection is gone; nothing was started.
        """
        return self._open_job(
            JobRequest(command=command, in_shell=self._job.channel, timeout=timeout, max_output=max_output)
        )

    def resize(self, columns: int, rows: int) -> None:
        """Give the shell's terminal another size.  Nothing happens when it has none.

        :param columns: characters in a line, from 1 to 65535.
        :param rows: lines, likewise.
        :raises twisted_rsh.core.errors.LocalProtocolError: it is no size.
        """
        self._job.resize(columns, rows)

    def wait(self) -> Deferred[JobEnd]:
        """Wait for the end of the shell, as after ``exit``.

        :returns: fires, and never fails; cancelling it ends the shell.
        """
        return self._job.wait()

    def close(self) -> None:
        """End the shell, and whatever runs in it."""
        self._job.close()


def start_shell(open_job: Callable[[JobRequest], Job], request: JobRequest) -> Deferred[Shell]:
    """Start a persistent shell.

    :param open_job: starts what a request asks for.
    :param request: a request for a shell.
    :returns: as that of :meth:`twisted_rsh.client.Connection.shell`.
    """

    async def start() -> Shell:
        job = open_job(request)
        try:
            await job.when_started()
        except BaseException:
            job.close()
            raise
        if job.encoding is None:
            ending = (await job.wait()).ending
            if isinstance(ending, OutcomeUnknown):
                raise SessionLost(ending.text)
            raise ShellRefused(describe_ending(ending) or "the shell ended before it took a command")
        return Shell(job, open_job)

    return Deferred.fromCoroutine(start())
