"""The server's key, which is its identity: made at the first start and kept in a file.

TLS wants a certificate around it.  The server makes a new one at each start; its dates and names mean nothing to a
client, which compares the key with its pin.
"""

from __future__ import annotations

import datetime as dt
import os
import shlex
from dataclasses import field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.files import BadKeyFile, read_or_create_secret_file, read_secret_file
from twisted_rsh.trust.fingerprint import format_fingerprint, spki_sha256
from twisted_rsh.trust.home import ConfigFolders

__all__ = [
    "MAX_KEY_FILE_BYTES",
    "ServerKey",
    "load_or_create_server_key",
    "load_server_key",
    "make_key_file",
    "read_server_certificate",
]

MAX_KEY_FILE_BYTES = 16 * 1024
"""Bytes of a private key's file at most.  The largest accepted key, RSA of 8192 bits, takes 6.4 KiB."""

_NAME = "twisted-rsh"

_VALID_FROM = dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc)
_VALID_TO = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.timezone.utc)
"""The date that stands for no end (RFC 5280, section 4.1.2.5)."""


@dataclass(frozen=True, slots=True)
class ServerKey:
    """A server's key and a certificate of it.

    :ivar private_key: an elliptic-curve key on P-256.
    :ivar certificate: a self-signed certificate of that key, for TLS.
    :ivar spki_sha256: the SHA-256 of the public key, 32 bytes, which clients pin.
    """

    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate
    spki_sha256: bytes

    @classmethod
    def generate(cls) -> ServerKey:
        """Make a new key that is in no file; :func:`load_or_create_server_key` makes one that is kept."""
        return _server_key(_generate())

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the key, which people compare."""
        return format_fingerprint(self.spki_sha256)


def load_or_create_server_key(config: ConfigFolders) -> ServerKey:
    """Read the server's key, or make one if there is none.  Servers that start at the same time get the same key.

    If an SSH authority has certified the key, the certificate in the file beside it goes into that of TLS.

    :param config: the user's folders; missing folders are made.
    :returns: the key and a new certificate of it.
    :raises BadKeyFile: the file does not hold a P-256 key, or that of its SSH certificate holds none of this key.
    :raises UntrustedFile: the file or a folder above it is not safe from other users.
    :raises OSError: the operating system did not allow it.
    """
    path = config.server_key_path
    key = _parse(path, read_or_create_secret_file(path, MAX_KEY_FILE_BYTES, make_key_file))
    return _server_key(key, read_server_certificate(config, key))


def load_server_key(path: str) -> ServerKey:
    """Read the key of a server from a file.

    :raises FileNotFoundError: there is no such file.
    :raises BadKeyFile: the file does not hold a P-256 key.
    :raises UntrustedFile: the file or a folder above it is not safe from other users.
    :raises OSError: the operating system did not allow it.
    """
    return _server_key(_parse(path, read_secret_file(path, MAX_KEY_FILE_BYTES)))


def make_key_file() -> bytes:
    """Make a new key, as the content of a file of its own."""
    return _generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _generate() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _server_key(
    private_key: ec.EllipticCurvePrivateKey, extension: x509.UnrecognizedExtension | None = None
) -> ServerKey:
    certificate = _make_certificate(private_key, extension)
    return ServerKey(private_key, certificate, spki_sha256(private_key.public_key()))


def read_server_certificate(
    config: ConfigFolders, key: ec.EllipticCurvePrivateKey
) -> x509.UnrecognizedExtension | None:
    """Read the SSH certificate of a server's key, for its place in that of TLS.

    :param config: the user's folders.
    :param key: the server's key.
    :returns: the extension that has the certificate; ``None`` if there is no certificate.
    :raises BadKeyFile: the file holds no server's certificate of this key.
    :raises UntrustedFile: another user could have written it.
    :raises OSError: the operating system did not allow it.
    """
    path = config.server_certificate_path
    if not os.path.exists(path):
        return None
    # Only here: few servers have one, and a client never.
    from twisted_rsh.trust.certificates import CertificateKind, read_certificate
    from twisted_rsh.trust.server_authorities import wrap_certificate
    from twisted_rsh.trust.ssh_keys import encode_public_key

    certificate = read_certificate(path)
    if certificate.key.blob != encode_public_key(key.public_key()) or certificate.kind is not CertificateKind.SERVER:
        raise BadKeyFile(
            path,
            f"is no server's certificate of the key {format_fingerprint(spki_sha256(key.public_key()))}",
            f"make it with ssh-keygen -h -s, or run: rm {shlex.quote(path)}",
        )
    return wrap_certificate(certificate.blob)


def _parse(path: str, pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        old = shlex.quote(path)
        raise BadKeyFile(
            path,
            "holds no P-256 private key",
            f"bring back the file that was there, or take a new identity, which every client must then learn, "
            f"with: mv {old} {shlex.quote(path + '.bad')}",
        )
    return key


def _make_certificate(
    key: ec.EllipticCurvePrivateKey, extension: x509.UnrecognizedExtension | None = None
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_VALID_FROM)
        .not_valid_after(_VALID_TO)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, SHA256())
