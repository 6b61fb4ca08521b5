"""The two requests that begin a client's link: log in, which begins a session, and resume, which goes on with one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twisted_rsh.client.errors import LoginRefused, LossReason, ServerUnavailable, SessionLost
from twisted_rsh.client.link import ClientLink
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.errors import RemoteProtocolError
from twisted_rsh.core.limits import SESSION_RESERVE_BYTES, SessionLimits
from twisted_rsh.core.local_handshake import PEER_CREDENTIALS
from twisted_rsh.core.login import ClientLogin, ClientResume
from twisted_rsh.core.messages import Auth, ResumeFail, Unavailable
from twisted_rsh.core.resuming import ClientProof, LinkBinding
from twisted_rsh.core.values import dataclass
from twisted_rsh.core.windows import Reserve
from twisted_rsh.link.framed_link import Fault
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.link.tls import exporter, link_secret
from twisted_rsh.trust.client_key import ClientKey

if TYPE_CHECKING:
    from twisted_rsh.trust.invitation import Invitation

__all__ = ["Welcome", "log_in", "resume"]


@dataclass(frozen=True, slots=True)
class Welcome:
    """The session that a login began, and what it takes to resume it.

    :ivar session: the session's core.
    :ivar pump: runs the session over its links.
    :ivar proof: proves to the server that the session is ours.
    :ivar instance: names the run of the server that the session began with.
    """

    session: ClientSession
    pump: SessionPump
    proof: ClientProof
    instance: str


async def log_in(
    link: ClientLink, key: ClientKey | None, user: str, limits: SessionLimits, invitation: Invitation | None = None
) -> Welcome:
    """Log in and begin a session.

    Start the session's pump at once: the next frame may be waiting.

    :param link: a link that nothing has been sent to; it is closed if the login fails.
    :param key: the key to log in with; ``None`` over a Unix socket, where the system names the client's user.
    :param user: the name of the user to log in as.
    :param limits: how often to ask the server for a sign of life; the server announces the other limits.
    :param invitation: lets the key in that may not log in yet; ``None`` for one that may.
    :returns: the session; the link carries it.
    :raises twisted_rsh.client.errors.LoginRefused: the server does not let this user in with this key.
    :raises twisted_rsh.client.errors.ServerUnavailable: the server cannot serve this client now.
    :raises twisted_rsh.client.errors.SessionLost: the connection ended, or the server broke the protocol.
    :raises twisted_rsh.core.errors.LocalProtocolError: the key or the name is too long for the protocol.
    """
    login = ClientLogin(limits)
    try:
        claim = _claim(link, key, user)
        request = login.ask(claim if invitation is None else _invited(claim, link, invitation))
        answer = login.receive_frame(await link.ask(request, "the login"), link.clock.seconds())
    except RemoteProtocolError as error:
        link.fail(str(error), Fault.PROTOCOL)
        raise SessionLost(f"{link.peer} ended the connection during the login: {error}") from error
    except BaseException:
        link.fail("the login was given up")
        raise
    if answer is None:
        link.close()
        if key is None:
            raise LoginRefused(f"login as {user} was refused by {link.peer}, which lets in the user that runs it alone")
        raise LoginRefused(f"login as {user} with the key {key.fingerprint} was refused by {link.peer}")
    if isinstance(answer, Unavailable):
        link.close()
        raise ServerUnavailable(f"{link.peer} cannot serve this login now: {answer.text}")
    accepted, session = answer
    session.reserve = Reserve(SESSION_RESERVE_BYTES)
    link.session_began()
    pump = SessionPump(session, link.clock)
    link.carry(pump)
    client_proof = ClientProof(accepted.session, link_secret(link.tls, accepted.session, 0))
    return Welcome(session, pump, client_proof, accepted.instance)


def _claim(link: ClientLink, key: ClientKey | None, user: str) -> Auth:
    """Make the request of a login."""
    if link.is_local:
        return Auth(user=user, algorithm=PEER_CREDENTIALS, key=b"", signature=b"")
    assert key is not None
    signature = key.sign_login(exporter(link.tls), link.pin, user)
    return Auth(user=user, algorithm=key.algorithm, key=key.blob, signature=signature)


def _invited(claim: Auth, link: ClientLink, invitation: Invitation) -> Auth:
    """Add the proof of an invitation to a claim."""
    from twisted_rsh.trust.invitation import invitation_name, invitation_proof  # only here: few logins have one

    proof = invitation_proof(
        invitation.secret,
        exporter=exporter(link.tls),
        server_spki_sha256=link.pin,
        user=claim.user,
        key_blob=claim.key,
    )
    return replace(claim, invitation=invitation_name(invitation.secret), invitation_proof=proof)


async def resume(link: ClientLink, welcome: Welcome) -> None:
    """Go on with a session over another link.

    :param link: a link that nothing has been sent to; it is closed if the session does not go on.
    :param welcome: the session.
    :raises twisted_rsh.client.errors.SessionLost: the session does not go on over this link.  If the reason is another
        than :attr:`~twisted_rsh.client.errors.LossReason.LINK`, it does not go on over any link.
    """
    proof = welcome.proof
    binding = LinkBinding(exporter(link.tls), link.pin)
    login = ClientResume()
    claim = proof.claim(binding, welcome.session.positions())
    try:
        answer = login.receive_frame(await link.ask(login.ask(claim), "the resume"))
        if isinstance(answer, Unavailable):
            raise SessionLost(answer.text)
        if not isinstance(answer, ResumeFail):
            proof.confirm(claim, answer, binding, link_secret(link.tls, proof.session, claim.attempt))
            welcome.session.check_positions(answer.positions)
    except RemoteProtocolError as error:
        link.fail(str(error), Fault.PROTOCOL)
        raise SessionLost(f"the server broke the protocol: {error}", LossReason.PROTOCOL) from error
    except BaseException:
        link.fail("the resume was given up")
        raise
    if isinstance(answer, ResumeFail):
        link.close()
        if answer.instance != welcome.instance:
            raise SessionLost("the server was restarted", LossReason.RESTARTED)
        raise SessionLost("the session has expired on the server", LossReason.EXPIRED)
    link.session_began()
    link.carry(welcome.pump)
    welcome.pump.resume(link, answer.positions)
