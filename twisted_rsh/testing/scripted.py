"""A scripted user: an :class:`~twisted_rsh.interfaces.IShellUser` whose commands end as a test says.

No process runs.  :class:`~twisted_rsh.testing.pair.MemoryPair` serves such a user to real clients, and so does any
server whose realm returns it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zope.interface import implementer

from twisted_rsh.core.endings import Ending, Exited, JobEnd, RefusalReason, Refused, Signalled
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.core.shell_state import ShellState
from twisted_rsh.interfaces import IJob, IJobOwner, IShellJob, IShellUser, JobRefused

__all__ = ["USER_NAME", "Answer", "Answers", "ScriptedJob", "ScriptedShell", "ScriptedUser"]

USER_NAME = "tester"
"""The default name of a scripted user."""

COMMAND_NOT_FOUND = 127
"""The exit status of a command without an answer: the status of a shell that finds no such command."""

SURVIVED_SIGNALS = frozenset("CHLD CONT STOP TSTP TTIN TTOU URG WINCH".split())
"""Names of the signals that do not end a process by default (POSIX.1-2017, ``<signal.h>``)."""

_SUCCESS = Exited(0)


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
        """The text of the command, or a subsystem's name; an argument vector is quoted as for a POSIX shell
        (:func:`shlex.join`)."""
        return self.request.command or self.request.subsystem or shlex.join(self.request.argv or ())

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
    :ivar state: what :meth:`inspect` returns; a test may set it.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner, user: ScriptedUser) -> None:
        super().__init__(request, owner)
        self._user = user
        self._running: ScriptedJob | None = None
        self.state = ShellState()

    def when_ready(self, call: Callable[[], None]) -> None:
        call()

    def start_command(self, request: JobRequest, owner: IJobOwner) -> IJob:
        if self._running is not None and self._running.ending is None:
            raise JobRefused(RefusalReason.SHELL_BUSY, "the shell runs another command")
        self._running = self._user.start_command(request, owner)
        return self._running

    def inspect(self) -> ShellState:
        return self.state

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
