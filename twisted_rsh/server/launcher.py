"""The program that a stand-alone server runs in: ``twistd``, ``twist``, or the server's own module.

It decides where the log is, who may read that, and what the operator sees on the terminal.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import os
import stat
import sys
from collections.abc import Mapping
from typing import Any

from twisted_rsh.trust.files import FileProblem

__all__ = ["DEFAULT_LOG", "Launcher", "LogProblem"]

DEFAULT_LOG = "twistd.log"
"""The log of a ``twistd`` in the background that was given no ``--logfile``, in the folder that it was started in."""

_LOG_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LogProblem(FileProblem):
    """The log's file is not this user's own, so others could read it."""


class Launcher:
    """The program that a stand-alone server runs in.

    :param options: the options of ``twistd`` or ``twist``, in which the server's are a subcommand's; ``None`` for the
        server's own module.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options: Mapping[str, Any] = {} if options is None else options
        self._is_twistd = "nodaemon" in self._options
        self._becomes_daemon = self._is_twistd and not self._options["nodaemon"] and not self._options["debug"]
        # A daemon's stderr is closed before its services start.
        self._stderr = os.dup(2) if self._becomes_daemon else 2

    @property
    def has_own_log(self) -> bool:
        """Whether the log goes elsewhere than the lines of :meth:`tell`, which then have to be in both places."""
        return bool(self._options)

    @property
    def logs_the_start(self) -> bool:
        """Whether the log is there when the server starts.  That of ``twist`` begins later, and until then Twisted
        shows what is critical on the terminal."""
        return self._is_twistd

    def make_log_private(self) -> None:
        """Let no other user read the log's file, nor those that it is rotated to.

        Call this before ``twistd`` opens it: ``twistd`` gives each new file the mode of the old one.  A log that is no
        regular file stays as it is, and so does the output of this program that a shell writes to a file.

        :raises LogProblem: the file belongs to another user.
        :raises OSError: the operating system did not allow it.
        """
        path = self._log_path()
        if path is not None:
            descriptor = _open_log(path)
            if descriptor is not None:
                with open(descriptor) as file:
                    self._restrict(path, file.fileno())
            for old in glob.glob(f"{glob.escape(path)}.[0-9]*"):
                with contextlib.suppress(OSError, LogProblem), open(old, opener=_open_old_log) as file:
                    self._restrict(old, file.fileno())
        # twist has opened it, and writes to it later.
        log = self._options.get("logFile")
        if log is not None and log not in (sys.stdout, sys.stderr):
            self._restrict(log.name, log.fileno())

    def tell(self, line: str) -> None:
        """Write a line to the terminal on which the operator starts the program."""
        with contextlib.suppress(OSError):  # it is closed, or gone
            os.write(self._stderr, f"twisted-rsh: {line}\n".encode("utf-8", "backslashreplace"))

    def started(self) -> None:
        """Let go of the terminal: the server has started, and the program is in the background if it should be."""
        if self._stderr != 2:
            os.close(self._stderr)
            self._stderr = 2

    def end_before_start(self, status: int) -> SystemExit:
        """Do for ``twistd`` what it leaves undone when a service ends the program while it starts.

        It would leave the file that names this process.  And the ``twistd`` that was called, which waits for the start
        of the one in the background, would wait for ever; it is told, and then exits with 1 and a line of its own.

        :param status: the exit status.
        :returns: the exception to raise.
        """
        self.remove_pid_file()
        if self._is_twistd and "statusPipe" in self._options:
            os.write(self._options["statusPipe"], b"1 the line above says which")
        return SystemExit(status)

    def remove_pid_file(self) -> None:
        """Remove the file of ``twistd`` that names this process; ``twistd`` does so when it ends as usual."""
        if self._is_twistd and self._options["pidfile"]:
            with contextlib.suppress(OSError):
                os.unlink(self._options["pidfile"])

    def end_with(self, status: int) -> None:
        """Let the program end with an exit status, once its reactor has stopped; ``twistd`` and ``twist`` say 0.

        :param status: the exit status.
        """
        atexit.register(_exit, status)

    def _log_path(self) -> str | None:
        options = self._options
        if not self._is_twistd or options["syslog"] or options["logger"] is not None or options["logfile"] == "-":
            return None
        path: str | None = options["logfile"]
        return path or (DEFAULT_LOG if self._becomes_daemon else None)

    def _restrict(self, path: str, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return
        # Started by root, twistd may become another user, whose file it then is.
        if status.st_uid not in (os.geteuid(), self._options.get("uid")):
            problem = f"belongs to uid {status.st_uid}, who could read the log"
            raise LogProblem(os.path.abspath(path), problem, "name another file with --logfile")
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)


def _open_log(path: str) -> int | None:
    """Open a log's file, or make it; ``None`` if there is something else of that name, such as a terminal."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
    except FileNotFoundError:
        pass
    return os.open(path, _LOG_FLAGS, 0o600)


def _open_old_log(path: str, _: int) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _exit(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)
