"""A FIDO authenticator in software, from OpenSSH's PROTOCOL.u2f alone: its keys and its signatures."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.trust.keys import mpint, string

SK_ED25519 = "sk-ssh-ed25519@openssh.com"
SK_ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
SK_TYPES = (SK_ED25519, SK_ECDSA)

PRESENT = 1
VERIFIED = 4


class Authenticator:
    """One key of an authenticator.

    :param key_type: one of :data:`SK_TYPES`.
    :param application: the name that it is made for.
    """

    def __init__(self, key_type: str, application: bytes = b"ssh:") -> None:
        self.key_type = key_type
        self.application = application
        self.ed25519 = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
        self.ecdsa = ec.derive_private_key(777, ec.SECP256R1())

    @property
    def blob(self) -> bytes:
        """The public key in SSH's wire format."""
        if self.key_type == SK_ED25519:
            point = self.ed25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            parts = [point, self.application]
        else:
            point = self.ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            parts = [b"nistp256", point, self.application]
        return b"".join(map(string, [self.key_type.encode(), *parts]))

    def sign(self, data: bytes, flags: int = PRESENT, counter: int = 1, claimed: bytes | None = None) -> bytes:
        """Sign data; `claimed` is what to write in place of the flags and the counter that were signed."""
        behind = bytes([flags]) + counter.to_bytes(4, "big")
        signed = hashlib.sha256(self.application).digest() + behind + hashlib.sha256(data).digest()
        if self.key_type == SK_ED25519:
            raw = self.ed25519.sign(signed)
        else:
            r, s = decode_dss_signature(self.ecdsa.sign(signed, ec.ECDSA(SHA256())))
            raw = mpint(r) + mpint(s)
        return string(self.key_type.encode()) + string(raw) + (behind if claimed is None else claimed)
