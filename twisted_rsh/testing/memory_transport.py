"""The transport of one end of a connection in memory, which behaves as Twisted's TCP transport does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.testing.faults import End
from twisted_rsh.testing.leg import Leg

if TYPE_CHECKING:
    from twisted_rsh.testing.memory import MemoryConnection

__all__ = ["HIGH_WATER_BYTES", "NETWORK_BYTES", "MemoryTransport"]

HIGH_WATER_BYTES = 64 * 1024
"""Bytes that wait in a transport before it pauses its producer: as in Twisted's TCP transport."""

NETWORK_BYTES = 64 * 1024
"""Bytes under way in one direction, between two transports: the buffers of two sockets."""


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a :class:`~twisted_rsh.testing.memory.MemoryConnection`.

    Nothing happens while a protocol calls it: bytes arrive, and connections end, in a later turn of the clock.  A
    transport that does not read (:meth:`pauseProducing`) learns of the connection's end only when it writes.  It cannot
    close one direction alone.

    :param connection: the connection, which moves the bytes.
    :param outgoing: takes the bytes that the protocol writes.
    :param incoming: gives the bytes that the protocol reads.
    :param host: this end's address.
    :param peer: the other end's address.
    :ivar protocol: the protocol, or ``None`` before :meth:`connect`.
    :ivar connected: whether the connection is there.
    :ivar disconnecting: whether the protocol has closed it.
    :ivar reason: why it is gone, or ``None``.
    :ivar producer: the producer that the protocol has registered, or ``None``.
    """

    def __init__(
        self, connection: MemoryConnection, outgoing: Leg, incoming: Leg, host: IPv4Address, peer: IPv4Address
    ) -> None:
        self.protocol: IProtocol | None = None
        self.connected = False
        self.disconnecting = False
        self.reason: Failure | None = None
        self.producer: Any = None
        self._connection = connection
        self._outgoing = outgoing
        self._incoming = incoming
        self._host = host
        self._peer = peer
        self._sent = 0  # bytes since the start that have left this transport
        self._aborting = False
        self._reading = True
        self._has_written_in_vain = False
        self._streaming = False
        self._producer_waits = False
        self._no_delay = self._keep_alive = False

    # For the connection to call.

    def connect(self, protocol: IProtocol) -> None:
        """Become a protocol's transport."""
        self.protocol = protocol
        self.connected = True
        protocol.makeConnection(self)

    @property
    def unsent(self) -> int:
        """Bytes that were written and have not left the transport."""
        return max(self._outgoing.delivered + self._outgoing.queued - self._sent, 0)

    def send(self) -> None:
        """Send as many bytes as the network takes, or end the connection if the protocol has aborted it."""
        if self._aborting and self.connected:
            self._outgoing.truncate(max(self._sent - self._outgoing.delivered, 0))
            self._outgoing.put_end(End.RESET, self._connection.clock.seconds())
            self.lose(ConnectionAborted())
            return
        entered = self._outgoing.delivered + self._outgoing.queued
        self._sent = max(self._sent, min(entered, self._outgoing.delivered + NETWORK_BYTES))

    def receive(self) -> bool:
        """Deliver some bytes to the protocol, if there are any and it reads; return whether it got some."""
        if not self.connected or not self._reading or self.disconnecting or self._aborting:
            return False
        data = self._incoming.take(self._connection.clock.seconds())
        if data:
            assert self.protocol is not None
            self.protocol.dataReceived(data)
        return bool(data)

    def settle(self) -> bool:
        """Deliver the end or resume the producer, where that is due after the bytes; return whether one was."""
        if not self.connected or self._aborting:
            return False
        if self._reading or self.disconnecting or self._has_written_in_vain:
            end = self._incoming.take_end(self._connection.clock.seconds())
            if end is not None:
                self.lose(ConnectionDone() if end is End.CLOSED else ConnectionLost())
                return True
        if self.unsent:
            return False
        if self._producer_waits:
            self._producer_waits = False
            self.producer.resumeProducing()
            return True
        if self.disconnecting and (self.producer is None or self._streaming):
            self._outgoing.put_end(End.CLOSED, self._connection.clock.seconds())
            self.lose(ConnectionDone())
            return True
        return False

    def lose(self, reason: Exception) -> None:
        """Tell the protocol that the connection is gone."""
        self.connected = False
        self.reason = Failure(reason)
        self._incoming.close()
        if self.producer is not None:
            producer, self.producer = self.producer, None
            producer.stopProducing()
        assert self.protocol is not None
        self.protocol.connectionLost(self.reason)

    # ITransport.

    def write(self, data: bytes) -> None:
        """Send bytes after those that were written earlier.

        :raises TypeError: `data` is not bytes.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"Data must be bytes, not {type(data).__name__}")
        if not self.connected or self._aborting or not data:
            return
        self._has_written_in_vain = self._outgoing.closed
        self._outgoing.put(data, self._connection.clock.seconds())
        if self.producer is not None:
            if not self._streaming:
                self._producer_waits = True
            elif self.unsent > HIGH_WATER_BYTES and not self._producer_waits:
                self._producer_waits = True
                self.producer.pauseProducing()
        self._connection.wake()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces of bytes."""
        for piece in data:
            self.write(piece)

    def loseConnection(self) -> None:
        """Close the connection after the bytes that were written; a producer that waits for its turn comes first."""
        self.disconnecting = self.connected
        self._connection.wake()

    def loseWriteConnection(self) -> None:
        """Raise :class:`NotImplementedError`: a connection in memory closes in both directions."""
        raise NotImplementedError("a connection in memory cannot close one direction alone")

    def abortConnection(self) -> None:
        """Reset the connection: bytes that were written in this turn are lost."""
        self.disconnecting = self._aborting = self.connected
        self._connection.wake()

    def getHost(self) -> IPv4Address:
        """Return this end's address."""
        return self._host

    def getPeer(self) -> IPv4Address:
        """Return the other end's address."""
        return self._peer

    # IConsumer.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take bytes from a producer, and pause it while too many of them wait.

        :raises RuntimeError: another producer is registered.
        """
        if self.producer is not None:
            raise RuntimeError(f"{producer} cannot be registered: {self.producer} is")
        if self.reason is not None:
            producer.stopProducing()
            return
        self.producer = producer
        self._streaming = streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.producer = None
        self._producer_waits = False
        self._connection.wake()

    # IPushProducer.

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        self._reading = True
        self._connection.wake()

    def stopProducing(self) -> None:
        """Close the connection."""
        self.loseConnection()

    # ITCPTransport.

    def getTcpNoDelay(self) -> bool:
        """Return whether Nagle's algorithm is off."""
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Note whether Nagle's algorithm is off."""
        self._no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return whether the operating system would probe the connection."""
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Note whether the operating system would probe the connection."""
        self._keep_alive = bool(enabled)
