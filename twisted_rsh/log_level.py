"""The level of the server's log: the least level of the lines that this package writes.

The loggers of a server have :data:`leveled_log` as their observer.  In an application that embeds a server nothing is
left out; there the application's own observers choose.
"""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

__all__ = ["LOG_LEVELS", "leveled_log", "set_log_level"]

LOG_LEVELS = ("info", "warn", "error", "critical")
"""The levels of which one can be chosen; nothing is below the first."""


@implementer(ILogObserver)
class _LeveledLog:
    """Passes events of loggers on to the process's log.  Twisted's own filter takes fourteen calls for each event."""

    def __init__(self) -> None:
        self.levels = frozenset(LogLevel.iterconstants())

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] in self.levels:
            globalLogPublisher(event)


leveled_log = _LeveledLog()
"""Passes on to the process's log what has the level, or a higher one."""


def set_log_level(name: str) -> None:
    """Choose the level, for this process.

    :param name: one of :data:`LOG_LEVELS`.
    """
    least = LogLevel.levelWithName(name)
    leveled_log.levels = frozenset(level for level in LogLevel.iterconstants() if level >= least)
