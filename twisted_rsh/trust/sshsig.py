"""The signature with which a client logs in, and the server's check of it.

The signature is an SSHSIG (OpenSSH's ``PROTOCOL.sshsig``) in a namespace of this protocol.  So no signature that a key
makes for another purpose logs in here, and no login's signature is of use elsewhere.  SSH agents and hardware keys can
make it, and ``ssh-keygen -Y verify`` can check it.  It covers the exporter of the TLS connection (RFC 9266), so it is
of no use on another connection.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from twisted_rsh.trust.fingerprint import DIGEST_BYTES
from twisted_rsh.trust.ssh_keys import CERTIFICATE_SUFFIX, BadSignature, PublicKey, parse_public_key
from twisted_rsh.trust.ssh_wire import encode_string

__all__ = [
    "EXPORTER_BYTES",
    "LOGIN_NAMESPACE",
    "encode_user",
    "login_message",
    "parse_login_key",
    "signed_bytes",
    "verify_login",
]

LOGIN_NAMESPACE = "twisted-rsh-auth-v1"
"""The SSHSIG namespace of logins."""

EXPORTER_BYTES = 32
"""Bytes of the ``tls-exporter`` channel binding, as RFC 9266 defines it."""

_TYPE_BYTES = 64
"""Bytes at the beginning of a key, or of a certificate, that have its type."""

_LOGIN_CONTEXT = b"twisted-rsh/1 client-auth"


def encode_user(user: str) -> bytes:
    """Encode a user name for the wire.

    :param user: the name; bytes that are not UTF-8 are surrogate escapes (PEP 383).
    :returns: its bytes; no two names have the same bytes.
    :raises UnicodeError: the text has no encoding, or is a second spelling of another text's bytes.
    """
    encoded = user.encode("utf-8", "surrogateescape")
    if encoded.decode("utf-8", "surrogateescape") != user:
        raise UnicodeError("the user name is not in its one spelling")
    return encoded


def login_message(exporter: bytes, server_spki_sha256: bytes, user: str, algorithm: str, key_blob: bytes) -> bytes:
    """Build the message that a login signs.  Each side builds its own from the values that it sees itself.

    :param exporter: the exporter value of this TLS connection, :data:`EXPORTER_BYTES` bytes.
    :param server_spki_sha256: the SHA-256 of the server's public key; see
        :func:`twisted_rsh.trust.fingerprint.spki_sha256`.
    :param user: the user name to log in as.
    :param algorithm: the signature algorithm.
    :param key_blob: the public key in SSH's wire format.
    :returns: the message, for :func:`signed_bytes`.
    :raises UnicodeError: the user name or the algorithm cannot be written on the wire.
    :raises ValueError: the exporter or the digest is not of its size, so the login would not be bound to a connection.
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
    """Build the bytes that SSHSIG signs in place of a message.

    :param message: the message.
    :param namespace: the purpose of the signature, such as :data:`LOGIN_NAMESPACE`.
    :returns: the bytes to sign or to verify.
    """
    fields = (namespace.encode("utf-8"), b"", b"sha512", hashlib.sha512(message).digest())
    return b"SSHSIG" + b"".join(map(encode_string, fields))


def parse_login_key(blob: bytes) -> PublicKey:
    """Read what a client logs in with.

    :param blob: a public key or a certificate of one, in SSH's wire format, any bytes at all.
    :returns: the key, which has the certificate.
    :raises BadKey: it is not accepted.
    :raises BadSignature: the authority that the certificate names has not signed it.
    """
    if CERTIFICATE_SUFFIX not in blob[:_TYPE_BYTES]:
        return parse_public_key(blob)
    from twisted_rsh.trust.certificates import parse_certificate  # only here: few clients have one

    certificate = parse_certificate(blob)
    return replace(certificate.key, certificate=certificate)


def verify_login(
    key_blob: bytes, algorithm: str, signature: bytes, *, exporter: bytes, server_spki_sha256: bytes, user: str
) -> PublicKey:
    """Check that the peer of this connection holds a private key.

    This does not decide whether that key may log in: ask a portal next, with a
    :class:`twisted_rsh.trust.cred.VerifiedKey`.

    :param key_blob: the public key that the peer sent, or a certificate of it, any bytes at all.
    :param algorithm: the signature algorithm that the peer named, any text at all.
    :param signature: ``string(algorithm) string(signature)`` as the peer sent it, any bytes at all.
    :param exporter: the server's own exporter value of this connection.
    :param server_spki_sha256: the SHA-256 of the server's own public key.
    :param user: the user name that the peer sent, any text at all.
    :returns: the key.
    :raises BadKey: the key is not accepted.
    :raises BadSignature: the signature does not prove the possession of this key on this connection.
    :raises ValueError: the exporter or the digest is not of its size; both are the server's own values.
    """
    key = parse_login_key(key_blob)
    try:
        message = login_message(exporter, server_spki_sha256, user, algorithm, key_blob)
    except UnicodeError as error:
        raise BadSignature("the user name or the algorithm cannot be written on the wire") from error
    key.verify(algorithm, signature, signed_bytes(message, LOGIN_NAMESPACE))
    return key
