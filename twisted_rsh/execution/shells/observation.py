"""What each command in a persistent shell takes: the shell does the work, so it is what its process takes meanwhile.

The system adds up the times of a process, and of the children that it has waited for.  They are read when the shell is
given a command and when it reports the end.  Measured, one look takes 5 us, as the file stays open.  Sources: proc(5),
``/proc/PID/stat``; wait4(2) for a command with which the shell ends.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from twisted_rsh.core.endings import ResourceUsage
from twisted_rsh.execution.trees.suspension import LOOK_SECONDS
from twisted_rsh.execution.trees.table import MAX_STAT_BYTES
from twisted_rsh.interfaces import IJobOwner, ISuspensionListener

__all__ = ["ShellMeter", "ShellSuspension"]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
"""Clock ticks in a second, mostly 100: processor time is known to one of them."""


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds of processor time, those of the children that were waited for included."""

    user: float
    system: float


class ShellMeter:
    """Measures one command after another.

    Where there is no ``/proc``, as on macOS, or no descriptor to be had when the shell starts, nothing is known.

    :param clock: tells the time.
    :param pid: the shell, a child of ours that nobody has waited for.
    :param root: where ``/proc`` is.
    """

    def __init__(self, clock: IReactorTime, pid: int, root: str = "/proc") -> None:
        self._clock = clock
        self._started_at = 0.0
        self._before: _Times | None = None
        self._usage: ResourceUsage | None = None
        try:
            self._fd: int | None = os.open(f"{root}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = None

    def command_begins(self) -> None:
        """Learn that the shell is about to be given a command."""
        self._started_at = self._clock.seconds()
        self._before = self._look()

    def command_ended(self) -> None:
        """Learn that the shell has reported the end of the command."""
        self._conclude(self._look())

    def shell_exited(self, usage: resource.struct_rusage | None) -> None:
        """Learn that the shell has exited, with the command that it ran, if any.  Closes what is open.

        :param usage: what wait4(2) said of it, or ``None`` where that is not known.
        """
        self._conclude(None if usage is None else _Times(usage.ru_utime, usage.ru_stime))
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def take(self) -> ResourceUsage | None:
        """Return what the command took whose end came last, once; ``None`` where that is not known.

        The memory is never known: what the system says of that is the highest of the shell's whole life.
        """
        usage, self._usage = self._usage, None
        return usage

    def _conclude(self, after: _Times | None) -> None:
        before, self._before = self._before, None
        if before is not None and after is not None:
            self._usage = ResourceUsage(
                wall=max(0.0, self._clock.seconds() - self._started_at),
                # wait4(2) knows parts of a tick that were rounded away before.
                user=max(0.0, after.user - before.user),
                system=max(0.0, after.system - before.system),
                peak_memory=None,
            )

    def _look(self) -> _Times | None:
        if self._fd is None:
            return None
        try:
            stat = os.pread(self._fd, MAX_STAT_BYTES, 0)
        except ProcessLookupError:  # it has exited, and been waited for
            return None
        # The name may contain anything, so what counts begins at the last bracket.
        user, system, children_user, children_system = map(int, stat[stat.rindex(b")") + 2 :].split(None, 15)[11:15])
        return _Times((user + children_user) / _TICKS_PER_SECOND, (system + children_system) / _TICKS_PER_SECOND)


@implementer(ISuspensionListener)
class ShellSuspension:
    """Tells the owner of the shell when that is suspended, and the owner of the running command when either is.

    :param clock: calls when it is time to look.
    :param owner: the shell's; is told if it provides :class:`~twisted_rsh.interfaces.ISuspensionListener`.
    :param is_suspended: tells whether all that the shell waits for is suspended; ``None`` on a terminal, where the
        shell notices that itself.
    """

    def __init__(self, clock: IReactorTime, owner: IJobOwner, is_suspended: Callable[[], bool] | None) -> None:
        self._clock = clock
        self._owner = ISuspensionListener(owner, None)
        self._is_suspended = is_suspended
        self._call: IDelayedCall | None = None
        self._command: ISuspensionListener | None = None
        self._shell: str | None = None
        self._children: str | None = None
        self._told = False

    def command_begins(self, owner: IJobOwner) -> None:
        """Learn that the shell begins with a command.

        :param owner: the command's; is told if it provides :class:`~twisted_rsh.interfaces.ISuspensionListener`.
        """
        self._command = ISuspensionListener(owner, None)
        self._told = False
        # The call outlives short commands, so that these cost nothing.
        if self._command is not None and self._is_suspended is not None and self._call is None:
            self._call = self._clock.callLater(LOOK_SECONDS, self._look)
        self._tell()

    def command_ended(self) -> None:
        """Learn that the command has ended; harmless when there is none."""
        self._command = self._children = None

    def stop(self) -> None:
        """Look no more."""
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
        if self._command is not None and self._is_suspended is not None:
            # Which signal it was, the system does not say.
            self._children = "STOP" if self._is_suspended() else None
            self._call = self._clock.callLater(LOOK_SECONDS, self._look)
            self._tell()

    def _tell(self) -> None:
        signal = self._shell or self._children
        if self._command is None or self._told is (signal is not None):
            return
        self._told = signal is not None
        if signal is not None:
            self._command.job_stopped(signal)
        else:
            self._command.job_continued()
