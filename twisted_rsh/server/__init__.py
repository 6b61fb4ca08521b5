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
    from twisted_rsh.interfaces import IJob, IJobOwner, IShellJob, IShellUser, ISuspensionListener, JobRefused
    from twisted_rsh.server.options import ServiceOptions
    from twisted_rsh.server.portal import SingleUserRealm, local_portal
    from twisted_rsh.server.service import RemoteShellService
    from twisted_rsh.trust.cred import AuthorizedKeysChecker, IVerifiedKey, IVerifiedPeer, OwnUserChecker
    from twisted_rsh.trust.files import FileProblem
    from twisted_rsh.trust.home import ConfigFolders, HomeUnknown

_MODULES = {
    "Account": "twisted_rsh.execution.account",
    "AuthorizedKeysChecker": "twisted_rsh.trust.cred",
    "BackgroundJob": "twisted_rsh.core.shell_state",
    "ConfigFolders": "twisted_rsh.trust.home",
    "ControlGroup": "twisted_rsh.execution.trees.control_group",
    "DEFAULT_PORT": "twisted_rsh.core.roles",
    "Error": "twisted_rsh.core.errors",
    "Exited": "twisted_rsh.core.endings",
    "FileProblem": "twisted_rsh.trust.files",
    "HomeUnknown": "twisted_rsh.trust.home",
    "IJob": "twisted_rsh.interfaces",
    "IJobOwner": "twisted_rsh.interfaces",
    "IShellJob": "twisted_rsh.interfaces",
    "IShellUser": "twisted_rsh.interfaces",
    "ISuspensionListener": "twisted_rsh.interfaces",
    "IVerifiedKey": "twisted_rsh.trust.cred",
    "IVerifiedPeer": "twisted_rsh.trust.cred",
    "JobEnd": "twisted_rsh.core.endings",
    "JobRefused": "twisted_rsh.interfaces",
    "JobRequest": "twisted_rsh.core.requests",
    "JobState": "twisted_rsh.core.shell_state",
    "JobTrees": "twisted_rsh.execution.trees.trees",
    "Limit": "twisted_rsh.core.endings",
    "LimitReached": "twisted_rsh.core.endings",
    "local_portal": "twisted_rsh.server.portal",
    "LocalUser": "twisted_rsh.execution.user",
    "OwnUserChecker": "twisted_rsh.trust.cred",
    "OutcomeUnknown": "twisted_rsh.core.endings",
    "RefusalReason": "twisted_rsh.core.endings",
    "Refused": "twisted_rsh.core.endings",
    "RemoteShellService": "twisted_rsh.server.service",
    "ServiceOptions": "twisted_rsh.server.options",
    "SessionLimits": "twisted_rsh.core.limits",
    "ShellState": "twisted_rsh.core.shell_state",
    "Signalled": "twisted_rsh.core.endings",
    "SingleUserRealm": "twisted_rsh.server.portal",
    "Stopped": "twisted_rsh.core.endings",
    "Stream": "twisted_rsh.core.roles",
    "TimedOut": "twisted_rsh.core.endings",
    "use_steady_clock": "twisted_rsh.clock",
    "UsageLimits": "twisted_rsh.execution.trees.limits",
}
"""The module of each name."""

__all__ = [
    "DEFAULT_PORT",
    "Account",
    "AuthorizedKeysChecker",
    "BackgroundJob",
    "ConfigFolders",
    "ControlGroup",
    "Error",
    "Exited",
    "FileProblem",
    "HomeUnknown",
    "IJob",
    "IJobOwner",
    "IShellJob",
    "IShellUser",
    "ISuspensionListener",
    "IVerifiedKey",
    "IVerifiedPeer",
    "JobEnd",
    "JobRefused",
    "JobRequest",
    "JobState",
    "JobTrees",
    "Limit",
    "LimitReached",
    "LocalUser",
    "OutcomeUnknown",
    "OwnUserChecker",
    "RefusalReason",
    "Refused",
    "RemoteShellService",
    "ServiceOptions",
    "SessionLimits",
    "ShellState",
    "Signalled",
    "SingleUserRealm",
    "Stopped",
    "Stream",
    "TimedOut",
    "UsageLimits",
    "local_portal",
    "use_steady_clock",
]


# Lazily: a module of this package must not load the whole server, and what it runs, before it loads itself.
def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
