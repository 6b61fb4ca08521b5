"""Each kind of fault through the proxy, on real sockets, at the exact byte, in both directions."""

from __future__ import annotations

import dataclasses

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater

from tests.testing.ends import BOTH_WAYS, pattern, record
from tests.testing.loopback import Loopback, asynchronous, gone, reactor, until
from twisted_rsh.testing import CutEverySeconds, Direction, End, Faults, Int32Frames, LaneFaults

DATA = pattern(24)

EACH_WAY = pytest.mark.parametrize("direction", BOTH_WAYS)


@asynchronous
@EACH_WAY
async def test_cut_after_every_byte(loopback: Loopback, direction: Direction) -> None:
    """Exactly so many bytes arrive, and both ends see a reset."""
    for size in range(len(DATA) + 1):
        loopback.plan(Faults.going(direction, LaneFaults(cut_after=size)))
        source, target = await loopback.ways(direction)
        source.wire.write(DATA)
        await gone(target)
        await gone(source)
        assert target.data == DATA[:size]
        assert source.reason is target.reason is ConnectionLost
        assert loopback.proxy.cuts == size + 1
    await until(lambda: not loopback.proxy.open_connections)


@asynchronous
@EACH_WAY
@pytest.mark.parametrize("end", [End.RESET, End.CLOSED])
async def test_cut_behind_much_data(loopback: Loopback, direction: Direction, end: End) -> None:
    """Megabytes arrive to the byte also when the end that reads them is slow, and sees a reset behind them."""
    size = 5_000_001
    plan = Faults.going(direction, LaneFaults(cut_after=size))
    loopback.plan(dataclasses.replace(plan, server_end=end, client_end=end))
    source, target = await loopback.ways(direction)
    data = pattern(size + 100)
    target.wire.pauseProducing()
    source.wire.write(data)
    await deferLater(reactor, 0.1)
    assert target.pieces == []
    target.wire.resumeProducing()
    await gone(target)
    assert len(target.data) == size
    assert target.data == data[:size]
    assert target.reason is (ConnectionLost if end is End.RESET else ConnectionDone)


@asynchronous
@EACH_WAY
async def test_one_byte_less_is_no_cut(loopback: Loopback, direction: Direction) -> None:
    """A byte before the cut nothing has happened."""
    loopback.plan(Faults.going(direction, LaneFaults(cut_after=len(DATA) + 1)))
    source, target = await loopback.ways(direction)
    source.wire.write(DATA)
    await until(lambda: target.data == DATA)
    target.wire.write(DATA)
    await until(lambda: source.data == DATA)
    assert loopback.proxy.cuts == 0
    source.wire.write(b"+")
    await gone(target)
    assert target.data == DATA + b"+"


@pytest.mark.parametrize(
    ("end", "reason"), [(End.RESET, ConnectionLost), (End.CLOSED, ConnectionDone), (End.UNSEEN, None)]
)
@asynchronous
@EACH_WAY
async def test_how_the_cut_looks(
    loopback: Loopback, direction: Direction, end: End, reason: type[Exception] | None
) -> None:
    """Each end learns of the cut as it is told to, also an end that goes on writing."""
    for other in (End.RESET, End.CLOSED):
        plan = Faults.going(direction, LaneFaults(cut_after=2))
        loopback.plan(dataclasses.replace(plan, server_end=end, client_end=other))
        client, server = await loopback.pair()
        source, target = (client, server) if direction is Direction.TO_SERVER else (server, client)
        source.wire.write(DATA)
        await gone(client)
        assert client.reason is (ConnectionLost if other is End.RESET else ConnectionDone)
        if reason is None:
            server.wire.write(DATA)
            await deferLater(reactor, 0.05)
        else:
            await gone(server)
        assert server.reason is reason
        assert target.data == DATA[:2]


@asynchronous
@EACH_WAY
async def test_cut_after_records(loopback: Loopback, direction: Direction) -> None:
    """The cut comes exactly behind a record, however the records are written."""
    stream = record(10) + record(0) + record(300) + record(5)
    for records, size in enumerate([15, 20, 325, 335], 1):
        loopback.plan(Faults.going(direction, LaneFaults(cut_after_records=records)))
        source, target = await loopback.ways(direction)
        for start in range(0, len(stream), 100):
            source.wire.write(stream[start : start + 100])
            await deferLater(reactor, 0)
        await gone(target)
        assert len(target.data) == size


@asynchronous
@EACH_WAY
async def test_cut_after_records_of_both_directions(loopback: Loopback, direction: Direction) -> None:
    """Records of both directions count together; what a record is can be said."""
    loopback.plan(Faults(cut_after_records=2, records=Int32Frames))
    source, target = await loopback.ways(direction)
    target.wire.write(b"\0\0\0\1a")
    await until(lambda: bool(source.data))
    source.wire.write(b"\0\0\0\2bc\0\0\0\1d")
    await gone(target)
    assert target.data == b"\0\0\0\2bc"


@asynchronous
@EACH_WAY
async def test_stall(loopback: Loopback, direction: Direction) -> None:
    """From a byte on nothing arrives, not even the end; the other way is free; after the stall all of it arrives."""
    loopback.plan(Faults.going(direction, LaneFaults(stall_after=5)))
    source, target = await loopback.ways(direction)
    source.wire.write(DATA)
    target.wire.write(b"free")
    await until(lambda: bool(source.data) and len(target.data) == 5)
    source.wire.loseConnection()
    await gone(source)
    await deferLater(reactor, 0.05)
    assert target.data == DATA[:5]
    assert target.reason is None
    loopback.proxy.resume()
    await gone(target)
    assert target.data == DATA
    assert target.reason is ConnectionDone


@asynchronous
async def test_stall_everything(loopback: Loopback) -> None:
    """All connections become half-open at once, those that come later too, and heal together."""
    old_client, old_server = await loopback.pair()
    loopback.proxy.stall()
    new_client, new_server = await loopback.pair()
    for end in (old_client, old_server, new_client, new_server):
        end.wire.write(DATA)
    await until(lambda: loopback.proxy.held_bytes == 4 * len(DATA))
    assert not (old_client.data or old_server.data or new_client.data or new_server.data)
    loopback.proxy.resume()
    ends = (old_client, old_server, new_client, new_server)
    await until(lambda: all(end.data == DATA for end in ends))
    assert loopback.proxy.held_bytes == 0


@asynchronous
@EACH_WAY
async def test_delay(loopback: Loopback, direction: Direction) -> None:
    """Each byte takes its time, and so does the end."""
    loopback.plan(Faults.going(direction, LaneFaults(delay=0.2)))
    source, target = await loopback.ways(direction)
    start = reactor.seconds()
    source.wire.write(DATA)
    source.wire.loseConnection()
    await until(lambda: bool(target.data))
    assert reactor.seconds() - start >= 0.2
    await gone(target)
    assert target.data == DATA


@asynchronous
@EACH_WAY
async def test_fragments(loopback: Loopback, direction: Direction) -> None:
    """Everything arrives, in more pieces than it was written in."""
    loopback.plan(Faults.going(direction, LaneFaults(fragment=3)))
    source, target = await loopback.ways(direction)
    data = pattern(500)
    source.wire.write(data[:250])
    source.wire.write(data[250:])
    await until(lambda: len(target.data) == len(data))
    assert target.data == data
    assert len(target.pieces) > 50


@asynchronous
async def test_cut_every_while(loopback: Loopback) -> None:
    """Connections are cut when their time is up."""
    loopback.proxy.schedule = CutEverySeconds(1, 0.05, 0.1, spare=0)
    client, server = await loopback.pair()
    await gone(client)
    await gone(server)
    assert client.reason is server.reason is ConnectionLost
    assert loopback.proxy.cuts == 1


@asynchronous
async def test_cut_all(loopback: Loopback) -> None:
    """Open connections are cut now, and only those."""
    ends = [*await loopback.pair(), *await loopback.pair()]
    loopback.proxy.cut_all()
    for end in ends:
        await gone(end)
        assert end.reason is ConnectionLost
    await until(lambda: not loopback.proxy.open_connections)
    loopback.proxy.cut_all()
    assert (loopback.proxy.connections, loopback.proxy.cuts) == (2, 2)
    client, server = await loopback.pair()
    client.wire.write(DATA)
    await until(lambda: server.data == DATA)


@asynchronous
async def test_cut_is_counted_once(loopback: Loopback) -> None:
    """A connection that was cut already is not cut again, though its ends do not know."""
    loopback.plan(Faults(server_end=End.UNSEEN, client_end=End.UNSEEN))
    client, server = await loopback.pair()
    for _ in range(2):
        loopback.proxy.cut_all()
    client.wire.write(DATA)
    await deferLater(reactor, 0.05)
    assert loopback.proxy.cuts == 1
    assert loopback.proxy.open_connections == 1
    assert not (client.is_lost or server.is_lost or server.data)


@asynchronous
async def test_refused(loopback: Loopback) -> None:
    """Whom the plan refuses is reset at once, and the server hears nothing."""
    loopback.plan(Faults(refuse=True))
    client = await loopback.dial()
    await gone(client)
    assert client.reason is ConnectionLost
    assert loopback.servers.made == []
    assert (loopback.proxy.connections, loopback.proxy.cuts) == (1, 0)
