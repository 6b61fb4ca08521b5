"""The two halves of a resume: both ends prove that they began the session, and then repeat what the lost link lost.

*The proof.*  Both ends of a link derive a secret from its TLS connection; the secret is never sent.  A resume proves,
over the new link, that its sender has the secret of the last one.  Then the new link's secret replaces the old one, in
two steps because the server's answer may be lost: the client replaces it when it has the answer, and the server keeps
both until it hears from the client on the new link.  Each attempt has a number, and the server accepts only a number
above those that it accepted before.  So an attempt that the client gave up, and that arrives late, cannot steal the
session back.

*The replay.*  Each proof covers the :class:`~twisted_rsh.core.messages.Positions` that it comes with: how much has
arrived at its sender.  Each end then repeats the frames beyond the other's positions, in their original order.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable

from twisted_rsh.core.channel import Channel
from twisted_rsh.core.codec import encode
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import REPLAY_BYTES
from twisted_rsh.core.messages import Data, Positions, Resume, ResumeOk
from twisted_rsh.core.sequence import ControlOutbox
from twisted_rsh.core.values import dataclass

__all__ = ["SECRET_LABEL", "ClientProof", "LinkBinding", "Replay", "ServerProof", "secret_context"]

SECRET_LABEL = b"EXPERIMENTAL twisted-rsh resume v1"
"""The TLS exporter's label (RFC 8446 section 7.5) for the secret of a link; RFC 5705 section 4 leaves such names to
experiments."""

# The proof.

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
    """The values that tie a proof to one TLS connection and one server.

    :ivar exporter: the connection's channel binding (RFC 9266), 32 bytes.
    :ivar pin: SHA-256 of the server's public key, 32 bytes.
    """

    exporter: bytes
    pin: bytes


def _state(said: Positions) -> bytes:
    return hashlib.sha256(said.pack()).digest()


def _proof(label: bytes, secret: bytes, link: LinkBinding, session: bytes, attempt: int, state: bytes) -> bytes:
    # The labels have one length, and each other part a fixed one, so no two lists of parts are the same bytes.
    message = b"".join((label, link.exporter, link.pin, session, _ATTEMPT.pack(attempt), state))
    return hmac.digest(secret, message, "sha256")


class ServerProof:
    """The server's side of the proof, for one session.

    Call :meth:`verifies` for a resume, :meth:`accept` when it does, and :meth:`confirm` at the client's first frame
    after the answer.

    :param session: the session's identifier.
    :param secret: the secret of the login's link.
    """

    def __init__(self, session: bytes, secret: bytes) -> None:
        self._session = session
        # Always two secrets, perhaps equal, so that the time a check takes does not tell how many there are.
        self._secrets = (secret, secret)
        self._attempt = 0

    def verifies(self, claim: Resume, link: LinkBinding) -> bool:
        """Tell whether a resume comes from the session's client, is new, and was made for this connection."""
        return self._secret_of(claim, link) is not None and claim.attempt > self._attempt

    def accept(self, claim: Resume, link: LinkBinding, positions: Positions, fresh: bytes) -> ResumeOk:
        """Accept a resume that :meth:`verifies`.

        :param claim: the resume.
        :param link: the new link.
        :param positions: how much has arrived here.
        :param fresh: the secret of the new link.
        :returns: the answer to send.
        """
        secret = self._secret_of(claim, link)
        assert secret is not None
        self._attempt = claim.attempt
        self._secrets = (secret, fresh)
        return ResumeOk(
            proof=_proof(_SERVER, secret, link, self._session, claim.attempt, _state(positions)), positions=positions
        )

    def confirm(self) -> None:
        """Note that the client sent something after our last answer, and so has the new secret."""
        self._secrets = (self._secrets[1], self._secrets[1])

    def _secret_of(self, claim: Resume, link: LinkBinding) -> bytes | None:
        found, state = None, _state(claim.positions)
        for secret in self._secrets:
            proof = _proof(_CLIENT, secret, link, self._session, claim.attempt, state)
            if hmac.compare_digest(proof, claim.proof):
                found = secret
        return found


class ClientProof:
    """The client's side of the proof, for one session.

    Call :meth:`claim` for each attempt to resume, and :meth:`confirm` with the server's answer.

    :param session: the session's identifier.
    :param secret: the secret of the login's link.
    """

    def __init__(self, session: bytes, secret: bytes) -> None:
        self.session = session
        self._secret = secret
        self._attempt = 0

    def claim(self, link: LinkBinding, positions: Positions) -> Resume:
        """Make a new attempt over a connection, and give up those before it: close their links, whatever they answer.

        :param link: the new link.
        :param positions: how much has arrived here.
        :returns: the message to send.
        """
        self._attempt += 1
        proof = _proof(_CLIENT, self._secret, link, self.session, self._attempt, _state(positions))
        return Resume(session=self.session, attempt=self._attempt, proof=proof, positions=positions)

    def confirm(self, claim: Resume, answer: ResumeOk, link: LinkBinding, fresh: bytes) -> None:
        """Check the server's answer, and replace the secret.

        :param claim: the attempt that it answers.
        :param answer: the answer.
        :param link: the link of that attempt.
        :param fresh: the secret of that link.
        :raises LocalProtocolError: it answers an attempt that was given up; nothing has changed.
        :raises RemoteProtocolError: it does not come from the server that the session began with; nothing has changed.
        """
        if claim.attempt != self._attempt:
            # The server may still accept the later attempt, and would then not know this link's secret.
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"attempt {claim.attempt} was given up")
        proof = _proof(_SERVER, self._secret, link, self.session, claim.attempt, _state(answer.positions))
        if not hmac.compare_digest(proof, answer.proof):
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "RESUME_OK without the session's secret")
        self._secret = fresh


# The replay.

_Entry = tuple[int, bytes | Data]
"""A place in the order of everything that was sent, and the control frame or the data that was sent there."""


class Replay(list["bytes | Data"]):
    """Control frames and data to send again after a resume, before all others and in their original order.

    It is false when empty.  Clear it when the new link is lost as well.  It is a list, since each session has one that
    is mostly empty, and an empty deque takes 700 bytes.
    """

    __slots__ = ()

    def begin(self, outbox: ControlOutbox, channels: Iterable[Channel], peer: Positions) -> None:
        """Collect the frames that the peer has not received.

        :param outbox: the control messages; it must know already which of them the peer has.
        :param channels: the session's channels.
        :param peer: how much has arrived at the peer; it must have been checked.
        """
        listed = dict(peer.streams)
        kept: list[_Entry] = list(outbox.log)
        for channel in channels:
            offsets = listed.get(channel.number)
            for index, (stream, outgoing) in enumerate(channel.sends.items()):
                # From the bytes received, not from those consumed: the peer still has the bytes between the two.
                offset = outgoing.consumed if offsets is None else offsets[index]
                for order, start, piece in outgoing.kept_from(offset):
                    data = Data(channel.number, stream, start, piece)
                    kept.append((order, data))
        kept.sort(key=_order)
        for order, frame in kept:
            if order > outbox.acknowledged_order:
                self.append(frame)

    def take(self) -> list[bytes]:
        """Return the payloads to write next, up to :data:`~twisted_rsh.core.limits.REPLAY_BYTES` and one frame."""
        frames: list[bytes] = []
        size = 0
        for piece in self:
            if size >= REPLAY_BYTES:
                break
            frame = encode(piece) if isinstance(piece, Data) else piece
            frames.append(frame)
            size += len(frame)
        del self[: len(frames)]
        return frames


def _order(entry: _Entry) -> int:
    return entry[0]
