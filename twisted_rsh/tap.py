"""The command line of the server, for ``twistd rsh``, ``twist rsh`` and ``python -m twisted_rsh.server``."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn, cast

if os.name != "posix":  # the modules below need fcntl and pwd, which other systems do not have
    sys.exit("twisted-rsh needs a POSIX system")

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorTCP,
    IStreamServerEndpoint,
)
from twisted.python import usage
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.clock import use_steady_clock
from twisted_rsh.configuration.running import RunningConfiguration
from twisted_rsh.configuration.server_conf import ConfMistake
from twisted_rsh.configuration.server_options import ServerOptions
from twisted_rsh.core.errors import one_line
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.processes.spawn import UnsupportedSystem
from twisted_rsh.execution.trees.control_group import ControlGroup
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.interfaces import IServerObserver
from twisted_rsh.log_level import set_log_level
from twisted_rsh.server.launcher import Launcher
from twisted_rsh.server.listening import check_interfaces, default_interfaces
from twisted_rsh.server.portal import SingleUserRealm, local_portal
from twisted_rsh.server.sockets import DEFAULT_MODE, SocketReactor
from twisted_rsh.server.stand_alone import USAGE_STATUS, StandAloneService, describe
from twisted_rsh.trust.authorized_keys import KeyFiles
from twisted_rsh.trust.files import FileProblem, ensure_private_folder
from twisted_rsh.trust.private_memory import hide_memory
from twisted_rsh.trust.revocation import RevokedKeys
from twisted_rsh.trust.server_key import load_server_key
from twisted_rsh.watching.audit import Audit, AuditSink
from twisted_rsh.watching.audit_file import DEFAULT_KEPT_FILES, DEFAULT_MAX_BYTES, AuditFile
from twisted_rsh.watching.entries import TextForm
from twisted_rsh.watching.journal import Journal
from twisted_rsh.watching.metrics import Metrics, NoMetricsLibrary
from twisted_rsh.watching.metrics_port import MetricsPort

__all__ = ["Options", "check", "makeService", "refuse_to_start"]

FAULT_STATUS = 1
"""The exit status of ``--check`` when something is not as it should be."""


class Options(ServerOptions):
    """The command line of ``rsh``.  A mistake ends the program with one line on stderr and status 2."""

    def parseOptions(self, options: Any = None) -> None:
        words = list(sys.argv[1:] if options is None else options)
        try:
            self.read(words)
        except (usage.UsageError, ConfMistake, FileProblem, OSError) as error:
            refuse_to_start(describe(error), FAULT_STATUS if "check" in self.given else USAGE_STATUS)
        if self["show"]:
            sys.stdout.write(self.show())
            raise SystemExit(0)
        if self["check"]:
            check(self)


def refuse_to_start(reason: str, status: int = USAGE_STATUS) -> NoReturn:
    """End the program before it serves any client.

    :param reason: one line that names what is wrong.
    :param status: the exit status.
    :raises SystemExit: always.
    """
    # Not sys.stderr: twistd has made it a part of its log by the time a service starts.
    print(f"twisted-rsh: {reason}", file=sys.__stderr__, flush=True)
    raise SystemExit(status)


def check(options: Options) -> NoReturn:
    """Tell whether a server could start with the options, and make and listen to nothing.

    :param options: the command line, with its file.
    :raises SystemExit: always: with 0 if everything is good, otherwise with 1 and a line on stderr for each fault.
    """
    from twisted.internet import reactor

    try:
        folders = options.folders()
        account = _account(options)
        # Only systemd has the sockets of these, and gives them to the server that it starts.
        for description in options["listen"]:
            if not description.startswith("systemd:"):
                _Endpoint(reactor, description)
        # A first start makes those that are missing.
        for folder in (folders.config, *map(os.path.dirname, (folders.server_key_path, folders.record_path(0)))):
            if os.path.lexists(folder):
                ensure_private_folder(folder)
        faults = KeyFiles(folders, _ssh_path(options, account)).look()
        if options["revoked-keys"] is not None:
            RevokedKeys(options["revoked-keys"]).why_revoked(b"")
        try:
            key = f"the server's key is {load_server_key(folders.server_key_path).fingerprint}"
        except FileNotFoundError:
            key = "the server will make its key when it starts"
    except (FileProblem, OSError, ValueError) as error:
        refuse_to_start(describe(error), FAULT_STATUS)
    for fault in faults:
        print(f"twisted-rsh: {one_line(fault)}", file=sys.__stderr__, flush=True)
    if not faults:
        file = options.conf_path if options.conf_was_read else "no file of options"
        print(f"good: {one_line(str(file))}; {key}")
    raise SystemExit(FAULT_STATUS if faults else 0)


def makeService(options: Options, reactor: Any = None) -> Service:
    """Make the service that the options describe, for a program that is nothing but this server.

    The reactor gets a clock that cannot be set (:func:`twisted_rsh.clock.use_steady_clock`).

    :param options: the command line.
    :param reactor: the reactor; ``None`` for the one that is installed.
    :raises SystemExit: it cannot start, with status 2 and one line on stderr.
    """
    if reactor is None:
        from twisted.internet import reactor
    use_steady_clock(reactor)
    set_log_level(options["log-level"])
    if not options["debuggable"]:
        hide_memory()
    launcher = Launcher(options.parent)
    try:
        launcher.make_log_private()
        config = options.folders()
        account = _account(options)
        endpoints = [_Endpoint(reactor, description) for description in options["listen"]]
        if options["interfaces"] or not endpoints:
            # twistd becomes a daemon before its services start, and a daemon's stderr is closed.
            check_interfaces(options["interfaces"] or default_interfaces(), options["port"])
        control_group = ControlGroup() if options["cgroups"] == "auto" else None
        trees = JobTrees(reactor, owns_process=True, control_group=control_group)
        configuration = RunningConfiguration(options, endpoints, _observers(reactor, options))
        portal = local_portal(
            reactor,
            config,
            account,
            trees,
            configuration.job_bounds(),
            options["sftp"],
            _ssh_path(options, account),
            options["revoked-keys"],
        )
        return StandAloneService(
            launcher,
            trees,
            cast("IReactorTCP", reactor),
            portal,
            config,
            configuration.service_options(),
            user=cast("SingleUserRealm", portal.realm).user,
            reread=configuration.reread,
        )
    except NoMetricsLibrary as error:
        refuse_to_start(f"--metrics: {error}")
    except (CannotListenError, FileProblem, UnsupportedSystem, OSError, ValueError) as error:
        refuse_to_start(describe(error))


def _observers(reactor: Any, options: Options) -> list[IServerObserver]:
    observers: list[IServerObserver] = []
    if options["audit-log"] is not None:
        form = options["audit-text"] or TextForm.NONE
        observers.append(Audit(_audit_sink(options), form, is_required=bool(options["audit-required"])))
    if options["metrics"] is not None:
        metrics = Metrics()
        observers += [metrics, MetricsPort(reactor, metrics, options["metrics"])]
    return observers


def _audit_sink(options: Options) -> AuditSink:
    if options["audit-log"] == "journald":
        return Journal()
    size, kept = options["audit-max-bytes"], options["audit-keep"]
    return AuditFile(
        options["audit-log"],
        DEFAULT_MAX_BYTES if size is None else size,
        DEFAULT_KEPT_FILES if kept is None else kept,
    )


def _account(options: Options) -> Account:
    try:
        return Account.current(os.environ, options["shell"], options["encoding"])
    except ValueError as error:
        # The account's own shell or the locale's code page may be the one that is of no use.
        raise ValueError(f"{error} (--shell, --encoding)") from error


def _ssh_path(options: Options, account: Account) -> str | None:
    """Return the path of sshd's file of the account's keys, if these may log in, too."""
    return os.path.join(account.home, ".ssh", "authorized_keys") if options["ssh-authorized-keys"] else None


@implementer(IStreamServerEndpoint)
class _Endpoint:
    """An endpoint of ``--listen``, which names that option when it cannot listen.

    :param reactor: the reactor.
    :param description: the endpoint string.
    :raises ValueError: it describes no endpoint.
    """

    def __init__(self, reactor: Any, description: str) -> None:
        self._description = description
        try:
            # Twisted's own mode of a socket lets every user in.
            sockets = SocketReactor(reactor, None if ":mode=" in description else DEFAULT_MODE)
            self._endpoint = cast("IStreamServerEndpoint", serverFromString(sockets, description))
        except LookupError:
            raise ValueError(f"--listen {description!a}: this server was started without such a socket") from None
        except Exception as error:
            raise ValueError(f"--listen {description!a}: {error}") from error

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; fail with Twisted's own error, or with one that names the option."""
        return maybeDeferred(self._endpoint.listen, protocolFactory).addErrback(self._name)

    def _name(self, failure: Failure) -> NoReturn:
        if failure.check(CannotListenError, CancelledError):
            failure.raiseException()
        raise usage.UsageError(f"--listen {self._description!a}: {describe(failure.value)}") from failure.value
