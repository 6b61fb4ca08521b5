"""The command line of the server, for ``twistd rsh``, ``twist rsh`` and ``python -m twisted_rsh.server``."""

from __future__ import annotations

import ipaddress
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
from twisted_rsh.configuration.configured_options import ConfiguredOptions
from twisted_rsh.configuration.option_values import (
    positive_number,
    read_cgroups,
    read_encoding,
    read_log_level,
    read_metrics_place,
    read_revoked_keys,
    read_sftp,
    read_shell,
    read_socket,
    read_text_form,
    whole_number,
)
from twisted_rsh.configuration.running import RunningConfiguration
from twisted_rsh.configuration.server_conf import ConfMistake
from twisted_rsh.core.limits import MAX_CHANNELS, MAX_DETACH_SECONDS, MAX_WINDOW, MIN_WINDOW, SessionLimits
from twisted_rsh.core.roles import DEFAULT_PORT, OUTPUTS
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.processes.spawn import UnsupportedSystem
from twisted_rsh.execution.sftp import SYSTEM
from twisted_rsh.execution.trees.control_group import ControlGroup
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.interfaces import IServerObserver
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.log_level import LOG_LEVELS, set_log_level
from twisted_rsh.server.admission import DROP_START, MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE
from twisted_rsh.server.capacity import (
    MAX_KEPT_JOBS,
    MAX_SESSIONS,
    MAX_SESSIONS_PER_KEY,
    MAX_UNREAD_INPUT_BYTES,
    MAX_UNREAD_OUTPUT_BYTES,
    MAX_WINDOW_GROWTH_BYTES,
)
from twisted_rsh.server.launcher import Launcher
from twisted_rsh.server.listening import check_interfaces, default_interfaces
from twisted_rsh.server.options import AUTO
from twisted_rsh.server.portal import SingleUserRealm, local_portal
from twisted_rsh.server.sockets import DEFAULT_MODE, SocketReactor
from twisted_rsh.server.stand_alone import USAGE_STATUS, StandAloneService, describe, escape
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

MAX_JOB_PROCESSES = 2**22
"""Processes that ``--max-processes-per-job`` may allow: as many as Linux can have (``PID_MAX_LIMIT``)."""

MIN_JOB_MEMORY = 2**20
"""Bytes that ``--max-memory-per-job`` must allow: with less no program could begin."""

_DEFAULTS = SessionLimits()


class Options(ConfiguredOptions):
    """The command line of ``rsh``.  A mistake ends the program with one line on stderr and status 2."""

    of_command_line = ("config", "check", "show", "help", "version")
    kept_as = {"interface": "interfaces"}  # noqa: RUF012 - a ClassVar

    synopsis = "[options]"
    longdesc = (
        "Run commands and shells for the user that starts this, over TLS, by default on the loopback addresses. "
        "On the same machine `python -m twisted_rsh.client` needs no configuration."
    )
    optParameters = [  # noqa: RUF012 - the name and the form that usage.Options reads
        ["port", "p", DEFAULT_PORT, "TCP port to listen on; 0 for a free one.", whole_number("port", 0, 65535)],
        ["config-dir", None, None, "Folder of the keys and records.  [default: the XDG folders]"],
        ["config", None, None, "File of further options.  [default: server.conf in the folder of the keys]"],
        ["shell", None, None, "Absolute path of the shell that runs commands.  [default: the login shell]", read_shell],
        ["encoding", None, None, "Code page of the commands and their text.  [default: the locale's]", read_encoding],
        [
            "login-timeout",
            None,
            LOGIN_SECONDS,
            "Seconds that a client has to log in.",
            positive_number("login-timeout"),
        ],
        [
            "max-unauthenticated",
            None,
            MAX_UNAUTHENTICATED,
            "Connections that may exist at once without a login.",
            whole_number("max-unauthenticated", 1, 1_000_000),
        ],
        [
            "drop-start",
            None,
            DROP_START,
            "Connections without a login from which on some are turned away at random.",
            whole_number("drop-start", 1, 1_000_000),
        ],
        [
            "max-unauthenticated-per-source",
            None,
            MAX_UNAUTHENTICATED_PER_SOURCE,
            "Connections that one other machine, IPv6 network of 64 bits or user may have at once without a login.",
            whole_number("max-unauthenticated-per-source", 1, 1_000_000),
        ],
        [
            "max-sessions",
            None,
            MAX_SESSIONS,
            "Sessions that may exist at once, with a connection and without; further logins are refused.",
            whole_number("max-sessions", 1, 1_000_000),
        ],
        [
            "max-sessions-per-key",
            None,
            MAX_SESSIONS_PER_KEY,
            "Sessions with a connection or a job that one key may have at once; further logins are refused.",
            whole_number("max-sessions-per-key", 1, 1_000_000),
        ],
        [
            "max-unread-input",
            None,
            MAX_UNREAD_INPUT_BYTES,
            "Bytes of input that all jobs together may leave unread; further jobs are refused.",
            whole_number("max-unread-input", MAX_WINDOW, 2**50),
        ],
        [
            "max-unread-output",
            None,
            MAX_UNREAD_OUTPUT_BYTES,
            "Bytes of output that all clients together may leave unread; further jobs are refused.",
            whole_number("max-unread-output", len(OUTPUTS) * MAX_WINDOW, 2**50),
        ],
        [
            "max-kept-jobs",
            None,
            MAX_KEPT_JOBS,
            "Jobs that may be kept without a client at once; further ones are refused; 0 for none.",
            whole_number("max-kept-jobs", 0, 1_000_000),
        ],
        [
            "max-jobs-per-session",
            None,
            _DEFAULTS.max_channels,
            "Jobs that one session may run at once.",
            whole_number("max-jobs-per-session", 1, MAX_CHANNELS),
        ],
        [
            "max-processes-per-job",
            None,
            None,
            "Processes and threads that one job may have at once; with one more it is ended.  [default: no bound]",
            whole_number("max-processes-per-job", 1, MAX_JOB_PROCESSES),
        ],
        [
            "max-memory-per-job",
            None,
            None,
            "Bytes of memory that all processes of one job together may have.  [default: no bound]",
            whole_number("max-memory-per-job", MIN_JOB_MEMORY, 2**50),
        ],
        [
            "max-cpu-per-job",
            None,
            None,
            "Seconds of processor time that all processes of one job together may take.  [default: no bound]",
            positive_number("max-cpu-per-job"),
        ],
        [
            "window",
            None,
            _DEFAULTS.window,
            "Bytes of a stream that may be under way at once; a window that is too small for its link grows.",
            whole_number("window", MIN_WINDOW, MAX_WINDOW),
        ],
        [
            "max-window-growth",
            None,
            MAX_WINDOW_GROWTH_BYTES,
            "Bytes by which the windows of all sessions may grow together; 0 for none.",
            whole_number("max-window-growth", 0, 2**50),
        ],
        [
            "keepalive",
            None,
            _DEFAULTS.keepalive_interval,
            "Seconds of silence until the server pings a client; after three times as long it closes the connection.",
            positive_number("keepalive"),
        ],
        [
            "detach-timeout",
            None,
            _DEFAULTS.detach_seconds,
            "Seconds that a session may wait without a connection; 0 to end it with its connection.",
            whole_number("detach-timeout", 0, MAX_DETACH_SECONDS),
        ],
        [
            "cgroups",
            None,
            "auto",
            "auto: make a control group (cgroup v2) for the jobs, where the server may.  never: make none.",
            read_cgroups,
        ],
        [
            "log-level",
            None,
            LOG_LEVELS[0],
            "Least level of the lines of the log: info, warn, error, critical.",
            read_log_level,
        ],
        [
            "revoked-keys",
            None,
            None,
            "File of keys and certificates that may not log in: of ssh-keygen -k, or a key a line.",
            read_revoked_keys,
        ],
        [
            "socket",
            None,
            AUTO,
            "Unix socket of this account's own clients: auto (in a private folder), off, or an absolute path.",
            read_socket,
        ],
        [
            "sftp",
            None,
            SYSTEM,
            "What serves files: system (its sftp-server, or ours where it has none), own, off, or a program's path.",
            read_sftp,
        ],
        ["audit-log", None, None, "File of the audit log, or journald for systemd's journal.  [default: none]"],
        [
            "audit-text",
            None,
            None,
            "Text of jobs in the audit log: none, hash or full.  [default: none]",
            read_text_form,
        ],
        [
            "audit-max-bytes",
            None,
            None,
            f"Bytes from which on the file is renamed; 0 for never.  [default: {DEFAULT_MAX_BYTES}]",
            whole_number("audit-max-bytes", 0, 2**50),
        ],
        [
            "audit-keep",
            None,
            None,
            f"Renamed files of the audit log that are kept.  [default: {DEFAULT_KEPT_FILES}]",
            whole_number("audit-keep", 1, 1000),
        ],
        [
            "metrics",
            None,
            None,
            "Serve metrics for Prometheus at unix:/PATH, 127.0.0.1:PORT or [::1]:PORT.  [default: nowhere]",
            read_metrics_place,
        ],
    ]
    optFlags = [  # noqa: RUF012 - as above
        [
            "debuggable",
            None,
            "Let debuggers and core files show the memory of the server, private keys included.",
        ],
        ["check", None, "Tell whether the options, their file and the keys are good, and exit with 0, or 1."],
        ["show", None, "Show what holds, in the form of the file of options, and exit."],
        ["ssh-authorized-keys", None, "Let in the keys of ~/.ssh/authorized_keys, too, that have no options there."],
        ["audit-required", None, "Refuse jobs while the audit log cannot be written."],
        ["log-commands", None, "Write the clients' commands to the log."],
        ["no-penalties", None, "Never refuse a machine or user for a while because it misbehaved before it logged in."],
    ]

    def __init__(self) -> None:
        ConfiguredOptions.__init__(self)
        self["interfaces"] = []
        self["listen"] = []

    def opt_interface(self, address: str) -> None:
        """Numeric address to listen on; may be repeated.  [default: the loopback addresses]"""
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise usage.UsageError(
                f"--interface {address!a} is not a numeric address, such as 127.0.0.1 or ::1"
            ) from None
        self["interfaces"].append(address)

    def opt_listen(self, description: str) -> None:
        """Twisted endpoint string to listen on; may be repeated.  The server adds TLS, unless it is a Unix socket."""
        self["listen"].append(description)

    opt_i = opt_interface
    opt_l = opt_listen

    def parseArgs(self, *words: str) -> None:
        if words:
            raise usage.UsageError(f"{words[0]!a} is not an option of rsh; --help lists the options")

    def postOptions(self) -> None:
        for option in ("audit-text", "audit-max-bytes", "audit-keep", "audit-required"):
            is_given = bool(self[option]) if option == "audit-required" else self[option] is not None
            if is_given and self["audit-log"] is None:
                raise usage.UsageError(f"--{option} is for an audit log; name one with --audit-log")

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
        print(f"twisted-rsh: {escape(fault)}", file=sys.__stderr__, flush=True)
    if not faults:
        file = options.conf_path if options.conf_was_read else "no file of options"
        print(f"good: {escape(str(file))}; {key}")
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
