"""The level of the server's log: the least level of the lines that this package writes.

The loggers of a server have :data:`leveled_log` as their observer.  In an application that embeds a server nothing is
left out; there the application's own observers choose.
"""

from __future__ import annotations

from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogPublisher

__all__ = ["LOG_LEVELS", "leveled_log", "set_log_level"]

LOG_LEVELS = ("info", "warn", "error", "critical")
"""The levels of which one can be chosen; nothing is below the first."""

_level = LogLevelFilterPredicate(defaultLogLevel=LogLevel.debug)

leveled_log = FilteringLogObserver(globalLogPublisher, [_level])
"""Passes on to the process's log what has the level, or a higher one."""


def set_log_level(name: str) -> None:
    """Choose the level, for this process.

    :param name: one of :data:`LOG_LEVELS`.
    """
    _level.setLogLevelForNamespace("", LogLevel.levelWithName(name))
