"""A command in the foreground of the client: its streams are the client's, and so are the signals meant for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from twisted_rsh.cli.input import JobInput
from twisted_rsh.cli.outage import GaveUp, Outage
from twisted_rsh.cli.output import LocalOutput
from twisted_rsh.cli.terminal import LocalTerminal
from twisted_rsh.client.errors import Error
from twisted_rsh.client.job import Job
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.status import describe_ending, exit_status, printable
from twisted_rsh.core.endings import Ending, JobEnd, OutcomeUnknown, Refused, Signalled
from twisted_rsh.core.errors import LocalProtocolError

__all__ = ["Foreground", "InputFailed", "Interrupted", "OutputFailed"]

PROGRAM = "trsh"

ESCALATION = ("INT", "TERM", "KILL")
"""What a command gets for one interrupt after another; with the next one the user wants the client back, whatever the
command does."""

_ENDING = frozenset({"INT", "TERM", "HUP", "QUIT"})
"""Signals that mean an end: the second of them during an outage is the client's own."""

ESCALATION_SECONDS = 2.0
"""Seconds within which one more interrupt means more than the one before it: the user is pressing, not asking again."""

INTERRUPTED_STATUS = 130
"""The exit status of a program that an interrupt ended: 128 and SIGINT's number."""


class InputFailed(Error):
    """The client's own input could not be read to its end."""


class OutputFailed(Error):
    """What a command wrote could not be written here, and not because its reader had left."""


class Interrupted(Error):
    """The user stopped waiting for a command."""


class Foreground:
    """Shows one command after another on the client's own descriptors.

    :param reactor: the reactor.
    :param encoding: the code page of the commands' text; ``None`` for the one that the server names.
    :param quiet: whether only failures of the client's own are told.
    :param error_style: bytes to write before and after a piece of standard error on a terminal.
    :ivar outage: follows the connection.
    :ivar place: calls what says something about the connection when there is a place for it, as above a prompt.
    """

    def __init__(
        self,
        reactor: Any,
        encoding: str | None = None,
        quiet: bool = False,
        error_style: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        self._reactor = reactor
        self._encoding = encoding
        self._quiet = quiet
        self.stdout = LocalOutput(reactor, 1)
        self.stderr = LocalOutput(reactor, 2, error_style)
        self._job: Job | None = None
        self._waiting: Deferred[JobEnd] | None = None
        self._terminal: LocalTerminal | None = None
        self._interrupts = 0
        self._interrupted_at = 0.0
        self._why: Error | None = None
        self.outage = Outage(reactor, self._remark_outage)
        self.place: Callable[[Callable[[], None]], None] = _at_once

    async def run(self, job: Job, stdin: int | None, terminal: LocalTerminal | None = None) -> Ending:
        """Show a job until its end, and wait until all of its output is written.

        :param stdin: the descriptor that it reads; ``None`` for no input at all.
        :param terminal: what to lend it meanwhile: every key is its own then; ``None`` to leave the terminal as it is.
        :returns: how it ended; :meth:`tell` puts that into words.
        :raises InputFailed: what it was to read could not be read; it has been ended.
        :raises OutputFailed: what it wrote could not be written.
        :raises Interrupted: the user stopped waiting for it.
        :raises twisted_rsh.cli.outage.GaveUp: the user left during an outage.
        """
        self.stdout.show(job.stdout, job, self._encoding)
        self.stderr.show(job.stderr, job, self._encoding)
        self._job, self._waiting, self._interrupts = job, job.wait(), 0
        self._lend(terminal)
        # On a terminal the shell there says so itself, or the keys are the job's to deal with.
        on_pipes = terminal is None and job.request.terminal is None
        stop_watching = job.watch_suspension(self._remark_suspension) if on_pipes else _nothing
        try:
            end = await self._pass_input(job, stdin, self._waiting)
            # A terminal that is lent has to see all that the job wrote for one.
            await self.flushed()
        finally:
            stop_watching()
            self._take_back()
        for name, output in (("stdout", self.stdout), ("stderr", self.stderr)):
            if output.error is not None and not output.reader_left:
                raise OutputFailed(f"cannot write to {name}: {output.error.strerror}")
        return end.ending

    def show_background(self, shell: Shell) -> None:
        """Show what a shell writes while no command runs in it, as it comes."""
        self.stdout.show(shell.stdout, shell, self._encoding)
        self.stderr.show(shell.stderr, shell, self._encoding)

    def signal_arrived(self, name: str) -> bool:
        """Pass a signal on to the command, one interrupt after another as what :data:`ESCALATION` says.

        :param name: the signal's name.
        :returns: whether there was a command to pass it on to.
        """
        if self._job is None or self._waiting is None:
            return False
        if self.outage.is_on and name in _ENDING and self.outage.signalled():
            self._waiting.cancel()
            return True
        # Counted in an outage too: those that nobody notices must not make the next interrupt the first one again.
        if name == "INT":
            self.stdout.at_line_start = False  # the terminal has shown ^C
            step = self._count_interrupt()
            if step == len(ESCALATION):
                self._waiting.cancel()
                return True
            name = ESCALATION[step]
        # A server that has fallen behind has enough signals of ours waiting.
        with contextlib.suppress(LocalProtocolError):
            self._job.send_signal(name)
        return True

    def tell(self, ending: Ending) -> int:
        """Tell the user how a command ended, if that needs words.

        :returns: the exit status that stands for it.
        """
        text = describe_ending(ending)
        # Whoever left our stdout, as "head" does, knows why the command broke off.
        expected = self.stdout.reader_left and ending == Signalled("PIPE")
        never_quiet = isinstance(ending, Refused | OutcomeUnknown)
        if text is not None and not expected and (never_quiet or not self._quiet):
            self.say(text)
        return exit_status(ending)

    def say(self, text: str) -> None:
        """Tell the user something, in one line on standard error."""
        self.end_line()
        self.stderr.say(f"{PROGRAM}: {printable(text)}")

    def remark(self, text: str) -> None:
        """Tell the user something about the last command, in a line of its own, unless remarks are not wanted."""
        if not self._quiet:
            self.end_line()
            self.stderr.say(printable(text))

    def _remark_outage(self, text: str) -> None:
        if self.stderr.is_terminal:
            self.place(lambda: self.remark(text))

    def _remark_suspension(self, signal: str | None) -> None:
        if signal is None:
            self.remark("[the command goes on]")
        else:
            self.remark(f"[the command is stopped by {signal}; send it CONT to go on]")

    def end_line(self) -> None:
        """End a line that a command left open on a terminal, so that what follows begins its own."""
        self.stdout.end_line()
        self.stderr.end_line()

    async def flushed(self) -> None:
        """Wait until everything is written."""
        await self.stdout.flushed()
        await self.stderr.flushed()

    def stop(self) -> None:
        """Let go of the descriptors, and of a terminal that is lent."""
        self._take_back()
        self.outage.stop()
        self.stdout.stop()
        self.stderr.stop()

    def _lend(self, terminal: LocalTerminal | None) -> None:
        self._terminal = terminal
        self.stdout.cursor_moved = terminal is not None
        for output in (self.stdout, self.stderr):
            output.is_raw = terminal is not None
        if terminal is not None:
            terminal.lend()

    def _take_back(self) -> None:
        terminal, self._terminal = self._terminal, None
        for output in (self.stdout, self.stderr):
            output.is_raw = False
        if terminal is not None:
            terminal.give_back()

    def _count_interrupt(self) -> int:
        """Return how many interrupts came shortly before this one, each shortly before the next."""
        now = self._reactor.seconds()
        if now - self._interrupted_at > ESCALATION_SECONDS:
            self._interrupts = 0
        self._interrupted_at = now
        self._interrupts += 1
        return self._interrupts - 1

    async def _pass_input(self, job: Job, stdin: int | None, waiting: Deferred[JobEnd]) -> JobEnd:
        reader = None
        if stdin is not None:
            reader = JobInput(self._reactor, stdin, job, self._encoding, self.outage, self._leave)
        if reader is None:
            job.stdin.end()
        try:
            end = await waiting
        except CancelledError:
            why, self._why = self._why, None
            raise why or Interrupted("interrupted; the command is being ended") from None
        finally:
            self._job = self._waiting = None
            if reader is not None:
                reader.stop()
        if reader is not None and reader.error is not None:
            raise InputFailed(f"cannot read stdin: {reader.error.strerror}")
        return end

    def _leave(self) -> None:
        if self._waiting is not None:
            self._why = GaveUp()
            self._waiting.cancel()


def _nothing() -> None:
    """Watch nothing."""


def _at_once(act: Callable[[], None]) -> None:
    act()
