"""The console's prompt: asks for a line, and lets what is written meanwhile appear above it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import in_terminal
from prompt_toolkit.application.current import set_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.output import create_output
from twisted.internet.defer import Deferred

from twisted_rsh.cli.foreground import INTERRUPTED_STATUS, Foreground, Interrupted
from twisted_rsh.cli.line_shell import LineShell, start_line_shell
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.outage import GaveUp
from twisted_rsh.cli.output import ShownStream
from twisted_rsh.cli.signals import suspend_self
from twisted_rsh.cli.terminal import LocalTerminal
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import LossReason, SessionLost
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.status import describe_ending, exit_status
from twisted_rsh.trust.files import FileProblem, ensure_private_folder
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["ERROR_STYLE", "PROMPT", "LineDropped", "Prompt", "open_history", "run_console"]

PROMPT = ">>: "
"""What the console shows when it waits for a command."""


def open_history(config: ConfigFolders) -> History:
    """Return the history of earlier consoles, or an empty one if it cannot be kept, or not safely."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        ensure_private_folder(os.path.dirname(config.history_path))
        os.close(os.open(config.history_path, flags, 0o600))
    except (FileProblem, OSError):
        return InMemoryHistory()
    return FileHistory(config.history_path)


class LineDropped(Exception):
    """The user interrupted the line that was being typed."""


class Prompt:
    """Asks for one line after another.  It needs a running asyncio loop.

    :param config: where the history is.
    """

    def __init__(self, config: ConfigFolders) -> None:
        keys = KeyBindings()

        @keys.add("c-c")
        def drop_line(event: KeyPressEvent) -> None:
            # Not the KeyboardInterrupt of prompt_toolkit: raised in an asyncio task, that ends the whole loop.
            event.app.exit(exception=LineDropped(), style="class:aborting")

        @keys.add(".", filter=Condition(self._is_leaving))
        def give_up(event: KeyPressEvent) -> None:
            event.app.exit(exception=GaveUp(), style="class:aborting")

        # Where stdout is a file, it gets what the commands write and not the prompt.
        output = create_output(always_prefer_tty=True)
        self._session: PromptSession[str] = PromptSession(
            history=open_history(config), key_bindings=keys, output=output
        )
        self._foreground: Foreground | None = None
        self._held: deque[Callable[[], None]] = deque()
        self._asking: asyncio.Future[str] | None = None
        self._above: asyncio.Future[None] | None = None
        self._standing: asyncio.Future[None] | None = None

    def show_background(self, shell: Shell, foreground: Foreground, encoding: str | None) -> None:
        """Show what a shell writes while no command runs in it: above the prompt while there is one.

        :param encoding: the code page of its text; ``None`` for the one that the server names.
        """
        self._foreground = foreground
        for stream, output in ((shell.stdout, foreground.stdout), (shell.stderr, foreground.stderr)):
            showing = output.prepare(stream, shell, encoding)
            stream.forward(partial(self._came, showing), showing.end)

    async def ask(self, until: Deferred[Any]) -> str | None:
        """Ask for a line.

        :param until: when it fires, nobody needs the line any more; cancelled when there is one.
        :returns: the line, or ``None`` if nobody needs it.
        :raises LineDropped: there is none; ask again.
        :raises EOFError: there is none, and there will be none.
        :raises twisted_rsh.cli.outage.GaveUp: the user typed ``~.`` during an outage.
        """
        # Twisted's own signal handling is off, and the program's is what should be there when a command runs.
        asking = asyncio.ensure_future(self._session.prompt_async(PROMPT, handle_sigint=False))
        needless = False

        def give_up(_result: object) -> None:
            nonlocal needless
            needless = True
            asking.cancel()

        until.addCallbacks(give_up, lambda _cancelled: None)
        self._asking = asking
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
            self._asking = None
            if self._above is not None:
                await Deferred.fromFuture(self._above)

    def above(self, act: Callable[[], None]) -> None:
        """Do something that writes: above the prompt while there is one, and at once otherwise."""
        if self._asking is None:
            act()
            return
        self._held.append(act)
        if self._above is None:
            self._above = asyncio.ensure_future(self._write_above())

    def _came(self, showing: ShownStream, data: bytes) -> None:
        self.above(partial(showing.piece, data))

    def _is_leaving(self) -> bool:
        is_outage = self._foreground is not None and self._foreground.outage.is_on
        return is_outage and self._session.default_buffer.text == "~"

    async def _write_above(self) -> None:
        try:
            await self._without_prompt(self._write_held)
        finally:
            self._above = None

    async def _write_held(self) -> None:
        assert self._foreground is not None
        while self._held:
            self._held.popleft()()
        self._foreground.end_line()
        await Deferred.fromCoroutine(self._foreground.flushed()).asFuture(asyncio.get_running_loop())

    async def _without_prompt(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something on the terminal while the prompt is not there."""
        with set_app(self._session.app):
            async with in_terminal():
                await act()

    def _suspend(self) -> None:
        async def suspend() -> None:
            suspend_self()

        self._standing = asyncio.ensure_future(self._without_prompt(suspend))


ERROR_STYLE = (b"\x1b[31m", b"\x1b[0m")
"""What stands around standard error on a terminal: red, and back (ECMA-48 SGR)."""

LEAVE = "exit"
"""What ends the console when typed, as the end of input does."""


async def run_console(
    reactor: Any,
    connection: Connection,
    options: ClientOptions,
    foreground: Foreground,
    prompt: Prompt,
    terminal: LocalTerminal | None,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Prompt for commands and run them, until the end of input, ``exit``, or the end of the shell.

    :param reactor: the reactor.
    :param shell: the connection.
    :param options: the time-out of each command, and the limits.
    :param foreground: shows them.
    :param prompt: asks for them.
    :param terminal: what to lend each command, which is then on a terminal of its own; ``None`` for pipes.
    :param environment: the client's own, for the type of its terminal.
    :returns: the exit status of the last command, or of the shell if it ended first.
    :raises twisted_rsh.core.errors.Error: the client failed.
    """
    wanted = None if terminal is None else terminal.describe(environment)
    lines = await start_line_shell(reactor, connection, options, wanted)
    foreground.outage.reads_keys = True
    foreground.place = prompt.above
    prompt.show_background(lines.shell, foreground, options.encoding)
    if terminal is not None:
        terminal.resized = lines.shell.resize
    status = 0
    while True:
        foreground.end_line()
        await foreground.flushed()
        try:
            line = await prompt.ask(lines.when_ended())
        except LineDropped:
            continue
        except EOFError:
            return status
        if line is None:
            return _shell_gone(connection, lines, foreground)
        words = line.split()
        if words == [LEAVE]:
            return status
        if words:
            status, ends = await _run_line(connection, lines, line, foreground, terminal)
            if ends:
                return status


async def _run_line(
    connection: Connection, lines: LineShell, line: str, foreground: Foreground, terminal: LocalTerminal | None
) -> tuple[int, bool]:
    """Run a line; return its status, and whether it was the last."""
    if terminal is not None:
        terminal.tell_size()
    try:
        ending = await foreground.run(lines.start(line), 0, terminal)
    except Interrupted as error:
        if not connection.connected:
            raise  # at a prompt there would be nobody to run anything
        foreground.remark(f"[{error}]")
        return INTERRUPTED_STATUS, False
    if connection.lost is None and await lines.has_ended_with(line, ending):
        return lines.tell_end(foreground, line), True
    status = exit_status(ending)
    if status:
        foreground.remark(f"[{describe_ending(ending) or f'status {status}'}]")
    return status, connection.lost is not None


def _shell_gone(connection: Connection, lines: LineShell, foreground: Foreground) -> int:
    if connection.lost is not None:
        raise SessionLost(connection.lost, connection.loss or LossReason.LINK)
    return lines.tell_end(foreground, "")
