"""What the client is to do: the command line, completed by the configuration file, checked and expanded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import field

from twisted_rsh.cli.arguments import OPTIONS, Arguments, parse_arguments
from twisted_rsh.cli.config_file import Configuration, Subject
from twisted_rsh.cli.destination import UsageError, parse_host
from twisted_rsh.cli.keywords import Settings
from twisted_rsh.cli.tokens import Names, expand, expand_path
from twisted_rsh.cli.values import TerminalWish, parse_log_level
from twisted_rsh.client.status import printable
from twisted_rsh.core.patterns import matches, matches_any
from twisted_rsh.core.requests import Disconnection, Grace
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.socket_path import socket_path

__all__ = ["ClientOptions", "TerminalWish", "complete_options", "parse_options", "usage_text"]

MAX_JSON_OUTPUT_BYTES = 64 * 1024 * 1024
"""Bytes of output that ``--json`` keeps in memory at most; escaped, they may take six times as much."""

_SILENT = parse_log_level("QUIET")

DEFAULT_HOST = "127.0.0.1"
"""The host that the program dials when the command line names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The values of the command line and of the configuration file.

    :ivar host: the server's name or address; an IPv6 address is without its brackets.
    :ivar port: the server's TCP port.
    :ivar user: the user to log in as; ``None`` for the one that the server takes by default.
    :ivar command: the words of the command as given, not joined; empty for the console or a script.
    :ivar subsystem: the subsystem to run instead of a command; ``None`` for none.
    :ivar no_command: whether to run nothing, and keep the connection.
    :ivar background: whether to go to the background once logged in.
    :ivar stdin_is_empty: whether to read nothing from stdin, and give the command no input.
    :ivar terminal: whether the job is to have a terminal.
    :ivar environment: names and values to add to the environment of the job.
    :ivar quiet: whether to tell nothing but failures.
    :ivar silent: whether to tell not even failures.
    :ivar verbosity: how many times ``-v`` was given.
    :ivar log_file: the file that gets the log, and the client's own lines; ``None`` for stderr.
    :ivar batch_mode: whether the client must never ask its user anything.
    :ivar strict_host_key: whether the client must never ask about the key of a server that it does not know.
    :ivar escape_character: what begins an escape at the beginning of a line; ``None`` for no escapes.
    :ivar family: the version of IP to use, 4 or 6; 0 for any.
    :ivar connect_timeout: seconds until the login must have succeeded; ``None`` for the system's own limits.
    :ivar alive_interval: seconds of silence after which to ask the server for a sign of life; ``None`` for the default.
    :ivar alive_count: intervals of silence after which the connection is lost; ``None`` for the default.
    :ivar proxy_command: the command line whose stdin and stdout are the connection; ``None`` for TCP.
    :ivar identities: the files that may hold the key to log in with; empty for the client's own key.
    :ivar certificates: the files that may hold a certificate of that key, besides the one whose name is that of the key
        with ``-cert.pub`` after it.
    :ivar identities_only: whether to try no key of the agent's that is not named.
    :ivar agent: the socket of the user's agent; ``None`` for no agent.
    :ivar show_version: whether to print the version and do nothing else.
    :ivar show_help: whether to print :func:`usage_text` and do nothing else.
    :ivar show_settings: whether to print :meth:`shown_settings` and do nothing else.
    :ivar control: what to ask of a connection that another program keeps; ``None`` for nothing.
    :ivar query: the kind of algorithm to list; ``None`` for none.
    :ivar completion: what to print for the completion of words; ``None`` for nothing.
    :ivar timeout: seconds after which the server ends the command; ``None`` for no limit.
    :ivar max_output: bytes of output after which the server ends the command; ``None`` for no limit.
    :ivar max_cpu: seconds of processor time after which the server ends the command; ``None`` for no limit.
    :ivar max_memory: bytes of memory above which the server ends the command; ``None`` for no limit.
    :ivar encoding: the code page of the command's text, as Python names it; ``None`` for the one that the server names.
    :ivar no_resume: whether the session ends with its connection.
    :ivar on_disconnect: the policy for jobs while there is no connection; ``None`` for the default.
    :ivar clean: whether the console's shell reads no start-up files.
    :ivar argv: whether the command's words are a program and its arguments, to be run without a shell.
    :ivar json: whether to print one JSON object instead of the command's output.
    :ivar status_fd: the descriptor that gets the ending as JSON; ``None`` for none.
    :ivar fingerprint: the fingerprint of the server's key as it was given; ``None`` to look among the known servers.
    :ivar config_dir: the folder of the client's keys and known servers; ``None`` for the default.
    :ivar typed_host: the host as the user typed it.
    :ivar warnings: lines to tell the user first, unless quiet.
    :ivar notes: lines for the log: what had no effect.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    user: str | None = None
    command: tuple[str, ...] = ()
    subsystem: str | None = None
    no_command: bool = False
    background: bool = False
    stdin_is_empty: bool = False
    terminal: TerminalWish = TerminalWish.UNSAID
    environment: tuple[tuple[str, str], ...] = ()
    quiet: bool = False
    silent: bool = False
    verbosity: int = 0
    log_file: str | None = None
    batch_mode: bool = False
    strict_host_key: bool = False
    escape_character: str | None = "~"
    family: int = 0
    connect_timeout: float | None = None
    alive_interval: float | None = None
    alive_count: int | None = None
    proxy_command: str | None = None
    identities: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    identities_only: bool = False
    agent: str | None = None
    show_version: bool = False
    show_help: bool = False
    show_settings: bool = False
    control: str | None = None
    query: str | None = None
    completion: str | None = None
    timeout: float | None = None
    max_output: int | None = None
    max_cpu: float | None = None
    max_memory: int | None = None
    encoding: str | None = None
    no_resume: bool = False
    on_disconnect: Disconnection | None = None
    clean: bool = False
    argv: bool = False
    json: bool = False
    status_fd: int | None = None
    fingerprint: str | None = None
    config_dir: str | None = None
    typed_host: str = field(default=DEFAULT_HOST, compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def address(self) -> str:
        """The place that the client dials, for people."""
        return self.host if socket_path(self.host) is not None else f"{self.host} port {self.port}"

    @property
    def has_task(self) -> bool:
        """Whether the options say what to do; otherwise it is the console, or a script on stdin."""
        return bool(self.command) or self.subsystem is not None or self.no_command

    def config_folders(self) -> ConfigFolders:
        """Name the folders of the keys, the known servers and the history.

        :raises twisted_rsh.trust.home.HomeUnknown: ``config_dir`` is ``None``, and the user has no home folder.
        """
        return ConfigFolders.chosen(self.config_dir, os.environ)

    def shown_settings(self) -> Iterator[str]:
        """Return the settings, a line for each: its keyword in small letters, and its value, as ``ssh -G`` does."""
        for keyword, value in (
            ("host", self.typed_host),
            ("user", self.user or Names("", "", self.port, "").local_user),
            ("hostname", self.host),
            ("port", self.port),
            ("addressfamily", {0: "any", 4: "inet", 6: "inet6"}[self.family]),
            ("batchmode", self.batch_mode),
            ("connecttimeout", self.connect_timeout),
            ("encoding", self.encoding),
            ("escapechar", "none" if self.escape_character is None else printable(self.escape_character)),
            ("fingerprint", self.fingerprint),
            ("forkafterauthentication", self.background),
            *(("certificatefile", path) for path in self.certificates),
            ("identitiesonly", self.identities_only),
            ("identityagent", self.agent),
            *(("identityfile", path) for path in self.identities),
            ("loglevel", self._log_level()),
            ("maxcpu", self.max_cpu),
            ("maxmemory", self.max_memory),
            ("maxoutput", self.max_output),
            ("ondisconnect", self._policy()),
            ("proxycommand", self.proxy_command),
            ("remotecommand", " ".join(self.command) or None),
            ("requesttty", self.terminal.value),
            ("resume", not self.no_resume),
            ("serveralivecountmax", self.alive_count),
            ("serveraliveinterval", self.alive_interval),
            ("sessiontype", "none" if self.no_command else "subsystem" if self.subsystem else "default"),
            *(("setenv", f"{name}={variable}") for name, variable in self.environment),
            ("stdinnull", self.stdin_is_empty),
            ("timeout", self.timeout),
        ):
            if value is not None:
                yield f"{keyword} {_shown(value)}"

    def _policy(self) -> str | None:
        match self.on_disconnect:
            case None:
                return None
            case Grace(seconds):
                return f"grace:{seconds:.15g}" if seconds else "kill"
        return "keep"

    def _log_level(self) -> str:
        if self.verbosity:
            return f"DEBUG{min(self.verbosity, 3)}"
        return "QUIET" if self.silent else "ERROR" if self.quiet else "INFO"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.15g}"
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def parse_options(words: Sequence[str]) -> ClientOptions:
    """Read a command line and the configuration file that goes with it.

    :param words: the command line, without the program's name: ``sys.argv[1:]``.
    :returns: their values.
    :raises UsageError: one of them is wrong: print the exception on stderr and exit with 255.
    :raises twisted_rsh.trust.home.HomeUnknown: the command line names no folder for the configuration, and the user has
        no home.
    """
    return complete_options(parse_arguments(words))


def complete_options(found: Arguments, known: dict[str, list[str]] | None = None) -> ClientOptions:
    """Complete a command line for one host by the configuration file.

    :param found: the command line; its settings are added to.
    :param known: as for :class:`~twisted_rsh.cli.config_file.Configuration`.
    :returns: their values.
    :raises UsageError: as :func:`parse_options`, and so for `HomeUnknown`.
    """
    if found.shows_help or found.shows_version or found.completion is not None or found.query is not None:
        return ClientOptions(
            show_help=found.shows_help,
            show_version=found.shows_version,
            completion=found.completion,
            query=found.query,
            config_dir=found.config_dir,
        )
    _refuse_fleet_options(found)
    typed = DEFAULT_HOST if found.destination is None else found.destination.host
    folders = ConfigFolders.chosen(found.config_dir, os.environ)
    configuration = Configuration(found.settings, _subject(typed, found), folders.config, known)
    if found.settings_file is None:
        configuration.read_default(folders.client_settings_path)
    elif found.settings_file.lower() != "none":
        configuration.read_given(found.settings_file)
    return _Assembly(found, typed, configuration.names().host).options()


def _refuse_fleet_options(found: Arguments) -> None:
    if found.hosts is not None:
        return
    for flag, value in (
        ("--parallel", found.parallel),
        ("--serial", found.serial),
        ("--max-fail", found.max_fail),
        ("--fail-fast", found.fail_fast or None),
        ("--prefix", found.prefix or None),
    ):
        if value is not None:
            raise UsageError(f"{flag} needs --hosts")


def _subject(typed: str, found: Arguments) -> Subject:
    kind = found.settings.get("session_type", "default")
    if kind == "default":
        kind = "exec" if found.command else "shell"
    return Subject(typed, " ".join(found.command), kind)


class _Assembly:
    """Makes the options of a command line and its settings, and refuses what contradicts itself."""

    def __init__(self, found: Arguments, typed: str, host: str) -> None:
        self._found = found
        self._settings: Settings = found.settings
        self._typed = typed
        self._names = Names(typed, host, self._settings.get("port", DEFAULT_PORT), self._settings.get("user", ""))
        self._warnings: list[str] = []

    def options(self) -> ClientOptions:
        found, get = self._found, self._settings.get
        kind = get("session_type", "default")
        level = _SILENT if found.quiet else found.verbosity or get("log_level", 0)
        command = self._command(kind)
        self._refuse_contradictions(kind, command)
        if not found.shows_settings:
            self._refuse_forwarding(kind)
        background = get("background", False)
        return ClientOptions(
            host=self._host(),
            port=self._names.port,
            user=self._names.user or None,
            command=() if kind == "subsystem" else command,
            subsystem=" ".join(command) if kind == "subsystem" else None,
            no_command=kind == "none",
            background=background,
            stdin_is_empty=get("stdin_is_empty", False) or background,
            terminal=found.terminal or get("terminal", TerminalWish.UNSAID),
            environment=self._environment(),
            quiet=level < 0,
            silent=level <= _SILENT,
            verbosity=max(level, 0),
            log_file=found.log_file,
            batch_mode=get("batch_mode", False),
            strict_host_key=get("strict_host_key", False),
            escape_character=get("escape_character", "~"),
            family=get("family", 0),
            connect_timeout=get("connect_timeout"),
            alive_interval=get("alive_interval"),
            alive_count=get("alive_count"),
            proxy_command=self._proxy_command(),
            identities=self._paths("identities"),
            certificates=self._paths("certificates"),
            identities_only=get("identities_only", False),
            agent=self._agent(),
            show_settings=found.shows_settings,
            control=found.control,
            timeout=get("timeout"),
            max_output=get("max_output", MAX_JSON_OUTPUT_BYTES if found.json else None),
            max_cpu=get("max_cpu"),
            max_memory=get("max_memory"),
            encoding=get("encoding"),
            no_resume=not get("resume", True),
            on_disconnect=get("on_disconnect"),
            clean=found.clean,
            argv=found.argv,
            json=found.json,
            status_fd=found.status_fd,
            fingerprint=get("fingerprint"),
            config_dir=found.config_dir,
            typed_host=self._typed,
            warnings=tuple(self._warnings),
            notes=tuple(self._settings.notes),
        )

    def _host(self) -> str:
        host = parse_host(self._names.host) if self._names.host != self._typed else self._typed
        version = 6 if ":" in host else 4 if host.replace(".", "").isdigit() else 0
        if version and self._settings.get("family", version) not in {0, version}:
            raise UsageError(f"{host} is an IPv{version} address, and the options allow none")
        return host

    def _command(self, kind: str) -> tuple[str, ...]:
        words, remote = self._found.command, self._settings.get("remote_command")
        if remote is None or kind == "none":
            return tuple(words)
        if words:
            raise UsageError("there is a command on the command line, and a RemoteCommand in the configuration")
        if self._found.argv:
            raise UsageError("--argv needs a command on the command line, not a RemoteCommand")
        return (expand(remote, self._names),)

    def _refuse_contradictions(self, kind: str, command: tuple[str, ...]) -> None:
        found, get = self._found, self._settings.get
        wish = found.terminal or get("terminal")
        is_background = get("background", False)
        for is_wrong, text in (
            (kind == "none" and found.command, "-N runs no command, and there is one"),
            (kind == "none" and found.argv, "-N runs no command, and --argv needs one"),
            (kind == "subsystem" and not command, "-s needs the name of a subsystem, such as sftp"),
            (kind == "subsystem" and found.argv, "--argv and -s contradict each other"),
            (found.argv and not found.command, "--argv needs a program to run"),
            (is_background and not command and kind != "none", "-f needs a command, or -N"),
            (found.json and kind == "none", "--json needs a command, and -N runs none"),
            (found.json and is_background, "--json and -f contradict each other"),
            (found.json and wish in {TerminalWish.ASKED, TerminalWish.ALWAYS}, "--json and -t contradict each other"),
            (
                found.json and get("max_output", 0) > MAX_JSON_OUTPUT_BYTES,
                f"--json keeps the output in memory: give --max-output of at most {MAX_JSON_OUTPUT_BYTES}",
            ),
            (found.control and found.shows_settings, "-O and -G contradict each other"),
            (found.control and found.command, f"-O {found.control} runs no command, and there is one"),
        ):
            if is_wrong:
                raise UsageError(text)

    def _refuse_forwarding(self, kind: str) -> None:
        """Refuse what cannot be done without port forwarding; warn of what is not done."""
        get = self._settings.get
        if self._found.stdio_forward is not None:
            raise UsageError(f"port forwarding is not supported: -W {self._found.stdio_forward!r}")
        if get("proxy_jump") is not None and "proxy_command" not in self._settings.values:
            raise UsageError(f"jump hosts are not supported: {get('proxy_jump')!r}: give a ProxyCommand instead")
        if get("clear_forwardings", False):
            return
        for flag, forwarding in get("forwardings", ()):
            text = f"port forwarding is not supported: {flag} {forwarding!r}"
            if kind == "none" or get("exit_on_forward_failure", False):
                raise UsageError(text)
            self._warnings.append(text)

    def _proxy_command(self) -> str | None:
        command = self._settings.get("proxy_command")
        if command is not None and socket_path(self._names.host) is not None:
            raise UsageError(f"{self._names.host} is a Unix socket, to which no ProxyCommand leads: ProxyCommand=none")
        return None if command is None else expand(command, self._names)

    def _paths(self, field_name: str) -> tuple[str, ...]:
        paths = self._settings.get(field_name, ())
        return tuple(expand_path(path, self._names) for path in paths if path.lower() != "none")

    def _agent(self) -> str | None:
        """Find the socket of the agent, as ``IdentityAgent`` of ssh_config(5) names it."""
        named = self._settings.get("agent", "SSH_AUTH_SOCK")
        if named.lower() == "none":
            return None
        if named == "SSH_AUTH_SOCK" or (named.startswith("$") and not named.startswith("${")):
            return os.environ.get(named.removeprefix("$")) or None
        return expand_path(named, self._names)

    def _environment(self) -> tuple[tuple[str, str], ...]:
        patterns: list[str] = []
        for pattern in self._settings.get("sent_variables", ()):
            if pattern.startswith("-"):
                patterns = [other for other in patterns if not matches(pattern[1:], other)]
            else:
                patterns.append(pattern)
        sent = {name: value for name, value in os.environ.items() if patterns and matches_any(patterns, name)}
        # Of two values for one name the first counts.
        sent.update(reversed(self._settings.get("set_variables", ())))
        return tuple(sorted(sent.items()))


def usage_text() -> str:
    """Return the help.

    :returns: lines of at most 79 columns, with a newline at the end.
    """
    shown = [option for option in OPTIONS if option.help]
    rows = [(", ".join(option.flags) + (f" {option.metavar}" if option.metavar else ""), option) for option in shown]
    width = max(len(label) for label, _ in rows)
    return "\n".join(
        [
            "Usage: trsh [options] [[user@]host[:port]] [command ...]",
            "       trsh [options] ssh://[user@]host[:port] [command ...]",
            "       trsh [options] --hosts LIST [command ...]",
            "",
            "Run a command on another machine.  Without a command, prompt for commands, or",
            "run the lines of stdin if that is no terminal.",
            f"The default server is {DEFAULT_HOST}:{DEFAULT_PORT}.",
            "",
            "Options, before the host or between the host and the command:",
            *(f"  {label:<{width}}  {option.help}" for label, option in rows),
            "",
            "BYTES is a number, optionally followed by K, M or G (powers of 1024).",
            "The other letters of ssh are accepted and have no effect.",
            "",
            "The exit status is that of the command; 128+n if signal n ended it, 124 after",
            "a time-out, 125 if it reached another limit, 255 if the client failed.",
            "",
        ]
    )
