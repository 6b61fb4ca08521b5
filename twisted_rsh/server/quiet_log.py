"""A log that nobody can flood: so many lines in a minute, and then how many were left out."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["LINES", "LINES_SECONDS", "QuietLog"]

LINES = 10
"""Lines in :data:`LINES_SECONDS`: enough to see what is going on."""

LINES_SECONDS = 60.0
"""Seconds after which there may be as many lines again."""


class QuietLog:
    """Writes lines that a stranger can cause.

    :param clock: tells the time.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._since = clock.seconds()
        self._written = 0
        self._left_out = 0

    def info(self, line: str, **values: object) -> None:
        """Write a line, unless there were too many of late.

        :param line: its format, as that of :class:`twisted.logger.Logger`.
        :param values: what the format names.
        """
        now = self._clock.seconds()
        if now - self._since >= LINES_SECONDS:
            if self._left_out:
                self._log.info("{count} more lines like this one were left out", count=self._left_out)
            self._since, self._written, self._left_out = now, 0, 0
        if self._written < LINES:
            self._written += 1
            self._log.info(line, **values)
        else:
            self._left_out += 1
