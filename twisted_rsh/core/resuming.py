"""Who may resume a session: the two ends prove to each other that they are the ones that began it.

Both ends of a link derive a secret from its TLS connection; it is never sent.  A resume proves the secret of the last
link over the new one, and replaces it by that of the new one in two steps, as its answer may be lost: the client does
so when it has the answer, and the server keeps both until it hears that the client has.  Each attempt has a number, and
the server takes none that is not above those it took: one that was given up on, and arrives late, must not steal the
session back.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.login_messages import Resume, ResumeOk
from twisted_rsh.core.positions import Positions

__all__ = ["SECRET_LABEL", "ClientProof", "LinkBinding", "ServerProof", "secret_context"]

SECRET_LABEL = b"EXPERIMENTAL twisted-rsh resume v1"
"""The TLS exporter's label (RFC 8446 section 7.5) for the secret of a link; RFC 5705 section 4 leaves such names to
experiments."""

_CLIENT = b"twisted-rsh/1 resume client"
_SERVER = b"twisted-rsh/1 resume server"
_ATTEMPT = struct.Struct("!Q")


def secret_context(session: bytes, attempt: int) -> bytes:
    """Return the exporter's context for the secret of a link.

    :param session: the session's identifier.
    :param attempt: the number of the resume that the link began with, or 0 for that of the login.
    """
    return session + _ATTEMPT.pack(attempt)


@dataclass(frozen=True, slots=True)
class LinkBinding:
    """What ties a proof to one TLS connection and one server.

    :ivar exporter: the connection's channel binding (RFC 9266), 32 bytes.
    :ivar pin: SHA-256 of the server's public key, 32 bytes.
    """

    exporter: bytes
    pin: bytes


def _proof(label: bytes, secret: bytes, link: LinkBinding, session: bytes, attempt: int, said: Positions) -> bytes:
    state = hashlib.sha256(said.pack()).digest()
    # Each part has a length of its own, so no two lists of parts are the same bytes.
    message = b"".join((label, link.exporter, link.pin, session, _ATTEMPT.pack(attempt), state))
    return hmac.digest(secret, message, "sha256")


class ServerProof:
    """What the server knows of the client that may resume one session.

    :param session: the session's identifier.
    :param secret: that of the link of the login.
    """

    def __init__(self, session: bytes, secret: bytes) -> None:
        self._session = session
        # Always two, of which both may be the same: a resume then takes as long whatever there is to compare it with.
        self._secrets = (secret, secret)
        self._attempt = 0

    def holds(self, claim: Resume, link: LinkBinding) -> bool:
        """Tell whether a resume comes from the client, is new, and was made for this connection."""
        return self._secret_of(claim, link) is not None and claim.attempt > self._attempt

    def accept(self, claim: Resume, link: LinkBinding, positions: Positions, fresh: bytes) -> ResumeOk:
        """Take a resume that :meth:`holds`.

        :param positions: what has arrived here.
        :param fresh: the secret of the new link.
        :returns: the answer.
        """
        secret = self._secret_of(claim, link)
        assert secret is not None
        self._attempt = claim.attempt
        self._secrets = (secret, fresh)
        return ResumeOk(
            proof=_proof(_SERVER, secret, link, self._session, claim.attempt, positions), positions=positions
        )

    def confirm(self) -> None:
        """Take note that the client has said something behind our last answer, and so has the new secret."""
        self._secrets = (self._secrets[1], self._secrets[1])

    def _secret_of(self, claim: Resume, link: LinkBinding) -> bytes | None:
        found = None
        for secret in self._secrets:
            proof = _proof(_CLIENT, secret, link, self._session, claim.attempt, claim.positions)
            if hmac.compare_digest(proof, claim.proof):
                found = secret
        return found


class ClientProof:
    """What the client needs to resume its session.

    :param session: the session's identifier.
    :param secret: that of the link of the login.
    """

    def __init__(self, session: bytes, secret: bytes) -> None:
        self.session = session
        self._secret = secret
        self._attempt = 0

    def claim(self, link: LinkBinding, positions: Positions) -> Resume:
        """Make a new attempt over a connection.  Those before it are given up: close their links, whatever they answer.

        :param positions: what has arrived here.
        """
        self._attempt += 1
        proof = _proof(_CLIENT, self._secret, link, self.session, self._attempt, positions)
        return Resume(session=self.session, attempt=self._attempt, proof=proof, positions=positions)

    def confirm(self, claim: Resume, answer: ResumeOk, link: LinkBinding, fresh: bytes) -> None:
        """Take the server's answer.

        :param claim: the attempt that it answers.
        :param fresh: the secret of the new link.
        :raises LocalProtocolError: it answers an attempt that was given up; nothing has changed.
        :raises RemoteProtocolError: it does not come from the server that the session began with; nothing has changed.
        """
        if claim.attempt != self._attempt:
            # The server may take the later attempt yet, and would then know nothing of this link's secret.
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"attempt {claim.attempt} was given up")
        proof = _proof(_SERVER, self._secret, link, self.session, claim.attempt, answer.positions)
        if not hmac.compare_digest(proof, answer.proof):
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "RESUME_OK without the session's secret")
        self._secret = fresh
