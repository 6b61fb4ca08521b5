"""Learning that a job was suspended from outside, as by ``kill -STOP``, and that it goes on: it has not ended.

A suspended process writes nothing and ends nothing; without this its job looks as if it hung.  The system tells a
parent so by SIGCHLD, of which there is one for any number of children, and only where somebody listens to it; a pidfd
tells nothing.  So it is asked, seldom.  Source: waitid(2), ``WSTOPPED`` and ``WCONTINUED``.
"""

from __future__ import annotations

import os
import signal

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_rsh.interfaces import ISuspensionListener

__all__ = ["LOOK_SECONDS", "SuspensionWatch"]

LOOK_SECONDS = 1.0
"""Seconds between two looks, and so the time after which a suspension is told.  A look takes 1 us for each job."""


class SuspensionWatch:
    """Asks after the first processes of all the jobs that somebody wants to know about.

    It takes no exit status away from anybody.  On a system without ``os.waitid``, as macOS before Python 3.13, nothing
    is ever told.

    :param clock: calls when it is time to look.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: dict[int, ISuspensionListener] = {}
        self._stopped: set[int] = set()
        self._call: IDelayedCall | None = None

    def watch(self, pid: int, listener: ISuspensionListener) -> None:
        """Begin to ask after a process.

        :param pid: a child of ours that nobody has waited for; call :meth:`forget` before its number can be another's.
        :param listener: is told; may call anything here.
        """
        if hasattr(os, "waitid"):
            self._watched[pid] = listener
            self._arm()

    def forget(self, pid: int) -> None:
        """Ask no more after a process.

        :param pid: its number; nothing happens when nobody wanted to know.
        """
        self._watched.pop(pid, None)
        self._stopped.discard(pid)
        if not self._watched and self._call is not None:
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
        if listener is None:  # forgotten by what another listener has done
            return
        try:
            news = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG)
        except ChildProcessError:  # somebody else has waited for it
            return
        if news is None:
            return
        if news.si_code != os.CLD_CONTINUED:
            self._stopped.add(pid)
            listener.job_stopped(signal.Signals(news.si_status).name.removeprefix("SIG"))
        elif pid in self._stopped:  # else it was suspended for less time than anybody notices
            self._stopped.discard(pid)
            listener.job_continued()
