"""The client as a program: connect, do one thing, and leave with an exit status that tells the truth."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from twisted_rsh.cli.foreground import INTERRUPTED_STATUS, Foreground, Interrupted
from twisted_rsh.cli.options import ClientOptions, TerminalWish
from twisted_rsh.cli.signals import ForwardedSignals, number_of
from twisted_rsh.cli.terminal import LocalTerminal, plain_terminal
from twisted_rsh.client.connecting import connect
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import Error
from twisted_rsh.client.status import FAILURE_STATUS
from twisted_rsh.core.requests import Terminal
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["Prepare", "Task", "install_asyncio_reactor", "run_client", "run_command", "run_program"]


def install_asyncio_reactor() -> Any:
    """Install Twisted's asyncio reactor, and return it.

    The loop is made current first: prompt_toolkit looks for it there.

    :raises twisted.internet.error.ReactorAlreadyInstalledError: another reactor was imported before.
    """
    from twisted.internet import asyncioreactor

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    from twisted.internet import reactor

    return reactor


async def run_command(
    connection: Connection,
    options: ClientOptions,
    foreground: Foreground,
    terminal: LocalTerminal | None,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Run the command with the client's own stdin, stdout and stderr.

    :param shell: the connection.
    :param options: the command, and how to run it.
    :param foreground: shows it.
    :param terminal: the terminal that the command is to be lent, or ``None``; it may be given one all the same.
    :param environment: the client's own, for the type of its terminal.
    :returns: the exit status.
    :raises twisted_rsh.core.errors.Error: the client failed.
    """
    wanted = _wanted_terminal(options, terminal, environment)
    if options.terminal is TerminalWish.ASKED and wanted is None and not options.quiet:
        foreground.say("no terminal for the command, because stdin is none; -tt gives it one all the same")
    # As ssh does it: the words are joined by spaces, and the user's shell on the server takes them apart.
    job = connection.start(
        options.command if options.argv else " ".join(options.command),
        timeout=options.timeout,
        terminal=wanted,
        max_output=options.max_output,
        max_cpu=options.max_cpu,
        max_memory=options.max_memory,
        on_disconnect=options.on_disconnect,
    )
    if terminal is not None:
        terminal.resized = job.resize
    return foreground.tell(await foreground.run(job, None if options.stdin_is_empty else 0, terminal))


def _wanted_terminal(
    options: ClientOptions, terminal: LocalTerminal | None, environment: Mapping[str, str]
) -> Terminal | None:
    if terminal is not None:
        return terminal.describe(environment)
    return plain_terminal(environment) if options.terminal is TerminalWish.ALWAYS else None


log = Logger()

Task = Callable[[Connection, Foreground], Coroutine[Any, Any, int]]
"""What a program does with its connection; returns its exit status."""

Prepare = Callable[[Any, ClientOptions], ClientOptions]
"""Called with the reactor, once it is chosen, and the options; returns the options to use."""

_Style = tuple[bytes, bytes]


def run_client(options: ClientOptions, prepare: Prepare = lambda _reactor, options: options) -> int:
    """Be what the options and stdin ask for.

    :param options: the command line.
    :param prepare: has a last word about the options, once there is a reactor.
    :returns: the exit status.
    """
    if options.command:
        return _run_command(options, prepare)
    return _run_console(options, prepare) if os.isatty(0) else _run_script(options, prepare)


def _run_command(options: ClientOptions, prepare: Prepare) -> int:
    from twisted.internet import reactor

    options = prepare(reactor, options)
    wished = options.terminal in {TerminalWish.ASKED, TerminalWish.ALWAYS}
    lent = wished and not options.stdin_is_empty and os.isatty(0)
    terminal = LocalTerminal(reactor, 0) if lent else None
    return _run(reactor, options, lambda shell, foreground: run_command(shell, options, foreground, terminal))


def _run_script(options: ClientOptions, prepare: Prepare) -> int:
    from twisted.internet import reactor

    from twisted_rsh.cli.script import CommandLines, run_script

    options = prepare(reactor, options)
    return _run(
        reactor,
        options,
        lambda shell, foreground: run_script(reactor, shell, options, foreground, CommandLines(reactor, 0)),
    )


def _run_console(options: ClientOptions, prepare: Prepare) -> int:

    reactor = install_asyncio_reactor()
    from twisted_rsh.cli.console import ERROR_STYLE, Prompt, run_console

    options = prepare(reactor, options)
    prompt = Prompt(_config(options))
    lent = os.isatty(1) if options.terminal is TerminalWish.UNSAID else options.terminal is not TerminalWish.NEVER
    terminal = LocalTerminal(reactor, 0) if lent else None
    return _run(
        reactor,
        options,
        lambda shell, foreground: run_console(reactor, shell, options, foreground, prompt, terminal),
        ERROR_STYLE,
    )


def _run(reactor: Any, options: ClientOptions, task: Task, error_style: _Style = (b"", b"")) -> int:

    foreground = Foreground(reactor, options.encoding, options.quiet, error_style)
    try:
        return run_program(reactor, options, _config(options), foreground, task)
    finally:
        # Whatever went wrong, a terminal that was lent is given back.
        foreground.stop()


def _config(options: ClientOptions) -> ConfigFolders:
    return ConfigFolders.default(os.environ) if options.config_dir is None else ConfigFolders.at(options.config_dir)


LEAVE_SECONDS = 1.0
"""Seconds that the server has to answer our goodbye before the program leaves without it."""


def run_program(reactor: Any, options: ClientOptions, config: ConfigFolders, foreground: Foreground, task: Task) -> int:
    """Connect, run a task, hang up.

    :param reactor: the reactor; it runs until the task is over.
    :param options: whom to connect to, and how talkative to be.
    :param config: where the client's key and the records are.
    :param foreground: the client's descriptors.
    :param task: what to do.
    :returns: the exit status: the task's, 255 for a failure of the client's own, which has been told in one line, or
        128 and its number for a signal that came when no command ran.
    """
    program = _Program(reactor, options, config, foreground, task)
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

    def __init__(
        self, reactor: Any, options: ClientOptions, config: ConfigFolders, foreground: Foreground, task: Task
    ) -> None:
        self.status = FAILURE_STATUS
        self._reactor = reactor
        self._options = options
        self._config = config
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
        connection = await connect(
            self._reactor,
            options.host,
            options.port,
            user=options.user,
            fingerprint=options.fingerprint,
            config=self._config,
            resume=not options.no_resume,
        )
        self._foreground.outage.follow(connection)
        try:
            return await self._task(connection, self._foreground)
        finally:
            self._foreground.outage.stop()
            await connection.close().addTimeout(LEAVE_SECONDS, self._reactor, lambda _result, _seconds: "")

    def _failed(self, failure: Failure) -> int:
        error = failure.value
        if isinstance(error, Interrupted):
            return INTERRUPTED_STATUS
        if isinstance(error, OSError) and error.filename is not None:
            self._foreground.say(f"{error.filename}: {error.strerror}")
        elif isinstance(error, Error | FileProblem | OSError | ValueError):
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
