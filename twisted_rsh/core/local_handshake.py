"""The handshake of a link without TLS, over a Unix socket: two frames, from which both ends derive the link's secrets.

The system names the user at each end of a Unix socket, and no third program can read or change what passes.  So there
is nothing to encrypt and no key to prove.  What a TLS connection gives besides is made here: a name of the
protocol, a value that no other link has, and secrets by which a session goes on over the next link.  A program that can
read the two frames belongs to the same user, or to root, and can read the memory of both ends as well.
"""

from __future__ import annotations

import hmac
import struct

from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.limits import PROOF_BYTES
from twisted_rsh.core.values import dataclass

__all__ = [
    "CLIENT_HELLO_BYTES",
    "PEER_CREDENTIALS",
    "PROTOCOL_NAME",
    "SERVER_HELLO_BYTES",
    "ClientHello",
    "LocalSecrets",
    "ServerHello",
]

PROTOCOL_NAME = b"twisted-rsh/1"
"""The protocol's name and version: what ALPN negotiates on TLS (:data:`twisted_rsh.link.tls.ALPN`)."""

PEER_CREDENTIALS = "peer-credentials"
"""The algorithm in an AUTH without a key: the system names the user at the other end of the Unix socket."""

_NAME = PROTOCOL_NAME + b"\0"

CLIENT_HELLO_BYTES = len(_NAME) + PROOF_BYTES
"""Bytes of the client's frame without its length."""

SERVER_HELLO_BYTES = CLIENT_HELLO_BYTES + PROOF_BYTES
"""Bytes of the server's frame without its length."""

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class ClientHello:
    """The client's frame.

    :ivar random: 32 random bytes, new for each link.
    """

    random: bytes

    def pack(self) -> bytes:
        """Return the payload of the frame."""
        return _NAME + self.random

    @classmethod
    def parse(cls, payload: bytes) -> ClientHello:
        """Read the payload of the frame.

        :raises RemoteProtocolError: the payload is malformed, or of another version.
        """
        return cls(_body(payload, CLIENT_HELLO_BYTES))


@dataclass(frozen=True, slots=True)
class ServerHello:
    """The server's answer.

    :ivar random: 32 random bytes, new for each link.
    :ivar pin: SHA-256 of the server's public key, 32 bytes: a name of the server, which proves nothing here.
    """

    random: bytes
    pin: bytes

    def pack(self) -> bytes:
        """Return the payload of the frame."""
        return _NAME + self.random + self.pin

    @classmethod
    def parse(cls, payload: bytes) -> ServerHello:
        """Read the payload of the frame.

        :raises RemoteProtocolError: the payload is malformed, or of another version.
        """
        body = _body(payload, SERVER_HELLO_BYTES)
        return cls(body[:PROOF_BYTES], body[PROOF_BYTES:])


class LocalSecrets:
    """The secrets of one link, in place of those that TLS exports (RFC 8446, section 7.5).

    :param client: the client's frame.
    :param server: the server's.
    """

    __slots__ = ("_key",)

    def __init__(self, client: ClientHello, server: ServerHello) -> None:
        self._key = client.random + server.random

    def export_keying_material(self, label: bytes, size: int, context: bytes) -> bytes:
        """Return a secret, another one for each label and context; OpenSSL's connection has the same method.

        :param label: what it is for.
        :param size: its bytes: 32, the only size that this protocol uses.
        :param context: further distinguishes it; may be empty.
        """
        assert size == PROOF_BYTES
        return hmac.digest(self._key, _string(label) + _string(context), "sha256")


def _string(text: bytes) -> bytes:
    return _LENGTH.pack(len(text)) + text


def _body(payload: bytes, size: int) -> bytes:
    if len(payload) != size or not payload.startswith(_NAME):
        raise RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, f"no greeting of {PROTOCOL_NAME.decode()}")
    return payload[len(_NAME) :]
