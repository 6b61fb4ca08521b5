"""The transport of a link that carries a session: it owns the socket, in place of Twisted's layers for TLS and TCP.

A lane reads the socket once, decrypts all that has come and hands it over in one call; it encrypts all that is written
and gives it to the operating system at once.  Twisted passes each record through both of its layers instead, and writes
in the next turn of the reactor.  The lane of a Unix socket does the same without TLS.

Twisted keeps the connection: the layer below the link has made the handshake and carried the login, and it ends the
connection.  For that :meth:`Lane.give_back` returns the socket.  A link whose transport has no socket of the reactor's
has no lane.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, cast

from OpenSSL import SSL
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IAddress, IPushProducer, IReadWriteDescriptor, ISystemHandle
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.link.local import LocalLayer
from twisted_rsh.link.tls import (
    BATCH_BYTES,
    BUFFER_BYTES,
    MAX_INSIDE_BYTES,
    MAX_REPLY_BYTES,
    Exporter,
    LinkTLS,
    ciphertext_bytes,
    decrypt,
    encrypt,
    take_ciphertext,
    unsent_bytes,
)

if TYPE_CHECKING:
    import socket

__all__ = ["Lane", "LaneUser", "LocalLane", "TLSLane", "open_lane"]

_arrival = memoryview(bytearray(BUFFER_BYTES))
"""What one read of a socket has brought, until it is taken: all lanes share the memory."""


class LaneUser(Protocol):
    """A link, as far as its lane calls it: :class:`twisted_rsh.link.framed_link.FramedLink`."""

    tls: LinkTLS | LocalLayer | Lane

    def dataReceived(self, data: bytes, /) -> None:
        """Take all plaintext that one read has brought."""

    def replies_exceeded(self) -> None:
        """End the link: the peer has left more than :data:`MAX_REPLY_BYTES` of TLS's own answers unread."""


def open_lane(layer: LinkTLS | LocalLayer, link: LaneUser) -> Lane | None:
    """Take the socket of a connection.

    :param layer: what is below the link, and has made its handshake: Twisted's TLS, or the layer of a Unix socket.  It
        gives up the reading and the writing.
    :param link: the link on the connection.
    :returns: the lane, which does not read yet; ``None`` if the transport has no socket that the reactor watches, or
        holds bytes that the operating system does not take.
    """
    transport: Any = layer.transport
    if not (isinstance(transport, FileDescriptor) and ISystemHandle.providedBy(transport)):
        return None
    if not transport.connected or transport.disconnecting:
        return None
    if unsent_bytes(transport):  # such as the tickets that OpenSSL sends after a handshake
        transport.doWrite()  # type: ignore[no-untyped-call]  # Twisted's
    if unsent_bytes(transport):
        return None
    return TLSLane(layer, transport, link) if isinstance(layer, LinkTLS) else LocalLane(layer, transport, link)


@implementer(IReadWriteDescriptor)
class Lane:
    """Reads and writes the socket of one link.  :func:`open_lane` makes it; a subclass knows what the bytes are.

    Call :meth:`resumeProducing` to begin to read.

    :param layer: what is below the link.
    :param transport: its transport, which has the socket and is not watched by the reactor from now on.
    :param link: takes what arrives; its `tls` is the lane, until the lane gives the socket back.
    """

    def __init__(self, layer: LinkTLS | LocalLayer, transport: Any, link: LaneUser) -> None:
        self._layer = layer
        self._transport = transport
        self._link = link
        self._reactor = transport.reactor
        handle: socket.socket = transport.getHandle()
        self._socket = handle
        self._read, self._send = handle.recv_into, handle.send
        self._log_prefix: str = transport.logPrefix()  # which the reactor asks for with each event
        self._queue = bytearray()
        self._own_unsent = 0  # as in LinkTLS: bytes of the link's own in the queue, never fewer than there are
        self._producer: IPushProducer | None = None
        self._is_paused = False
        self._is_reading = False
        self._is_open = True
        transport.stopReading()

    # For the subclass to implement.

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        """Send what the link writes as far as the operating system takes it now; the rest waits in the lane.

        :param pieces: the plaintext, at least one byte.
        """
        raise NotImplementedError

    def getHandle(self) -> Exporter:
        """Return what exports the secrets of the link."""
        raise NotImplementedError

    def _arrived(self, size: int) -> None:
        """Have the link handle the first bytes of :data:`_arrival`."""
        raise NotImplementedError

    # For the link to call.

    def getPeer(self) -> IAddress:
        """Return the address of the other end."""
        return cast("IAddress", self._transport.getPeer())

    def fileno(self) -> int:
        """Return the descriptor of the socket, for the reactor; -1 when it is closed."""
        return self._socket.fileno()

    def registerProducer(self, producer: IPushProducer, _streaming: bool) -> None:
        """Pause a producer while more than :data:`BUFFER_BYTES` wait to be sent."""
        self._producer = producer
        self._watch_producer()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None
        self._is_paused = False

    def pauseProducing(self) -> None:
        """Read nothing more for now; harmless when the lane does not read."""
        if self._is_reading:
            self._is_reading = False
            self._reactor.removeReader(self)

    def resumeProducing(self) -> None:
        """Read, or read again; harmless when the lane reads."""
        if not self._is_reading:
            self._is_reading = True
            self._reactor.addReader(self)

    def loseConnection(self) -> None:
        """Have the layer end the connection after what was written."""
        self.give_back().loseConnection()

    def abortConnection(self) -> None:
        """Have the layer abort the connection."""
        self.give_back().abortConnection()

    def give_back(self) -> LinkTLS | LocalLayer:
        """Let the layer have the socket again, and all that is not sent yet.  The producer is forgotten.

        :returns: the layer, which is the link's transport again.
        """
        if self._is_open:
            was_reading = self._is_reading
            self._leave()
            if was_reading:
                self._transport.resumeProducing()
            if self._queue:
                self._layer.take_back(bytes(self._queue), self._own_unsent)
        return self._layer

    def _leave(self) -> None:
        self._is_open = self._is_reading = False
        self._producer = None
        self._link.tls = self._layer
        # Both before Twisted's transport is watched: the reactor knows the two by the same number.
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return len(self._queue)

    # For the reactor to call.

    def logPrefix(self) -> str:
        """Return the name of the connection in the log."""
        return self._log_prefix

    def doRead(self) -> Any:
        """Read once, and have the link handle all of it.

        :returns: the exception that has ended the connection, or ``None``.
        """
        try:
            size = self._read(_arrival)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not size:
            return CONNECTION_DONE
        self._arrived(size)
        return None

    def doWrite(self) -> Any:
        """Send what waits, as far as the operating system takes it now.

        :returns: the exception that has ended the connection, or ``None``.
        """
        if not self._is_open:  # given back in the same event
            return None
        try:
            del self._queue[: self._send(self._queue)]
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not self._queue:
            self._reactor.removeWriter(self)
            if self._is_paused and self._producer is not None:
                self._is_paused = False
                self._producer.resumeProducing()
        return None

    def connectionLost(self, reason: Failure) -> None:
        """Pass the end of the connection on to Twisted's transport, which closes the socket."""
        if self._is_open:
            self._leave()
            self._transport.connectionLost(reason)

    def _send_or_keep(self, data: bytes) -> bool:
        """Send bytes, and keep what the operating system does not take now.

        :returns: whether nothing waits behind that.
        """
        if not self._queue:
            try:
                sent = self._send(data)
            except OSError:  # no room, or an error that the reactor meets again
                sent = 0
            if sent == len(data):
                return True
            data = data[sent:]
            self._reactor.addWriter(self)
        self._queue += data
        self._watch_producer()
        return False

    def _watch_producer(self) -> None:
        if len(self._queue) > BUFFER_BYTES and not self._is_paused and self._producer is not None:
            self._is_paused = True
            self._producer.pauseProducing()


class LocalLane(Lane):
    """The lane of a Unix socket: what the link writes is what the socket carries."""

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        self._send_or_keep(b"".join(pieces))

    def getHandle(self) -> Exporter:
        return self._layer.getHandle()

    def _arrived(self, size: int) -> None:
        self._link.dataReceived(bytes(_arrival[:size]))


class TLSLane(Lane):
    """The lane of a TLS connection, which encrypts and decrypts.

    :param arguments: those of :class:`Lane`.
    """

    _layer: LinkTLS

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connection = cast("SSL.Connection", TLSMemoryBIOProtocol.getHandle(self._layer))
        self._inside = 0  # bytes of TLS's own answers that may be inside OpenSSL: as many as have arrived

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        data = memoryview(b"".join(pieces))
        for start in range(0, len(data), BATCH_BYTES):
            sent, error = encrypt(self._connection, data[start : start + BATCH_BYTES])
            self._drain(ciphertext_bytes(sent))
            if error is not None:
                self._end_found(error)
                return

    def getHandle(self) -> Exporter:
        """Return the connection of TLS."""
        return self._connection

    @property
    def unread_answers(self) -> int:
        """Bytes of TLS's own answers that wait to be sent; those inside OpenSSL do not count."""
        self._own_unsent = min(self._own_unsent, len(self._queue))
        return len(self._queue) - self._own_unsent

    def _arrived(self, size: int) -> None:
        self._connection.bio_write(_arrival[:size])
        self._inside += size
        plaintext, end = decrypt(self._connection)
        if plaintext:
            self._link.dataReceived(plaintext)
        if self._is_open:  # the link may have ended
            if end is not None:
                self._end_found(end)
            elif self._inside > MAX_INSIDE_BYTES or self._queue:
                self._check_answers()

    def _end_found(self, error: SSL.Error) -> None:
        self.give_back()
        self._layer.end_found(error)

    def _check_answers(self) -> None:
        if self._inside > MAX_INSIDE_BYTES:
            self._drain(0)
        if self.unread_answers > MAX_REPLY_BYTES:
            self._link.replies_exceeded()

    def _drain(self, own: int) -> None:
        """Send what is inside OpenSSL.

        :param own: bytes of it that are the link's own.
        """
        data = take_ciphertext(self._connection, own + self._inside)
        self._inside = 0
        if self._send_or_keep(data):
            self._own_unsent = 0
        else:
            self._own_unsent += own
