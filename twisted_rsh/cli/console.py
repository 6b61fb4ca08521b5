"""The console: a prompt, and the commands that are typed there, one after another in one shell."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from twisted_rsh.cli.asking import PROMPT, IPrompt, LineDropped
from twisted_rsh.cli.completion import Completer
from twisted_rsh.cli.continuation import CompletenessCheck
from twisted_rsh.cli.cooked_prompt import CookedPrompt
from twisted_rsh.cli.escapes import escape_help
from twisted_rsh.cli.foreground import INTERRUPTED_STATUS, Foreground, Interrupted
from twisted_rsh.cli.line_shell import LineShell, start_line_shell
from twisted_rsh.cli.options import ClientOptions, TerminalWish
from twisted_rsh.cli.output import READER_LEFT_STATUS
from twisted_rsh.cli.terminal import LocalTerminal, is_plain_terminal, local_encoding
from twisted_rsh.cli.terminal_settings import TerminalMode
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import LossReason, SessionLost
from twisted_rsh.client.status import describe_ending, exit_status
from twisted_rsh.client.text import Transcoder
from twisted_rsh.core.limits import MAX_TYPED_AHEAD_BYTES

__all__ = ["HELP_LINE", "PROMPT", "Console", "console_help", "run_console"]

_INTERRUPT, _END = b"\x03", b"\x04"
"""Ctrl-C and Ctrl-D, which the system does not look at in keys that were typed at a prompt."""

HELP_LINE = ":help"
"""The line that asks for the help; no shell has such a command."""

_HELP = (
    "One shell on the server runs every command; its folder and variables stay.",
    "",
    "Enter          run the command; what is unfinished goes on after '..: '",
    "Tab            complete as the shell would; again: show what fits",
    "Up, Down       earlier commands;  Ctrl-R: search them",
    "Ctrl-C         drop what is typed; interrupt what runs, or send it as a key",
    "Ctrl-Z         suspend what runs; jobs, fg, bg as at a terminal",
    "Ctrl-D, exit   let the shell end, and leave with its status",
    "",
    "What is typed while a command runs is for the command.  What it does not read",
    "comes back to the prompt.",
    "On the right: a status that is not 0, the time of a slow command, the folder.",
    "",
)


def console_help(escape: str | None) -> tuple[str, ...]:
    """Return the lines of the help.

    :param escape: the user's escape character; ``None`` for none.
    """
    return (*_HELP, *escape_help(escape))


class Console:
    """Prompts for commands and runs them.

    :param reactor: tells the time.
    :param connection: the connection.
    :param lines: the shell that runs the commands.
    :param foreground: shows the commands.
    :param prompt: asks for them.
    :param completer: asks the shell while the prompt is shown.
    :param terminal: the terminal to lend each command; ``None`` for pipes.
    """

    def __init__(
        self,
        reactor: Any,
        connection: Connection,
        lines: LineShell,
        foreground: Foreground,
        prompt: IPrompt,
        completer: Completer,
        terminal: LocalTerminal | None,
    ) -> None:
        self._reactor = reactor
        self._connection = connection
        self._lines = lines
        self._foreground = foreground
        self._outputs = foreground.outputs
        self._prompt = prompt
        self._completer = completer
        self._terminal = terminal
        self._escapes = foreground.escapes
        self._folder: str | None = None
        self._status = 0

    async def run(self) -> int:
        """Prompt for commands and run them, until the end of input or the end of the shell.

        It also ends when the reader of stdout has left: while a prompt is shown at once, and otherwise when what runs
        has ended, as it does when it writes.

        :returns: the exit status of the shell, or that of a program that SIGPIPE ended if the reader of stdout left.
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
                return await self._leave()
            if line is None:
                return READER_LEFT_STATUS if self._outputs.stdout.reader_left else self._shell_ended()
            if line.strip() == HELP_LINE:
                for text in console_help(self._foreground.escape):
                    self._outputs.tell_line(text)
            elif line.strip() and await self._run_line(line):
                return self._status

    async def _run_line(self, line: str) -> bool:
        """Run a line and keep its status; return whether it was the last."""
        await self._completer.stop()
        begun = self._reactor.seconds()
        try:
            if self._terminal is not None:
                ending = await self._run_on_terminal(line, self._terminal)
            else:
                ending = await self._run_on_pipes(line)
        except Interrupted as error:
            if not self._connection.connected:
                raise  # a prompt would be of no use, for nothing could run what is typed there
            self._outputs.remark(f"[{error}]")
            self._status = INTERRUPTED_STATUS
            return False
        finally:
            self._prompt.give(self._foreground.unread)
        if self._connection.lost is None and self._lines.ending is not None:
            self._status = self._lines.tell_end(self._outputs, line)
            return True
        self._status = exit_status(ending)
        if self._status:
            self._outputs.remark(f"[{describe_ending(ending) or f'status {self._status}'}]")
        end = self._foreground.end
        if end is not None and end.folder is not None:
            self._folder = end.folder
        self._prompt.show_state(self._folder, self._status, self._reactor.seconds() - begun)
        return self._connection.lost is not None

    async def _run_on_terminal(self, line: str, terminal: LocalTerminal) -> Any:
        terminal.send_size()
        self._escapes.begin()
        ahead = self._escapes.feed(self._prompt.take_back())
        typed = self._encoded(ahead)
        if len(typed) > MAX_TYPED_AHEAD_BYTES:
            typed = b"" if typed != ahead else ahead[:MAX_TYPED_AHEAD_BYTES]
            ahead = ahead[len(typed) :]
        else:
            ahead = b""
        job = self._lines.start(line, typed)
        return await self._foreground.run(job, 0, terminal, has_escapes=True, ahead=ahead)

    async def _run_on_pipes(self, line: str) -> Any:
        """Run a line on a terminal that is read line by line; give the command the keys that were typed after Enter."""
        self._escapes.begin()
        _dropped, interrupt, ahead = self._prompt.take_back().replace(b"\r", b"\n").rpartition(_INTERRUPT)
        ahead, end, behind = ahead.partition(_END)
        job = self._lines.start(line)
        if interrupt:
            job.send_signal("INT")
        self._foreground.settings.use(TerminalMode.FOUND)
        try:
            if not end:
                return await self._foreground.run(job, 0, None, has_escapes=True, ahead=ahead)
            job.stdin.write(self._encoded(ahead)).addErrback(lambda failure: failure.trap(BrokenPipeError))
            ending = await self._foreground.run(job, None, None)
            self._foreground.unread = behind
            return ending
        finally:
            self._foreground.settings.use(TerminalMode.KEYS)

    def _encoded(self, keys: bytes) -> bytes:
        try:
            transcoder = Transcoder(local_encoding(), self._outputs.encoding or self._lines.shell.encoding)
        except LookupError:  # Python does not know the code page: the bytes as they are come closest
            return keys
        return transcoder.convert(keys) + transcoder.finish()

    async def _leave(self) -> int:
        """Let the shell exit, show what its traps write, and return its status."""
        await self._completer.stop()
        self._foreground.settings.use(TerminalMode.QUIET)  # Ctrl-C leaves a trap that does not end
        await self._lines.leave()
        if self._connection.lost is not None:
            return self._shell_ended()
        status = self._lines.tell_end(self._outputs, "exit")
        await self._outputs.settle()
        return status

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
    terminal = LocalTerminal(reactor, 0, foreground.settings) if is_lent else None
    wanted = None if terminal is None else terminal.describe(os.environ)
    lines = await start_line_shell(connection, options, wanted)
    if terminal is not None:
        terminal.connect_to(lines.shell)
    foreground.outputs.show(lines.shell)
    foreground.outputs.stdout.watch_reader()
    check = CompletenessCheck(reactor, connection, lines.shell.encoding)
    completer = Completer(reactor, lines.shell, foreground.outputs)
    prompt: IPrompt
    if is_plain_terminal(os.environ):
        prompt = CookedPrompt(options.config_folders(), foreground, check)
    else:
        # The editor's import takes a tenth of a second, which a plain terminal need not wait for.
        from twisted_rsh.cli.prompt import EditedPrompt

        prompt = EditedPrompt(options.config_folders(), foreground, check, completer)
    return await Console(reactor, connection, lines, foreground, prompt, completer, terminal).run()
