"""The help of the console, which ``:help`` shows."""

from __future__ import annotations

from twisted_rsh.cli.escapes import escape_help

__all__ = ["HELP_LINE", "console_help"]

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
