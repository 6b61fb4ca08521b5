"""The console: a prompt, at which one command after another is typed and run."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.output import create_output
from twisted.internet.defer import Deferred

from twisted_rsh.client.errors import ConnectionLost
from twisted_rsh.client.foreground import INTERRUPTED_STATUS, Foreground, Interrupted
from twisted_rsh.client.options import ClientOptions
from twisted_rsh.client.program import Task
from twisted_rsh.client.remote_shell import RemoteShell
from twisted_rsh.client.status import FAILURE_STATUS, describe_ending, exit_status
from twisted_rsh.trust.files import FileProblem, ensure_private_folder
from twisted_rsh.trust.home import Home

__all__ = ["ERROR_STYLE", "PROMPT", "LineDropped", "open_console", "open_history", "run_console"]

PROMPT = ">>: "

ERROR_STYLE = (b"\x1b[31m", b"\x1b[0m")
"""What stands around standard error on a terminal: red, and back (ECMA-48 SGR)."""

LEAVE = "exit"
"""What ends the console when typed, as the end of input does."""


def open_history(home: Home) -> History:
    """Return the history of earlier consoles, or an empty one if it cannot be kept, or not safely."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        ensure_private_folder(os.path.dirname(home.history_path))
        os.close(os.open(home.history_path, flags, 0o600))
    except (FileProblem, OSError):
        return InMemoryHistory()
    return FileHistory(home.history_path)


class LineDropped(Exception):
    """The user interrupted the line that was being typed."""


def open_console(options: ClientOptions, home: Home) -> Task:
    """Return the console as a program's task."""
    keys = KeyBindings()

    @keys.add("c-c")
    def drop_line(event: KeyPressEvent) -> None:
        # Not the KeyboardInterrupt of prompt_toolkit: raised in an asyncio task, that ends the whole loop.
        event.app.exit(exception=LineDropped(), style="class:aborting")

    # Where stdout is a file, it gets what the commands write and not the prompt.
    output = create_output(always_prefer_tty=True)
    prompts: PromptSession[str] = PromptSession(history=open_history(home), key_bindings=keys, output=output)
    return lambda shell, foreground: run_console(shell, options, foreground, prompts)


async def run_console(
    shell: RemoteShell, options: ClientOptions, foreground: Foreground, prompts: PromptSession[str]
) -> int:
    """Prompt for commands and run them, until the end of input or ``exit``.

    :param shell: the connection.
    :param options: the time-out of each command.
    :param foreground: shows them.
    :param prompts: asks for a line; it needs a running asyncio loop.
    :returns: the exit status of the last command.
    :raises twisted_rsh.client.errors.ClientError: the client failed.
    """
    status = 0
    while True:
        foreground.end_line()
        await foreground.flushed()
        try:
            line = await _ask(shell, prompts)
        except LineDropped:
            continue
        except EOFError:
            return status
        words = line.split()
        if words == [LEAVE]:
            return status
        if words:
            status = await _run_line(shell, line, options, foreground)
            if status == FAILURE_STATUS and shell.lost is not None:  # and the user has been told
                return status


async def _run_line(shell: RemoteShell, line: str, options: ClientOptions, foreground: Foreground) -> int:
    try:
        ending = await foreground.run(shell.start(line, timeout=options.timeout), 0)
    except Interrupted as error:
        foreground.remark(f"[{error}]")
        return INTERRUPTED_STATUS
    status = exit_status(ending)
    if status:
        foreground.remark(f"[{describe_ending(ending) or f'status {status}'}]")
    return status


async def _ask(shell: RemoteShell, prompts: PromptSession[str]) -> str:
    """Ask for a line, unless the connection ends first."""
    # Twisted's own signal handling is off, and the program's is what should be there when a command runs.
    asking = asyncio.ensure_future(prompts.prompt_async(PROMPT, handle_sigint=False))
    lost: list[str] = []

    def give_up(reason: str) -> None:
        lost.append(reason)
        asking.cancel()

    watching = shell.when_lost()
    watching.addCallbacks(give_up, _ignore)
    try:
        return await Deferred.fromFuture(asking)
    except BaseException:
        if lost:
            raise ConnectionLost(lost[0]) from None
        raise
    finally:
        watching.cancel()


def _ignore(_failure: Any) -> None:
    return None
