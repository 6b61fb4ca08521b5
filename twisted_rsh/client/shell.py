"""A shell on the server that remembers: each command finds what the one before it left."""

from __future__ import annotations

import dataclasses
from types import TracebackType

from twisted.internet.defer import Deferred, DeferredLock

from twisted_rsh.client.errors import LossReason, SessionLost, ShellRefused
from twisted_rsh.client.job import ChunkWatcher, Job, Stdin, run_to_end
from twisted_rsh.client.jobs import SessionJobs
from twisted_rsh.client.result import Result
from twisted_rsh.client.status import describe_ending
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.client.waiting import is_dropped
from twisted_rsh.core.endings import Ending, JobEnd, OutcomeUnknown, RefusalReason, Refused
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.shell_state import BackgroundJob, ShellState

__all__ = ["Shell", "start_shell"]


class Shell:
    """Runs commands one after another in one shell.  :meth:`twisted_rsh.Connection.open_shell` makes one.

    Each command has its own output, ending and time-out.  The shell keeps the folder, variables, functions, options,
    ``umask`` and ``ulimit``.

    It is an async context manager; leaving the block closes it.  :meth:`leave` lets it exit by itself instead.

    :param jobs: the jobs of the session.
    :param job: the shell itself, which has started.
    :param replace: whether :meth:`run` opens a new shell when this one has ended.
    """

    def __init__(self, jobs: SessionJobs, job: Job, *, replace: bool = False) -> None:
        self._jobs = jobs
        self._job = job
        self._replace = replace
        self._turn = DeferredLock()
        self._running: Job | None = None

    async def __aenter__(self) -> Shell:  # noqa: PYI034 - Self is of Python 3.11
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not is_dropped(kind, self._jobs.clock):
            await self.close()

    @property
    def stdout(self) -> RemoteOutput:
        """The output that is written while no command runs, as by a background process; unread, it waits on the
        server.  A shell that replaces this one has another."""
        return self._job.stdout

    @property
    def stderr(self) -> RemoteOutput:
        """The same of standard error."""
        return self._job.stderr

    @property
    def encoding(self) -> str:
        """The code page of its text, as the server named it."""
        return self._job.encoding or "utf-8"

    @property
    def ending(self) -> Ending | None:
        """How the shell has ended, as after ``exit`` or a command that could only be ended with it; ``None`` while it
        takes commands."""
        return self._job.ending

    def run(
        self,
        command: str,
        *,
        stdin: Stdin = b"",
        timeout: float | None = None,
        max_output: int | None = None,
        check: bool = False,
        aside: bool = False,
        on_stdout: ChunkWatcher | None = None,
        on_stderr: ChunkWatcher | None = None,
    ) -> Deferred[Result]:
        """Run a command, after those that were asked for earlier, and collect what it writes.

        :param command: text for the shell, one line or many.
        :param stdin: the command's input, as for :meth:`twisted_rsh.Connection.run`.
        :param timeout: seconds after which the server ends the command, or ``None``.  The shell goes on unless nothing
            else ends the command; :attr:`ending` tells.
        :param max_output: bytes of output after which the server ends the command, or ``None``.
        :param check: whether to fail with :class:`~twisted_rsh.CommandFailed` unless the command exits with status 0.
        :param aside: whether to run the command in a subshell: it sees all that the shell remembers, and changes
            nothing, not even ``$?``.
        :param on_stdout: called with what the command writes to its standard output, as it comes; the result has it
            too.  ``None`` for no call.
        :param on_stderr: the same of its standard error.
        :returns: fires with the result, whatever the ending.  If the shell has ended, the ending is
            :class:`~twisted_rsh.Refused`; with `replace` the command runs in a new shell, and the result's ``replaced``
            says so.  Fails with :class:`~twisted_rsh.SessionLost` when the session is over before the command's turn,
            with :class:`~twisted_rsh.ShellRefused` when there is no new shell to be had, and with whatever `stdin`,
            `on_stdout` or `on_stderr` raised, which has ended the command.  Cancelling it ends the command, or gives up
            its turn.  Where such an error has no other cause, its ``__cause__`` is a
            :class:`~twisted_rsh.CommandFailed` whose ``result`` has what the command wrote until then.
        """

        async def run_once() -> Result:
            request = self._request(command, timeout, max_output, aside)
            self._running = job = self._jobs.open(request, has_no_input=stdin == b"")
            return await run_to_end(job, stdin, check=False, on_stdout=on_stdout, on_stderr=on_stderr)

        async def take_turn() -> Result:
            await self._turn.acquire()
            try:
                former = await self._replace_ended() if self._replace else None
                result = await run_once()
                # The server may know of the shell's end before its output has been read, and the end with it.
                if self._replace and _was_gone(result) and isinstance(stdin, bytes):
                    self._job.close()
                    await self._job.wait()
                    former = await self._replace_ended()
                    result = await run_once()
            finally:
                self._end_turn()
            if former is not None:
                result = dataclasses.replace(result, replaced=former)
            return result.check() if check else result

        return Deferred.fromCoroutine(take_turn())

    def _end_turn(self) -> None:
        """Let the next command begin, once the one that was run has ended: it may have been cancelled."""
        running, self._running = self._running, None
        if running is None or running.ending is not None:
            self._turn.release()
        else:
            running.wait().addCallback(lambda _: self._turn.release())

    async def _replace_ended(self) -> Ending | None:
        """Open a new shell where this one has ended; return how it ended."""
        former = self.ending
        if former is None:
            return None
        self._job = await _open_shell(self._jobs, self._job.request)
        return former

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
        return self._jobs.open(self._request(command, timeout, max_output, aside, typed_ahead))

    def _request(
        self,
        command: str,
        timeout: float | None,
        max_output: int | None,
        aside: bool,
        typed_ahead: bytes | None = None,
    ) -> JobRequest:
        return JobRequest(
            command=command,
            in_shell=self._job.channel,
            timeout=timeout,
            max_output=max_output,
            aside=aside,
            typed_ahead=typed_ahead,
        )

    def inspect(self) -> Deferred[ShellState]:
        """Look at the state of the shell, also while a command runs.  The shell itself is not asked.

        :returns: fires with what the server saw at a moment after this call: the folder, the jobs in the background,
            and whether the command that runs waits for input, each ``None`` where it is not known, as when the shell
            has ended.
        :raises twisted_rsh.core.errors.LocalProtocolError: the server is so far behind that the question would only
            queue up.
        """
        return self._job.inspect()

    async def jobs(self) -> tuple[BackgroundJob, ...] | None:
        """List the processes that earlier commands left behind in the background of the shell: see :meth:`inspect`.

        :returns: the processes, the first started first; ``None`` where they are not known.
        """
        return (await self.inspect()).jobs

    async def waits_for_input(self) -> bool | None:
        """Tell whether the command that runs is blocked in a read of its input: see :meth:`inspect`.

        :returns: whether it was, at a moment after this call; ``False`` while no command runs; ``None`` where it is not
            known, as of a program of another user such as ``sudo``.
        """
        return (await self.inspect()).waits_for_input

    def resize(self, columns: int, rows: int) -> None:
        """Give the shell's terminal another size.  Nothing happens when it has none.

        :param columns: characters in a line, from 1 to 65535.
        :param rows: lines, from 1 to 65535.
        :raises twisted_rsh.core.errors.LocalProtocolError: the size is out of these bounds.
        """
        self._job.resize(columns, rows)

    def wait(self) -> Deferred[JobEnd]:
        """Wait for the end of the shell, as after ``exit``.

        :returns: fires, and never fails; cancelling it ends the shell.
        """
        return self._job.wait()

    def leave(self) -> Deferred[Result]:
        """Let the shell exit by itself, after the commands that were asked for: as at the end of a script.

        Its traps run.  What commands left in the background goes on.  No other shell replaces it, whatever `replace`
        said.

        :returns: fires with how the shell ended, whose status is the last command's or that of a trap, and with what it
            wrote outside of commands and was not read.  Cancelling it ends the shell, and fails as :meth:`run` does.
        """

        async def take_turn() -> Result:
            await self._turn.acquire()
            try:
                self._replace = False
                return await run_to_end(self._job, b"", check=False)
            finally:
                self._turn.release()

        return Deferred.fromCoroutine(take_turn())

    def close(self) -> Deferred[None]:
        """End the shell, and whatever runs in it.  May be called more than once.

        :returns: fires, and never fails, when the shell's ending has arrived or the session is over.
        """
        self._replace = False
        return self._job.close()


def _was_gone(result: Result) -> bool:
    return isinstance(result.ending, Refused) and result.ending.reason is RefusalReason.SHELL_GONE


def start_shell(jobs: SessionJobs, request: JobRequest, *, replace: bool = False) -> Deferred[Shell]:
    """Start a persistent shell.

    :param jobs: the jobs of the session.
    :param request: a request for a shell.
    :param replace: whether another follows when it has ended.
    :returns: as that of :meth:`twisted_rsh.Connection.open_shell`.
    """

    async def start() -> Shell:
        return Shell(jobs, await _open_shell(jobs, request), replace=replace)

    return Deferred.fromCoroutine(start())


async def _open_shell(jobs: SessionJobs, request: JobRequest) -> Job:
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
    return job
