"""Fingerprints: the short names of keys, which people compare and programs pin.

A server's identity is the SHA-256 of its public key's SubjectPublicKeyInfo (RFC 5280, section 4.1; RFC 7469 pins the
same), and not its certificate, which only wraps the key.  A user's key has the name that ``ssh-keygen -l`` prints.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twisted_rsh.core.errors import Error

__all__ = [
    "DIGEST_BYTES",
    "BadFingerprint",
    "certificate_spki_sha256",
    "format_fingerprint",
    "parse_fingerprint",
    "spki_sha256",
    "ssh_fingerprint",
]

DIGEST_BYTES = 32
"""Bytes of a SHA-256 digest."""

_PREFIX = "SHA256:"
_SHOWN = 80
"""Characters of a wrong text that the error repeats: enough to recognise the text, few enough for one line."""


class BadFingerprint(Error, ValueError):
    """A text is not a fingerprint, or a certificate holds no key that can be read.  ``str()`` is one line."""


def spki_sha256(public_key: PublicKeyTypes) -> bytes:
    """Compute the digest of a server's public key, which a client pins.

    :param public_key: any public key of ``cryptography``.
    :returns: the :data:`DIGEST_BYTES` bytes of the SHA-256 of its SubjectPublicKeyInfo in DER;
        :func:`format_fingerprint` writes it for people.
    """
    return hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def certificate_spki_sha256(der: bytes) -> bytes:
    """Compute the :func:`spki_sha256` of the key in a peer's certificate.

    :param der: the certificate, any bytes at all.
    :returns: the digest, for comparing with a pin by :func:`hmac.compare_digest`.
    :raises BadFingerprint: no key can be read from these bytes; the peer is not to be trusted.
    """
    try:
        return spki_sha256(x509.load_der_x509_certificate(der).public_key())
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise BadFingerprint("the peer's certificate holds no key that can be read") from error


def format_fingerprint(digest: bytes) -> str:
    """Format a digest for people, as OpenSSH does.

    :param digest: :data:`DIGEST_BYTES` bytes.
    :returns: ``SHA256:`` and 43 characters of base64 without padding; :func:`parse_fingerprint` reads it.
    """
    return _PREFIX + base64.b64encode(digest).decode("ascii").rstrip("=")


def parse_fingerprint(text: str) -> bytes:
    """Parse a fingerprint that a user has pasted.

    :param text: the text that :func:`format_fingerprint` writes; white space around it is ignored.
    :returns: the digest, of :data:`DIGEST_BYTES` bytes.
    :raises BadFingerprint: the text is anything else.
    """
    text = text.strip()
    try:
        digest = base64.b64decode(text.removeprefix(_PREFIX) + "=", validate=True)
    except ValueError:
        digest = b""
    # Compare the formatted digest: that refuses a missing prefix, other padding, and stray bits in the last character.
    if len(digest) != DIGEST_BYTES or format_fingerprint(digest) != text:
        raise BadFingerprint(
            f"{text[:_SHOWN]!a} is not a fingerprint: "
            "copy the one that the server printed, SHA256: and 43 letters, digits, + and /"
        )
    return digest


def ssh_fingerprint(blob: bytes) -> str:
    """Return the fingerprint of a user's public key, as ``ssh-keygen -l`` prints it.

    :param blob: the key in SSH's wire format (RFC 4253, section 6.6).
    :returns: ``SHA256:`` and 43 characters of base64.
    """
    return format_fingerprint(hashlib.sha256(blob).digest())
