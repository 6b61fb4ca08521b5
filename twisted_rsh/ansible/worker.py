"""The keeper's end of a connection to one process of Ansible: one request, what goes in, and what comes out.

A frame is four bytes of length, one byte that says what it is, and the rest.  The keeper greets before it reads; so a
process whose connection ends without a greeting knows that nothing was begun.  It need not wait for it to send its
request.

======== =========== ============================================================================
kind     sender      contents
======== =========== ============================================================================
``H``    keeper      the greeting: :data:`VERSION`
``Q``    plugin      the request, a JSON object: :class:`Task` has its members
``I``    plugin      input of the command, no more than there is room for
``Z``    plugin      the end of the input, nothing else
``M``    keeper      room for as many more bytes of input, in decimal digits
``S``    keeper      the command has started, nothing else
``O``    keeper      the next bytes of its standard output
``E``    keeper      the next bytes of its standard error
``R``    keeper      how it ended, a JSON object, and the last frame: see :meth:`WorkerLink.answer`
======== =========== ============================================================================
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh import (
    Ending,
    Error,
    Exited,
    Grace,
    Job,
    LoginRefused,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    Terminal,
    describe_ending,
    exit_status,
)
from twisted_rsh.ansible.kept import KeptServer, ServerAddress

__all__ = ["INPUT_BYTES", "MAX_FRAME_BYTES", "VERSION", "Keeping", "Task", "WorkerLink"]

VERSION = b"1"
"""The version of this conversation.  It is in the name of the keeper's socket, so both ends have the same."""

INPUT_BYTES = 256 * 1024
"""Bytes of input for which there is room at first: a module of Ansible's with everything that it imports.  The keeper
holds no more of one command.  It never stops reading, so it notices at once when a process of Ansible is gone."""

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""Bytes in a frame at most: a request with the longest command that a server takes, of which JSON makes six bytes for
one, and some."""

_HEADER = struct.Struct("!I")
"""What is before each frame: its length in bytes."""

_TERMINAL = Terminal(modes=(("ECHO", 0), ("ONLCR", 0)), separate_stderr=True)
"""A terminal at which no person types: it repeats no input, and changes no output."""

_COMMAND_REFUSED = (RefusalReason.NOT_FOUND, RefusalReason.NOT_EXECUTABLE)
"""The refusals that say something about the command, and not about the host."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a process of Ansible asks for.

    :ivar server: the server, and how to reach it.
    :ivar connect_seconds: seconds that connecting and logging in may take.
    :ivar idle_seconds: seconds for which the connection is kept when nothing uses it.
    :ivar command: a command line for the user's shell, or a program and its arguments; ``None`` to have the
        next task connect anew.
    :ivar terminal: whether the command gets a terminal.
    :ivar grace: seconds for which the command goes on without a connection.
    :ivar timeout: seconds after which the server ends the command, or ``None``.
    """

    server: ServerAddress
    connect_seconds: float
    idle_seconds: float
    command: str | tuple[str, ...] | None
    terminal: bool
    grace: float
    timeout: float | None

    @classmethod
    def parse(cls, text: bytes) -> Task:
        """Read a request.

        :raises ValueError: the text is not a request.
        """
        try:
            members = json.loads(text)
            server = ServerAddress(**members.pop("server"))
            command = members.pop("command")
            if command is not None and not isinstance(command, str):
                command = tuple(command)
            return cls(server=server, command=command, **members)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a request: {error}") from error


class Keeping(Protocol):
    """What a link needs of the keeper."""

    def server(self, address: ServerAddress) -> KeptServer:
        """Return the server at an address."""

    def reset(self, address: ServerAddress) -> None:
        """Let the next use of a server connect anew."""

    def worker_came(self, link: WorkerLink) -> None:
        """Learn that a process of Ansible has connected."""

    def worker_left(self, link: WorkerLink, idle_seconds: float | None) -> None:
        """Learn that it is gone, and for how long it wanted connections to be kept, if it said so."""


@implementer(IPushProducer)
class _Outflow:
    """Lets a command write no faster than the process of Ansible reads."""

    def __init__(self) -> None:
        self._is_full = False
        self._owed: list[tuple[Callable[[int], None], int]] = []

    def passed_on(self, consumed: Callable[[int], None], size: int) -> None:
        """Let a command write as much again as was passed on, once there is room."""
        if self._is_full:
            self._owed.append((consumed, size))
        else:
            consumed(size)

    def pauseProducing(self) -> None:
        self._is_full = True

    def resumeProducing(self) -> None:
        self._is_full = False
        owed, self._owed = self._owed, []
        for consumed, size in owed:
            consumed(size)

    def stopProducing(self) -> None:
        """The process of Ansible is gone; :meth:`WorkerLink.connectionLost` ends the command."""


class WorkerLink(Int32StringReceiver):
    """Serves one process of Ansible.  When that is gone before the command has ended, the command is ended.

    :param keeper: has the connections.
    """

    MAX_LENGTH = MAX_FRAME_BYTES
    transport: Any
    _log = Logger()

    def __init__(self, keeper: Keeping) -> None:
        self._keeper = keeper
        self._task: Task | None = None
        self._serving: Deferred[None] | None = None
        self._outflow = _Outflow()
        self._room = INPUT_BYTES
        self._early: list[bytes] = []
        self._job: Job | None = None
        self._input_has_ended = False

    def connectionMade(self) -> None:
        self._keeper.worker_came(self)
        self.transport.registerProducer(self._outflow, True)
        # At once, and not in a later turn: no request may be read before the greeting is on its way.
        self.transport.getHandle().send(_frame(b"H", VERSION))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._serving is not None:
            self._serving.cancel()
        self._keeper.worker_left(self, None if self._task is None else self._task.idle_seconds)

    def stringReceived(self, string: bytes) -> None:
        """A frame came; Twisted calls this."""
        kind, body = string[:1], string[1:]
        if kind == b"Q" and self._task is None:
            try:
                self._task = Task.parse(body)
            except ValueError:
                self.transport.abortConnection()
                return
            self._serving = Deferred.fromCoroutine(self._serve(self._task)).addErrback(self._broke)
        elif kind == b"I" and 0 < len(body) <= self._room:
            self._room -= len(body)
            self._take_input(body)
        elif kind == b"Z":
            self._input_has_ended = True
            if self._job is not None:
                self._job.stdin.end()
        else:
            self.transport.abortConnection()

    async def _serve(self, task: Task) -> None:
        try:
            self.answer(await self._run(task))
        except CancelledError:
            pass  # there is no one to tell
        except (Error, OSError, ValueError) as error:
            self.answer({"unreachable": str(error), "login": isinstance(error, LoginRefused)})

    def _broke(self, failure: Failure) -> None:
        """Let a fault of the keeper's end one task, which learns that nothing is known of its command."""
        self._log.failure("a task failed in the keeper", failure)
        self.transport.abortConnection()

    async def _run(self, task: Task) -> dict[str, object]:
        if task.command is None:
            self._keeper.reset(task.server)
            return {"status": 0, "note": None}
        async with self._keeper.server(task.server).use(task.connect_seconds, task.idle_seconds) as connection:
            job = connection.start(
                task.command,
                terminal=_TERMINAL if task.terminal else None,
                timeout=task.timeout,
                on_disconnect=Grace(task.grace),
            )
            for kind, output in ((b"O", job.stdout), (b"E", job.stderr)):
                output.forward(partial(self._output_received, kind, output.consumed))
            job.when_started().addCallback(lambda _: self._send(b"S"))
            self._feed(job)
            return _describe((await job.wait()).ending)

    def answer(self, answer: dict[str, object]) -> None:
        """Send the last frame, and close.

        :param answer: `status`, the exit status for Ansible, and `note`, a line about the ending or ``None``; or
            `unreachable`, why there is no ending, and `login`, whether the server refused the login.
        """
        self._send(b"R", json.dumps(answer).encode())
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _feed(self, job: Job) -> None:
        self._job = job
        early, self._early = self._early, []
        for data in early:
            self._take_input(data)
        if self._input_has_ended:
            job.stdin.end()

    def _take_input(self, data: bytes) -> None:
        if self._job is None:
            self._early.append(data)
            return
        writing = self._job.stdin.write(data)
        # A command that does not read all of its input is none the worse for it.
        writing.addErrback(lambda failure: failure.trap(BrokenPipeError))
        writing.addCallback(lambda _: self._gain_room(len(data)))

    def _gain_room(self, size: int) -> None:
        self._room += size
        self._send(b"M", b"%d" % size)

    def _output_received(self, kind: bytes, consumed: Callable[[int], None], data: bytes) -> None:
        self._send(kind, data)
        self._outflow.passed_on(consumed, len(data))

    def _send(self, kind: bytes, body: bytes = b"") -> None:
        if self.connected:
            self.transport.write(_frame(kind, body))


def _frame(kind: bytes, body: bytes) -> bytes:
    return _HEADER.pack(1 + len(body)) + kind + body


def _describe(ending: Ending) -> dict[str, object]:
    """Describe how the command ended, or, if it was not run or its ending is not known, why the host is unreachable."""
    if isinstance(ending, OutcomeUnknown) or (isinstance(ending, Refused) and ending.reason not in _COMMAND_REFUSED):
        return {"unreachable": describe_ending(ending), "login": False}
    if isinstance(ending, Exited):
        return {"status": ending.code, "note": None}
    return {"status": exit_status(ending), "note": describe_ending(ending)}
