"""The seams inside a persistent shell: what its process tells it, and what its commands ask of it."""

# ruff: noqa: N805 - a zope interface's methods have no self

from __future__ import annotations

from zope.interface import Attribute, Interface

from twisted_rsh.core.endings import Ending
from twisted_rsh.core.roles import Stream
from twisted_rsh.execution.shell_input import PrivateFolder, TerminalFeed
from twisted_rsh.execution.shell_reports import Report

__all__ = ["ICommandShell", "IShellListener"]


class IShellListener(Interface):
    """Whoever is told what the process of a shell does; from the reactor only."""

    def output_room(stream: Stream) -> int:
        """Say how many bytes of an output may be handed over now."""

    def output_received(stream: Stream, data: bytes) -> None:
        """Take output, no more than there was room for."""

    def reported(report: Report) -> None:
        """Take one of the shell's reports."""

    def garbled() -> None:
        """Learn that the status pipe is of no use any more."""

    def exited(ending: Ending) -> None:
        """Learn that the shell has exited; its output may not be complete."""

    def ended() -> None:
        """Learn that the shell has exited and its outputs are closed; the last call."""


class ICommandShell(Interface):
    """What a command asks of its shell."""

    folder: PrivateFolder = Attribute("Where the input of a command is.")

    feed: TerminalFeed | None = Attribute("The terminal's input, or ``None`` on pipes.")

    def signal_command(name: str) -> None:
        """Send a signal to what the command runs.

        :param name: the signal's name without ``SIG``; nothing happens when this system has no such signal.
        """

    def interrupt(number: int) -> None:
        """Interrupt the command, and the shell itself where it is at it.

        :param number: the number of ``INT`` or ``QUIT``.
        """

    def key_typed() -> None:
        """Learn that a key was typed that may interrupt the shell."""

    def signal_family(number: int) -> bool:
        """Send a signal to the processes of the command, but not to the shell.

        :param number: the signal's number.
        :returns: whether there were any.
        """

    def kill() -> None:
        """End the shell, which does not answer."""

    def withdraw() -> None:
        """Forget the command, of which the shell has not been told."""

    def discard_typed() -> None:
        """Drop what was typed on the terminal and nobody has read."""

    def resume_outputs() -> None:
        """Read the outputs again."""

    def resize(columns: int, rows: int) -> None:
        """Give the terminal another size."""
