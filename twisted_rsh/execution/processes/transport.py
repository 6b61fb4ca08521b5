"""The process transport: a `ProcessProtocol` over `os.posix_spawn`, with flow control for each stream apart."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
from collections.abc import Iterable, Mapping

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IAddress, IProcessTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.requests import Terminal
from twisted_rsh.execution.processes.descriptors import FIRST_OWN
from twisted_rsh.execution.processes.exits import ExitReport, IExitListener, PidfdWatch, failure_of, watch_exit
from twisted_rsh.execution.processes.interfaces import IJobReactor, IPipeOwner
from twisted_rsh.execution.processes.pipes import FlowControlledProtocol, InputPipe, OutputPipe
from twisted_rsh.execution.processes.spawn import NOTHING_INHERITED, Spawned, SpawnPlan, spawn
from twisted_rsh.execution.processes.terminal import (
    TerminalInput,
    TerminalOutput,
    discard_typed,
    foreground_group,
    key_signal,
    set_size,
)
from twisted_rsh.execution.processes.typed_ahead import take_back, type_silently
from twisted_rsh.log_level import leveled_log

__all__ = ["ProcessGroups", "SpawnedProcess", "spawn_process"]

_log = Logger(observer=leveled_log)


def spawn_process(
    reactor: IJobReactor,
    protocol: FlowControlledProtocol,
    plan: SpawnPlan,
    *,
    terminal: Terminal | None = None,
    input_at: int | None = 0,
    error_at: int = 2,
    inherited: Mapping[int, int] = NOTHING_INHERITED,
) -> SpawnedProcess:
    """Start a process under a protocol.

    The transport calls the protocol as `reactor.spawnProcess` does, except that only `connectionMade` may come from
    within this call.  `processExited` may come before the last output; `processEnded` comes when all streams are
    closed.  To the protocol the input is always 0, whichever number it is in the process; if the process gets no
    input, nothing is reported of 0.

    On a terminal, output 1 is what the process writes there.  It ends when no process holds the terminal open any
    more, which also ends input 0.  Output 2 ends at once, with no data, unless the terminal asks for a separate one.

    :param reactor: watches the streams and the exit.
    :param protocol: the process protocol.  Its `output_room` bounds each read, and its `input_taken` learns how many
        bytes the process's pipe or terminal took.
    :param plan: what to execute.
    :param terminal: the terminal to give it, or ``None`` for pipes.
    :param input_at: the descriptor that its input is in the child, or ``None`` for no input.
    :param error_at: the descriptor that its error output is in a child on pipes.
    :param inherited: descriptors that it gets besides these, the number in the child and ours.  For all four see
        :func:`twisted_rsh.execution.processes.spawn.spawn`.
    :returns: the transport, which is the protocol's.
    :raises ValueError: the numbers are not as :func:`twisted_rsh.execution.processes.spawn.spawn` wants them.
    :raises twisted_rsh.execution.processes.terminal.TerminalUnavailable: the system has no terminal to give; an
        ``OSError`` too.
    :raises OSError: the process was not started (see :func:`twisted_rsh.execution.processes.spawn.spawn`), or could not
        be watched and was killed; no descriptor stays open.
    """
    spawned = spawn(plan, terminal=terminal, input_at=input_at, error_at=error_at, inherited=inherited)
    return SpawnedProcess(reactor, protocol, spawned)


class ProcessGroups:
    """The process groups of one job, as far as they are known: its first process's, and the terminal's foreground.

    A shell with job control puts each command into a group of its own, and the keys of its terminal signal the group
    in the foreground.  The shell's own group alone would be only half of the job.

    :param leader: the group, and the session, of the job's first process.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._known = [leader]

    def signal(self, number: int, foreground: int | None) -> None:
        """Send a signal now.

        :param number: a signal's number, or 0 to ask only.
        :param foreground: the group in the foreground of the job's terminal, or ``None``.
        :raises ProcessLookupError: no process is left.
        :raises PermissionError: none of those that are left may be signalled: they became another user, as with
            ``sudo``.
        """
        problems = [_send(group, number) for group in self._with_foreground([self._leader], foreground)]
        if None not in problems:
            raise next((e for e in problems if isinstance(e, PermissionError)), ProcessLookupError())

    def reach(self, number: int, foreground: int | None) -> bool:
        """Send a signal to whatever is left, also to groups that were in the foreground at an earlier call.

        Call this at short intervals or not at all: once a group has gone, the system may give its number to another.

        :param number: a signal's number, or 0 to ask only.
        :param foreground: the group in the foreground of the job's terminal, or ``None``.
        :returns: whether any of it was still there.
        """
        # A group that may not be signalled is still there: a set-user-id program.
        self._known = [
            group
            for group in self._with_foreground(self._known, foreground)
            if not isinstance(_send(group, number), ProcessLookupError)
        ]
        return bool(self._known)

    def _with_foreground(self, groups: list[int], foreground: int | None) -> list[int]:
        """Put the foreground first: once the leader has died the system no longer tells which group it was."""
        if not groups or foreground is None or foreground in groups or not self._is_ours(foreground):
            return groups
        return [foreground, *groups]

    def _is_ours(self, group: int) -> bool:
        """Tell whether a group is of the job's session, not a stranger that got the number of one that has ended."""
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


@implementer(IProcessTransport, IPipeOwner, IExitListener)
class SpawnedProcess:
    """A running process under a protocol; made by :func:`spawn_process`.

    Besides what every process transport of Twisted's has, it resumes and closes its streams one by one.

    :ivar pid: its process id until its exit has been noticed, then ``None``.
    :ivar terminal_name: the path of its terminal, or ``None`` on pipes.
    :ivar resource_usage: what it used, from `processExited` on; ``None`` before, and where that is not known.
    """

    def __init__(self, reactor: IJobReactor, protocol: FlowControlledProtocol, spawned: Spawned) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self._reason: Failure | None = None
        self._groups = ProcessGroups(spawned.pid)
        self._open = {1, 2} if spawned.stdin is None else {0, 1, 2}
        self.pid: int | None = spawned.pid
        self.resource_usage: resource.struct_rusage | None = None
        self._terminal: int | None = None
        self.terminal_name = spawned.terminal
        input_type, output_type = (TerminalInput, TerminalOutput) if spawned.terminal else (InputPipe, OutputPipe)
        self._input = input_type(reactor, _or_closed(spawned.stdin), 0, protocol, self)
        self._exit_watch: PidfdWatch | None = None
        self._outputs = {
            1: output_type(reactor, spawned.stdout, 1, protocol, self),
            2: OutputPipe(reactor, _or_closed(spawned.stderr), 2, protocol, self),
        }
        try:
            if spawned.terminal is not None:
                self._terminal = fcntl.fcntl(spawned.stdout, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN)
            self._input.watch()
            for output in self._outputs.values():
                output.resume()
            self._exit_watch = watch_exit(reactor, spawned.pid, self)
        except BaseException:
            self._abandon(spawned.pid)
            raise
        try:
            protocol.makeConnection(self)  # type: ignore[no-untyped-call]  # Twisted does not annotate it
        except Exception:  # noqa: BLE001 - the protocol's error does not end the process
            _log.failure("while making the connection of a process")
        if spawned.stderr is None:
            reactor.callLater(0, self._report_closed, 2)

    def _abandon(self, pid: int) -> None:
        """Undo the start of a process that the reactor cannot watch; the protocol does not hear of it."""
        self._open.clear()  # so that closing the streams reports nothing
        self._hang_up()
        self._input.close()
        for output in self._outputs.values():
            output.close()
        os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    # The streams and the exit

    def pipe_closed(self, childFD: int) -> None:
        """See :meth:`IPipeOwner.pipe_closed`; the protocol learns it from the reactor."""
        if childFD == 1 and self._terminal is not None:
            self._input.close()
            if self.pid is None:
                self._hang_up()
        if childFD not in self._open:
            return
        if childFD == 0:
            # While the process runs, the report does not end the job, so that it may come from within closeStdin().
            is_quiet = self._input.was_ended_empty and self.pid is not None
            if is_quiet or self._input.was_closed_by_reactor:
                self._report_closed(0)
                return
        elif self._outputs[childFD].was_closed_by_reactor:  # this is the reactor's call already
            self._report_closed(childFD)
            self._look_further()
            return
        self._reactor.callLater(0, self._report_closed, childFD)

    def _look_further(self) -> None:
        """Look for the ends that mostly come with the end of an output: of the other output, and of the process.

        Otherwise the reactor would report each of them by an event of its own.
        """
        for output in self._outputs.values():
            if not output.is_closed:
                if output.is_reading:
                    output.doRead()
                return
        if self._exit_watch is not None:
            self._exit_watch.doRead()

    def _hang_up(self) -> None:
        """Close the last of our descriptors of the terminal, which hangs it up.

        A process may close the terminal some time before it exits.  If it were hung up in between, the process would
        die of that.
        """
        if self._terminal is not None:
            fd, self._terminal = self._terminal, None
            os.close(fd)

    def _report_closed(self, number: int) -> None:
        self._open.discard(number)
        try:
            self._protocol.childConnectionLost(number)
        except Exception:  # noqa: BLE001 - the other reports must follow
            _log.failure("while reporting a closed stream of a process")
        if self._reason is not None and not self._open:
            self._report_end(self._reason)

    def process_exited(self, report: ExitReport) -> None:
        """See :meth:`IExitListener.process_exited`."""
        self.pid = None
        self.resource_usage = report.usage
        if self._outputs[1].is_closed:
            self._hang_up()
        self._reason = failure_of(report.status)
        try:
            self._protocol.processExited(self._reason)
        except Exception:  # noqa: BLE001 - as above
            _log.failure("while reporting the exit of a process")
        if not self._open:
            self._report_end(self._reason)

    def _report_end(self, reason: Failure) -> None:
        try:
            self._protocol.processEnded(reason)
        except Exception:  # noqa: BLE001 - as above
            _log.failure("while reporting the end of a process")

    # Input

    def write(self, data: bytes) -> None:
        """Queue input; the caller bounds what is not yet taken.  It is dropped after the end of the input."""
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

    def closeStdin(self) -> None:
        """End standard input after what is queued for it; on a terminal, with the end-of-file character."""
        self._input.end()

    def discard_input(self) -> None:
        """Close standard input now, and drop what is queued for it.  On a terminal nothing is typed any more."""
        self._input.close()

    def end_marker(self) -> bytes:
        """Return what to write so that the program that reads the terminal now sees the end of its input.

        :returns: nothing where that program takes every key by itself, and without a terminal.  The input stays open.
        """
        return self._input.end_marker() if isinstance(self._input, TerminalInput) else b""

    # Outputs

    def resume_output(self, childFD: int) -> None:
        """Read one output again, until the protocol's `output_room` is 0.  A full pipe then stops the process.

        :param childFD: 1 or 2.
        """
        output = self._outputs[childFD]
        if not output.is_reading:
            output.resume()

    def resume_outputs(self) -> None:
        """Read both outputs again, as :meth:`resume_output`."""
        for output in self._outputs.values():
            if not (output.is_reading or output.is_closed):
                output.resume()

    def buffered_output(self, childFD: int) -> int:
        """Count the bytes that wait in one output: in its pipe, or read ahead from its terminal.

        :param childFD: 1 or 2.
        :returns: bytes; 0 when it is closed, or when there is no such output.
        """
        return self._outputs[childFD].buffered()

    def buffered_outputs(self) -> dict[int, int]:
        """Count the bytes of both outputs, as :meth:`buffered_output`.

        :returns: the bytes of each output that holds any; a closed one holds none.
        """
        outputs = self._outputs.items()
        return {number: size for number, output in outputs if not output.is_closed and (size := output.buffered())}

    def is_output_exhausted(self, childFD: int) -> bool:
        """Tell whether one output was read to its end, or would be if it were not paused.

        :param childFD: 1 or 2.
        """
        return self._outputs[childFD].is_exhausted()

    def close_output(self, childFD: int) -> None:
        """Close our end of one output now: what is unread is lost, and the process finds a broken pipe.

        To close a terminal that is output 1 hangs it up, which ends its input too: the process gets ``SIGHUP``.

        :param childFD: 1 or 2.  `childConnectionLost` follows, not from within this call.
        """
        self._outputs[childFD].close()
        if childFD == 1:
            self._hang_up()

    def closeStdout(self) -> None:
        """Close our end of standard output now; see :meth:`close_output`."""
        self.close_output(1)

    def closeStderr(self) -> None:
        """Close our end of standard error now; see :meth:`close_output`."""
        self.close_output(2)

    def closeChildFD(self, descriptor: int) -> None:
        """Close a stream: 0 after what is queued for it, 1 and 2 now.  Any other is closed already.

        :param descriptor: 0, 1 or 2.
        """
        if descriptor == 0:
            self.closeStdin()
        elif descriptor in self._outputs:
            self.close_output(descriptor)

    def loseConnection(self) -> None:
        """Close all streams, as :meth:`closeChildFD` does."""
        for number in (0, 1, 2):
            self.closeChildFD(number)

    # Signals

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
            self._groups.signal(number, self.foreground_group())
        except ProcessLookupError:
            raise ProcessExitedAlready from None

    def signal_group(self, number: int) -> bool:
        """Send a signal to whatever is left of the process group, also after its leader has exited.

        On a terminal it also reaches the group in the foreground, and those that were there at an earlier call.  Call
        this at short intervals or not at all: once a group has gone, the system may give its number to another.

        :param number: a signal's number, or 0 to ask only.
        :returns: whether any of them was still there.
        """
        return self._groups.reach(number, self.foreground_group())

    # The terminal

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size; its foreground group gets ``SIGWINCH``.  Nothing happens without a terminal.

        :param columns: characters in a line, at least 1.
        :param rows: lines, at least 1.
        """
        if self._terminal is not None:
            # Where the job's side is closed a system may refuse; no process is left to see the size.
            with contextlib.suppress(OSError):
                set_size(self._terminal, columns, rows)

    def discard_typed(self) -> None:
        """Drop what was typed on the terminal and no program has read.  Nothing happens without a terminal."""
        if self._terminal is not None and self.terminal_name is not None:
            discard_typed(self._terminal, self.terminal_name)

    def type_silently(self, data: bytes) -> bytes:
        """Type keys for the next program that reads the terminal, which shows none of them.

        :param data: the keys.
        :returns: the keys still to be typed (:func:`twisted_rsh.execution.processes.typed_ahead.type_silently`);
            all of them without a terminal.
        """
        if self._terminal is None or self.terminal_name is None:
            return data
        return type_silently(self._terminal, self.terminal_name, data)

    def take_back(self) -> bytes:
        """Take back the keys that were written and that no program has read.

        :returns: the keys; nothing without a terminal.
        """
        if self._terminal is None or self.terminal_name is None:
            return b""
        data = take_back(self.terminal_name)
        if not self._input.is_closed:  # a terminal that was full has room now
            self._input.doWrite()
        return data + take_back(self.terminal_name)

    def foreground_group(self) -> int | None:
        """Look up the process group in the foreground of the terminal, which the terminal's keys signal.

        :returns: its number, or ``None`` without a terminal, or when the terminal's session has ended.
        """
        return None if self._terminal is None else foreground_group(self._terminal)

    def key_signal(self, keys: bytes) -> int | None:
        """Return the number of the interrupt that keys make on the terminal; ``None`` when they make none."""
        return None if self._terminal is None else key_signal(self._terminal, keys)

    # Addresses, which every transport of Twisted's has

    def getPeer(self) -> IAddress:
        """Raise ``NotImplementedError``."""
        raise NotImplementedError("a process has no address")

    def getHost(self) -> IAddress:
        """Raise ``NotImplementedError``."""
        raise NotImplementedError("a process has no address")


def _or_closed(fd: int | None) -> int:
    """Return what a pipe takes for a descriptor that does not exist."""
    return -1 if fd is None else fd
