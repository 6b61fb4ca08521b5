"""One connection through the proxy: two sockets, and between them what the plan says.

Memory is bounded by back-pressure both ways: a side is not read while the other side's transport is full, or while
:data:`QUEUE_BYTES` of it wait for their time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.testing.faults import Direction, End, Faults
from twisted_rsh.testing.leg import Leg, legs
from twisted_rsh.testing.reset_behind import ResetBehind

__all__ = ["OVERTAKEN_SECONDS", "QUEUE_BYTES", "ProxiedConnection", "Side"]

QUEUE_BYTES = 256 * 1024
"""Bytes of one direction that wait in the proxy, for a delay, a stall or their turn as fragments, when it stops
reading.  What was read at once, 64 KiB, may come on top."""

OVERTAKEN_SECONDS = 0.05
"""Seconds that the server has to read the bytes of the connection that overtakes before those that were late are on
their way as well: out of the proxy does not mean read."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Side(Protocol):
    """The proxy's end of one of the two sockets.

    :param connection: whose side it is.
    :param leg: takes what is read here.
    :ivar is_open: whether the socket is connected.
    :ivar is_over: whether it was, or never will be.
    :ivar is_blocked: whether the other side's transport is full, and nothing is to be written to it.
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

    # For the connection.

    def discard(self) -> None:
        """Read on and forget what comes: nobody is there to take it any more."""
        self.leg.close()
        self.is_blocked = False
        self.limit()

    def limit(self) -> None:
        """Read no more when too much of it waits."""
        self._is_queue_full = self.leg.queued >= QUEUE_BYTES
        self._apply()

    def couple(self) -> None:
        """Pause the other side while this side's transport is full."""
        self.socket.registerProducer(self.other, True)

    def finish(self, end: End, last: bytes = b"", *, at_once: bool = False) -> None:
        """Let this side's peer learn that the connection is gone.

        :param end: how.
        :param last: bytes that it gets before.
        :param at_once: whether what was written before may be lost with a reset.
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
        # The other socket is gone.  This one is read on, to see its end.
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

    :param clock: the reactor.
    :param faults: the plan.
    :param target: where the server is.
    :param cut: called when the connection has been cut.
    :param over: called when both sockets are gone.
    :param delivered: called with the total after each delivery to the server.
    :ivar client: the proxy's end of the client's socket: the protocol of what was accepted.
    :ivar server: its end of the server's socket.
    """

    def __init__(
        self,
        clock: IReactorTime,
        faults: Faults,
        target: IStreamClientEndpoint,
        *,
        cut: Callable[[], None],
        over: Callable[[ProxiedConnection], None],
        delivered: Callable[[int], None],
    ) -> None:
        self.clock = clock
        self._faults = faults
        self._target = target
        self._on_cut = cut
        self._on_over = over
        self._on_delivered = delivered
        made = legs(faults)
        self.client = Side(self, made[Direction.TO_SERVER])
        self.server = Side(self, made[Direction.TO_CLIENT])
        self.client.other, self.server.other = self.server, self.client
        self._is_cut = False
        self._dialling: Deferred[Any] | None = None
        self._timers: dict[Side | str, IDelayedCall] = {}

    @property
    def queued(self) -> int:
        """Bytes that wait for their time, in both directions."""
        return self.client.leg.queued + self.server.leg.queued

    def opened(self, side: Side) -> None:
        """Note that a socket is connected."""
        if side is self.server:
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
        """Write to the other side what was read at this one, as far as its time has come."""
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
        """Go on moving when the next bytes' time has come, and read no more while too many wait for it."""
        side.limit()
        timer = self._timers.pop(side, None)
        if timer is not None and timer.active():
            timer.cancel()
        due = side.leg.next_due()
        if due is not None and side.other.is_open and not side.is_blocked:
            self._timers[side] = self.clock.callLater(max(due - self.clock.seconds(), 0), self.move, side)

    def cut(self, behind: Side | None = None, last: bytes = b"") -> None:
        """Cut the connection.

        :param behind: whose peer gets everything before it learns of the cut; ``None`` for neither.
        :param last: what comes last.
        """
        if self._is_cut:
            return
        self._is_cut = True
        self._abandon()
        self._on_cut()
        for side, end in ((self.server, self._faults.server_end), (self.client, self._faults.client_end)):
            side.finish(end, last if side is behind else b"", at_once=side is not behind)
        self.look()

    def shut(self) -> None:
        """Abort both sockets, whatever the plan says."""
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
        """Let what was late arrive: what was to come before it is on its way."""
        self._timers["overtaken"] = self.clock.callLater(OVERTAKEN_SECONDS, self.release)

    def release(self) -> None:
        """Let what was to be overtaken arrive."""
        self.client.leg.release()
        if self._dialling is None and not self.server.is_over:
            self._dial()
        self.move(self.client)

    def look(self) -> None:
        """Look whether both sockets are gone, and nothing is left to be said to anybody."""
        if self.client.is_over and self.server.is_over:
            self._abandon()
            self._on_over(self)

    def _dial(self) -> None:
        self._dialling = connectProtocol(self._target, self.server)
        self._dialling.addErrback(self._cannot_connect)

    def _cannot_connect(self, _reason: Failure) -> None:
        if not self._is_cut:
            self.server.is_over = True
            self.shut()

    def _abandon(self) -> None:
        for side in (self.client, self.server):
            side.discard()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()
        if not self.server.is_open and not self.server.is_over:
            self.server.is_over = True
            if self._dialling is not None:
                self._dialling.cancel()

    def _note_delivery(self, side: Side) -> None:
        if side is self.client:
            self._on_delivered(side.leg.delivered)
