"""The client as a program on many hosts: run the command everywhere, show what comes, and leave with an exit status."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.fleet_bar import ProgressBar
from twisted_rsh.cli.fleet_input import SharedInput
from twisted_rsh.cli.fleet_options import FleetOptions
from twisted_rsh.cli.fleet_outputs import (
    GatheredOutputs,
    HostOutputs,
    JsonOutputs,
    PrefixedOutputs,
    host_status,
    host_text,
)
from twisted_rsh.cli.log_file import open_log_file
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.cli.program import ForwardedSignals, begin_logging, job_request
from twisted_rsh.cli.reaching import Reach
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.job import Job
from twisted_rsh.client.status import FAILURE_STATUS
from twisted_rsh.core.endings import OutcomeUnknown, Refused
from twisted_rsh.core.errors import Error
from twisted_rsh.fleet.host_lists import fold_hosts
from twisted_rsh.fleet.progress import summary
from twisted_rsh.fleet.run import Fleet, HostRun, HostState, Target

__all__ = ["FAREWELL_SECONDS", "SPARE_DESCRIPTORS", "FleetProgram", "run_fleet"]

FAREWELL_SECONDS = 3.0
"""Seconds that a client which was told twice to end has for its last lines, whether they are taken or not."""

SPARE_DESCRIPTORS = 128
"""Descriptors besides those of the hosts: the standard ones, files, the reactor's, and second dials of names that have
two addresses, as many as there are logins at once."""

_FOR_THE_COMMAND = frozenset({"USR1", "USR2"})
"""The signals that end neither the run nor, as far as the client knows, the commands."""

log = Logger()


def run_fleet(reactor: Any, options: FleetOptions) -> int:
    """Run the command of the options on all of their hosts.

    :param reactor: the reactor of :func:`~twisted_rsh.cli.program.install_reactor`; it runs until the program is over.
    :param options: the command line.
    :returns: the exit status: 0 if every host did it; otherwise the greatest of the hosts', where 255 stands for a host
        that could not be reached; or 128 and the number of the signal that ended the run.
    :raises twisted_rsh.trust.home.HomeUnknown: the options name no folder for the keys, and the user has no home.
    :raises OSError: the file for the log cannot be opened.
    :raises twisted_rsh.cli.destination.UsageError: the system allows too few descriptors for the hosts at once.
    """
    _make_room(min(options.parallel, len(options.hosts)))
    with contextlib.ExitStack() as ending:
        log_file = None
        path = options.common.log_file
        if path is not None:
            log_file = ending.enter_context(open_log_file(path))
        return FleetProgram(reactor, options, log_file).run()


def _make_room(parallel: int) -> None:
    """Let the process have a descriptor for each host that is worked on at once.

    :raises UsageError: it may not have as many.
    """
    needed = parallel + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(f"{parallel} hosts at once need {needed} descriptors, and {hard} are allowed: give --parallel")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _without_address(text: str, options: ClientOptions) -> str:
    """Return what many hosts have in common of a text that names the address of one of them."""
    return text.replace(options.address, "the host").replace(f"{options.host}:{options.port}", "the host")


class FleetProgram:
    """One run of the program.

    :param reactor: the reactor, which does not run yet.
    :param options: the command line.
    :param log_file: gets the log and the client's own lines; ``None`` for stderr.
    """

    def __init__(self, reactor: Any, options: FleetOptions, log_file: TextIO | None = None) -> None:
        self._reactor = reactor
        self._options = options
        self._outputs = LocalOutputs(reactor, None, options.quiet, log=log_file)
        by_name = dict(options.hosts)
        self._reaches: dict[str, Reach] = {}
        self._watcher = self._make_watcher(by_name)
        self._input = SharedInput(reactor, 0) if self._has_input() else None
        self.fleet = Fleet(
            reactor,
            [self._target(name, one) for name, one in options.hosts],
            self._watcher,
            parallel=options.parallel,
            batch=options.batch,
            may_fail=options.may_fail,
            ends_others=options.fail_fast,
            read_input=None if self._input is None else self._input.read,
        )
        self._bar = ProgressBar(reactor, self._outputs, self.fleet.counts)
        self._signals = 0
        self._signal_status: int | None = None
        self._is_reporting = False
        self._status = FAILURE_STATUS

    def run(self) -> int:
        """Run the command everywhere, and report.

        :returns: the exit status, as that of :func:`run_fleet`.
        """
        common = self._options.common
        begin_logging(common, self._outputs.log)
        self._reactor.callWhenRunning(self._start)
        with ForwardedSignals(self._reactor, self):
            self._reactor.run(installSignalHandlers=False)
        return self._status

    def signal_arrived(self, name: str) -> None:
        """Pass a signal that the process got on to every command; the second that means an end ends the client, too.

        :param name: one of :data:`~twisted_rsh.cli.program.FORWARDED`.
        """
        if name in _FOR_THE_COMMAND:
            self.fleet.send_signal(name, is_end=False)
            return
        self._signals += 1
        self._signal_status = 128 + signal.Signals[f"SIG{name}"]
        if self._is_reporting:
            self._outputs.stop()
        elif self._signals == 1:
            self.fleet.stop(f"the run was ended by SIG{name}")
            self.fleet.send_signal(name)
        else:
            self.fleet.leave(f"the run was ended by SIG{name}")
            self._reactor.callLater(FAREWELL_SECONDS, self._outputs.stop)

    def _has_input(self) -> bool:
        return not os.isatty(0) and not all(options.stdin_is_empty for _, options in self._options.hosts)

    def _make_watcher(self, by_name: dict[str, ClientOptions]) -> HostOutputs:
        if self._options.prefix:
            return PrefixedOutputs(self._outputs, by_name, self._changed)
        kept = (self._outputs, by_name, self._changed, self._cannot_keep)
        return JsonOutputs(self._reactor, *kept) if self._options.common.json else GatheredOutputs(*kept)

    def _target(self, name: str, options: ClientOptions) -> Target:
        def connect() -> Deferred[Connection]:
            reach = self._reaches[name] = Reach(self._reactor, options, options.config_folders())
            return Deferred.fromCoroutine(reach.connect())

        def start(connection: Connection) -> Job:
            return connection.open(job_request(options, None))

        return Target(name, connect, start, options.timeout, not options.stdin_is_empty)

    def _changed(self, host: HostRun) -> None:
        if host.is_over and host.name in self._reaches:
            self._reaches.pop(host.name).stop()
        self._bar.changed()

    def _cannot_keep(self, error: OSError) -> None:
        self.fleet.leave("the output cannot be kept", Error(f"cannot keep the output: {error.strerror}"))

    def _start(self) -> None:
        Deferred.fromCoroutine(self._work()).addErrback(self._failed).addCallback(self._over)

    async def _work(self) -> int:
        for warning in {warning: None for _, options in self._options.hosts for warning in options.warnings}:
            if not self._options.quiet:
                self._outputs.say(warning)
        error = None
        try:
            await self.fleet.run()
        except (Error, OSError) as caught:
            error = caught
        self._bar.stop()
        if self._input is not None:
            self._input.stop()
        self._is_reporting = True
        await self._watcher.finish(self.fleet.hosts)
        self._outputs.check()  # if an output failed, that ended the hosts, and is the one line to print
        self._tell_endings()
        if error is not None:
            raise error
        await self._outputs.flushed()
        self._outputs.check()
        return self._exit_status()

    def _exit_status(self) -> int:
        if self._signal_status is not None:
            return self._signal_status
        # What the run itself has ended, or not begun, has another host to blame.
        blamed = [host for host in self.fleet.hosts if host.state is not HostState.NOT_RUN and not host.was_ended]
        return max(map(host_status, blamed), default=FAILURE_STATUS)

    def _tell_endings(self) -> None:
        by_name = dict(self._options.hosts)
        texts: dict[tuple[str, bool], dict[str, str]] = {}
        for host in self.fleet.hosts:
            text = host_text(host)
            if text is not None:
                is_never_quiet = host.error is not None or isinstance(host.ending, Refused | OutcomeUnknown)
                common = _without_address(text, by_name[host.name])
                texts.setdefault((common, is_never_quiet), {})[host.name] = text
        for (common, is_never_quiet), own in texts.items():
            if is_never_quiet or not self._options.quiet:
                self._outputs.say(f"{fold_hosts(own)}: {common if len(own) > 1 else next(iter(own.values()))}")
        if (texts or self._outputs.stderr.is_terminal) and not self._options.quiet:
            total = len(self.fleet.hosts)
            self._outputs.say(f"{total} {'host' if total == 1 else 'hosts'}: {summary(self.fleet.counts)}")

    def _failed(self, failure: Failure) -> int:
        if failure.check(Error, OSError) is None:
            log.failure("the client broke", failure)
            self._outputs.say(f"a fault inside the client: {failure.value!r}")
        else:
            self._outputs.say(str(failure.value))
        return FAILURE_STATUS

    def _over(self, status: int) -> None:
        self._status = status
        self._bar.stop()
        Deferred.fromCoroutine(self._outputs.flushed()).addBoth(lambda _: self._leave())

    def _leave(self) -> None:
        self._outputs.stop()
        self._reactor.stop()
