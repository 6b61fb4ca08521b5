"""Two protocols joined in memory by a connection that fails as planned: no socket, and no time but the clock's."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IReactorTime

from twisted_rsh.testing.faults import HEALTHY, Direction, End, Faults
from twisted_rsh.testing.leg import legs
from twisted_rsh.testing.memory_transport import MemoryTransport

__all__ = ["CLIENT_ADDRESS", "SERVER_ADDRESS", "MemoryConnection"]

CLIENT_ADDRESS = IPv4Address("TCP", "192.0.2.1", 49152)
"""The first client's address unless told otherwise; its host belongs to nobody (RFC 5737)."""

SERVER_ADDRESS = IPv4Address("TCP", "192.0.2.2", 8000)
"""The server's address."""


class MemoryConnection:
    """Two protocols joined by a connection that has a plan.

    It moves by itself, one round in each turn of the clock: ``clock.advance(0)`` of a
    :class:`~twisted.internet.task.Clock` lets everything arrive that can.  :meth:`flush` does the same at once and
    without a clock's calls, for tests that make thousands of connections.  What a protocol raises reaches
    the caller of either.

    :param clock: a :class:`~twisted.internet.task.Clock`, or a reactor.
    :param client: the protocol of the end that dialled.
    :param accept: given the client's address, returns the protocol of the other end; or ``None`` to hang up.
    :param faults: the plan.
    :param client_address: the client's address, as the server sees it.
    :param delivered: called with the total after each delivery to the server.
    :ivar faults: the plan.
    :ivar client: the client protocol's transport.
    :ivar server: the server protocol's transport; its ``protocol`` is ``None`` as long as it has not heard of the
        connection.
    :ivar is_cut: whether the connection was cut, by its plan or by :meth:`cut`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        client: IProtocol,
        accept: Callable[[IAddress], IProtocol | None],
        faults: Faults = HEALTHY,
        *,
        client_address: IPv4Address = CLIENT_ADDRESS,
        delivered: Callable[[int], None] = lambda _total: None,
    ) -> None:
        self.faults = faults
        self.is_cut = False
        self._clock = clock
        self._accept = accept
        self._client_address = client_address
        self._delivered = delivered
        self._legs = legs(faults)
        self._turn: IDelayedCall | None = None
        self._is_moving = False
        up, down = self._legs[Direction.TO_SERVER], self._legs[Direction.TO_CLIENT]
        ends = (clock.seconds, self._wake)
        self.client = MemoryTransport(up, down, *ends, host=client_address, peer=SERVER_ADDRESS)
        self.server = MemoryTransport(down, up, *ends, host=SERVER_ADDRESS, peer=client_address)
        self._timer: IDelayedCall | None = None
        if faults.cut_after_seconds is not None:
            self._timer = clock.callLater(faults.cut_after_seconds, self.cut)
        self._is_accepted = False
        self._accept_if_due()
        self.client.connect(client)
        self._wake()

    @classmethod
    def between(
        cls,
        clock: IReactorTime,
        client: IProtocol,
        server: IProtocol,
        faults: Faults = HEALTHY,
    ) -> MemoryConnection:
        """Join two protocols that are there already.

        :param clock: a :class:`~twisted.internet.task.Clock`, or a reactor.
        :param client: the one that dials.
        :param server: the other one.
        :param faults: the plan.
        """
        return cls(clock, client, lambda _address: server, faults)

    @property
    def is_over(self) -> bool:
        """Whether both ends know that the connection is gone."""
        return self._is_accepted and not self.client.connected and not self.server.connected

    def delivered(self, direction: Direction) -> int:
        """Return how many bytes have arrived, in one direction: after a run without faults, what there is to cut."""
        return self._legs[direction].delivered

    def flush(self) -> bool:
        """Let everything arrive that can without time passing; return whether anything did."""
        moved = False
        while self._round():
            moved = True
        self._sleep()
        return moved

    def cut(self) -> None:
        """Cut the connection now: what is under way is lost, and its ends learn of it as the plan says."""
        if not self.is_cut:
            self.is_cut = True
            self._is_accepted = True  # or it never will be
            now = self._clock.seconds()
            self._legs[Direction.TO_SERVER].cut(self.faults.server_end, now)
            self._legs[Direction.TO_CLIENT].cut(self.faults.client_end, now)
            self._wake()

    def stall(self) -> None:
        """Deliver nothing from now on, in both directions; the connection stays open.  :meth:`resume` ends it."""
        for leg in self._legs.values():
            leg.stall()

    def resume(self) -> None:
        """End every stall: what was written meanwhile arrives."""
        for leg in self._legs.values():
            leg.resume()
        self._wake()

    def release(self) -> None:
        """Let what was to be overtaken arrive, without waiting for more."""
        self._legs[Direction.TO_SERVER].release()
        self._wake()

    def _wake(self) -> None:
        if not self._is_moving:
            self._schedule(self._clock.seconds())

    def _schedule(self, when: float) -> None:
        if self._turn is not None and self._turn.getTime() > when:
            self._turn.cancel()
            self._turn = None
        if self._turn is None:
            self._turn = self._clock.callLater(max(when - self._clock.seconds(), 0), self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        moved = True
        try:
            moved = self._round()
        finally:
            if moved:
                self._schedule(self._clock.seconds())
            else:
                self._sleep()

    def _sleep(self) -> None:
        """Wait for what is under way; everything else calls :meth:`_wake`."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self.is_over:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            return
        now = self._clock.seconds()
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
                        self._delivered(self._legs[Direction.TO_SERVER].delivered)
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
        protocol = self._accept(self._client_address)
        if protocol is None:
            self._legs[Direction.TO_SERVER].close()
            self._legs[Direction.TO_CLIENT].put_end(End.CLOSED, self._clock.seconds())
        else:
            self.server.connect(protocol)
        return True
