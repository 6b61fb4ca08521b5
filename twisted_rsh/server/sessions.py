"""The sessions of a server, with a link and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from twisted_rsh.core.limits import PROOF_BYTES, SESSION_ID_BYTES
from twisted_rsh.core.messages import Resume
from twisted_rsh.core.resuming import LinkBinding, ServerProof
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.server.capacity import Capacity
from twisted_rsh.server.portal import KeyCheck, check_key_again
from twisted_rsh.server.session import DurableSession, LoggedIn

__all__ = ["KEY_REVOKED", "MAX_DETACHED_PER_KEY", "Sessions"]

MAX_DETACHED_PER_KEY = 16
"""Sessions of one key that may be there without a link; of more than that the one that lost its link first is ended.
Each may hold a window of each stream of its jobs."""

KEY_REVOKED = "your key is not authorized any more"
"""What a client is told whose key may not log in any more."""


class Sessions:
    """Knows every session of a server from its login to its end.

    :param clock: keeps the time, usually the reactor.
    :param capacity: counts the sessions and jobs.
    :param random_bytes: returns so many random bytes, such as ``secrets.token_bytes``.
    :param log_commands: whether the log names the commands.
    """

    def __init__(
        self,
        clock: IReactorTime,
        capacity: Capacity,
        random_bytes: Callable[[int], bytes],
        *,
        log_commands: bool = False,
    ) -> None:
        self._clock = clock
        self._capacity = capacity
        self._log_commands = log_commands
        self._sessions: dict[bytes, DurableSession] = {}
        self._nobody = ServerProof(bytes(SESSION_ID_BYTES), random_bytes(PROOF_BYTES))

    def __iter__(self) -> Iterator[DurableSession]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, identifier: bytes, core: ServerSession, secret: bytes, login: LoggedIn) -> DurableSession:
        """Make the session of a login, which the capacity has counted.

        :param identifier: its identifier, new.
        :param core: its core.
        :param secret: that of the link of the login.
        :param login: who began it.
        """
        session = DurableSession(
            self._clock,
            identifier,
            core,
            ServerProof(identifier, secret),
            login,
            capacity=self._capacity,
            log_commands=self._log_commands,
            detached=self._make_room,
            forgotten=self._forget,
        )
        self._sessions[identifier] = session
        return session

    def find_resumable(self, claim: Resume, binding: LinkBinding) -> DurableSession | None:
        """Find the session that a resume may go on with.

        For an identifier that nobody has the same is computed with a secret that nobody knows, so that neither the
        answer nor its time tells which identifiers there are.

        :param claim: the resume.
        :param binding: what ties it to its connection.
        :returns: ``None`` if there is none, or the proof is wrong, made for another connection, or old.
        """
        session = self._sessions.get(claim.session)
        if session is None:
            self._nobody.verifies(claim, binding)
            return None
        return session if session.is_claimed_by(claim, binding) else None

    def any_from(self, source: str | None) -> bool:
        """Tell whether a session, with a link or without, was last seen from a source."""
        return any(session.source == source for session in self._sessions.values())

    def end_all(self, reason: str, text: str) -> None:
        """End every session.

        :param reason: one line for the log.
        :param text: one line for the clients.
        """
        for session in self:
            session.end(reason, text)

    def recheck_keys(self, portal: Portal) -> Deferred[int]:
        """End every session whose key may not log in any more.

        A session stays whose key the portal cannot judge, because it broke.

        :param portal: whom to ask.
        :returns: fires with how many were ended.
        """
        return gatherResults([self._recheck(session, portal) for session in self]).addCallback(sum)

    def _recheck(self, session: DurableSession, portal: Portal) -> Deferred[bool]:
        def act(check: KeyCheck) -> bool:
            ends = check is KeyCheck.REFUSED and not session.over
            if ends:
                session.end("its key is not authorized any more", KEY_REVOKED)
            return ends

        return check_key_again(portal, session.login.credentials).addCallback(act)

    def _make_room(self, session: DurableSession) -> None:
        key = session.login.credentials.fingerprint
        detached = [
            (one.detached_at, number, one)
            for number, one in enumerate(self)
            if one.detached_at is not None and one.login.credentials.fingerprint == key
        ]
        if len(detached) > MAX_DETACHED_PER_KEY:
            _, _, oldest = min(detached)
            oldest.end(f"its key has more than {MAX_DETACHED_PER_KEY} sessions without a link")

    def _forget(self, session: DurableSession) -> None:
        del self._sessions[session.identifier]
