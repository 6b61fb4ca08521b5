"""Going to the background after the login: ``-f``."""

from __future__ import annotations

import os
import signal
from types import FrameType

__all__ = ["Launch", "launch"]

_READY = b"\n"

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""The signals that end the waiting process; they are for the one that it waits for."""


class Launch:
    """The process that goes to the background, as it sees itself.

    :param fd: a pipe to the process that waits.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def leave(self, *, silently: bool) -> None:
        """Go to the background: the process that waits exits with 0.  Called once, after the login.

        :param silently: whether nothing is to be written any more, so that readers of stdout and stderr get the end.
        """
        os.setsid()
        if silently:
            nothing = os.open(os.devnull, os.O_RDWR)
            for fd in (1, 2):
                os.dup2(nothing, fd)
            os.close(nothing)
        os.write(self._fd, _READY)
        os.close(self._fd)


def launch() -> Launch | int:
    """Split this process into one that waits and one that does the work.  Call it before there is a thread.

    :returns: in the process that does the work, the object to tell of the login, and stdin is empty.  In the other one
        the exit status: 0 after the login, or the status of the process that has ended without one; minus the number
        of the signal that it died of.
    """
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        if empty:
            os.close(empty)
        return Launch(writable)
    os.close(writable)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        os.kill(pid, number)

    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    if os.read(readable, 1) == _READY:
        return 0
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
