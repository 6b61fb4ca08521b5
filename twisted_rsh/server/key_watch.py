"""The watch over the files of keys: a key that is taken out of them loses its sessions, and wrong lines are told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_rsh.link.turns import Turns
from twisted_rsh.log_level import leveled_log

__all__ = ["LOOK_SECONDS", "MAX_TOLD_LINES", "KeyFileWatch", "KeyLineCheck"]

MAX_TOLD_LINES = 20
"""Wrong lines of the files of keys that the log names after a change; it counts the others."""

LOOK_SECONDS = 5.0
"""Seconds between two looks, each of which asks the system once for each file.  A change counts when two looks in a row
have seen the same: an editor may empty a file before it writes it."""

_log = Logger(namespace=__name__, observer=leveled_log)

_Stamp = tuple[int, ...] | None


class KeyFileWatch:
    """Tells when files have changed, and stay as they are.

    :param clock: schedules the looks, usually the reactor.
    :param paths: the files, which need not exist.
    :param changed: called from the reactor for each change.
    :param is_due: tells at each look whether `changed` is to be called without a change, as when a key has expired.
    """

    def __init__(
        self,
        clock: IReactorTime,
        paths: Sequence[str],
        changed: Callable[[], object],
        is_due: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._paths = paths
        self._changed = changed
        self._is_due = is_due
        self._known: list[_Stamp] = []
        self._seen: list[_Stamp] = []
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Take the files as they are, and begin to look."""
        self._known = self._seen = self._stamps()
        self._next = self._clock.callLater(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more.  May be called more than once, and before :meth:`start`."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _look(self) -> None:
        self._next = self._clock.callLater(LOOK_SECONDS, self._look)
        before, self._seen = self._seen, self._stamps()
        has_changed = self._seen == before != self._known
        if has_changed:
            self._known = self._seen
        if has_changed or self._is_due():
            self._changed()

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(path) for path in self._paths]


class KeyLineCheck:
    """Writes each line of the files of keys that grants nothing to the log, so that its writer learns of a mistake.

    All lines of a long file take longer than others may wait, so it goes on in turns of the reactor.

    :param clock: tells the time.
    :param turns: divides the reactor's turns.
    :param problems: gives one line for the log for each line of a file that is wrong, and ``None`` for any other.
    """

    def __init__(self, clock: IReactorTime, turns: Turns, problems: Iterator[str | None]) -> None:
        self._clock = clock
        self._turns = turns
        self._problems = problems
        self._count = 0
        self._is_stopped = False

    def start(self) -> None:
        """Begin.  Call it once."""
        self._turns.run(self, self._go_on)

    def stop(self) -> None:
        """Go on no further, as when the files have changed again.  May be called more than once."""
        self._is_stopped = True

    def _go_on(self, until: float) -> bool:
        while not self._is_stopped:
            try:
                problem = next(self._problems)
            except StopIteration:
                break
            except OSError as error:  # the next change, or the next login, looks again
                _log.warn("the files of keys cannot be checked: {error}", error=error)
                return False
            if problem is not None:
                self._count += 1
                if self._count <= MAX_TOLD_LINES:
                    _log.warn("{problem}", problem=problem)
            if self._clock.seconds() >= until:
                return True
        if self._count > MAX_TOLD_LINES:
            _log.warn("{count} more lines of keys grant nothing", count=self._count - MAX_TOLD_LINES)
        return False


def _stamp(path: str) -> _Stamp:
    """Return what changes with a file; ``None`` for one that cannot be looked at."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    # The time of the last change covers owner and mode, too.
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
