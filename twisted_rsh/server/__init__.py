"""The server, and all that an application needs to embed it: import every name from here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted_rsh.clock import use_steady_clock
    from twisted_rsh.core.endings import (
        Exited,
        JobEnd,
        Limit,
        LimitReached,
        OutcomeUnknown,
        RefusalReason,
        Refused,
        Signalled,
        Stopped,
        TimedOut,
    )
    from twisted_rsh.core.errors import Error
    from twisted_rsh.core.limits import SessionLimits
    from twisted_rsh.core.requests import JobRequest
    from twisted_rsh.core.roles import DEFAULT_PORT, Stream
    from twisted_rsh.core.shell_state import BackgroundJob, JobState, ShellState
    from twisted_rsh.execution.account import Account
    from twisted_rsh.execution.trees.control_group import ControlGroup
    from twisted_rsh.execution.trees.limits import UsageLimits
    from twisted_rsh.execution.trees.trees import JobTrees
    from twisted_rsh.execution.user import LocalUser
    from twisted_rsh.interfaces import (
        IJob,
        IJobOwner,
        ILimitedUser,
        IServerObserver,
        IShellJob,
        IShellUser,
        ISuspensionListener,
        JobRefused,
    )
    from twisted_rsh.server.options import ServiceOptions
    from twisted_rsh.server.portal import SingleUserRealm, local_portal
    from twisted_rsh.server.service import RemoteShellService
    from twisted_rsh.server.sockets import SocketServerEndpoint
    from twisted_rsh.server_events import (
        BoundUse,
        JobBegan,
        JobFinished,
        LogsRotated,
        Refusal,
        RefusalKind,
        ServerEvent,
        ServerStarted,
        ServerStopped,
        SessionBegan,
        SessionDetached,
        SessionEnded,
        SessionInfo,
        SessionResumed,
    )
    from twisted_rsh.trust.addresses import AddressList, parse_addresses
    from twisted_rsh.trust.cred import AuthorizedKeysChecker, IVerifiedKey, IVerifiedPeer, OwnUserChecker
    from twisted_rsh.trust.files import FileProblem, open_private_log
    from twisted_rsh.trust.home import ConfigFolders, HomeUnknown
    from twisted_rsh.trust.policy import KeyPolicy

_MODULES = {
    "Account": "twisted_rsh.execution.account",
    "AddressList": "twisted_rsh.trust.addresses",
    "AuthorizedKeysChecker": "twisted_rsh.trust.cred",
    "BackgroundJob": "twisted_rsh.core.shell_state",
    "BoundUse": "twisted_rsh.server_events",
    "ConfigFolders": "twisted_rsh.trust.home",
    "ControlGroup": "twisted_rsh.execution.trees.control_group",
    "DEFAULT_PORT": "twisted_rsh.core.roles",
    "Error": "twisted_rsh.core.errors",
    "Exited": "twisted_rsh.core.endings",
    "FileProblem": "twisted_rsh.trust.files",
    "HomeUnknown": "twisted_rsh.trust.home",
    "IJob": "twisted_rsh.interfaces",
    "IJobOwner": "twisted_rsh.interfaces",
    "IServerObserver": "twisted_rsh.interfaces",
    "ILimitedUser": "twisted_rsh.interfaces",
    "IShellJob": "twisted_rsh.interfaces",
    "IShellUser": "twisted_rsh.interfaces",
    "ISuspensionListener": "twisted_rsh.interfaces",
    "IVerifiedKey": "twisted_rsh.trust.cred",
    "JobBegan": "twisted_rsh.server_events",
    "IVerifiedPeer": "twisted_rsh.trust.cred",
    "JobEnd": "twisted_rsh.core.endings",
    "JobFinished": "twisted_rsh.server_events",
    "JobRefused": "twisted_rsh.interfaces",
    "JobRequest": "twisted_rsh.core.requests",
    "JobState": "twisted_rsh.core.shell_state",
    "JobTrees": "twisted_rsh.execution.trees.trees",
    "KeyPolicy": "twisted_rsh.trust.policy",
    "Limit": "twisted_rsh.core.endings",
    "LimitReached": "twisted_rsh.core.endings",
    "local_portal": "twisted_rsh.server.portal",
    "LocalUser": "twisted_rsh.execution.user",
    "LogsRotated": "twisted_rsh.server_events",
    "OwnUserChecker": "twisted_rsh.trust.cred",
    "OutcomeUnknown": "twisted_rsh.core.endings",
    "Refusal": "twisted_rsh.server_events",
    "RefusalKind": "twisted_rsh.server_events",
    "open_private_log": "twisted_rsh.trust.files",
    "parse_addresses": "twisted_rsh.trust.addresses",
    "RefusalReason": "twisted_rsh.core.endings",
    "Refused": "twisted_rsh.core.endings",
    "RemoteShellService": "twisted_rsh.server.service",
    "ServerEvent": "twisted_rsh.server_events",
    "ServerStarted": "twisted_rsh.server_events",
    "ServerStopped": "twisted_rsh.server_events",
    "ServiceOptions": "twisted_rsh.server.options",
    "SessionBegan": "twisted_rsh.server_events",
    "SessionDetached": "twisted_rsh.server_events",
    "SessionEnded": "twisted_rsh.server_events",
    "SessionInfo": "twisted_rsh.server_events",
    "SessionLimits": "twisted_rsh.core.limits",
    "SessionResumed": "twisted_rsh.server_events",
    "ShellState": "twisted_rsh.core.shell_state",
    "Signalled": "twisted_rsh.core.endings",
    "SingleUserRealm": "twisted_rsh.server.portal",
    "SocketServerEndpoint": "twisted_rsh.server.sockets",
    "Stopped": "twisted_rsh.core.endings",
    "Stream": "twisted_rsh.core.roles",
    "TimedOut": "twisted_rsh.core.endings",
    "UsageLimits": "twisted_rsh.execution.trees.limits",
    "use_steady_clock": "twisted_rsh.clock",
}
"""The module of each name."""

__all__ = [
    "DEFAULT_PORT",
    "Account",
    "AddressList",
    "AuthorizedKeysChecker",
    "BackgroundJob",
    "BoundUse",
    "ConfigFolders",
    "ControlGroup",
    "Error",
    "Exited",
    "FileProblem",
    "HomeUnknown",
    "IJob",
    "IJobOwner",
    "ILimitedUser",
    "IServerObserver",
    "IShellJob",
    "IShellUser",
    "ISuspensionListener",
    "IVerifiedKey",
    "IVerifiedPeer",
    "JobBegan",
    "JobEnd",
    "JobFinished",
    "JobRefused",
    "JobRequest",
    "JobState",
    "JobTrees",
    "KeyPolicy",
    "Limit",
    "LimitReached",
    "LocalUser",
    "LogsRotated",
    "OutcomeUnknown",
    "OwnUserChecker",
    "Refusal",
    "RefusalKind",
    "RefusalReason",
    "Refused",
    "RemoteShellService",
    "ServerEvent",
    "ServerStarted",
    "ServerStopped",
    "ServiceOptions",
    "SessionBegan",
    "SessionDetached",
    "SessionEnded",
    "SessionInfo",
    "SessionLimits",
    "SessionResumed",
    "ShellState",
    "Signalled",
    "SingleUserRealm",
    "SocketServerEndpoint",
    "Stopped",
    "Stream",
    "TimedOut",
    "UsageLimits",
    "local_portal",
    "open_private_log",
    "parse_addresses",
    "use_steady_clock",
]


# Lazily: a module of this package must not load the whole server, and what it runs, before it loads itself.
def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
