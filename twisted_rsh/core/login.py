"""How a link begins: with a login, one AUTH and one answer, or with the resume of a session that exists.

Nothing may be sent behind AUTH or RESUME before its answer, so there is never anything to hold back, and the session
object, with the decoder for everything else, is made by a successful login and nowhere else.
"""

from __future__ import annotations

import enum

from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.codec import Decoder, encode
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import MAX_AUTH_ATTEMPTS, MAX_LOGIN_FRAME_BYTES, SessionLimits
from twisted_rsh.core.messages import Auth, AuthFail, AuthOk, Resume, ResumeFail, ResumeOk
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.core.server_session import ServerSession

__all__ = ["ClientLogin", "ClientResume", "LoginState", "ServerLogin"]


class LoginState(enum.Enum):
    """Whose turn it is."""

    SILENT = "silent"
    """The client's: no AUTH, or the last one was refused."""

    ASKED = "asked"
    """The server's: an AUTH has been sent and not answered."""

    RESUMING = "resuming"
    """The server's: a RESUME has been sent and not answered."""

    OVER = "over"
    """Nobody's: the client is in, or was refused for the last time."""


class ServerLogin:
    """The server's side of the login.

    :ivar state: whose turn it is.
    """

    def __init__(self) -> None:
        self.state = LoginState.SILENT
        self._decoder = Decoder(Role.SERVER, Phase.LOGIN)
        self._attempts = 0

    def receive_frame(self, payload: bytes) -> Auth | Resume:
        """Take the payload of one frame.

        :returns: what the client claims; check it, then :meth:`accept` or :meth:`refuse` an AUTH, and
            :meth:`accept_resume` or :meth:`refuse_resume` a RESUME.
        :raises RemoteProtocolError: anything else than one AUTH in its turn, or one RESUME in place of the first: abort
            the link.
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

    def accept(self, session: bytes, instance: str, limits: SessionLimits, now: float) -> tuple[bytes, ServerSession]:
        """Let the client in.

        :param session: the session's identifier, 16 bytes.
        :param instance: names this run of the server.
        :param limits: the session's bounds.
        :param now: the time in seconds.
        :returns: the payload to write, and the session that begins behind it.
        :raises LocalProtocolError: nobody asked, or the session's facts are out of their bounds.
        """
        self._answer(LoginState.ASKED)
        answer = AuthOk(
            session=session,
            instance=instance,
            window=limits.window,
            max_channels=limits.max_channels,
            detach_seconds=limits.detach_seconds,
        )
        payload = encode(answer)
        self.state = LoginState.OVER
        return payload, ServerSession(limits, now)

    def refuse(self) -> bytes:
        """Refuse the client.  When the state is OVER then, close the link behind the answer.

        :returns: the payload to write, the same for every reason.
        :raises LocalProtocolError: nobody asked.
        """
        self._answer(LoginState.ASKED)
        self.state = LoginState.OVER if self._attempts >= MAX_AUTH_ATTEMPTS else LoginState.SILENT
        return encode(AuthFail())

    def accept_resume(self, answer: ResumeOk) -> bytes:
        """Let the session go on over this link.

        :returns: the payload to write; what :meth:`Session.resume` repeats follows it.
        :raises LocalProtocolError: nobody asked.
        """
        self._answer(LoginState.RESUMING)
        self.state = LoginState.OVER
        return encode(answer)

    def refuse_resume(self, instance: str) -> bytes:
        """Refuse to resume.  Close the link behind the answer.

        :param instance: names this run of the server.
        :returns: the payload to write, the same for every reason.
        :raises LocalProtocolError: nobody asked.
        """
        self._answer(LoginState.RESUMING)
        self.state = LoginState.OVER
        return encode(ResumeFail(instance=instance))

    def _answer(self, asked: LoginState) -> None:
        if self.state is not asked:
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"an answer while the login is {self.state.value}")


class ClientLogin:
    """The client's side of the login.

    :param limits: the keepalive to use; the server announces the rest.
    :ivar state: whose turn it is.
    """

    def __init__(self, limits: SessionLimits) -> None:
        self.state = LoginState.SILENT
        self._limits = limits
        self._decoder = Decoder(Role.CLIENT, Phase.LOGIN)

    def ask(self, claim: Auth) -> bytes:
        """Ask to be let in.

        :returns: the payload to write.
        :raises LocalProtocolError: it is not our turn, or the claim cannot travel.
        """
        if self.state is not LoginState.SILENT:
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"AUTH while the login is {self.state.value}")
        payload = encode(claim)
        if len(payload) > MAX_LOGIN_FRAME_BYTES:
            raise LocalProtocolError(ErrorCode.FRAME_SIZE, f"AUTH takes {len(payload)} bytes, the key is too long")
        self.state = LoginState.ASKED
        return payload

    def receive_frame(self, payload: bytes, now: float) -> tuple[AuthOk, ClientSession] | None:
        """Take the payload of one frame.

        :param now: the time in seconds.
        :returns: what the server announced and the session that has begun, or ``None`` when it refused.
        :raises RemoteProtocolError: anything else than the answer to our AUTH: abort the link.
        """
        _, message = self._decoder.decode(payload)
        if self.state is not LoginState.ASKED:
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "an answer that nobody asked for")
        if isinstance(message, AuthFail):
            self.state = LoginState.SILENT
            return None
        if not isinstance(message, AuthOk):
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "an answer to a RESUME that nobody sent")
        self.state = LoginState.OVER
        limits = SessionLimits(
            window=message.window,
            max_channels=message.max_channels,
            keepalive_interval=self._limits.keepalive_interval,
            keepalive_misses=self._limits.keepalive_misses,
            detach_seconds=message.detach_seconds,
        )
        return message, ClientSession(limits, now)


class ClientResume:
    """The client's side of a resume, in place of a login.

    :ivar state: whose turn it is.
    """

    def __init__(self) -> None:
        self.state = LoginState.SILENT
        self._decoder = Decoder(Role.CLIENT, Phase.LOGIN)

    def ask(self, claim: Resume) -> bytes:
        """Ask for the session to go on.

        :returns: the payload to write.
        :raises LocalProtocolError: it has been asked for already.
        """
        if self.state is not LoginState.SILENT:
            raise LocalProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"RESUME while the login is {self.state.value}")
        self.state = LoginState.RESUMING
        return encode(claim)

    def receive_frame(self, payload: bytes) -> ResumeOk | ResumeFail:
        """Take the payload of one frame.

        :returns: the server's answer; :meth:`twisted_rsh.core.resuming.ClientProof.confirm` says whether a RESUME_OK is
            true, and :meth:`Session.resume` goes on behind it.
        :raises RemoteProtocolError: anything else than the answer to our RESUME: abort the link.
        """
        _, message = self._decoder.decode(payload)
        if self.state is not LoginState.RESUMING or not isinstance(message, ResumeOk | ResumeFail):
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "an answer that nobody asked for")
        self.state = LoginState.OVER
        return message
