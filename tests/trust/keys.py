"""Private keys of the tests, and signatures made without the code under test."""

from __future__ import annotations

import base64
import functools
import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat

from twisted_rsh.trust.authorized_keys import KeyFiles
from twisted_rsh.trust.home import ConfigFolders

PrivateKey = Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
"""Every signature algorithm that is accepted."""

EXPORTER = bytes(range(32))
SPKI = bytes(range(32, 64))

_CURVES: dict[str, ec.EllipticCurve] = {
    "ecdsa-sha2-nistp256": ec.SECP256R1(),
    "ecdsa-sha2-nistp384": ec.SECP384R1(),
    "ecdsa-sha2-nistp521": ec.SECP521R1(),
}
_HASHES: dict[str, HashAlgorithm] = {
    "ecdsa-sha2-nistp256": SHA256(),
    "ecdsa-sha2-nistp384": SHA384(),
    "ecdsa-sha2-nistp521": SHA512(),
    "rsa-sha2-256": SHA256(),
    "rsa-sha2-512": SHA512(),
    "ssh-rsa": SHA1(),  # noqa: S303 (made here in order to be refused)
}


def string(data: bytes) -> bytes:
    """Write an SSH string."""
    return struct.pack(">I", len(data)) + data


def mpint(number: int) -> bytes:
    """Write a positive SSH mpint."""
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


@functools.cache
def private_key(algorithm: str, which: int = 0) -> PrivateKey:
    """Make a key for an algorithm, the same one each time; `which` tells several apart."""
    if algorithm == "ssh-ed25519":
        return Ed25519PrivateKey.from_private_bytes(bytes([which]) * 32)
    if algorithm in _CURVES:
        return ec.derive_private_key(12345 + which, _CURVES[algorithm])
    return rsa.generate_private_key(65537, 2048)


def blob_of(key: PublicKeyTypes) -> bytes:
    """Write a public key in SSH's wire format."""
    return base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])


def locked(key: PrivateKey, passphrase: bytes) -> bytes:
    """Write a private key as ssh-keygen does, with a passphrase, and as few rounds as there can be."""
    encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(1).build(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)


def key_blob(algorithm: str, which: int = 0) -> bytes:
    """Write the public half of :func:`private_key`."""
    return blob_of(private_key(algorithm, which).public_key())


def raw_signature(algorithm: str, data: bytes, which: int = 0) -> bytes:
    """Sign data: the inner part of a signature."""
    key = private_key(algorithm, which)
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), _HASHES[algorithm])
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_HASHES[algorithm])))
    return mpint(r) + mpint(s)


def signature(algorithm: str, data: bytes, which: int = 0) -> bytes:
    """Sign data: a signature in SSH's wire format."""
    return string(algorithm.encode()) + string(raw_signature(algorithm, data, which))


def login_bytes(
    algorithm: str,
    *,
    exporter: bytes = EXPORTER,
    spki: bytes = SPKI,
    user: str = "alice",
    named: str | None = None,
    blob: bytes | None = None,
    namespace: bytes = b"twisted-rsh-auth-v1",
) -> bytes:
    """Build what a login signs, from the written rule alone."""
    message = (
        string(b"twisted-rsh/1 client-auth")
        + string(exporter)
        + string(spki)
        + string(user.encode())
        + string((named or algorithm).encode())
        + string(key_blob(algorithm) if blob is None else blob)
    )
    return envelope(message, namespace)


def envelope(message: bytes, namespace: bytes) -> bytes:
    """Build what SSHSIG signs in place of a message, from OpenSSH's PROTOCOL.sshsig alone."""
    return b"SSHSIG" + string(namespace) + string(b"") + string(b"sha512") + string(hashlib.sha512(message).digest())


def granted_keys(config: ConfigFolders) -> tuple[frozenset[bytes], list[str]]:
    """Look at the files of a user for the first time: the keys that may log in, and the warnings."""
    files = KeyFiles(config)
    warnings = files.look()
    return frozenset(blob for file in files._files for blob in file.keys.blobs), warnings
