"""Dials in memory: each has its plan, its turn, and its place in the order."""

from __future__ import annotations

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.testing.ends import One, Recorder, Recorders
from twisted_rsh.testing import NO_FAULTS, Faults, InTurn, LaneFaults, Late, MemoryEndpoint, Schedule


class Dialling:
    """An endpoint on a clock, and what came of its dials."""

    def __init__(self, *plans: Faults, schedule: Schedule | None = None) -> None:
        self.clock = Clock()
        self.servers = Recorders()
        self.endpoint = MemoryEndpoint(self.clock, self.servers, schedule or InTurn(plans))

    def dial(self) -> Recorder:
        """Connect a client."""
        client = Recorder()
        connected: Deferred[Recorder] = connectProtocol(self.endpoint, client)
        done: list[Recorder] = []
        connected.addCallback(done.append)
        assert done == []
        self.clock.advance(0)
        assert done == [client]
        return client


def failure_of(dial: Deferred[IProtocol]) -> Failure:
    """Return with what a dial has failed."""
    failures: list[Failure] = []
    dial.addErrback(failures.append)
    [failure] = failures
    return failure


def test_interface() -> None:
    """It is a client endpoint."""
    assert verifyObject(IStreamClientEndpoint, Dialling().endpoint)


def test_each_dial_has_its_plan() -> None:
    """Plans are used in turn, and connections do not mix."""
    dialling = Dialling(Faults(to_server=LaneFaults(cut_after=1)), Faults(to_server=LaneFaults(cut_after=2)))
    clients = [dialling.dial() for _ in range(3)]
    for client in clients:
        client.wire.write(b"abc")
    assert dialling.endpoint.flush()
    assert [server.data for server in dialling.servers.made] == [b"a", b"ab", b"abc"]
    assert [client.reason for client in clients] == [ConnectionLost, ConnectionLost, None]
    assert not dialling.endpoint.flush()
    dialling.endpoint.cut_all()
    dialling.clock.advance(0)
    assert clients[2].reason is ConnectionLost
    assert all(connection.is_over for connection in dialling.endpoint.connections)
    assert dialling.clock.getDelayedCalls() == []


def test_clients_have_addresses() -> None:
    """Each client has a port, and the host that the test says."""
    dialling = Dialling()
    dialling.dial()
    dialling.endpoint.client_host = "198.51.100.1"
    dialling.dial()
    first, second = [server.wire.getPeer() for server in dialling.servers.made]
    assert (first.host, second.host) == ("192.0.2.1", "198.51.100.1")
    assert first.port != second.port
    assert [server.peer for server in dialling.servers.made] == [first, second]


def test_refused() -> None:
    """A plan can make a dial fail; the next one has the next plan."""
    dialling = Dialling(Faults(refuse=True))
    dial = dialling.endpoint.connect(One(Recorder()))
    dialling.clock.advance(0)
    assert failure_of(dial).check(error.ConnectionRefusedError)
    dialling.dial()
    assert (dialling.endpoint.dials, len(dialling.endpoint.connections)) == (2, 1)


def test_cancelled() -> None:
    """A dial that is cancelled never happens."""
    dialling = Dialling()
    dial = dialling.endpoint.connect(One(Recorder()))
    dial.cancel()
    assert failure_of(dial).check(error.ConnectingCancelledError)
    dialling.clock.advance(0)
    assert dialling.servers.made == []


def test_no_client_protocol() -> None:
    """A client factory without a protocol is a failed dial, of which the server does not hear."""
    dialling = Dialling()
    dial = dialling.endpoint.connect(One(None))
    dialling.clock.advance(0)
    assert failure_of(dial).check(error.NoProtocol)
    assert dialling.servers.made == []


def test_no_server_protocol() -> None:
    """A server factory without a protocol hangs up."""
    clock = Clock()
    client = Recorder()
    endpoint = MemoryEndpoint(clock, One(None), NO_FAULTS)
    connectProtocol(endpoint, client)
    clock.advance(0)
    assert client.reason is ConnectionDone
    (connection,) = endpoint.connections
    assert connection.is_over
    assert connection.server.protocol is None
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("after", [0, 6])
def test_late_bytes_are_overtaken(after: int) -> None:
    """The bytes and the end of a client that gave up arrive once the later connection has delivered enough."""
    dialling = Dialling(Faults(late=Late(after=after, overtaking_bytes=4)))
    old = dialling.dial()
    old.wire.write(b"hello resume me")
    dialling.clock.advance(0)
    old.wire.abortConnection()
    dialling.clock.advance(1e6)
    assert old.reason is not None
    heard = [server.data for server in dialling.servers.made]
    assert heard == ([b"hello "] if after else [])
    new = dialling.dial()
    new.wire.write(b"123")
    dialling.clock.advance(1e6)
    assert [server.data for server in dialling.servers.made] == [*heard, b"123"]
    new.wire.write(b"4")
    dialling.clock.advance(0)
    late = dialling.servers.made[0 if after else 1]
    assert late.data == b"hello resume me"
    assert late.reason is ConnectionLost
    assert new.reason is None


def test_overtaken_by_several() -> None:
    """The one that counts is the so-manieth later dial, not any later one."""
    dialling = Dialling(Faults(late=Late(overtakers=2)))
    old = dialling.dial()
    old.wire.write(b"late")
    for _ in range(2):
        assert b"late" not in [server.data for server in dialling.servers.made]
        dialling.dial().wire.write(b"soon")
        dialling.clock.advance(0)
    assert [server.data for server in dialling.servers.made] == [b"soon", b"soon", b"late"]
    assert old.reason is None


def test_release() -> None:
    """A test can let late bytes through itself."""
    dialling = Dialling(Faults(late=Late()))
    dialling.dial().wire.write(b"late")
    dialling.clock.advance(1e6)
    assert dialling.servers.made == []
    dialling.endpoint.connections[0].release()
    dialling.clock.advance(0)
    assert dialling.servers.last.data == b"late"


def test_late_connection_that_is_cut() -> None:
    """Of a connection that was cut before the server heard of it, it never hears."""
    dialling = Dialling(Faults(late=Late()))
    client = dialling.dial()
    dialling.endpoint.cut_all()
    dialling.clock.advance(0)
    dialling.endpoint.connections[0].release()
    dialling.clock.advance(0)
    assert client.reason is ConnectionLost
    assert dialling.servers.made == []
    assert dialling.endpoint.connections[0].is_over
