"""TLS 1.3 as this protocol uses it: one version, one ALPN name, and a public key as the server's identity.

A certificate is only the wrapper that TLS wants around the server's key; names, dates and issuers in it mean nothing
here.  ALPN alone enforces nothing, as a peer that offers none never meets the callback, so both sides look at what was
negotiated after the handshake as well (:mod:`twisted_rsh.link.framed_link`).
"""

from __future__ import annotations

import hmac
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, X509, dump_certificate
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    ITransport,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from twisted_rsh.core.limits import PROOF_BYTES
from twisted_rsh.core.resuming import SECRET_LABEL, secret_context
from twisted_rsh.trust.fingerprint import certificate_spki_sha256

__all__ = [
    "ALPN",
    "LinkTLSFactory",
    "PinnedClientTLS",
    "ServerTLS",
    "exporter",
    "link_secret",
    "negotiated_protocol",
    "peer_spki_sha256",
]

ALPN = b"twisted-rsh/1"
"""The protocol's name and version, as ALPN (RFC 7301) negotiates it; there is no other version negotiation."""

EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
EXPORTER_BYTES = 32
"""The ``tls-exporter`` channel binding of RFC 9266: 32 bytes that both ends of one TLS connection know, and nobody
else."""


class LinkTLSFactory(TLSMemoryBIOFactory):
    """Wraps TLS around the links that another factory makes.

    Without the aggregation of small writes that Twisted's own default adds: it costs each message a turn of the
    reactor, and a link writes everything there is to write in one piece already.
    """

    protocol = TLSMemoryBIOProtocol


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    # A resumed TLS session would skip the server's proof of its key.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    return context


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """Makes the server's side of TLS connections.

    :param private_key: the server's identity.
    :param certificate: any certificate of that key.
    """

    def __init__(self, private_key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._context = _context()
        self._context.use_privatekey(private_key)
        self._context.use_certificate(certificate)
        self._context.set_alpn_select_callback(_select_protocol)

    def serverConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection; Twisted calls this."""
        return SSL.Connection(self._context, None)


def _select_protocol(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


@implementer(IOpenSSLClientConnectionCreator)
class PinnedClientTLS:
    """Makes the client's side of a TLS connection to one server, known by its key.

    :param pin: SHA-256 of the server's public key (its SubjectPublicKeyInfo, RFC 5280), 32 bytes.
    :ivar stranger: SHA-256 of the public key of a server that was not the right one, or ``None``.
    """

    def __init__(self, pin: bytes) -> None:
        self._pin = pin
        self.stranger: bytes | None = None
        self._context = _context()
        self._context.set_alpn_protos([ALPN])
        self._context.set_verify(SSL.VERIFY_PEER, self._verify)

    def clientConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection; Twisted calls this."""
        return SSL.Connection(self._context, None)

    def _verify(self, _connection: SSL.Connection, certificate: X509, _error: int, depth: int, _ok: int) -> bool:
        # OpenSSL asks once for every complaint it has, such as "self-signed", and the pin answers all of them.
        digest = _spki_sha256(certificate)
        if depth == 0 and digest is not None and hmac.compare_digest(digest, self._pin):
            return True
        self.stranger = digest
        return False


def _spki_sha256(certificate: X509) -> bytes | None:
    # Total: an exception would be lost inside OpenSSL's callback, and a certificate that cannot be read matches no pin.
    try:
        return certificate_spki_sha256(dump_certificate(FILETYPE_ASN1, certificate))
    except Exception:  # noqa: BLE001 - see above; every failure means "no match"
        return None


def negotiated_protocol(transport: ITransport) -> bytes | None:
    """Return the ALPN protocol of a connection whose handshake is complete, or ``None`` when there is none."""
    return cast("TLSMemoryBIOProtocol", transport).negotiatedProtocol


def exporter(transport: ITransport) -> bytes:
    """Return the channel binding of a connection whose handshake is complete, 32 bytes (RFC 9266)."""
    connection = cast("TLSMemoryBIOProtocol", transport).getHandle()
    return cast("bytes", connection.export_keying_material(EXPORTER_LABEL, EXPORTER_BYTES, b""))


def link_secret(transport: ITransport, session: bytes, attempt: int) -> bytes:
    """Return the secret that both ends of a connection whose handshake is complete know of a session.

    :param session: the session's identifier.
    :param attempt: the number of the resume that the connection began with, or 0 for that of the login.
    """
    connection = cast("TLSMemoryBIOProtocol", transport).getHandle()
    context = secret_context(session, attempt)
    return cast("bytes", connection.export_keying_material(SECRET_LABEL, PROOF_BYTES, context))


def peer_spki_sha256(transport: ITransport) -> bytes | None:
    """Return the SHA-256 of the peer's public key, or ``None`` when it presented none that can be read."""
    certificate = cast("TLSMemoryBIOProtocol", transport).getPeerCertificate()
    return None if certificate is None else _spki_sha256(certificate)
