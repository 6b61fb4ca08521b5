"""A check of a text's syntax by a shell beside the session's, which executes nothing (``-n``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from twisted_rsh.core.endings import Exited
from twisted_rsh.execution.processes.exits import ending_of
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import FlowControlledProtocol
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess, spawn_process

__all__ = ["CHECK_SECONDS", "MAX_MESSAGE_BYTES", "SyntaxAnswer", "SyntaxCheck"]

CHECK_SECONDS = 10.0
"""Seconds that a check may take; it takes 2 ms for a short text, and 0.1 s for 1 MiB."""

MAX_MESSAGE_BYTES = 4096
"""Bytes of the messages of a check that are kept."""


@dataclass(frozen=True, slots=True)
class SyntaxAnswer:
    """The answer to one check.

    :ivar is_accepted: whether the shell took the text without an error.
    :ivar message: the beginning of what it printed, in the locale ``C``.
    """

    is_accepted: bool
    message: bytes = b""


class SyntaxCheck(FlowControlledProtocol):
    """One check.  The answer never comes from within this call.

    :param reactor: watches the process, and tells the time.
    :param plan: the shell of the session; its program and its environment are taken.
    :param arguments: the program arguments, such as ``-n``.
    :param text: the text, which the shell reads as its standard input.
    :param answer: called once, unless :meth:`cancel` was called before.
    :raises OSError: the process was not started.
    """

    transport: SpawnedProcess

    def __init__(
        self,
        reactor: IJobReactor,
        plan: SpawnPlan,
        arguments: tuple[bytes, ...],
        text: bytes,
        answer: Callable[[SyntaxAnswer], None],
    ) -> None:
        self._answer: Callable[[SyntaxAnswer], None] | None = answer
        self._message = b""
        environment = (*((name, value) for name, value in plan.environment if name != b"LC_ALL"), (b"LC_ALL", b"C"))
        self._process = spawn_process(
            reactor,
            self,
            replace(plan, argv=(plan.argv[0], *arguments), environment=environment, cwd=b"/"),
        )
        self._limit: IDelayedCall | None = reactor.callLater(CHECK_SECONDS, self._end)
        self._process.write(text)
        self._process.closeStdin()

    def cancel(self) -> None:
        """End the check without an answer.  Harmless when it has answered."""
        self._answer = None
        self._end()

    def _end(self) -> None:
        if self._limit is not None:
            if self._limit.active():
                self._limit.cancel()
            self._limit = None
            self._process.signal_group(9)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep the beginning of what the shell prints."""
        self._message = (self._message + data)[:MAX_MESSAGE_BYTES]

    def processEnded(self, reason: Failure) -> None:
        """Answer."""
        ending = ending_of(reason.value)
        if self._limit is not None:
            if self._limit.active():
                self._limit.cancel()
            self._limit = None
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(SyntaxAnswer(ending == Exited(0), self._message))
