"""Whom a signal for a command in a persistent shell goes to, and what has become of it."""

from __future__ import annotations

import contextlib
import os
import signal

from twisted_rsh.core.endings import Exited, Stopped
from twisted_rsh.execution.process import SpawnedProcess
from twisted_rsh.execution.process_table import ProcessTable
from twisted_rsh.execution.shell_family import Identity, ShellFamily, would_die

__all__ = ["INTERRUPTS", "ShellReach"]

INTERRUPTS = frozenset({signal.SIGINT, signal.SIGQUIT})
"""What an interactive shell survives and its programs do not: these go to the shell's whole process group."""

_SUSPENDING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})

_SIGNALLED = 128
"""A shell reports a program that a signal has ended or suspended as this and the signal's number."""


class ShellReach:
    """The processes of the command that a shell runs.

    On pipes they are in the shell's own process group, together with what earlier commands left in the background.  On
    a terminal a shell has job control, and the command is the terminal's foreground process group.

    :param transport: the shell's process.
    :param pid: its number, which is also that of its process group.
    :param table: the processes of this machine.
    """

    def __init__(self, transport: SpawnedProcess, pid: int, table: ProcessTable) -> None:
        self._transport = transport
        self._pid = pid
        self._family = ShellFamily(table, pid)
        self._earlier: set[Identity] = set()
        self._suspended: set[tuple[Identity, int]] = set()
        self._missed: int | None = None

    def is_at_prompt(self) -> None:
        """Remember what commands have left behind until now: that is not the next one's.

        To be called when a command has ended rather than when one begins, which it would hold up.
        """
        self._earlier = self._family.children() or set()

    def command_begins(self) -> None:
        """Forget an interruption that was another command's."""
        self._missed = None

    def to_foreground(self, number: int) -> bool:
        """Send a signal to the terminal's foreground process group, unless that is the shell's own.

        :param number: the signal's number.
        :returns: whether there is such a group.
        """
        group = self._transport.foreground_group()
        if group is None or group == self._pid:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
        return True

    def to_group(self, number: int) -> bool:
        """Send a signal to the shell's process group.

        :param number: the signal's number, or 0 to ask only.
        :returns: whether any of it was still there.
        """
        return self._transport.signal_group(number)

    def to_family(self, number: int) -> bool:
        """Send a signal to the command's processes, but not to the shell.

        Where the system does not tell who is below the shell, the whole group gets it: an interactive shell ignores
        ``TERM``, and dies of ``KILL``.

        :param number: the signal's number.
        :returns: whether there were any.
        """
        members = self._family.descendants(self._earlier)
        if members is None:
            return self.to_group(number)
        self._family.signal(members, number)
        return bool(members)

    def is_suspended(self) -> bool:
        """Tell whether a signal has suspended all of the command that the shell has started and that still lives."""
        return self._family.is_suspended(self._earlier)

    def interrupted(self, number: int) -> None:
        """Remember that an interruption was sent, for :meth:`repeat`.

        :param number: the number of ``INT`` or ``QUIT``.
        """
        self._missed = number

    def repeat(self) -> None:
        """Send the last interruption again, once, to those of the command's processes that it has not reached.

        A shell that is just starting a program passes nothing on to it, and heeds the signal when that has ended.
        """
        number, self._missed = self._missed, None
        if number is not None:
            members = self._family.descendants(self._earlier) or ()
            self._family.signal([record for record in members if would_die(record.pid, number)], number)

    def ending_of(self, status: int, *, on_terminal: bool) -> Exited | Stopped:
        """Tell a suspended command from one that has exited with the same status.

        Where the system does not tell, the status decides.

        :param status: what the shell reported.
        :param on_terminal: whether the shell has job control.
        :returns: how the command ended.
        """
        number = status - _SIGNALLED
        if not on_terminal or number not in _SUSPENDING:
            return Exited(status)
        stopped = self._family.stopped_children()
        if stopped is not None:
            known = {child for child, _ in self._suspended}
            news = [one for one in stopped - self._suspended if one[0] in known or one[0] not in self._earlier]
            self._suspended = stopped
            if not news:
                return Exited(status)
        return Stopped(signal.Signals(number).name.removeprefix("SIG"))
