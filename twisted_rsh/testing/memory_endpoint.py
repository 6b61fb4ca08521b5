"""An endpoint whose connections are in memory and fail as planned, dial after dial."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from zope.interface import implementer

from twisted_rsh.testing.dial_order import DialOrder
from twisted_rsh.testing.memory import CLIENT_ADDRESS, SERVER_ADDRESS, MemoryConnection
from twisted_rsh.testing.schedules import NO_FAULTS, Schedule

__all__ = ["EPHEMERAL_PORTS", "MemoryEndpoint"]

EPHEMERAL_PORTS = 2**16 - CLIENT_ADDRESS.port
"""Ports that clients use, one after the other: those that RFC 6335 sets aside for this."""


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """A client endpoint that connects to a server factory in memory, by the plan of the next dial.

    Dials and connections take turns on the clock, as sockets do: ``clock.advance(0)`` lets all happen that can.

    :param clock: a :class:`~twisted.internet.task.Clock`, or a reactor.
    :param factory: the server's; it is asked for protocols only, starting it is its owner's affair.
    :param schedule: the plans of the dials.
    :ivar connections: what was dialled successfully, in order; also what is over.
    :ivar dials: how many dials there were, those that failed included.
    :ivar client_host: the address from which the next client comes; each has a port of its own.
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

        :returns: fires with the protocol in the clock's next turn.  Fails with
            :class:`~twisted.internet.error.ConnectionRefusedError` when the plan says so, with
            :class:`~twisted.internet.error.ConnectingCancelledError` when it is cancelled, with
            :class:`~twisted.internet.error.NoProtocol` when the factory has none, and with whatever that raises.
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
            except Exception:  # noqa: BLE001 - whatever goes wrong is the dial's failure
                dial.errback()

        dial = Deferred(cancel)
        turn = self._clock.callLater(0, arrive)
        return dial

    def flush(self) -> bool:
        """Let everything arrive on every connection without a turn of the clock; return whether anything did."""
        moved, is_moving = False, True
        while is_moving:
            is_moving = False
            for connection in self.connections:
                is_moving |= not connection.is_over and connection.flush()
            moved |= is_moving
        return moved

    def cut_all(self) -> None:
        """Cut every connection now; its ends learn of it in the next turn."""
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
            self._factory.buildProtocol,
            faults,
            client_address=address,
            delivered=lambda total: self._order.delivered(index, total),
        )
        self.connections.append(connection)
        if faults.late is not None:
            self._order.hold(index, faults.late, connection.release)
        return protocol
