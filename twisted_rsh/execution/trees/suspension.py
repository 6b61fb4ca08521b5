"""Suspension of jobs from outside, as by ``kill -STOP``: noticing that a job is stopped, and that it goes on.

A suspended process writes nothing and does not end; its job would seem to hang.  The system reports a suspension to the
parent by SIGCHLD only, which says nothing about which child, and which an application may not handle; a pidfd reports
none.  So this asks the system once a second.  Source: waitid(2), ``WSTOPPED`` and ``WCONTINUED``.
"""

from __future__ import annotations

import os
import signal

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.interfaces import ISuspensionListener

__all__ = ["LOOK_SECONDS", "SuspensionWatch"]

LOOK_SECONDS = 1.0
"""Seconds between two looks: a listener learns of a suspension this late at most.  A look takes 1 us for each job."""


class SuspensionWatch:
    """Asks the system about the first processes of the jobs that have a listener.

    It leaves every exit status where it is.  On a system without ``os.waitid``, as macOS before Python 3.13, it never
    reports anything.

    :param clock: calls when it is time to look.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: dict[int, ISuspensionListener] = {}
        self._stopped: set[int] = set()
        self._call: IDelayedCall | None = None
        self._is_started = False

    def watch(self, pid: int, listener: ISuspensionListener) -> None:
        """Watch a process from now on.

        :param pid: a child of this process that has not been waited for.  Call :meth:`forget` when it has been: its
            number may be another's then.
        :param listener: learns of each suspension; it may call any method here.
        """
        if hasattr(os, "waitid"):
            self._watched[pid] = listener
            self._arm()

    def forget(self, pid: int) -> None:
        """Watch a process no longer.

        :param pid: its number; nothing happens when it is not watched.
        """
        self._watched.pop(pid, None)
        self._stopped.discard(pid)
        if not (self._watched or self._is_started):
            self._cancel()

    def start(self) -> None:
        """Let one call outlive many short jobs, so that these cost nothing; call :meth:`stop` in the end."""
        self._is_started = True

    def stop(self) -> None:
        """Leave no call behind when no process is watched."""
        self._is_started = False
        if not self._watched:
            self._cancel()

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _arm(self) -> None:
        if self._watched and self._call is None:
            self._call = self._clock.callLater(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._call = None
        try:
            for pid in list(self._watched):
                self._ask(pid)
        finally:
            self._arm()

    def _ask(self, pid: int) -> None:
        listener = self._watched.get(pid)
        if listener is None:  # another listener has made this one be forgotten
            return
        try:
            news = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
        except ChildProcessError:  # another part of this process has waited for it
            return
        if news is None:
            return
        if news.si_code != os.CLD_CONTINUED:
            self._stopped.add(pid)
            listener.job_stopped(signal.Signals(news.si_status).name.removeprefix("SIG"))
        elif pid in self._stopped:  # else it was suspended between two looks only
            self._stopped.discard(pid)
            listener.job_continued()
