"""One command in a persistent shell: its input, its owner, and how it is made to end without ending the shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from zope.interface import Attribute, Interface, implementer

from twisted_rsh.core.endings import Ending, JobEnd, ResourceUsage
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.processes.descriptors import above_child_fds
from twisted_rsh.execution.processes.interfaces import IInputSource, IJobReactor, IPipeOwner
from twisted_rsh.execution.processes.pipes import READ_BYTES, InputPipe
from twisted_rsh.interfaces import IJob, IJobOwner

__all__ = [
    "BROKEN_SECONDS",
    "STEP_SECONDS",
    "TYPED_BYTES",
    "CommandFifo",
    "ICommandShell",
    "PrivateFolder",
    "ShellCommand",
    "TerminalFeed",
]

TYPED_BYTES = 1024
"""Bytes that are handed to a terminal at a time: as much as is left for the next command when one ends that did not
read them, and a quarter of what a terminal holds."""

_FOLDER_PREFIX = "twisted-rsh-"


class PrivateFolder:
    """A folder that nobody else may enter, made when it is first needed, and again when somebody has removed it.

    :param parent: the folder to make it in; ``None`` for the system's folder for temporary files.
    """

    def __init__(self, parent: str | None = None) -> None:
        self._parent = parent
        self._path: str | None = None

    def place(self, name: str) -> bytes:
        """Say where to make something, and make sure that it can be made.

        :param name: a file name.
        :returns: an absolute path at which there is nothing.
        :raises OSError: the folder cannot be made.
        """
        if self._path is None or not os.path.isdir(self._path):
            self._path = tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=self._parent)
        path = os.fsencode(os.path.join(self._path, name))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return path

    def remove(self) -> None:
        """Remove the folder and what is in it; what cannot be removed stays."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None


class CommandFifo:
    """What one command on pipes reads: our end of it, and the name by which the shell opens the other.

    We keep a reading end ourselves until the shell has one, or the writing end could not be opened without waiting.

    :param reactor: watches our end.
    :param folder: where to make it.
    :param command: the command; learns how many bytes were taken and, once, that nothing reads any more or that
        :meth:`close` was called.
    :ivar path: the name.
    :raises OSError: it cannot be made; nothing stays open.
    """

    def __init__(self, reactor: IJobReactor, folder: PrivateFolder, command: ShellCommand) -> None:
        self.path = folder.place("input")
        os.mkfifo(self.path, 0o600)
        with contextlib.ExitStack() as on_failure:
            self._reader = above_child_fds(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            on_failure.callback(os.close, self._reader)
            writer = above_child_fds(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            on_failure.pop_all()
        self._pipe = InputPipe(reactor, writer, 0, command, command)
        self._has_ended = False

    def begun(self) -> None:
        """Learn that the shell has opened it: give up the name, and watch for the readers' going away."""
        self._release()
        self._pipe.watch()
        if self._has_ended:
            self._pipe.end()

    def write(self, data: bytes) -> None:
        """Queue bytes; the caller bounds what is not yet taken."""
        self._pipe.write(data)

    def end(self) -> None:
        """Let the command see the end of its input behind what is queued, and not before the shell has opened it."""
        self._has_ended = True
        if self._reader < 0:
            self._pipe.end()

    def close(self) -> None:
        """Close our ends now; what is queued is dropped."""
        self._release()
        self._pipe.close()

    def _release(self) -> None:
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def _nobody(size: int) -> None:
    """Count nothing."""


class TerminalFeed:
    """Hands what is typed to a terminal piece by piece, and nothing while the shell reads a command.

    A key that interrupts must not come while the shell reads its own line, and what a command has not read when it ends
    must not all become the input of the next one.

    :param write: hands bytes to the terminal, which reports what it took to :meth:`taken`.
    :param end_marker: says what to type for the end of the input; asked when its turn comes, as programs change it.
    """

    def __init__(self, write: Callable[[bytes], None], end_marker: Callable[[], bytes]) -> None:
        self._write = write
        self._end_marker = end_marker
        self._queue: deque[tuple[memoryview | None, Callable[[int], None]]] = deque()
        self._under_way = 0
        self._report: Callable[[int], None] | None = None
        self._is_open = False
        self._is_handing_out = False

    def put(self, data: bytes, report: Callable[[int], None]) -> None:
        """Queue bytes; the caller bounds what is not yet taken.

        :param data: what was typed.
        :param report: learns how many of these bytes were taken.
        """
        if data:
            self._queue.append((memoryview(data), report))
            self._next()

    def put_end(self) -> None:
        """Queue the end of the input."""
        self._queue.append((None, _nobody))
        self._next()

    def open(self) -> None:
        """Hand out from now on."""
        self._is_open = True
        self._next()

    def hold(self) -> None:
        """Hand out nothing until :meth:`open`."""
        self._is_open = False

    def drop(self) -> None:
        """Forget what was not handed out, and report nothing more of what was."""
        self._queue.clear()
        self._report = None

    def taken(self, size: int) -> None:
        """Learn that the terminal took bytes.

        :param size: how many.
        """
        self._under_way -= size
        if self._report is not None:
            self._report(size)
        self._next()

    def _next(self) -> None:
        if self._is_handing_out:  # the terminal took a piece at once; the loop below goes on with the next
            return
        self._is_handing_out = True
        while self._is_open and self._queue and not self._under_way:
            data, self._report = self._queue.popleft()
            if data is None:
                data = memoryview(self._end_marker())
            if len(data) > TYPED_BYTES:
                self._queue.appendleft((data[TYPED_BYTES:], self._report))
                data = data[:TYPED_BYTES]
            if data:
                self._under_way = len(data)
                self._write(bytes(data))
        self._is_handing_out = False


STEP_SECONDS = 2.0
"""Seconds between two steps of ending a command: three of them, and the shell itself is killed after six seconds, half
of what a whole session may take to end."""

BROKEN_SECONDS = 0.25
"""Seconds for which a command may go on to write to an output that nobody reads, after its processes were told."""

_KEYS = frozenset(b"\x03\x1c\x1a\x19")
"""What a terminal takes for Ctrl-C, Ctrl-\\, Ctrl-Z and Ctrl-Y unless it was told otherwise: these may interrupt."""


class ICommandShell(Interface):
    """What a command asks of its shell."""

    folder: PrivateFolder = Attribute("Where the input of a command is.")

    feed: TerminalFeed | None = Attribute("The terminal's input, or ``None`` on pipes.")

    def signal_command(name: str) -> None:
        """Send a signal to what the command runs.

        :param name: the signal's name without ``SIG``; nothing happens when this system has no such signal.
        """

    def interrupt(number: int) -> None:
        """Interrupt the command, and the shell itself where it is at it.

        :param number: the number of ``INT`` or ``QUIT``.
        """

    def key_typed() -> None:
        """Learn that a key was typed that may interrupt the shell."""

    def signal_family(number: int) -> bool:
        """Send a signal to the processes of the command, but not to the shell.

        :param number: the signal's number.
        :returns: whether there were any.
        """

    def kill() -> None:
        """End the shell, which does not answer."""

    def withdraw() -> None:
        """Forget the command, of which the shell has not been told."""

    def discard_typed() -> None:
        """Drop what was typed on the terminal and nobody has read."""

    def resume_outputs() -> None:
        """Read the outputs again."""

    def resize(columns: int, rows: int) -> None:
        """Give the terminal another size."""


@implementer(IJob, IInputSource, IPipeOwner)
class ShellCommand:
    """A command in a persistent shell; made by :meth:`ShellJob.start_command`.

    :param reactor: watches its input, and tells the time.
    :param shell: the shell, an :class:`ICommandShell`.
    :param number: its number in the shell.
    :param text: what to run.
    :param owner: whom to report to.
    :ivar owner: whom to report to.
    :ivar has_begun: whether the shell has read it as a whole.
    :ivar was_interrupted: whether the shell may have been interrupted on its account.
    """

    def __init__(self, reactor: IJobReactor, shell: ICommandShell, number: int, text: bytes, owner: IJobOwner) -> None:
        self._reactor = reactor
        self._shell = shell
        self.owner = owner
        self.number = number
        self.text = text
        self.has_begun = False
        self.was_interrupted = False
        self._is_sent = False
        self._is_over = False
        self._fifo: CommandFifo | None = None
        self._unconsumed = 0
        self._input_ended = False
        self._input_lost = False
        self._early_input: list[bytes] = []
        self._early_signals: list[str] = []
        self._closed: set[Stream] = set()
        self._told_ended: set[Stream] = set()
        self._broken_at: float | None = None
        self._must_end = False
        self._step: IDelayedCall | None = None

    # For the shell.

    def prepare(self) -> bytes | None:
        """Make its input ready; the shell is told of the command next.

        :returns: the path of its input, or ``None`` for the terminal.
        :raises OSError: there is no input to be had.
        """
        if self._shell.feed is None:
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

    def begun(self) -> None:
        """Learn that the shell has read it, has opened its input, and may be interrupted from now on."""
        self.has_begun = True
        if self._fifo is not None:
            self._fifo.begun()
        if self._shell.feed is not None:
            self._shell.feed.open()
        early, self._early_signals = self._early_signals, []
        for name in early:
            self._shell.signal_command(name)
        if self._must_end:
            self._climb(0)

    def output_room(self, stream: Stream) -> int:
        """Say how much of an output may be handed over; what nobody reads is thrown away."""
        return READ_BYTES if stream in self._closed else self.owner.output_room(stream)

    def output_received(self, stream: Stream, data: bytes) -> None:
        """Hand output to the owner."""
        if stream in self._closed:
            self._break_pipe()
        else:
            self.owner.output_received(stream, data)

    def finish(self, ending: Ending, *, held_open: bool = False, usage: ResourceUsage | None = None) -> None:
        """Tell the owner the end.

        :param ending: how it ended.
        :param held_open: whether a process left behind held the output of a shell that has ended.
        :param usage: what it took, or ``None`` where that is not known.
        """
        unread = self._unconsumed
        self._is_over = True
        if self._step is not None:
            self._step.cancel()
            self._step = None
        if self._fifo is not None:
            self._fifo.close()
        elif self._shell.feed is not None:
            self._shell.feed.hold()
            self._shell.feed.drop()
            if self._input_ended:
                # An end that it has not read is not the next one's; without an end, what was typed ahead is.
                self._shell.discard_typed()
        if unread and not self._input_lost:
            self.owner.input_closed()
        for stream in OUTPUTS:
            self._tell_ended(stream)
        self.owner.job_ended(JobEnd(ending, held_open, usage))

    # IJob

    def write_input(self, data: bytes) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.write_input`."""
        if not (self._is_over or self._input_ended or self._input_lost):
            self._unconsumed += len(data)
            self._pass_on(data)

    def end_input(self) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.end_input`."""
        if not (self._is_over or self._input_ended):
            self._input_ended = True
            self._pass_end()

    def send_signal(self, name: str) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.send_signal`; waits until the command has begun.

        On pipes ``INT`` and ``QUIT`` go to the shell's process group, as from a keyboard, and any other to the
        processes below the shell; on a terminal to its foreground process group.
        """
        if self._is_over:
            return
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
            self._shell.resume_outputs()

    def close_output(self, stream: Stream) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.close_output`.

        The pipe is the shell's and stays open.  What comes is thrown away; who writes gets ``PIPE``, and is ended when
        that is not enough.
        """
        if not self._is_over and stream not in self._closed:
            self._closed.add(stream)
            self._reactor.callLater(0, self._tell_ended, stream)
            self._shell.resume_outputs()

    def terminate(self) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.terminate`.

        The command is interrupted, then what it runs gets ``TERM``, then ``KILL``; a shell that does not come back even
        then is ended itself.
        """
        if self._is_over or self._must_end:
            return
        self._must_end = True
        if not self._is_sent:
            self._shell.withdraw()
        elif self.has_begun:
            self._climb(0)

    # Inside

    def _pass_on(self, data: bytes) -> None:
        if not self._is_sent:
            self._early_input.append(data)
        elif self._fifo is not None:
            self._fifo.write(data)
        elif self._shell.feed is not None:
            self._shell.feed.put(data, self.input_taken)
            if not _KEYS.isdisjoint(data):
                self.was_interrupted = True
                self._shell.key_typed()

    def _pass_end(self) -> None:
        if not self._is_sent:
            return
        if self._fifo is not None:
            self._fifo.end()
        elif self._shell.feed is not None:
            self._shell.feed.put_end()

    def input_taken(self, size: int) -> None:
        """See :meth:`IInputSource.input_taken`."""
        if not self._is_over:
            self._unconsumed -= size
            self.owner.input_consumed(size)

    def pipe_closed(self, childFD: int) -> None:
        """See :meth:`IPipeOwner.pipe_closed`: no process reads the FIFO any more."""
        if not self._is_over and (self._unconsumed or not self._input_ended):
            self._input_lost = True
            self.owner.input_closed()

    def _tell_ended(self, stream: Stream) -> None:
        if stream not in self._told_ended:
            self._told_ended.add(stream)
            self.owner.output_ended(stream)

    def _break_pipe(self) -> None:
        """Deal with output that nobody reads."""
        now = self._reactor.seconds()
        if self._broken_at is None:
            self._broken_at = now
            if self._shell.signal_family(signal.SIGPIPE):
                return
        elif now < self._broken_at + BROKEN_SECONDS:
            return
        self.terminate()

    def _climb(self, step: int) -> None:
        """Take a step of :meth:`terminate`, and the next one in a while."""
        steps: tuple[Callable[[], object], ...] = (
            lambda: self._shell.interrupt(signal.SIGINT),
            lambda: self._signal_or_interrupt(signal.SIGTERM),
            lambda: self._signal_or_interrupt(signal.SIGKILL),
            self._shell.kill,
        )
        self._step = None
        if step + 1 < len(steps):
            self._step = self._reactor.callLater(STEP_SECONDS, self._climb, step + 1)
        steps[step]()

    def _signal_or_interrupt(self, number: int) -> None:
        """Signal what runs below the shell; if nothing does, it has forgotten its interrupt, as zsh may."""
        if not self._shell.signal_family(number):
            self._shell.interrupt(signal.SIGINT)
