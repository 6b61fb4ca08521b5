"""The bounds on what logged-in clients may take of one server: sessions of a key, and jobs of all."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred, succeed

__all__ = ["MAX_SESSIONS_PER_KEY", "MAX_UNREAD_INPUT_BYTES", "Capacity"]

MAX_SESSIONS_PER_KEY = 32
"""Sessions that one key may have at once: twice OpenSSH's sessions on a connection, and several programs' worth."""

MAX_UNREAD_INPUT_BYTES = 256 * 1024 * 1024
"""Bytes of jobs' input that the whole server may have to hold.  Each job counts with its window, used or not, so that
the bound holds whatever the clients do."""


class Capacity:
    """Counts one server's sessions and jobs.

    :param window: bytes of its input that a job may leave unread.
    :param max_sessions_per_key: sessions that one key may have at once.
    :param max_unread_input: bytes of input that all jobs together may leave unread.
    :ivar max_sessions_per_key: as above.
    :ivar max_jobs: jobs that may run at once, as many as `max_unread_input` has room for.
    """

    def __init__(
        self,
        window: int,
        max_sessions_per_key: int = MAX_SESSIONS_PER_KEY,
        max_unread_input: int = MAX_UNREAD_INPUT_BYTES,
    ) -> None:
        self.max_sessions_per_key = max_sessions_per_key
        self.max_jobs = max_unread_input // window
        self._sessions: Counter[str] = Counter()
        self._jobs = 0
        self._waiting: list[Deferred[None]] = []

    def enter_session(self, key: str) -> bool:
        """Count one more session of a key, if it may have one more.

        :param key: the key's fingerprint.
        :returns: whether it may; then call :meth:`leave_session` once, when the session has ended.
        """
        if self._sessions[key] >= self.max_sessions_per_key:
            return False
        self._sessions[key] += 1
        return True

    def leave_session(self, key: str) -> None:
        """Count out a session that has ended.

        :param key: the fingerprint that the session was counted with.
        """
        self._sessions[key] -= 1
        if not self._sessions[key]:
            del self._sessions[key]

    def enter_job(self) -> bool:
        """Count one more job, if there may be one more.

        :returns: whether there may; then call :meth:`leave_job` once, when the job has ended.
        """
        if self._jobs >= self.max_jobs:
            return False
        self._jobs += 1
        return True

    def leave_job(self) -> None:
        """Count out a job that has ended."""
        self._jobs -= 1
        if not self._jobs:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    def when_idle(self) -> Deferred[None]:
        """Wait until no job runs, not even one of a client that is gone.

        :returns: fires then, at once if none runs now.
        """
        if not self._jobs:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting
