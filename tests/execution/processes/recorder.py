"""A process protocol that records what is reported to it, a recorder for pipes, and short ways to start commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.execution.owners import PATIENCE, reactor
from twisted_rsh.core.requests import Terminal
from twisted_rsh.execution.processes.exits import ExitReport, IExitListener
from twisted_rsh.execution.processes.interfaces import IPipeOwner
from twisted_rsh.execution.processes.pipes import READ_BYTES, FlowControlledProtocol
from twisted_rsh.execution.processes.spawn import NOTHING_INHERITED, SpawnPlan
from twisted_rsh.execution.processes.terminal import TerminalEnds, open_terminal
from twisted_rsh.execution.processes.transport import SpawnedProcess, spawn_process

__all__ = [
    "QUIET",
    "ExitRecorder",
    "PipeRecorder",
    "Recorder",
    "close_ends",
    "end_of",
    "master_pair",
    "shell",
    "start",
    "start_on_terminal",
    "written",
]

QUIET = (("ECHO", 0), ("OPOST", 0))
"""Modes of a terminal that adds nothing to what is written and typed there."""


def shell(command: str) -> SpawnPlan:
    """Plan a command in the root folder."""
    path = os.environb.get(b"PATH", b"/usr/bin:/bin")
    return SpawnPlan(b"/bin/sh", (b"sh", b"-c", command.encode()), ((b"PATH", path),), b"/")


@implementer(IExitListener)
class ExitRecorder:
    """Records how children have exited.

    :ivar reports: one for each child.
    """

    def __init__(self) -> None:
        self.reports: list[ExitReport] = []

    def process_exited(self, report: ExitReport) -> None:
        """See IExitListener."""
        self.reports.append(report)


@implementer(IPipeOwner)
class PipeRecorder(FlowControlledProtocol):
    """Reads and feeds pipes, and records what they report.

    :param room: bytes that each read may have.
    :ivar received: what each read brought.
    :ivar taken: how many bytes each write took.
    :ivar closed: the numbers of the pipes that are closed.
    """

    def __init__(self, room: int = READ_BYTES) -> None:
        self.room = room
        self.received: list[bytes] = []
        self.taken: list[int] = []
        self.closed: list[int] = []

    def output_room(self, childFD: int) -> int:
        """See FlowControlledProtocol."""
        return self.room

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """See ProcessProtocol."""
        self.received.append(data)

    def input_taken(self, size: int) -> None:
        """See IInputSource."""
        self.taken.append(size)

    def pipe_closed(self, childFD: int) -> None:
        """See IPipeOwner."""
        self.closed.append(childFD)


class Recorder(FlowControlledProtocol):
    """Records the life of a process.

    :ivar room: bytes that each read of an output may have.
    :ivar taken: bytes of input that the process's pipe or terminal took.
    """

    def __init__(self) -> None:
        self.room = READ_BYTES
        self.taken = 0
        self.events: list[str] = []
        self.output: dict[int, bytes] = {1: b"", 2: b""}
        self.ended: Deferred[Failure] = Deferred()
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def output_room(self, childFD: int) -> int:
        """See FlowControlledProtocol."""
        return self.room

    def input_taken(self, size: int) -> None:
        """See IInputSource."""
        self.taken += size

    def connectionMade(self) -> None:
        """See ProcessProtocol."""
        self.events.append("made")
        self.ended.addTimeout(PATIENCE, reactor)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """See ProcessProtocol."""
        self.output[childFD] += data
        self._look()

    def childConnectionLost(self, childFD: int) -> None:
        """See ProcessProtocol."""
        self.events.append(f"lost {childFD}")
        self._look()

    def processExited(self, reason: Failure) -> None:
        """See ProcessProtocol."""
        self.events.append(f"exited {type(reason.value).__name__}")
        self._look()

    def processEnded(self, reason: Failure) -> None:
        """See ProcessProtocol."""
        self.events.append(f"ended {type(reason.value).__name__}")
        self.ended.callback(reason)

    def output_has(self, text: bytes, childFD: int = 1) -> Deferred[None]:
        """Wait until an output has a text."""
        return self.when(lambda: text in self.output[childFD])

    def has_exited(self) -> Deferred[None]:
        """Wait for the exit."""
        return self.when(lambda: any(event.startswith("exited") for event in self.events))

    def when(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Wait until a call of the process's has made a condition true."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting.addTimeout(PATIENCE, reactor)

    def _look(self) -> None:
        for entry in [entry for entry in self._waiting if entry[0]()]:
            self._waiting.remove(entry)
            reactor.callLater(0, entry[1].callback, None)


def start(
    command: str, *, input_at: int | None = 0, error_at: int = 2, inherited: Mapping[int, int] = NOTHING_INHERITED
) -> tuple[Recorder, SpawnedProcess]:
    """Start a command on pipes under a recorder."""
    protocol = Recorder()
    process = spawn_process(
        reactor, protocol, shell(command), input_at=input_at, error_at=error_at, inherited=inherited
    )
    return protocol, process


def start_on_terminal(command: str, *modes: tuple[str, int], **options: Any) -> tuple[Recorder, SpawnedProcess]:
    """Start a command on a terminal of 100 columns and 30 rows under a recorder.

    :param options: `separate_stderr` of the terminal, and what else `spawn_process` takes.
    """
    protocol = Recorder()
    separate_stderr = options.pop("separate_stderr", False)
    terminal = Terminal(columns=100, rows=30, modes=modes, separate_stderr=separate_stderr)
    return protocol, spawn_process(reactor, protocol, shell(command), terminal=terminal, **options)


async def end_of(protocol: Recorder) -> Any:
    """Wait for the end and return its reason."""
    protocol.ended.addErrback(lambda failure: failure)
    try:
        await protocol.ended
    except (ProcessDone, ProcessTerminated) as e:
        return e
    raise AssertionError("not reached")


async def written(command: str, *modes: tuple[str, int], **options: Any) -> bytes:
    """Run a command without input on a terminal that changes nothing, and return what it wrote there."""
    protocol, process = start_on_terminal(command, *QUIET, *modes, **options)
    await end_of(protocol)
    assert process.foreground_group() is None
    process.resize(1, 1)
    return protocol.output[1]


def close_ends(ends: TerminalEnds) -> None:
    """Close a terminal that no process used."""
    for fd in (ends.writing, ends.reading, ends.slave):
        os.close(fd)


def master_pair(*modes: tuple[str, int]) -> tuple[int, int]:
    """Open a terminal and return its master, once, and its slave."""
    ends = open_terminal(Terminal(modes=modes))
    os.close(ends.writing)
    return ends.reading, ends.slave
