"""The server's side of a link: a login, then a session.

The object that answers everything about jobs is made by a successful login and by nothing else; before that, the only
frame that can be read at all is AUTH.
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
from twisted_rsh.core.login_messages import Auth
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.link.framed_link import HANDSHAKE_SECONDS, LOGIN_SECONDS, Fault, FramedLink
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.link.tls import exporter
from twisted_rsh.server.admission import MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE
from twisted_rsh.server.capacity import MAX_BUFFERED_BYTES, MAX_SESSIONS_PER_KEY, Capacity
from twisted_rsh.server.line_limit import LineLimit
from twisted_rsh.server.penalties import Offence
from twisted_rsh.server.session_jobs import SessionJobs
from twisted_rsh.trust.cred import VerifiedKey
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature
from twisted_rsh.trust.sshsig import verify_login

__all__ = ["LinkLines", "ServerLink", "ServerSettings"]


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


class LinkLines:
    """What strangers can make all links of a server write to its log, so much a minute of each kind.

    :param clock: tells the time, usually the reactor.
    :ivar aborted: a link was aborted.
    :ivar refused: a login was refused.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.aborted = LineLimit(FramedLink.log, clock)
        self.refused = LineLimit(FramedLink.log, clock)


class ServerLink(FramedLink):
    """One client.

    :param clock: where deadlines are scheduled, usually the reactor.
    :param settings: what every link has in common.
    :param capacity: counts the sessions and jobs of all links.
    :param random_bytes: returns so many random bytes, such as ``secrets.token_bytes``.
    :param logged_in: called once if the client logs in.
    :param gone: called once, with this object, when the connection is gone.
    :param offended: called with each thing that the client does wrong before it has logged in.
    :param lines: where what strangers cause is logged.
    """

    def __init__(
        self,
        clock: IReactorTime,
        settings: ServerSettings,
        capacity: Capacity,
        random_bytes: Callable[[int], bytes],
        logged_in: Callable[[], None],
        gone: Callable[[ServerLink], None],
        offended: Callable[[Offence], None],
        lines: LinkLines,
    ) -> None:
        super().__init__(clock, settings.handshake_seconds, settings.login_seconds)
        self._settings = settings
        self._capacity = capacity
        self._random_bytes = random_bytes
        self._logged_in = logged_in
        self._gone = gone
        self._offended = offended
        self._lines = lines
        self._tried = False
        self._login = ServerLogin()
        self._session: _Running | None = None
        self._session_over = False
        self._farewell: Deferred[None] = Deferred()

    def ready(self) -> None:
        """Nothing to do: the client speaks first."""

    def frame_received(self, payload: bytes) -> None:
        """Read an AUTH, or whatever the session may receive."""
        if self._session is not None:
            self._session.pump.frame_received(payload)
        else:
            self._check(self._login.receive_frame(payload))

    def frames_received(self) -> None:
        """Write what they led to."""
        if self._session is not None:
            self._session.pump.flush()

    def ended(self, reason: str) -> None:
        """End the session with its link."""
        if self._session is not None:
            self.log.info("{account} is gone: {reason!r}", account=self._session.account, reason=reason)
            self._session.pump.stop()
            self._end_session(self._session)
        else:
            self._count_offence()
        self._gone(self)
        self._farewell.callback(None)

    def go_away(self, text: str) -> Deferred[None]:
        """End the session and the link, because the server stops.

        :param text: one line for the client.
        :returns: fires when the connection is gone: a reactor that stopped any earlier would keep the line to itself.
        """
        if self._session is None:
            self.close()
            return succeed(None)
        self._session.pump.leave(text)
        self._end_session(self._session)
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
        self._tried = True
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
        answer.addBoth(lambda result: self.guard(lambda: self._decide(result, credentials)))

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
                    self._welcome(user, logout, account, credentials.fingerprint)
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

    def _welcome(self, user: IShellUser, logout: Callable[[], object], account: str, key: str) -> None:
        limits = self._settings.limits
        answer, core = self._login.accept(
            self._random_bytes(SESSION_ID_BYTES), self._settings.instance_id, limits, self.clock.seconds()
        )
        self.log.info("{account} logged in with {key}", account=account, key=key)
        self._logged_in()
        self.session_began()
        self.write_frames([answer])
        pump = SessionPump(core, self, self.clock)
        jobs = SessionJobs(
            core,
            user,
            self.clock,
            pump.flush,
            self._client_left,
            capacity=self._capacity,
            account=account,
            log_commands=self._settings.log_commands,
        )
        self._session = _Running(pump, jobs, logout, account, key)
        pump.start(jobs.dispatch)

    def _client_left(self, _text: str) -> None:
        assert self._session is not None
        self._session.jobs.disown()
        self.close()

    def _end_session(self, session: _Running) -> None:
        if self._session_over:
            return
        self._session_over = True
        self._capacity.leave_session(session.key)
        # The application's, like the user object: its error must not keep the jobs.
        with self.log.failuresHandled("logging {account} out broke the program", account=session.account):
            session.logout()
        session.jobs.disown()


@dataclass(frozen=True, slots=True)
class _Running:
    """A session that has begun."""

    pump: SessionPump
    jobs: SessionJobs
    logout: Callable[[], object]
    account: str
    key: str
