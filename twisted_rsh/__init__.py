"""Run commands on another machine over one authenticated connection.

:func:`connect` returns a :class:`Connection`, which runs commands (:meth:`Connection.run`), starts jobs that the caller
reads and writes (:class:`Job`) and opens shells that remember (:class:`Shell`).  Every exception of this package is an
:class:`Error`.

``twistd rsh --port 8082`` is the server, ``trsh`` the client program; :mod:`twisted_rsh.server` puts a server into a
Twisted application.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted_rsh.client.agent import AgentFailure, AgentKey, KeyAgent
    from twisted_rsh.client.connecting import connect, connect_to_endpoint
    from twisted_rsh.client.connection import Connection
    from twisted_rsh.client.errors import (
        ForeignServer,
        LoginRefused,
        LossReason,
        NoServer,
        NotARemoteShell,
        ServerBusy,
        ServerUnavailable,
        SessionLost,
        ShellRefused,
        UnknownServer,
        WrongServer,
    )
    from twisted_rsh.client.job import Job
    from twisted_rsh.client.result import CommandFailed, Result
    from twisted_rsh.client.shell import Shell
    from twisted_rsh.client.status import describe_ending, exit_status
    from twisted_rsh.clock import use_steady_clock
    from twisted_rsh.core.endings import (
        Ending,
        Exited,
        JobEnd,
        Limit,
        LimitReached,
        OutcomeUnknown,
        RefusalReason,
        Refused,
        ResourceUsage,
        Signalled,
        Stopped,
        TimedOut,
    )
    from twisted_rsh.core.errors import Error, LocalProtocolError, ProtocolError
    from twisted_rsh.core.limits import SessionLimits
    from twisted_rsh.core.requests import KILL, Disconnection, Grace, Keep, Terminal
    from twisted_rsh.core.roles import DEFAULT_PORT
    from twisted_rsh.core.shell_state import BackgroundJob, JobState, ShellState
    from twisted_rsh.trust.client_key import ClientKey, LockedKey, load_client_key, load_or_create_client_key
    from twisted_rsh.trust.files import FileProblem
    from twisted_rsh.trust.fingerprint import BadFingerprint, parse_fingerprint
    from twisted_rsh.trust.home import ConfigFolders, HomeUnknown
    from twisted_rsh.trust.invitation import BadInvitation, Invitation
    from twisted_rsh.trust.known_servers import KnownServer, KnownServers

__all__ = [
    "DEFAULT_PORT",
    "KILL",
    "AgentFailure",
    "AgentKey",
    "BackgroundJob",
    "BadFingerprint",
    "BadInvitation",
    "ClientKey",
    "CommandFailed",
    "ConfigFolders",
    "Connection",
    "Disconnection",
    "Ending",
    "Error",
    "Exited",
    "FileProblem",
    "ForeignServer",
    "Grace",
    "HomeUnknown",
    "Invitation",
    "Job",
    "JobEnd",
    "JobState",
    "Keep",
    "KeyAgent",
    "KnownServer",
    "KnownServers",
    "Limit",
    "LimitReached",
    "LocalProtocolError",
    "LockedKey",
    "LoginRefused",
    "LossReason",
    "NoServer",
    "NotARemoteShell",
    "OutcomeUnknown",
    "ProtocolError",
    "RefusalReason",
    "Refused",
    "ResourceUsage",
    "Result",
    "ServerBusy",
    "ServerUnavailable",
    "SessionLimits",
    "SessionLost",
    "Shell",
    "ShellRefused",
    "ShellState",
    "Signalled",
    "Stopped",
    "Terminal",
    "TimedOut",
    "UnknownServer",
    "WrongServer",
    "connect",
    "connect_to_endpoint",
    "describe_ending",
    "exit_status",
    "load_client_key",
    "load_or_create_client_key",
    "parse_fingerprint",
    "use_steady_clock",
]

__version__ = "0.1.0"
"""The version of this package; ``setup.cfg`` reads it from here."""

_NAMES_BY_MODULE = {
    "client.agent": "AgentFailure AgentKey KeyAgent",
    "client.connecting": "connect connect_to_endpoint",
    "client.connection": "Connection",
    "client.errors": (
        "ForeignServer LoginRefused LossReason NoServer NotARemoteShell ServerBusy ServerUnavailable SessionLost "
        "ShellRefused UnknownServer WrongServer"
    ),
    "client.job": "Job",
    "client.result": "CommandFailed Result",
    "client.shell": "Shell",
    "client.status": "describe_ending exit_status",
    "clock": "use_steady_clock",
    "core.endings": (
        "Ending Exited JobEnd Limit LimitReached OutcomeUnknown RefusalReason Refused ResourceUsage Signalled Stopped"
        " TimedOut"
    ),
    "core.errors": "Error LocalProtocolError ProtocolError",
    "core.limits": "SessionLimits",
    "core.requests": "KILL Disconnection Grace Keep Terminal",
    "core.roles": "DEFAULT_PORT",
    "core.shell_state": "BackgroundJob JobState ShellState",
    "trust.client_key": "ClientKey LockedKey load_client_key load_or_create_client_key",
    "trust.files": "FileProblem",
    "trust.fingerprint": "BadFingerprint parse_fingerprint",
    "trust.home": "ConfigFolders HomeUnknown",
    "trust.invitation": "BadInvitation Invitation",
    "trust.known_servers": "KnownServer KnownServers",
}
"""The modules that define the public names."""

_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}


# The names are loaded when they are asked for: the program reports a mistyped option before it loads Twisted, which
# takes 0.3 s, and an application can import this package before it chooses a reactor.
def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
