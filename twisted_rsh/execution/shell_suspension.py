"""Learning that a command in a persistent shell hangs because a signal has suspended it, or the shell itself.

A shell without job control waits until what it started has ended, and says nothing of a suspension.  What it started is
not our child, so the system does not tell us either: ``/proc`` is looked at, seldom.  Source: proc(5), ``State``.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from twisted_rsh.execution.suspension import LOOK_SECONDS
from twisted_rsh.interfaces import IJobOwner, ISuspensionListener

__all__ = ["ShellSuspension"]


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
