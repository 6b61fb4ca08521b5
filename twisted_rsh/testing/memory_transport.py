"""A TCP transport without a socket: what a protocol sees of a connection in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.testing.faults import End
from twisted_rsh.testing.leg import Leg

__all__ = ["HIGH_WATER_BYTES", "NETWORK_BYTES", "MemoryTransport"]

HIGH_WATER_BYTES = 64 * 1024
"""Bytes that wait in a transport when it pauses its producer: as in Twisted's TCP transport."""

NETWORK_BYTES = 64 * 1024
"""Bytes under way in one direction, which have left the transport and were not read: the buffers of two sockets."""


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a :class:`~twisted_rsh.testing.memory.MemoryConnection`.

    It behaves as Twisted's TCP transport.  Nothing happens while a protocol calls it: bytes arrive, and connections
    end, in a later turn of the clock.  A transport that does not read (:meth:`pauseProducing`) does not hear of the
    connection's end either, until it writes.  Closing one direction alone is not supported.

    :param outgoing: takes what is written.
    :param incoming: gives what is read.
    :param now: returns the time, in seconds.
    :param wake: called when there is something to do in a later turn.
    :param host: this end's address.
    :param peer: the other end's.
    :ivar protocol: the protocol, or ``None`` before :meth:`connect`.
    :ivar connected: whether the connection is there.
    :ivar disconnecting: whether the protocol has closed it.
    :ivar reason: why it is gone, or ``None``.
    :ivar producer: what the protocol has registered, or ``None``.
    """

    def __init__(
        self,
        outgoing: Leg,
        incoming: Leg,
        now: Callable[[], float],
        wake: Callable[[], None],
        host: IPv4Address,
        peer: IPv4Address,
    ) -> None:
        self.protocol: IProtocol | None = None
        self.connected = False
        self.disconnecting = False
        self.reason: Failure | None = None
        self.producer: Any = None
        self._outgoing = outgoing
        self._incoming = incoming
        self._now = now
        self._wake = wake
        self._host = host
        self._peer = peer
        self._sent = 0  # bytes since the start that have left this transport
        self._aborting = False
        self._reading = True
        self._has_written_in_vain = False
        self._streaming = False
        self._producer_waits = False
        self._no_delay = self._keep_alive = False

    # For the connection.

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
        """Let as many bytes leave as the network takes; tear down what the protocol has aborted instead."""
        if self._aborting and self.connected:
            self._outgoing.truncate(max(self._sent - self._outgoing.delivered, 0))
            self._outgoing.put_end(End.RESET, self._now())
            self.lose(ConnectionAborted())
            return
        entered = self._outgoing.delivered + self._outgoing.queued
        self._sent = max(self._sent, min(entered, self._outgoing.delivered + NETWORK_BYTES))

    def receive(self) -> bool:
        """Deliver some bytes to the protocol, if there are any and it reads; return whether anything was."""
        if not self.connected or not self._reading or self.disconnecting or self._aborting:
            return False
        data = self._incoming.take(self._now())
        if data:
            assert self.protocol is not None
            self.protocol.dataReceived(data)
        return bool(data)

    def settle(self) -> bool:
        """Do what is due behind the bytes: the end, the producer's next turn; return whether anything was."""
        if not self.connected or self._aborting:
            return False
        if self._reading or self.disconnecting or self._has_written_in_vain:
            end = self._incoming.take_end(self._now())
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
            self._outgoing.put_end(End.CLOSED, self._now())
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
        """Send bytes, after those that were written before."""
        if not isinstance(data, bytes):
            raise TypeError(f"Data must be bytes, not {type(data).__name__}")
        if not self.connected or self._aborting or not data:
            return
        self._has_written_in_vain = self._outgoing.closed
        self._outgoing.put(data, self._now())
        if self.producer is not None:
            if not self._streaming:
                self._producer_waits = True
            elif self.unsent > HIGH_WATER_BYTES and not self._producer_waits:
                self._producer_waits = True
                self.producer.pauseProducing()
        self._wake()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        for piece in data:
            self.write(piece)

    def loseConnection(self) -> None:
        """Close behind what was written; a producer that waits for its turn gets that first."""
        self.disconnecting = self.connected
        self._wake()

    def loseWriteConnection(self) -> None:
        """Not supported."""
        raise NotImplementedError("a connection in memory cannot close one direction alone")

    def abortConnection(self) -> None:
        """Reset the connection: what was written in this turn is lost."""
        self.disconnecting = self._aborting = self.connected
        self._wake()

    def getHost(self) -> IPv4Address:
        """Return this end's address."""
        return self._host

    def getPeer(self) -> IPv4Address:
        """Return the other end's address."""
        return self._peer

    # IConsumer.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take bytes from a producer, which is paused when too many of them wait.

        :raises RuntimeError: there is one.
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
        self._wake()

    # IPushProducer.

    def pauseProducing(self) -> None:
        """Do not read."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        self._reading = True
        self._wake()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    # ITCPTransport.

    def getTcpNoDelay(self) -> bool:
        """Whether Nagle's algorithm is off."""
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remember that Nagle's algorithm is off."""
        self._no_delay = bool(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Whether the operating system would probe the connection."""
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Remember that the operating system would probe the connection."""
        self._keep_alive = bool(enabled)
