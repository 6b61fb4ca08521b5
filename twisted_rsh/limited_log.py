"""Log lines that others can cause: a limited number in a minute, and a count of those that were left out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

__all__ = ["LINES_A_MINUTE", "TRACEBACKS_A_MINUTE", "RateLimitedLog"]

LINES_A_MINUTE = 60
"""Log lines of one kind in a minute, some 10 MB a day at worst: more than a person reads, and too few to fill a disk.
"""

TRACEBACKS_A_MINUTE = 5
"""Tracebacks of one kind in a minute: each has some 20 lines, and the second is like the first."""

_MINUTE = 60.0


class RateLimitedLog:
    """Writes a limited number of lines of one kind to the log.

    The log announces the first line that is left out at once, and counts all of them before the next that is written.
    Use one object for each kind of line.

    :param log: the log.
    :param seconds: tells the time in seconds; it may begin anywhere.
    :param lines: lines in a minute.
    """

    def __init__(self, log: Logger, seconds: Callable[[], float] = time.monotonic, lines: int = LINES_A_MINUTE) -> None:
        self._log = log
        self._seconds = seconds
        self._lines = lines
        self._began = seconds()
        self._written = 0
        self._left_out = 0

    def info(self, line: str, **values: object) -> None:
        """Write a line, unless this minute has had its share.

        :param line: the format, as :meth:`twisted.logger.Logger.info` takes it.
        :param values: the values that the format names.
        """
        self._write(LogLevel.info, line, values)

    def warn(self, line: str, **values: object) -> None:
        """Write a warning likewise."""
        self._write(LogLevel.warn, line, values)

    def failure(self, line: str, failure: Failure, **values: Any) -> None:
        """Write a line and the traceback of a failure likewise.

        :param failure: the failure, a bug of a program.
        """
        if self._may_write():
            self._log.failure(line, failure=failure, **values)

    def pass_on(self, event: LogEvent) -> None:
        """Write an event of another logger likewise: an observer for a logger of a library.

        :param event: what that logger would write.
        """
        if self._may_write():
            self._log.observer(event)

    def _write(self, level: Any, line: str, values: dict[str, object]) -> None:
        if self._may_write():
            self._log.emit(level, line, **values)

    def _may_write(self) -> bool:
        now = self._seconds()
        if not 0 <= now - self._began < _MINUTE:
            left_out, self._left_out = self._left_out, 0
            self._began, self._written = now, 0
            if left_out:
                self._log.info("{count} lines like the next were left out", count=left_out)
        if self._written < self._lines:
            self._written += 1
            return True
        if not self._left_out:
            self._log.info(
                "more lines like the last are left out for {seconds:g} s", seconds=self._began + _MINUTE - now
            )
        self._left_out += 1
        return False
