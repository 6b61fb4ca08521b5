"""What a prompt is for the console, and the texts that every prompt shows."""

# ruff: noqa: N805 - a zope interface's methods have no self

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Interface

from twisted_rsh.client.status import printable

__all__ = ["CONTINUATION", "PROMPT", "SLOW_SECONDS", "IPrompt", "LineDropped", "describe_state", "duration"]

PROMPT = ">>: "
"""The text that the console shows when it waits for a command."""

CONTINUATION = "..: "
"""The text before each further line of a command."""

SLOW_SECONDS = 1.0
"""Seconds from which on the time that a command took is worth a word."""

_MAX_FOLDER = 40
"""Characters of the folder that are shown: its end."""


class LineDropped(Exception):
    """The user interrupted the command that was being typed."""


class IPrompt(Interface):
    """Asks the user for commands."""

    def ask(until: Deferred[Any]) -> Any:
        """Ask for a command.

        :param until: the console needs no command any more when this fires; cancelled when there is one.
        :returns: a coroutine; its result is the command, of one line or several, or ``None`` if the console needs none.
        :raises LineDropped: the user dropped the command; ask again.
        :raises EOFError: there is no command, and there will be none.
        :raises twisted_rsh.cli.outage.GaveUp: the user typed ``~.`` during an outage.
        :raises twisted_rsh.cli.escapes.Left: the user typed ``~.``.
        """

    def show_state(folder: str | None, status: int, seconds: float) -> None:
        """Show the state of the shell, at once or with the next prompt.

        :param folder: the shell's folder; ``None`` where that is not known.
        :param status: the status of the last command.
        :param seconds: the time that it took.
        """

    def take_back() -> bytes:
        """Return the bytes that were typed after the last command, and forget them."""

    def give(data: bytes) -> None:
        """Take bytes that a command has left unread: the next command begins with them."""


def duration(seconds: float) -> str:
    """Write a time as a person reads it: ``3.2 s``, ``4 min 5 s``, ``2 h 3 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def describe_state(folder: str | None, status: int, seconds: float) -> str:
    """Describe the state of the shell in a few characters; the parameters are those of :meth:`IPrompt.show_state`.

    :returns: the status unless it is 0, the time if it was long, and the folder; empty where there is nothing to say.
    """
    parts = []
    if status:
        parts.append(f"[{status}]")
    if seconds >= SLOW_SECONDS:
        parts.append(duration(seconds))
    if folder is not None:
        shown = printable(folder)
        parts.append(shown if len(shown) <= _MAX_FOLDER else f"...{shown[-_MAX_FOLDER + 3 :]}")
    return "  ".join(parts)
