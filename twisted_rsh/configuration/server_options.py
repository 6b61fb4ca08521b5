"""The options of ``rsh``: a table, from which come its command line, its help, and the names in its file."""

from __future__ import annotations

import ipaddress

from twisted.python import usage

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
from twisted_rsh.core.limits import MAX_CHANNELS, MAX_DETACH_SECONDS, MAX_WINDOW, MIN_WINDOW
from twisted_rsh.core.roles import MAX_PORT, OUTPUTS
from twisted_rsh.execution.sftp import SYSTEM
from twisted_rsh.log_level import LOG_LEVELS
from twisted_rsh.server.options import ServiceOptions
from twisted_rsh.watching.audit_file import DEFAULT_KEPT_FILES, DEFAULT_MAX_BYTES

__all__ = ["MAX_JOB_PROCESSES", "MIN_JOB_MEMORY", "ServerOptions"]

MAX_JOB_PROCESSES = 2**22
"""Processes that ``--max-processes-per-job`` may allow: as many as Linux can have (``PID_MAX_LIMIT``)."""

MIN_JOB_MEMORY = 2**20
"""Bytes that ``--max-memory-per-job`` must allow: with less no program could begin."""

_DEFAULTS = ServiceOptions()


class ServerOptions(ConfiguredOptions):
    """The options of ``rsh``, with their defaults, their help, and what each takes."""

    of_command_line = ("config", "check", "show", "help", "version")
    kept_as = {"interface": "interfaces"}  # noqa: RUF012 - a ClassVar

    synopsis = "[options]"
    longdesc = (
        "Run commands and shells for the user that starts this, over TLS, by default on the loopback addresses. "
        "On the same machine `python -m twisted_rsh.client` needs no configuration."
    )
    optParameters = [  # noqa: RUF012 - the name and the form that usage.Options reads
        ["port", "p", _DEFAULTS.port, "TCP port to listen on; 0 for a free one.", whole_number("port", 0, MAX_PORT)],
        ["config-dir", None, None, "Folder of the keys and records.  [default: the XDG folders]"],
        ["config", None, None, "File of further options.  [default: server.conf in the folder of the keys]"],
        ["shell", None, None, "Absolute path of the shell that runs commands.  [default: the login shell]", read_shell],
        ["encoding", None, None, "Code page of the commands and their text.  [default: the locale's]", read_encoding],
        [
            "login-timeout",
            None,
            _DEFAULTS.login_timeout,
            "Seconds that a client has to log in.",
            positive_number("login-timeout"),
        ],
        [
            "max-unauthenticated",
            None,
            _DEFAULTS.max_unauthenticated,
            "Connections that may exist at once without a login.",
            whole_number("max-unauthenticated", 1, 1_000_000),
        ],
        [
            "drop-start",
            None,
            _DEFAULTS.drop_start,
            "Connections without a login from which on some are turned away at random.",
            whole_number("drop-start", 1, 1_000_000),
        ],
        [
            "max-unauthenticated-per-source",
            None,
            _DEFAULTS.max_unauthenticated_per_source,
            "Connections that one other machine, IPv6 network of 64 bits or user may have at once without a login.",
            whole_number("max-unauthenticated-per-source", 1, 1_000_000),
        ],
        [
            "max-sessions",
            None,
            _DEFAULTS.max_sessions,
            "Sessions that may exist at once, with a connection and without; further logins are refused.",
            whole_number("max-sessions", 1, 1_000_000),
        ],
        [
            "max-sessions-per-key",
            None,
            _DEFAULTS.max_sessions_per_key,
            "Sessions with a connection or a job that one key may have at once; further logins are refused.",
            whole_number("max-sessions-per-key", 1, 1_000_000),
        ],
        [
            "max-unread-input",
            None,
            _DEFAULTS.max_unread_input,
            "Bytes of input that all jobs together may leave unread; further jobs are refused.",
            whole_number("max-unread-input", MAX_WINDOW, 2**50),
        ],
        [
            "max-unread-output",
            None,
            _DEFAULTS.max_unread_output,
            "Bytes of output that all clients together may leave unread; further jobs are refused.",
            whole_number("max-unread-output", len(OUTPUTS) * MAX_WINDOW, 2**50),
        ],
        [
            "max-kept-jobs",
            None,
            _DEFAULTS.max_kept_jobs,
            "Jobs that may be kept without a client at once; further ones are refused; 0 for none.",
            whole_number("max-kept-jobs", 0, 1_000_000),
        ],
        [
            "max-jobs-per-session",
            None,
            _DEFAULTS.limits.max_channels,
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
            _DEFAULTS.limits.window,
            "Bytes of a stream that may be under way at once; a window that is too small for its link grows.",
            whole_number("window", MIN_WINDOW, MAX_WINDOW),
        ],
        [
            "max-window-growth",
            None,
            _DEFAULTS.max_window_growth,
            "Bytes by which the windows of all sessions may grow together; 0 for none.",
            whole_number("max-window-growth", 0, 2**50),
        ],
        [
            "keepalive",
            None,
            _DEFAULTS.limits.keepalive_interval,
            "Seconds of silence until the server pings a client; after three times as long it closes the connection.",
            positive_number("keepalive"),
        ],
        [
            "detach-timeout",
            None,
            _DEFAULTS.limits.detach_seconds,
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
            _DEFAULTS.socket,
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
        ["show", None, "Show the options in effect, in the form of their file, and exit."],
        ["ssh-authorized-keys", None, "Also let in the keys of ~/.ssh/authorized_keys that have no options there."],
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
