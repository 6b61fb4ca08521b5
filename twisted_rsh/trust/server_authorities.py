"""An SSH certificate of a server's key: how it travels within the certificate of TLS, and when a client counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from twisted_rsh.trust.certificates import Certificate, NotGranted, grant_server, parse_certificate
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature, encode_public_key

__all__ = ["SSH_CERTIFICATE", "ServerAuthorities", "wrap_certificate"]

SSH_CERTIFICATE = x509.ObjectIdentifier("2.25.302352199165665553072403448653590175346")
"""The name of the X.509 extension that has the SSH certificate: a UUID, which needs no registration (X.667)."""

_OCTET_STRING = 0x04
_TWO_BYTES = 0x82
"""The first byte of a length in DER that two bytes follow."""


def wrap_certificate(blob: bytes) -> x509.UnrecognizedExtension:
    """Make the X.509 extension that has an SSH certificate: an OCTET STRING in DER.

    :param blob: the certificate, of 256 to 65,535 bytes.
    """
    return x509.UnrecognizedExtension(
        SSH_CERTIFICATE, bytes([_OCTET_STRING, _TWO_BYTES]) + len(blob).to_bytes(2, "big") + blob
    )


class ServerAuthorities:
    """The authorities that a client lets vouch for one server.

    :param keys: their keys in SSH's wire format.
    :param host: the name or address that the client looks for.
    :param now: tells the time in seconds since 1970.
    :param revoked: keys that the server may not have, in SSH's wire format.
    """

    def __init__(
        self,
        keys: Collection[bytes],
        host: str,
        now: Callable[[], float] = time.time,
        *,
        revoked: Collection[bytes] = (),
    ) -> None:
        self._keys = frozenset(keys)
        self._revoked = frozenset(revoked)
        self._host = host
        self._now = now

    def why_not(self, der: bytes) -> str:
        """Say why the certificate of a TLS server does not make it the server that is looked for.

        :param der: the certificate, any bytes at all.
        :returns: the rest of a sentence; empty if one of the authorities vouches for the server's key.
        """
        try:
            certificate = self._read(der)
            if certificate.authority.blob not in self._keys:
                raise NotGranted(f"its authority {certificate.authority.fingerprint} is not one of known_servers")
            if certificate.key.blob in self._revoked:
                raise NotGranted("known_servers has its key as a revoked one")
            grant_server(certificate, self._host, self._now())
        except (NotGranted, BadKey, BadSignature) as error:
            return str(error)
        return ""

    def _read(self, der: bytes) -> Certificate:
        try:
            found = x509.load_der_x509_certificate(der)
            extension = found.extensions.get_extension_for_oid(SSH_CERTIFICATE).value
            key = found.public_key()
        except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
            raise NotGranted("it shows none") from None
        assert isinstance(extension, x509.UnrecognizedExtension)
        certificate = parse_certificate(extension.value[4:])
        if extension != wrap_certificate(certificate.blob):
            raise BadKey("the certificate is malformed")
        # The handshake has proven that the server has this key.
        if not isinstance(key, ec.EllipticCurvePublicKey) or encode_public_key(key) != certificate.key.blob:
            raise NotGranted("it is of another key")
        return certificate
