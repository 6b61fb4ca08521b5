"""The command line of the server, for ``twistd rsh``, ``twist rsh`` and ``python -m twisted_rsh.server``."""

from __future__ import annotations

import codecs
import ipaddress
import os
import sys
from collections.abc import Callable
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
from twisted_rsh.core.limits import MAX_CHANNELS, MAX_DETACH_SECONDS, MAX_WINDOW, MIN_WINDOW, SessionLimits
from twisted_rsh.core.roles import DEFAULT_PORT, OUTPUTS
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.processes.spawn import UnsupportedSystem
from twisted_rsh.execution.sftp import OFF, OWN, SYSTEM
from twisted_rsh.execution.trees.control_group import ControlGroup
from twisted_rsh.execution.trees.limits import UsageLimits
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.link.framed_link import LOGIN_SECONDS
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
from twisted_rsh.server.options import AUTO, ServiceOptions
from twisted_rsh.server.portal import local_portal
from twisted_rsh.server.sockets import DEFAULT_MODE, SocketReactor
from twisted_rsh.server.stand_alone import USAGE_STATUS, StandAloneService, describe
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.private_memory import hide_memory

__all__ = ["Options", "makeService", "refuse_to_start"]

MAX_JOB_PROCESSES = 2**22
"""Processes that ``--max-processes-per-job`` may allow: as many as Linux can have (``PID_MAX_LIMIT``)."""

MIN_JOB_MEMORY = 2**20
"""Bytes that ``--max-memory-per-job`` must allow: with less no program could begin."""

_DEFAULTS = SessionLimits()


def _whole_number(option: str, minimum: int, maximum: int) -> Callable[[str], int]:
    def coerce(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if not minimum <= number <= maximum:
            raise usage.UsageError(f"--{option} takes a whole number from {minimum} to {maximum}, not {text!a}")
        return number

    return coerce


def _positive(option: str) -> Callable[[str], float]:
    def coerce(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise usage.UsageError(f"--{option} takes a number of seconds above 0, not {text!a}")
        return number

    return coerce


def _cgroups(text: str) -> str:
    if text not in ("auto", "never"):
        raise usage.UsageError(f"--cgroups takes auto or never, not {text!a}")
    return text


class Options(usage.Options):
    """The command line of ``rsh``.  A mistake ends the program with one line on stderr and status 2."""

    synopsis = "[options]"
    longdesc = (
        "Run commands and shells for the user that starts this, over TLS, by default on the loopback addresses. "
        "On the same machine `python -m twisted_rsh.client` needs no configuration."
    )
    optParameters = [  # noqa: RUF012 - the name and the form that usage.Options reads
        ["port", "p", DEFAULT_PORT, "TCP port to listen on; 0 for a free one.", _whole_number("port", 0, 65535)],
        ["config-dir", None, None, "Folder of the keys and records.  [default: the XDG folders]"],
        ["shell", None, None, "Absolute path of the shell that runs commands.  [default: the login shell]"],
        ["encoding", None, None, "Code page of the commands and their text.  [default: the locale's]"],
        ["login-timeout", None, LOGIN_SECONDS, "Seconds that a client has to log in.", _positive("login-timeout")],
        [
            "max-unauthenticated",
            None,
            MAX_UNAUTHENTICATED,
            "Connections that may exist at once without a login.",
            _whole_number("max-unauthenticated", 1, 1_000_000),
        ],
        [
            "drop-start",
            None,
            DROP_START,
            "Connections without a login from which on some are turned away at random.",
            _whole_number("drop-start", 1, 1_000_000),
        ],
        [
            "max-unauthenticated-per-source",
            None,
            MAX_UNAUTHENTICATED_PER_SOURCE,
            "Connections that one other machine, IPv6 network of 64 bits or user may have at once without a login.",
            _whole_number("max-unauthenticated-per-source", 1, 1_000_000),
        ],
        [
            "max-sessions",
            None,
            MAX_SESSIONS,
            "Sessions that may exist at once, with a connection and without; further logins are refused.",
            _whole_number("max-sessions", 1, 1_000_000),
        ],
        [
            "max-sessions-per-key",
            None,
            MAX_SESSIONS_PER_KEY,
            "Sessions with a connection or a job that one key may have at once; further logins are refused.",
            _whole_number("max-sessions-per-key", 1, 1_000_000),
        ],
        [
            "max-unread-input",
            None,
            MAX_UNREAD_INPUT_BYTES,
            "Bytes of input that all jobs together may leave unread; further jobs are refused.",
            _whole_number("max-unread-input", MAX_WINDOW, 2**50),
        ],
        [
            "max-unread-output",
            None,
            MAX_UNREAD_OUTPUT_BYTES,
            "Bytes of output that all clients together may leave unread; further jobs are refused.",
            _whole_number("max-unread-output", len(OUTPUTS) * MAX_WINDOW, 2**50),
        ],
        [
            "max-kept-jobs",
            None,
            MAX_KEPT_JOBS,
            "Jobs that may be kept without a client at once; further ones are refused; 0 for none.",
            _whole_number("max-kept-jobs", 0, 1_000_000),
        ],
        [
            "max-jobs-per-session",
            None,
            _DEFAULTS.max_channels,
            "Jobs that one session may run at once.",
            _whole_number("max-jobs-per-session", 1, MAX_CHANNELS),
        ],
        [
            "max-processes-per-job",
            None,
            None,
            "Processes and threads that one job may have at once; with one more it is ended.  [default: no bound]",
            _whole_number("max-processes-per-job", 1, MAX_JOB_PROCESSES),
        ],
        [
            "max-memory-per-job",
            None,
            None,
            "Bytes of memory that all processes of one job together may have.  [default: no bound]",
            _whole_number("max-memory-per-job", MIN_JOB_MEMORY, 2**50),
        ],
        [
            "max-cpu-per-job",
            None,
            None,
            "Seconds of processor time that all processes of one job together may take.  [default: no bound]",
            _positive("max-cpu-per-job"),
        ],
        [
            "window",
            None,
            _DEFAULTS.window,
            "Bytes of a stream that may be under way at once; a window that is too small for its link grows.",
            _whole_number("window", MIN_WINDOW, MAX_WINDOW),
        ],
        [
            "max-window-growth",
            None,
            MAX_WINDOW_GROWTH_BYTES,
            "Bytes by which the windows of all sessions may grow together; 0 for none.",
            _whole_number("max-window-growth", 0, 2**50),
        ],
        [
            "keepalive",
            None,
            _DEFAULTS.keepalive_interval,
            "Seconds of silence until the server pings a client; after three times as long it closes the connection.",
            _positive("keepalive"),
        ],
        [
            "detach-timeout",
            None,
            _DEFAULTS.detach_seconds,
            "Seconds that a session may wait without a connection; 0 to end it with its connection.",
            _whole_number("detach-timeout", 0, MAX_DETACH_SECONDS),
        ],
        [
            "cgroups",
            None,
            "auto",
            "auto: make a control group (cgroup v2) for the jobs, where the server may.  never: make none.",
            _cgroups,
        ],
        [
            "socket",
            None,
            AUTO,
            "Unix socket of this account's own clients: auto (in a private folder), off, or an absolute path.",
        ],
        [
            "sftp",
            None,
            SYSTEM,
            "What serves files: system (its sftp-server, or ours where it has none), own, off, or a program's path.",
        ],
    ]
    optFlags = [  # noqa: RUF012 - as above
        [
            "debuggable",
            None,
            "Let debuggers and core files show the memory of the server, private keys included.",
        ],
        ["log-commands", None, "Write the clients' commands to the log."],
        ["no-penalties", None, "Never refuse a machine or user for a while because it misbehaved before it logged in."],
    ]

    def __init__(self) -> None:
        usage.Options.__init__(self)
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
        if self["encoding"] is not None:
            try:
                codecs.lookup(self["encoding"])
            except LookupError:
                raise usage.UsageError(
                    f"--encoding {self['encoding']!a} is not a code page that Python knows; name one such as utf-8"
                ) from None
        shell = self["shell"]
        if shell is not None and not os.path.isabs(shell):
            raise usage.UsageError(f"--shell {shell!a} is not an absolute path, such as /bin/sh")
        if shell is not None and not (os.path.isfile(shell) and os.access(shell, os.X_OK)):
            raise usage.UsageError(f"--shell {shell!a} is not a program that can be run")
        path = self["socket"]
        if path not in (AUTO, OFF) and not os.path.isabs(path):
            raise usage.UsageError(f"--socket takes auto, off or the absolute path of a socket, not {path!a}")
        sftp = self["sftp"]
        if sftp not in (SYSTEM, OWN, OFF) and not os.path.isabs(sftp):
            raise usage.UsageError(f"--sftp takes system, own, off or the absolute path of a program, not {sftp!a}")
        if os.path.isabs(sftp) and not (os.path.isfile(sftp) and os.access(sftp, os.X_OK)):
            raise usage.UsageError(f"--sftp {sftp!a} is not a program that can be run")

    def parseOptions(self, options: Any = None) -> None:
        try:
            usage.Options.parseOptions(self, options)
        except usage.UsageError as error:
            refuse_to_start(str(error))


def refuse_to_start(reason: str) -> NoReturn:
    """End the program before it serves any client.

    :param reason: one line that names what is wrong.
    :raises SystemExit: always, with status 2.
    """
    # Not sys.stderr: twistd has made it a part of its log by the time a service starts.
    print(f"twisted-rsh: {reason}", file=sys.__stderr__, flush=True)
    raise SystemExit(USAGE_STATUS)


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
    if not options["debuggable"]:
        hide_memory()
    launcher = Launcher(options.parent)
    try:
        launcher.make_log_private()
        config = (
            ConfigFolders.default(os.environ)
            if options["config-dir"] is None
            else ConfigFolders.at(options["config-dir"])
        )
        account = _account(options)
        endpoints = [_Endpoint(reactor, description) for description in options["listen"]]
        if options["interfaces"] or not endpoints:
            # twistd becomes a daemon before its services start, and a daemon's stderr is closed.
            check_interfaces(options["interfaces"] or default_interfaces(), options["port"])
        control_group = ControlGroup() if options["cgroups"] == "auto" else None
        trees = JobTrees(reactor, owns_process=True, control_group=control_group)
        return StandAloneService(
            launcher,
            trees,
            cast("IReactorTCP", reactor),
            local_portal(reactor, config, account, trees, _bounds(options), options["sftp"]),
            config,
            ServiceOptions(
                interfaces=options["interfaces"] or None,
                port=options["port"],
                endpoints=endpoints,
                socket=None if options["socket"] == OFF else options["socket"],
                limits=SessionLimits(
                    window=options["window"],
                    max_channels=options["max-jobs-per-session"],
                    keepalive_interval=options["keepalive"],
                    detach_seconds=options["detach-timeout"],
                ),
                login_timeout=options["login-timeout"],
                max_unauthenticated=options["max-unauthenticated"],
                drop_start=options["drop-start"],
                max_unauthenticated_per_source=options["max-unauthenticated-per-source"],
                penalties=not options["no-penalties"],
                max_sessions=options["max-sessions"],
                max_sessions_per_key=options["max-sessions-per-key"],
                max_unread_input=options["max-unread-input"],
                max_unread_output=options["max-unread-output"],
                max_kept_jobs=options["max-kept-jobs"],
                max_window_growth=options["max-window-growth"],
                log_commands=bool(options["log-commands"]),
            ),
        )
    except (CannotListenError, FileProblem, UnsupportedSystem, OSError, ValueError) as error:
        refuse_to_start(describe(error))


def _account(options: Options) -> Account:
    try:
        return Account.current(os.environ, options["shell"], options["encoding"])
    except ValueError as error:
        # The account's own shell or the locale's code page may be the one that is of no use.
        raise ValueError(f"{error} (--shell, --encoding)") from error


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


def _bounds(options: Options) -> UsageLimits:
    return UsageLimits(
        cpu=options["max-cpu-per-job"],
        memory=options["max-memory-per-job"],
        processes=options["max-processes-per-job"],
    )
