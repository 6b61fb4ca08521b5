"""The messages of the login phase, each declared once."""

from __future__ import annotations

import dataclasses

from twisted_rsh.core.bodies import CLIENT, SERVER, JsonMessage, Message, declare
from twisted_rsh.core.fields import Binary, FieldError, Integer, Text, wire
from twisted_rsh.core.limits import (
    MAX_CHANNEL_ID,
    MAX_LOGIN_FRAME_BYTES,
    MAX_USER_BYTES,
    MAX_WINDOW,
    MIN_WINDOW,
    SESSION_ID_BYTES,
)
from twisted_rsh.core.roles import Phase

__all__ = ["Auth", "AuthFail", "AuthOk"]


@declare(0x01, CLIENT, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Auth(JsonMessage):
    """Log in: prove possession of a key, over this very TLS connection.

    :ivar user: the account to log in to.
    :ivar algorithm: the signature algorithm's SSH name, such as ``"ssh-ed25519"``.
    :ivar key: the public key, an SSH key blob (RFC 4253 section 6.6).
    :ivar signature: an SSH signature blob over the login message (docs/protocol.rst).
    """

    user: str = wire(Text(MAX_USER_BYTES))
    algorithm: str = wire(Text(64))
    key: bytes = wire(Binary(MAX_LOGIN_FRAME_BYTES))
    signature: bytes = wire(Binary(MAX_LOGIN_FRAME_BYTES))


@declare(0x02, SERVER, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AuthOk(JsonMessage):
    """The login succeeded, and a session exists.

    :ivar session: the session's identifier, 16 bytes; it is no secret.
    :ivar instance: names this run of the server; another name means another run, which knows no session of this one.
    :ivar window: bytes of each stream that may be sent and not yet consumed.
    :ivar max_channels: jobs the session may have at once.
    """

    session: bytes = wire(Binary(SESSION_ID_BYTES, min_bytes=SESSION_ID_BYTES))
    instance: str = wire(Text(64))
    window: int = wire(Integer(MIN_WINDOW, MAX_WINDOW))
    max_channels: int = wire(Integer(1, MAX_CHANNEL_ID))


@declare(0x03, SERVER, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True)
class AuthFail(Message):
    """The login failed.  It has no body: every failure looks the same."""

    def body(self) -> bytes:
        return b""

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        if body:
            raise FieldError("a body where there is none")
        return cls()
