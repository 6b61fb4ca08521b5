"""One session at the server: it begins with a login, goes on over one link after the other, and ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from twisted_rsh.core.events import RoomGained
from twisted_rsh.core.messages import Positions, Resume, ResumeOk
from twisted_rsh.core.requests import Keep
from twisted_rsh.core.resuming import LinkBinding, ServerProof
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.log_level import leveled_log
from twisted_rsh.server.job import ChannelJob
from twisted_rsh.server.jobs import SessionJobs
from twisted_rsh.server.permission import CannotLimit, runner_for
from twisted_rsh.server_events import SessionBegan, SessionDetached, SessionEnded, SessionInfo, SessionResumed
from twisted_rsh.trust.cred import VerifiedKey, VerifiedPeer

if TYPE_CHECKING:
    from twisted_rsh.server.link import ServerLink
    from twisted_rsh.server.sessions import Sessions

__all__ = [
    "IDLE_SECONDS",
    "KEY_NARROWED",
    "MAX_SHOWN_CHARACTERS",
    "RETENTION_SECONDS",
    "SHOWN_ID_DIGITS",
    "DurableSession",
    "LoggedIn",
]

# Not an attribute of the class: an event would hold the object that logged it.
_log = Logger(f"{__name__}.DurableSession", observer=leveled_log)

RETENTION_SECONDS = 600.0
"""Seconds for which the last output and the ending of a job wait for a client that is away, from the last ending on."""

IDLE_SECONDS = 60.0
"""Seconds for which a session without a link, without jobs and with nothing to tell is kept."""

KEY_NARROWED = "what your key may do has changed; connect again"
"""The line for a client whose session ends because its key may do less than before."""

SHOWN_ID_DIGITS = 8
"""Hexadecimal digits of a session's identifier in the log and in lists: enough to tell sessions apart."""


MAX_SHOWN_CHARACTERS = 256
"""Characters of a user's name in a list: an application may give a name of any length."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The result of a login.

    :ivar user: the portal's user object.
    :ivar logout: to be called once, when the session is over.
    :ivar credentials: the key, or the user at a Unix socket, which the portal judges again at each resume, and what it
        may do.
    :ivar account: the client's name in the log, such as ``"ada from 127.0.0.1:50000"``.
    :ivar runner: the user object that runs the jobs (:func:`twisted_rsh.server.permission.runner_for`).
    """

    user: IShellUser
    logout: Callable[[], object]
    credentials: VerifiedKey | VerifiedPeer
    account: str
    runner: IShellUser


class DurableSession:
    """One session.  Its jobs, and what they have to tell, outlive its links.

    When a link is gone, each job has the grace that its client asked for, and the session waits for a resume: as long
    as one of its jobs goes on, and a limited time for output and endings that the client has not received.  The session
    is over when the client or the server ends it, when it has waited long enough, and when its client breaks the
    protocol: an honest client never does, and the server believes nothing more of one that has.

    :param sessions: all sessions of the server.
    :param identifier: the session's identifier.
    :param core: the session's core.
    :param secret: the secret of the login's link, by which a client proves that it may resume the session.
    :param login: the result of the login.
    :param number: counts the sessions of the server.
    :ivar sessions: as above.
    :ivar identifier: as above.
    :ivar core: as above.
    :ivar login: as above.
    :ivar number: as above.
    :ivar pump: carries what the core says to the link.
    :ivar jobs: the jobs that run.
    :ivar over: whether the session has ended; no client can resume it any more.
    :ivar source: the source that its last link counted for, or ``None``.
    :ivar detached_at: the time at which it lost its last link, on the clock; ``None`` while it has one.
    """

    # A dictionary would take a tenth of what an idle session takes of Python's memory here.
    __slots__ = (
        "__weakref__",
        "_attached_at",
        "_began_at",
        "_client_has_left",
        "_clock",
        "_ended_unheard",
        "_expiry",
        "_kept_until",
        "_last_ending",
        "_link",
        "_peer",
        "_proof",
        "_unconfirmed",
        "_unfinished_bytes",
        "core",
        "detached_at",
        "identifier",
        "jobs",
        "login",
        "number",
        "over",
        "pump",
        "sessions",
        "source",
    )

    def __init__(
        self,
        sessions: Sessions,
        identifier: bytes,
        core: ServerSession,
        secret: bytes,
        login: LoggedIn,
        number: int = 0,
    ) -> None:
        self.sessions = sessions
        self.identifier = identifier
        self.core = core
        core.reserve = sessions.capacity.reserve.part()
        self.login = login
        self.number = number
        self.pump = SessionPump(core, sessions.clock)
        self.jobs = SessionJobs(self)
        self.over = False
        self.source: str | None = None
        self.detached_at: float | None = None
        self._clock = sessions.clock
        self._proof = ServerProof(identifier, secret)
        self._link: ServerLink | None = None
        self._unconfirmed: ServerLink | None = None
        self._unfinished_bytes = 0
        self._peer = login.credentials.peer
        self._began_at = self._attached_at = self._clock.seconds()
        self._client_has_left = False
        self._ended_unheard = False
        self._last_ending = self._kept_until = self._attached_at
        self._expiry: IDelayedCall | None = None

    @property
    def shown_id(self) -> str:
        """The beginning of its identifier, for the log."""
        return self.identifier.hex()[:SHOWN_ID_DIGITS]

    @property
    def is_active(self) -> bool:
        """Whether it has a link or a job that runs; otherwise it only waits to tell how its jobs ended."""
        return self.detached_at is None or self.jobs.count > 0

    @property
    def peer(self) -> str:
        """The last address of the client."""
        return self._peer

    @property
    def info(self) -> SessionInfo:
        """What identifies the session for observers."""
        return SessionInfo(id=self.identifier.hex(), user=self.login.user.name, key=self.login.credentials.fingerprint)

    # For its links to call.

    def begin(self, link: ServerLink) -> None:
        """Begin.  Write the answer to the login next.

        :param link: the link of the login.
        """
        self._attach(link)
        self.pump.start(link, self.jobs)
        if self.sessions.observers is not None:
            self.sessions.observers.report(SessionBegan(session=self.info, peer=self._peer))

    def frame_received(self, link: ServerLink, payload: bytes) -> None:
        """Act on one frame.

        :param link: the link that received it.
        :param payload: the frame without its length.
        :raises ProtocolError: the client broke the protocol.
        """
        if self._unconfirmed is link:
            # The client has the answer to its last resume.
            self._unconfirmed = None
            self._proof.confirm()
        self.pump.frame_received(link, payload)
        if self.core.unfinished_bytes != self._unfinished_bytes:
            self._count_unfinished()

    def link_ended(self, link: ServerLink, reason: str, *, broken: bool) -> None:
        """Go on without a link that is gone.  Nothing happens if the session has another link by now.

        :param reason: one line for the log.
        :param broken: whether the client broke the protocol, or the program, on this link: then the session is over.
        """
        if link is not self._link:
            return
        self._link = self._unconfirmed = None
        was_full = self.core.is_link_full
        self.pump.stop()
        if self.over or self._client_has_left:
            self._release()
            return
        longest = self.core.limits.detach_seconds
        if broken or not longest:
            self.end(reason)
            return
        _log.info(
            "session {session} of {account} lost its link: {reason!r}; {count} jobs",
            session=self.shown_id,
            account=self.login.account,
            reason=reason,
            count=self.jobs.count,
        )
        self._detached(reason)
        self.jobs.detach(longest)
        if was_full:  # the outputs that have waited for it go on while there is credit
            self.jobs.happened(RoomGained(None, None))
        self._plan_expiry()

    # For the sessions to call, which bound the messages that are not complete.

    def hold(self) -> None:
        """Read nothing more from the link, nor from a later one, until :meth:`read_on`."""
        if self._link is not None:
            self._link.hold()

    def read_on(self) -> None:
        """Read from the link again."""
        if self._link is not None:
            self._link.go_on()

    # The resume.

    def is_claimed_by(self, claim: Resume, binding: LinkBinding) -> bool:
        """Tell whether a resume comes from the session's client, is new, and was made for this connection."""
        verified = self._proof.verifies(claim, binding)
        return verified and not self.over and not self._client_has_left

    def take_link(self, link: ServerLink, claim: Resume, binding: LinkBinding, fresh: bytes) -> ResumeOk:
        """Take another link, in place of the one that the session may still have.

        :param link: the new one.
        :param claim: a resume that :meth:`is_claimed_by` accepts.
        :param binding: ties the resume to the new link.
        :param fresh: the secret of the new link.
        :returns: the answer; write it to the new link, then call :meth:`go_on`.
        :raises RemoteProtocolError: the client's positions are impossible; nothing has changed.
        """
        self.core.check_positions(claim.positions)
        old = self._link
        away = None if self.detached_at is None else self._clock.seconds() - self.detached_at
        self._attach(link)
        if old is not None:
            self.pump.stop()
            old.fail("the session goes on over another link")
        self._plan_expiry()
        self.jobs.attach()
        _log.info(
            "session {session} of {account} resumed from {peer} after {seconds:.0f} s",
            session=self.shown_id,
            account=self.login.account,
            peer=self._peer,
            seconds=away or 0.0,
        )
        if self.sessions.observers is not None:
            self.sessions.observers.report(SessionResumed(session=self.info, peer=self._peer, away=away))
        return self._proof.accept(claim, binding, self.core.positions(), fresh)

    def go_on(self, link: ServerLink, peer: Positions) -> None:
        """Go on over the link that the session has taken.

        :param link: that link.
        :param peer: the client's positions, as in its resume.
        """
        self._unconfirmed = link
        self.pump.resume(link, peer)
        if self.sessions.holds(self):
            link.hold()

    def renew(self, credentials: VerifiedKey | VerifiedPeer) -> bool:
        """Let the session have what its key may do by now, or end it if that is less than before or cannot be kept.

        What runs goes on by what it was allowed when it was started, so a key that may do less loses its session.

        :param credentials: the key as the portal has just judged it.
        :returns: whether the session goes on.
        """
        policy, before = credentials.policy, self.login.credentials.policy
        if not policy.allows_no_less_than(before):
            self.end("its key may do less than before", KEY_NARROWED)
            return False
        try:
            runner = self.login.runner if policy == before else runner_for(self.login.user, policy, self.sessions)
        except CannotLimit as problem:
            self.end("the limits of its key cannot be kept", str(problem))
            return False
        self.login = replace(self.login, credentials=credentials, runner=runner)
        return True

    # The end.

    def end(self, reason: str, text: str = "") -> None:
        """End the session and its jobs; no client can resume it any more.  Nothing happens when it is over.

        :param reason: one line for the log.
        :param text: one line for the client, if it has a link.
        """
        if self.over:
            return
        self.over = True
        self._plan_expiry()
        _log.info(
            "session {session} of {account} is over: {reason!r}",
            session=self.shown_id,
            account=self.login.account,
            reason=reason,
        )
        if self.sessions.observers is not None:
            carried = {stream.name.lower(): size for stream, size in self.jobs.bytes_carried().items()}
            seconds = self._clock.seconds() - self._began_at
            was_detached = self.detached_at is not None
            self.sessions.observers.report(
                SessionEnded(
                    session=self.info,
                    peer=self._peer,
                    reason=reason,
                    seconds=seconds,
                    was_detached=was_detached,
                    **carried,
                )
            )
        if self._link is not None and not self._client_has_left:
            self.pump.leave(text)
        self.sessions.session_ended(self)
        # The logout is an application's, like the user object: its error must not keep the jobs.
        with _log.failuresHandled("logging {account} out broke the program", account=self.login.account):
            self.login.logout()
        self.jobs.disown()
        if self._link is None:
            self._release()

    def abort(self, reason: str) -> None:
        """End the session, its jobs and its link at once.

        :param reason: one line for the log.
        """
        self.end(reason)
        if self._link is not None:
            self._link.fail(reason)

    def describe(self) -> dict[str, object]:
        """Return what the server's own account may know of the session, for :mod:`twisted_rsh.server.control`."""
        since = self._attached_at if self.detached_at is None else self.detached_at
        return {
            "id": self.identifier.hex(),
            "user": self.login.user.name[:MAX_SHOWN_CHARACTERS],
            "key": self.login.credentials.fingerprint,
            "peer": self._peer,
            "attached": self.detached_at is None,
            "seconds": round(self._clock.seconds() - since, 3),
            "age": round(self._clock.seconds() - self._began_at, 3),
            **{stream.name.lower(): size for stream, size in self.jobs.bytes_carried().items()},
            "jobs": self.jobs.describe(),
        }

    # For its jobs to call.

    def client_left(self) -> None:
        """End the session because its client has said so, or let it wait for the jobs that are kept."""
        link = self._link
        assert link is not None
        self._client_has_left = True
        self.jobs.leave()
        if self.jobs.has_kept:
            self._detached("the client left")
        else:
            self.end("the client left")
        link.close()

    def job_finished(self, job: ChannelJob) -> None:
        """Plan anew how long to wait for a resume, now that a job has ended."""
        now = self._clock.seconds()
        self._last_ending = now
        if self.detached_at is None or self.over:
            return
        self._ended_unheard = True
        if isinstance(job.on_disconnect, Keep):
            self._kept_until = now + min(RETENTION_SECONDS, self.core.limits.detach_seconds)
        if self._client_has_left and not self.jobs.count:
            self.end("the client left, and its last job has ended")
        else:
            self._plan_expiry()

    def _detached(self, reason: str) -> None:
        self.detached_at = self._clock.seconds()
        if self.sessions.observers is not None:
            self.sessions.observers.report(
                SessionDetached(session=self.info, peer=self._peer, reason=reason, jobs=self.jobs.count)
            )

    def _release(self) -> None:
        """Forget what only a resume would need: no client can resume the session any more."""
        self.core.release()
        self._count_unfinished()

    def _count_unfinished(self) -> None:
        self._unfinished_bytes = self.core.unfinished_bytes
        self.sessions.unfinished_changed(self, self._unfinished_bytes)

    def _attach(self, link: ServerLink) -> None:
        self._link = link
        self._peer = link.peer
        self.source = link.source
        self._attached_at = self._clock.seconds()
        self.detached_at = None
        self._ended_unheard = False

    def _plan_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self.over or self.detached_at is None or self._client_has_left or self.jobs.has_kept:
            return
        latest = max(self.detached_at + self.core.limits.detach_seconds, self._kept_until)
        at = self.detached_at + IDLE_SECONDS
        if self.jobs.count:
            at = latest
        elif self._ended_unheard or self.core.has_channels:
            at = max(at, self._last_ending + RETENTION_SECONDS)
        delay = max(min(at, latest) - self._clock.seconds(), 0.0)
        self._expiry = self._clock.callLater(delay, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.end("no client resumed it in time")
