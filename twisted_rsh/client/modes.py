"""The three things that the client can be: one command, a script of commands, or the console.

The imports stand where they are needed: the reactor must be chosen before it is imported, and a single command should
not wait for what only the console needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted_rsh.client.options import ClientOptions, TerminalWish
from twisted_rsh.trust.home import Home

if TYPE_CHECKING:
    from twisted_rsh.client.program import Task

__all__ = ["Prepare", "run_client"]

Prepare = Callable[[Any, ClientOptions], ClientOptions]
"""Called with the reactor, once it is chosen, and the options; returns the options to use."""

_Style = tuple[bytes, bytes]


def run_client(options: ClientOptions, prepare: Prepare = lambda _reactor, options: options) -> int:
    """Be what the options and stdin ask for.

    :param options: the command line.
    :param prepare: has a last word about the options, once there is a reactor.
    :returns: the exit status.
    """
    if options.command:
        return _run_command(options, prepare)
    return _run_console(options, prepare) if os.isatty(0) else _run_script(options, prepare)


def _run_command(options: ClientOptions, prepare: Prepare) -> int:
    from twisted.internet import reactor

    from twisted_rsh.client.local_terminal import LocalTerminal
    from twisted_rsh.client.one_shot import run_command

    options = prepare(reactor, options)
    wished = options.terminal in {TerminalWish.ASKED, TerminalWish.ALWAYS}
    lent = wished and not options.stdin_is_empty and os.isatty(0)
    terminal = LocalTerminal(reactor, 0) if lent else None
    return _run(reactor, options, lambda shell, foreground: run_command(shell, options, foreground, terminal))


def _run_script(options: ClientOptions, prepare: Prepare) -> int:
    from twisted.internet import reactor

    from twisted_rsh.client.script import CommandLines, run_script

    options = prepare(reactor, options)
    return _run(
        reactor,
        options,
        lambda shell, foreground: run_script(reactor, shell, options, foreground, CommandLines(reactor, 0)),
    )


def _run_console(options: ClientOptions, prepare: Prepare) -> int:
    from twisted_rsh.client.asyncio_reactor import install_asyncio_reactor

    reactor = install_asyncio_reactor()
    from twisted_rsh.client.console import ERROR_STYLE, run_console
    from twisted_rsh.client.local_terminal import LocalTerminal
    from twisted_rsh.client.prompt import Prompt

    options = prepare(reactor, options)
    prompt = Prompt(_home(options))
    lent = os.isatty(1) if options.terminal is TerminalWish.UNSAID else options.terminal is not TerminalWish.NEVER
    terminal = LocalTerminal(reactor, 0) if lent else None
    return _run(
        reactor,
        options,
        lambda shell, foreground: run_console(reactor, shell, options, foreground, prompt, terminal),
        ERROR_STYLE,
    )


def _run(reactor: Any, options: ClientOptions, task: Task, error_style: _Style = (b"", b"")) -> int:
    from twisted_rsh.client.foreground import Foreground
    from twisted_rsh.client.program import run_program

    foreground = Foreground(reactor, options.encoding, options.quiet, error_style)
    try:
        return run_program(reactor, options, _home(options), foreground, task)
    finally:
        # Whatever went wrong, a terminal that was lent is given back.
        foreground.stop()


def _home(options: ClientOptions) -> Home:
    return Home.default(os.environ) if options.home is None else Home.at(options.home)
