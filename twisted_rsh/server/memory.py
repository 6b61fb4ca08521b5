"""Gives memory that ended sessions have left back to the system.

Python frees it at once, but the C library keeps what lies between other pieces for later use.  After a storm of clients
that would be hundreds of MiB, for as long as the server runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["RETURN_SECONDS", "MemoryReturn"]

RETURN_SECONDS = 1.0
"""Seconds from the end of a session until memory is given back.  That takes up to 15 ms for 100 MiB, so it is not done
for each of many sessions that end together."""


def _find_trim() -> Callable[[int], object] | None:
    """Find ``malloc_trim`` of the GNU C library; other libraries have none, and mostly need none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None


class MemoryReturn:
    """Gives free memory back some time after sessions have ended.

    :param clock: calls later; usually the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._trim = _find_trim()
        self._planned: IDelayedCall | None = None

    def session_ended(self) -> None:
        """Plan to give memory back, unless that is planned."""
        if self._planned is None and self._trim is not None:
            self._planned = self._clock.callLater(RETURN_SECONDS, self._return)

    def _return(self) -> None:
        self._planned = None
        if self._trim is not None:
            self._trim(0)
