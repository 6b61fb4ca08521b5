"""The client as a program: connect, do what the command line asks for, and leave with an exit status."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Protocol, TextIO

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from twisted_rsh.cli.background import Launch
from twisted_rsh.cli.first_use import FirstUse, may_ask
from twisted_rsh.cli.foreground import INTERRUPTED_STATUS, Foreground, Interrupted
from twisted_rsh.cli.job_control import stop_in_background
from twisted_rsh.cli.options import ClientOptions, TerminalWish
from twisted_rsh.cli.output import NO_STYLE
from twisted_rsh.cli.outputs import ERROR_STYLE, LocalOutputs, OutputFailed
from twisted_rsh.cli.reaching import Reach
from twisted_rsh.cli.report import CollectingOutputs, Report
from twisted_rsh.cli.terminal import LocalTerminal, is_plain_terminal, plain_terminal
from twisted_rsh.cli.terminal_settings import TerminalMode
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import SessionLost
from twisted_rsh.client.status import FAILURE_STATUS
from twisted_rsh.clock import use_steady_clock
from twisted_rsh.core.errors import Error
from twisted_rsh.core.requests import JobRequest, Terminal

__all__ = [
    "FORWARDED",
    "LEAVE_SECONDS",
    "SCRIPT_COMMAND",
    "ForwardedSignals",
    "Program",
    "SignalTaker",
    "Task",
    "begin_logging",
    "install_reactor",
    "job_request",
    "keep_connection",
    "run_client",
    "run_command",
]

FORWARDED = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")
"""Names of the signals that are meant for the command and not for the client."""

LEAVE_SECONDS = 1.0
"""Seconds that the server has to answer the client's goodbye before the program leaves without the answer."""

SCRIPT_COMMAND = 'exec "$SHELL"'
"""The command that runs stdin as a script: the shell of the account on the server, of whatever kind it is, reads it."""

Task = Callable[[Any, Connection, ClientOptions, Foreground, Report], Coroutine[Any, Any, int]]
"""A task of the program: with the reactor, a connection, the options and the client's descriptors it does what the
options ask for, tells the report how that ended, and returns the exit status."""

log = Logger()


def install_reactor(options: ClientOptions) -> Any:
    """Install the reactor that the program needs, with a clock that cannot be set, and return it.

    The console needs the asyncio reactor, since prompt_toolkit runs on asyncio.  All else runs on Twisted's default.

    :param options: the command line.
    :raises twisted.internet.error.ReactorAlreadyInstalledError: the console is asked for, and another reactor was
        imported before.
    """
    if _is_console(options):
        from twisted.internet import asyncioreactor

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)  # prompt_toolkit looks for it there
        asyncioreactor.install(loop)
    from twisted.internet import reactor

    use_steady_clock(reactor)
    return reactor


def run_client(reactor: Any, options: ClientOptions, launch: Launch | None = None) -> int:
    """Run the command of the options, or the console if stdin is a terminal, or else stdin as a script.

    In the background, a console and a command on the client's terminal are stopped first, until they have it.

    :param reactor: the reactor of :func:`install_reactor`; it runs until the program is over.
    :param options: the command line.
    :param launch: goes to the background after the login; ``None`` to stay.
    :returns: the exit status: the task's; 255 for a failure of the client's own, which the user has been told in one
        line; 128 and the number of a signal that came while no command ran; or minus the number of a signal that came
        before the login, of which the process is to die.
    :raises twisted_rsh.trust.home.HomeUnknown: the options name no folder for the keys, and the user has no home.
    :raises OSError: the file for the log cannot be opened.
    """
    is_console = _is_console(options)
    if is_console or _lends_terminal(options):
        # Here a signal still ends the process, also a stopped one that timeout(1) continues.
        stop_in_background(0)
    task = _choose_task(options, is_console)
    outputs_class = CollectingOutputs if options.json else LocalOutputs
    style = ERROR_STYLE if is_console and not is_plain_terminal(os.environ) else NO_STYLE
    with contextlib.ExitStack() as ending:
        log_file = None
        if options.log_file is not None:
            from twisted_rsh.cli.log_file import open_log_file  # only here: few command lines name one

            log_file = ending.enter_context(open_log_file(options.log_file))
        outputs = outputs_class(reactor, options.encoding, options.quiet, style, log=log_file, silent=options.silent)
        foreground = Foreground(reactor, outputs, has_prompt=is_console, escape=options.escape_character)
        # The descriptors are let go, and whatever went wrong, a terminal that was lent is given back.
        ending.callback(foreground.stop)
        if is_console:
            foreground.settings.use(TerminalMode.QUIET)  # what is typed from now on is for the first prompt
        return Program(reactor, options, foreground, task, launch).run()


def begin_logging(options: ClientOptions, file: TextIO | None) -> None:
    """Write the log of this process, if the options ask for it, and the notes of the options first.

    :param options: the command line.
    :param file: where the log goes; ``None`` for stderr.
    """
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(file or sys.stderr)] if options.verbosity else [],
        redirectStandardIO=False,
        discardBuffer=True,
    )
    for note in options.notes:
        log.info("{note}", note=note)


def _is_console(options: ClientOptions) -> bool:
    return not options.has_task and os.isatty(0)


def _lends_terminal(options: ClientOptions) -> bool:
    """Tell whether the command is to have the client's terminal."""
    is_wanted = options.terminal in {TerminalWish.ASKED, TerminalWish.ALWAYS}
    return is_wanted and not options.stdin_is_empty and os.isatty(0)


def _choose_task(options: ClientOptions, is_console: bool) -> Task:
    if options.no_command:
        return keep_connection
    if not is_console:
        return run_command
    # A command must not wait for the import of prompt_toolkit.
    from twisted_rsh.cli.console import run_console

    async def run(
        reactor: Any, connection: Connection, options: ClientOptions, foreground: Foreground, _report: Report
    ) -> int:
        return await run_console(reactor, connection, options, foreground)

    return run


async def keep_connection(
    _reactor: Any, connection: Connection, _options: ClientOptions, _foreground: Foreground, _report: Report
) -> int:
    """Run nothing, and keep the connection until it is lost for good or a signal ends the client.

    :raises twisted_rsh.client.errors.SessionLost: the connection is lost.
    """
    raise SessionLost(await connection.when_lost())


async def run_command(
    reactor: Any, connection: Connection, options: ClientOptions, foreground: Foreground, report: Report
) -> int:
    """Run the command of the options, or stdin as a script, with the client's own stdin, stdout and stderr.

    :param reactor: the reactor.
    :param connection: the connection.
    :param options: the command, and how to run it.
    :param foreground: shows the command.
    :param report: learns how it ended.
    :returns: the exit status.
    :raises twisted_rsh.core.errors.Error: the client failed.
    """
    terminal = LocalTerminal(reactor, 0, foreground.settings) if _lends_terminal(options) else None
    wanted = None
    if terminal is not None:
        wanted = terminal.describe(os.environ)
    elif options.terminal is TerminalWish.ALWAYS:
        wanted = plain_terminal(os.environ)
    elif options.terminal is TerminalWish.ASKED and not options.quiet:
        foreground.outputs.say("no terminal for the command, because stdin is none; -tt allocates one anyway")
    job = connection.open(job_request(options, wanted))
    if terminal is not None:
        terminal.connect_to(job)
    # On a terminal of the command's own the keys are raw, and the client would have none without the escapes.
    report.job_opened(job)
    ending = await foreground.run(
        job, None if options.stdin_is_empty else 0, terminal, has_escapes=terminal is not None
    )
    await report.job_ended()
    return foreground.outputs.tell(ending)


def job_request(options: ClientOptions, terminal: Terminal | None) -> JobRequest:
    """Ask for the command of the options, or for a shell that reads stdin as a script.

    :param options: the command, and how to run it.
    :param terminal: the terminal that it is to have; ``None`` for pipes.
    """
    is_argv = options.argv and bool(options.command)
    command: str | None = None
    if options.subsystem is None and not is_argv:
        # ssh does the same: it joins the words by spaces, and the user's shell on the server takes them apart.
        command = " ".join(options.command) or SCRIPT_COMMAND
    return JobRequest(
        command=command,
        argv=options.command if is_argv else None,
        subsystem=options.subsystem,
        environment=options.environment,
        timeout=options.timeout,
        terminal=terminal,
        max_output=options.max_output,
        max_cpu=options.max_cpu,
        max_memory=options.max_memory,
        on_disconnect=options.on_disconnect,
    )


class SignalTaker(Protocol):
    """The part of a program that signals go to."""

    def signal_arrived(self, name: str) -> None:
        """Take a signal that the process got, by its name in :data:`FORWARDED`."""


class ForwardedSignals:
    """A context in which the signals of :data:`FORWARDED` do not end the process but go to the program.

    A signal that the process was started to ignore stays ignored, as ``nohup`` wants it, or a backup that must not be
    interrupted.

    :param reactor: runs in the process's main thread; it calls the program.
    :param program: takes the signals.
    """

    def __init__(self, reactor: Any, program: SignalTaker) -> None:
        self._reactor = reactor
        self._program = program
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for name in FORWARDED:
            number = signal.Signals[f"SIG{name}"]
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._caught)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _caught(self, number: int, _frame: FrameType | None) -> None:
        # This wakes the reactor as well, which may be waiting for descriptors alone.
        self._reactor.callFromThread(self._program.signal_arrived, signal.Signals(number).name.removeprefix("SIG"))


class Program:
    """One run of the program.

    :param reactor: the reactor, which does not run yet.
    :param options: the command line.
    :param foreground: the client's descriptors.
    :param task: what to do with the connection.
    :param launch: as for :func:`run_client`.
    :raises twisted_rsh.trust.home.HomeUnknown: see :func:`run_client`.
    """

    def __init__(
        self, reactor: Any, options: ClientOptions, foreground: Foreground, task: Task, launch: Launch | None = None
    ) -> None:
        self._reactor = reactor
        self._options = options
        first_use = FirstUse(reactor, foreground.outputs, foreground.settings) if may_ask(options) else None
        self._reach = Reach(reactor, options, options.config_folders(), first_use, foreground.settings)
        self._foreground = foreground
        self._task = task
        self._launch = launch
        self._report = Report(reactor, options)
        self._error: str | None = None
        self._status = FAILURE_STATUS
        self._running: Deferred[int] | None = None
        self._is_logged_in = False
        self._fatal_signal: int | None = None

    def run(self) -> int:
        """Connect, do the task, disconnect.

        :returns: the exit status, as that of :func:`run_client`.
        """
        begin_logging(self._options, self._foreground.outputs.log)
        self._reactor.callWhenRunning(self._start)
        with ForwardedSignals(self._reactor, self):
            self._reactor.run(installSignalHandlers=False)
            if self._options.status_fd is not None:
                self._write_status(self._options.status_fd)
        return self._status if self._fatal_signal is None else -self._fatal_signal

    def signal_arrived(self, name: str) -> None:
        """Send the command a signal that the process got; if there is no command, leave.

        :param name: one of :data:`FORWARDED`.
        """
        if not self._foreground.signal_arrived(name) and self._running is not None:
            number = signal.Signals[f"SIG{name}"]
            self._status = 128 + number
            if not self._is_logged_in:
                self._fatal_signal = number
            self._running.cancel()
            # A reader that does not take our output must not keep us from leaving.
            self._foreground.stop()

    def _start(self) -> None:
        self._running = Deferred.fromCoroutine(self._connect_and_work())
        self._running.addErrback(self._failed).addCallback(self._over)

    async def _connect_and_work(self) -> int:
        foreground = self._foreground
        for warning in self._options.warnings:
            if not self._options.quiet:
                foreground.outputs.say(warning)
        connection = await Deferred.fromCoroutine(self._reach.connect())
        self._is_logged_in = True
        if self._reach.warning and not self._options.quiet:
            foreground.outputs.say(self._reach.warning)
        if self._launch is not None:
            if self._options.no_command:
                foreground.outputs.stop()
            self._launch.leave(silently=self._options.no_command)
        foreground.outage.follow(connection)
        try:
            # A Deferred of its own, so that what the task waits for wakes the task and not this method.
            return await Deferred.fromCoroutine(
                self._task(self._reactor, connection, self._options, foreground, self._report)
            )
        finally:
            foreground.outage.stop()
            await connection.close().addTimeout(LEAVE_SECONDS, self._reactor, lambda _result, _seconds: None)

    def _failed(self, failure: Failure) -> int:
        error = failure.value
        if isinstance(error, Interrupted):
            self._error = str(error)
            return INTERRUPTED_STATUS
        if isinstance(error, OSError) and error.filename is not None:
            self._fail(f"{error.filename}: {error.strerror}")
        elif isinstance(error, Error | OSError | ValueError):
            self._fail(str(error))
        elif isinstance(error, CancelledError):
            self._error = "ended by a signal"
        else:
            log.failure("the client broke", failure)
            self._fail(f"a fault inside the client: {error!r}")
        return self._status

    def _fail(self, line: str) -> None:
        self._error = line
        self._foreground.outputs.say(line)

    def _over(self, status: int) -> None:
        self._status = status
        self._reach.stop()
        Deferred.fromCoroutine(self._finish()).addBoth(lambda _: self._reactor.stop())

    async def _finish(self) -> None:
        """Tell how it ended, and wait until all is written."""
        outputs = self._foreground.outputs
        self._report.status_known(self._status, self._error, outputs)
        if self._options.json:
            outputs.stdout.say(self._report.text())
        await outputs.flushed()
        if self._options.json and self._error is None:
            try:
                outputs.check()
            except OutputFailed as error:
                self._status = FAILURE_STATUS
                outputs.say(str(error))
                await outputs.flushed()

    def _write_status(self, fd: int) -> None:
        try:
            self._report.write_status(fd)
        except BrokenPipeError:
            pass  # its reader does not want to know
        except OSError as error:
            self._status = FAILURE_STATUS
            if not self._options.silent:
                os.write(2, f"trsh: cannot write to descriptor {fd}: {error.strerror}\n".encode())
