"""TLS 1.3 as this protocol uses it: one version, one ALPN name, and a public key as the server's identity.

A certificate is only the wrapper that TLS wants around the server's key; names, dates and issuers in it mean nothing
here.  ALPN alone enforces nothing, as a peer that offers none never meets the callback, so both sides look at what was
negotiated after the handshake as well (:mod:`twisted_rsh.link.framed_link`).
"""

from __future__ import annotations

import contextlib
import hmac
from collections import deque
from collections.abc import Iterable
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, X509, dump_certificate
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    ITransport,
)
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import Interface, implementer

from twisted_rsh.core.limits import PROOF_BYTES
from twisted_rsh.core.resuming import SECRET_LABEL, secret_context
from twisted_rsh.trust.fingerprint import certificate_spki_sha256

__all__ = [
    "ALPN",
    "BIO_READ_BYTES",
    "BUFFER_BYTES",
    "MAX_INSIDE_BYTES",
    "MAX_LOGIN_BYTES",
    "MAX_REPLY_BYTES",
    "ITLSWatcher",
    "LinkTLS",
    "LinkTLSFactory",
    "PinnedClientTLS",
    "ServerTLS",
    "exporter",
    "link_secret",
    "negotiated_protocol",
    "peer_spki_sha256",
    "unsent_bytes",
    "widen",
]

ALPN = b"twisted-rsh/1"
"""The protocol's name and version, as ALPN (RFC 7301) negotiates it; there is no other version negotiation."""

EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
EXPORTER_BYTES = 32
"""The ``tls-exporter`` channel binding of RFC 9266: 32 bytes that both ends of one TLS connection know, and nobody
else."""


MAX_LOGIN_BYTES = 64 * 1024
"""Bytes that may come from the peer, TLS's own included, before a session begins.  A handshake takes less than 5 KiB,
and three AUTHs of the longest kind 9 KiB; what a stranger can make us hold or read is bounded by this."""

MAX_REPLY_BYTES = 1024 * 1024
"""Bytes of answers of TLS itself that the peer may leave unread, as to 38,000 requests for a new key (RFC 8446, section
4.6.3) that it makes without reading: nothing but memory would end that."""

BIO_READ_BYTES = 2**15
"""Bytes that Twisted takes from OpenSSL at a time, once for each time that something arrives."""

MAX_INSIDE_BYTES = 256 * 1024
"""Bytes of TLS's own answers that may stay inside OpenSSL before they are taken out and counted.  Nearly always there
are none, and to ask costs 2 us: with this it is asked behind one in three of the longest reads."""

BUFFER_BYTES = 128 * 1024
"""Bytes that the reactor reads from a link's socket at a time once there is a session, and that may wait to be written
before that is told to pause.  Twisted's 64 KiB are a little less than what one read of a job's pipe becomes; more than
this was not faster."""

RECORD_BYTES = 16 * 1024
RECORD_OVERHEAD_BYTES = 5 + 1 + 16
"""Bytes that a TLS record carries at most, and what is added to each: header, content type, tag (RFC 8446, 5.2)."""


class ITLSWatcher(Interface):
    """A link that TLS is wrapped around, as far as TLS tells it what it cannot see."""

    def arrival_began() -> None:
        """Learn that something has arrived.  What it decrypts to is delivered next, one record after another."""

    def arrival_ended() -> None:
        """Learn that all of it has been delivered."""

    def login_bytes_spent() -> None:
        """Learn that the peer has sent more than :data:`MAX_LOGIN_BYTES`.  Called once, behind those bytes."""

    def replies_exceeded() -> None:
        """Learn that the peer has left more than :data:`MAX_REPLY_BYTES` unread: end the link."""


class LinkTLS(TLSMemoryBIOProtocol):
    """TLS that watches what the peer does under it.

    Both bounds are looked at behind each piece that arrives, which is 64 KiB at most before a session begins, and
    :data:`BUFFER_BYTES` afterwards.
    """

    def __init__(self, factory: TLSMemoryBIOFactory, wrapped: Protocol, connect_wrapped: bool = True) -> None:
        TLSMemoryBIOProtocol.__init__(self, factory, wrapped, connect_wrapped)
        self._to_come = MAX_LOGIN_BYTES
        # Bytes that the link itself has written and that may still be unsent: never less than there really are.
        self._own = 0
        # Bytes of answers that may be inside OpenSSL: an answer is no longer than what it answers.
        self._inside = 0

    def write(self, data: bytes) -> None:
        """Take plaintext of the link's; Twisted calls this."""
        size = len(data)
        self._own += size + RECORD_OVERHEAD_BYTES * (1 + size // RECORD_BYTES)
        TLSMemoryBIOProtocol.write(self, data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Take plaintext of the link's, each piece in TLS records of its own, and write it at once as far as it goes.

        Twisted's own way goes through all its layers for each record, asks the reactor to watch for room, and writes in
        the next turn.  Whatever is out of the ordinary is left to it.
        """
        pieces = deque(iovec)
        self._write_now(cast("SSL.Connection", TLSMemoryBIOProtocol.getHandle(self)), pieces)
        for piece in pieces:
            self.write(piece)

    def _write_now(self, connection: SSL.Connection, pieces: deque[bytes]) -> None:
        """Write pieces, and take those away that are written."""
        size = 0
        with contextlib.suppress(SSL.Error):  # Twisted meets it again with the same piece, and ends the connection
            while pieces:
                piece = pieces[0]
                sent = connection.send(piece)
                size += sent + RECORD_OVERHEAD_BYTES
                if sent < len(piece):
                    pieces[0] = piece[sent:]
                else:
                    pieces.popleft()
        if not size:
            return
        self._own += size
        asked = size + BIO_READ_BYTES
        data = connection.bio_read(asked)
        is_all = len(data) < asked
        self._send(data)
        if not is_all:
            self._take_the_rest()

    def _send(self, data: bytes) -> None:
        """Give bytes to the transport, and what it can take to the system at once."""
        transport = cast("ITransport", self.transport)
        if isinstance(transport, FileDescriptor) and transport.connected and not unsent_bytes(transport):
            written = transport.writeSomeData(data)
            if written == len(data):
                return
            if isinstance(written, int):  # an error is not looked at: the reactor meets it as well
                data = data[written:]
        transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        self._watcher.arrival_began()
        TLSMemoryBIOProtocol.dataReceived(self, data)
        self._watcher.arrival_ended()
        if self._to_come >= 0:
            self._to_come -= len(data)
            if self._to_come < 0:
                self._watcher.login_bytes_spent()
        if len(data) > BIO_READ_BYTES:
            self._inside += len(data) - BIO_READ_BYTES
            if self._inside > MAX_INSIDE_BYTES:
                self._inside = 0
                self._take_the_rest()
        unsent = unsent_bytes(self.transport)
        if unsent < self._own:
            self._own = unsent
        elif unsent - self._own > MAX_REPLY_BYTES:
            self._watcher.replies_exceeded()

    @property
    def _watcher(self) -> Any:
        return self.wrappedProtocol

    def _take_the_rest(self) -> None:
        # Twisted takes one read's worth of TLS's answers; what came can have led to more, and that would pile up.
        connection = cast("SSL.Connection", TLSMemoryBIOProtocol.getHandle(self))
        transport = cast("ITransport", self.transport)
        with contextlib.suppress(SSL.WantReadError):
            while True:
                transport.write(connection.bio_read(BIO_READ_BYTES))


def widen(transport: object) -> None:
    """Let a transport of the reactor's read and hold :data:`BUFFER_BYTES`."""
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = BUFFER_BYTES


def unsent_bytes(transport: object) -> int:
    """Return how many bytes wait in a transport of the reactor's; 0 for one that does not say.

    Twisted has no public name for it: a stream of the reactor's is a ``twisted.internet.abstract.FileDescriptor``.
    """
    if not isinstance(transport, FileDescriptor):
        return 0
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001 - see above


class LinkTLSFactory(TLSMemoryBIOFactory):
    """Wraps TLS around the links that another factory makes, which provide :class:`ITLSWatcher`.

    Without the aggregation of small writes that Twisted's own default adds: it costs each message a turn of the
    reactor, and a link writes everything there is to write in one piece already.
    """

    protocol = LinkTLS


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
