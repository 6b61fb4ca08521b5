"""The server's side of a link: a login or a resume, then a session.

The object that answers everything about jobs is made by a successful login and by nothing else, and found again by a
resume that proves to come from the same client; before that, the only frames that can be read at all are AUTH and
RESUME.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.cred.error import LoginFailed
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twisted_rsh.core.limits import SESSION_ID_BYTES, SessionLimits
from twisted_rsh.core.login import LoginState, ServerLogin
from twisted_rsh.core.messages import Auth, Resume, ResumeOk
from twisted_rsh.core.resuming import LinkBinding
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.link.framed_link import HANDSHAKE_SECONDS, LOGIN_SECONDS, Fault, FramedLink
from twisted_rsh.link.tls import exporter, link_secret
from twisted_rsh.server.capacity import MAX_BUFFERED_BYTES, MAX_SESSIONS_PER_KEY, Capacity
from twisted_rsh.server.portal import KeyCheck, check_key_again
from twisted_rsh.server.session import SHOWN_ID_DIGITS, DurableSession, LoggedIn
from twisted_rsh.server.sessions import Sessions
from twisted_rsh.server.strangers import MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE, Offence, RateLimitedLog
from twisted_rsh.trust.cred import VerifiedKey
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature
from twisted_rsh.trust.sshsig import verify_login

__all__ = ["ServerLink", "ServerSettings", "StrangerLog"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What every link of a server has in common.

    :ivar portal: decides who may log in, and as which user object.
    :ivar spki_sha256: SHA-256 of the server's public key.
    :ivar instance_id: names this run of the server.
    :ivar limits: the bounds of a session.
    :ivar handshake_seconds: the deadline of the TLS handshake, in seconds from the connection.
    :ivar login_seconds: the deadline of the login, in seconds from the connection.
    :ivar max_unauthenticated: connections that may exist at once without a login.
    :ivar max_unauthenticated_per_source: those of one source; any number from this machine.
    :ivar penalties: whether a source that misbehaves before it logs in is refused for a while.
    :ivar max_sessions_per_key: sessions that one key may have at once.
    :ivar max_buffered: bytes of input that all jobs together may leave unread.
    :ivar log_commands: whether the log names the commands that are run.
    """

    portal: Portal
    spki_sha256: bytes
    instance_id: str
    limits: SessionLimits
    handshake_seconds: float = HANDSHAKE_SECONDS
    login_seconds: float = LOGIN_SECONDS
    max_unauthenticated: int = MAX_UNAUTHENTICATED
    max_unauthenticated_per_source: int = MAX_UNAUTHENTICATED_PER_SOURCE
    penalties: bool = True
    max_sessions_per_key: int = MAX_SESSIONS_PER_KEY
    max_buffered: int = MAX_BUFFERED_BYTES
    log_commands: bool = False


class StrangerLog:
    """What strangers can make all links of a server write to its log, so much a minute of each kind.

    :param clock: tells the time, usually the reactor.
    :ivar aborted: a link was aborted.
    :ivar refused: a login was refused.
    :ivar not_resumed: a resume was refused.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.aborted = RateLimitedLog(FramedLink.log, clock)
        self.refused = RateLimitedLog(FramedLink.log, clock)
        self.not_resumed = RateLimitedLog(FramedLink.log, clock)


class ServerLink(FramedLink):
    """One connection of a client: at first a login or a resume, and then a session's.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param settings: what every link has in common.
    :param capacity: counts the sessions and jobs of all links.
    :param sessions: all sessions.
    :param random_bytes: returns so many random bytes, such as ``secrets.token_bytes``.
    :param logged_in: called once if the client logs in or resumes.
    :param gone: called once, with this object, when the connection is gone.
    :param offended: called with each thing that the client does wrong before it has logged in.
    :param lines: where what strangers cause is logged.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: ServerSettings,
        capacity: Capacity,
        sessions: Sessions,
        random_bytes: Callable[[int], bytes],
        logged_in: Callable[[], None],
        gone: Callable[[ServerLink], None],
        offended: Callable[[Offence], None],
        lines: StrangerLog,
    ) -> None:
        super().__init__(clock, settings.handshake_seconds, settings.login_seconds)
        self._settings = settings
        self._capacity = capacity
        self._sessions = sessions
        self._random_bytes = random_bytes
        self._logged_in = logged_in
        self._gone = gone
        self._offended = offended
        self._lines = lines
        self._tried = False
        self._login = ServerLogin()
        self._session: DurableSession | None = None
        self._farewell: Deferred[None] = Deferred()

    def ready(self) -> None:
        """Nothing to do: the client speaks first."""

    def frame_received(self, payload: bytes) -> None:
        """Read an AUTH, a RESUME, or whatever the session may receive."""
        if self._session is not None:
            self._session.frame_received(self, payload)
            return
        claim = self._login.receive_frame(payload)
        self._tried = True
        if isinstance(claim, Auth):
            self._check(claim)
        else:
            self._check_resume(claim)

    def frames_received(self) -> None:
        """Write what they led to."""
        if self._session is not None:
            self._session.frames_received()

    def ended(self, reason: str) -> None:
        """Let the session, if there is one, go on without this link."""
        if self._session is not None:
            self._session.link_ended(self, reason, broken=self.fault in (Fault.PROTOCOL, Fault.PROGRAM))
        else:
            self._count_offence()
        self._gone(self)
        self._farewell.callback(None)

    def go_away(self) -> Deferred[None]:
        """Close the link, because the server stops.  That of a session closes by itself, when the session is ended.

        :returns: fires when a session's connection is gone: a reactor that stopped any earlier would keep the line for
            its client to itself.  Nobody waits for a connection without a session.
        """
        if self._session is None:
            self.close()
            return succeed(None)
        return self._farewell

    def log_aborted(self, reason: str) -> None:
        """Write to the log that the link is aborted, unless there have been too many such lines."""
        self._lines.aborted.info("link with {peer} aborted: {reason!r}", peer=self.peer, reason=reason)

    def _count_offence(self) -> None:
        # A deadline that passes while the checker thinks is the checker's.
        if self.fault is Fault.PROTOCOL:
            self._offended(Offence.PROTOCOL_ERROR)
        elif self.fault is Fault.DEADLINE and self._login.state is LoginState.SILENT:
            self._offended(Offence.DEADLINE)
        elif not (self._tried or self._closing):
            self._offended(Offence.NO_LOGIN)

    def _check(self, claim: Auth) -> None:
        # Possession first: a key that is not proven is never looked up, so nobody can ask which keys are authorized.
        try:
            key = verify_login(
                claim.key,
                claim.algorithm,
                claim.signature,
                exporter=exporter(self.tls),
                server_spki_sha256=self._settings.spki_sha256,
                user=claim.user,
            )
        except (BadKey, BadSignature) as error:
            self._offended(Offence.LOGIN_REFUSED)
            self._refuse(f"{claim.user!r}: {error}")
            return
        credentials = VerifiedKey(claim.user, key.blob, key.fingerprint, self.peer)
        answer: Deferred[object] = maybeDeferred(self._settings.portal.login, credentials, None, IShellUser)
        answer.addBoth(self._portal_answered, credentials)

    def _portal_answered(self, answer: object, credentials: VerifiedKey) -> None:
        with self.guard():
            self._decide(answer, credentials)

    def _decide(self, answer: object, credentials: VerifiedKey) -> None:
        # Checkers raise all kinds of things and realms return all kinds; only a user object lets anybody in.
        match answer:
            case (_, user, logout) if IShellUser.providedBy(user) and callable(logout):
                # An application's attribute: if it breaks, that must be before anything counts on the session.
                account = f"{ascii(user.name)[1:-1]} from {self.peer}"
                if self.is_over:
                    logout()
                elif not self._capacity.enter_session(credentials.fingerprint):
                    logout()
                    self._refuse(f"{credentials.fingerprint} has as many sessions as one key may have")
                else:
                    self._welcome(LoggedIn(user, logout, credentials, account))
            case Failure():
                # Any other error is the checker's own, such as a data base that does not answer.
                if answer.check(LoginFailed):
                    self._offended(Offence.LOGIN_REFUSED)
                self._refuse(f"{credentials.user!r} with {credentials.fingerprint}: {answer.value!r}")
            case _:
                self._refuse(f"the portal answered with a {type(answer).__name__}, which is no user")

    def _refuse(self, reason: str) -> None:
        if self.is_over:
            return
        self._lines.refused.info("login from {peer} refused: {reason}", peer=self.peer, reason=ascii(reason))
        self.write_frames([self._login.refuse()])
        if self._login.state is LoginState.OVER:
            self.close()

    def _welcome(self, login: LoggedIn) -> None:
        limits = self._settings.limits
        identifier = self._random_bytes(SESSION_ID_BYTES)
        answer, core = self._login.accept(identifier, self._settings.instance_id, limits, self.clock.seconds())
        session = self._sessions.begin(identifier, core, link_secret(self.tls, identifier, 0), login)
        self.log.info(
            "{account} logged in with {key}: session {session}",
            account=login.account,
            key=login.credentials.fingerprint,
            session=session.shown_id,
        )
        session.begin(self)
        self._enter(session, answer)

    def _check_resume(self, claim: Resume) -> None:
        binding = LinkBinding(exporter(self.tls), self._settings.spki_sha256)
        session = self._sessions.find_resumable(claim, binding)
        if session is None:
            self._refuse_resume(claim, "there is no such session, or this is not its client")
            return
        # The portal may take its time.  Until it has answered, nothing is legal on this link, and nothing has changed.
        check_key_again(self._settings.portal, session.login.credentials).addCallback(self._checked, claim, binding)

    def _checked(self, check: KeyCheck, claim: Resume, binding: LinkBinding) -> None:
        with self.guard():
            self._decide_resume(check, claim, binding)

    def _decide_resume(self, check: KeyCheck, claim: Resume, binding: LinkBinding) -> None:
        if self.is_over:
            return
        # Again, for the session may have ended meanwhile, or gone on over another link.
        session = self._sessions.find_resumable(claim, binding)
        if session is None:
            self._refuse_resume(claim, "the session ended, or went on elsewhere, while its key was checked")
        elif check is KeyCheck.UNKNOWN:
            # A refusal is final, and the portal may know more when the client dials again.
            self.fail("nothing is known about its key now")
        elif check is KeyCheck.REFUSED:
            self._refuse_resume(claim, "its key is refused now")
        else:
            fresh = link_secret(self.tls, claim.session, claim.attempt)

            def answer(message: ResumeOk) -> None:
                self._enter(session, self._login.accept_resume(message))

            session.resume(self, claim, binding, fresh, answer)

    def _refuse_resume(self, claim: Resume, reason: str) -> None:
        self._offended(Offence.RESUME_REFUSED)
        self._lines.not_resumed.info(
            "resume of session {session} from {peer} refused: {reason}",
            session=claim.session.hex()[:SHOWN_ID_DIGITS],
            peer=self.peer,
            reason=reason,
        )
        self.write_frames([self._login.refuse_resume(self._settings.instance_id)])
        self.close()

    def _enter(self, session: DurableSession, answer: bytes) -> None:
        self._logged_in()
        self.session_began()
        self._session = session
        self.write_frames([answer])
