"""The console: a prompt, and the commands that are typed there, one after another in one shell."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AbstractContextManager
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal
from prompt_toolkit.application.current import set_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.input.vt100 import Vt100Input, cooked_mode, raw_mode
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.output import create_output
from twisted.internet.defer import Deferred, DeferredList
from zope.interface import implementer

from twisted_rsh.cli.foreground import INTERRUPTED_STATUS, Foreground, Interrupted
from twisted_rsh.cli.history import ConsoleHistory
from twisted_rsh.cli.job_control import in_foreground, stop_in_background, suspend_self
from twisted_rsh.cli.line_shell import LineShell, start_line_shell
from twisted_rsh.cli.options import ClientOptions, TerminalWish
from twisted_rsh.cli.outage import GaveUp
from twisted_rsh.cli.output import READER_LEFT_STATUS, IOutputHolder
from twisted_rsh.cli.terminal import LocalTerminal
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import LossReason, SessionLost
from twisted_rsh.client.status import describe_ending, exit_status
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["PROMPT", "Console", "LineDropped", "Prompt", "run_console"]

PROMPT = ">>: "
"""The text that the console shows when it waits for a command."""

LEAVE = "exit"
"""The line that ends the console, as the end of input does."""


class _InForeground(raw_mode):
    """Settings for the prompt, which are left alone in the background: they are another program's there."""

    def __enter__(self) -> None:
        if in_foreground(self.fileno):
            super().__enter__()

    def __exit__(self, *error: object) -> None:
        if in_foreground(self.fileno):
            super().__exit__(*error)


class _Cooked(_InForeground, cooked_mode):
    """Those while there is no prompt."""


class _Keys(Vt100Input):
    """The keys of the client's own terminal."""

    def raw_mode(self) -> AbstractContextManager[None]:
        return _InForeground(self.fileno())

    def cooked_mode(self) -> AbstractContextManager[None]:
        return _Cooked(self.fileno())


class LineDropped(Exception):
    """The user interrupted the line that was being typed."""


@implementer(IOutputHolder)
class Prompt:
    """Asks for one line after another, and shows output that comes meanwhile above the line.

    It needs a running asyncio loop.

    :param config: names the file of the history.
    :param foreground: has the outputs, and the outage during which ``~.`` leaves.
    """

    def __init__(self, config: ConfigFolders, foreground: Foreground) -> None:
        keys = KeyBindings()

        @keys.add("c-c")
        def drop_line(event: KeyPressEvent) -> None:
            # Not prompt_toolkit's KeyboardInterrupt: raised in an asyncio task, that ends the whole loop.
            event.app.exit(exception=LineDropped(), style="class:aborting")

        @keys.add(".", filter=Condition(self._is_leaving))
        def give_up(event: KeyPressEvent) -> None:
            event.app.exit(exception=GaveUp(), style="class:aborting")

        # Where stdout is a file, the file gets what the commands write and not the prompt.
        output = create_output(always_prefer_tty=True)
        self._session: PromptSession[str] = PromptSession(
            history=ConsoleHistory(config, foreground.outputs), key_bindings=keys, input=_Keys(sys.stdin), output=output
        )
        self._outputs = foreground.outputs
        self._outage = foreground.outage
        self._is_asking = False
        self._writing: asyncio.Future[None] | None = None
        self._suspending: asyncio.Future[None] | None = None

    async def ask(self, until: Deferred[Any]) -> str | None:
        """Ask for a line.

        :param until: the console needs no line any more when this fires; cancelled when there is one.
        :returns: the line, or ``None`` if the console needs none.
        :raises LineDropped: the user dropped the line; ask again.
        :raises EOFError: there is no line, and there will be none.
        :raises twisted_rsh.cli.outage.GaveUp: the user typed ``~.`` during an outage.
        """
        stop_in_background(0)  # a command may have been continued there, and have ended
        # Twisted's own signal handling is off, and the program's has to be in place again when a command runs.
        asking = asyncio.ensure_future(self._session.prompt_async(PROMPT, handle_sigint=False))
        needless = False

        def stop_asking(_result: object) -> None:
            nonlocal needless
            needless = True
            asking.cancel()

        until.addCallbacks(stop_asking, lambda _cancelled: None)
        self._is_asking = True
        self._outputs.hold(self)
        before = signal.getsignal(signal.SIGTSTP)
        if before is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._suspend)
        try:
            return await Deferred.fromFuture(asking)
        except BaseException:
            if needless:
                return None
            raise
        finally:
            if before is not signal.SIG_IGN:
                asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
            until.cancel()
            self._is_asking = False
            if self._writing is not None:
                await Deferred.fromFuture(self._writing)
            self._outputs.release()

    def output_waits(self) -> None:
        """See :class:`~twisted_rsh.cli.output.IOutputHolder`."""
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write_above())

    async def _write_above(self) -> None:
        """Take the prompt away, write what the outputs hold, and show the prompt again."""
        try:
            with set_app(self._session.app):
                async with in_terminal():
                    self._outputs.release()
                    await Deferred.fromCoroutine(self._outputs.settle()).asFuture(asyncio.get_running_loop())
        finally:
            self._writing = None
            if self._is_asking:
                self._outputs.hold(self)

    def _is_leaving(self) -> bool:
        return self._outage.is_on and self._session.default_buffer.text == "~"

    def _suspend(self) -> None:
        self._suspending = asyncio.ensure_future(self._suspend_without_prompt())

    async def _suspend_without_prompt(self) -> None:
        with set_app(self._session.app):
            async with in_terminal():
                suspend_self()
                stop_in_background(0)


class Console:
    """Prompts for commands and runs them.

    :param connection: the connection.
    :param lines: the shell that runs the commands.
    :param foreground: shows the commands.
    :param prompt: asks for them.
    :param terminal: the terminal to lend each command; ``None`` for pipes.
    """

    def __init__(
        self,
        connection: Connection,
        lines: LineShell,
        foreground: Foreground,
        prompt: Prompt,
        terminal: LocalTerminal | None,
    ) -> None:
        self._connection = connection
        self._lines = lines
        self._foreground = foreground
        self._outputs = foreground.outputs
        self._prompt = prompt
        self._terminal = terminal
        self._status = 0

    async def run(self) -> int:
        """Prompt for commands and run them, until the end of input, ``exit``, or the end of the shell.

        It also ends when the reader of stdout has left: while a prompt is shown at once, and otherwise when what runs
        has ended, as it does when it writes.

        :returns: the exit status of the last command, or of the shell if it ended first, or that of a program that
            SIGPIPE ended if the reader of stdout left.
        :raises twisted_rsh.core.errors.Error: the client failed.
        """
        while True:
            await self._outputs.settle()
            if self._outputs.stdout.reader_left:
                return READER_LEFT_STATUS
            needless: list[Deferred[Any]] = [self._lines.when_ended(), self._outputs.stdout.when_reader_left()]
            try:
                line = await self._prompt.ask(DeferredList(needless, fireOnOneCallback=True, consumeErrors=True))
            except LineDropped:
                continue
            except EOFError:
                return self._status
            if line is None:
                return READER_LEFT_STATUS if self._outputs.stdout.reader_left else self._shell_ended()
            words = line.split()
            if words == [LEAVE] or (words and await self._run_line(line)):
                return self._status

    async def _run_line(self, line: str) -> bool:
        """Run a line and keep its status; return whether it was the last."""
        if self._terminal is not None:
            self._terminal.send_size()
        try:
            ending = await self._foreground.run(self._lines.start(line), 0, self._terminal)
        except Interrupted as error:
            if not self._connection.connected:
                raise  # a prompt would be of no use, for nothing could run what is typed there
            self._outputs.remark(f"[{error}]")
            self._status = INTERRUPTED_STATUS
            return False
        if self._connection.lost is None and self._lines.ending is not None:
            self._status = self._lines.tell_end(self._outputs, line)
            return True
        self._status = exit_status(ending)
        if self._status:
            self._outputs.remark(f"[{describe_ending(ending) or f'status {self._status}'}]")
        return self._connection.lost is not None

    def _shell_ended(self) -> int:
        if self._connection.lost is not None:
            raise SessionLost(self._connection.lost, self._connection.loss or LossReason.LINK)
        return self._lines.tell_end(self._outputs, "")


async def run_console(reactor: Any, connection: Connection, options: ClientOptions, foreground: Foreground) -> int:
    """Run a console on the client's own terminal.

    :param reactor: the asyncio reactor.
    :param connection: the connection.
    :param options: whether the commands have a terminal, their time-out, and their limits.
    :param foreground: shows the commands.
    :returns: the exit status, as that of :meth:`Console.run`.
    :raises twisted_rsh.core.errors.Error: the client failed.
    """
    is_lent = os.isatty(1) if options.terminal is TerminalWish.UNSAID else options.terminal is not TerminalWish.NEVER
    terminal = LocalTerminal(reactor, 0) if is_lent else None
    wanted = None if terminal is None else terminal.describe(os.environ)
    lines = await start_line_shell(connection, options, wanted)
    if terminal is not None:
        terminal.connect_to(lines.shell)
    foreground.outputs.show(lines.shell)
    foreground.outputs.stdout.watch_reader()
    return await Console(connection, lines, foreground, Prompt(options.config_folders(), foreground), terminal).run()
