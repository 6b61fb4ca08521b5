"""SSH's public keys and signatures, read strictly from hostile input.

The accepted keys are ``ssh-ed25519`` (RFC 8709), ``ecdsa-sha2-nistp256``, ``-nistp384`` and ``-nistp521`` (RFC 5656),
RSA keys with ``rsa-sha2-512`` or ``rsa-sha2-256`` (RFC 8332), and the keys of FIDO authenticators,
``sk-ssh-ed25519@openssh.com`` and ``sk-ecdsa-sha2-nistp256@openssh.com`` (OpenSSH's ``PROTOCOL.u2f``).  This module
refuses everything else: DSA, SHA-1; :mod:`twisted_rsh.trust.certificates` reads certificates.  ``cryptography``
implements the algorithms.  The parser is this module's own, because that of Twisted Conch accepts SHA-1 and ignores
trailing bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twisted_rsh.core.errors import Error
from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.fingerprint import spki_sha256, ssh_fingerprint
from twisted_rsh.trust.ssh_wire import BadWire, decode_mpint, encode_string, split_strings

if TYPE_CHECKING:
    from twisted_rsh.trust.certificates import Certificate

__all__ = [
    "CERTIFICATE_SUFFIX",
    "HASHES",
    "KEY_PARTS",
    "MAX_KEY_BLOB_BYTES",
    "MAX_RSA_BITS",
    "MAX_RSA_EXPONENT",
    "MAX_SIGNATURE_BYTES",
    "MIN_RSA_BITS",
    "MIN_RSA_EXPONENT",
    "BadKey",
    "BadSignature",
    "PublicKey",
    "check_public_key",
    "encode_public_key",
    "is_key_type",
    "parse_public_key",
    "parse_public_line",
    "public_line",
]

MAX_KEY_BLOB_BYTES = 2 * 1024
"""Bytes of a public key at most.  The largest accepted key, RSA of 8192 bits, takes 1,049."""

_MAX_ENCODED_CHARACTERS = -(-MAX_KEY_BLOB_BYTES // 3) * 4

_BLANK = re.compile(rb"[ \t]+")

MAX_SIGNATURE_BYTES = 2 * 1024
"""Bytes of a signature at most.  The largest accepted signature, of an RSA key of 8192 bits, takes 1,044."""

MIN_RSA_BITS = 2048
"""Bits of the smallest accepted RSA modulus: NIST SP 800-57 allows no smaller one."""

MAX_RSA_BITS = 8192
"""Bits of the largest accepted RSA modulus: parsing and verifying take about a millisecond, too little to load a server
with."""

MIN_RSA_EXPONENT = 3
"""The smallest accepted public exponent.  Old versions of ``ssh-keygen`` made keys with 35.  Attacks on small exponents
need a verifier that is lax about the padding, and this one compares all of it."""

MAX_RSA_EXPONENT = 2**32 - 1
"""The largest accepted public exponent, which bounds the time of a verification.  Nearly all keys have 65537."""

HASHES: dict[str, HashAlgorithm] = {
    "rsa-sha2-512": SHA512(),
    "rsa-sha2-256": SHA256(),
    "ecdsa-sha2-nistp256": SHA256(),
    "ecdsa-sha2-nistp384": SHA384(),
    "ecdsa-sha2-nistp521": SHA512(),
    "sk-ecdsa-sha2-nistp256@openssh.com": SHA256(),
}
"""The hash of each signature algorithm; Ed25519 has its own inside."""

_ED25519_BYTES = 32
_ED25519_HEAD = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
"""Bytes of a point of Ed25519 (RFC 8709, section 4), and what comes before them in its key."""

_SK_ED25519 = b"sk-ssh-ed25519@openssh.com"
_SK_ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"

_PRESENT = 1
"""The flag of an authenticator's signature that says: a person has touched it (CTAP 2.1, section 6.1)."""

_FLAGS_BYTES = 5
"""Bytes after an authenticator's signature: its flags, and its counter of 32 bits."""

_CURVES: dict[bytes, ec.EllipticCurve] = {
    b"nistp256": ec.SECP256R1(),
    b"nistp384": ec.SECP384R1(),
    b"nistp521": ec.SECP521R1(),
}


class BadKey(Error):
    """Bytes are not a public key of an accepted kind."""


class BadSignature(Error):
    """Bytes are not a signature of the data by the key and the algorithm."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that has passed every check; :func:`parse_public_key` makes it.

    :ivar key_type: its type, such as ``ssh-ed25519``.
    :ivar blob: the key in SSH's wire format, in its one canonical encoding.
    :ivar algorithms: the signature algorithms that fit the key, the preferred one first.
    :ivar certificate: the certificate that its holder has shown for it; ``None`` without one.
    """

    key_type: str
    blob: bytes
    algorithms: tuple[str, ...]
    _key: _Key = field(repr=False, compare=False)
    certificate: Certificate | None = None

    @property
    def fingerprint(self) -> str:
        """The key's name for people and logs, as ``ssh-keygen -l`` prints it."""
        return ssh_fingerprint(self.blob)

    @property
    def pin(self) -> bytes | None:
        """The SHA-256 of the key as TLS encodes it, 32 bytes; ``None`` for an authenticator's key: TLS has none."""
        return None if isinstance(self._key, _AuthenticatorKey) else spki_sha256(self._key)

    def verify(self, algorithm: str, signature_blob: bytes, data: bytes) -> None:
        """Check that this key has signed some data.

        :param algorithm: the signature algorithm that the peer named.
        :param signature_blob: ``string(algorithm) string(signature)``, any bytes at all.
        :param data: the data.
        :raises BadSignature: it has not, or the signature is malformed; the exception does not tell these apart.
        """
        if algorithm not in self.algorithms:
            raise BadSignature("the algorithm does not fit the key")
        if len(signature_blob) > MAX_SIGNATURE_BYTES:
            raise BadSignature("the signature is too long")
        try:
            if isinstance(self._key, _AuthenticatorKey):
                signature_blob, data = self._key.signed(signature_blob, data)
            named, signature = split_strings(signature_blob)
            if named != algorithm.encode("ascii"):
                raise BadSignature("the signature is by another algorithm")
            self._verify(algorithm, signature, data)
        except (InvalidSignature, ValueError) as error:
            raise BadSignature("the signature is not by this key, or not of these data") from error

    def _verify(self, algorithm: str, signature: bytes, data: bytes) -> None:
        key = self._key.key if isinstance(self._key, _AuthenticatorKey) else self._key
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), HASHES[algorithm])
        else:
            r, s = map(decode_mpint, split_strings(signature))
            key.verify(encode_dss_signature(r, s), data, ec.ECDSA(HASHES[algorithm]))


@dataclass(frozen=True, slots=True)
class _AuthenticatorKey:
    """The key of a FIDO authenticator, which signs for one application, and says whether a person was there.

    :ivar key: the key that the authenticator has.
    :ivar application: the name that it was made for, such as ``ssh:``.
    """

    key: Ed25519PublicKey | ec.EllipticCurvePublicKey
    application: bytes

    def signed(self, signature_blob: bytes, data: bytes) -> tuple[bytes, bytes]:
        """Take the flags and the counter off a signature; return it without them, and what it is a signature of.

        The signature covers the counter.  A server that remembered the counter could find a copied authenticator; this
        one does not, nor does OpenSSH's.

        :raises BadSignature: no person was there.
        """
        signature, behind = signature_blob[:-_FLAGS_BYTES], signature_blob[-_FLAGS_BYTES:]
        if len(behind) != _FLAGS_BYTES or not behind[0] & _PRESENT:
            raise BadSignature("the signature does not say that a person has touched the authenticator")
        hashes = hashlib.sha256(self.application).digest(), hashlib.sha256(data).digest()
        return signature, behind.join(hashes)


_Key = Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey | _AuthenticatorKey


def parse_public_key(blob: bytes) -> PublicKey:
    """Read a public key from untrusted bytes.

    :param blob: the key in SSH's wire format (RFC 4253, section 6.6), any bytes at all.
    :returns: the key.
    :raises BadKey: the key is malformed, not in its canonical encoding, of a type that is not accepted, or weak.
    """
    if _has_ed25519_form(blob):  # most keys, and no other encoding of such a key exists
        try:
            point = Ed25519PublicKey.from_public_bytes(blob[len(_ED25519_HEAD) :])
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadKey(_MALFORMED) from error
        return PublicKey("ssh-ed25519", blob, ("ssh-ed25519",), point)
    key_type, parts = _split_key(blob)
    _, build, algorithms = _TYPES[key_type]
    try:
        key = build(parts)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKey(_MALFORMED) from error
    # One key must have one encoding and so one fingerprint: encode the key again and compare.  The checks have left an
    # authenticator's key one encoding.
    if not isinstance(key, _AuthenticatorKey) and encode_public_key(key) != blob:
        raise BadKey(_NOT_CANONICAL)
    return PublicKey(key_type.decode("ascii"), blob, algorithms, key)


def check_public_key(blob: bytes) -> str:
    """Check a public key as far as that takes no cryptography, in a tenth of the time of :func:`parse_public_key`.

    What this accepts is a key or a point that is on no curve, with which nobody can sign.

    :param blob: the key in SSH's wire format, any bytes at all.
    :returns: its type, such as ``ssh-ed25519``.
    :raises BadKey: as :func:`parse_public_key`.
    """
    if _has_ed25519_form(blob):
        return "ssh-ed25519"  # most keys, in a tenth of the time
    return _split_key(blob)[0].decode("ascii")


def _has_ed25519_form(blob: bytes) -> bool:
    return len(blob) == len(_ED25519_HEAD) + _ED25519_BYTES and blob.startswith(_ED25519_HEAD)


_MALFORMED = "the key is malformed"
_NOT_CANONICAL = "the key is not in its canonical form"


def _split_key(blob: bytes) -> tuple[bytes, list[bytes]]:
    if len(blob) > MAX_KEY_BLOB_BYTES:
        raise BadKey(f"the key has more than {MAX_KEY_BLOB_BYTES} bytes")
    try:
        key_type, *parts = split_strings(blob) or [b""]
        if key_type not in _TYPES:
            raise BadKey(f"keys of type {key_type[:64]!r} are not accepted")
        check, _, _ = _TYPES[key_type]
        check(key_type, parts)
    except ValueError as error:
        raise BadKey(_MALFORMED) from error
    return key_type, parts


def _check_ed25519(_key_type: bytes, parts: list[bytes]) -> None:
    (point,) = parts
    if len(point) != _ED25519_BYTES:
        raise BadWire("a point of another size")


def _check_ecdsa(key_type: bytes, parts: list[bytes]) -> None:
    curve, point = parts
    if key_type != b"ecdsa-sha2-" + curve:
        raise BadWire("the key's type names another curve")
    # Points are uncompressed: 4, and both coordinates.  2 and 3 begin a compressed one (SEC 1, section 2.3.3).
    if point[:1] in (b"\2", b"\3"):
        raise BadKey(_NOT_CANONICAL)
    if point[:1] != b"\4" or len(point) != 1 + 2 * ((_CURVES[curve].key_size + 7) // 8):
        raise BadWire("a point of another size")


def _check_sk_ed25519(key_type: bytes, parts: list[bytes]) -> None:
    point, application = parts
    _check_ed25519(key_type, [point])
    _check_application(application)


def _check_sk_ecdsa(_key_type: bytes, parts: list[bytes]) -> None:
    curve, point, application = parts
    _check_ecdsa(b"ecdsa-sha2-nistp256", [curve, point])
    _check_application(application)


def _check_application(application: bytes) -> None:
    if not application:
        raise BadWire("an authenticator's key for no application")


def _check_rsa(_key_type: bytes, parts: list[bytes]) -> None:
    exponent, modulus = map(decode_mpint, parts)
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise BadKey(f"an RSA key of {modulus.bit_length()} bits: {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted")
    if not (MIN_RSA_EXPONENT <= exponent <= MAX_RSA_EXPONENT and exponent % 2 and modulus % 2):
        raise BadKey("an RSA key with an exponent or modulus that no key has")


def _build_ed25519(parts: list[bytes]) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(parts[0])


def _build_ecdsa(parts: list[bytes]) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[parts[0]], parts[1])


def _build_rsa(parts: list[bytes]) -> rsa.RSAPublicKey:
    exponent, modulus = map(decode_mpint, parts)
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _build_sk_ed25519(parts: list[bytes]) -> _AuthenticatorKey:
    return _AuthenticatorKey(_build_ed25519(parts), parts[1])


def _build_sk_ecdsa(parts: list[bytes]) -> _AuthenticatorKey:
    return _AuthenticatorKey(_build_ecdsa(parts), parts[2])


CERTIFICATE_SUFFIX = b"-cert-v01@openssh.com"
"""What the type of a certificate ends with (OpenSSH's ``PROTOCOL.certkeys``)."""

_Check = Callable[[bytes, list[bytes]], None]
_Build = Callable[[list[bytes]], _Key]

KEY_PARTS = {
    b"ssh-ed25519": 1,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
    b"ssh-rsa": 2,
    _SK_ED25519: 2,
    _SK_ECDSA: 3,
}
"""The number of strings after the type, for each type of key; a certificate has as many in the same order."""

_TYPES: dict[bytes, tuple[_Check, _Build, tuple[str, ...]]] = {
    b"ssh-ed25519": (_check_ed25519, _build_ed25519, ("ssh-ed25519",)),
    b"ecdsa-sha2-nistp256": (_check_ecdsa, _build_ecdsa, ("ecdsa-sha2-nistp256",)),
    b"ecdsa-sha2-nistp384": (_check_ecdsa, _build_ecdsa, ("ecdsa-sha2-nistp384",)),
    b"ecdsa-sha2-nistp521": (_check_ecdsa, _build_ecdsa, ("ecdsa-sha2-nistp521",)),
    b"ssh-rsa": (_check_rsa, _build_rsa, ("rsa-sha2-512", "rsa-sha2-256")),
    _SK_ED25519: (_check_sk_ed25519, _build_sk_ed25519, (_SK_ED25519.decode("ascii"),)),
    _SK_ECDSA: (_check_sk_ecdsa, _build_sk_ecdsa, (_SK_ECDSA.decode("ascii"),)),
}


def public_line(blob: bytes) -> str:
    """Write a public key as a line of ``authorized_keys`` has it, without a comment.

    :param blob: the key in SSH's wire format, which has been checked.
    """
    return f"{split_strings(blob)[0].decode('ascii')} {base64.b64encode(blob).decode('ascii')}"


def is_key_type(word: bytes) -> bool:
    """Tell whether a word is the type of a key that is accepted, such as ``ssh-ed25519``."""
    return word in _TYPES


def parse_public_line(line: bytes) -> bytes | None:
    """Return the key of a line ``type base64 comment``.

    :param line: the line without its end, any bytes at all.
    :returns: the key in SSH's wire format, checked by :func:`check_public_key`; ``None`` for any other line.
    """
    key_type, encoded, *_ = [*_BLANK.split(line.removesuffix(b"\r").strip(b" \t"), maxsplit=2), b""]
    if not is_key_type(key_type) or len(encoded) > _MAX_ENCODED_CHARACTERS or b"\0" in line:
        return None
    try:
        blob = base64.b64decode(encoded, validate=True)
        is_key = blob.startswith(encode_string(key_type)) and check_public_key(blob).encode("ascii") == key_type
    except (ValueError, BadKey):
        return None
    return blob if is_key and base64.b64encode(blob) == encoded else None


def encode_public_key(key: Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    """Encode a public key in SSH's wire format."""
    return base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split(b" ")[1])
