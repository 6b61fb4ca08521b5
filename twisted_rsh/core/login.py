"""The beginning of a link: a login, which is one AUTH and one answer, or the resume of a session that exists.

A client sends nothing after AUTH or RESUME before the answer, so neither side has to hold messages back.  Only a
successful login makes a session object, which has the decoder for all other messages.
"""

from __future__ import annotations

import enum

from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.codec import Decoder, encode
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import MAX_AUTH_ATTEMPTS, MAX_LOGIN_FRAME_BYTES, SessionLimits
from twisted_rsh.core.messages import Auth, AuthFail, AuthOk, Resume, ResumeFail, ResumeOk, Unavailable
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.core.values import dataclass

__all__ = ["ClientLogin", "ClientResume", "LoginState", "NextKey", "ServerLogin"]


@dataclass(frozen=True, slots=True)
class NextKey:
    """The announcement of the key that a server will have, over one connection.

    :ivar key: the public key, a SubjectPublicKeyInfo in DER.
    :ivar proof: the signature of that key.
    :ivar signature: the signature of the key that the server has.
    """

    key: bytes
    proof: bytes
    signature: bytes


class LoginState(enum.Enum):
    """The turn of a login: the side that sends next."""

    SILENT = "silent"
    """The client's turn: it has sent no AUTH, or the server refused the last one."""

    ASKED = "asked"
    """The server's turn: the client has sent an AUTH, which is not answered."""

    RESUMING = "resuming"
    """The server's turn: the client has sent a RESUME, which is not answered."""

    OVER = "over"
    """Neither side's turn: the client is in, or was refused for the last time."""


class ServerLogin:
    """The server's side of the login.

    :ivar state: the side that sends next.
    """

    def __init__(self) -> None:
        self.state = LoginState.SILENT
        self._decoder = Decoder(Role.SERVER, Phase.LOGIN)
        self._attempts = 0

    def receive_frame(self, payload: bytes) -> Auth | Resume:
        """Take the payload of one frame.

        :returns: the client's claim.  Check it, then call :meth:`accept` or :meth:`refuse` for an AUTH, and
            :meth:`accept_resume` or :meth:`refuse_resume` for a RESUME.
        :raises RemoteProtocolError: the frame is neither an AUTH in the client's turn, nor a RESUME in place of the
            first AUTH: abort the link.
        """
        _, message = self._decoder.decode(payload)
        if self.state is LoginState.SILENT and isinstance(message, Auth):
            self.state = LoginState.ASKED
            self._attempts += 1
            return message
        if self.state is LoginState.SILENT and isinstance(message, Resume) and not self._attempts:
            self.state = LoginState.RESUMING
            return message
        raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"a frame while the login is {self.state.value}")

    def accept(
        self, session: bytes, instance: str, limits: SessionLimits, now: float, next_key: NextKey | None = None
    ) -> tuple[bytes, ServerSession]:
        """Let the client in.

        :param session: the session's identifier, 16 bytes.
        :param instance: names this run of the server.
        :param limits: the session's bounds.
        :param now: the time in seconds.
        :param next_key: announces the key that the server will have; ``None`` if that is the one it has.
        :returns: the payload to write, and the session that begins after it.
        :raises LocalProtocolError: there is no AUTH to answer, or the identifier, the instance or the limits are out of
            their bounds.
        """
        self._answer(LoginState.ASKED)
        answer = AuthOk(
            session=session,
            instance=instance,
            window=limits.window,
            max_channels=limits.max_channels,
            detach_seconds=limits.detach_seconds,
            run=True,
            next_key=None if next_key is None else next_key.key,
            next_key_proof=None if next_key is None else next_key.proof,
            next_key_signature=None if next_key is None else next_key.signature,
        )
        payload = encode(answer)
        self.state = LoginState.OVER
        return payload, ServerSession(limits, now)

    def refuse(self) -> bytes:
        """Refuse the client.  If the state is OVER afterwards, close the link after the answer.

        :returns: the payload to write, the same for every reason.
        :raises LocalProtocolError: there is no AUTH to answer.
        """
        self._answer(LoginState.ASKED)
        self.state = LoginState.OVER if self._attempts >= MAX_AUTH_ATTEMPTS else LoginState.SILENT
        return encode(AuthFail())

    def accept_resume(self, answer: ResumeOk) -> bytes:
        """Let the session go on over this link.

        :param answer: the message that :meth:`twisted_rsh.core.resuming.ServerProof.accept` returned.
        :returns: the payload to write; the frames that :meth:`Session.resume` repeats follow it.
        :raises LocalProtocolError: there is no RESUME to answer.
        """
        self._answer(LoginState.RESUMING)
        self.state = LoginState.OVER
        return encode(answer)

    def refuse_resume(self, instance: str) -> bytes:
        """Refuse to resume.  Close the link after the answer.

        :param instance: names this run of the server.
        :returns: the payload to write, the same for every reason.
        :raises LocalProtocolError: there is no RESUME to answer.
        """
        self._answer(LoginState.RESUMING)
        self.state = LoginState.OVER
        return encode(ResumeFail(instance=instance))

    def put_off(self, text: str) -> bytes:
        """Answer an AUTH whose signature is verified, or a RESUME whose proof is: not now.  Close the link after it.

        :param text: one line for the client.
        :returns: the payload to write.
        :raises LocalProtocolError: there is nothing to answer, or the text is too long.
        """
        self._answer(LoginState.ASKED, LoginState.RESUMING)
        payload = encode(Unavailable(text=text))
        self.state = LoginState.OVER
        return payload

    def _answer(self, *asked: LoginState) -> None:
        if self.state not in asked:
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"an answer while the login is {self.state.value}")


class ClientLogin:
    """The client's side of the login.

    :param limits: the keepalive to use; the server announces the other limits.
    :ivar state: the side that sends next.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self.state = LoginState.SILENT
        self._limits = limits
        self._decoder = Decoder(Role.CLIENT, Phase.LOGIN)

    def ask(self, claim: Auth) -> bytes:
        """Ask the server to let us in.

        :param claim: the message to send.
        :returns: the payload to write.
        :raises LocalProtocolError: it is not our turn, or the claim cannot be encoded or does not fit a frame.
        """
        if self.state is not LoginState.SILENT:
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"AUTH while the login is {self.state.value}")
        payload = encode(claim)
        if len(payload) > MAX_LOGIN_FRAME_BYTES:
            raise LocalProtocolError(ErrorCode.FRAME_SIZE, f"AUTH takes {len(payload)} bytes, the key is too long")
        self.state = LoginState.ASKED
        return payload

    def receive_frame(self, payload: bytes, now: float) -> tuple[AuthOk, ClientSession] | Unavailable | None:
        """Take the payload of one frame.

        :param now: the time in seconds.
        :returns: the server's answer and the session that has begun; ``None`` when the server refused; or its answer
            when it cannot serve this client now, which is the last one on this link.
        :raises RemoteProtocolError: the frame is not the answer to our AUTH: abort the link.
        """
        _, message = self._decoder.decode(payload)
        if self.state is not LoginState.ASKED:
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "an answer without an AUTH")
        if isinstance(message, AuthFail):
            self.state = LoginState.SILENT
            return None
        if isinstance(message, Unavailable):
            self.state = LoginState.OVER
            return message
        if not isinstance(message, AuthOk):
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "an answer to a RESUME that was not sent")
        self.state = LoginState.OVER
        limits = SessionLimits(
            window=message.window,
            max_channels=message.max_channels,
            keepalive_interval=self._limits.keepalive_interval,
            keepalive_misses=self._limits.keepalive_misses,
            detach_seconds=message.detach_seconds,
        )
        return message, ClientSession(limits, now, takes_run=message.run)


class ClientResume:
    """The client's side of a resume, in place of a login.

    :ivar state: the side that sends next.
    """

    def __init__(self) -> None:
        self.state = LoginState.SILENT
        self._decoder = Decoder(Role.CLIENT, Phase.LOGIN)

    def ask(self, claim: Resume) -> bytes:
        """Ask the server to go on with the session.

        :param claim: the message that :meth:`twisted_rsh.core.resuming.ClientProof.claim` returned.
        :returns: the payload to write.
        :raises LocalProtocolError: a RESUME has been sent already.
        """
        if self.state is not LoginState.SILENT:
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"RESUME while the login is {self.state.value}")
        self.state = LoginState.RESUMING
        return encode(claim)

    def receive_frame(self, payload: bytes) -> ResumeOk | ResumeFail | Unavailable:
        """Take the payload of one frame.

        :returns: the server's answer.  Check a RESUME_OK with :meth:`twisted_rsh.core.resuming.ClientProof.confirm`,
            then call :meth:`Session.resume`.
        :raises RemoteProtocolError: the frame is not the answer to our RESUME: abort the link.
        """
        _, message = self._decoder.decode(payload)
        if self.state is not LoginState.RESUMING or not isinstance(message, ResumeOk | ResumeFail | Unavailable):
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "an answer without a RESUME")
        self.state = LoginState.OVER
        return message
