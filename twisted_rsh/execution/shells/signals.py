"""The processes of the command that a persistent shell runs, as signals reach them and do not reach the shell."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence

from twisted_rsh.core.endings import Exited, Stopped
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.trees.table import TICKS_PER_SECOND, ProcessRecord, ProcessTable

__all__ = [
    "INTERRUPTS",
    "MAX_DESCENDANTS",
    "MAX_STATUS_BYTES",
    "Identity",
    "ShellSignals",
    "seconds_up",
    "status_of",
    "would_die",
]

MAX_DESCENDANTS = 4096
"""Processes that are looked for below one shell: the walk takes 30 us for each, and blocks the reactor so long."""

MAX_STATUS_BYTES = 64 * 1024
"""Bytes of ``/proc/PID/status`` that are read: enough for a user who is in 5,000 groups."""

INTERRUPTS = frozenset({signal.SIGINT, signal.SIGQUIT})
"""Signals that an interactive shell survives and its programs do not: they go to the shell's whole process group."""

NEWCOMER_SECONDS = 0.1
"""Seconds for which an interrupt may be lost on a process: until its program has begun, the shell's own rules hold."""

_SUSPENDING = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})

_SIGNALLED = 128
"""A shell reports a program that a signal has ended or suspended as this plus the signal's number."""

_GONE = frozenset({b"", b"Z", b"X"})
"""The states of a process that has ended, and of one that is not there any more."""

Identity = tuple[int, int]
"""A process for good: its number, and the clock ticks at which it was started."""


class ShellSignals:
    """Finds and signals the processes of the command that a shell runs.

    On pipes they are in the shell's own process group, together with background processes of earlier commands.  On a
    terminal a shell has job control, and the command is the terminal's foreground process group.

    Where the system does not list the children of a process, as on macOS, nothing is known of the processes below the
    shell, and the answers are ``None``.

    :param transport: the shell's process.
    :param pid: its number, which is also that of its process group.
    :param table: the processes of this machine.
    """

    def __init__(self, transport: SpawnedProcess, pid: int, table: ProcessTable) -> None:
        self._transport = transport
        self._pid = pid
        self._table = table
        self._earlier: set[Identity] = set()
        self._background: set[int] = set()
        self._suspended: set[tuple[Identity, int]] = set()
        self._list: int | None = None
        if table.lists_children:
            with contextlib.suppress(OSError):  # no descriptor is free, and it is looked at in the ordinary way
                self._list = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the open file, now that the shell has exited.  Harmless when it is closed."""
        if self._list is not None:
            os.close(self._list)
            self._list = None

    def remember_children(self) -> None:
        """Leave the present children of the shell out from now on: earlier commands have left them behind.

        Call it when a command has ended rather than before the next one begins, which it would delay.
        """
        self._earlier = set() if self._has_none() else self.children() or set()

    def _has_none(self) -> bool:
        """Return whether the shell is known to have no children: mostly so, and 4 times as fast as to list them."""
        if self._list is None:
            return False
        try:
            return not os.pread(self._list, 1, 0) and self._table.is_single(self._pid)
        except OSError:
            return False

    # Sending

    def signal_foreground(self, number: int) -> bool:
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

    def signal_processes(self, number: int) -> bool:
        """Send a signal to the command's processes, but not to the shell.

        Where the system does not list children, the whole group gets it: an interactive shell ignores ``TERM``, and
        dies of ``KILL``.

        :param number: the signal's number.
        :returns: whether there were any.
        """
        found = self.descendants()
        if found is None:
            return self._transport.signal_group(number)
        self._send(found, number)
        return bool(found)

    def repeat_interrupt(self, number: int) -> None:
        """Send an interrupt again to the processes of the command that it has not reached.

        A shell that is just starting a program does not pass the signal on to it, and acts on the signal after the
        program has ended.

        :param number: the number of ``INT`` or ``QUIT``.
        """
        found = [record for record in self.descendants() or () if record.group not in self._background]
        self._send([record for record in found if would_die(record.pid, number)], number)

    def remember_background(self) -> None:
        """Leave the command's own background on a terminal alone when an interrupt is sent again.

        Call it before the interrupt is sent or typed.  What the shell is just starting for the foreground is young and
        still a copy of the shell: it takes the terminal before it becomes a program.  Everything else outside the
        foreground is in the background.
        """
        group = self._transport.foreground_group()
        if group is None:
            return
        young, own = (seconds_up() - NEWCOMER_SECONDS) * TICKS_PER_SECOND, _command_line(self._pid)
        self._background = {
            record.group
            for record in self.descendants() or ()
            if record.group not in {group, self._pid} and (record.started < young or _command_line(record.pid) != own)
        }

    def newcomers(self, number: int, at: float) -> list[ProcessRecord] | None:
        """Look up the terminal's foreground processes if an interrupt may be lost on all of them.

        :param number: the number of ``INT`` or ``QUIT``.
        :param at: when it is sent, or was typed, in seconds of :func:`seconds_up`.
        :returns: the processes, each of which had only just been started at that time or was not yet; none if they
            have ended meanwhile.  ``None`` if one of them is older or minds the signal, and where the system does not
            list children.
        """
        group = self._transport.foreground_group()
        below = self.descendants()
        if group is None or below is None:
            return None
        found = [record for record in below if record.group == group and not record.is_dead]
        since = (at - NEWCOMER_SECONDS) * TICKS_PER_SECOND
        if any(record.started < since or self._has_met(record, number) for record in found):
            return None
        return found

    def missed(self, newcomers: Sequence[ProcessRecord], number: int) -> list[ProcessRecord] | None:
        """Send an interrupt again to those on which it was lost.

        :param newcomers: what :meth:`newcomers` has returned.
        :param number: the number of ``INT`` or ``QUIT``.
        :returns: the processes that are still there; ``None`` if a program has the signal and goes on.
        """
        now = [self._table.read(one.pid) for one in newcomers]
        left = [
            one
            for one, record in zip(newcomers, now, strict=True)
            if record is not None and record.started == one.started and not record.is_dead
        ]
        if any(self._has_met(record, number) for record in left):
            return None
        self._send([record for record in left if would_die(record.pid, number)], number)
        return left

    def end_deaf(self, records: Sequence[ProcessRecord], number: int) -> None:
        """Kill the processes that block a signal: bash has left them so for good, and waits for them.

        :param records: processes that the shell was starting when it acted on the signal itself.
        :param number: the number of ``INT`` or ``QUIT``.
        """
        self._send([record for record in records if _has(record.pid, number, b"SigBlk")], signal.SIGKILL)

    def _has_met(self, record: ProcessRecord, number: int) -> bool:
        """Return whether a process runs a program that does not die of a signal."""
        try:
            is_shell = os.path.samefile(f"/proc/{record.pid}/exe", f"/proc/{self._pid}/exe")
        except OSError:
            return False
        return not is_shell and not would_die(record.pid, number)

    def is_starting(self, number: int) -> bool:
        """Return whether a new child of the shell blocks or catches a signal, as one does that has not yet begun.

        :param number: the signal's number.
        :returns: ``False`` where the system does not list children.
        """
        found = self.children() or set()
        return any(_has(pid, number, b"SigCgt", b"SigBlk") for pid, _ in found - self._earlier)

    def _send(self, records: Sequence[ProcessRecord], number: int) -> None:
        """Send a signal to those of the processes that are still there and ours."""
        for record in records:
            self._table.signal(record, number)

    # Looking

    def children(self) -> set[Identity] | None:
        """Look up the children of the shell, with those that wait to be reaped.

        :returns: the processes; ``None`` where the system does not list them.
        """
        if not self._table.lists_children:
            return None
        return {(record.pid, record.started) for record in self._children_of(self._pid)}

    def descendants(self, most: int = MAX_DESCENDANTS) -> list[ProcessRecord] | None:
        """Look up the processes of the command: all below the shell, without the children of earlier commands.

        :param most: the number of processes after which the look ends.
        :returns: the processes, parents first; ``None`` where the system does not list them.
        """
        if not self._table.lists_children:
            return None
        earlier = {pid for pid, _ in self._earlier}
        # A number may be another process's by now, so the numbers of earlier children are looked at too, but last.
        pids = sorted(self._table.children(self._pid), key=lambda pid: (pid in earlier, pid))
        records = self._records_below(self._pid, pids[:most])
        found = [record for record in records if (record.pid, record.started) not in self._earlier]
        seen = {record.pid for record in found}
        for one in found:
            if len(found) >= most:
                break
            more = [record for record in self._children_of(one.pid) if record.pid not in seen]
            seen.update(record.pid for record in more)
            found += more
        return found[:most]

    def background(self, most: int, *, runs_command: bool) -> tuple[list[ProcessRecord], int] | None:
        """Look up the children of the shell that live in its background.

        :param most: the number of children after which the look ends.
        :param runs_command: whether a command runs, whose own children are left out.
        :returns: the processes, and the number of those that were not looked at; ``None`` where the system does not
            list them.
        """
        if not self._table.lists_children:
            return None
        pids = sorted(self._table.children(self._pid))
        if runs_command:
            earlier = {pid for pid, _ in self._earlier}
            pids = [pid for pid in pids if pid in earlier]
        found = self._records_below(self._pid, pids[:most])
        if runs_command:
            found = [record for record in found if (record.pid, record.started) in self._earlier]
        return [record for record in found if not record.is_dead], max(0, len(pids) - most)

    def waits_alone(self) -> bool:
        """Return whether the shell waits for something and the command has no processes, as in a built-in `read`."""
        return self.descendants() == [] and status_of(self._pid).get(b"State", b"").startswith(b"S")

    def is_suspended(self) -> bool:
        """Return whether a signal has suspended every process that the shell may be waiting for.

        :returns: whether the command has children of the shell that live, and each of these is suspended; ``False``
            where the system does not list them.  The look ends at the first child that runs.
        """
        if not self._table.lists_children:
            return False
        left_out = {pid for pid, _ in self._earlier}
        found = False
        for pid in self._table.children(self._pid) - left_out:
            state = status_of(pid).get(b"State", b"")[:1]
            if state == b"T":
                found = True
            elif state not in _GONE:
                return False
        return found

    def ending_of(self, status: int, *, on_terminal: bool) -> Exited | Stopped:
        """Tell a suspended command from one that has exited with the same status.

        Where the system does not list children, the status decides.

        :param status: the status that the shell has reported.
        :param on_terminal: whether the shell has job control.
        :returns: the command's ending.
        """
        number = status - _SIGNALLED
        if not on_terminal or number not in _SUSPENDING:
            return Exited(status)
        stopped = self.stopped_children()
        if stopped is not None:
            known = {child for child, _ in self._suspended}
            news = [one for one in stopped - self._suspended if one[0] in known or one[0] not in self._earlier]
            self._suspended = stopped
            if not news:
                return Exited(status)
        return Stopped(signal.Signals(number).name.removeprefix("SIG"))

    def stopped_children(self) -> set[tuple[Identity, int]] | None:
        """Look up the children of the shell that a signal has suspended.

        :returns: each child with the number of context switches that it has had: a child that was continued and
            suspended again since the last look has another number.  ``None`` where the system does not list them.
        """
        below = self.children()
        if below is None:
            return None
        found = set()
        for child in below:
            status = status_of(child[0])
            if status.get(b"State", b"").startswith(b"T"):
                names = (b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")
                found.add((child, sum(int(status.get(name, b"0")) for name in names)))
        return found

    def _children_of(self, pid: int) -> list[ProcessRecord]:
        return self._records_below(pid, sorted(self._table.children(pid)))

    def _records_below(self, parent: int, pids: Sequence[int]) -> list[ProcessRecord]:
        # A number that another process got between the two looks has another parent.
        return [record for record in map(self._table.read, pids) if record is not None and record.parent == parent]


def seconds_up() -> float:
    """Return the seconds since the system started, with those asleep: the system dates processes by them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _command_line(pid: int) -> bytes:
    """Read what a process was started with; nothing of one that has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read(MAX_STATUS_BYTES)
    except (FileNotFoundError, ProcessLookupError):
        return b""


def would_die(pid: int, number: int) -> bool:
    """Return whether a process takes a signal's default action: it neither catches nor ignores nor blocks the signal.

    If it would die of the signal but is alive, the signal that was sent a moment ago has not arrived.

    :param pid: the process.
    :param number: the signal's number.
    :returns: whether it would; ``False`` for a process that is gone, and where the system does not tell.
    """
    status = status_of(pid)
    masks = [status.get(name) for name in (b"SigCgt", b"SigIgn", b"SigBlk")]
    return all(mask is not None and not int(mask, 16) & 1 << (number - 1) for mask in masks)


def _has(pid: int, number: int, *masks: bytes) -> bool:
    """Return whether a signal is in one of a process's masks, which are fields of ``/proc/PID/status``."""
    status = status_of(pid)
    return any(int(status.get(name, b"0"), 16) & 1 << (number - 1) for name in masks)


def status_of(pid: int) -> dict[bytes, bytes]:
    """Read the fields of ``/proc/PID/status``; none of a process that is gone, and where there is no ``/proc``."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read(MAX_STATUS_BYTES).splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}
