"""A proxy whose plan is in order is like no proxy, holds little, and leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import deferLater
from zope.interface import implementer

from tests.testing.ends import BOTH_WAYS, One, Recorder, Recorders, pattern
from tests.testing.loopback import Loopback, asynchronous, gone, reactor, until
from twisted_rsh.testing import CutEveryRecords, Direction, End, FaultProxy, Faults, InTurn, LaneFaults, Late
from twisted_rsh.testing.proxied import QUEUE_BYTES, unsent_bytes

EACH_WAY = pytest.mark.parametrize("direction", BOTH_WAYS)

BUFFERS_BYTES = 64 * 1024 * 1024
"""Bytes that the four sockets between two ends cannot hold by the kernel's defaults, of which Linux's are the largest:
20 MiB.  What the tests would write is several times as much."""


class Flood:
    """A push producer that writes without end while it may.

    :ivar written: bytes.
    """

    PIECE = bytes(64 * 1024)

    def __init__(self, end: Recorder, limit: int) -> None:
        self.written = 0
        self._end = end
        self._limit = limit
        self._paused = False
        end.wire.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        while not self._paused and self.written < self._limit:
            self.written += len(self.PIECE)
            self._end.wire.write(self.PIECE)

    def pauseProducing(self) -> None:
        self._paused = True

    def stopProducing(self) -> None:
        self._paused = True


async def settled(flood: Flood) -> None:
    """Wait until a flood has come to a halt."""
    before = -1
    while flood.written != before:
        before = flood.written
        await deferLater(reactor, 0.1)


@asynchronous
@EACH_WAY
async def test_memory_is_bounded_by_who_reads(loopback: Loopback, direction: Direction) -> None:
    """A peer that does not read stops the one that writes; when it reads, all of it arrives."""
    source, target = await loopback.ways(direction)
    target.wire.pauseProducing()
    flood = Flood(source, 4 * BUFFERS_BYTES)
    await settled(flood)
    assert flood.written < BUFFERS_BYTES
    assert loopback.proxy.held_bytes < QUEUE_BYTES
    flood._limit = flood.written
    target.wire.resumeProducing()
    await until(lambda: sum(map(len, target.pieces)) == flood.written)
    target.wire.write(b"the other way is free")
    await until(lambda: bool(source.data))


@asynchronous
@EACH_WAY
@pytest.mark.parametrize("lane", [LaneFaults(stall_after=0), LaneFaults(delay=3600.0), LaneFaults(fragment=1)])
async def test_memory_is_bounded_by_the_plan(loopback: Loopback, direction: Direction, lane: LaneFaults) -> None:
    """Bytes that wait in the proxy itself are bounded, too, whatever they wait for."""
    loopback.plan(Faults.going(direction, lane))
    source, _ = await loopback.ways(direction)
    flood = Flood(source, 4 * BUFFERS_BYTES)
    await until(lambda: loopback.proxy.held_bytes >= QUEUE_BYTES)
    await settled(flood)
    assert QUEUE_BYTES - 64 * 1024 <= loopback.proxy.held_bytes < QUEUE_BYTES + 64 * 1024
    assert flood.written < BUFFERS_BYTES


@asynchronous
async def test_large_amounts_both_ways(loopback: Loopback) -> None:
    """Everything arrives unchanged, both ways at once, with back-pressure at work."""
    client, server = await loopback.pair()
    data = pattern(8_000_003)
    client.wire.write(data)
    server.wire.write(data[::-1])
    await until(lambda: sum(map(len, server.pieces)) == sum(map(len, client.pieces)) == len(data))
    assert server.data == data
    assert client.data == data[::-1]


@asynchronous
@EACH_WAY
async def test_orderly_end(loopback: Loopback, direction: Direction) -> None:
    """A close passes behind the data, and nothing is left of the connection."""
    source, target = await loopback.ways(direction)
    data = pattern(3_000_000)
    source.wire.write(data)
    source.wire.loseConnection()
    await gone(target)
    assert target.data == data
    assert target.reason is ConnectionDone
    await until(lambda: not loopback.proxy.open_connections)


@asynchronous
@EACH_WAY
async def test_reset_passes(loopback: Loopback, direction: Direction) -> None:
    """A reset is a reset at the other end."""
    source, target = await loopback.ways(direction)
    source.wire.write(b"before")
    await until(lambda: target.data == b"before")
    source.wire.abortConnection()
    await gone(target)
    assert target.reason is ConnectionLost
    await until(lambda: not loopback.proxy.open_connections)


@asynchronous
async def test_reset_of_a_slow_reader(loopback: Loopback) -> None:
    """A reset also reaches an end that the proxy does not read, because the other one was slow."""
    client, server = await loopback.pair()
    server.wire.pauseProducing()
    flood = Flood(client, 4 * BUFFERS_BYTES)
    await settled(flood)
    server.wire.abortConnection()
    await gone(client)
    assert client.reason is ConnectionLost
    await until(lambda: not loopback.proxy.open_connections)


@asynchronous
async def test_close_of_who_waits_for_a_slow_reader(loopback: Loopback) -> None:
    """An end that the proxy did not read, because the other one was slow, is read again when both are cut."""
    loopback.plan(Faults(client_end=End.CLOSED))
    client, server = await loopback.pair()
    server.wire.pauseProducing()
    flood = Flood(client, 4 * BUFFERS_BYTES)
    await settled(flood)
    loopback.proxy.cut_all()
    await gone(client)
    assert client.reason is ConnectionDone
    await until(lambda: not loopback.proxy.open_connections)


@implementer(IHalfCloseableProtocol)
class HalfCloser(Recorder):
    """Hears of each direction's end."""

    def __init__(self) -> None:
        super().__init__()
        self.read_ended: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self.read_ended.callback(None)

    def writeConnectionLost(self) -> None:
        """Nothing to do."""


@asynchronous
async def test_half_close_passes(loopback: Loopback) -> None:
    """Each direction can be closed by itself."""
    ends = [HalfCloser(), HalfCloser()]
    makers = iter(ends)
    loopback.servers.buildProtocol = lambda addr: next(makers)  # type: ignore[method-assign]  # half-closing ones
    client = HalfCloser()
    await TCP4ClientEndpoint(reactor, "127.0.0.1", loopback.proxy.port).connect(One(client))
    server = ends[0]
    await server.made
    client.wire.write(b"question")
    client.wire.loseWriteConnection()
    await server.read_ended
    assert server.data == b"question"
    server.wire.write(b"answer")
    server.wire.loseWriteConnection()
    await client.read_ended
    assert client.data == b"answer"
    await until(lambda: not loopback.proxy.open_connections)
    for end in (client, server):
        end.wire.loseConnection()
        await gone(end)


@asynchronous
async def test_no_listener(loopback: Loopback) -> None:
    """When the target cannot be reached the client is reset."""
    proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", 1))
    with pytest.raises(RuntimeError, match=r"call start\(\) first"):
        assert proxy.port
    await proxy.start()
    client = Recorder()
    await TCP4ClientEndpoint(reactor, "127.0.0.1", proxy.port).connect(One(client))
    await gone(client)
    assert client.reason is ConnectionLost
    await proxy.stop()


@asynchronous
async def test_records_before_a_login_are_spared(loopback: Loopback) -> None:
    """A schedule for soaking spares the first connection's first records, and cuts the following ones anew."""
    loopback.proxy.schedule = CutEveryRecords(seed=3, low=1, high=4, spare=1, spare_records=10)
    sizes = []
    for _ in range(6):
        client, server = await loopback.pair()
        for _ in range(20):
            client.wire.write(b"\x17\x03\x03\0\x01x")
        await gone(server)
        sizes.append(len(server.data) // 6)
    plans = [loopback.proxy.schedule.plan(index).cut_after_records for index in range(6)]
    assert sizes == plans
    assert 10 < sizes[0] <= 14
    assert set(sizes[1:]) <= {1, 2, 3, 4}
    assert loopback.proxy.cuts == 6


@asynchronous
async def test_late_bytes_are_overtaken(loopback: Loopback) -> None:
    """The bytes of a client that gave up arrive after a later connection's bytes, and its end behind them."""
    loopback.plan(Faults(late=Late(after=5, overtaking_bytes=3)))
    old, old_server = await loopback.pair()
    old.wire.write(b"hello, resume me")
    old.wire.loseConnection()
    await gone(old)
    new, new_server = await loopback.pair()
    new.wire.write(b"re")
    await until(lambda: new_server.data == b"re")
    assert (old_server.data, old_server.reason) == (b"hello", None)
    new.wire.write(b"sume")
    await gone(old_server)
    assert old_server.data == b"hello, resume me"


@asynchronous
async def test_late_connection(loopback: Loopback) -> None:
    """A connection of which the server hears only after a later one; it is abandoned by then."""
    loopback.plan(Faults(late=Late()))
    old = await loopback.dial()
    old.wire.write(b"resume me")
    await until(lambda: loopback.proxy.held_bytes == 9)
    old.wire.abortConnection()
    await gone(old)
    new, first = await loopback.pair()
    new.wire.write(b"I was first")
    await until(lambda: len(loopback.servers.made) == 2)
    last = loopback.servers.last
    await gone(last)
    assert (first.data, last.data) == (b"I was first", b"resume me")
    assert last.reason is ConnectionLost


@asynchronous
async def test_release(loopback: Loopback) -> None:
    """A test can let late connections through itself."""
    loopback.plan(Faults(late=Late()))
    client, other = await loopback.dial(), (await loopback.dial())
    client.wire.write(b"late")
    await until(lambda: len(loopback.servers.made) == 1)
    loopback.proxy.release()
    await until(lambda: len(loopback.servers.made) == 2)
    await until(lambda: loopback.servers.last.data == b"late")
    assert other.reason is None


@asynchronous
async def test_stop_ends_everything(loopback: Loopback) -> None:
    """Whatever connections wait for, stopping ends them, and may be repeated."""
    loopback.plan(
        Faults(late=Late()),
        Faults(to_server=LaneFaults(delay=1e6)),
        Faults(cut_after_seconds=1e6),
    )
    clients = [await loopback.dial() for _ in range(3)]
    await until(lambda: len(loopback.servers.made) == 2)
    clients[1].wire.write(b"slow")
    await until(lambda: loopback.proxy.held_bytes == 4)
    await loopback.proxy.stop()
    for client in clients:
        await gone(client)
    await loopback.proxy.stop()


@asynchronous
async def test_stop_before_start(loopback: Loopback) -> None:
    """A proxy that never listened has nothing to stop."""
    await FaultProxy(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", 1)).stop()


@asynchronous
@pytest.mark.parametrize("stop", [False, True])
async def test_the_end_of_a_peer_that_never_reads(loopback: Loopback, stop: bool) -> None:
    """A reset that waits for a slow reader ends with the reader, or with the proxy."""
    size = 100_000
    loopback.plan(Faults(to_server=LaneFaults(cut_after=size)))
    client, server = await loopback.pair()
    server.wire.pauseProducing()
    server.wire.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.wire.write(bytes(size))
    await gone(client)
    await deferLater(reactor, 0.1)
    assert not server.is_lost
    assert loopback.proxy.open_connections == 1
    if stop:
        await loopback.proxy.stop()
    else:
        server.wire.abortConnection()
    await until(lambda: not loopback.proxy.open_connections)


@asynchronous
async def test_target_of_another_kind(tmp_path: Path) -> None:
    """The target is any endpoint, such as a Unix socket; resets are exact on it as well."""
    servers = Recorders()
    path = str(tmp_path / "socket")
    listening: Any = await UNIXServerEndpoint(reactor, path).listen(servers)
    plan = Faults(to_server=LaneFaults(cut_after=3), to_client=LaneFaults())
    proxy = FaultProxy(reactor, UNIXClientEndpoint(reactor, path), InTurn((plan,)))
    await proxy.start()
    client = Recorder()
    await TCP4ClientEndpoint(reactor, "127.0.0.1", proxy.port).connect(One(client))
    client.wire.write(b"hello")
    await gone(client)
    await until(lambda: bool(servers.made))
    await gone(servers.last)
    assert servers.last.data == b"hel"
    await proxy.stop()
    await listening.stopListening()


def test_what_the_system_does_not_tell() -> None:
    """Where the system does not say what is under way, the proxy does not wait."""

    class File:
        def getHandle(self) -> int:
            return handle.fileno()

    with Path(__file__).open("rb") as handle:
        assert unsent_bytes(File()) == 0


@asynchronous
@pytest.mark.parametrize("stop", [False, True])
async def test_cut_while_it_dials(loopback: Loopback, stop: bool) -> None:
    """A connection can be cut before the target has answered: it is not dialled any more."""
    client = await loopback.dial()
    await until(lambda: loopback.proxy.connections == 1)
    if stop:
        await loopback.proxy.stop()
    else:
        loopback.proxy.cut_all()
    await gone(client)
