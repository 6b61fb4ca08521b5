"""The command in the client's foreground, which has the client's streams, its terminal and its signals."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from twisted_rsh.cli.escapes import EscapeKeys, Left, escape_help
from twisted_rsh.cli.input import JobInput
from twisted_rsh.cli.outage import GaveUp, Outage
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.cli.terminal import LocalTerminal
from twisted_rsh.cli.terminal_settings import TerminalMode, TerminalSettings
from twisted_rsh.client.job import Job
from twisted_rsh.core.endings import Ending, JobEnd
from twisted_rsh.core.errors import Error, LocalProtocolError

__all__ = ["ESCALATION", "ESCALATION_SECONDS", "INTERRUPTED_STATUS", "Foreground", "Interrupted"]

ESCALATION = ("INT", "TERM", "KILL")
"""The signals that a command gets for one interrupt after another.  After the next interrupt the client waits no
longer, whatever the command does."""

_ENDING = frozenset({"INT", "TERM", "HUP", "QUIT"})
"""The signals that mean an end: the second of them in one outage ends the client instead."""

ESCALATION_SECONDS = 2.0
"""Seconds after an interrupt within which another one escalates: the user is in a hurry.  A later one starts anew."""

INTERRUPTED_STATUS = 130
"""The exit status of a program that an interrupt ended: 128 and SIGINT's number."""


class Interrupted(Error):
    """The user stopped waiting for a command."""


class Foreground:
    """Runs one command after another on the client's own descriptors.

    :param reactor: the reactor.
    :param outputs: the client's standard output and standard error.
    :param has_prompt: whether the user has a prompt whenever no command runs.
    :param escape: the user's escape character; ``None`` for none.
    :param settings: the owner of the terminal's settings; ``None`` for one of its own.
    :ivar outputs: the parameter.
    :ivar escape: the parameter.
    :ivar escapes: takes the escapes out of the keys that are typed for a command.
    :ivar settings: the owner of the terminal's settings.
    :ivar end: the end of the last command; ``None`` before it.
    :ivar unread: the keys that the last command has not read.
    :ivar outage: tells the user of the outages of the connection that it follows.
    """

    def __init__(
        self,
        reactor: Any,
        outputs: LocalOutputs,
        *,
        has_prompt: bool = False,
        escape: str | None = "~",
        settings: TerminalSettings | None = None,
    ) -> None:
        self.outputs = outputs
        self.escape = escape
        self.settings = settings or TerminalSettings(reactor, 0)
        self.escapes = EscapeKeys(self._leave_by_key, self.settings.suspend, self.explain_escapes, escape)
        self.end: JobEnd | None = None
        self.unread = b""
        self.outage = Outage(reactor, outputs, has_prompt=has_prompt, escape=escape)
        self._reactor = reactor
        self._has_prompt = has_prompt
        self._job: Job | None = None
        self._waiting: Deferred[JobEnd] | None = None
        self._terminal: LocalTerminal | None = None
        self._interrupts = 0
        self._interrupted_at = 0.0
        self._left: Error | None = None
        self._interrupt_prompt: Callable[[], object] | None = None

    async def run(
        self,
        job: Job,
        stdin: int | None,
        terminal: LocalTerminal | None = None,
        *,
        has_escapes: bool = False,
        ahead: bytes = b"",
    ) -> Ending:
        """Show a job until its end, and wait until all of its output is written.

        :param job: the job, which nothing reads or writes yet.
        :param stdin: the descriptor that it reads; ``None`` for no input at all.
        :param terminal: the terminal to lend it meanwhile, whose keys are all the job's then; ``None`` to leave the
            terminal as it is.
        :param has_escapes: whether the escapes among the keys are for the client.
        :param ahead: input that has been read already, and stands before that of `stdin`.
        :returns: how it ended; :meth:`~twisted_rsh.cli.outputs.LocalOutputs.tell` puts that into words.
        :raises twisted_rsh.cli.input.InputFailed: its input could not be read; the job has been ended.
        :raises twisted_rsh.cli.outputs.OutputFailed: its output could not be written.
        :raises Interrupted: the user stopped waiting for it.
        :raises twisted_rsh.cli.outage.GaveUp: the user left during an outage.
        :raises twisted_rsh.cli.escapes.Left: the user left otherwise.
        """
        self.outputs.show(job, is_lent=terminal is not None)
        self._job, self._waiting, self._interrupts = job, job.wait(), 0
        with contextlib.ExitStack() as ending:
            ending.callback(self._take_back)
            self._terminal = terminal
            if terminal is not None:
                terminal.lend()
            elif job.request.terminal is None:
                # On a terminal the shell there tells the user, or the keys are the job's to deal with.
                ending.callback(job.watch_suspension(self._remark_suspension))
            self.end = end = await self._wait(job, stdin, self._waiting, self.escapes if has_escapes else None, ahead)
            # A lent terminal has to stay raw until all that the job wrote for one is written.
            await self.outputs.flushed()
            self.outputs.check()
        return end.ending

    def signal_arrived(self, name: str) -> bool:
        """Send the command a signal that the client got; of one interrupt after another, the next of ESCALATION.

        :param name: the signal's name, such as ``"INT"``.
        :returns: whether there is a command, or a prompt that takes an interrupt.
        """
        if self._job is None or self._waiting is None:
            if name != "INT" or self._interrupt_prompt is None:
                return False
            self._interrupt_prompt()
            return True
        if self.outage.is_on and name in _ENDING and self.outage.signalled():
            self._waiting.cancel()
            return True
        if name in {"INT", "QUIT"}:
            self.outputs.stdout.terminal_echoed()  # the terminal has shown the key, such as ^C
        # Counted during an outage too: the next interrupt after it goes on with the escalation.
        if name == "INT":
            step = self._count_interrupt()
            if step == len(ESCALATION):
                self._waiting.cancel()
                return True
            name = ESCALATION[step]
        # A server that is far behind has enough of our signals waiting already.
        with contextlib.suppress(LocalProtocolError):
            self._job.send_signal(name)
        return True

    def interrupts_prompt(self, interrupt: Callable[[], object] | None) -> None:
        """Let a prompt have the interrupts that come while there is no command.

        :param interrupt: called for each of them; ``None`` for no more.
        """
        self._interrupt_prompt = interrupt

    def leaving(self) -> Error:
        """Return the error that says that the user leaves by the escape."""
        what = "the shell and what it ran are" if self._has_prompt else "the command is"
        return GaveUp() if self.outage.is_on else Left(self.escape or "", what)

    def explain_escapes(self) -> None:
        """Show the escapes."""
        for line in escape_help(self.escape):
            self.outputs.tell_line(line)

    def stop(self) -> None:
        """Let go of the descriptors, and give the terminal back as it was.  May be called more than once."""
        self._take_back()
        self.settings.use(TerminalMode.FOUND)
        self.outage.stop()
        self.outputs.stop()

    async def _wait(
        self, job: Job, stdin: int | None, waiting: Deferred[JobEnd], escapes: EscapeKeys | None, ahead: bytes
    ) -> JobEnd:
        """Pass the input on until the job ends."""
        self.unread = b""
        if stdin is None:
            source = None
            job.stdin.end()
        else:
            source = JobInput(
                self._reactor, stdin, job, waiting, self.outputs.encoding, self.outage, escapes=escapes, ahead=ahead
            )
        try:
            end = await waiting
        except CancelledError:
            failure = (source and source.failure) or self._left
            raise failure or Interrupted("interrupted; the command is being ended") from None
        finally:
            self._job = self._waiting = None
            if source is not None:
                source.stop()
        if source is not None:
            if source.failure is not None:
                raise source.failure
            self.unread = source.unread(end)
        return end

    def _leave_by_key(self) -> None:
        self._left = self.leaving()
        if self._waiting is not None:
            self._waiting.cancel()

    def _take_back(self) -> None:
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            self.outputs.end_command()
            terminal.give_back()

    def _remark_suspension(self, signal: str | None) -> None:
        if signal is None:
            self.outputs.remark("[the command goes on]")
        else:
            self.outputs.remark(f"[the command is stopped by {signal}; send it CONT to go on]")

    def _count_interrupt(self) -> int:
        """Return how many interrupts came shortly before this one, each shortly before the next."""
        now = self._reactor.seconds()
        if now - self._interrupted_at > ESCALATION_SECONDS:
            self._interrupts = 0
        self._interrupted_at = now
        self._interrupts += 1
        return self._interrupts - 1
