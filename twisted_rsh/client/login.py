"""The two requests that begin a client's link: log in, which begins a session, and resume, which goes on with one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from twisted_rsh.client.errors import Error, LoginRefused, LossReason, ServerUnavailable, SessionLost
from twisted_rsh.client.link import ClientLink
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.errors import RemoteProtocolError
from twisted_rsh.core.limits import MAX_AUTH_ATTEMPTS, SESSION_RESERVE_BYTES, SessionLimits
from twisted_rsh.core.local_handshake import PEER_CREDENTIALS
from twisted_rsh.core.login import ClientLogin, ClientResume, NextKey
from twisted_rsh.core.messages import Auth, AuthOk, ResumeFail, Unavailable
from twisted_rsh.core.resuming import ClientProof, LinkBinding
from twisted_rsh.core.values import dataclass
from twisted_rsh.core.windows import Reserve
from twisted_rsh.link.framed_link import Fault
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.link.tls import exporter, link_secret
from twisted_rsh.trust.client_key import ClientKey

if TYPE_CHECKING:
    from twisted_rsh.client.agent import AgentKey
    from twisted_rsh.trust.invitation import Invitation

__all__ = ["LoginKey", "OtherKeys", "Welcome", "log_in", "resume"]

LoginKey: TypeAlias = "ClientKey | AgentKey"
"""A key to log in with: in this program's memory, or in an agent."""

OtherKeys: TypeAlias = "Callable[[], Awaitable[Sequence[LoginKey]]]"
"""Returns further keys to log in with.  It is called once the server has refused the first key."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The session that a login began, and what it takes to resume it.

    :ivar session: the session's core.
    :ivar pump: runs the session over its links.
    :ivar proof: proves to the server that the session is ours.
    :ivar instance: names the run of the server that the session began with.
    :ivar next_pin: SHA-256 of the public key that the server will have, 32 bytes; ``None`` for the same.
    """

    session: ClientSession
    pump: SessionPump
    proof: ClientProof
    instance: str
    next_pin: bytes | None = None


async def log_in(
    link: ClientLink,
    key: LoginKey | None,
    user: str,
    limits: SessionLimits,
    invitation: Invitation | None = None,
    other_keys: OtherKeys | None = None,
) -> Welcome:
    """Log in and begin a session.

    Start the session's pump at once: the next frame may be waiting.

    :param link: a link that nothing has been sent to; it is closed if the login fails.
    :param key: the key to log in with; ``None`` over a Unix socket, where the system names the client's user.
    :param user: the name of the user to log in as.
    :param limits: how often to ask the server for a sign of life; the server announces the other limits.
    :param invitation: lets the key in that may not log in yet; ``None`` for one that may.
    :param other_keys: returns the keys to try when the server has refused that one, as many as a link may try; ``None``
        for none.  If an agent cannot say its keys, the error names the agent.
    :returns: the session; the link carries it.
    :raises twisted_rsh.client.errors.LoginRefused: the server does not let this user in with this key.
    :raises twisted_rsh.client.errors.ServerUnavailable: the server cannot serve this client now.
    :raises twisted_rsh.client.errors.SessionLost: the connection ended, or the server broke the protocol.
    :raises twisted_rsh.core.errors.LocalProtocolError: the key or the name is too long for the protocol.
    :raises twisted_rsh.client.agent.AgentFailure: the agent that has the key does not sign with it.
    """
    login = ClientLogin(limits)
    try:
        if key is None or link.is_local:
            answer = await _try_user(link, login, user)
        else:
            answer = await _try_keys(link, login, key, user, invitation, other_keys)
    except RemoteProtocolError as error:
        link.fail(str(error), Fault.PROTOCOL)
        raise SessionLost(f"{link.peer} ended the connection during the login: {error}") from error
    except BaseException:
        link.fail("the login was given up")
        raise
    if isinstance(answer, Unavailable):
        link.close()
        raise ServerUnavailable(f"{link.peer} cannot serve this login now: {answer.text}")
    accepted, session = answer
    next_pin = _check_next_key(link, accepted)
    session.reserve = Reserve(SESSION_RESERVE_BYTES)
    link.session_began()
    pump = SessionPump(session, link.clock)
    link.carry(pump)
    proof = ClientProof(accepted.session, link_secret(link.tls, accepted.session, 0))
    return Welcome(session, pump, proof, accepted.instance, next_pin)


def _check_next_key(link: ClientLink, accepted: AuthOk) -> bytes | None:
    """Check the announcement of the server's next key, and return its pin; end the link if it does not hold.

    :returns: ``None`` without an announcement, and over a Unix socket: there the server shows no key to check it with.
    """
    members = (accepted.next_key, accepted.next_key_proof, accepted.next_key_signature)
    if link.is_local or members == (None, None, None):
        return None
    from twisted_rsh.trust.rotation import BadAnnouncement, verify_announcement  # only here: few servers announce one

    key, proof, signature = (member or b"" for member in members)
    shown = cast("Any", link.tls).getHandle().get_peer_certificate().to_cryptography().public_key()
    try:
        return verify_announcement(NextKey(key, proof=proof, signature=signature), shown, exporter(link.tls))
    except BadAnnouncement as error:
        link.fail(str(error), Fault.PROTOCOL)
        raise SessionLost(f"{link.peer} broke the protocol: {error}", LossReason.PROTOCOL) from error


async def _try_user(link: ClientLink, login: ClientLogin, user: str) -> tuple[AuthOk, ClientSession] | Unavailable:
    """Log in over a Unix socket, where the system names the client's user.

    :raises LoginRefused: the server lets in another user.
    """
    request = login.ask(Auth(user=user, algorithm=PEER_CREDENTIALS, key=b"", signature=b""))
    answer = login.receive_frame(await link.ask(request, "the login"), link.clock.seconds())
    if answer is None:
        raise LoginRefused(f"login as {user} was refused by {link.peer}, which lets in the user that runs it alone")
    return answer


async def _try_keys(
    link: ClientLink,
    login: ClientLogin,
    key: LoginKey,
    user: str,
    invitation: Invitation | None,
    other_keys: OtherKeys | None,
) -> tuple[AuthOk, ClientSession] | Unavailable:
    """Log in with one key after the other until the server gives another answer than a refusal.

    :raises LoginRefused: it refused all of them.
    """
    tried = [key]
    waiting: list[LoginKey] = []
    for attempt in range(MAX_AUTH_ATTEMPTS):
        signed = key.sign_login(exporter(link.tls), link.pin, user)
        signature = signed if isinstance(signed, bytes) else await signed
        claim = Auth(user=user, algorithm=key.algorithm, key=key.blob, signature=signature)
        request = login.ask(claim if invitation is None else _invited(claim, link, invitation))
        answer = login.receive_frame(await link.ask(request, "the login"), link.clock.seconds())
        if answer is not None:
            return answer
        if attempt == 0 and other_keys is not None:
            try:
                waiting = [other for other in await other_keys() if other.blob != key.blob]
            except Error as error:
                raise _refused(link, user, tried, f"; {error}") from error
        if not waiting or attempt == MAX_AUTH_ATTEMPTS - 1:
            break
        key = waiting.pop(0)
        tried.append(key)
    raise _refused(link, user, tried, f"; name one of {len(waiting)} more with -i" if waiting else "")


def _refused(link: ClientLink, user: str, keys: Sequence[LoginKey], further: str) -> LoginRefused:
    names = ", ".join(key.fingerprint for key in keys)
    noun = "key" if len(keys) == 1 else "keys"
    return LoginRefused(f"login as {user} with the {noun} {names} was refused by {link.peer}{further}")


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
