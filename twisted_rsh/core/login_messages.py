"""The messages of the login phase, each declared once."""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from twisted_rsh.core.bodies import CLIENT, SERVER, JsonMessage, Message, declare
from twisted_rsh.core.fields import Binary, FieldError, Integer, Text, wire
from twisted_rsh.core.limits import (
    MAX_CHANNELS,
    MAX_DETACH_SECONDS,
    MAX_LOGIN_FRAME_BYTES,
    MAX_OFFSET,
    MAX_USER_BYTES,
    MAX_WINDOW,
    MIN_WINDOW,
    PROOF_BYTES,
    SESSION_ID_BYTES,
)
from twisted_rsh.core.positions import Positions
from twisted_rsh.core.roles import OUTPUTS, Phase

__all__ = ["Auth", "AuthFail", "AuthOk", "Resume", "ResumeFail", "ResumeOk"]


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
    :ivar detach_seconds: seconds for which the server keeps a session that has lost its link, at most.
    """

    session: bytes = wire(Binary(SESSION_ID_BYTES, min_bytes=SESSION_ID_BYTES))
    instance: str = wire(Text(64))
    window: int = wire(Integer(MIN_WINDOW, MAX_WINDOW))
    max_channels: int = wire(Integer(1, MAX_CHANNELS))
    detach_seconds: int = wire(Integer(0, MAX_DETACH_SECONDS), default=0)


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


@declare(0x04, CLIENT, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Message):
    """Go on with a session over this link.

    :ivar session: the session's identifier, 16 bytes.
    :ivar attempt: a number above that of every attempt before it, from 1.
    :ivar proof: that the sender is the session's client, 32 bytes (:mod:`twisted_rsh.core.resuming`).
    :ivar positions: how much has arrived at the client.
    """

    layout: ClassVar[struct.Struct] = struct.Struct(f"!{SESSION_ID_BYTES}sQ{PROOF_BYTES}s")

    session: bytes
    attempt: int
    proof: bytes
    positions: Positions

    def body(self) -> bytes:
        if len(self.session) != SESSION_ID_BYTES or len(self.proof) != PROOF_BYTES:
            raise FieldError("an identifier or a proof of an impossible size")
        if not 1 <= self.attempt <= MAX_OFFSET:
            raise FieldError("no number of an attempt")
        if any(len(offsets) != len(OUTPUTS) for _, offsets in self.positions.streams):
            raise FieldError("not one offset for each stream")
        return self.layout.pack(self.session, self.attempt, self.proof) + self.positions.pack()

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        size = cls.layout.size
        if len(body) < size:
            raise FieldError(f"less than {size} bytes")
        session, attempt, proof = cls.layout.unpack_from(body)
        positions = Positions.unpack(body[size:], len(OUTPUTS))
        message = cls(session=session, attempt=attempt, proof=proof, positions=positions)
        message.body()
        return message


@declare(0x05, SERVER, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOk(Message):
    """The session goes on.

    :ivar proof: that the sender is the session's server, 32 bytes.
    :ivar positions: how much has arrived at the server.
    """

    layout: ClassVar[struct.Struct] = struct.Struct(f"!{PROOF_BYTES}s")

    proof: bytes
    positions: Positions

    def body(self) -> bytes:
        if len(self.proof) != PROOF_BYTES:
            raise FieldError("a proof of an impossible size")
        if any(len(offsets) != 1 for _, offsets in self.positions.streams):
            raise FieldError("not one offset for each stream")
        return self.proof + self.positions.pack()

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        if len(body) < PROOF_BYTES:
            raise FieldError(f"less than {PROOF_BYTES} bytes")
        return cls(proof=bytes(body[:PROOF_BYTES]), positions=Positions.unpack(body[PROOF_BYTES:], 1))


@declare(0x06, SERVER, Phase.LOGIN)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResumeFail(JsonMessage):
    """The session does not go on.  It is the same for every reason, and the last message on this link.

    :ivar instance: names this run of the server: a client can tell whether it is the one that knew its session.
    """

    instance: str = wire(Text(64))
