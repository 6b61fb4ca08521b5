"""The console: a prompt, at which one command after another is typed, and one shell on the server that runs them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted_rsh.client.errors import ConnectionLost, LossReason
from twisted_rsh.client.foreground import INTERRUPTED_STATUS, Foreground, Interrupted
from twisted_rsh.client.line_shell import LineShell, start_line_shell
from twisted_rsh.client.local_terminal import LocalTerminal
from twisted_rsh.client.options import ClientOptions
from twisted_rsh.client.prompt import LineDropped, Prompt
from twisted_rsh.client.remote_shell import RemoteShell
from twisted_rsh.client.status import describe_ending, exit_status

__all__ = ["ERROR_STYLE", "run_console"]

ERROR_STYLE = (b"\x1b[31m", b"\x1b[0m")
"""What stands around standard error on a terminal: red, and back (ECMA-48 SGR)."""

LEAVE = "exit"
"""What ends the console when typed, as the end of input does."""


async def run_console(
    reactor: Any,
    shell: RemoteShell,
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
    :raises twisted_rsh.client.errors.ClientError: the client failed.
    """
    wanted = None if terminal is None else terminal.describe(environment)
    lines = await start_line_shell(reactor, shell, options, wanted)
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
            return _shell_gone(shell, lines, foreground)
        words = line.split()
        if words == [LEAVE]:
            return status
        if words:
            status, ends = await _run_line(shell, lines, line, foreground, terminal)
            if ends:
                return status


async def _run_line(
    connection: RemoteShell, lines: LineShell, line: str, foreground: Foreground, terminal: LocalTerminal | None
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


def _shell_gone(connection: RemoteShell, lines: LineShell, foreground: Foreground) -> int:
    if connection.lost is not None:
        raise ConnectionLost(connection.lost, connection.loss or LossReason.LINK)
    return lines.tell_end(foreground, "")
