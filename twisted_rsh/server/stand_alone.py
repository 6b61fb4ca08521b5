"""A server that is a program of its own: how it starts, what it does with signals, and how it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.errors import Error, one_line
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.log_level import leveled_log, set_log_level
from twisted_rsh.server.collector import Collector
from twisted_rsh.server.launcher import Launcher
from twisted_rsh.server.memory import MemoryReturn
from twisted_rsh.server.reloading import Reread
from twisted_rsh.server.service import RemoteShellService
from twisted_rsh.server.sighup import ISighupListener, SighupHandler
from twisted_rsh.server.stop_signals import IStopListener, StopSignals
from twisted_rsh.server.systemd import Systemd

__all__ = ["FAILURE_STATUS", "NOT_REREAD", "USAGE_STATUS", "StandAloneService", "describe", "status_of"]

NOT_REREAD = (Error, OSError, ValueError, usage.UsageError)
"""What may keep a configuration from being read again: it is broken, or cannot be had."""

USAGE_STATUS = 2
"""The exit status of a server that refuses to start."""

FAILURE_STATUS = 1
"""The exit status of a server that has started and then cannot go on."""


@implementer(ISighupListener, IStopListener)
class StandAloneService(RemoteShellService):
    """A server that is the whole program: when it cannot serve, the program ends, and it leaves no process behind.

    :param launcher: the program that it runs in.
    :param trees: the processes of its jobs, which it starts and stops.
    :param arguments: those of :class:`~twisted_rsh.server.service.RemoteShellService`.
    :param user: runs the jobs; ``None`` if nothing about it can change.
    :param reread: reads the configuration again, and returns ``None`` if it has no file.  It may raise any of
        :data:`NOT_REREAD`.  ``None`` for a server without a configuration.
    """

    log = Logger(observer=leveled_log)

    def __init__(
        self,
        launcher: Launcher,
        trees: JobTrees,
        *arguments: Any,
        user: LocalUser | None = None,
        reread: Callable[[], Reread | None] | None = None,
    ) -> None:
        super().__init__(*arguments)
        self._user = user
        self._reread = reread
        self._stale: str | None = None
        self._launcher = launcher
        self._trees = trees
        self._sighup = SighupHandler(cast("IReactorFromThreads", self._reactor), self)
        self._signals = StopSignals(self)
        self._collector = Collector(cast("IReactorTime", self._reactor), self._factory.sessions.turns)
        self._systemd = Systemd(os.environ, cast("IReactorTime", self._reactor))
        self._is_starting = False
        self._refusal: BaseException | None = None
        # twistd changes it when it becomes a daemon; the files that jobs create should not depend on that.
        self._umask = os.umask(0)
        os.umask(self._umask)

    def startService(self) -> None:
        os.umask(self._umask)
        self._signals.hold()
        if os.geteuid() == 0:
            self.log.warn("this server runs as root: every client that logs in is root")
        self._is_starting, self._refusal = True, None
        try:
            self._trees.start()
        except OSError as error:
            self.cannot_serve(error)
        self._collector.start()
        # The C library keeps the memory of sessions that have ended, unless it is told to give it back.
        self._factory.sessions.memory = MemoryReturn(cast("IReactorTime", self._reactor))
        if self._refusal is None:
            super().startService()
        self._is_starting = False
        if self._refusal is not None:
            raise self._launcher.end_before_start(status_of(self._refusal))
        self._launcher.started()
        self._sighup.install()
        core = cast("IReactorCore", self._reactor)
        core.callWhenRunning(self._signals.install)
        # Then, as systemd may send signals as soon as it knows.
        self.when_listening().addCallbacks(lambda _: core.callWhenRunning(self._tell_ready), lambda _: None)

    def stopService(self) -> Deferred[None]:
        self._signals.stopping()
        self._systemd.stopping(f"stopping: {len(self._factory.sessions)} sessions are told, and their jobs end")
        stopping = super().stopService()
        stopping.addBoth(self._stopped)
        return stopping

    def cannot_serve(self, error: BaseException) -> None:
        """End the program."""
        if isinstance(error, CancelledError | GeneratorExit):
            return  # it was stopped while it started
        reason = describe(error)
        self._launcher.tell(reason)
        if self._launcher.logs_the_start or (self._launcher.has_own_log and not self._is_starting):
            self.log.critical("the server ends: {reason}", reason=reason)
        if self._is_starting:
            self._refusal = error
        else:
            # An endpoint that took its time.
            self._launcher.end_with(status_of(error))
            self._end_program()

    def warn(self, warning: str) -> None:
        """Tell the operator also on the terminal."""
        super().warn(warning)
        if self._launcher.has_own_log:
            self._launcher.tell(warning)

    def sighup_received(self) -> None:
        """Read the configuration again, have logs opened again, and check the keys of all sessions again."""
        self._systemd.reloading()
        self._reload()
        self.logs_rotated()
        self.recheck_keys().addCallback(lambda _: self._tell_ready())

    def terminal_gone(self) -> None:
        """End the program."""
        self.log.info("the server ends: its terminal is gone")
        self._end_program()

    def end_at_once(self) -> None:
        """Kill the jobs."""
        self._trees.kill_jobs()
        self._launcher.remove_pid_file()
        self.log.warn("a second signal: the server ends at once, and its jobs are killed")

    def _reload(self) -> None:
        """Take what has changed in the configuration.  One that is broken changes nothing."""
        if self._reread is None:
            return
        try:
            found = self._reread()
            if found is not None and self._user is not None:
                self._user.change_choices(found.bounds, found.sftp)
        except NOT_REREAD as error:
            self._stale = f"the configuration stays as it was: {describe(error)}"
            self.log.warn("{text}", text=self._stale)
            return
        self._stale = None
        if found is None:
            return
        self.change_options(found.options)
        self.log.info("{text}", text=one_line(found.describe()))
        set_log_level(found.log_level)

    def _end_program(self) -> None:
        with contextlib.suppress(ReactorNotRunning):  # it ends already
            cast("IReactorCore", self._reactor).stop()

    def _tell_ready(self) -> None:
        if self.running:
            # The Unix socket that goes with a port is no news; one that is all there is has to be named.
            ports = [address for address in self.addresses if not address.startswith("/")]
            serving = f"serving on {', '.join(ports or self.addresses)}"
            self._systemd.ready(serving if self._stale is None else f"{serving}; {self._stale}")

    def _stopped(self, result: Failure | None) -> Failure | None:
        self._systemd.close()
        self._trees.stop()
        self._collector.stop()
        self._sighup.restore()
        self._signals.restore()
        return result


def status_of(error: BaseException) -> int:
    """Return the exit status of a server that an error keeps from serving."""
    return USAGE_STATUS if isinstance(error, CannotListenError | usage.UsageError) else FAILURE_STATUS


def describe(error: BaseException | None) -> str:
    """Describe an error in one line that names what it is about, whatever characters a file's name has."""
    return one_line(_reason(error))


def _reason(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError):
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        if isinstance(error.port, bytes | str):  # of a Unix socket
            place = ascii(os.fsdecode(error.port))
        else:
            place = f"{error.interface or 'any address'}, port {error.port}"
        return f"cannot listen on {place}: {reason}; choose another place with --interface, --port or --listen"
    if isinstance(error, OSError) and error.filename is not None:
        # Of a call with two names, the second is the one that it makes.
        path = error.filename if error.filename2 is None else error.filename2
        return f"{os.fsdecode(path)}: {error.strerror}"
    return str(error)
