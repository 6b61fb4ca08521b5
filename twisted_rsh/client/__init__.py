"""The client: :func:`connect` gives a :class:`RemoteShell`, which runs commands."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted_rsh.client.connecting import connect, connect_to_endpoint
    from twisted_rsh.client.remote_job import RemoteJob
    from twisted_rsh.client.remote_shell import RemoteShell
    from twisted_rsh.client.result import JobEnd, Result

__all__ = ["JobEnd", "RemoteJob", "RemoteShell", "Result", "connect", "connect_to_endpoint"]

_MODULES = {
    "JobEnd": "result",
    "RemoteJob": "remote_job",
    "RemoteShell": "remote_shell",
    "Result": "result",
    "connect": "connecting",
    "connect_to_endpoint": "connecting",
}
"""Where each name is."""


# The command line imports this package first, and must tell a typing error before Twisted is there: 0.3 s later.
def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
