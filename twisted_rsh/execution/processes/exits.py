"""Learning that a child has exited: by a pidfd where the system has one, by SIGCHLD elsewhere."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet import process as twisted_process
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.endings import SIGNAL_NAMES, Ending, Exited, OutcomeUnknown, ResourceUsage, Signalled
from twisted_rsh.execution.processes.descriptors import IgnoresStaleEvents, is_hang_up

__all__ = ["MAXRSS_UNIT", "ExitReport", "PidfdWatch", "SigchldWatch", "ending_of", "resource_usage", "watch_exit"]

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ``ru_maxrss``: getrusage(2) counts KiB on Linux and the BSDs, bytes on macOS."""


def resource_usage(wall: float, usage: resource.struct_rusage) -> ResourceUsage:
    """Put together what is told of a job that has ended.

    :param wall: seconds from its start to its end; what a clock that was set back makes negative is 0.
    :param usage: what wait4(2) said of its first process, which includes what that has waited for.
    :returns: the value for :class:`twisted_rsh.core.endings.JobEnd`.  A process shares its parent's memory until it
        executes its program, and Linux counts that as its own (``setmax_mm_hiwater_rss`` in ``exec_mmap``): what is no
        more than this process's own peak is not told.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return ResourceUsage(
        wall=max(0.0, wall),
        user=usage.ru_utime,
        system=usage.ru_stime,
        peak_memory=usage.ru_maxrss * MAXRSS_UNIT if usage.ru_maxrss > own else None,
    )


_SIGNAL_BY_NUMBER = {
    int(signal.Signals[f"SIG{name}"]): name for name in sorted(SIGNAL_NAMES) if hasattr(signal, f"SIG{name}")
}
"""The signals that can travel and that this system has; ``IO`` comes before ``POLL`` and ``CHLD`` is no ``CLD``."""


def ending_of(reason: BaseException | None) -> Ending:
    """Put what a process protocol is told into an ending.

    :param reason: the value of the failure that `processExited` and `processEnded` get.
    :returns: the ending; :class:`OutcomeUnknown` for a status that was lost, and for a signal without a name.
    """
    if isinstance(reason, ProcessDone):
        return Exited(0)
    if not isinstance(reason, ProcessTerminated):
        return OutcomeUnknown(str(reason))
    if reason.signal is None:
        return Exited(reason.exitCode)
    name = _SIGNAL_BY_NUMBER.get(reason.signal)
    if name is None:
        return OutcomeUnknown(f"a signal without a name, number {reason.signal}, ended the job")
    return Signalled(name, os.WCOREDUMP(reason.status))


@dataclass(frozen=True, slots=True)
class ExitReport:
    """What the system said of a child that has exited.

    :ivar status: its wait status, for ``os.WIFEXITED`` and the like; ``None`` when somebody else had already asked,
        so that nobody can tell any more.
    :ivar usage: what it used, or ``None`` where that is not known.
    """

    status: int | None
    usage: resource.struct_rusage | None = None


def _reap(pid: int) -> ExitReport | None:
    """Ask for the exit of a child without waiting; ``None`` while it runs."""
    try:
        reaped, status, usage = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
        return ExitReport(None)
    return ExitReport(status, usage) if reaped else None


@implementer(IReadDescriptor)
class PidfdWatch(IgnoresStaleEvents):
    """Watches a child through its pidfd, which becomes readable when it exits (pidfd_open(2), Linux 5.3).

    Depends on no signal handler, and costs no look at any other child.

    :param reactor: watches the pidfd.
    :param pid: a child of ours that nobody has waited for.
    :param exited: called once, from the reactor.
    :raises OSError: there is no pidfd to be had: an older kernel, a seccomp filter, no descriptors left.
    """

    def __init__(self, reactor: IReactorFDSet, pid: int, exited: Callable[[ExitReport], None]) -> None:
        self._reactor = reactor
        self._pid = pid
        self._exited = exited
        self._fd = os.pidfd_open(pid)
        try:
            reactor.addReader(self)
        except BaseException:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        """The pidfd, or -1 when it is closed; the reactor asks."""
        return self._fd

    def logPrefix(self) -> str:
        """What the reactor calls this in its log."""
        return type(self).__name__

    def doRead(self) -> None:
        """Ask for the exit; the reactor calls this when there is one."""
        report = _reap(self._pid)
        if report is not None:
            self._close()
            self._exited(report)

    def connectionLost(self, reason: Failure) -> None:
        """Close the pidfd; the reactor calls this when it ends, or when something it called has failed.

        It goes on at a hang-up, which no pidfd has (:mod:`twisted_rsh.execution.processes.descriptors`).
        """
        if self._fd >= 0 and is_hang_up(self._reactor, reason):
            self._reactor.addReader(self)
        else:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            self._reactor.removeReader(self)
            fd, self._fd = self._fd, -1
            os.close(fd)


class SigchldWatch:
    """Watches a child through Twisted's SIGCHLD handling, which asks after every child whenever one exits.

    Twisted calls the two camelCase methods.

    :param pid: a child of ours that nobody has waited for.
    :param exited: called once, possibly from within :meth:`start`.
    """

    def __init__(self, pid: int, exited: Callable[[ExitReport], None]) -> None:
        self._pid = pid
        self._exited = exited

    def start(self) -> None:
        """Begin to watch; a child that has exited already is noticed now."""
        report = _reap(self._pid)
        if report is None:
            twisted_process.registerReapProcessHandler(self._pid, self)
        else:
            self._exited(report)

    def reapProcess(self) -> None:
        """Ask for the exit; Twisted calls this when some child has exited."""
        report = _reap(self._pid)
        if report is not None:
            twisted_process.unregisterReapProcessHandler(self._pid, self)
            self._exited(report)

    def processEnded(self, status: int) -> None:
        """Learn that the child exited right while it was being registered, and that Twisted has waited for it."""
        self._exited(ExitReport(status))


def watch_exit(
    reactor: IReactorFDSet,
    pid: int,
    exited: Callable[[ExitReport], None],
    later: Callable[[Callable[[], None]], object],
) -> None:
    """Watch a child by the best means there are.

    :param reactor: watches the pidfd.
    :param pid: a child of ours that nobody has waited for.
    :param exited: called once, from the reactor, never from within this call.
    :param later: calls its argument soon, from the reactor.
    """
    if hasattr(os, "pidfd_open"):
        try:
            PidfdWatch(reactor, pid, exited)
        except OSError:
            pass  # SIGCHLD does without a descriptor
        else:
            return
    later(SigchldWatch(pid, exited).start)
