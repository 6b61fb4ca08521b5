"""Job control: what the client may do with a terminal that another process group has in its foreground.

The shell that starts a client gives the terminal to one process group at a time.  The system stops a process of any
other group when it reads the terminal (SIGTTIN) or changes its settings (SIGTTOU); it is silent about the day when the
group gets the terminal, since ``fg`` sends SIGCONT to stopped jobs alone (POSIX.1-2017, 11.1.4).  A stopped client
cannot even act on the SIGTERM of ``timeout``.  So a client that runs asks :func:`in_foreground` first, and again after
:data:`BACKGROUND_SECONDS`; one that is of no use without the terminal calls :func:`stop_in_background`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from collections.abc import Iterator

from twisted_rsh.cli.descriptors import PSEUDOTERMINAL_MULTIPLEXER

__all__ = ["BACKGROUND_SECONDS", "in_foreground", "stop_in_background", "suspend_self", "unstopped"]

BACKGROUND_SECONDS = 0.25
"""Seconds between two looks at whether the client has come into the foreground: a person does not notice them after
``fg``, and a look takes some microseconds."""


def in_foreground(fd: int) -> bool:
    """Tell whether the client may read a terminal and change its settings without being stopped.

    :param fd: a descriptor of the terminal.
    :returns: also whether the terminal does not control this session, such as after ``setsid``, or is gone: then the
        system stops no reader of it.
    """
    try:
        group = os.tcgetpgrp(fd)
    except OSError:
        return True
    # Asked about the program's side of a pseudoterminal, Linux tells of the group on the other side.
    return group == os.getpgrp() or os.fstat(fd).st_rdev == PSEUDOTERMINAL_MULTIPLEXER


def stop_in_background(fd: int) -> None:
    """Return at once in the foreground; in the background be stopped, as a program is that changes the settings.

    The whole process group is stopped, and again as often as it is continued in the background.  The shell tells its
    user: "Stopped (tty output)".  A signal ends the stop as it does any other; the system then runs its handler.

    :param fd: a descriptor of the terminal.
    """
    # It fails where no shell could continue the group, because the shell is gone, and after a signal with a handler.
    with contextlib.suppress(termios.error):
        # Of all calls that are refused in the background this one does least: it restarts what only TCOOFF suspends.
        termios.tcflow(fd, termios.TCOON)


def suspend_self() -> None:
    """Do what SIGTSTP does to a program that does not catch it; return when the client is continued."""
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, before)


@contextlib.contextmanager
def unstopped() -> Iterator[None]:
    """A context in which reading a terminal in the background raises `OSError` with EIO instead of stopping the client.

    The shell may take the terminal away at any time, also after :func:`in_foreground` has said yes.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
