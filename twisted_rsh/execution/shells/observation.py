"""Observations of a command in a persistent shell: the resources that it uses, and whether it is suspended.

A command uses what the shell's process uses while it runs the command.  The system adds up the processor times of a
process and of the children that it has waited for.  The server reads them when the shell reports the end of a command,
and when the shell gets one, unless it has just read them.  Measured, one look takes 10 us, as the file stays open.
Sources: proc(5), ``/proc/PID/stat``; wait4(2) for a command that ends the shell.

The system does not notify a server of a suspended grandchild.  So the server looks at the children of the shell at
intervals, and only while a command runs whose owner wants to know.
"""

from __future__ import annotations

import os
import resource

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from twisted_rsh.core.endings import ResourceUsage
from twisted_rsh.execution.shells.signals import ShellSignals
from twisted_rsh.execution.trees.suspension import LOOK_SECONDS
from twisted_rsh.execution.trees.table import MAX_STAT_BYTES, TICKS_PER_SECOND
from twisted_rsh.interfaces import IJobOwner, ISuspensionListener

__all__ = ["ShellMeter", "ShellSuspension"]


_Ticks = tuple[float, float]
"""Clock ticks in user and in system mode, with those of the children that were waited for."""

_TICK_SECONDS = 1 / TICKS_PER_SECOND
"""The system counts processor time in units of this, so a look that is less old is as good as another one."""


class ShellMeter:
    """Measures one command after another.

    It knows nothing where there is no ``/proc``, as on macOS, or when no descriptor is free as the shell starts.

    :param clock: tells the time.
    :param pid: the shell's process id, a child of ours that has not been waited for.
    :param root: the path of ``/proc``.
    """

    def __init__(self, clock: IReactorTime, pid: int, root: str = "/proc") -> None:
        self._clock = clock
        self._started_at = 0.0
        self._before: _Ticks | None = None
        self._last: _Ticks | None = None
        self._ended_at = 0.0
        self._usage: ResourceUsage | None = None
        try:
            self._fd: int | None = os.open(f"{root}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = None

    def command_begins(self) -> None:
        """Begin to measure, right before the shell gets a command."""
        self._started_at = self._clock.seconds()
        is_fresh = self._last is not None and 0 <= self._started_at - self._ended_at < _TICK_SECONDS
        self._before = self._last if is_fresh else self._look()

    def command_ended(self) -> None:
        """End the measurement: the shell has reported the end of the command."""
        self._last = self._look()
        self._conclude(self._last)

    def shell_exited(self, usage: resource.struct_rusage | None) -> None:
        """End the measurement of a command that has ended with the shell, and close the open file.

        :param usage: the shell's resource usage from wait4(2), or ``None`` where it is not known.
        """
        ticks = None
        if usage is not None:
            ticks = usage.ru_utime * TICKS_PER_SECOND, usage.ru_stime * TICKS_PER_SECOND
        self._conclude(ticks)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def take(self) -> ResourceUsage | None:
        """Return the usage of the command that ended last, once; ``None`` where it is not known.

        The peak memory is never known: the system only records the peak of the shell's whole life.
        """
        usage, self._usage = self._usage, None
        return usage

    def _conclude(self, after: _Ticks | None) -> None:
        before, self._before = self._before, None
        self._ended_at = self._clock.seconds()
        if before is not None and after is not None:
            self._usage = ResourceUsage(
                wall=max(0.0, self._ended_at - self._started_at),
                # wait4(2) counts the parts of a tick that `/proc` rounds away, so a difference may be negative.
                user=max(0.0, after[0] - before[0]) / TICKS_PER_SECOND,
                system=max(0.0, after[1] - before[1]) / TICKS_PER_SECOND,
                peak_memory=None,
            )

    def _look(self) -> _Ticks | None:
        if self._fd is None:
            return None
        try:
            stat = os.pread(self._fd, MAX_STAT_BYTES, 0)
        except ProcessLookupError:  # the shell has exited, and its status was taken
            return None
        # The name may contain anything, so the fields begin after the last bracket.
        fields = stat[stat.rindex(b")") + 2 :].split(None, 15)
        return int(fields[11]) + int(fields[13]), int(fields[12]) + int(fields[14])


@implementer(ISuspensionListener)
class ShellSuspension:
    """Reports suspensions: the shell's own to the shell's owner, and those of either to the owner of the command.

    :param clock: calls when it is time to look.
    :param owner: the shell's owner; told if it provides :class:`~twisted_rsh.interfaces.ISuspensionListener`.
    :param signals: looks whether the shell's children are suspended; ``None`` on a terminal, where the shell itself
        notices that.
    """

    def __init__(self, clock: IReactorTime, owner: IJobOwner, signals: ShellSignals | None) -> None:
        self._clock = clock
        self._owner = ISuspensionListener(owner, None)
        self._signals = signals
        self._call: IDelayedCall | None = None
        self._command: ISuspensionListener | None = None
        self._shell: str | None = None
        self._children: str | None = None
        self._told = False

    def command_begins(self, owner: IJobOwner) -> None:
        """Report suspensions to the owner of a command from now on.

        :param owner: the command's owner; told if it provides :class:`~twisted_rsh.interfaces.ISuspensionListener`.
        """
        self._command = ISuspensionListener(owner, None)
        self._told = False
        # One call outlives many short commands, so that these cost nothing.
        if self._command is not None and self._signals is not None and self._call is None:
            self._call = self._clock.callLater(LOOK_SECONDS, self._look)
        self._tell()

    def command_ended(self) -> None:
        """Report nothing more to the command's owner.  Harmless when there is no command."""
        self._command = self._children = None

    def stop(self) -> None:
        """Stop looking."""
        self.command_ended()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def job_stopped(self, signal: str) -> None:
        """See :class:`~twisted_rsh.interfaces.ISuspensionListener`: the shell itself is suspended."""
        self._shell = signal
        if self._owner is not None:
            self._owner.job_stopped(signal)
        self._tell()

    def job_continued(self) -> None:
        """See :class:`~twisted_rsh.interfaces.ISuspensionListener`: the shell itself goes on."""
        self._shell = None
        if self._owner is not None:
            self._owner.job_continued()
        self._tell()

    def _look(self) -> None:
        self._call = None
        if self._command is not None and self._signals is not None:
            # The system does not say which signal it was.
            self._children = "STOP" if self._signals.is_suspended() else None
            self._call = self._clock.callLater(LOOK_SECONDS, self._look)
            self._tell()

    def _tell(self) -> None:
        """Report a change to the command's owner."""
        signal = self._shell or self._children
        if self._command is None or self._told is (signal is not None):
            return
        self._told = signal is not None
        if signal is not None:
            self._command.job_stopped(signal)
        else:
            self._command.job_continued()
