"""``python -m twisted_rsh.client``, and ``trsh``: the client's command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from twisted_rsh.client.options import ClientOptions, UsageError, parse_options, usage_text
from twisted_rsh.client.status import FAILURE_STATUS
from twisted_rsh.client.stdio import ensure_standard_descriptors
from twisted_rsh.trust.home import Home

if TYPE_CHECKING:
    from twisted_rsh.client.program import Task

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client.

    :param arguments: the command line behind the program's name; ``None`` for this process's own.
    :returns: the exit status.
    """
    ensure_standard_descriptors()
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        _print(f"trsh: {error}", 2)
        return FAILURE_STATUS
    if options.show_help:
        _print(usage_text().rstrip("\n"), 1)
        return 0
    if options.show_version:
        _print(f"twisted-rsh {version('twisted-rsh')}", 2)
        return 0
    if options.command:
        return _run_command(options)
    return _run_console(options) if os.isatty(0) else _run_script(options)


def _print(line: str, fd: int) -> None:
    os.write(fd, f"{line}\n".encode(errors="backslashreplace"))


# The imports stand where they are needed: the reactor must be chosen before it is imported, and a single command should
# not wait for what only the console needs.


def _run_command(options: ClientOptions) -> int:
    from twisted.internet import reactor

    from twisted_rsh.client.one_shot import run_command

    return _run(reactor, options, lambda shell, foreground: run_command(shell, options, foreground))


def _run_script(options: ClientOptions) -> int:
    from twisted.internet import reactor

    from twisted_rsh.client.script import CommandLines, run_script

    return _run(
        reactor,
        options,
        lambda shell, foreground: run_script(shell, options, foreground, CommandLines(reactor, 0)),
    )


def _run_console(options: ClientOptions) -> int:
    from twisted_rsh.client.asyncio_reactor import install_asyncio_reactor

    reactor = install_asyncio_reactor()
    from twisted_rsh.client.console import ERROR_STYLE, open_console

    return _run(reactor, options, open_console(options, _home(options)), ERROR_STYLE)


def _run(reactor: Any, options: ClientOptions, task: Task, error_style: tuple[bytes, bytes] = (b"", b"")) -> int:
    from twisted_rsh.client.foreground import Foreground
    from twisted_rsh.client.program import run_program

    foreground = Foreground(reactor, options.encoding, options.quiet, error_style)
    return run_program(reactor, options, _home(options), foreground, task)


def _home(options: ClientOptions) -> Home:
    return Home.default(os.environ) if options.home is None else Home.at(options.home)


if __name__ == "__main__":
    sys.exit(main())
