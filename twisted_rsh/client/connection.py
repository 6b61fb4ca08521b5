"""A connection to a server, over which commands are run: what ``connect()`` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from twisted.internet.defer import CancelledError, Deferred

from twisted_rsh.client.errors import LossReason, SessionLost
from twisted_rsh.client.job import ChunkWatcher, Job, Stdin, run_to_end
from twisted_rsh.client.jobs import SessionJobs
from twisted_rsh.client.link import ClientLink
from twisted_rsh.client.login import Welcome
from twisted_rsh.client.reconnecting import Reconnector
from twisted_rsh.client.result import Result
from twisted_rsh.client.shell import Shell, start_shell
from twisted_rsh.client.waiting import Once, Watchers, is_dropped
from twisted_rsh.client.waking import WakeWatch
from twisted_rsh.clock import seconds_asleep
from twisted_rsh.core.requests import Disconnection, JobRequest, Terminal

__all__ = ["MAX_FAREWELLS", "Connection", "LinkWatcher"]

MAX_FAREWELLS = 3
"""Links that may be lost with a GOODBYE before it is left unsaid; the server then waits for the jobs' grace."""

LinkWatcher = Callable[[str | None], object]
"""Called with one line when the link was lost, and with ``None`` when there is another."""


class Connection:
    """Runs commands on the server.  :func:`twisted_rsh.connect` makes one.

    Any number of commands run at once, up to the server's limit, and none of them delays another.

    The session outlives its links, unless :func:`twisted_rsh.connect` was told otherwise: while it has none, commands
    go on, new ones wait to be sent, and nothing fails; :attr:`connected` tells.  When the session is over, for whatever
    reason, the ending of each job that was left is :class:`~twisted_rsh.core.endings.OutcomeUnknown`.

    It is an async context manager; leaving the block closes it.

    :param link: the link that the session began on.
    :param welcome: the session.
    :param reconnector: finds it other links; ``None`` for a session that ends with its link.
    :param asleep: as for :class:`~twisted_rsh.client.waking.WakeWatch`.
    :ivar pin: SHA-256 of the server's public key, 32 bytes.
    :ivar next_pin: that of the key that the server will have, which it has announced; ``None`` for the same.
    :ivar announcement: one line for the user about that key, if it is new to the client; otherwise empty.
    """

    def __init__(
        self,
        link: ClientLink,
        welcome: Welcome,
        reconnector: Reconnector | None = None,
        asleep: Callable[[], float] = seconds_asleep,
    ) -> None:
        self._pump = welcome.pump
        # A server can refuse to keep sessions that have no link.
        self._reconnector = reconnector if welcome.session.limits.detach_seconds else None
        self._jobs = SessionJobs(welcome.session, welcome.pump, outlive_links=self._reconnector is not None)
        self._search: Deferred[ClientLink] | None = None
        self.pin = link.pin
        self.next_pin = welcome.next_pin
        self.announcement = ""
        self._over: Once[str] = Once()
        self._watchers: Watchers[str | None] = Watchers()
        self._farewells = 0
        self._waking = WakeWatch(link.clock, welcome.pump, asleep)
        self._pump.start(link, self._jobs)
        self._waking.start(resumes=self._reconnector is not None)
        Deferred.fromCoroutine(self._live(link))

    async def __aenter__(self) -> Connection:  # noqa: PYI034 - Self is of Python 3.11
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not is_dropped(kind, self._pump.clock):
            await self.close()

    @property
    def connected(self) -> bool:
        """Whether the session has a link now."""
        return self._pump.link is not None

    @property
    def lost(self) -> str | None:
        """Why no more commands can be started, in one line; ``None`` while they can, also during an outage."""
        return None if self._jobs.loss is None else str(self._jobs.loss)

    @property
    def loss(self) -> LossReason | None:
        """Which kind of reason that is; ``None`` like :attr:`lost`."""
        return None if self._jobs.loss is None else self._jobs.loss.reason

    def watch_link(self, watcher: LinkWatcher) -> Callable[[], None]:
        """Watch for outages.

        :param watcher: called with one line when the link was lost and another is being looked for, and with ``None``
            when there is another.  It is not called for the end of the session: see :meth:`when_lost`.
        :returns: a function that ends that; it may be called more than once.
        """
        return self._watchers.add(watcher)

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: Stdin = b"",
        cwd: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        terminal: Terminal | None = None,
        max_output: int | None = None,
        max_cpu: float | None = None,
        max_memory: int | None = None,
        on_disconnect: Disconnection | None = None,
        check: bool = False,
        on_stdout: ChunkWatcher | None = None,
        on_stderr: ChunkWatcher | None = None,
    ) -> Deferred[Result]:
        """Run a command and collect what it writes.

        :param command: a command line for the user's shell, or a program and its arguments, which no shell sees.
        :param stdin: the command's input; after it, the end of input.  Bytes; a binary file object, whose ``read()``
            must not block for long; or an async iterable of bytes.  The last two are read no further than the command
            takes them.
        :param cwd: its working folder, relative to the user's home folder; ``None`` for that folder.
        :param environment: names and values to add to its environment.
        :param timeout: seconds after which the server ends it, or ``None``; the result has what it wrote until then.
        :param terminal: the terminal to give it, or ``None`` for pipes.
        :param max_output: bytes of output after which the server ends it, or ``None``.
        :param max_cpu: seconds of processor time, of all its processes together, after which the server ends it, or
            ``None``.
        :param max_memory: bytes of memory, of all its processes together, above which the server ends it, or ``None``.
        :param on_disconnect: what becomes of it while the session has no link: :data:`~twisted_rsh.core.requests.KILL`,
            :class:`~twisted_rsh.core.requests.Grace` or :class:`~twisted_rsh.core.requests.Keep`; ``None`` for a
            minute's grace, and an hour's on a terminal.
        :param check: whether to fail with :class:`~twisted_rsh.CommandFailed` unless the command exits with status 0.
        :param on_stdout: called with what the command writes to its standard output, as it comes; the result has it
            too.  ``None`` for no call.
        :param on_stderr: the same of its standard error.
        :returns: fires with the result, whatever the ending: see its ``ending``, or call its ``check()``; fails with
            whatever `stdin`, `on_stdout` or `on_stderr` raised, which has ended the command.  Cancelling it ends the
            command.  Where such an error has no other cause, its ``__cause__`` is a :class:`~twisted_rsh.CommandFailed`
            whose ``result`` has what the command wrote until then.
        :raises twisted_rsh.client.errors.SessionLost: the session is over already; nothing was started.  When it ends
            later, the result's ending is :class:`~twisted_rsh.core.endings.OutcomeUnknown`.
        :raises ValueError: the command is an empty list.
        """
        request = _request(command, cwd, environment, timeout, terminal, max_output, max_cpu, max_memory, on_disconnect)
        job = self._jobs.open(request, has_no_input=stdin == b"")
        ending = run_to_end(job, stdin, check=check, on_stdout=on_stdout, on_stderr=on_stderr)
        return Deferred.fromCoroutine(ending)

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
        :raises twisted_rsh.client.errors.SessionLost: the session is over; nothing was started.
        :raises ValueError: the command is an empty list.
        """
        return self._jobs.open(
            _request(command, cwd, environment, timeout, terminal, max_output, max_cpu, max_memory, on_disconnect)
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
        startup_files: bool = False,
        replace: bool = False,
    ) -> Deferred[Shell]:
        """Start a shell that remembers: its folder, variables, functions and options outlive each command.

        :param program: which shell, a name or a path; an empty one for the user's own.
        :param cwd: the folder that it begins in, relative to the user's home folder; ``None`` for that folder.
        :param environment: names and values to add to its environment.
        :param terminal: the terminal that its commands are on, or ``None`` for pipes.
        :param max_cpu: seconds of processor time, of the shell and its commands together, after which the server ends
            it, or ``None``.
        :param max_memory: bytes of memory, likewise.
        :param on_disconnect: what becomes of it, and of what runs in it, while the session has no link, as for
            :meth:`run`; ``None`` for an hour's grace.
        :param startup_files: whether it reads the files that the user's interactive shells read, such as ``.bashrc``;
            without them it is the same for every user.
        :param replace: whether :meth:`Shell.run` opens a new shell when this one has ended; the result says so.
        :returns: fires with the shell when it takes commands; fails with
            :class:`~twisted_rsh.client.errors.ShellRefused` when there is none to be had, and with
            :class:`~twisted_rsh.client.errors.SessionLost`.  Cancelling it ends the shell.
        """
        return start_shell(
            self._jobs,
            JobRequest(
                shell=program,
                cwd=cwd,
                environment=tuple((environment or {}).items()),
                terminal=terminal,
                max_cpu=max_cpu,
                max_memory=max_memory,
                on_disconnect=on_disconnect,
                startup_files=startup_files,
            ),
            replace=replace,
        )

    def open(self, request: JobRequest) -> Job:
        """Start what a request asks for; :meth:`start` and :meth:`open_shell` are easier to call.

        :returns: the job.  When it is refused, that is its ending.
        :raises twisted_rsh.client.errors.SessionLost: the session is over; nothing was started.
        """
        return self._jobs.open(request)

    def close(self) -> Deferred[None]:
        """End the session and close its link, at once during an outage.  The server ends the jobs that still run.

        If the link is lost in that moment, the server is told over another, if there is one to be had within
        :data:`~twisted_rsh.client.jobs.FAREWELL_SECONDS`.  A server that cannot be told ends the jobs when their grace
        is over.  May be called more than once.

        :returns: fires, and never fails, when the session is over and its link is gone.
        """
        if self._jobs.loss is None:
            self._farewells = MAX_FAREWELLS if self.connected else 0
            self._pump.leave("")
            self._jobs.end_all(SessionLost("the connection was closed", LossReason.CLOSED))
            # With a link the search is over, or just succeeding: what is said within that moment goes over that link.
            if self._search is not None and not self.connected:
                self._search.cancel()
        closing: Deferred[None] = self._over.wait().addCallback(lambda _: None)
        return closing

    def when_lost(self) -> Deferred[str]:
        """Wait until the session is over for good.

        :returns: fires, and never fails, with one line that says why, once the session's link is gone too.
        """
        return self._over.wait()

    async def _live(self, link: ClientLink) -> None:
        """Follow the session from link to link, until it is over and the last link is gone."""
        while True:
            reason = await link.gone
            self._pump.stop()
            if self._reconnector is None or not self._needs_link_after(link):
                kind = LossReason.PROTOCOL if link.breached else LossReason.LINK
                self._jobs.end_all(SessionLost(f"the connection was lost: {reason}", kind))
                break
            self._search = Deferred.fromCoroutine(self._reconnector.search(self._jobs))
            if self._jobs.loss is None:
                self._watchers.tell(reason)
            try:
                link = await self._search
            except CancelledError:
                break
            except SessionLost as error:
                self._jobs.end_all(error)
                break
            if self._jobs.loss is None:
                self._watchers.tell(None)
        self._waking.stop()
        self._over.happen(str(self._jobs.loss))

    def _needs_link_after(self, link: ClientLink) -> bool:
        """Tell whether to look for another link after one that is gone."""
        if self._jobs.loss is None:
            # What breaks the protocol would break it again over another link.
            return not link.breached and self._jobs.patience() > 0
        if not self._farewells or link.ended_cleanly:
            return False
        self._farewells -= 1  # the server may not have got the GOODBYE
        return True


def _request(
    command: str | Sequence[str],
    cwd: str | None,
    environment: Mapping[str, str] | None,
    timeout: float | None,
    terminal: Terminal | None,
    max_output: int | None,
    max_cpu: float | None,
    max_memory: int | None,
    on_disconnect: Disconnection | None,
) -> JobRequest:
    return JobRequest(
        command=command if isinstance(command, str) else None,
        argv=None if isinstance(command, str) else tuple(command),
        cwd=cwd,
        environment=tuple(environment.items()) if environment else (),
        timeout=timeout,
        terminal=terminal,
        max_output=max_output,
        max_cpu=max_cpu,
        max_memory=max_memory,
        on_disconnect=on_disconnect,
    )
