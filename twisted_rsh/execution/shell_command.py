"""One command in a persistent shell: its input, its owner, and how it is made to end without ending the shell."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from zope.interface import implementer

from twisted_rsh.core.endings import Ending, JobEnd, ResourceUsage
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.interfaces import IJobReactor
from twisted_rsh.execution.pipes import READ_BYTES
from twisted_rsh.execution.shell_input import CommandFifo
from twisted_rsh.execution.shell_interfaces import ICommandShell
from twisted_rsh.interfaces import IJob, IJobOwner

__all__ = ["BROKEN_SECONDS", "STEP_SECONDS", "ShellCommand"]

STEP_SECONDS = 2.0
"""Seconds between two steps of ending a command: three of them, and the shell itself is killed after six seconds, half
of what a whole session may take to end."""

BROKEN_SECONDS = 0.25
"""Seconds for which a command may go on to write to an output that nobody reads, after its processes were told."""

_KEYS = frozenset(b"\x03\x1c\x1a\x19")
"""What a terminal takes for Ctrl-C, Ctrl-\\, Ctrl-Z and Ctrl-Y unless it was told otherwise: these may interrupt."""


@implementer(IJob)
class ShellCommand:
    """A command in a persistent shell; made by :meth:`PersistentShell.start_command`.

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
            self._fifo = CommandFifo(self._reactor, self._shell.folder, self._input_taken, self._input_closed)
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
            self._shell.feed.put(data, self._input_taken)
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

    def _input_taken(self, size: int) -> None:
        if not self._is_over:
            self._unconsumed -= size
            self.owner.input_consumed(size)

    def _input_closed(self) -> None:
        """Learn that nobody reads the FIFO any more."""
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
