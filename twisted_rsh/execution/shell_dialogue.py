"""What is said to a persistent shell, line by line, and what its reports answer."""

from __future__ import annotations

from collections.abc import Callable

from twisted_rsh.execution.shell_dialect import Dialect
from twisted_rsh.execution.shell_input import PrivateFolder
from twisted_rsh.execution.shell_reports import Report, ReportKind

__all__ = ["ShellDialogue"]


class ShellDialogue:
    """Numbers what is said, and carries the status and the options from one command to the next.

    :param dialect: how the shell is talked to.
    :param folder: where what a question does is put.
    :param send_line: says a line.
    """

    def __init__(self, dialect: Dialect, folder: PrivateFolder, send_line: Callable[[bytes], None]) -> None:
        self._dialect = dialect
        self._folder = folder
        self._send_line = send_line
        self._number = self._last_command = 0
        self._status = 0
        self._flags = b""

    def open(self) -> None:
        """Say what comes first; the end of command 0 answers it."""
        self._send_line(self._dialect.opening_line())

    def give(self, text: bytes, source: bytes | None) -> int:
        """Give the shell a command.

        :param text: the command.
        :param source: the path of its input, or ``None`` for the terminal.
        :returns: its number.
        """
        self._number += 1
        self._last_command = self._number
        line = self._dialect.command_line(self._number, text, source=source, status=self._status, flags=self._flags)
        self._send_line(line)
        return self._number

    def ended(self, report: Report) -> None:
        """Learn how the last command has ended; the next one finds the same in ``$?``."""
        self._status, self._flags = report.status, report.flags

    def ask(self) -> None:
        """Ask the shell whether it is at its prompt.

        :raises OSError: the question cannot be put into its file.
        """
        path = self._folder.place("sync:")
        with open(path, "xb") as file:
            file.write(self._dialect.sync_script(self._number + 1))
        self._number += 1
        self._send_line(self._dialect.sync_line(path))

    def was_said(self, report: Report) -> bool:
        """Say whether a report answers anything that was said."""
        return report.number <= self._number

    def is_in_step(self, report: Report) -> bool:
        """Say whether a report answers a question that was asked behind the last command."""
        return report.kind is ReportKind.IN_STEP and report.number > self._last_command
