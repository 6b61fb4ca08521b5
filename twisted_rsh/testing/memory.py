"""Connections in memory that fail as planned, and the endpoint that dials them: no sockets, no time but the clock's."""

from __future__ import annotations

from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from zope.interface import implementer

from twisted_rsh.testing.faults import HEALTHY, Direction, End, Faults
from twisted_rsh.testing.leg import legs
from twisted_rsh.testing.memory_transport import MemoryTransport
from twisted_rsh.testing.schedules import NO_FAULTS, DialOrder, Schedule

__all__ = ["CLIENT_ADDRESS", "EPHEMERAL_PORTS", "SERVER_ADDRESS", "MemoryConnection", "MemoryEndpoint"]

CLIENT_ADDRESS = IPv4Address("TCP", "192.0.2.1", 49152)
"""The first client's address by default; its host is reserved for documentation (RFC 5737)."""

SERVER_ADDRESS = IPv4Address("TCP", "192.0.2.2", 8000)
"""The server's address."""

EPHEMERAL_PORTS = 2**16 - CLIENT_ADDRESS.port
"""The number of ports that clients use one after another: the dynamic ports of RFC 6335."""


class MemoryConnection:
    """Two protocols joined by a connection that has a plan.

    It moves by itself, one round in each turn of the clock: ``clock.advance(0)`` of a
    :class:`~twisted.internet.task.Clock` delivers everything that can arrive.  :meth:`flush` does the same without the
    clock, for tests that make thousands of connections.  An exception of a protocol reaches the caller of either.

    :param clock: a :class:`~twisted.internet.task.Clock`, or a reactor.
    :param client: the protocol of the end that dialled.
    :param factory: the server's; it makes the protocol of the other end from the client's address, or returns ``None``
        to refuse the connection.
    :param faults: the plan.
    :param client_address: the client's address, as the server sees it.
    :param order: the order of the dials; ``None`` for a connection without others.
    :param index: the connection's number in that order.
    :ivar clock: as above.
    :ivar faults: as above.
    :ivar client: the client protocol's transport.
    :ivar server: the server protocol's transport; its ``protocol`` is ``None`` until the server learns of the
        connection.
    :ivar is_cut: whether the connection was cut, by its plan or by :meth:`cut`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        client: IProtocol,
        factory: IProtocolFactory,
        faults: Faults = HEALTHY,
        *,
        client_address: IPv4Address = CLIENT_ADDRESS,
        order: DialOrder | None = None,
        index: int = 0,
    ) -> None:
        self.clock = clock
        self.faults = faults
        self.is_cut = False
        self._factory = factory
        self._client_address = client_address
        self._order = order or DialOrder()
        self._index = index
        if faults.late is not None:
            self._order.hold(index, faults.late, self)
        self._legs = legs(faults)
        self._turn: IDelayedCall | None = None
        self._is_moving = False
        up, down = self._legs[Direction.TO_SERVER], self._legs[Direction.TO_CLIENT]
        self.client = MemoryTransport(self, up, down, host=client_address, peer=SERVER_ADDRESS)
        self.server = MemoryTransport(self, down, up, host=SERVER_ADDRESS, peer=client_address)
        self._timer: IDelayedCall | None = None
        if faults.cut_after_seconds is not None:
            self._timer = clock.callLater(faults.cut_after_seconds, self.cut)
        self._is_accepted = False
        self._accept_if_due()
        self.client.connect(client)
        self.wake()

    @classmethod
    def between(
        cls,
        clock: IReactorTime,
        client: IProtocol,
        server: IProtocol,
        faults: Faults = HEALTHY,
    ) -> MemoryConnection:
        """Join two protocols that exist already.

        :param clock: a :class:`~twisted.internet.task.Clock`, or a reactor.
        :param client: the protocol of the end that dials.
        :param server: the protocol of the other end.
        :param faults: the plan.
        """
        return cls(clock, client, _Existing(server), faults)

    @property
    def is_over(self) -> bool:
        """Whether both ends have learnt that the connection is gone."""
        return self._is_accepted and not self.client.connected and not self.server.connected

    def delivered(self, direction: Direction) -> int:
        """Return how many bytes have arrived in one direction: after a run without faults, the offsets to cut at."""
        return self._legs[direction].delivered

    def flush(self) -> bool:
        """Deliver everything that can arrive without time passing; return whether anything did."""
        moved = False
        while self._round():
            moved = True
        self._sleep()
        return moved

    def cut(self) -> None:
        """Cut the connection now: bytes under way are lost, and its ends learn of the cut as the plan says."""
        if not self.is_cut:
            self.is_cut = True
            self._is_accepted = True  # a server that has not learnt of the connection never will
            now = self.clock.seconds()
            self._legs[Direction.TO_SERVER].cut(self.faults.server_end, now)
            self._legs[Direction.TO_CLIENT].cut(self.faults.client_end, now)
            self.wake()

    def stall(self) -> None:
        """Deliver nothing in either direction until :meth:`resume`; the connection stays open."""
        for leg in self._legs.values():
            leg.stall()

    def resume(self) -> None:
        """End every stall, also those of the plan: bytes that were written meanwhile arrive."""
        for leg in self._legs.values():
            leg.resume()
        self.wake()

    def release(self) -> None:
        """Deliver the bytes that the plan holds back for a later connection, without waiting for that any longer."""
        self._legs[Direction.TO_SERVER].release()
        self.wake()

    def overtaken(self) -> None:
        """Deliver them, because the later connection has delivered its own; the order of the dials calls this."""
        self.release()

    def wake(self) -> None:
        """Move in the clock's next turn: a transport has something to do."""
        if not self._is_moving:
            self._schedule(self.clock.seconds())

    def _schedule(self, when: float) -> None:
        if self._turn is not None and self._turn.getTime() > when:
            self._turn.cancel()
            self._turn = None
        if self._turn is None:
            self._turn = self.clock.callLater(max(when - self.clock.seconds(), 0), self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        moved = True
        try:
            moved = self._round()
        finally:
            if moved:
                self._schedule(self.clock.seconds())
            else:
                self._sleep()

    def _sleep(self) -> None:
        """Wait for delayed bytes; every other change calls :meth:`wake`."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self.is_over:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            return
        now = self.clock.seconds()
        due = [when for leg in self._legs.values() if (when := leg.next_due()) is not None and when > now]
        if due:
            self._schedule(min(due))

    def _round(self) -> bool:
        if self._is_moving:
            return False
        self._is_moving = True
        try:
            moved = self._cut_if_due() or self._accept_if_due()
            for source, target in ((self.client, self.server), (self.server, self.client)):
                source.send()
                if target.receive():
                    moved = True
                    if target is self.server:
                        self._order.delivered(self._index, self._legs[Direction.TO_SERVER].delivered)
                    self._cut_if_due()
            for end in (self.server, self.client):
                moved |= end.settle()
            return moved
        finally:
            self._is_moving = False

    def _cut_if_due(self) -> bool:
        if self.is_cut or not any(leg.is_cut for leg in self._legs.values()):
            return False
        self.cut()
        return True

    def _accept_if_due(self) -> bool:
        if self._is_accepted or self._legs[Direction.TO_SERVER].is_late:
            return False
        self._is_accepted = True
        protocol = self._factory.buildProtocol(self._client_address)
        if protocol is None:
            self._legs[Direction.TO_SERVER].close()
            self._legs[Direction.TO_CLIENT].put_end(End.CLOSED, self.clock.seconds())
        else:
            self.server.connect(protocol)
        return True


class _Existing(Factory):
    """Gives a connection a protocol that exists already."""

    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._existing = protocol

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._existing


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """A client endpoint that connects to a server factory in memory; each dial has its plan.

    Dials and connections take turns on the clock, as sockets do: ``clock.advance(0)`` does everything that can happen.

    :param clock: a :class:`~twisted.internet.task.Clock`, or a reactor.
    :param factory: the server's.  The endpoint takes protocols from it and neither starts nor stops it.
    :param schedule: the plans of the dials.
    :ivar connections: the connections of the dials that succeeded, in order, also those that are over.
    :ivar dials: the number of dials, also those that failed.
    :ivar client_host: the address from which the next client comes; each client has a port of its own.
    """

    def __init__(self, clock: IReactorTime, factory: IProtocolFactory, schedule: Schedule = NO_FAULTS) -> None:
        self.connections: list[MemoryConnection] = []
        self.dials = 0
        self.client_host = CLIENT_ADDRESS.host
        self._clock = clock
        self._factory = factory
        self._schedule = schedule
        self._order = DialOrder()

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See :class:`~twisted.internet.interfaces.IStreamClientEndpoint`.

        :param protocolFactory: makes the client's protocol.
        :returns: fires with the protocol in the clock's next turn.  Fails with
            :class:`~twisted.internet.error.ConnectionRefusedError` when the plan says so, with
            :class:`~twisted.internet.error.ConnectingCancelledError` when it is cancelled, with
            :class:`~twisted.internet.error.NoProtocol` when the factory has none, and with any exception of a factory.
        """
        index = self.dials
        self.dials += 1
        address = IPv4Address("TCP", self.client_host, CLIENT_ADDRESS.port + index % EPHEMERAL_PORTS)
        dial: Deferred[IProtocol]

        def cancel(dial: Deferred[IProtocol]) -> None:
            turn.cancel()
            dial.errback(error.ConnectingCancelledError(SERVER_ADDRESS))

        def arrive() -> None:
            try:
                dial.callback(self._establish(index, address, protocolFactory))
            except Exception:  # noqa: BLE001 - an exception of a factory is the dial's failure
                dial.errback()

        dial = Deferred(cancel)
        turn = self._clock.callLater(0, arrive)
        return dial

    def flush(self) -> bool:
        """Deliver everything that can arrive on every connection, without the clock; return whether anything did."""
        moved, is_moving = False, True
        while is_moving:
            is_moving = False
            for connection in self.connections:
                is_moving |= not connection.is_over and connection.flush()
            moved |= is_moving
        return moved

    def cut_all(self) -> None:
        """Cut every connection now; its ends learn of the cut in the clock's next turn."""
        for connection in self.connections:
            if not connection.is_over:
                connection.cut()

    def _establish(self, index: int, address: IPv4Address, factory: IProtocolFactory) -> IProtocol:
        faults = self._schedule.plan(index)
        if faults.refuse:
            raise error.ConnectionRefusedError
        protocol = factory.buildProtocol(SERVER_ADDRESS)
        if protocol is None:
            raise error.NoProtocol
        connection = MemoryConnection(
            self._clock,
            protocol,
            self._factory,
            faults,
            client_address=address,
            order=self._order,
            index=index,
        )
        self.connections.append(connection)
        return protocol
