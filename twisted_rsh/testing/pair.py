"""A real client and a real server joined in memory, and a scripted user whose commands end as a test says.

Application tests use it: links, TLS, login, sessions and resume are the real ones, while sockets, processes and files
are not used at all.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.client.connecting import connect_to_endpoint
from twisted_rsh.core.endings import Ending, Exited, JobEnd, RefusalReason, Refused, Signalled
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.interfaces import IJob, IJobOwner, IShellJob, IShellUser, JobRefused
from twisted_rsh.link.tls import ServerTLS
from twisted_rsh.server.factory import RemoteShellFactory
from twisted_rsh.server.link import ServerSettings
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.server.service import ServiceOptions
from twisted_rsh.testing.memory_endpoint import MemoryEndpoint
from twisted_rsh.testing.schedules import NO_FAULTS, Schedule
from twisted_rsh.trust.client_key import ClientKey
from twisted_rsh.trust.cred import IVerifiedKey
from twisted_rsh.trust.server_key import ServerKey

if TYPE_CHECKING:
    from twisted_rsh.client.connection import Connection

__all__ = ["WAIT_SECONDS", "Answer", "Answers", "MemoryPair", "ScriptedJob", "ScriptedShell", "ScriptedUser"]

WAIT_SECONDS = 3600.0
"""Seconds on the clock after which :meth:`MemoryPair.run_until_complete` gives up: longer than any time-out of a
session whose client is away by default."""

USER_NAME = "tester"
"""The name of a scripted user, and the name to log in as where the pair has a portal, unless told otherwise."""

COMMAND_NOT_FOUND = 127
"""The exit code of a command that a :class:`ScriptedUser` has no answer to: the code of a shell that finds none."""

SURVIVED_SIGNALS = frozenset("CHLD CONT STOP TSTP TTIN TTOU URG WINCH".split())
"""Names of the signals that do not end a process by default (POSIX.1-2017, ``<signal.h>``)."""

_SUCCESS = Exited(0)

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scripted command writes, and how it ends.

    :ivar stdout: bytes of its standard output.
    :ivar stderr: bytes of its standard error.
    :ivar ending: how it ends; a :class:`~twisted_rsh.core.endings.Refused` says that it never starts.
    :ivar reads_input: whether the command reads its input to the end before it answers, as ``sort`` does.  Otherwise it
        answers at once, as ``ls`` does: for code that starts a command and does not end its input.
    """

    stdout: bytes = b""
    stderr: bytes = b""
    ending: Ending = _SUCCESS
    reads_input: bool = True


Answers = Mapping[str, Answer | None] | Callable[[str], Answer | None]
"""The answers of a :class:`ScriptedUser`, by the text of the command.  ``None`` leaves the job to the test."""


@implementer(IJob)
class ScriptedJob:
    """A job without a process: it plays an answer, or does what a test tells it.

    It takes all of its input at once, holds its output back while there is no room for it, and dies of signals as a
    process does.  A subclass that overrides the methods of :class:`~twisted_rsh.interfaces.IJob` can be a command that
    reacts.

    :param request: what the client asked for.
    :param owner: the server's end of the job, which takes the output and the ending.
    :ivar request: as above.
    :ivar owner: as above.
    :ivar input_ended: whether the client has ended the job's input.
    :ivar signals: the names of the signals that the client has sent, in order.
    :ivar sizes: the sizes of the terminal that the client has set since the start, as columns and rows, in order.
    :ivar ending: how the job has ended; ``None`` while it runs.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner) -> None:
        self.request = request
        self.owner = owner
        self.input_ended = False
        self.signals: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self.ending: Ending | None = None
        self._input = bytearray()
        self._unwritten = {stream: bytearray() for stream in OUTPUTS}
        self._answer: Answer | None = None  # waits for the end of the input
        self._planned: Ending | None = None  # waits for room for the output

    @property
    def command(self) -> str:
        """The text of the command; an argument vector is quoted as for a POSIX shell (:func:`shlex.join`)."""
        return self.request.command or shlex.join(self.request.argv or ())

    @property
    def input(self) -> bytes:
        """The bytes that the job has read so far."""
        return bytes(self._input)

    def play(self, answer: Answer) -> None:
        """Write an answer and end, as soon as the input has ended if the answer says so.

        :param answer: what to write, and how to end.
        """
        if answer.reads_input and not self.input_ended:
            self._answer = answer
            return
        self.write(answer.stdout, Stream.STDOUT)
        self.write(answer.stderr, Stream.STDERR)
        self.end(answer.ending)

    def write(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """Write output, as far as there is room for it now and the rest later.  Nothing happens once the job has ended.

        :param data: any number of bytes.
        :param stream: ``STDOUT`` or ``STDERR``.
        """
        self._unwritten[stream] += data
        self._go_on()

    def end(self, ending: Ending | None = None) -> None:
        """End, as soon as the client has room for everything that was written.

        :param ending: how; ``None`` for exit status 0.
        """
        self._planned = ending or _SUCCESS
        self._go_on()

    # For the server to call; IJob documents these.

    def write_input(self, data: bytes) -> None:
        self._input += data
        self.owner.input_consumed(len(data))

    def end_input(self) -> None:
        self.input_ended = True
        if self._answer is not None:
            answer, self._answer = self._answer, None
            self.play(answer)

    def send_signal(self, name: str) -> None:
        self.signals.append(name)
        if name not in SURVIVED_SIGNALS:
            self._die(name)

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    def resume_output(self, stream: Stream) -> None:
        self._go_on()

    def close_output(self, stream: Stream) -> None:
        self._unwritten[stream].clear()
        self._go_on()

    def terminate(self) -> None:
        self._die("TERM")

    def _die(self, signal: str) -> None:
        for unwritten in self._unwritten.values():
            unwritten.clear()
        self.end(Signalled(signal))

    def _go_on(self) -> None:
        for stream, unwritten in self._unwritten.items():
            # Whatever the owner does when it takes output may end this job.
            while self.ending is None and unwritten and (room := self.owner.output_room(stream)):
                data = bytes(unwritten[:room])
                del unwritten[:room]
                self.owner.output_received(stream, data)
        if self.ending is None and self._planned is not None and not any(self._unwritten.values()):
            self.ending = self._planned
            for stream in OUTPUTS:
                self.owner.output_ended(stream)
            self.owner.job_ended(JobEnd(self.ending))


@implementer(IShellJob)
class ScriptedShell(ScriptedJob):
    """A persistent shell without a process, whose commands a :class:`ScriptedUser` answers.

    It remembers nothing by itself: answers that depend on earlier commands are for the test to give.  It ends when the
    client closes it, or when a test calls :meth:`end`.

    :param user: answers its commands.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner, user: ScriptedUser) -> None:
        super().__init__(request, owner)
        self._user = user
        self._running: ScriptedJob | None = None

    def when_ready(self, call: Callable[[], None]) -> None:
        call()

    def start_command(self, request: JobRequest, owner: IJobOwner) -> IJob:
        if self._running is not None and self._running.ending is None:
            raise JobRefused(RefusalReason.SHELL_BUSY, "the shell runs another command")
        self._running = self._user.start_command(request, owner)
        return self._running

    def terminate(self) -> None:
        if self._running is not None:
            self._running.terminate()
        super().terminate()


@implementer(IShellUser)
class ScriptedUser:
    """A user whose commands are answered from a script instead of by processes: the double for tests.

    A command that has no answer writes one line to its standard error and exits with status 127.

    :param answers: the answers by the text of the command: a mapping, or a callable that returns the answer.  For an
        argument vector that text is :func:`shlex.join` of it.  The answer ``None`` leaves the job to the test, which
        finds it in :attr:`jobs` and calls its :meth:`ScriptedJob.write` and :meth:`ScriptedJob.end`.
    :param name: the user's name, for the log.
    :param encoding: the code page of the commands' text, as Python names it.
    :ivar name: as above.
    :ivar encoding: as above.
    :ivar jobs: the commands that were asked for, in order, those in shells included.
    :ivar shells: the persistent shells that were asked for, in order.
    """

    def __init__(self, answers: Answers | None = None, *, name: str = USER_NAME, encoding: str = "utf-8") -> None:
        self.name = name
        self.encoding = encoding
        self.jobs: list[ScriptedJob] = []
        self.shells: list[ScriptedShell] = []
        self._answers: Answers = {} if answers is None else answers

    @property
    def commands(self) -> list[str]:
        """The texts of the commands that were asked for, in order."""
        return [job.command for job in self.jobs]

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """Start a scripted command or shell.

        :raises JobRefused: the answer's ending is a refusal.
        """
        if request.shell is None:
            return self.start_command(request, owner)
        shell = ScriptedShell(request, owner, self)
        self.shells.append(shell)
        return shell

    def start_command(self, request: JobRequest, owner: IJobOwner) -> ScriptedJob:
        """Start a scripted command.

        :raises JobRefused: the answer's ending is a refusal.
        """
        job = ScriptedJob(request, owner)
        self.jobs.append(job)
        answer = self._find_answer(job.command)
        if answer is None:
            return job
        if isinstance(answer.ending, Refused):
            raise JobRefused(answer.ending.reason, answer.ending.text)
        job.play(answer)
        return job

    def _find_answer(self, command: str) -> Answer | None:
        if not isinstance(self._answers, Mapping):
            return self._answers(command)
        try:
            return self._answers[command]
        except KeyError:
            text = f"{command}: this ScriptedUser has no answer to it\n"
            return Answer(stderr=text.encode(self.encoding, "replace"), ending=Exited(COMMAND_NOT_FOUND))


class MemoryPair:
    """A server and its clients in one process, joined by connections in memory that fail as planned.

    On a reactor a test awaits what it does, as with pytest-twisted.  On a :class:`~twisted.internet.task.Clock` time
    passes only when the test says so, with :meth:`run_until_complete` or ``clock.advance``; only the search for another
    connection during an outage ends by the real time.

    Use it as an async context manager, or call :meth:`close`.

    :param reactor: a reactor, or a :class:`~twisted.internet.task.Clock`.
    :param user: the user object that every login gives: a :class:`ScriptedUser`, or any other
        :class:`~twisted_rsh.interfaces.IShellUser`.  Or an application's own portal, to test who may log in.
    :param schedule: what goes wrong on each connection.
    :param options: the server's options; ``None`` for the defaults without penalties, since failed logins of a test are
        planned.  Interfaces, port and endpoints are not used.
    :param server_key: the server's key, for tests that make many pairs; ``None`` for a new one, which is in no file.
    :param client_key: likewise the key that clients log in with.
    :ivar user: as above.
    :ivar endpoint: where the server is: for :func:`~twisted_rsh.client.connecting.connect_to_endpoint`, and to see the
        connections that were made.
    :ivar server: the protocol factory of the server; each run of the server has its own.
    :ivar server_key: as above; its `spki_sha256` is the pin that clients expect.
    :ivar client_key: as above.
    """

    def __init__(
        self,
        reactor: Any,
        user: IShellUser | Portal,
        *,
        schedule: Schedule = NO_FAULTS,
        options: ServiceOptions | None = None,
        server_key: ServerKey | None = None,
        client_key: ClientKey | None = None,
    ) -> None:
        self.user = user
        self.server_key = server_key or ServerKey.generate()
        self.client_key = client_key or ClientKey.generate()
        self._reactor = reactor
        self._clock = cast("IReactorTime", reactor)
        self._portal = user if isinstance(user, Portal) else Portal(SingleUserRealm(user), [_OneKey(self.client_key)])
        self._options = ServiceOptions(penalties=False) if options is None else options
        self._connections: list[Connection] = []
        self._is_open = True
        self.server = self._new_server()
        self.endpoint = MemoryEndpoint(self._clock, _CurrentServer(self), schedule)

    def connect(
        self,
        user: str | None = None,
        *,
        key: ClientKey | None = None,
        limits: SessionLimits | None = None,
        resume: bool = True,
    ) -> Deferred[Connection]:
        """Connect a client and log in.

        :param user: the name to log in as; ``None`` for the name of the pair's user, or ``"tester"`` where the pair has
            a portal.
        :param key: the key to log in with; ``None`` for the pair's.
        :param limits: as for :func:`twisted_rsh.client.connecting.connect`.
        :param resume: likewise.
        :returns: fires with the connection, and fails as that of
            :func:`~twisted_rsh.client.connecting.connect_to_endpoint`.  :meth:`close` closes it.
        """
        name = user or (USER_NAME if isinstance(self.user, Portal) else self.user.name)

        async def log_in() -> Connection:
            connection = await connect_to_endpoint(
                self._reactor,
                self.endpoint,
                self.server_key.spki_sha256,
                key or self.client_key,
                name,
                limits,
                resume=resume,
            )
            self._connections.append(connection)
            return connection

        return Deferred.fromCoroutine(log_in())

    def cut(self) -> None:
        """Cut every connection now.  Sessions go on over the next connection, unless they were begun without resume."""
        self.endpoint.cut_all()

    def restart_server(self) -> None:
        """Let the server crash and start again: connections break, every job ends, and no session can be resumed.

        A client whose session began before loses it with
        :attr:`LossReason.RESTARTED <twisted_rsh.client.errors.LossReason>`.
        """
        self.cut()
        self.server.go_away("the server restarts")
        self.server = self._new_server()

    def run_until_complete(self, awaitable: Awaitable[Outcome], seconds: float = WAIT_SECONDS) -> Outcome:
        """Advance the clock from one call to the next until something is done.

        :param awaitable: a coroutine or a Deferred.
        :param seconds: how far the clock may advance.
        :returns: its result; what it raises is raised.
        :raises TimeoutError: it was not done by then, or nothing is left on the clock that could do it.
        :raises TypeError: the pair is on a reactor: await there instead.
        """
        clock = self._reactor
        if not isinstance(clock, Clock):
            raise TypeError("only a task.Clock can be advanced; on a reactor, await instead")
        outcomes: list[Outcome | Failure] = []

        async def run() -> Outcome:
            return await awaitable

        running = Deferred.fromCoroutine(run())
        running.addBoth(outcomes.append)
        latest = clock.seconds() + seconds
        while not outcomes:
            due = min((call.getTime() for call in clock.getDelayedCalls()), default=None)
            if due is None or due > latest:
                running.cancel()
                raise TimeoutError(
                    f"not done, and nothing happens within {seconds:g} s; does a job wait for its input?"
                )
            clock.advance(max(due - clock.seconds(), 0))
        [outcome] = outcomes
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome

    def close(self) -> Deferred[None]:
        """Close every connection and stop the server.

        :returns: fires when nothing of either is left on the reactor, and never fails.  May be called more than once.
        """

        async def leave() -> None:
            connections, self._connections = self._connections, []
            for connection in connections:
                await connection.close()
            self._is_open = False
            await self.server.go_away("the server is stopping")

        return Deferred.fromCoroutine(leave())

    async def __aenter__(self) -> MemoryPair:  # noqa: PYI034 - typing.Self is new in Python 3.11
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def accept(self, address: IAddress | None) -> IProtocol | None:
        """Return the server's protocol of a connection that was dialled, or ``None`` once the pair is closed."""
        return self.server.buildProtocol(address) if self._is_open else None

    def _new_server(self) -> RemoteShellFactory:
        options = self._options
        settings = ServerSettings(
            portal=self._portal,
            spki_sha256=self.server_key.spki_sha256,
            instance_id=secrets.token_hex(),
            limits=options.limits,
            login_seconds=options.login_seconds,
            max_unauthenticated=options.max_unauthenticated,
            max_unauthenticated_per_source=options.max_unauthenticated_per_source,
            penalties=options.penalties,
            max_sessions_per_key=options.max_sessions_per_key,
            max_buffered=options.max_buffered,
            log_commands=options.log_commands,
        )
        tls = ServerTLS(self.server_key.private_key, self.server_key.certificate)
        return RemoteShellFactory(self._clock, settings, tls)


class _CurrentServer(Factory):
    """Sends each dial to the run of the server that there is now."""

    noisy = False

    def __init__(self, pair: MemoryPair) -> None:
        self._pair = pair

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._pair.accept(addr)


@implementer(ICredentialsChecker)
class _OneKey:
    """Lets one key in, under any name."""

    credentialInterfaces = (IVerifiedKey,)

    def __init__(self, key: ClientKey) -> None:
        self._blob = key.blob

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        if credentials.key_blob != self._blob:
            return fail(UnauthorizedLogin("this pair knows another key"))
        return succeed(credentials.user.encode("utf-8", "surrogateescape"))
