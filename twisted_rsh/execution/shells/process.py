"""The process of a persistent shell: its command pipe, its status pipe, and when its output is complete."""

from __future__ import annotations

import array
import fcntl
import os
import termios
from collections.abc import Callable

from twisted.python.failure import Failure
from zope.interface import Interface

from twisted_rsh.core.endings import Ending
from twisted_rsh.core.requests import Terminal
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.plan import SpawnPlan
from twisted_rsh.execution.processes.descriptors import open_pipe
from twisted_rsh.execution.processes.exits import ending_of
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import READ_BYTES, FlowControlledProtocol, InputPipe, OutputPipe
from twisted_rsh.execution.processes.transport import SpawnedProcess, spawn_process
from twisted_rsh.execution.shells.dialect import STATUS_FD, TERMINAL_FD, GarbledReport, Report, ReportReader

__all__ = ["IShellListener", "ShellProcess"]

# ruff: noqa: N805 - a zope interface's methods have no self


class IShellListener(Interface):
    """Whoever is told what the process of a shell does; from the reactor only."""

    def output_room(stream: Stream) -> int:
        """Say how many bytes of an output may be handed over now."""

    def output_received(stream: Stream, data: bytes) -> None:
        """Take output, no more than there was room for."""

    def reported(report: Report) -> None:
        """Take one of the shell's reports."""

    def garbled() -> None:
        """Learn that the status pipe is of no use any more."""

    def exited(ending: Ending) -> None:
        """Learn that the shell has exited; its output may not be complete."""

    def ended() -> None:
        """Learn that the shell has exited and its outputs are closed; the last call."""


_MAX_LOOKS = 4
"""Looks at what an output holds before it counts as complete although it is never empty: each finds no more than
:data:`twisted_rsh.execution.processes.pipes.READ_BYTES` on a terminal, which can itself hold twice that."""


class ShellProcess(FlowControlledProtocol):
    """A running shell; the camelCase methods are Twisted's to call.

    :param reactor: watches its pipes and its exit, and tells the time.
    :param plan: what to execute.
    :param terminal: its terminal, or ``None`` for pipes.
    :param listener: an :class:`IShellListener`; called from the reactor only, never from within this call.
    :param input_taken: learns how many bytes its terminal took.
    :ivar transport: the process.
    :ivar pid: its process id, and that of its process group and of its session.
    :raises OSError: it was not started; no descriptor stays open.
    """

    transport: SpawnedProcess

    def __init__(
        self,
        reactor: IJobReactor,
        plan: SpawnPlan,
        terminal: Terminal | None,
        listener: IShellListener,
        input_taken: Callable[[int], None],
    ) -> None:
        self._listener = listener
        self._input_taken = input_taken
        self._owed = dict.fromkeys(OUTPUTS, 0)
        self._looks = 0
        self._settled: Callable[[], None] | None = None
        self._reports = ReportReader()
        command_reader, command_writer = open_pipe()
        status_reader, status_writer = open_pipe()
        try:
            self.transport = spawn_process(
                reactor,
                self,
                plan,
                terminal=terminal,
                input_at=None if terminal is None else TERMINAL_FD,
                inherited={0: command_reader, STATUS_FD: status_writer},
            )
        except BaseException:
            os.close(command_writer)
            os.close(status_reader)
            raise
        finally:
            os.close(command_reader)
            os.close(status_writer)
        assert self.transport.pid is not None  # its exit is only noticed from the reactor
        self.pid: int = self.transport.pid
        self._commands = InputPipe(reactor, command_writer, 0)
        self._status = OutputPipe(reactor, status_reader, STATUS_FD, self)
        self._status.resume()

    # Commands and reports

    def send_line(self, line: bytes) -> None:
        """Let the shell read a line of its own; it is held until the pipe has taken it.

        :param line: the line, with its newline.
        """
        self._commands.write(line)

    def unread_commands(self) -> int:
        """Count the bytes that the shell has not read of its lines; 0 where the system does not tell."""
        if self._commands.is_closed:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._commands.fileno(), termios.FIONREAD, count)
        return count[0]

    def end_commands(self) -> None:
        """Let the shell see the end of its commands, at which it exits."""
        self._commands.end()

    def _status_received(self, data: bytes) -> None:
        try:
            reports = self._reports.feed(data)
        except GarbledReport:
            self._status.close()
            self._listener.garbled()
            return
        for report in reports:
            self._listener.reported(report)

    # Output

    def settle(self, settled: Callable[[], None]) -> None:
        """Wait until everything that was written by now has been delivered, however long that takes.

        :param settled: called then, possibly at once.
        """
        self._settled = settled
        self._looks = 0
        self._look()

    def resume_outputs(self) -> None:
        """Read again: there is somebody else to take what comes."""
        for stream in OUTPUTS:
            self.transport.resume_output(stream)

    def _look(self) -> None:
        self._looks += 1
        for stream in OUTPUTS:
            self._owed[stream] = self.transport.buffered_output(stream)
        self._check_settled()

    def _check_settled(self) -> None:
        if self._settled is None or any(self._owed.values()):
            return
        settled, self._settled = self._settled, None
        settled()

    def output_room(self, childFD: int) -> int:
        """Ask the listener; what the shell reports always has room."""
        return READ_BYTES if childFD == STATUS_FD else self._listener.output_room(Stream(childFD))

    def input_taken(self, size: int) -> None:
        """Tell how many bytes the terminal took."""
        self._input_taken(size)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Hand output on, and read what the shell reports."""
        if childFD == STATUS_FD:
            self._status_received(data)
            return
        stream = Stream(childFD)
        self._listener.output_received(stream, data)
        if self._owed[stream]:
            self._owed[stream] = max(0, self._owed[stream] - len(data))
            if not any(self._owed.values()) and self._looks < _MAX_LOOKS:
                self._look()
            else:
                self._check_settled()

    # The end

    def childConnectionLost(self, childFD: int) -> None:
        """Learn that an output was closed."""
        if childFD in self._owed:
            self._owed[Stream(childFD)] = 0
            self._check_settled()

    def processExited(self, reason: Failure) -> None:
        """Learn of the exit; what the shell has reported before is reported first."""
        self._commands.close()
        if not self._status.is_closed:
            self._status.doRead()
            self._status.close()
        self._listener.exited(ending_of(reason.value))

    def close_outputs(self) -> bool:
        """Close both outputs.

        :returns: whether somebody still held one of them open.
        """
        held_open = not all(self.transport.is_output_exhausted(stream) for stream in OUTPUTS)
        self.transport.loseConnection()
        return held_open

    def processEnded(self, reason: Failure) -> None:
        """Learn that nothing follows any more."""
        self._listener.ended()
