"""What a client signs to log in, and how the server checks it.

The signature is an SSHSIG (OpenSSH's ``PROTOCOL.sshsig``) in a namespace of our own, so no signature that a key makes
for another purpose is a login here, and none made here is of use elsewhere; agents and hardware keys can make it, and
``ssh-keygen -Y verify`` can check it.  It covers the exporter of the TLS connection (RFC 9266), so it is of no use on
any other connection.
"""

from __future__ import annotations

import hashlib

from twisted_rsh.trust.fingerprint import DIGEST_BYTES
from twisted_rsh.trust.ssh_keys import BadSignature, PublicKey, encode_string, parse_public_key

__all__ = ["EXPORTER_BYTES", "LOGIN_NAMESPACE", "encode_user", "login_message", "signed_bytes", "verify_login"]

LOGIN_NAMESPACE = "twisted-rsh-auth-v1"
"""The SSHSIG namespace of logins."""

EXPORTER_BYTES = 32
"""Bytes of the ``tls-exporter`` channel binding, as RFC 9266 defines it."""

_LOGIN_CONTEXT = b"twisted-rsh/1 client-auth"


def encode_user(user: str) -> bytes:
    """Write a user name in the one way that the wire knows.

    :param user: the name; bytes that were not UTF-8 are surrogate escapes (PEP 383).
    :returns: its bytes; no two names have the same.
    :raises UnicodeError: the text stands for no bytes, or is another way to write a name.
    """
    encoded = user.encode("utf-8", "surrogateescape")
    if encoded.decode("utf-8", "surrogateescape") != user:
        raise UnicodeError("the user name is not written in its one way")
    return encoded


def login_message(exporter: bytes, server_spki_sha256: bytes, user: str, algorithm: str, key_blob: bytes) -> bytes:
    """Build the message that a login signs; both sides build their own, from what they see themselves.

    :param exporter: the exporter value of this TLS connection, :data:`EXPORTER_BYTES` bytes.
    :param server_spki_sha256: the SHA-256 of the server's public key; see
        :func:`twisted_rsh.trust.fingerprint.spki_sha256`.
    :param user: the user who logs in.
    :param algorithm: the signature algorithm.
    :param key_blob: the public key in SSH's wire format.
    :returns: the message, for :func:`signed_bytes`.
    :raises UnicodeError: the user name or the algorithm cannot be written on the wire.
    :raises ValueError: the exporter or the digest is not of its size, so that it would bind the login to nothing.
    """
    if len(exporter) != EXPORTER_BYTES or len(server_spki_sha256) != DIGEST_BYTES:
        raise ValueError("the exporter value or the digest of the server's key is not of its size")
    fields = (
        _LOGIN_CONTEXT,
        exporter,
        server_spki_sha256,
        encode_user(user),
        algorithm.encode("ascii"),
        key_blob,
    )
    return b"".join(map(encode_string, fields))


def signed_bytes(message: bytes, namespace: str) -> bytes:
    """Build what SSHSIG signs in place of a message.

    :param message: the message.
    :param namespace: the purpose of the signature, such as :data:`LOGIN_NAMESPACE`.
    :returns: the bytes to sign or to verify.
    """
    fields = (namespace.encode("utf-8"), b"", b"sha512", hashlib.sha512(message).digest())
    return b"SSHSIG" + b"".join(map(encode_string, fields))


def verify_login(
    key_blob: bytes, algorithm: str, signature: bytes, *, exporter: bytes, server_spki_sha256: bytes, user: str
) -> PublicKey:
    """Check that whoever is at the other end of this connection holds a private key.

    Whether that key may log in is another question: ask a portal, with a
    :class:`twisted_rsh.trust.cred.VerifiedKey`.

    :param key_blob: the public key that the peer sent, any bytes at all.
    :param algorithm: the signature algorithm that the peer named, any text at all.
    :param signature: ``string(algorithm) string(signature)`` as the peer sent it, any bytes at all.
    :param exporter: the server's own exporter value of this connection.
    :param server_spki_sha256: the SHA-256 of the server's own public key.
    :param user: the user name that the peer sent, any text at all.
    :returns: the key.
    :raises BadKey: the key is not accepted.
    :raises BadSignature: the signature does not prove the possession of this key on this connection.
    :raises ValueError: the exporter or the digest, which are the server's own, is not of its size.
    """
    key = parse_public_key(key_blob)
    try:
        message = login_message(exporter, server_spki_sha256, user, algorithm, key_blob)
    except UnicodeError as error:
        raise BadSignature("the user name or the algorithm cannot be written on the wire") from error
    key.verify(algorithm, signature, signed_bytes(message, LOGIN_NAMESPACE))
    return key
