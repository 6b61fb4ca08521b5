"""TLS 1.3 as this protocol uses it: one version, one ALPN name, and a public key as the server's identity.

TLS wants a certificate around the server's key.  The names, dates and issuers in it mean nothing here.  ALPN alone
enforces nothing, because OpenSSL does not call the callback for a peer that offers no protocol.  So both sides check
the negotiated protocol after the handshake as well (:mod:`twisted_rsh.link.framed_link`).
"""

from __future__ import annotations

import functools
import hmac
import typing
from collections.abc import Collection, Iterable
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
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer, providedBy
from zope.interface.declarations import Provides

from twisted_rsh.core.limits import PROOF_BYTES
from twisted_rsh.core.local_handshake import PROTOCOL_NAME
from twisted_rsh.core.resuming import SECRET_LABEL, secret_context
from twisted_rsh.trust.fingerprint import certificate_spki_sha256

if typing.TYPE_CHECKING:
    from twisted_rsh.trust.server_authorities import ServerAuthorities

__all__ = [
    "ALPN",
    "BATCH_BYTES",
    "BIO_READ_BYTES",
    "BUFFER_BYTES",
    "BUSY_ALERT",
    "MAX_INSIDE_BYTES",
    "MAX_LOGIN_BYTES",
    "MAX_REPLY_BYTES",
    "RECORD_BYTES",
    "REFUSED_ALERT",
    "TLS_FIRST_BYTE",
    "Exporter",
    "Exporting",
    "ITLSWatcher",
    "LinkTLS",
    "LinkTLSFactory",
    "PinnedClientTLS",
    "ServerTLS",
    "ciphertext_bytes",
    "decrypt",
    "encrypt",
    "exporter",
    "is_pinned",
    "link_secret",
    "peer_spki_sha256",
    "reason_text",
    "take_ciphertext",
    "unsent_bytes",
    "widen",
]

ALPN = PROTOCOL_NAME
"""The protocol's name and version, as ALPN (RFC 7301) negotiates it; there is no other version negotiation."""

EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
EXPORTER_BYTES = 32
"""The ``tls-exporter`` channel binding of RFC 9266: 32 bytes that only the two ends of one TLS connection know."""

MAX_LOGIN_BYTES = 64 * 1024
"""Bytes that the peer may send before a session begins, TLS's own included.  A handshake takes less than 5 KiB, and
three AUTHs of the longest kind take 9 KiB.  This bounds the bytes that a stranger can make this end hold or read."""

MAX_REPLY_BYTES = 1024 * 1024
"""Bytes of TLS's own answers that the peer may leave unread.  A peer that asks for new keys (RFC 8446, section 4.6.3)
and never reads could otherwise fill the memory; this allows 38,000 requests."""

BIO_READ_BYTES = 2**15
"""Bytes that Twisted takes from OpenSSL at most, once for each read of the socket."""

MAX_INSIDE_BYTES = 256 * 1024
"""Bytes of TLS's own answers that may stay inside OpenSSL before this end takes them out and counts them.  Nearly
always there are none, and asking costs 2 us: with this bound it asks after one in three of the longest reads."""

BUFFER_BYTES = 128 * 1024
"""Bytes that the reactor reads from the socket of a link with a session at a time, and bytes that may wait to be
written before the transport pauses its producer.  Twisted's 64 KiB are a little less than the frames of one read of a
job's pipe; more than this was not faster."""

BUSY_ALERT = bytes.fromhex("15 0303 0002 02 5a")
"""All that a server sends on a connection for which it has no room: the fatal alert ``user_canceled`` (RFC 8446,
section 6.1), which cancels the handshake "for some reason unrelated to a protocol failure"."""

REFUSED_ALERT = bytes.fromhex("15 0303 0002 02 31")
"""All that a server sends to a source that it refuses for a while: the fatal alert ``access_denied``."""

TLS_FIRST_BYTE = b"\x16"
"""The first byte of a client's TLS handshake: the type of its record (RFC 8446, section 5.1)."""

RECORD_BYTES = 16 * 1024
RECORD_OVERHEAD_BYTES = 5 + 1 + 16
"""Bytes that a TLS record carries at most, and bytes that TLS adds to each record: header, content type and tag (RFC
8446, section 5.2)."""

BATCH_BYTES = 4 * RECORD_BYTES
"""Bytes of the link that are encrypted before they are sent.  Much more would leave the processor's caches, and be
memory that the system gives and takes back each time: a client took 63 us of processor time for 64 KiB in batches of
this size, and 77 to 105 in those of a whole credit."""

MODE_ENABLE_PARTIAL_WRITE = 1
"""The mode ``SSL_MODE_ENABLE_PARTIAL_WRITE`` of SSL_CTX_set_mode(3), which pyOpenSSL switches on and does not name."""


class Exporter(typing.Protocol):
    """What gives a link its secrets: OpenSSL's connection, or what takes its place on a Unix socket."""

    def export_keying_material(self, label: bytes, size: int, context: bytes, /) -> bytes:
        """Return a secret that only the two ends of the link know (RFC 8446, section 7.5)."""


class Exporting(typing.Protocol):
    """The transport of a link: :class:`LinkTLS`, :class:`~twisted_rsh.link.local.LocalLayer`, or a lane."""

    def getHandle(self) -> Exporter:
        """Return what exports the secrets of the link."""


class ITLSWatcher(Interface):
    """A link inside TLS.  :class:`LinkTLS` reports to it what only TLS can see."""

    is_receiving = Attribute(
        "TLS sets it when bytes have arrived, and delivers the records in them next, one after another."
    )

    def arrival_ended() -> None:
        """Learn that TLS has delivered all of these records.  Clear :attr:`is_receiving`."""

    def login_bytes_spent() -> None:
        """Learn that the peer has sent more than :data:`MAX_LOGIN_BYTES`.  Called once, after those bytes."""

    def replies_exceeded() -> None:
        """End the link: the peer has left more than :data:`MAX_REPLY_BYTES` of TLS's own answers unread."""


class LinkTLS(TLSMemoryBIOProtocol):
    """TLS around a link, with bounds on what the peer can make TLS itself hold, and with faster writes.

    It checks both bounds after each read of the socket, which is 64 KiB at most before a session begins, and
    :data:`BUFFER_BYTES` afterwards.

    :ivar first_bytes: the first bytes that the peer has sent, as many as an alert has.
    """

    def __init__(self, factory: TLSMemoryBIOFactory, wrapped: Protocol, connect_wrapped: bool = True) -> None:
        TLSMemoryBIOProtocol.__init__(self, factory, wrapped, connect_wrapped)
        self.first_bytes = b""
        self._login_bytes_left = MAX_LOGIN_BYTES
        # Bytes of the link's own that may still be unsent: never fewer than there are.
        self._own_unsent = 0
        # Bytes of answers that may be inside OpenSSL: an answer is no longer than its request.
        self._held_inside = 0

    def makeConnection(self, transport: ITransport) -> None:
        """Begin TLS on a transport; Twisted calls this."""
        _keep_declarations(type(self), transport)
        TLSMemoryBIOProtocol.makeConnection(self, transport)

    def write(self, data: bytes) -> None:
        """Write plaintext of the link; Twisted calls this."""
        size = len(data)
        self._own_unsent += size + RECORD_OVERHEAD_BYTES * (1 + size // RECORD_BYTES)
        TLSMemoryBIOProtocol.write(self, data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write plaintext of the link, and as much as possible at once.

        Twisted's own implementation passes each record through all of its layers, asks the reactor to watch for room,
        and writes in the next turn.  It still gets what cannot be encrypted at once.
        """
        data = b"".join(iovec)
        connection = cast("SSL.Connection", TLSMemoryBIOProtocol.getHandle(self))
        sent, _ = encrypt(connection, data)
        if sent:
            own = ciphertext_bytes(sent)
            self._own_unsent += own
            self._send(take_ciphertext(connection, own + BIO_READ_BYTES))
        if sent < len(data):  # Twisted meets the failure again, and ends the connection
            self.write(data[sent:])

    def _send(self, data: bytes) -> None:
        """Give ciphertext to the operating system as far as it takes it now, and the rest to the transport."""
        transport = cast("ITransport", self.transport)
        if isinstance(transport, FileDescriptor) and transport.connected and not unsent_bytes(transport):
            written = transport.writeSomeData(data)
            if written == len(data):
                return
            if isinstance(written, int):  # no error: the reactor meets the error as well
                data = data[written:]
        transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        if len(self.first_bytes) < len(BUSY_ALERT):
            self.first_bytes += data[: len(BUSY_ALERT) - len(self.first_bytes)]
        watcher = cast("Any", self.wrappedProtocol)
        watcher.is_receiving = True
        TLSMemoryBIOProtocol.dataReceived(self, data)
        watcher.arrival_ended()
        if self._login_bytes_left >= 0:
            self._login_bytes_left -= len(data)
            if self._login_bytes_left < 0:
                watcher.login_bytes_spent()
        if len(data) > BIO_READ_BYTES:
            self._held_inside += len(data) - BIO_READ_BYTES
            if self._held_inside > MAX_INSIDE_BYTES:
                self._held_inside = 0
                self._empty_openssl()
        if self.unread_answers > MAX_REPLY_BYTES:
            watcher.replies_exceeded()

    @property
    def unread_answers(self) -> int:
        """Bytes of TLS's own answers that wait to be sent; those inside OpenSSL do not count."""
        unsent = unsent_bytes(self.transport)
        self._own_unsent = min(self._own_unsent, unsent)
        return unsent - self._own_unsent

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Learn that the connection is gone; Twisted calls this."""
        if not self._lostTLSConnection:
            # The peer has not ended TLS.  Twisted would ask OpenSSL, and put its answer into a reference cycle that
            # keeps all buffers of the connection.
            self._lostTLSConnection = True
            reason = Failure(CONNECTION_LOST)
        TLSMemoryBIOProtocol.connectionLost(self, reason)

    # For the lane to call, which has read and written the socket in between.

    def take_back(self, unsent: bytes, own: int) -> None:
        """Send what the lane could not send.

        :param unsent: the ciphertext.
        :param own: bytes of it that are the link's own.
        """
        self._own_unsent += own
        cast("ITransport", self.transport).write(unsent)

    def end_found(self, error: SSL.Error) -> None:
        """End the connection as Twisted does when it finds the end of TLS itself.

        :param error: what OpenSSL has said: that the peer has ended TLS, or that TLS is broken.
        """
        twisted = cast("Any", self)
        if isinstance(error, SSL.ZeroReturnError):
            twisted._shutdownTLS()  # noqa: SLF001 - Twisted's own, as for its reads
            twisted._tlsShutdownFinished(None)  # noqa: SLF001
        else:
            twisted._tlsShutdownFinished(Failure(error))  # noqa: SLF001

    def _empty_openssl(self) -> None:
        # Twisted takes one read's worth of TLS's answers.  One arrival can lead to more, which would pile up.
        connection = cast("SSL.Connection", TLSMemoryBIOProtocol.getHandle(self))
        transport = cast("ITransport", self.transport)
        if data := take_ciphertext(connection, MAX_INSIDE_BYTES):
            transport.write(data)


_declarations: dict[tuple[type, object], list[object]] = {}
"""What :func:`_keep_declarations` keeps: a list for each kind of layer on each kind of transport."""


def _keep_declarations(layer: type, transport: ITransport) -> None:
    """Keep the declarations with which Twisted gives a layer the interfaces of its transport, one after another.

    zope.interface shares a declaration as long as an object has it, and a layer has the last one alone.  To make the
    others again for each connection takes a thousand calls, a third of a login.
    """
    provided = providedBy(transport)
    if (layer, provided) not in _declarations:
        _declarations[layer, provided] = [Provides(layer, interface) for interface in provided]


def encrypt(connection: SSL.Connection, data: bytes | memoryview) -> tuple[int, SSL.Error | None]:
    """Give plaintext to OpenSSL, which pyOpenSSL before 25.2 takes a record at a time.

    :param connection: the connection of TLS.
    :param data: the plaintext, at least one byte.
    :returns: how many bytes OpenSSL has taken, and the failure that has kept it from taking all.
    """
    sent, size = 0, len(data)
    try:
        sent = connection.send(data)
        if sent < size:
            rest = memoryview(data)
            while sent < size:
                sent += connection.send(rest[sent:])
    except SSL.Error as error:
        return sent, error
    return sent, None


def decrypt(connection: SSL.Connection) -> tuple[bytes, SSL.Error | None]:
    """Take all plaintext out of OpenSSL.

    :param connection: the connection of TLS, which has been given what has arrived.
    :returns: the plaintext, and what has ended TLS, if it has ended.
    """
    records = []
    try:
        while True:
            records.append(connection.recv(RECORD_BYTES))
    except SSL.WantReadError:
        end = None
    except SSL.Error as error:
        end = error
    return records[0] if len(records) == 1 else b"".join(records), end


def ciphertext_bytes(size: int) -> int:
    """Return how many bytes OpenSSL makes of so many bytes that :func:`encrypt` gave to it."""
    return size - -size // RECORD_BYTES * RECORD_OVERHEAD_BYTES


def take_ciphertext(connection: SSL.Connection, size: int) -> bytes:
    """Take everything out of OpenSSL that is to be sent.

    :param connection: the connection of TLS.
    :param size: how many bytes there are at most, as far as is known.
    :returns: the bytes, none if there are none.
    """
    # One byte more than is known of: to find by another call that nothing is left costs an exception.
    asked = size + 1
    data = b""
    try:
        data = connection.bio_read(asked)
        while len(data) % asked == 0:
            data += connection.bio_read(asked)
    except SSL.WantReadError:
        pass
    return data


def reason_text(reason: Failure) -> str:
    """Say in one line why a connection has ended.

    :param reason: why, from Twisted or OpenSSL.  pyOpenSSL's errors hold OpenSSL's queue: (library, function, reason).
    """
    error = reason.value
    queue = error.args[0] if isinstance(error, SSL.Error) and error.args else None
    if isinstance(queue, list):
        return "; ".join(str(entry[-1]) for entry in queue) or "TLS has failed"
    return reason.getErrorMessage().rstrip(".")


def widen(transport: object) -> None:
    """Let a transport of the reactor read and hold :data:`BUFFER_BYTES`; other transports stay as they are."""
    if isinstance(transport, FileDescriptor):
        transport.bufferSize = BUFFER_BYTES


def unsent_bytes(transport: object) -> int:
    """Return how many bytes wait in a transport of the reactor; 0 for other transports, which do not say.

    Twisted has no public name for this: the reactor's streams are ``twisted.internet.abstract.FileDescriptor``.
    """
    if not isinstance(transport, FileDescriptor):
        return 0
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001 - see above


class LinkTLSFactory(TLSMemoryBIOFactory):
    """A factory that wraps TLS around the links of another factory, which provide :class:`ITLSWatcher`.

    It omits the aggregation of small writes that is Twisted's default.  Aggregation costs each message a turn of the
    reactor, and a link writes all that it has in one piece already.
    """

    protocol = LinkTLS


def _context() -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    # In a resumed TLS session the server would not prove its key.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    # An idle connection would hold two buffers of a record each; they take longer to fill than to allocate.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # A write into memory has room for all records; in parts, each one takes a call.
    if (clear_mode := getattr(context, "clear_mode", None)) is not None:  # pyOpenSSL 25.2 and later
        clear_mode(MODE_ENABLE_PARTIAL_WRITE)
    return context


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """The server's side of TLS, for all of its connections.

    :param private_key: the server's key, which is its identity.
    :param certificate: any certificate of that key.
    """

    def __init__(self, private_key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._context = _context()
        self._context.use_privatekey(private_key)
        self._context.use_certificate(certificate)
        self._context.set_alpn_select_callback(_select_protocol)

    def serverConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make a connection; Twisted calls this."""
        return SSL.Connection(self._context, None)


def _select_protocol(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


@implementer(IOpenSSLClientConnectionCreator)
class PinnedClientTLS:
    """The client's side of a TLS connection to one server, of which it expects one of some keys.

    :param pins: SHA-256 of each public key that the server may have (its SubjectPublicKeyInfo, RFC 5280), 32 bytes.
        With none, every server is a stranger: that is how a client learns the key of one.
    :param authorities: vouch for further keys of the server; ``None`` for none.
    :ivar refusal: why the authorities do not vouch for the stranger's key; empty if there are none.
    :ivar stranger: SHA-256 of the public key of a server that had another key; ``None`` if there was none such, or its
        key cannot be read.
    """

    def __init__(self, *pins: bytes, authorities: ServerAuthorities | None = None) -> None:
        self._pins = pins
        self._authorities = authorities
        self._vouched: tuple[bytes, ...] = ()
        self.refusal = ""
        self.stranger: bytes | None = None
        self._context = _context()
        self._context.set_alpn_protos([ALPN])
        self._context.set_verify(SSL.VERIFY_PEER, self._verify)

    def clientConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make a connection; Twisted calls this."""
        return SSL.Connection(self._context, None)

    def _verify(self, _connection: SSL.Connection, certificate: X509, _error: int, depth: int, _ok: int) -> bool:
        # OpenSSL calls this once for each complaint, such as "self-signed", and the pins decide on all of them.
        digest = _spki_sha256(certificate)
        if depth == 0 and (self.expects(digest) or self._is_vouched_for(digest, certificate)):
            return True
        self.stranger = digest
        return False

    def expects(self, digest: bytes | None) -> bool:
        """Tell whether a key is one that the server may have: pinned, or vouched for in this handshake.

        :param digest: SHA-256 of the public key; ``None`` for one that cannot be read.
        """
        return is_pinned(digest, (*self._pins, *self._vouched))

    def _is_vouched_for(self, digest: bytes | None, certificate: X509) -> bool:
        if self._authorities is None or digest is None:
            return False
        try:
            self.refusal = self._authorities.why_not(dump_certificate(FILETYPE_ASN1, certificate))
        except Exception:  # noqa: BLE001 - as in _spki_sha256
            self.refusal = "it cannot be read"
        if self.refusal:
            return False
        self._vouched = (digest,)
        return True


_digest_of = functools.lru_cache(maxsize=1)(certificate_spki_sha256)
"""The same function, which remembers its last result: one connection asks for it three times."""


def _spki_sha256(certificate: X509) -> bytes | None:
    # An exception would be lost inside OpenSSL's callback, and a certificate that cannot be read matches no pin.
    try:
        return _digest_of(dump_certificate(FILETYPE_ASN1, certificate))
    except Exception:  # noqa: BLE001 - see above; every failure means "no match"
        return None


def is_pinned(digest: bytes | None, pins: Collection[bytes]) -> bool:
    """Tell whether a server's key is one of those that a client expects.

    :param digest: SHA-256 of its public key; ``None`` for a key that cannot be read, which is never expected.
    :param pins: those of the expected keys, 32 bytes each.
    """
    return digest is not None and any(hmac.compare_digest(digest, pin) for pin in pins)


def exporter(transport: Exporting) -> bytes:
    """Return the channel binding of a connection whose handshake is complete, 32 bytes (RFC 9266)."""
    return transport.getHandle().export_keying_material(EXPORTER_LABEL, EXPORTER_BYTES, b"")


def link_secret(transport: Exporting, session: bytes, attempt: int) -> bytes:
    """Return a session's secret of a connection whose handshake is complete, which only its two ends can compute.

    :param transport: the connection.
    :param session: the session's identifier.
    :param attempt: the number of the resume with which the connection began; 0 for a connection that began with a
        login.
    """
    context = secret_context(session, attempt)
    return transport.getHandle().export_keying_material(SECRET_LABEL, PROOF_BYTES, context)


def peer_spki_sha256(transport: LinkTLS) -> bytes | None:
    """Return the SHA-256 of the peer's public key, or ``None`` if it presented no key that can be read."""
    certificate = cast("SSL.Connection", TLSMemoryBIOProtocol.getHandle(transport)).get_peer_certificate()
    return None if certificate is None else _spki_sha256(certificate)
