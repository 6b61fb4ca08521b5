"""Our own process transport: any `ProcessProtocol` on `os.posix_spawn`, with flow control for each stream apart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
from collections.abc import Callable, Iterable, Mapping

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.requests import Terminal
from twisted_rsh.execution.plan import SpawnPlan
from twisted_rsh.execution.processes.descriptors import FIRST_OWN
from twisted_rsh.execution.processes.exits import ExitReport, watch_exit
from twisted_rsh.execution.processes.interfaces import IFlowControlledProcess, IJobReactor
from twisted_rsh.execution.processes.pipes import READ_BYTES, InputPipe, OutputPipe
from twisted_rsh.execution.processes.spawn import NOTHING_INHERITED, Spawned, spawn
from twisted_rsh.execution.processes.terminal import (
    TerminalInput,
    TerminalOutput,
    discard_typed,
    foreground_group,
    set_size,
)

__all__ = ["ProcessGroups", "ProcessStatusLost", "SpawnedProcess", "spawn_process"]


class ProcessGroups:
    """Signals all of a job that can be named by group.

    A shell with job control puts each command into a group of its own, and the one in the foreground is what the keys
    of its terminal signal; the shell's own group alone would be only half of the job.

    :param leader: the group, and the session, of the job's first process.
    :param foreground: says which group is in the foreground of the job's terminal, ``None`` for none.
    """

    def __init__(self, leader: int, foreground: Callable[[], int | None]) -> None:
        self._leader = leader
        self._foreground = foreground
        self._known = [leader]

    def signal(self, number: int) -> None:
        """Send a signal now.

        :param number: a signal's number, or 0 to ask only.
        :raises ProcessLookupError: there is nobody left.
        :raises PermissionError: nobody of those who are left may be signalled: they became another user, as with
            ``sudo``.
        """
        problems = [_send(group, number) for group in self._with_foreground([self._leader])]
        if None not in problems:
            raise next((e for e in problems if isinstance(e, PermissionError)), ProcessLookupError())

    def reach(self, number: int) -> bool:
        """Send a signal to whatever is left, a group that has been in the foreground at an earlier call included.

        To be asked again at short intervals or not at all: once a group has gone, its number is anybody's.

        :param number: a signal's number, or 0 to ask only.
        :returns: whether any of it was still there.
        """
        # What may not be signalled is there all the same: a set-user-id program.
        self._known = [
            group
            for group in self._with_foreground(self._known)
            if not isinstance(_send(group, number), ProcessLookupError)
        ]
        return bool(self._known)

    def _with_foreground(self, groups: list[int]) -> list[int]:
        """Put the foreground first: once the leader has died nobody could tell which it was."""
        group = self._foreground() if groups else None
        if group is None or group in groups or not self._is_ours(group):
            return groups
        return [group, *groups]

    def _is_ours(self, group: int) -> bool:
        """Whether a group is not one of another session that got the number of one of ours that has ended."""
        try:
            return os.getsid(group) == self._leader
        except OSError:
            return True  # the first process of a pipeline has ended, and the others are there


def _send(group: int, number: int) -> OSError | None:
    """Send a signal to a group, and return what was wrong."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError) as e:
        return e
    return None


class ProcessStatusLost(Exception):
    """The process has exited and somebody else took its status, so that nobody can tell how.

    What `processExited` and `processEnded` get in place of `ProcessDone` and `ProcessTerminated`.
    """


def spawn_process(
    reactor: IJobReactor,
    protocol: ProcessProtocol,
    plan: SpawnPlan,
    *,
    terminal: Terminal | None = None,
    input_at: int | None = 0,
    inherited: Mapping[int, int] = NOTHING_INHERITED,
    read_size: Callable[[int], int] | None = None,
    input_taken: Callable[[int], None] | None = None,
) -> SpawnedProcess:
    """Start a process under a protocol.

    The protocol is called as by `reactor.spawnProcess`, except that it hears of nothing but `connectionMade` from
    within this call.  `processExited` may come before the last output; `processEnded` comes when all streams are
    closed.  To the protocol the input is always 0, wherever the process has it; of an input that the process was not
    given it hears nothing.

    On a terminal, output 1 is what the process writes there and ends when nobody holds the terminal open any more,
    which also ends input 0.  Output 2 ends at once, with no data, unless it is separate.

    :param reactor: watches the streams and the exit.
    :param protocol: an ordinary process protocol.
    :param plan: what to execute.
    :param terminal: the terminal to give it, or ``None`` for pipes (see
        :func:`twisted_rsh.execution.processes.spawn.spawn`).
    :param input_at: the descriptor that its input is in the child, or ``None`` for no input (see there).
    :param inherited: descriptors that it gets beside these, the number in the child and ours (see there).
    :param read_size: given 1 or 2, says how many bytes of that output may be read now; asked before each read, and at
        0 the output is paused until `resume_output`.  ``None`` reads whatever comes.
    :param input_taken: learns how many bytes of its input the process's pipe or terminal took; ``None`` when nobody
        counts.
    :returns: the transport, which is the protocol's.
    :raises ValueError: the numbers are not as :func:`twisted_rsh.execution.processes.spawn.spawn` wants them.
    :raises twisted_rsh.execution.processes.terminal.TerminalUnavailable: there is no terminal to be had; an ``OSError``
        too.
    :raises OSError: the process was not started (see :func:`twisted_rsh.execution.processes.spawn.spawn`), or could not
        be
        watched and was killed; no descriptor stays open.
    """
    spawned = spawn(plan, terminal=terminal, input_at=input_at, inherited=inherited)
    return SpawnedProcess(reactor, protocol, spawned, read_size or _everything, input_taken or _nobody)


def _everything(childFD: int) -> int:  # noqa: ARG001 - the signature of read_size
    return READ_BYTES


def _nobody(size: int) -> None:
    """Count nothing."""


@implementer(IFlowControlledProcess)
class SpawnedProcess:
    """A running process under a protocol; made by :func:`spawn_process`.

    :ivar pid: its process id until its exit has been noticed, then ``None``.
    :ivar resource_usage: see :class:`IFlowControlledProcess`.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IJobReactor,
        protocol: ProcessProtocol,
        spawned: Spawned,
        read_size: Callable[[int], int],
        input_taken: Callable[[int], None],
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self._reason: Failure | None = None
        self._groups = ProcessGroups(spawned.pid, self.foreground_group)
        self._open = {1, 2} if spawned.stdin is None else {0, 1, 2}
        self.pid: int | None = spawned.pid
        self.resource_usage: resource.struct_rusage | None = None
        self._terminal: int | None = None
        self._terminal_name = spawned.terminal
        input_type, output_type = (TerminalInput, TerminalOutput) if spawned.terminal else (InputPipe, OutputPipe)
        self._input = input_type(reactor, _or_closed(spawned.stdin), input_taken, lambda: self._stream_closed(0))
        self._outputs = {
            1: self._output(output_type, spawned.stdout, 1, read_size),
            2: self._output(OutputPipe, _or_closed(spawned.stderr), 2, read_size),
        }
        try:
            if spawned.terminal is not None:
                self._terminal = fcntl.fcntl(spawned.stdout, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN)
            self._input.watch()
            for output in self._outputs.values():
                output.resume()
            watch_exit(reactor, spawned.pid, self._exited, self._later)
        except BaseException:
            self._abandon(spawned.pid)
            raise
        with self._log.failuresHandled("while making the connection of a process"):
            protocol.makeConnection(self)
        if spawned.stderr is None:
            self._later(lambda: self._report_closed(2))

    def _output(
        self, output_type: type[OutputPipe], fd: int, number: int, read_size: Callable[[int], int]
    ) -> OutputPipe:
        return output_type(
            self._reactor,
            fd,
            room=lambda: read_size(number),
            received=lambda data: self._protocol.childDataReceived(number, data),
            lost=lambda: self._stream_closed(number),
        )

    def _abandon(self, pid: int) -> None:
        """Undo a start that nobody will hear of: the reactor cannot watch what was started."""
        self._open.clear()  # so that the streams are closed in silence
        self._hang_up()
        self._input.close()
        for output in self._outputs.values():
            output.close()
        os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def _later(self, call: Callable[[], None]) -> None:
        """Call from the reactor, never from within a call that the protocol has made."""
        self._reactor.callLater(0, call)

    # What the streams and the watch report.

    def _stream_closed(self, number: int) -> None:
        if number == 1 and self._terminal is not None:
            self._input.close()
            if self.pid is None:
                self._hang_up()
        if number not in self._open:
            return
        if number in self._outputs and self._outputs[number].has_ended:
            self._report_closed(number)  # this is the reactor's call already
        else:
            self._later(lambda: self._report_closed(number))

    def _hang_up(self) -> None:
        """Close the last of our descriptors of the terminal, which hangs it up.

        A process may close the terminal some time before it exits; were it hung up in between, it would die of that.
        """
        if self._terminal is not None:
            fd, self._terminal = self._terminal, None
            os.close(fd)

    def _report_closed(self, number: int) -> None:
        self._open.discard(number)
        with self._log.failuresHandled("while reporting a closed stream of a process"):
            self._protocol.childConnectionLost(number)
        self._report_end()

    def _exited(self, report: ExitReport) -> None:
        self.pid = None
        self.resource_usage = report.usage
        if self._outputs[1].is_closed:
            self._hang_up()
        self._reason = reason = Failure(_describe(report.status))
        with self._log.failuresHandled("while reporting the exit of a process"):
            self._protocol.processExited(reason)
        self._report_end()

    def _report_end(self) -> None:
        if self._reason is not None and not self._open:
            with self._log.failuresHandled("while reporting the end of a process"):
                self._protocol.processEnded(self._reason)

    # IProcessTransport

    def write(self, data: bytes) -> None:
        """Queue input; the caller bounds what is not yet taken.  Dropped after the end of the input."""
        self._input.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Queue several pieces of input, as :meth:`write`."""
        self.write(b"".join(data))

    def writeToChild(self, childFD: int, data: bytes) -> None:
        """Queue input, as :meth:`write`.

        :raises KeyError: `childFD` is not 0.
        """
        if childFD != 0:
            raise KeyError(childFD)
        self.write(data)

    def closeChildFD(self, descriptor: int) -> None:
        """Close a stream: 0 behind what is queued for it, 1 and 2 now.  Any other is closed already.

        On a terminal the end of the input is the end-of-file character, and to close output 1 hangs the terminal up.

        :param descriptor: 0, 1 or 2.
        """
        if descriptor == 0:
            self._input.end()
        elif descriptor in self._outputs:
            self.close_output(descriptor)

    def closeStdin(self) -> None:
        """End standard input behind what is queued for it."""
        self.closeChildFD(0)

    def closeStdout(self) -> None:
        """Close our end of standard output now."""
        self.closeChildFD(1)

    def closeStderr(self) -> None:
        """Close our end of standard error now."""
        self.closeChildFD(2)

    def loseConnection(self) -> None:
        """Close all streams, as the methods above do."""
        for number in (0, 1, 2):
            self.closeChildFD(number)

    def signalProcess(self, signalID: str | int) -> None:
        """Send a signal to the whole process group, and to the one in the foreground of the process's terminal.

        :param signalID: a number, or a name without ``SIG``.
        :raises ProcessExitedAlready: its leader's exit has been noticed.
        :raises ValueError: this system has no signal of that name.
        :raises PermissionError: all of them changed their user, as ``sudo`` does.
        """
        if isinstance(signalID, str):
            try:
                number = int(signal.Signals[f"SIG{signalID}"])
            except KeyError:
                raise ValueError(f"no signal {signalID} on this system") from None
        else:
            number = signalID
        if self.pid is None:
            raise ProcessExitedAlready
        try:
            self._groups.signal(number)
        except ProcessLookupError:
            raise ProcessExitedAlready from None

    def getPeer(self) -> IAddress:
        """Not implemented: a process has no address."""
        raise NotImplementedError("a process has no address")

    def getHost(self) -> IAddress:
        """Not implemented: a process has no address."""
        raise NotImplementedError("a process has no address")

    # IFlowControlledProcess

    def pause_output(self, childFD: int) -> None:
        """See :meth:`IFlowControlledProcess.pause_output`."""
        self._outputs[childFD].pause()

    def resume_output(self, childFD: int) -> None:
        """See :meth:`IFlowControlledProcess.resume_output`."""
        self._outputs[childFD].resume()

    def close_output(self, childFD: int) -> None:
        """See :meth:`IFlowControlledProcess.close_output`."""
        self._outputs[childFD].close()
        if childFD == 1:
            self._hang_up()

    def buffered_output(self, childFD: int) -> int:
        """See :meth:`IFlowControlledProcess.buffered_output`."""
        return self._outputs[childFD].buffered()

    def is_output_exhausted(self, childFD: int) -> bool:
        """See :meth:`IFlowControlledProcess.is_output_exhausted`."""
        return self._outputs[childFD].is_exhausted()

    def discard_input(self) -> None:
        """See :meth:`IFlowControlledProcess.discard_input`."""
        self._input.close()

    def signal_group(self, number: int) -> bool:
        """See :meth:`IFlowControlledProcess.signal_group`."""
        return self._groups.reach(number)

    def resize(self, columns: int, rows: int) -> None:
        """See :meth:`IFlowControlledProcess.resize`."""
        if self._terminal is not None:
            # Where the job's side is closed a system may refuse; nobody is left to see the size.
            with contextlib.suppress(OSError):
                set_size(self._terminal, columns, rows)

    def end_marker(self) -> bytes:
        """See :meth:`IFlowControlledProcess.end_marker`."""
        return self._input.end_marker() if isinstance(self._input, TerminalInput) else b""

    def discard_typed(self) -> None:
        """See :meth:`IFlowControlledProcess.discard_typed`."""
        if self._terminal is not None and self._terminal_name is not None:
            discard_typed(self._terminal, self._terminal_name)

    def foreground_group(self) -> int | None:
        """See :meth:`IFlowControlledProcess.foreground_group`."""
        return None if self._terminal is None else foreground_group(self._terminal)


def _or_closed(fd: int | None) -> int:
    """What a pipe takes for a descriptor that there is not."""
    return -1 if fd is None else fd


def _describe(status: int | None) -> BaseException:
    """Put a wait status into the exceptions that a process protocol expects."""
    if status is None:
        return ProcessStatusLost("the exit status was taken by another part of the server")
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        return ProcessTerminated(code, None, status) if code else ProcessDone(status)
    return ProcessTerminated(None, os.WTERMSIG(status), status)
