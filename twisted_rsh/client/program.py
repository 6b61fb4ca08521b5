"""The client as a program: connect, do one thing, and leave with an exit status that tells the truth."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from twisted_rsh.client.connecting import connect
from twisted_rsh.client.errors import ClientError
from twisted_rsh.client.foreground import INTERRUPTED_STATUS, Foreground, Interrupted
from twisted_rsh.client.options import ClientOptions
from twisted_rsh.client.remote_shell import RemoteShell
from twisted_rsh.client.signals import ForwardedSignals, number_of
from twisted_rsh.client.status import FAILURE_STATUS
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.home import Home

log = Logger()

__all__ = ["Task", "run_program"]

Task = Callable[[RemoteShell, Foreground], Coroutine[Any, Any, int]]
"""What a program does with its connection; returns its exit status."""

LEAVE_SECONDS = 1.0
"""Seconds that the server has to answer our goodbye before the program leaves without it."""


def run_program(reactor: Any, options: ClientOptions, home: Home, foreground: Foreground, task: Task) -> int:
    """Connect, run a task, hang up.

    :param reactor: the reactor; it runs until the task is over.
    :param options: whom to connect to, and how talkative to be.
    :param home: where the client's key and the records are.
    :param foreground: the client's descriptors.
    :param task: what to do.
    :returns: the exit status: the task's, 255 for a failure of the client's own, which has been told in one line, or
        128 and its number for a signal that came when no command ran.
    """
    program = _Program(reactor, options, home, foreground, task)
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(sys.stderr)] if options.verbosity else [], redirectStandardIO=False, discardBuffer=True
    )
    reactor.callWhenRunning(program.start)
    with ForwardedSignals(reactor, program.signal_arrived):
        reactor.run(installSignalHandlers=False)
    return program.status


class _Program:
    """One run of the program.

    :ivar status: the exit status, once the reactor has stopped.
    """

    def __init__(self, reactor: Any, options: ClientOptions, home: Home, foreground: Foreground, task: Task) -> None:
        self.status = FAILURE_STATUS
        self._reactor = reactor
        self._options = options
        self._home = home
        self._foreground = foreground
        self._task = task
        self._running: Deferred[int] | None = None

    def start(self) -> None:
        """Begin; the reactor runs."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._failed).addCallback(self._over)

    def signal_arrived(self, name: str) -> None:
        """Pass a signal on to the command, or leave."""
        if not self._foreground.signal_arrived(name) and self._running is not None:
            self.status = 128 + number_of(name)
            self._running.cancel()
            # Whoever does not read our output must not keep us from leaving.
            self._foreground.stop()

    async def _run(self) -> int:
        options = self._options
        shell = await connect(
            self._reactor,
            options.host,
            options.port,
            user=options.user,
            fingerprint=options.fingerprint,
            home=self._home,
            resume=not options.no_resume,
        )
        self._foreground.outage.follow(shell)
        try:
            return await self._task(shell, self._foreground)
        finally:
            self._foreground.outage.stop()
            await shell.close().addTimeout(LEAVE_SECONDS, self._reactor, lambda _result, _seconds: "")

    def _failed(self, failure: Failure) -> int:
        error = failure.value
        if isinstance(error, Interrupted):
            return INTERRUPTED_STATUS
        if isinstance(error, OSError) and error.filename is not None:
            self._foreground.say(f"{error.filename}: {error.strerror}")
        elif isinstance(error, ClientError | FileProblem | OSError | ValueError):
            self._foreground.say(str(error))
        elif not isinstance(error, CancelledError):
            log.failure("the client broke", failure)
            self._foreground.say(f"a fault inside the client: {error!r}")
        return self.status

    def _over(self, status: int) -> None:
        self.status = status
        flushed = Deferred.fromCoroutine(self._foreground.flushed())
        flushed.addBoth(lambda _: self._foreground.stop())
        flushed.addBoth(lambda _: self._reactor.stop())
