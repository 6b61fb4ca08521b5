"""The exit of a child: noticing it, taking its status, and putting it into a failure, an ending and a resource usage.

A pidfd tells of an exit where the system has one, SIGCHLD elsewhere.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from dataclasses import dataclass

from twisted.internet import process as twisted_process
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from twisted_rsh.core.endings import SIGNAL_NAMES, Ending, Exited, OutcomeUnknown, ResourceUsage, Signalled
from twisted_rsh.execution.processes.descriptors import WatchedDescriptor
from twisted_rsh.execution.processes.interfaces import IJobReactor

# ruff: noqa: N805 - a zope interface's methods have no self

__all__ = [
    "MAXRSS_UNIT",
    "ExitReport",
    "IExitListener",
    "PidfdWatch",
    "ProcessStatusLost",
    "SigchldWatch",
    "ending_of",
    "failure_of",
    "is_watched",
    "resource_usage",
    "watch_exit",
]

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ``ru_maxrss``: getrusage(2) counts KiB on Linux and the BSDs, bytes on macOS."""

_SIGNAL_BY_NUMBER = {
    int(signal.Signals[f"SIG{name}"]): name for name in sorted(SIGNAL_NAMES) if hasattr(signal, f"SIG{name}")
}
"""The signals that can travel and that this system has; ``IO`` comes before ``POLL`` and ``CHLD`` is no ``CLD``."""


@dataclass(frozen=True, slots=True)
class ExitReport:
    """The system's report of a child that has exited.

    :ivar status: its wait status, for ``os.WIFEXITED`` and the like; ``None`` when another part of this process has
        already taken it, so that it is lost.
    :ivar usage: what it used, or ``None`` where that is not known.
    """

    status: int | None
    usage: resource.struct_rusage | None = None


_watched: set[int] = set()
"""The children that are watched here, and not waited for yet."""


def is_watched(pid: int) -> bool:
    """Tell whether a child is watched here, so that no other part of this process may wait for it.

    :param pid: the number of a child that has not been waited for.
    """
    return pid in _watched


class IExitListener(Interface):
    """Started a child and learns that it has exited."""

    def process_exited(report: ExitReport) -> None:
        """Learn that the child has exited and has been waited for.  Called once, from the reactor.

        :param report: how it exited.
        """


# Noticing an exit


def watch_exit(reactor: IJobReactor, pid: int, listener: IExitListener) -> PidfdWatch | None:
    """Watch a child by the best means that the system has.

    :param reactor: watches the pidfd.
    :param pid: a child of this process that has not been waited for.
    :param listener: its `process_exited` is called once, from the reactor, never from within this call.
    :returns: the watch, whose `doRead` may be called from the reactor to look at once; ``None`` where there is no
        pidfd.
    """
    _watched.add(pid)
    if hasattr(os, "pidfd_open"):
        try:
            return PidfdWatch(reactor, pid, listener)
        except OSError:
            pass  # SIGCHLD does without a descriptor
    reactor.callLater(0, SigchldWatch(pid, listener).start)
    return None


@implementer(IReadDescriptor)
class PidfdWatch(WatchedDescriptor):
    """Watches a child through its pidfd, which becomes readable when it exits (pidfd_open(2), Linux 5.3).

    It depends on no signal handler and looks at no other child.

    :param reactor: watches the pidfd.
    :param pid: a child of this process that has not been waited for.
    :param listener: its `process_exited` is called once, from the reactor.
    :raises OSError: the system gives no pidfd: an older kernel, a seccomp filter, no descriptors left.
    """

    def __init__(self, reactor: IJobReactor, pid: int, listener: IExitListener) -> None:
        super().__init__(reactor, os.pidfd_open(pid))
        self._pid = pid
        self._listener = listener
        try:
            self.watch_reading(True)
        except BaseException:
            os.close(self._fd)
            raise

    def doRead(self) -> None:
        """Wait for the child without blocking; the reactor calls this when it has exited."""
        report = None if self.is_closed else _reap(self._pid)
        if report is not None:
            self.close()
            self._listener.process_exited(report)


class SigchldWatch:
    """Watches a child through Twisted's SIGCHLD handling, which asks after every child whenever one exits.

    Twisted calls the two camelCase methods.

    :param pid: a child of this process that has not been waited for.
    :param listener: its `process_exited` is called once, possibly from within :meth:`start`.
    """

    def __init__(self, pid: int, listener: IExitListener) -> None:
        self._pid = pid
        self._listener = listener

    def start(self) -> None:
        """Begin to watch; this call notices a child that has exited already."""
        report = _reap(self._pid)
        if report is None:
            twisted_process.registerReapProcessHandler(self._pid, self)
        else:
            self._listener.process_exited(report)

    def reapProcess(self) -> None:
        """Wait for the child without blocking; Twisted calls this when some child has exited."""
        report = _reap(self._pid)
        if report is not None:
            twisted_process.unregisterReapProcessHandler(self._pid, self)
            self._listener.process_exited(report)

    def processEnded(self, status: int) -> None:
        """Learn that Twisted has waited for the child, which exited while it was being registered.

        :param status: its wait status.
        """
        _watched.discard(self._pid)
        self._listener.process_exited(ExitReport(status))


def _reap(pid: int) -> ExitReport | None:
    """Wait for a child without blocking; ``None`` while it runs."""
    try:
        reaped, status, usage = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
        report = ExitReport(None)
    else:
        if not reaped:
            return None
        report = ExitReport(status, usage)
    _watched.discard(pid)
    return report


# What an exit means


class ProcessStatusLost(Exception):
    """The process has exited, and another part of this program took its status: how it exited is not known.

    `processExited` and `processEnded` get this in place of `ProcessDone` and `ProcessTerminated`.
    """


def failure_of(status: int | None) -> Failure:
    """Put a wait status into the failure that `processExited` and `processEnded` expect.

    :param status: the status, or ``None`` when it is lost.
    :returns: a failure with `ProcessDone`, `ProcessTerminated` or :class:`ProcessStatusLost`.
    """
    if status is None:
        return Failure(ProcessStatusLost("the exit status was taken by another part of the server"))
    if not os.WIFEXITED(status):
        return Failure(ProcessTerminated(None, os.WTERMSIG(status), status))
    code = os.WEXITSTATUS(status)
    return Failure(ProcessTerminated(code, None, status) if code else ProcessDone(status))


def ending_of(reason: BaseException | None) -> Ending:
    """Put the value of such a failure into an ending.

    :param reason: the value of the failure that `processExited` and `processEnded` get.
    :returns: the ending; :class:`OutcomeUnknown` for a status that is lost, and for a signal without a name.
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


def resource_usage(wall: float, usage: resource.struct_rusage) -> ResourceUsage:
    """Put together the resource usage of a job that has ended.

    :param wall: seconds from its start to its end; a negative number, as after the clock was set back, counts as 0.
    :param usage: what wait4(2) reports of its first process, which includes the children that this has waited for.
    :returns: the value for :class:`twisted_rsh.core.endings.JobEnd`.  A process shares its parent's memory until it
        executes its program, and Linux counts that as its own (``setmax_mm_hiwater_rss`` in ``exec_mmap``).  So a peak
        that is no higher than this process's own becomes ``None``.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return ResourceUsage(
        wall=max(0.0, wall),
        user=usage.ru_utime,
        system=usage.ru_stime,
        peak_memory=usage.ru_maxrss * MAXRSS_UNIT if usage.ru_maxrss > own else None,
    )
