"""The process of a persistent shell: its terminal, and its complete output."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from twisted_rsh.core.requests import Terminal
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.lifetime import OutputBacklog
from twisted_rsh.execution.processes.exits import ending_of
from twisted_rsh.execution.processes.interfaces import IInputSource, IJobReactor
from twisted_rsh.execution.processes.pipes import FlowControlledProtocol
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess, spawn_process
from twisted_rsh.execution.shells.talk import Talk

if TYPE_CHECKING:
    from twisted_rsh.execution.shells.shell import ShellJob

__all__ = ["TYPED_BYTES", "ShellProcess", "TerminalFeed"]

TYPED_BYTES = 1024
"""Bytes that a terminal gets at a time.  If a command ends without reading them, the next command reads at most these.
A terminal holds four times as many."""

_STREAMS = tuple(Stream)

_MAX_LOOKS = 4
"""Measurements of the backlog before :meth:`ShellProcess.settle` takes an output as complete though it is never empty.
On a terminal each measurement finds no more than :data:`twisted_rsh.execution.processes.pipes.READ_BYTES`; the terminal
itself can hold twice as much."""


class TerminalFeed:
    """Types input on a terminal piece by piece, and nothing while the shell reads a command.

    A key that interrupts must not arrive while the shell reads its own line.  And a command may end without reading its
    input: then the next command must not get all of it.

    :param process: the shell's process; it gets the bytes, and the caller passes on to :meth:`taken` what it took.
    :param shell: told of each interrupt that was typed.
    """

    def __init__(self, process: SpawnedProcess, shell: ShellJob) -> None:
        self._process = process
        self._shell = shell
        self._queue: deque[tuple[memoryview | None, IInputSource | None]] = deque()
        self._under_way = 0
        self._source: IInputSource | None = None
        self._is_open = False
        self._is_handing_out = False

    def put(self, data: bytes, source: IInputSource) -> None:
        """Queue bytes; the caller bounds the bytes that the terminal has not taken.

        :param data: the typed bytes.
        :param source: told how many of these bytes the terminal took.
        """
        if data:
            self._queue.append((memoryview(data), source))
            self._next()

    def put_end(self) -> None:
        """Queue the end of the input.  The terminal's key for it is looked up later, as programs change it."""
        self._queue.append((None, None))
        self._next()

    def open(self) -> None:
        """Type from now on."""
        self._is_open = True
        self._next()

    def close(self) -> bytes:
        """Report no more of what the terminal takes, and type nothing until :meth:`open`.

        :returns: the queued bytes, which are not typed any more.
        """
        self._is_open = False
        queued = b"".join(data for data, _ in self._queue if data is not None)
        self._queue.clear()
        self._source = None
        return queued

    def taken(self, size: int) -> None:
        """Count bytes that the terminal took, report them, and type the next piece.

        :param size: bytes.
        """
        self._under_way -= size
        if self._source is not None:
            self._source.input_taken(size)
        self._next()

    def _next(self) -> None:
        if self._is_handing_out:  # the terminal took a piece at once; the loop below goes on with the next
            return
        self._is_handing_out = True
        while self._is_open and self._queue and not self._under_way:
            data, self._source = self._queue.popleft()
            if data is None:
                data = memoryview(self._process.end_marker())
            if len(data) > TYPED_BYTES:
                self._queue.appendleft((data[TYPED_BYTES:], self._source))
                data = data[:TYPED_BYTES]
            if data:
                self._under_way = len(data)
                keys = bytes(data)
                number = self._process.key_signal(keys)
                if number is not None:
                    self._shell.interrupt_comes()
                self._process.write(keys)
                if number is not None:
                    self._shell.interrupt_typed(number)
        self._is_handing_out = False


class ShellProcess(FlowControlledProtocol):
    """A running shell; Twisted calls the camelCase methods.

    :param reactor: watches its pipes and its exit, and tells the time.
    :param plan: the program to execute.
    :param terminal: its terminal, or ``None`` for pipes.
    :param talk: the talk with it.
    :param shell: gets the output and the end; called from the reactor only, never from within this call.
    :ivar transport: the process.
    :ivar pid: its process id, and that of its process group and of its session.
    :ivar feed: the input of its terminal, or ``None`` on pipes.
    :raises OSError: it was not started; no descriptor stays open, and the talk is closed.
    """

    transport: SpawnedProcess

    def __init__(
        self, reactor: IJobReactor, plan: SpawnPlan, terminal: Terminal | None, talk: Talk, shell: ShellJob
    ) -> None:
        self._shell = shell
        self._talk = talk
        self._is_settling = False
        self._looks = 0
        launch = talk.launch
        inherited = dict(launch.inherited)
        if terminal is None and launch.first_error is not None:
            inherited[2] = launch.first_error
        environment = tuple({**dict(plan.environment), **launch.environment}.items())
        cwd = plan.cwd if launch.cwd is None else launch.cwd
        try:
            self.transport = spawn_process(
                reactor,
                self,
                replace(plan, argv=plan.argv + launch.arguments, environment=environment, cwd=cwd),
                terminal=terminal,
                input_at=None if terminal is None else launch.input_at,
                error_at=launch.error_at,
                inherited=inherited,
            )
        except BaseException:
            talk.close()
            raise
        talk.started(self.transport)
        assert self.transport.pid is not None  # its exit is only noticed from the reactor
        self.pid: int = self.transport.pid
        self.feed = None if terminal is None else TerminalFeed(self.transport, shell)
        self._backlog = OutputBacklog(self.transport)

    # Input and output

    def output_room(self, childFD: int) -> int:
        """Return how many bytes of an output may be read now."""
        return self._shell.output_room(_STREAMS[childFD])

    def input_taken(self, size: int) -> None:
        """Let the terminal feed type the next piece."""
        if self.feed is not None:
            self.feed.taken(size)

    def settle(self) -> None:
        """Wait until all output that was written before this call is delivered, however slow its reader is.

        The shell's `settled` is called then, once for all calls until then, and possibly from within this call.
        """
        self._is_settling = True
        self._looks = 0
        self._look()

    def _look(self) -> None:
        self._looks += 1
        if not self._backlog.measure():
            self._is_settling = False
            self._shell.settled()

    def _check_settled(self) -> None:
        if self._is_settling and self._backlog.is_empty:
            self._is_settling = False
            self._shell.settled()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Hand output to the shell."""
        stream = _STREAMS[childFD]
        self._shell.output_received(stream, data)
        if self._is_settling and self._backlog.delivered(stream, len(data)) and self._backlog.is_empty:
            if self._looks < _MAX_LOOKS:
                self._look()
            else:
                self._check_settled()

    # The end

    def childConnectionLost(self, childFD: int) -> None:
        """Expect nothing more of a closed output."""
        if childFD in OUTPUTS:
            self._backlog.closed(Stream(childFD))
            self._check_settled()

    def processExited(self, reason: Failure) -> None:
        """Report the exit to the shell, after the reports that were written before it."""
        self._talk.exited()
        self._shell.exited(ending_of(reason.value))

    def close_outputs(self) -> bool:
        """Close both outputs.

        :returns: whether a surviving process still held one of them open.
        """
        held_open = not all(self.transport.is_output_exhausted(stream) for stream in OUTPUTS)
        self.transport.loseConnection()
        return held_open

    def processEnded(self, reason: Failure) -> None:
        """Report to the shell that nothing more comes."""
        self._shell.ended()
