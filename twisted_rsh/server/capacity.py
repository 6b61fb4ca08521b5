"""How much of a server those may take who have logged in."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred, succeed

__all__ = ["MAX_BUFFERED_BYTES", "MAX_SESSIONS_PER_KEY", "Capacity"]

MAX_SESSIONS_PER_KEY = 32
"""Sessions that one key may have at once: twice OpenSSH's sessions on a connection, and several programs' worth."""

MAX_BUFFERED_BYTES = 256 * 1024 * 1024
"""Bytes of jobs' input that the whole server may have to hold; each job counts with its window, used or not, so that
the bound holds whatever the clients do."""


class Capacity:
    """Counts one server's sessions and jobs.

    :param window: bytes of its input that a job may leave unread.
    :param max_sessions_per_key: sessions that one key may have at once.
    :param max_buffered: bytes of input that all jobs together may leave unread.
    """

    def __init__(
        self,
        window: int,
        max_sessions_per_key: int = MAX_SESSIONS_PER_KEY,
        max_buffered: int = MAX_BUFFERED_BYTES,
    ) -> None:
        self._max_sessions = max_sessions_per_key
        self._max_jobs = max_buffered // window
        self._sessions: Counter[str] = Counter()
        self._jobs = 0
        self._waiting: list[Deferred[None]] = []

    def enter_session(self, key: str) -> bool:
        """Tell whether a key may have one more session, and count it if so.

        :param key: the key's fingerprint.
        """
        if self._sessions[key] >= self._max_sessions:
            return False
        self._sessions[key] += 1
        return True

    def leave_session(self, key: str) -> None:
        """Take note that a session has ended.  Call it once for each that was let in."""
        self._sessions[key] -= 1
        if not self._sessions[key]:
            del self._sessions[key]

    def enter_job(self) -> bool:
        """Tell whether there may be one more job, and count it if so."""
        if self._jobs >= self._max_jobs:
            return False
        self._jobs += 1
        return True

    def leave_job(self) -> None:
        """Take note that a job has ended.  Call it once for each that was let in."""
        self._jobs -= 1
        if not self._jobs:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    def when_idle(self) -> Deferred[None]:
        """Wait until there is no job, also none of a client that is gone.

        :returns: fires then, at once if there is none now.
        """
        if not self._jobs:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting
