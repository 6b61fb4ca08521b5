"""The processes below a persistent shell: whom a signal is for that is not meant for the shell itself."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection

from twisted_rsh.core.endings import Exited, Stopped
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.trees.table import ProcessRecord, ProcessTable

__all__ = ["INTERRUPTS", "MAX_FAMILY", "MAX_STATUS_BYTES", "Identity", "ShellFamily", "ShellSignals", "would_die"]

MAX_FAMILY = 4096
"""Processes that are looked for below one shell: the walk takes 30 us for each, and keeps the reactor so long."""

MAX_STATUS_BYTES = 64 * 1024
"""Bytes of ``/proc/PID/status`` that are read: the groups of a user who is in 5,000 of them, and some."""

_GONE = frozenset({b"", b"Z", b"X"})
"""What the system says of a process that has ended, and of one that is not there any more."""

Identity = tuple[int, int]
"""A process for good: its number, and the clock ticks at which it was started."""


class ShellFamily:
    """The processes below one shell.

    Where the system does not list the children of a process, as on macOS, nothing is known, and the answers are
    ``None``.

    :param table: the processes of this machine.
    :param pid: the shell, which is not of the family itself.
    """

    def __init__(self, table: ProcessTable, pid: int) -> None:
        self._table = table
        self._pid = pid

    def children(self) -> set[Identity] | None:
        """Look which children the shell has, those that wait to be reaped included."""
        if not self._table.lists_children:
            return None
        return {(record.pid, record.started) for record in self._children_of(self._pid)}

    def descendants(self, without: Collection[Identity] = ()) -> list[ProcessRecord] | None:
        """Look what there is below the shell.

        :param without: children of it that are left out, with all that is below them.
        :returns: the processes, parents first, at most :data:`MAX_FAMILY`; ``None`` where the system does not tell.
        """
        if not self._table.lists_children:
            return None
        found = [record for record in self._children_of(self._pid) if (record.pid, record.started) not in without]
        seen = {record.pid for record in found}
        for one in found:
            if len(found) >= MAX_FAMILY:
                break
            more = [record for record in self._children_of(one.pid) if record.pid not in seen]
            seen.update(record.pid for record in more)
            found += more
        return found[:MAX_FAMILY]

    def signal(self, members: Collection[ProcessRecord], number: int) -> None:
        """Send a signal to processes, as far as they are there still, and ours.

        :param members: some of :meth:`descendants`.
        :param number: the signal's number.
        """
        for record in members:
            self._table.signal(record, number)

    def stopped_children(self) -> set[tuple[Identity, int]] | None:
        """Look which children of the shell a signal has suspended.

        :returns: for each who it is, and how often the system has switched to it: who has been continued and suspended
            again since the last look is there with another number.  ``None`` where the system does not tell.
        """
        below = self.children()
        if below is None:
            return None
        found = set()
        for child in below:
            status = _status_of(child[0])
            if status.get(b"State", b"").startswith(b"T"):
                names = (b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")
                found.add((child, sum(int(status.get(name, b"0")) for name in names)))
        return found

    def is_suspended(self, without: Collection[Identity] = ()) -> bool:
        """Tell whether a signal has suspended all that the shell may be waiting for.

        :param without: children of the shell that it does not wait for.
        :returns: whether it has other children, and each of them that lives is suspended; ``False`` where the system
            does not tell.  The first that is not is the last that is looked at.
        """
        if not self._table.lists_children:
            return False
        left_out = {pid for pid, _ in without}
        found = False
        for pid in self._table.children(self._pid) - left_out:
            state = _status_of(pid).get(b"State", b"")[:1]
            if state == b"T":
                found = True
            elif state not in _GONE:
                return False
        return found

    def _children_of(self, pid: int) -> list[ProcessRecord]:
        records = map(self._table.read, sorted(self._table.children(pid)))
        # A number that has become another process's between the two looks has another parent.
        return [record for record in records if record is not None and record.parent == pid]


def would_die(pid: int, number: int) -> bool:
    """Say whether a signal's default action is what a process would get: it neither catches nor ignores nor blocks it.

    Who would and still lives has not got the signal that was sent a moment ago.

    :param pid: the process.
    :param number: the signal's number.
    :returns: whether it would, as far as the system tells.
    """
    status = _status_of(pid)
    masks = [status.get(name) for name in (b"SigCgt", b"SigIgn", b"SigBlk")]
    return all(mask is not None and not int(mask, 16) & 1 << (number - 1) for mask in masks)


def _status_of(pid: int) -> dict[bytes, bytes]:
    """Read what the system says of a process, by name; nothing when it is gone, or where the system says nothing."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read(MAX_STATUS_BYTES).splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}


INTERRUPTS = frozenset({signal.SIGINT, signal.SIGQUIT})
"""What an interactive shell survives and its programs do not: these go to the shell's whole process group."""

_SUSPENDING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})

_SIGNALLED = 128
"""A shell reports a program that a signal has ended or suspended as this and the signal's number."""


class ShellSignals:
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
