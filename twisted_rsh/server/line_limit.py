"""Keeps a peer from filling the log: of each kind of line that a stranger can cause, so many a minute."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["LINES_A_MINUTE", "LineLimit"]

LINES_A_MINUTE = 60
"""Lines of one kind in a minute, some 10 MB a day at worst: more than anybody reads, and no disk is full of it."""

_MINUTE = 60.0


class LineLimit:
    """Lets so many lines of one kind into the log.

    :param log: where they go.
    :param clock: tells the time, usually the reactor.
    :param lines: lines in a minute.
    """

    def __init__(self, log: Logger, clock: IReactorTime, lines: int = LINES_A_MINUTE) -> None:
        self._log = log
        self._clock = clock
        self._lines = lines
        self._began = clock.seconds()
        self._written = 0
        self._left_out = 0

    def info(self, line: str, **values: object) -> None:
        """Write a line, unless this minute has had its share.

        The first that is left out is told of at once, and how many were as soon as a line is written again.

        :param line: the format, as :meth:`twisted.logger.Logger.info` takes it; always the same for one object.
        :param values: what the format names.
        """
        now = self._clock.seconds()
        if not 0 <= now - self._began < _MINUTE:
            left_out, self._left_out = self._left_out, 0
            self._began, self._written = now, 0
            if left_out:
                self._log.info("{count} lines like the next were left out", count=left_out)
        if self._written < self._lines:
            self._written += 1
            self._log.info(line, **values)
            return
        if not self._left_out:
            self._log.info(
                "more lines like the last are left out for {seconds:g} s", seconds=self._began + _MINUTE - now
            )
        self._left_out += 1
