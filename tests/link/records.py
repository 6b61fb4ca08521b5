"""TLS 1.3 records made by hand: what no TLS library sends, and a hostile peer does (RFC 8446)."""

from __future__ import annotations

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

__all__ = ["KEY_UPDATE_BYTES", "HandmadeRecords", "handshake_record"]

APPLICATION_DATA, HANDSHAKE = 23, 22
KEY_UPDATE = b"\x18\x00\x00\x01\x01"
"""A KeyUpdate that asks for one in return (RFC 8446, section 4.6.3)."""

KEY_UPDATE_BYTES = 5 + len(KEY_UPDATE) + 1 + 16
"""Bytes of the record of one, and of the answer to it."""


def handshake_record(content: bytes) -> bytes:
    """Return a record of a handshake that has only begun."""
    return struct.pack("!BHH", HANDSHAKE, 0x0301, len(content)) + content


class HandmadeRecords:
    """Goes on where a TLS client has stopped.

    :param connection: the client's end, after its handshake.
    :param secrets: the connection's secrets, by their labels in the key log.
    :param sent: records of data that the client has sent.
    """

    def __init__(self, connection: SSL.Connection, secrets: dict[str, bytes], sent: int = 0) -> None:
        cipher = connection.get_cipher_name()
        assert cipher in ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"), cipher
        self._hash = hashlib.sha384 if cipher.endswith("384") else hashlib.sha256
        self._key_bytes = 32 if "256_GCM" in cipher else 16
        self._use(secrets["CLIENT_TRAFFIC_SECRET_0"])
        self._sequence = sent

    def key_update(self) -> bytes:
        """Return the record of a KeyUpdate, and use the next key from then on."""
        record = self._seal(HANDSHAKE, KEY_UPDATE)
        self._use(self._expand(b"traffic upd", self._hash().digest_size))
        self._sequence = 0
        return record

    def data(self, plaintext: bytes) -> bytes:
        """Return a record of data."""
        return self._seal(APPLICATION_DATA, plaintext)

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._aead = AESGCM(self._expand(b"key", self._key_bytes))
        self._iv = int.from_bytes(self._expand(b"iv", 12), "big")

    def _expand(self, label: bytes, size: int) -> bytes:
        # HKDF-Expand-Label (section 7.1) with an empty context; one block of HMAC is always enough here.
        label = b"tls13 " + label
        info = struct.pack("!HB", size, len(label)) + label + b"\0"
        return hmac.digest(self._secret, info + b"\1", self._hash)[:size]

    def _seal(self, kind: int, content: bytes) -> bytes:
        header = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(content) + 1 + 16)
        nonce = (self._iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return header + self._aead.encrypt(nonce, content + bytes([kind]), header)
