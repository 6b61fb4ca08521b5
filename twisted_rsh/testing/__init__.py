"""Connections that fail as planned, in memory and on loopback, for testing whatever Twisted protocol must survive that.

:class:`Faults` says what goes wrong on one connection, a schedule says it for one connection after another, and
:class:`MemoryEndpoint` and :class:`FaultProxy` make connections to which it happens.
"""

from twisted_rsh.testing.boundaries import Boundaries, HeaderBoundaries, Int32Frames, TLSRecords
from twisted_rsh.testing.faults import HEALTHY, Direction, End, Faults, LaneFaults, Late
from twisted_rsh.testing.memory import MemoryConnection
from twisted_rsh.testing.memory_endpoint import MemoryEndpoint
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

__all__ = [
    "HEALTHY",
    "NO_FAULTS",
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
    "MemoryTransport",
    "Schedule",
    "TLSRecords",
]
