"""The command line of the server, for ``twistd rsh``, ``twist rsh`` and ``python -m twisted_rsh.server``."""

from __future__ import annotations

import codecs
import gc
import ipaddress
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn, cast

if os.name != "posix":  # the modules below need fcntl and pwd, which other systems do not have
    sys.exit("twisted-rsh needs a POSIX system")

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFromThreads,
    IReactorTCP,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.limits import MAX_CHANNELS, MAX_DETACH_SECONDS, MAX_WINDOW, MIN_WINDOW, SessionLimits
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.processes.spawn import UnsupportedSystem
from twisted_rsh.execution.trees.control_group import ControlGroup
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.server.capacity import MAX_SESSIONS_PER_KEY, MAX_UNREAD_INPUT_BYTES
from twisted_rsh.server.listening import check_interfaces, default_interfaces
from twisted_rsh.server.memory import MemoryReturn
from twisted_rsh.server.options import ServiceOptions
from twisted_rsh.server.portal import local_portal
from twisted_rsh.server.service import RemoteShellService
from twisted_rsh.server.sighup import ISighupListener, SighupHandler
from twisted_rsh.server.strangers import MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["Options", "makeService", "refuse_to_start"]

USAGE_STATUS = 2
"""The exit status of a server that refuses to start."""

COLLECT_EVERY = 20_000
"""Objects after which Python looks for garbage: once in a few dozen commands instead of several times in each, which
made a command 4 to 8 % shorter.  Meanwhile some MB may wait."""

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
            "max-unauthenticated-per-source",
            None,
            MAX_UNAUTHENTICATED_PER_SOURCE,
            "Connections that one other machine, or IPv6 network of 64 bits, may have at once without a login.",
            _whole_number("max-unauthenticated-per-source", 1, 1_000_000),
        ],
        [
            "max-sessions-per-key",
            None,
            MAX_SESSIONS_PER_KEY,
            "Sessions that one key may have at once.",
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
            "max-jobs-per-session",
            None,
            _DEFAULTS.max_channels,
            "Jobs that one session may run at once.",
            _whole_number("max-jobs-per-session", 1, MAX_CHANNELS),
        ],
        [
            "window",
            None,
            _DEFAULTS.window,
            "Bytes of a stream that may be under way at once.",
            _whole_number("window", MIN_WINDOW, MAX_WINDOW),
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
    ]
    optFlags = [  # noqa: RUF012 - as above
        ["log-commands", None, "Write the clients' commands to the log."],
        ["no-penalties", None, "Never refuse a machine for a while because it misbehaved before it logged in."],
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
        """Twisted endpoint string to listen on; may be repeated.  The server adds TLS."""
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
    """Make the service that the options describe.

    :param options: the command line.
    :param reactor: the reactor; ``None`` for the one that is installed.
    :raises SystemExit: it cannot start, with status 2 and one line on stderr.
    """
    if reactor is None:
        from twisted.internet import reactor
    try:
        config = (
            ConfigFolders.default(os.environ)
            if options["config-dir"] is None
            else ConfigFolders.at(options["config-dir"])
        )
        account = _account(options)
        endpoints = [_endpoint(reactor, description) for description in options["listen"]]
        if options["interfaces"] or not endpoints:
            # twistd becomes a daemon before its services start, and a daemon's stderr is closed.
            check_interfaces(options["interfaces"] or default_interfaces(), options["port"])
        control_group = ControlGroup() if options["cgroups"] == "auto" else None
        trees = JobTrees(reactor, owns_process=True, control_group=control_group)
        return _StandAloneService(
            trees,
            cast("IReactorTCP", reactor),
            local_portal(reactor, config, account, trees),
            config,
            ServiceOptions(
                interfaces=options["interfaces"] or None,
                port=options["port"],
                endpoints=endpoints,
                limits=SessionLimits(
                    window=options["window"],
                    max_channels=options["max-jobs-per-session"],
                    keepalive_interval=options["keepalive"],
                    detach_seconds=options["detach-timeout"],
                ),
                login_timeout=options["login-timeout"],
                max_unauthenticated=options["max-unauthenticated"],
                max_unauthenticated_per_source=options["max-unauthenticated-per-source"],
                penalties=not options["no-penalties"],
                max_sessions_per_key=options["max-sessions-per-key"],
                max_unread_input=options["max-unread-input"],
                log_commands=bool(options["log-commands"]),
            ),
        )
    except (CannotListenError, FileProblem, UnsupportedSystem, OSError, ValueError) as error:
        refuse_to_start(_describe(error))


def _account(options: Options) -> Account:
    try:
        return Account.current(os.environ, options["shell"], options["encoding"])
    except ValueError as error:
        # The account's own shell or the locale's code page may be the one that is of no use.
        raise ValueError(f"{error} (--shell, --encoding)") from error


def _endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    try:
        return cast("IStreamServerEndpoint", serverFromString(reactor, description))
    except Exception as error:
        raise ValueError(f"--listen {description!a}: {error}") from error


@implementer(ISighupListener)
class _StandAloneService(RemoteShellService):
    """A server that is the whole program: when it cannot listen, the program ends, and it leaves no process behind."""

    log = Logger()

    def __init__(self, trees: JobTrees, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._trees = trees
        self._sighup = SighupHandler(cast("IReactorFromThreads", self._reactor), self)
        # twistd changes it when it becomes a daemon; the files that jobs create should not depend on that.
        self._umask = os.umask(0)
        os.umask(self._umask)

    def startService(self) -> None:
        os.umask(self._umask)
        if os.geteuid() == 0:
            self.log.warn("this server runs as root: every client that logs in is root")
        self._trees.start()
        # The modules that a server has loaded stay: to look through them for garbage again and again gains nothing.
        gc.freeze()
        gc.set_threshold(COLLECT_EVERY)
        # The C library keeps the memory of sessions that have ended, unless it is told to give it back.
        self._factory.sessions.memory = MemoryReturn(cast("IReactorTime", self._reactor))
        super().startService()
        starting = True
        failures: list[Failure] = []

        def cannot_serve(failure: Failure) -> None:
            if starting:
                failures.append(failure)
            elif not failure.check(CancelledError):
                # An endpoint that took its time, or a record that could not be written.
                self.log.critical("the server ends: {reason}", reason=_describe(failure.value))
                cast("IReactorCore", self._reactor).stop()

        self.when_listening().addErrback(cannot_serve)
        starting = False
        if failures:
            refuse_to_start(_describe(failures[0].value))
        self._sighup.install()

    def stopService(self) -> Deferred[None]:
        self._sighup.restore()
        stopping = super().stopService()
        stopping.addBoth(self._forget_trees)
        return stopping

    def sighup_received(self) -> None:
        """Check the keys of all sessions again."""
        self.recheck_keys()

    def terminal_gone(self) -> None:
        """End the program."""
        self.log.info("the server ends: its terminal is gone")
        cast("IReactorCore", self._reactor).stop()

    def _forget_trees(self, result: Failure | None) -> Failure | None:
        self._trees.stop()
        return result


def _describe(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError):
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        place = f"{error.interface or 'any address'}, port {error.port}"
        return f"cannot listen on {place}: {reason}; choose another place with --interface, --port or --listen"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
