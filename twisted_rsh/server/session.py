"""A session at the server: what a login began, over one link after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from twisted_rsh.core.messages import Resume, ResumeOk
from twisted_rsh.core.requests import Disconnection, Keep
from twisted_rsh.core.resuming import LinkBinding, ServerProof
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.link.framed_link import FramedLink
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.server.capacity import Capacity
from twisted_rsh.server.jobs import SessionJobs
from twisted_rsh.server.strangers import source_of
from twisted_rsh.trust.cred import VerifiedKey

__all__ = ["IDLE_SECONDS", "RETENTION_SECONDS", "SHOWN_ID_DIGITS", "DurableSession", "LoggedIn"]

RETENTION_SECONDS = 600.0
"""Seconds for which the last output and the ending of a job wait for a client that is away, from the last ending on."""

IDLE_SECONDS = 60.0
"""Seconds for which a session without a link is kept that has no job and nothing to tell."""

SHOWN_ID_DIGITS = 8
"""Hexadecimal digits of a session's identifier in the log and in lists: enough to tell sessions apart."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """What a login has led to.

    :ivar user: the user object.
    :ivar logout: to be called once, when the session is over.
    :ivar credentials: the key, to be looked at again at each resume.
    :ivar account: how the log calls the client, such as ``"ada from 127.0.0.1:50000"``.
    """

    user: IShellUser
    logout: Callable[[], object]
    credentials: VerifiedKey
    account: str


class DurableSession:
    """One session.  Its jobs, and what they have to tell, outlive its links.

    When a link is gone each job has the grace that its client asked for, and the session waits for a resume: as long as
    one of its jobs goes on, and a limited time for what there is to tell.  It is over when the client or the server
    says so, when it has waited long enough, and when its client broke the protocol: of a client that does that nothing
    more is believed, and an honest one never does.

    :param clock: keeps the time, usually the reactor.
    :param identifier: the session's identifier.
    :param core: the session's core.
    :param proof: knows who may resume it.
    :param login: who began it.
    :param capacity: where the session and its jobs have been counted.
    :param log_commands: whether the log names the commands.
    :param detached: called, with this object, each time that it has lost its link and stays.
    :param forgotten: called once, with this object, when it is over.
    :ivar identifier: as above.
    :ivar login: as above.
    :ivar jobs: what runs.
    :ivar over: whether it has ended; it is not resumed any more.
    :ivar source: where its last link came from, as far as limits for each source go.
    :ivar detached_at: when it lost its last link, on the clock; ``None`` while it has one.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        identifier: bytes,
        core: ServerSession,
        proof: ServerProof,
        login: LoggedIn,
        *,
        capacity: Capacity,
        log_commands: bool,
        detached: Callable[[DurableSession], None],
        forgotten: Callable[[DurableSession], None],
    ) -> None:
        self.identifier = identifier
        self.login = login
        self.over = False
        self.source: str | None = None
        self.detached_at: float | None = None
        self._clock = clock
        self._core = core
        self._proof = proof
        self._capacity = capacity
        self._detached = detached
        self._forgotten = forgotten
        self._pump = SessionPump(core, clock)
        self._link: FramedLink | None = None
        self._peer = login.credentials.peer
        self._attached_at = clock.seconds()
        self._unconfirmed = False
        self._client_has_left = False
        self._ended_unheard = False
        self._last_ending = self._kept_until = self._attached_at
        self._expiry: IDelayedCall | None = None
        self.jobs = SessionJobs(
            core,
            login.user,
            clock,
            self._pump.flush,
            self._client_left,
            self._job_finished,
            capacity=capacity,
            account=login.account,
            log_commands=log_commands,
        )

    @property
    def shown_id(self) -> str:
        """The beginning of its identifier, for the log."""
        return self.identifier.hex()[:SHOWN_ID_DIGITS]

    # For its links.

    def begin(self, link: FramedLink) -> None:
        """Begin, over the link of the login; write the answer to it behind this."""
        self._attach(link)
        self._pump.start(link, self.jobs)

    def frame_received(self, link: FramedLink, payload: bytes) -> None:
        """Take the payload of one frame.

        :param link: where it arrived; nothing happens if that is not the session's link any more.
        :raises RemoteProtocolError: the client broke the protocol.
        """
        if self._unconfirmed and link is self._link:
            self._unconfirmed = False
            self._proof.confirm()
        self._pump.frame_received(link, payload)

    def frames_received(self) -> None:
        """Write what the frames that arrived together have led to."""
        self._pump.flush()

    def link_ended(self, link: FramedLink, reason: str, *, broken: bool) -> None:
        """Learn that a link is gone.  Nothing happens if it was not the session's any more.

        :param reason: one line for the log.
        :param broken: whether the protocol was broken on it, or the program: then the session is over.
        """
        if link is not self._link:
            return
        self._link = None
        self._pump.stop()
        if self.over or self._client_has_left:
            return
        longest = self._core.limits.detach_seconds
        if broken or not longest:
            self.end(reason)
            return
        self.log.info(
            "session {session} of {account} lost its link: {reason!r}; {count} jobs",
            session=self.shown_id,
            account=self.login.account,
            reason=reason,
            count=self.jobs.count,
        )
        self.detached_at = self._clock.seconds()
        self.jobs.detach(longest)
        self._plan_expiry()
        self._detached(self)

    # To go on over another link.

    def is_claimed_by(self, claim: Resume, binding: LinkBinding) -> bool:
        """Tell whether a resume comes from the session's client, is new, and was made for this connection."""
        verified = self._proof.verifies(claim, binding)
        return verified and not self.over and not self._client_has_left

    def resume(
        self, link: FramedLink, claim: Resume, binding: LinkBinding, fresh: bytes, answer: Callable[[ResumeOk], None]
    ) -> None:
        """Go on over another link, in place of the one that there may still be.

        :param link: the new one.
        :param claim: what :meth:`is_claimed_by` holds of.
        :param binding: what ties the claim to the new link.
        :param fresh: the secret of the new link.
        :param answer: writes the answer to the new link.
        :raises RemoteProtocolError: the client's positions cannot be; nothing has changed.
        """
        self._core.check_positions(claim.positions)
        old = self._link
        away = 0.0 if self.detached_at is None else self._clock.seconds() - self.detached_at
        self._attach(link)
        self._pump.stop()
        if old is not None:
            old.fail("the session goes on over another link")
        self._plan_expiry()
        self.jobs.attach()
        self.log.info(
            "session {session} of {account} resumed from {peer} after {seconds:.0f} s",
            session=self.shown_id,
            account=self.login.account,
            peer=self._peer,
            seconds=away,
        )
        answer(self._proof.accept(claim, binding, self._core.positions(), fresh))
        self._unconfirmed = True
        self._pump.resume(link, claim.positions)

    # The end.

    def end(self, reason: str, text: str = "") -> None:
        """End the session: its jobs are ended, and it is resumed no more.  Nothing happens when it is over.

        :param reason: one line for the log.
        :param text: one line for the client, if it has a link.
        """
        if self.over:
            return
        self.over = True
        self._plan_expiry()
        self.log.info(
            "session {session} of {account} is over: {reason!r}",
            session=self.shown_id,
            account=self.login.account,
            reason=reason,
        )
        if self._link is not None and not self._client_has_left:
            self._pump.leave(text)
        self._forgotten(self)
        self._capacity.leave_session(self.login.credentials.fingerprint)
        # The application's, like the user object: its error must not keep the jobs.
        with self.log.failuresHandled("logging {account} out broke the program", account=self.login.account):
            self.login.logout()
        self.jobs.disown()

    def describe(self) -> dict[str, object]:
        """Return what its owner's account may know of it, for :mod:`twisted_rsh.server.control`."""
        since = self._attached_at if self.detached_at is None else self.detached_at
        return {
            "id": self.identifier.hex(),
            "user": self.login.user.name,
            "key": self.login.credentials.fingerprint,
            "peer": self._peer,
            "attached": self.detached_at is None,
            "seconds": round(self._clock.seconds() - since, 3),
            "jobs": self.jobs.describe(),
        }

    def _attach(self, link: FramedLink) -> None:
        self._link = link
        self._peer = link.peer
        self.source = source_of(link.tls.getPeer())
        self._attached_at = self._clock.seconds()
        self.detached_at = None
        self._ended_unheard = False

    def _client_left(self, _text: str) -> None:
        link = self._link
        assert link is not None
        self._client_has_left = True
        self.detached_at = self._clock.seconds()
        if self._core.limits.detach_seconds:
            self.jobs.leave()
        if self.jobs.has_kept and self._core.limits.detach_seconds:
            self._detached(self)
        else:
            self.end("the client left")
        link.close()

    def _job_finished(self, policy: Disconnection) -> None:
        now = self._clock.seconds()
        self._last_ending = now
        if self.detached_at is None or self.over:
            return
        self._ended_unheard = True
        if isinstance(policy, Keep):
            self._kept_until = now + min(RETENTION_SECONDS, self._core.limits.detach_seconds)
        if self._client_has_left and not self.jobs.count:
            self.end("the client left, and its last job has ended")
        else:
            self._plan_expiry()

    def _plan_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if self.over or self.detached_at is None or self._client_has_left or self.jobs.has_kept:
            return
        latest = max(self.detached_at + self._core.limits.detach_seconds, self._kept_until)
        at = self.detached_at + IDLE_SECONDS
        if self.jobs.count:
            at = latest
        elif self._ended_unheard or self._core.has_channels:
            at = max(at, self._last_ending + RETENTION_SECONDS)
        delay = max(min(at, latest) - self._clock.seconds(), 0.0)
        self._expiry = self._clock.callLater(delay, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.end("nobody resumed it in time")
