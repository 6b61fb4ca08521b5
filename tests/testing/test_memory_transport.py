"""A transport in memory behaves as Twisted's TCP transport does."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.testing.ends import Recorder, pattern
from twisted_rsh.testing import MemoryConnection
from twisted_rsh.testing.memory import CLIENT_ADDRESS, SERVER_ADDRESS
from twisted_rsh.testing.memory_transport import HIGH_WATER_BYTES, NETWORK_BYTES


class Producer:
    """Counts what it is told, and writes when it is asked to."""

    def __init__(self, end: Recorder, writes: int = 0) -> None:
        self.calls: list[str] = []
        self._end = end
        self._writes = writes

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        if self._writes:
            self._writes -= 1
            self._end.wire.write(b"x" * 1000)

    def stopProducing(self) -> None:
        self.calls.append("stop")


@pytest.fixture
def clock() -> Clock:
    """The time."""
    return Clock()


@pytest.fixture
def client() -> Recorder:
    """One end."""
    return Recorder()


@pytest.fixture
def server() -> Recorder:
    """The other end."""
    return Recorder()


@pytest.fixture
def connection(clock: Clock, client: Recorder, server: Recorder) -> MemoryConnection:
    """The connection between them."""
    return MemoryConnection.between(clock, client, server)


def test_interfaces(connection: MemoryConnection) -> None:
    """It provides what a TCP transport provides."""
    for transport in (connection.client, connection.server):
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            assert verifyObject(interface, transport)


def test_addresses_and_options(connection: MemoryConnection) -> None:
    """Each end has the other's address; options are remembered."""
    near, far = connection.client, connection.server
    assert near.getHost() == far.getPeer() == CLIENT_ADDRESS
    assert far.getHost() == near.getPeer() == SERVER_ADDRESS
    assert not near.getTcpNoDelay()
    assert not near.getTcpKeepAlive()
    near.setTcpNoDelay(True)
    near.setTcpKeepAlive(True)
    assert near.getTcpNoDelay()
    assert near.getTcpKeepAlive()
    with pytest.raises(NotImplementedError):
        near.loseWriteConnection()


def test_only_bytes_are_written(connection: MemoryConnection) -> None:
    """Anything else is a mistake."""
    with pytest.raises(TypeError, match="not str"):
        connection.client.write("text")  # type: ignore[arg-type]  # the mistake


def test_nothing_happens_within_a_call(clock: Clock, client: Recorder, server: Recorder) -> None:
    """An action of one end reaches the other end, and itself, in a later turn."""
    connection = MemoryConnection.between(clock, client, server)
    client.wire.write(b"a")
    client.wire.write(b"")
    client.wire.loseConnection()
    assert (server.pieces, client.reason) == ([], None)
    assert client.wire.disconnecting
    clock.advance(0)
    assert (server.pieces, client.reason, server.reason) == ([b"a"], ConnectionDone, ConnectionDone)
    assert connection.client.reason is not None
    for end in (client, server):
        end.wire.write(b"late")
        end.wire.loseConnection()
        end.wire.abortConnection()
    clock.advance(0)
    assert server.pieces == [b"a"]


def test_what_arrives_from_within(connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """A protocol that answers, or asks for more, while it is called is not called again within the call."""
    depth = []

    def answer(data: bytes) -> None:
        depth.append("in")
        server.wire.write(data)
        assert not connection.flush()
        depth.append("out")

    server.dataReceived = answer  # type: ignore[method-assign]  # this one answers
    client.wire.write(b"question")
    assert connection.flush()
    assert client.data == b"question"
    assert depth == ["in", "out"]
    assert not connection.flush()


def test_a_protocol_that_raises(clock: Clock, connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """An exception of a protocol reaches the test, and the connection goes on."""
    for deliver in (connection.flush, lambda: clock.advance(0)):
        received = server.dataReceived
        server.dataReceived = lambda data: 1 / 0  # type: ignore[assignment, method-assign]  # this one is broken
        client.wire.write(b"oops")
        with pytest.raises(ZeroDivisionError):
            deliver()
        server.dataReceived = received  # type: ignore[method-assign]
        client.wire.write(b"more")
        clock.advance(0)
    assert server.data == b"moremore"


def test_abort(connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """An abort loses what was written in the same turn, and the other end sees a reset."""
    client.wire.write(b"arrives")
    connection.flush()
    client.wire.write(b"does not")
    client.wire.abortConnection()
    connection.flush()
    assert server.data == b"arrives"
    assert client.reason is ConnectionAborted
    assert server.reason is ConnectionLost


def test_abort_keeps_what_is_in_the_network(connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """Bytes that had left before an abort arrive, and no more: a prefix of the written bytes."""
    for sizes in ((10,), (7, NETWORK_BYTES), (7, NETWORK_BYTES - 7, 5)):
        client, server = Recorder(), Recorder()
        connection = MemoryConnection.between(Clock(), client, server)
        server.wire.pauseProducing()
        data = [pattern(size) for size in sizes]
        client.wire.writeSequence(data)
        connection.flush()
        client.wire.write(b"same turn")
        client.wire.abortConnection()
        connection.flush()
        assert client.reason is ConnectionAborted
        server.wire.resumeProducing()
        connection.flush()
        assert server.data == b"".join(data)[:NETWORK_BYTES]
        assert server.reason is ConnectionLost


def test_abort_in_the_middle_of_a_write(client: Recorder, server: Recorder) -> None:
    """A write of which a part was read already is cut where the network ended."""
    connection = MemoryConnection.between(Clock(), client, server)
    data = pattern(NETWORK_BYTES * 3)

    def read_once(piece: bytes) -> None:
        server.pieces.append(piece)
        server.wire.pauseProducing()

    server.dataReceived = read_once  # type: ignore[assignment, method-assign]  # this one reads once
    client.wire.write(data)
    connection.flush()
    client.wire.abortConnection()
    connection.flush()
    server.wire.resumeProducing()
    connection.flush()
    assert server.data == data[: NETWORK_BYTES * 2]


def test_closing_end_does_not_read(connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """An end that has closed but could not send everything reads no more, and hears of the other's reset."""
    server.wire.pauseProducing()
    client.wire.write(bytes(NETWORK_BYTES + 1))
    client.wire.loseConnection()
    server.wire.write(b"unheard")
    connection.flush()
    assert client.data == b""
    assert not client.is_lost
    server.wire.abortConnection()
    connection.flush()
    assert client.reason is not None
    assert client.data == b""


def test_end_is_behind_the_data_for_a_slow_reader(
    connection: MemoryConnection, client: Recorder, server: Recorder
) -> None:
    """An end that does not read does not learn of the connection's end; reading again, it gets all bytes first."""
    server.wire.pauseProducing()
    client.wire.write(b"last words")
    client.wire.loseConnection()
    connection.flush()
    assert client.reason is ConnectionDone
    assert not server.is_lost
    server.wire.resumeProducing()
    connection.flush()
    assert (server.data, server.reason) == (b"last words", ConnectionDone)


def test_who_writes_notices_a_cut(connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """An end that does not read notices a cut when it writes."""
    server.wire.pauseProducing()
    connection.cut()
    connection.flush()
    assert client.reason is ConnectionLost
    assert not server.is_lost
    server.wire.write(b"anybody?")
    connection.flush()
    assert server.reason is ConnectionLost


@pytest.mark.parametrize("excess", [0, 1])
def test_streaming_producer(connection: MemoryConnection, client: Recorder, server: Recorder, excess: int) -> None:
    """A producer is paused above the high-water mark, not at it, and resumed when everything has left."""
    producer = Producer(client)
    client.wire.registerProducer(producer, True)
    server.wire.pauseProducing()
    client.wire.write(bytes(NETWORK_BYTES))
    connection.flush()
    assert connection.client.unsent == 0
    client.wire.write(bytes(HIGH_WATER_BYTES + excess))
    client.wire.write(b"")
    assert producer.calls == ["pause"] * excess
    if excess:
        client.wire.write(b"once is enough")
    connection.flush()
    assert producer.calls == ["pause"] * excess
    server.wire.resumeProducing()
    connection.flush()
    assert producer.calls == ["pause", "resume"] * excess


def test_pull_producer(connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """A pull producer is asked at once, and again each time that what it wrote has left."""
    producer = Producer(client, writes=3)
    client.wire.registerProducer(producer, False)
    connection.flush()
    assert producer.calls == ["resume"] * 4
    assert len(server.data) == 3000


def test_close_waits_for_the_producer(connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """As long as a pull producer is registered a closed connection goes on."""
    client.wire.registerProducer(Producer(client), False)
    client.wire.loseConnection()
    connection.flush()
    client.wire.write(b"more")
    connection.flush()
    assert server.data == b"more"
    assert not server.is_lost
    client.wire.unregisterProducer()
    connection.flush()
    assert server.reason is client.reason is ConnectionDone


def test_producer_of_a_lost_connection(connection: MemoryConnection, client: Recorder) -> None:
    """A producer is stopped with the connection, and one that comes later at once; there is one at a time."""
    producer = Producer(client)
    client.wire.registerProducer(producer, True)
    with pytest.raises(RuntimeError):
        client.wire.registerProducer(producer, True)
    connection.cut()
    connection.flush()
    assert producer.calls == ["stop"]
    client.wire.registerProducer(producer, True)
    assert producer.calls == ["stop", "stop"]


def test_stop_producing_closes(connection: MemoryConnection, client: Recorder, server: Recorder) -> None:
    """As a producer, a transport that is stopped closes."""
    client.wire.stopProducing()
    connection.flush()
    assert server.reason is ConnectionDone


def test_only_the_clock_moves_it(clock: Clock, client: Recorder, server: Recorder) -> None:
    """A connection on which nothing happens leaves nothing on the clock."""
    MemoryConnection.between(clock, client, server)
    clock.advance(0)
    assert clock.getDelayedCalls() == []
