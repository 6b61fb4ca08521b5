"""One command in a persistent shell: its input, its output, and the steps that end it while the shell lives on."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from twisted_rsh.core.endings import Ending, JobEnd, ResourceUsage
from twisted_rsh.core.limits import MAX_UNREAD_BYTES
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.processes.descriptors import above_child_fds
from twisted_rsh.execution.processes.interfaces import IInputSource, IJobReactor, IPipeOwner
from twisted_rsh.execution.processes.pipes import READ_BYTES, InputPipe
from twisted_rsh.execution.shells.folder import PrivateFolder
from twisted_rsh.execution.shells.inspection import CONTROLLING_TERMINAL, FileIdentity, file_identity
from twisted_rsh.interfaces import IJob, IJobOwner

if TYPE_CHECKING:
    from twisted_rsh.execution.shells.shell import ShellJob

__all__ = [
    "ADMISSION_SECONDS",
    "ASIDE_LOOK_SECONDS",
    "BROKEN_SECONDS",
    "MAX_ADMISSION_SECONDS",
    "STEP_SECONDS",
    "CommandFifo",
    "ShellCommand",
    "ShellOutput",
]

STEP_SECONDS = 2.0
"""Seconds between two steps of ending a command.  The shell itself is killed after three of them, six seconds: half of
the time that a whole session may take to end."""

BROKEN_SECONDS = 0.25
"""Seconds for which a command may go on writing to a closed output after its processes got ``PIPE``."""

ASIDE_LOOK_SECONDS = 0.02
"""Seconds between two looks for the subshell of an aside that is to be killed: a shell takes some ms to start it."""

_ASIDE_LOOKS = 50

ADMISSION_SECONDS = 0.005
"""Seconds from the end of a command's input until processes that wait to open it are let through the first time."""

MAX_ADMISSION_SECONDS = 0.2
"""Seconds between two of these times, at most."""

_LADDER = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
"""The steps of ending a command; one step later the shell itself is killed."""

_KEYS = frozenset(b"\x03\x1c\x1a\x19")
"""Keys that may interrupt a command: Ctrl-C, Ctrl-\\, Ctrl-Z and Ctrl-Y, unless a program has changed the terminal."""


class CommandFifo:
    """The input of one command on pipes: a FIFO whose writing end is ours and whose reading end the shell opens.

    The server keeps a reading end itself until the shell has one: without a reader the writing end could not be opened
    without waiting.

    A process of the command may open it once more, as ``/dev/stdin``.  After the end of the input such an open waits
    for a writer, unlike with a pipe.  So the server then opens the writing end every now and then, and closes it at
    once.

    :param reactor: watches the writing end, and calls later.
    :param folder: the folder to make it in.
    :param command: told how many bytes the FIFO took, and once that it is closed.
    :ivar path: absolute path of the FIFO.
    :ivar identity: what a process sees behind its descriptor of the FIFO.
    :raises OSError: the FIFO cannot be made; no descriptor stays open.
    """

    def __init__(self, reactor: IJobReactor, folder: PrivateFolder, command: ShellCommand) -> None:
        self.path = folder.place("input")
        os.mkfifo(self.path, 0o600)
        with contextlib.ExitStack() as on_failure:
            self._reader = above_child_fds(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            on_failure.callback(os.close, self._reader)
            writer = above_child_fds(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            self.identity = file_identity(os.fstat(self._reader))
            on_failure.pop_all()
        self._reactor = reactor
        self._pipe = InputPipe(reactor, writer, 0, command, command)
        self._has_ended = False
        self._admission: IDelayedCall | None = None

    def begun(self) -> None:
        """Leave the FIFO to the shell, which has opened it, and watch for its readers to go away."""
        self._release()
        self._pipe.watch()
        if self._has_ended:
            self._pipe.end()

    def write(self, data: bytes) -> None:
        """Queue bytes; the caller bounds the bytes that the FIFO has not taken."""
        self._pipe.write(data)

    def end(self) -> None:
        """End the input after the queued bytes, and not before the shell has opened the FIFO."""
        self._has_ended = True
        if self._reader < 0:
            self._pipe.end()

    def admit(self, delay: float = ADMISSION_SECONDS) -> None:
        """Let processes that open the FIFO find its end, until :meth:`close`.

        :param delay: seconds until the first time; each further time comes after twice as long.
        """
        self._admission = self._reactor.callLater(delay, self._admit, delay)

    def _admit(self, delay: float) -> None:
        with contextlib.suppress(OSError):  # ENXIO: no process has it open
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        self.admit(min(2 * delay, MAX_ADMISSION_SECONDS))

    def close(self) -> None:
        """Close our ends now, drop the queued bytes, and remove the name."""
        if self._admission is not None:
            self._admission.cancel()
            self._admission = None
        self._release()
        self._pipe.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _release(self) -> None:
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


class ShellOutput:
    """Both outputs of a shell, as one owner gets them: the owner of the shell, or the owner of a command.

    The pipes are the shell's.  They stay open when an owner closes its output; later bytes are read and thrown away.

    :param clock: calls later.
    :param owner: takes the output until it is closed.
    """

    def __init__(self, clock: IReactorTime, owner: IJobOwner) -> None:
        self._clock = clock
        self._owner = owner
        self._closed: set[Stream] = set()
        self._told_ended: set[Stream] = set()

    def room(self, stream: Stream) -> int:
        """Return how many bytes of an output may be read now: a whole read where they are thrown away."""
        return READ_BYTES if stream in self._closed else self._owner.output_room(stream)

    def received(self, stream: Stream, data: bytes) -> bool:
        """Hand output to the owner.

        :param stream: the output.
        :param data: no more bytes than :meth:`room` has returned.
        :returns: whether the owner took them; ``False`` when the output is closed and the bytes are thrown away.
        """
        if stream in self._closed:
            return False
        self._owner.output_received(stream, data)
        return True

    def close(self, stream: Stream) -> bool:
        """Throw away later bytes of an output.  The owner's `output_ended` follows, not from within this call.

        :param stream: the output.
        :returns: whether it was open.
        """
        if stream in self._closed:
            return False
        self._closed.add(stream)
        self._clock.callLater(0, self._tell_ended, stream)
        return True

    def end(self) -> None:
        """Tell the owner that no more output comes."""
        self._tell_ended(*OUTPUTS)

    def _tell_ended(self, *streams: Stream) -> None:
        for stream in streams:
            if stream not in self._told_ended:
                self._told_ended.add(stream)
                self._owner.output_ended(stream)


@implementer(IJob, IInputSource, IPipeOwner)
class ShellCommand:
    """A command in a persistent shell; made by :meth:`ShellJob.start_command`.

    :param reactor: watches its input, and tells the time.
    :param shell: the shell.
    :param text: the command's text, encoded.
    :param owner: gets the command's output and ending.
    :param typed_ahead: keys that were typed before the command; ``None`` when no person types.
    :param is_aside: whether it runs in a subshell that leaves nothing behind.
    :ivar owner: gets the command's output and ending.
    :ivar text: the command's text, encoded.
    :ivar is_aside: whether it runs in a subshell that leaves nothing behind.
    :ivar number: its number in the shell; 0 until the shell gets the command.
    :ivar has_begun: whether the shell has read the whole line of the command.
    :ivar was_interrupted: whether this command may have caused an interrupt of the shell.
    """

    def __init__(
        self,
        reactor: IJobReactor,
        shell: ShellJob,
        text: bytes,
        owner: IJobOwner,
        *,
        typed_ahead: bytes | None = None,
        is_aside: bool = False,
    ) -> None:
        self._reactor = reactor
        self._shell = shell
        self._feed = shell.process.feed
        self._output = ShellOutput(reactor, owner)
        self.owner = owner
        self.text = text
        self.is_aside = is_aside
        self.number = 0
        self.has_begun = False
        self.was_interrupted = False
        self._is_sent = False
        self._is_over = False
        self._fifo: CommandFifo | None = None
        self._typed_ahead = typed_ahead
        self._ahead = 0
        self._received = 0
        self._unconsumed = 0
        self._input_ended = False
        self._input_lost = False
        self._early_input: list[bytes] = []
        self._early_signals: list[str] = []
        self._broken_at: float | None = None
        self._must_end = False
        self._step: IDelayedCall | None = None

    # Called by the shell

    def prepare(self) -> bytes | None:
        """Make the input ready.  Send the command to the shell next.

        :returns: the path of the input, or ``None`` for the terminal.
        :raises OSError: the input cannot be made.
        """
        if self._typed_ahead:
            ahead = self._typed_ahead
            if self._feed is not None:
                ahead = self._shell.process.transport.type_silently(ahead)
            self._ahead = len(ahead)
            self._early_input.insert(0, ahead)
        if self._feed is None:
            if self._input_ended and not self._early_input:
                self._is_sent = True
                return os.fsencode(os.devnull)
            self._fifo = CommandFifo(self._reactor, self._shell.folder, self)
        early, self._early_input = self._early_input, []
        self._is_sent = True
        for data in early:
            self._pass_on(data)
        if self._input_ended:
            self._pass_end()
        return None if self._fifo is None else self._fifo.path

    def sent(self) -> None:
        """Have the shell report the beginning soon if a signal waits for it already."""
        if self._early_signals:
            self._look()

    def begun(self) -> None:
        """Start input and signals: the shell has read the line and opened the input, and may be interrupted now."""
        self.has_begun = True
        if self._fifo is not None:
            self._fifo.begun()
        if self._feed is not None:
            self._feed.open()
        early, self._early_signals = self._early_signals, []
        for name in early:
            self._shell.signal_command(name)
        if self._must_end:
            self._end()

    @property
    def inputs(self) -> frozenset[FileIdentity]:
        """The files from which its processes read its input; none where it has ended or there never was any."""
        terminal = self._shell.process.transport.terminal_name
        if self._fifo is not None:
            return frozenset({self._fifo.identity})
        if terminal is None:
            return frozenset()
        with contextlib.suppress(OSError):  # the terminal has been hung up
            return frozenset({file_identity(os.stat(terminal)), CONTROLLING_TERMINAL})
        return frozenset()

    def output_room(self, stream: Stream) -> int:
        """Return how many bytes of an output may be read now."""
        return self._output.room(stream)

    def output_received(self, stream: Stream, data: bytes) -> None:
        """Hand output to the owner.  End a command that goes on writing to a closed output."""
        if not self._output.received(stream, data):
            self._break_pipe()

    def finish(
        self,
        ending: Ending,
        *,
        held_open: bool = False,
        usage: ResourceUsage | None = None,
        folder: str | None = None,
    ) -> None:
        """Close the input and report the ending to the owner.

        :param ending: how the command ended.
        :param held_open: whether the shell has ended and a surviving process held its output open.
        :param usage: the resources that the command used, or ``None`` where they are not known.
        :param folder: the folder that the shell is in, or ``None`` where it is not known.
        """
        is_unread = self._unconsumed > 0
        typed: int | None = None
        unread = b""
        self._is_over = True
        if self._step is not None:
            self._step.cancel()
            self._step = None
        if self._fifo is not None:
            self._fifo.close()
        elif self._feed is not None:
            queued = self._feed.close()
            if self._typed_ahead is not None and not self._input_ended:
                rest = self._shell.process.transport.take_back() + queued
                unread = rest[:MAX_UNREAD_BYTES]
                typed = self._received - (len(rest) - len(unread))
            elif self._input_ended:
                # The next command must not read this end of input.  Without an end, typed-ahead text is for it.
                self._shell.process.transport.discard_typed()
        if is_unread and not self._input_lost:
            self.owner.input_closed()
        self._output.end()
        self.owner.job_ended(JobEnd(ending, held_open, usage, folder=folder, typed=typed, unread=unread))

    # Called by the FIFO and the terminal feed

    def input_taken(self, size: int) -> None:
        """Report to the owner that the command's FIFO or terminal took bytes.

        :param size: bytes.
        """
        ahead = min(size, self._ahead)  # the first bytes came with the request, and have no credit
        self._ahead -= ahead
        size -= ahead
        if size and not self._is_over:
            self._unconsumed -= size
            self.owner.input_consumed(size)

    def pipe_closed(self, childFD: int) -> None:
        """Report to the owner that no process reads the FIFO any more, unless all of the input has been taken.

        :param childFD: 0, the only pipe of a command.
        """
        if not self._is_over and self._fifo is not None:
            self._fifo.admit()
        if not self._is_over and (self._unconsumed or not self._input_ended):
            self._input_lost = True
            self.owner.input_closed()

    # IJob

    def write_input(self, data: bytes) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.write_input`."""
        if not (self._is_over or self._input_ended or self._input_lost):
            self._received += len(data)
            self._unconsumed += len(data)
            self._pass_on(data)

    def end_input(self) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.end_input`."""
        if not (self._is_over or self._input_ended):
            self._input_ended = True
            self._pass_end()

    def send_signal(self, name: str) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.send_signal`; the signal waits until the command has begun.

        On pipes ``INT`` and ``QUIT`` go to the shell's process group, as from a keyboard.  Other signals go to the
        processes below the shell.  On a terminal every signal goes to the foreground process group.
        """
        if self._is_over:
            return
        self._look()
        if self.has_begun:
            self._shell.signal_command(name)
        elif name not in self._early_signals:
            self._early_signals.append(name)

    def resize(self, columns: int, rows: int) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.resize`: the terminal is the shell's."""
        if not self._is_over:
            self._shell.resize(columns, rows)

    def resume_output(self, stream: Stream) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.resume_output`."""
        if not self._is_over:
            self._shell.process.transport.resume_outputs()

    def close_output(self, stream: Stream) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.close_output`.

        The pipe is the shell's and stays open.  Later output is thrown away.  When there is some, the command's
        processes get ``PIPE``; if the output goes on, the command is ended.
        """
        if not self._is_over and self._output.close(stream):
            self._shell.process.transport.resume_outputs()

    def terminate(self) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.terminate`.

        The command is interrupted.  Then its processes get ``TERM``, then ``KILL``.  If the shell does not come back
        even then, the shell is killed.  An aside is killed at once: the shell only waits for it.
        """
        if self._is_over or self._must_end:
            return
        self._look()
        self._must_end = True
        if not self._is_sent:
            self._shell.withdraw()
        elif self.has_begun:
            self._end()

    def _look(self) -> None:
        """Have the shell report now whether the command has begun."""
        if self._is_sent and not self.has_begun:
            self._shell.look()

    # Input

    def _pass_on(self, data: bytes) -> None:
        if not self._is_sent:
            self._early_input.append(data)
        elif self._fifo is not None:
            self._fifo.write(data)
        elif self._feed is not None:
            self._feed.put(data, self)
            if not _KEYS.isdisjoint(data):
                self.was_interrupted = True
                self._shell.watch_interrupt()

    def _pass_end(self) -> None:
        if not self._is_sent:
            return
        if self._fifo is not None:
            self._fifo.end()
        elif self._feed is not None:
            self._feed.put_end()

    # The end

    def _break_pipe(self) -> None:
        """Send ``PIPE`` for the first output after the close; end the command if the output goes on."""
        now = self._reactor.seconds()
        if self._broken_at is None:
            self._broken_at = now
            if self._shell.signals.signal_processes(signal.SIGPIPE):
                return
        elif now < self._broken_at + BROKEN_SECONDS:
            return
        self.terminate()

    def _end(self) -> None:
        if self.is_aside:
            self._kill_aside(_ASIDE_LOOKS)
        else:
            self._climb(0)

    def _kill_aside(self, looks: int) -> None:
        """Kill the subshell of an aside as soon as it is there; it may not have been started yet."""
        self._step = None
        if self._shell.signals.signal_processes(signal.SIGKILL) or not looks:
            self._step = self._reactor.callLater(STEP_SECONDS, self._climb, 0)
        else:
            self._step = self._reactor.callLater(ASIDE_LOOK_SECONDS, self._kill_aside, looks - 1)

    def _climb(self, step: int) -> None:
        """Take a step of :meth:`terminate`, and the next one after :data:`STEP_SECONDS`."""
        self._step = None
        if step == len(_LADDER):
            self._shell.process.transport.signal_group(signal.SIGKILL)
            return
        self._step = self._reactor.callLater(STEP_SECONDS, self._climb, step + 1)
        number = _LADDER[step]
        # Where no process runs below the shell, the shell has forgotten the interrupt of its own loop, as zsh may.
        if number == signal.SIGINT or not self._shell.signals.signal_processes(number):
            self._shell.interrupt(signal.SIGINT)
