"""One command, given on the client's command line: the client stands in for it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted_rsh.client.foreground import Foreground
from twisted_rsh.client.local_terminal import LocalTerminal, plain_terminal
from twisted_rsh.client.options import ClientOptions, TerminalWish
from twisted_rsh.client.remote_shell import RemoteShell
from twisted_rsh.core.requests import Terminal

__all__ = ["run_command"]


async def run_command(
    shell: RemoteShell,
    options: ClientOptions,
    foreground: Foreground,
    terminal: LocalTerminal | None,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Run the command with the client's own stdin, stdout and stderr.

    :param shell: the connection.
    :param options: the command, and how to run it.
    :param foreground: shows it.
    :param terminal: the terminal that the command is to be lent, or ``None``; it may be given one all the same.
    :param environment: the client's own, for the type of its terminal.
    :returns: the exit status.
    :raises twisted_rsh.client.errors.ClientError: the client failed.
    """
    wanted = _wanted_terminal(options, terminal, environment)
    if options.terminal is TerminalWish.ASKED and wanted is None and not options.quiet:
        foreground.say("no terminal for the command, because stdin is none; -tt gives it one all the same")
    # As ssh does it: the words are joined by spaces, and the user's shell on the server takes them apart.
    job = shell.start(
        options.command if options.argv else " ".join(options.command),
        timeout=options.timeout,
        terminal=wanted,
        max_output=options.max_output,
        max_cpu=options.max_cpu,
        max_memory=options.max_memory,
        on_disconnect=options.on_disconnect,
    )
    if terminal is not None:
        terminal.resized = job.resize
    return foreground.tell(await foreground.run(job, None if options.stdin_is_empty else 0, terminal))


def _wanted_terminal(
    options: ClientOptions, terminal: LocalTerminal | None, environment: Mapping[str, str]
) -> Terminal | None:
    if terminal is not None:
        return terminal.describe(environment)
    return plain_terminal(environment) if options.terminal is TerminalWish.ALWAYS else None
