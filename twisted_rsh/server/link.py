"""The server's side of a link: a login or a resume, then a session.

A successful login alone makes the session that answers everything about jobs, and a resume finds it again when it
proves to come from the same client.  Before that the server reads no frames but AUTH and RESUME.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.cred.error import LoginFailed
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.limits import MAX_ENCODING_BYTES
from twisted_rsh.core.local_handshake import PEER_CREDENTIALS
from twisted_rsh.core.login import LoginState, ServerLogin
from twisted_rsh.core.messages import Auth, Resume
from twisted_rsh.core.resuming import LinkBinding
from twisted_rsh.execution.plan import describe_shortage
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.link.framed_link import Fault, FramedLink
from twisted_rsh.link.local import LocalServerLayer
from twisted_rsh.link.tls import exporter, link_secret
from twisted_rsh.log_level import leveled_log
from twisted_rsh.server.permission import CannotLimit, runner_for
from twisted_rsh.server.portal import KeyCheck, ask_portal, check_key_again
from twisted_rsh.server.session import SHOWN_ID_DIGITS, DurableSession, LoggedIn
from twisted_rsh.server.strangers import Offence
from twisted_rsh.server_events import Refusal, RefusalKind
from twisted_rsh.trust.cred import VerifiedKey, VerifiedPeer
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.rotation import announce
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature
from twisted_rsh.trust.sshsig import verify_login

if TYPE_CHECKING:
    from twisted_rsh.server.factory import RemoteShellFactory

__all__ = ["UNCHECKED", "ServerLink"]

UNCHECKED = {
    KeyCheck.UNKNOWN: "the server cannot find out whether your key is still authorized; its log says why",
    KeyCheck.EXHAUSTED: "the server has too few open files (ulimit -n) or too little memory to look your key up",
}
"""The lines for a client whose session cannot be resumed now because nothing is known about its key."""

_KINDS = {Fault.PROTOCOL: RefusalKind.PROTOCOL, Fault.DEADLINE: RefusalKind.DEADLINE}
"""The reasons why a link without a session was aborted, as observers learn them."""

# Not an attribute of the class: an event would hold the object that logged it.
_log = Logger(f"{__name__}.ServerLink", observer=leveled_log)


class ServerLink(FramedLink):
    """One connection of a client: at first a login or a resume, and then a session's.

    :param factory: holds what all links of the server share.
    :param source: the source that the connection counts for, or ``None``.
    :ivar factory: as above.
    :ivar source: as above.
    """

    # Twisted's protocols have a dictionary all the same; with more than 30 names it takes 1.5 KiB of each link.
    __slots__ = ("_claim", "_farewell", "_has_tried", "_login", "_session", "factory", "source")

    def __init__(self, factory: RemoteShellFactory, source: str | None) -> None:
        super().__init__(factory.clock, login_seconds=factory.options.login_timeout, turns=factory.sessions.turns)
        self.factory: RemoteShellFactory = factory
        self.source = source
        self._has_tried = False
        self._login = ServerLogin()
        self._claim: Auth | Resume | None = None
        self._session: DurableSession | None = None
        self._farewell: Deferred[None] | None = None

    def ready(self) -> None:
        """Do nothing: the client speaks first."""

    def frame_received(self, payload: bytes) -> None:
        """Read an AUTH, a RESUME, or a frame of the session."""
        if self.dead:  # it has no session any more
            return
        if self._session is not None:
            self._session.frame_received(self, payload)
            return
        self._claim = self._login.receive_frame(payload)
        self._has_tried = True

    def frames_received(self) -> None:
        """Check the claim that arrived, if nothing arrived after it, and write the answers of the session."""
        claim, self._claim = self._claim, None
        # TLS has forgotten the keys of a connection that is gone, and its client would not get the answer.
        if claim is not None and self._lost is None and not self._has_pipelined():
            if isinstance(claim, Auth):
                self._check(claim)
            else:
                self._check_resume(claim)
        super().frames_received()

    def ended(self, reason: str) -> None:
        """Let the session, if the link has one, go on without it."""
        if self._session is not None:
            self._session.link_ended(self, reason, broken=self.fault in (Fault.PROTOCOL, Fault.PROGRAM))
        else:
            self._count_offence()
            self.factory.strangers.leave(self.source)
            kind = None if self.fault is None else _KINDS.get(self.fault)
            if kind is not None or not (self._has_tried or self._closing):
                self._report(kind or RefusalKind.NO_LOGIN, reason)
        self.factory.link_ended(self)
        if self._farewell is not None:
            self._farewell.callback(None)

    def _end(self, reason: Failure) -> None:
        super()._end(reason)
        self._session = None

    def go_away(self) -> Deferred[None]:
        """Close the link, because the server stops.  The link of a session closes by itself when the session ends.

        :returns: fires when a session's connection is gone: if the reactor stopped any earlier, the client would not
            get the line about the end.  A connection without a session is not waited for.
        """
        if self._session is None:
            self.close()
            return succeed(None)
        if self._farewell is None or self._farewell.called:  # nobody waits for that any more
            self._farewell = Deferred()
        return self._farewell

    def log_aborted(self, reason: str) -> None:
        """Write to the log that the link is aborted, unless the log has had too many such lines."""
        line = "link with {peer} aborted: {reason!r}"
        self.factory.strangers.log.aborted.info(line, peer=self.peer, reason=reason)

    def log_broken(self, failure: Failure) -> None:
        """Write a bug of this program to the log likewise."""
        line = "a frame from {peer} broke the program"
        self.factory.strangers.log.broken.failure(line, failure, peer=self.peer)

    def _has_pipelined(self) -> bool:
        """Tell whether the link is over; it is, if even a part of a frame has arrived after an unanswered claim."""
        if self.has_unhandled_bytes and not self.is_over:
            self.fail_with(RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "bytes after a claim without an answer"))
        return self.is_over

    def _report(self, kind: RefusalKind, detail: str) -> None:
        observers = self.factory.observers
        if observers is not None:
            observers.report(Refusal(kind=kind, peer=self.peer, detail=detail))

    def _punish(self, offence: Offence) -> None:
        self.factory.strangers.punish(self.source, offence)

    def _count_offence(self) -> None:
        if self.fault is Fault.PROTOCOL:
            self._punish(Offence.PROTOCOL_ERROR)
        elif self.factory.sessions.any_from(self.source):
            # A bad network also cuts the connections of a client that looks for its session, which is no offence.
            return
        elif self.fault is Fault.DEADLINE:
            # A deadline that passes while the portal decides is no fault of the client.
            if self._login.state is LoginState.SILENT:
                self._punish(Offence.DEADLINE)
        elif not (self._has_tried or self._closing):
            self._punish(Offence.NO_LOGIN)

    # The login.

    def _check(self, claim: Auth) -> None:
        if isinstance(self.tls, LocalServerLayer):
            self._check_peer(claim, self.tls.credentials.uid)
            return
        # Possession first: the portal never sees a key that is not proven, so no stranger can ask for authorized keys.
        try:
            key = verify_login(
                claim.key,
                claim.algorithm,
                claim.signature,
                exporter=exporter(self.tls),
                server_spki_sha256=self.factory.key.spki_sha256,
                user=claim.user,
            )
        except (BadKey, BadSignature) as error:
            self._punish(Offence.LOGIN_REFUSED)
            self._refuse(f"{claim.user!r}: {error}", RefusalKind.SIGNATURE)
            return
        if (claim.invitation, claim.invitation_proof) != (None, None) and not self._is_invited(claim):
            return
        credentials = VerifiedKey(
            claim.user,
            key.blob,
            key.fingerprint,
            self.peer,
            key.certificate,
            time.time(),
            address=self.peer_address,
        )
        answer = ask_portal(self.factory.portal, credentials)
        answer.addBoth(self._portal_answered, credentials)

    def _check_peer(self, claim: Auth, uid: int) -> None:
        """Check the login of a client at a Unix socket, which has proven nothing: the system has named its user."""
        if claim != Auth(user=claim.user, algorithm=PEER_CREDENTIALS, key=b"", signature=b""):
            self._punish(Offence.LOGIN_REFUSED)
            self._refuse(f"{claim.user!r}: a key is of no use at a Unix socket without TLS", RefusalKind.SIGNATURE)
            return
        credentials = VerifiedPeer(claim.user, uid, self.peer)
        ask_portal(self.factory.portal, credentials).addBoth(self._portal_answered, credentials)

    def _is_invited(self, claim: Auth) -> bool:
        """Use an invitation up and let its key in; otherwise answer the client."""
        invitations = self.factory.invitations
        is_taken = invitations is not None and invitations.take(
            claim.invitation or b"",
            claim.invitation_proof or b"",
            exporter=exporter(self.tls),
            server_spki_sha256=self.factory.key.spki_sha256,
            user=claim.user,
            key_blob=claim.key,
        )
        if invitations is None or not is_taken:
            self._punish(Offence.LOGIN_REFUSED)
            self._refuse(f"{claim.user!r}: the invitation is wrong, over or used", RefusalKind.INVITATION)
            return False
        try:
            invitations.admit(claim.key, self.peer)
        except (FileProblem, OSError) as error:
            _log.error(
                "the key that {peer} was invited to add cannot be kept: {reason}", peer=self.peer, reason=str(error)
            )
            self._put_off(
                "the server cannot keep your key, and its log says why; ask for another invitation", self.peer
            )
            return False
        _log.info("{peer} used an invitation: a key was added to authorized_keys", peer=self.peer)
        return True

    def _portal_answered(self, answer: object, credentials: VerifiedKey | VerifiedPeer) -> None:
        try:
            self._has_pipelined()
            self._decide(answer, credentials)
        except Exception as error:  # noqa: BLE001 - the link ends, whatever it is
            self.fail_with(error)

    def _decide(self, answer: object, credentials: VerifiedKey | VerifiedPeer) -> None:
        # Checkers raise all kinds of things and realms return all kinds; only a user object lets a client in.
        match answer:
            case (_, user, logout) if IShellUser.providedBy(user) and callable(logout):
                self._let_in(user, logout, credentials)
            case Failure(value=OSError() as error) if (shortage := describe_shortage(error)) is not None:
                # The portal could not look, so that nothing is known about the key.
                self._put_off(shortage, f"{credentials.user!r} with {credentials.description}")
            case Failure():
                # Any other error is the portal's own, such as a database that does not answer.
                kind = RefusalKind.PORTAL
                if answer.check(LoginFailed):
                    self._punish(Offence.LOGIN_REFUSED)
                    kind = RefusalKind.KEY
                self._refuse(f"{credentials.user!r} with {credentials.description}: {answer.value!r}", kind)
            case _:
                self._refuse(f"the portal answered with a {type(answer).__name__}, which is no user")

    def _let_in(self, user: IShellUser, logout: Callable[[], object], credentials: VerifiedKey | VerifiedPeer) -> None:
        """Begin the session of a client that the portal lets in, unless a bound is against it."""
        sessions, policy = self.factory.sessions, credentials.policy
        problem = sessions.bound_reached(credentials.fingerprint, policy.max_sessions)
        try:
            # An application's attributes: if they break, they must break before the session is counted.
            account = f"{ascii(user.name)[1:-1]} from {self.peer}"
            _check_encoding(user.encoding)
            runner = None if problem is not None or self.is_over else runner_for(user, policy, sessions)
        except CannotLimit as error:
            problem, runner = str(error), None
        except Exception:
            logout()
            raise
        if runner is not None:
            self._welcome(LoggedIn(user, logout, credentials, account, runner))
            return
        logout()
        if problem is not None:
            self._put_off(problem, f"{credentials.user!r} with {credentials.description}")

    def _refuse(self, reason: str, kind: RefusalKind = RefusalKind.PORTAL) -> None:
        if self.is_over:
            return
        line = "login from {peer} refused: {reason}"
        self.factory.strangers.log.refused_login.info(line, peer=self.peer, reason=ascii(reason))
        self._report(kind, reason)
        self.write_frames([self._login.refuse()])
        if self._login.state is LoginState.OVER:
            self.close()

    def _put_off(self, reason: str, claimant: str) -> None:
        """Tell a client that has proved who it is that it cannot be served now.

        :param reason: one line for the client.
        :param claimant: the client's name in the log.
        """
        if self.is_over:
            return
        line = "{claimant} from {peer} cannot be served: {reason}"
        self.factory.strangers.log.put_off.info(line, claimant=ascii(claimant), peer=self.peer, reason=reason)
        self._report(RefusalKind.UNAVAILABLE, f"{claimant}: {reason}")
        self.write_frames([self._login.put_off(reason)])
        self.close()

    def _welcome(self, login: LoggedIn) -> None:
        identifier = self.factory.sessions.new_identifier()
        factory, following = self.factory, self.factory.next_key
        answer, core = self._login.accept(
            identifier,
            factory.instance_id,
            factory.options.limits,
            self.clock.seconds(),
            # Without TLS the client knows the server by its user, and has no use for its keys.
            None
            if following is None or isinstance(self.tls, LocalServerLayer)
            else announce(factory.key, following, exporter(self.tls)),
        )
        session = self.factory.sessions.begin(identifier, core, link_secret(self.tls, identifier, 0), login)
        _log.info(
            "{account} logged in with {key}: session {session}",
            account=login.account,
            key=login.credentials.description,
            session=session.shown_id,
        )
        self.session_began()
        session.begin(self)
        self._enter(session, answer)

    # The resume.

    def _check_resume(self, claim: Resume) -> None:
        binding = LinkBinding(exporter(self.tls), self.factory.key.spki_sha256)
        session = self._find_resumable(claim, binding)
        if session is None:
            self._refuse_resume(claim, "there is no such session, or this is not its client")
            return
        # The portal may take its time.  Until it has answered, no frame is legal on this link, and nothing has changed.
        credentials = session.login.credentials.unrestricted(self.peer, self.peer_address)
        check = check_key_again(self.factory.portal, credentials, self.factory.strangers.log.broken)
        check.addCallback(self._checked, credentials, claim, binding)

    def _find_resumable(self, claim: Resume, binding: LinkBinding) -> DurableSession | None:
        """Find the session of a claim: one that began over TLS goes on over TLS, and another with the same user."""
        session = self.factory.sessions.find_resumable(claim, binding)
        if session is None:
            return None
        credentials = session.login.credentials
        began_with = credentials.uid if isinstance(credentials, VerifiedPeer) else None
        uid = self.tls.credentials.uid if isinstance(self.tls, LocalServerLayer) else None
        return session if uid == began_with else None

    def _checked(
        self, check: KeyCheck, credentials: VerifiedKey | VerifiedPeer, claim: Resume, binding: LinkBinding
    ) -> None:
        try:
            self._decide_resume(check, credentials, claim, binding)
        except Exception as error:  # noqa: BLE001 - the link ends, whatever it is
            self.fail_with(error)

    def _decide_resume(
        self, check: KeyCheck, credentials: VerifiedKey | VerifiedPeer, claim: Resume, binding: LinkBinding
    ) -> None:
        if self._has_pipelined():
            return
        # Again, because the session may have ended meanwhile, or gone on over another link.
        session = self._find_resumable(claim, binding)
        if session is None:
            self._refuse_resume(claim, "the session ended, or went on elsewhere, while its key was checked")
        elif check in UNCHECKED:
            # A refusal is final, and the portal may know more when the client dials again.
            self._put_off(f"{UNCHECKED[check]}; try again later", f"session {session.shown_id}")
        elif check is KeyCheck.REFUSED:
            self._refuse_resume(claim, "its key is refused now")
        elif not session.renew(credentials):
            self._refuse_resume(claim, "its key may do less than before, or the limits of its key cannot be kept")
        else:
            fresh = link_secret(self.tls, claim.session, claim.attempt)
            answer = session.take_link(self, claim, binding, fresh)
            self.session_began()
            self._enter(session, self._login.accept_resume(answer))
            session.go_on(self, claim.positions)

    def _refuse_resume(self, claim: Resume, reason: str) -> None:
        self._punish(Offence.RESUME_REFUSED)
        self.factory.strangers.log.refused_resume.info(
            "resume of session {session} from {peer} refused: {reason}",
            session=claim.session.hex()[:SHOWN_ID_DIGITS],
            peer=self.peer,
            reason=reason,
        )
        self._report(RefusalKind.RESUME, f"session {claim.session.hex()}: {reason}")
        self.write_frames([self._login.refuse_resume(self.factory.instance_id)])
        self.close()

    def _enter(self, session: DurableSession, answer: bytes) -> None:
        self._session = session
        del self._login  # an idle link needs as little as possible, and no claim follows
        self.factory.strangers.leave(self.source)
        self.write_frames([answer])


def _check_encoding(encoding: object) -> None:
    """Check that the answer to a request can name the code page of a user object.

    :raises ValueError: it cannot, so that no request would be answered.
    """
    try:
        fits = isinstance(encoding, str) and len(encoding.encode()) <= MAX_ENCODING_BYTES
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise ValueError(f"the encoding of a user object names no code page: {encoding!a:.100}")
