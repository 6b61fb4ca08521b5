"""The watch over the files of keys: a key that is taken out of them loses its sessions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["LOOK_SECONDS", "KeyFileWatch"]

LOOK_SECONDS = 5.0
"""Seconds between two looks, each of which asks the system once for each file.  A change counts when two looks in a row
have seen the same: an editor may empty a file before it writes it."""

_Stamp = tuple[int, ...] | None


class KeyFileWatch:
    """Tells when files have changed, and stay as they are.

    :param clock: schedules the looks, usually the reactor.
    :param paths: the files, which need not exist.
    :param changed: called from the reactor for each change.
    """

    def __init__(self, clock: IReactorTime, paths: Sequence[str], changed: Callable[[], object]) -> None:
        self._clock = clock
        self._paths = paths
        self._changed = changed
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
        if self._seen == before != self._known:
            self._known = self._seen
            self._changed()

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: str) -> _Stamp:
    """Return what changes with a file; ``None`` for one that cannot be looked at."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    # The time of the last change covers owner and mode, too.
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
