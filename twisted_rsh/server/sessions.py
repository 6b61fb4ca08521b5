"""The sessions of a server, with a link and without: how many there may be, how to find one, and how to end some."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from twisted_rsh.core.limits import PROOF_BYTES, SESSION_ID_BYTES
from twisted_rsh.core.messages import Resume
from twisted_rsh.core.resuming import LinkBinding, ServerProof
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.limited_log import TRACEBACKS_A_MINUTE, RateLimitedLog
from twisted_rsh.link.turns import Turns
from twisted_rsh.log_level import leveled_log
from twisted_rsh.server.capacity import MAX_SESSIONS, MAX_SESSIONS_PER_KEY, Capacity
from twisted_rsh.server.deadlines import Deadlines
from twisted_rsh.server.job import ENDS_HELD_SECONDS, OPENED_HELD_SECONDS
from twisted_rsh.server.memory import MemoryReturn
from twisted_rsh.server.observers import Observers
from twisted_rsh.server.portal import KeyCheck, check_key_again
from twisted_rsh.server.session import DurableSession, LoggedIn
from twisted_rsh.server_events import BoundUse

__all__ = ["KEY_REVOKED", "MAX_UNFINISHED_BYTES", "OVERRUN_BYTES", "STALLED_SECONDS", "WAITED_SECONDS", "Sessions"]

_log = Logger(namespace=__name__, observer=leveled_log)

RECHECKED_AT_ONCE = 30
"""Sessions whose keys are checked again in one turn of the reactor: at most 10 ms, as a look at the files takes up to
0.3 ms."""

MAX_UNFINISHED_BYTES = 48 * 1024 * 1024
"""Bytes that all sessions together may hold of control messages whose last parts have not arrived: 48 scripts of 1 MiB
that arrive at the same time.  One session holds no more than ``MAX_CONTROL_BYTES``.  Beyond it the sessions wait for
one another, each with :data:`OVERRUN_BYTES` more."""

OVERRUN_BYTES = 128 * 1024
"""Bytes that a session holds at most when it begins to wait: what its link has read in one piece, twice."""

STALLED_SECONDS = 10.0
"""Seconds without a further part after which a session, for whose message others wait, is ended.  The parts of a
message follow each other at once."""

WAITED_SECONDS = 30.0
"""Seconds for which others wait for one session's message at most: 1.8 MiB at 60 KiB/s.  A link may be silent for
longer; of those that wait, neither pings nor answers are read."""

KEY_REVOKED = "your key is not authorized any more"
"""The line for a client whose session ends because its key may not log in any more."""


class Sessions:
    """Knows every session of a server from its login to its end.

    :param clock: keeps the time, usually the reactor.
    :param capacity: counts the jobs.
    :param max_sessions: sessions that there may be at once.
    :param max_sessions_per_key: sessions of one key that may have a link or a job at once.
    :param log_commands: whether the log names the commands.
    :param observers: are told of sessions and jobs, or ``None``.
    :ivar clock: as above.
    :ivar capacity: as above.
    :ivar log_commands: as above.
    :ivar observers: as above.
    :ivar memory: gives memory of ended sessions back; ``None``, as at first, to leave that to the C library.
    :ivar answers: the times at which jobs answer that they run, at the latest.
    :ivar ends: the times at which jobs send the ends of their streams, at the latest.
    :ivar turns: divides the reactor's turns among links, and the ends of many jobs among turns.
    """

    def __init__(
        self,
        clock: IReactorTime,
        capacity: Capacity,
        *,
        max_sessions: int = MAX_SESSIONS,
        max_sessions_per_key: int = MAX_SESSIONS_PER_KEY,
        log_commands: bool = False,
        observers: Observers | None = None,
    ) -> None:
        self.clock = clock
        self.capacity = capacity
        self.log_commands = log_commands
        # An expired key has the portal asked again and again.
        self._broken = RateLimitedLog(_log, clock.seconds, TRACEBACKS_A_MINUTE)
        self.observers = observers
        self._max = max_sessions
        self._max_per_key = max_sessions_per_key
        self._of_key: Counter[str] = Counter()
        self._sessions: dict[bytes, DurableSession] = {}  # in the order of their numbers
        self._begun = 0
        self._jobs_of_key: Counter[str] = Counter()
        self.turns = Turns(clock)
        self.answers = Deadlines(clock, OPENED_HELD_SECONDS)
        self.ends = Deadlines(clock, ENDS_HELD_SECONDS)
        self.memory: MemoryReturn | None = None
        # The message that began first comes first.
        self._unfinished: dict[DurableSession, int] = {}
        self._unfinished_bytes = 0
        self._grown_at: dict[DurableSession, float] = {}
        self._held: set[DurableSession] = set()
        self._awaited: DurableSession | None = None
        self._awaited_since = 0.0
        self._patience: IDelayedCall | None = None
        self._decoy = ServerProof(bytes(SESSION_ID_BYTES), secrets.token_bytes(PROOF_BYTES))

    def __iter__(self) -> Iterator[DurableSession]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def set_bounds(self, max_sessions: int, max_sessions_per_key: int) -> None:
        """Bound further sessions by other numbers; those that exist stay.

        :param max_sessions: as for the class.
        :param max_sessions_per_key: as for the class.
        """
        self._max = max_sessions
        self._max_per_key = max_sessions_per_key

    def after(self, number: int) -> Iterator[DurableSession]:
        """Give the sessions that began after one, in the order in which they began.

        :param number: the :attr:`~twisted_rsh.server.session.DurableSession.number` of that one; 0 for all sessions.
        """
        return (session for session in self._sessions.values() if session.number > number)

    @property
    def held(self) -> int:
        """The sessions from which nothing is read, because the messages of others have not arrived completely."""
        return len(self._held)

    def bounds(self) -> list[BoundUse]:
        """Return these bounds, and how far each is used: that of a key by the key that has most."""
        active = Counter(one.login.credentials.fingerprint for one in self._sessions.values() if one.is_active)
        return [
            BoundUse(option="--max-sessions", used=len(self), allowed=self._max, unit="sessions"),
            BoundUse(
                option="--max-sessions-per-key",
                used=max(active.values(), default=0),
                allowed=self._max_per_key,
                unit="sessions",
            ),
        ]

    def bound_reached(self, key: str, most: int | None = None) -> str | None:
        """Tell whether a key may begin no further session now.

        :param key: the key's fingerprint.
        :param most: sessions that its line in ``authorized_keys`` allows; ``None`` for as many as the server.
        :returns: one line for the client that names the bound; ``None`` if the key may.
        """
        if len(self) >= self._max:
            return f"the server has {len(self)} sessions, as many as its --max-sessions allows; try again later"
        # The first count holds those that only wait to tell how their jobs ended, and is enough most of the time.
        limit = self._max_per_key if most is None else min(most, self._max_per_key)
        if self._of_key[key] >= limit:
            active = sum(one.is_active and one.login.credentials.fingerprint == key for one in self._sessions.values())
            if active >= limit:
                bound = "as many as the server's --max-sessions-per-key allows"
                if limit != self._max_per_key:
                    bound = "as many as its max-sessions in authorized_keys allows"
                return f"this key has {active} sessions, {bound}; try again later"
        return None

    def new_identifier(self) -> bytes:
        """Make the identifier of a new session, which no client can guess."""
        return secrets.token_bytes(SESSION_ID_BYTES)

    def begin(self, identifier: bytes, core: ServerSession, secret: bytes, login: LoggedIn) -> DurableSession:
        """Make the session of a login.  Ask :meth:`bound_reached` first.

        :param identifier: its identifier (:meth:`new_identifier`).
        :param core: its core.
        :param secret: the secret of the login's link.
        :param login: the result of the login.
        """
        self._begun += 1
        session = DurableSession(self, identifier, core, secret, login, self._begun)
        self._sessions[identifier] = session
        self._of_key[login.credentials.fingerprint] += 1
        return session

    def enter_job(self, session: DurableSession, most: int) -> str | None:
        """Count a job of a key whose jobs are limited.

        :param session: the session that starts it.
        :param most: jobs that the key may have at once.
        :returns: ``None`` if it may have one more; then call :meth:`leave_job` once, when the job has ended.  Otherwise
            one line for the client.
        """
        key = session.login.credentials.fingerprint
        if self._jobs_of_key[key] >= most:
            count = self._jobs_of_key[key]
            return f"your key has {count} jobs, as many as its max-jobs in authorized_keys allows; try again later"
        self._jobs_of_key[key] += 1
        return None

    def leave_job(self, session: DurableSession) -> None:
        """Count out a job that :meth:`enter_job` counted."""
        key = session.login.credentials.fingerprint
        self._jobs_of_key[key] -= 1
        if not self._jobs_of_key[key]:
            del self._jobs_of_key[key]

    def any_expired(self) -> bool:
        """Tell whether a session has a key whose time is over, so that :meth:`recheck_keys` is due."""
        now = time.time()
        return any(session.login.credentials.policy.is_over(now) for session in self._sessions.values())

    def find_resumable(self, claim: Resume, binding: LinkBinding) -> DurableSession | None:
        """Find the session that a resume may go on with.

        For an identifier that no session has, the same work is done with a secret that no client knows, so that
        neither the answer nor its time tells which identifiers exist.

        :param claim: the resume.
        :param binding: ties the resume to its connection.
        :returns: ``None`` if there is none, or the proof is wrong, made for another connection, or old.
        """
        session = self._sessions.get(claim.session)
        if session is None:
            self._decoy.verifies(claim, binding)
            return None
        return session if session.is_claimed_by(claim, binding) else None

    def any_from(self, source: str | None) -> bool:
        """Tell whether the last link of a session, also of one without a link now, came from a source."""
        return any(session.source == source for session in self._sessions.values())

    def end_all(self, reason: str, text: str) -> None:
        """End every session.

        :param reason: one line for the log.
        :param text: one line for the clients.
        """
        for session in self:
            session.end(reason, text)

    def recheck_keys(self, portal: Portal) -> Deferred[int]:
        """End every session whose key may not log in any more, or may do less than before.

        A session stays if the portal breaks when it is asked about its key.

        :param portal: decides about the keys.
        :returns: fires with the number of sessions that were ended.
        """

        async def recheck() -> int:
            checks = []
            for number, session in enumerate(self):
                if number and not number % RECHECKED_AT_ONCE:
                    await deferLater(self.clock, 0)
                if not session.over:
                    checks.append(self._recheck(session, portal))
            return sum(await gatherResults(checks))

        return Deferred.fromCoroutine(recheck())

    def _recheck(self, session: DurableSession, portal: Portal) -> Deferred[bool]:
        def act(check: KeyCheck) -> bool:
            if session.over:
                return False
            if check is KeyCheck.REFUSED:
                session.end("its key is not authorized any more", KEY_REVOKED)
            elif check is KeyCheck.AUTHORIZED:
                session.renew(credentials)
            return session.over

        credentials = session.login.credentials.unrestricted()
        return check_key_again(portal, credentials, self._broken).addCallback(act)

    def rest(self) -> None:
        """Leave no call of the clock behind for deadlines of jobs that have ended."""
        self.answers.rest()
        self.ends.rest()

    # For the sessions to call.

    def holds(self, session: DurableSession) -> bool:
        """Tell whether nothing is read from a session, because the messages of others have not arrived completely."""
        return session in self._held

    def unfinished_changed(self, session: DurableSession, size: int) -> None:
        """Count the bytes of a message that has begun to arrive at a session.

        While all sessions together hold more than :data:`MAX_UNFINISHED_BYTES`, only the one whose message began first
        is read on; of the others, each that has sent a further part waits.  The first is ended if it lets them wait
        too long: an honest client completes a message in seconds.

        :param session: the session.
        :param size: bytes that it holds now; 0 when the message is complete, or the session is over.
        """
        before = self._unfinished.pop(session, 0) if not size else self._unfinished.get(session, 0)
        self._unfinished_bytes += size - before
        if size:
            self._unfinished[session] = size
            if size > before:
                self._grown_at[session] = self.clock.seconds()
        else:
            self._grown_at.pop(session, None)
            if session in self._held:  # all of its message had arrived
                self._held.discard(session)
                session.read_on()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._unfinished_bytes <= MAX_UNFINISHED_BYTES:
            self._awaited = None
            held, self._held = self._held, set()
            for each in held:
                each.read_on()
            return
        if size and session is not next(iter(self._unfinished)):
            self._held.add(session)
            session.hold()
        self._await_first()

    def _await_first(self) -> None:
        """Let the session read on whose message began first, and see that it does not let the others wait too long."""
        now = self.clock.seconds()
        first = next(iter(self._unfinished))
        if first in self._held:
            self._held.discard(first)
            self._grown_at[first] = now
            first.read_on()
        if first is not self._awaited:
            self._awaited, self._awaited_since = first, now
        left = min(self._grown_at[first] + STALLED_SECONDS, self._awaited_since + WAITED_SECONDS) - now
        # Never from here, where the end of one would end the next before it is complete: there may be thousands.
        self._patience = self.clock.callLater(max(left, 0.0), self._end_first, first)

    def _end_first(self, first: DurableSession) -> None:
        self._patience = None
        first.abort(f"others wait for its message, and all hold more than {MAX_UNFINISHED_BYTES} bytes of such")

    def session_ended(self, session: DurableSession) -> None:
        """Forget a session that is over; the session calls this."""
        del self._sessions[session.identifier]
        key = session.login.credentials.fingerprint
        self._of_key[key] -= 1
        if not self._of_key[key]:
            del self._of_key[key]
        if not self._sessions:
            self.rest()
        if self.memory is not None:
            self.memory.session_ended()
