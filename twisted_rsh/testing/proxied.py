"""One connection through the proxy: two sockets, and a plan between them.

Back-pressure bounds memory in both directions: the proxy does not read one side while the other side's transport is
full, or while :data:`QUEUE_BYTES` from it wait for their time.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import TYPE_CHECKING, Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.closing import close_after_events
from twisted_rsh.testing.faults import Direction, End, Faults
from twisted_rsh.testing.leg import Leg, legs
from twisted_rsh.testing.schedules import DialOrder

if TYPE_CHECKING:
    from twisted_rsh.testing.proxy import FaultProxy

__all__ = [
    "LINGER_SECONDS",
    "OVERTAKEN_SECONDS",
    "QUEUE_BYTES",
    "ProxiedConnection",
    "ResetBehind",
    "Side",
    "unsent_bytes",
]

QUEUE_BYTES = 256 * 1024
"""Bytes of one direction that wait in the proxy, for a delay, a stall or their turn as fragments, before it stops
reading.  The last read, of up to 64 KiB, may come on top."""

OVERTAKEN_SECONDS = 0.05
"""Seconds that the server has to read the overtaking connection's bytes before the proxy sends the late ones: bytes
that have left the proxy have not been read yet."""

LINGER_SECONDS = 0.01
"""Seconds between two checks whether the operating system has sent everything, so that a reset cannot discard it."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Side(Protocol):
    """The proxy's end of one of the two sockets.

    :param connection: the connection.
    :param leg: takes the bytes that are read here.
    :ivar leg: as above.
    :ivar other: the other side.
    :ivar is_open: whether the socket is connected.
    :ivar is_over: whether the socket was connected and is gone, or never will be connected.
    :ivar is_blocked: whether the other side's transport is full, so that nothing is to be written to it.
    """

    other: Side

    def __init__(self, connection: ProxiedConnection, leg: Leg) -> None:
        self.leg = leg
        self.is_open = False
        self.is_over = False
        self.is_blocked = False
        self._connection = connection
        self._is_queue_full = False
        self._reads = True
        self._has_read_all = False
        self._has_written_all = False
        self._reset: ResetBehind | None = None

    @property
    def socket(self) -> Any:
        """The transport, which is a consumer and a producer as well."""
        return self.transport

    # For the connection to call.

    def discard(self) -> None:
        """Read on and drop the bytes: the other side is gone."""
        self.leg.close()
        self.is_blocked = False
        self.limit()

    def limit(self) -> None:
        """Stop reading while too many bytes wait, and read again otherwise."""
        self._is_queue_full = self.leg.queued >= QUEUE_BYTES
        self._apply()

    def couple(self) -> None:
        """Pause the other side while this side's transport is full."""
        self.socket.registerProducer(self.other, True)

    def finish(self, end: End, last: bytes = b"", *, at_once: bool = False) -> None:
        """End the connection with this side's peer.

        :param end: how the peer learns of it.
        :param last: bytes that the peer gets before.
        :param at_once: whether a reset may discard bytes that were written earlier.
        """
        if not self.is_open:
            return
        self.socket.unregisterProducer()
        if end is End.RESET and at_once:
            self.socket.abortConnection()
        elif end is End.RESET:
            self._reset = ResetBehind(self._connection.clock, self.socket, last)
            self._reset.start()
        elif end is End.CLOSED:
            self.socket.write(last)
            self.socket.loseWriteConnection()
        else:
            self.socket.write(last)
            self._has_read_all = True
            self.socket.pauseProducing()

    def _apply(self) -> None:
        reads = not (self.is_blocked or self._is_queue_full)
        if reads != self._reads and self.is_open and not self._has_read_all:
            self._reads = reads
            if reads:
                self.socket.resumeProducing()
            else:
                self.socket.pauseProducing()

    def _close_if_done(self) -> None:
        if self._has_read_all and self._has_written_all:
            self.socket.loseConnection()

    # For Twisted to call: IPushProducer of the other side's transport.

    def pauseProducing(self) -> None:
        self.is_blocked = True
        self._apply()

    def resumeProducing(self) -> None:
        self.is_blocked = False
        self._connection.move(self)

    def stopProducing(self) -> None:
        # The other socket is gone.  Read this one on, to see its end.
        self.is_blocked = False
        self._apply()

    # IProtocol and IHalfCloseableProtocol.

    def connectionMade(self) -> None:
        self.is_open = True
        if not isinstance(self.socket.getPeer(), UNIXAddress):
            self.socket.setTcpNoDelay(True)
        self._connection.opened(self)

    def dataReceived(self, data: bytes) -> None:
        self.leg.put(data, self._connection.clock.seconds())
        if self.leg.is_fragmenting:
            self._connection.move_later(self)  # one piece each turn, or the pieces would be joined again
        else:
            self._connection.move(self)

    def readConnectionLost(self) -> None:
        self._has_read_all = True
        self.leg.put_end(End.CLOSED, self._connection.clock.seconds())
        self._connection.move(self)
        self._close_if_done()

    def writeConnectionLost(self) -> None:
        self._has_written_all = True
        self._close_if_done()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_open = False
        self.is_over = True
        if self._reset is not None:
            self._reset.cancel()
        self.other.discard()
        end = End.CLOSED if reason.check(ConnectionDone) else End.RESET
        self.leg.put_end(end, self._connection.clock.seconds())
        self._connection.move(self)
        self._connection.look()


class ProxiedConnection:
    """Two sockets with a plan between them.

    :param proxy: the proxy; the connection reports its cut and its end to it.
    :param clock: the reactor.
    :param target: the server's endpoint.
    :param faults: the plan.
    :param order: the order of the dials.
    :param index: the connection's number in that order.
    :ivar clock: as above.
    :ivar client: the proxy's end of the client's socket: the protocol of the accepted connection.
    :ivar server: the proxy's end of the server's socket.
    """

    def __init__(
        self,
        proxy: FaultProxy,
        clock: IReactorTime,
        target: IStreamClientEndpoint,
        faults: Faults,
        order: DialOrder,
        index: int,
    ) -> None:
        self.clock = clock
        self._proxy = proxy
        self._target = target
        self._faults = faults
        self._order = order
        self._index = index
        if faults.late is not None:
            order.hold(index, faults.late, self)
        made = legs(faults)
        self.client = Side(self, made[Direction.TO_SERVER])
        self.server = Side(self, made[Direction.TO_CLIENT])
        self.client.other, self.server.other = self.server, self.client
        self._is_cut = False
        self._dialling: Deferred[Any] | None = None
        self._timers: dict[Side | str, IDelayedCall] = {}

    @property
    def queued(self) -> int:
        """The number of bytes that wait for their time, in both directions."""
        return self.client.leg.queued + self.server.leg.queued

    def opened(self, side: Side) -> None:
        """Begin to move bytes, or dial the server: one of the sockets is connected."""
        if self._is_cut:  # in the turn in which the dial was given up
            side.finish(End.RESET, at_once=True)
        elif side is self.server:
            self.client.couple()
            self.server.couple()
            for each in (self.client, self.server):
                self.move(each)
        elif self._faults.refuse:
            self.shut()
        else:
            if self._faults.cut_after_seconds is not None:
                self._timers["cut"] = self.clock.callLater(self._faults.cut_after_seconds, self.cut)
            if not self.client.leg.is_late:
                self._dial()

    def move(self, side: Side) -> None:
        """Write the bytes of one side to the other, as far as their time has come."""
        leg, other = side.leg, side.other
        while other.is_open and not side.is_blocked:
            data = leg.take(self.clock.seconds())
            if not data:
                break
            if leg.is_cut:
                self._note_delivery(side)
                self.cut(other, data)
                return
            other.socket.write(data)
            self._note_delivery(side)
            if leg.is_fragmenting:
                break
        if leg.is_cut and other.is_open:
            self.cut()
            return
        end = leg.take_end(self.clock.seconds()) if other.is_open else None
        if end is not None:
            other.finish(end)
        self.move_later(side)

    def move_later(self, side: Side) -> None:
        """Move again when the time of the next bytes has come, and do not read while too many wait for it."""
        side.limit()
        timer = self._timers.pop(side, None)
        if timer is not None and timer.active():
            timer.cancel()
        due = side.leg.next_due()
        if due is not None and side.other.is_open and not side.is_blocked:
            self._timers[side] = self.clock.callLater(max(due - self.clock.seconds(), 0), self.move, side)

    def cut(self, behind: Side | None = None, last: bytes = b"") -> None:
        """Cut the connection.

        :param behind: the side whose peer gets all earlier bytes before it learns of the cut; ``None`` for neither.
        :param last: the last bytes for that peer.
        """
        if self._is_cut:
            return
        self._is_cut = True
        self._abandon()
        self._proxy.connection_cut()
        for side, end in ((self.server, self._faults.server_end), (self.client, self._faults.client_end)):
            side.finish(end, last if side is behind else b"", at_once=side is not behind)
        self.look()

    def shut(self) -> None:
        """Abort both sockets, against the plan."""
        self._is_cut = True
        self._abandon()
        for side in (self.server, self.client):
            side.finish(End.RESET, at_once=True)
        self.look()

    def stall(self) -> None:
        """Deliver nothing until :meth:`resume`."""
        for side in (self.client, self.server):
            side.leg.stall()

    def resume(self) -> None:
        """End every stall."""
        for side in (self.client, self.server):
            side.leg.resume()
            self.move(side)

    def overtaken(self) -> None:
        """Send the late bytes in a moment: those that were to overtake them have left the proxy."""
        self._timers["overtaken"] = self.clock.callLater(OVERTAKEN_SECONDS, self.release)

    def release(self) -> None:
        """Send the late bytes now."""
        self.client.leg.release()
        if self._dialling is None and not self.server.is_over:
            self._dial()
        self.move(self.client)

    def look(self) -> None:
        """Report to the proxy if both sockets are gone."""
        if self.client.is_over and self.server.is_over:
            self._abandon()
            self._proxy.connection_over(self)

    def _dial(self) -> None:
        self._dialling = connectProtocol(self._target, self.server)
        self._dialling.addErrback(self._cannot_connect)

    def _cannot_connect(self, _reason: Failure) -> None:
        self.server.is_over = True
        if self._is_cut:
            self.look()
        else:
            self.shut()

    def _abandon(self) -> None:
        for side in (self.client, self.server):
            side.discard()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()
        if not self.server.is_open and not self.server.is_over:
            if self._dialling is None:
                self.server.is_over = True
            else:
                close_after_events(self.clock, self._dialling.cancel)

    def _note_delivery(self, side: Side) -> None:
        if side is self.client:
            self._order.delivered(self._index, side.leg.delivered)


@implementer(IPullProducer)
class ResetBehind:
    """Resets a connection once its last bytes have reached the other end, so that the reset does not overtake them.

    Call :meth:`start`, and :meth:`cancel` when the connection is lost.

    :param clock: the reactor.
    :param transport: the socket's transport, without a producer.
    :param last: the last bytes; there may be none.
    """

    def __init__(self, clock: IReactorTime, transport: Any, last: bytes) -> None:
        self._clock = clock
        self._transport = transport
        self._last: bytes | None = last
        self._lingering: IDelayedCall | None = None

    def start(self) -> None:
        """Write the last bytes, and reset the connection after them."""
        self._transport.registerProducer(self, False)

    def cancel(self) -> None:
        """Stop waiting: the connection is lost."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def resumeProducing(self) -> None:
        if self._last is None:
            self._transport.unregisterProducer()
            self._reset_when_sent()
            return
        last, self._last = self._last, None
        # Not write(): without bytes it does nothing, and the transport would never ask for more.
        self._transport.writeSequence([last])

    def stopProducing(self) -> None:
        """Do nothing: no producing is left to stop."""

    def _reset_when_sent(self) -> None:
        self._lingering = None
        if unsent_bytes(self._transport):
            self._lingering = self._clock.callLater(LINGER_SECONDS, self._reset_when_sent)
        else:
            self._transport.abortConnection()


def unsent_bytes(transport: Any) -> int:
    """Return how many bytes of a socket have not reached the other end; 0 where the operating system does not say.

    Linux says it (``SIOCOUTQ`` in tcp(7), by its other name).  Elsewhere a reset may overtake bytes that a slow reader
    has not read.

    :param transport: provides :class:`~twisted.internet.interfaces.ISystemHandle`.
    """
    try:
        answer = fcntl.ioctl(transport.getHandle(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    (unsent,) = struct.unpack("i", answer)
    return int(unsent)
