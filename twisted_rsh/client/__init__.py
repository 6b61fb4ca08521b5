"""The client: :func:`connect` gives a :class:`Connection`, which runs commands."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted_rsh.client.connecting import connect, connect_to_endpoint
    from twisted_rsh.client.connection import Connection
    from twisted_rsh.client.job import Job
    from twisted_rsh.client.result import Result
    from twisted_rsh.client.shell import Shell
    from twisted_rsh.core.endings import JobEnd
    from twisted_rsh.core.requests import Grace, Keep, Terminal

__all__ = [
    "Connection",
    "Grace",
    "Job",
    "JobEnd",
    "Keep",
    "Result",
    "Shell",
    "Terminal",
    "connect",
    "connect_to_endpoint",
]

_MODULES = {
    "Grace": "twisted_rsh.core.requests",
    "JobEnd": "twisted_rsh.core.endings",
    "Keep": "twisted_rsh.core.requests",
    "Shell": "twisted_rsh.client.shell",
    "Job": "twisted_rsh.client.job",
    "Connection": "twisted_rsh.client.connection",
    "Result": "twisted_rsh.client.result",
    "Terminal": "twisted_rsh.core.requests",
    "connect": "twisted_rsh.client.connecting",
    "connect_to_endpoint": "twisted_rsh.client.connecting",
}
"""Where each name is."""


# The command line imports this package first, and must tell a typing error before Twisted is there: 0.3 s later.
def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
