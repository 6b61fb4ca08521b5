"""Doubles for tests: connections that fail as planned, and a real client and server joined in memory.

The fault tools know bytes and nothing of this package's protocol, so they serve any Twisted protocol.  :class:`Faults`
says what goes wrong on one connection, a schedule says it for one connection after another, and :class:`MemoryEndpoint`
and :class:`FaultProxy` make connections to which it happens.

:class:`MemoryPair` joins a client and a server of this package with them, and :class:`ScriptedUser` is a user whose
commands end as a test says.  Python imports these two when they are first used: the fault tools alone import neither
the client nor the server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from twisted_rsh.testing.faults import (
    HEALTHY,
    Boundaries,
    Direction,
    End,
    Faults,
    HeaderBoundaries,
    Int32Frames,
    LaneFaults,
    Late,
    TLSRecords,
)
from twisted_rsh.testing.memory import MemoryConnection, MemoryEndpoint
from twisted_rsh.testing.memory_transport import MemoryTransport
from twisted_rsh.testing.proxy import FaultProxy
from twisted_rsh.testing.schedules import (
    NO_FAULTS,
    CutEveryRecords,
    CutEverySeconds,
    FaultSchedule,
    InTurn,
    Schedule,
)

if TYPE_CHECKING:
    from twisted_rsh.testing.pair import MemoryPair
    from twisted_rsh.testing.scripted import Answer, ScriptedJob, ScriptedShell, ScriptedUser

__all__ = [
    "HEALTHY",
    "NO_FAULTS",
    "Answer",
    "Boundaries",
    "CutEveryRecords",
    "CutEverySeconds",
    "Direction",
    "End",
    "FaultProxy",
    "FaultSchedule",
    "Faults",
    "HeaderBoundaries",
    "InTurn",
    "Int32Frames",
    "LaneFaults",
    "Late",
    "MemoryConnection",
    "MemoryEndpoint",
    "MemoryPair",
    "MemoryTransport",
    "Schedule",
    "ScriptedJob",
    "ScriptedShell",
    "ScriptedUser",
    "TLSRecords",
]

_LATER = {
    "Answer": "twisted_rsh.testing.scripted",
    "MemoryPair": "twisted_rsh.testing.pair",
    "ScriptedJob": "twisted_rsh.testing.scripted",
    "ScriptedShell": "twisted_rsh.testing.scripted",
    "ScriptedUser": "twisted_rsh.testing.scripted",
}
"""The module of each name that is imported when it is first used."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
