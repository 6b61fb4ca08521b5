"""The same scenes over a socket and in memory, on the reactor: a protocol cannot tell which of them it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import deferLater

from tests.conftest import async_fixture
from tests.testing.ends import Recorder, Recorders
from tests.testing.loopback import asynchronous, gone, reactor, until
from twisted_rsh.testing import MemoryEndpoint

Ends = tuple[Recorder, Recorder]


@pytest.fixture(params=["socket", "memory"])
def carrier(request: pytest.FixtureRequest) -> str:
    """The kinds of connections between two ends."""
    return str(request.param)


@async_fixture
async def ends(carrier: str) -> AsyncIterator[Ends]:
    """A client and a server."""
    servers, client = Recorders(), Recorder()
    listening: Any = None
    if carrier == "memory":
        await connectProtocol(MemoryEndpoint(reactor, servers), client)
    else:
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(servers)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port), client)
    await until(lambda: bool(servers.made))
    await servers.last.made
    yield client, servers.last
    for end in (client, servers.last):
        end.wire.abortConnection()
        await gone(end)
    if listening is not None:
        await listening.stopListening()


class Producer:
    """Remembers what it is told; a pull producer writes three times."""

    def __init__(self, end: Recorder) -> None:
        self.calls: list[str] = []
        self._end = end

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        if len(self.calls) <= 3:
            self._end.wire.write(b"some")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@asynchronous
async def test_close(ends: Ends) -> None:
    """Written bytes arrive before a close, and both ends see an orderly one."""
    client, server = ends
    client.wire.write(b"last ")
    client.wire.writeSequence([b"wo", b"rds"])
    client.wire.loseConnection()
    assert client.wire.disconnecting
    assert not client.is_lost
    await gone(client)
    await gone(server)
    assert server.data == b"last words"
    assert client.reason is server.reason is ConnectionDone
    client.wire.write(b"no reader")
    client.wire.loseConnection()


@asynchronous
async def test_abort(ends: Ends) -> None:
    """An abort is not seen within the call; one end has aborted, the other has lost its connection."""
    client, server = ends
    client.wire.write(b"never leaves")
    client.wire.abortConnection()
    assert not client.is_lost
    await gone(client)
    await gone(server)
    assert (client.reason, server.reason) == (ConnectionAborted, ConnectionLost)
    assert server.data == b""


@asynchronous
async def test_who_does_not_read_does_not_hear(ends: Ends) -> None:
    """The end of a connection waits, behind the data, for an end that does not read."""
    client, server = ends
    server.wire.pauseProducing()
    client.wire.write(b"data")
    client.wire.loseConnection()
    await gone(client)
    await deferLater(reactor, 0.02)
    assert not server.is_lost
    server.wire.resumeProducing()
    await gone(server)
    assert (server.data, server.reason) == (b"data", ConnectionDone)


@asynchronous
async def test_push_producer(ends: Ends) -> None:
    """A producer is paused by too much at once, and resumed when it has left."""
    client, server = ends
    producer = Producer(client)
    client.wire.registerProducer(producer, True)
    client.wire.write(bytes(64 * 1024))
    assert producer.calls == []
    client.wire.write(b"+")
    assert producer.calls == ["pause"]
    await until(lambda: producer.calls == ["pause", "resume"])
    await until(lambda: len(server.data) == 64 * 1024 + 5)


@asynchronous
async def test_slow_reader(ends: Ends) -> None:
    """A producer is paused for as long as the other end does not read; the bytes that it had written arrive."""
    client, server = ends
    producer = Producer(client)
    server.wire.pauseProducing()
    client.wire.registerProducer(producer, True)
    size = 16 * 1024 * 1024
    client.wire.write(bytes(size))
    await deferLater(reactor, 0.05)
    assert producer.calls == ["pause"]
    server.wire.resumeProducing()
    await until(lambda: sum(map(len, server.pieces)) == size + len(b"some"))
    assert producer.calls == ["pause", "resume"]


@asynchronous
async def test_pull_producer(ends: Ends) -> None:
    """A pull producer is asked as often as it has written, and once more."""
    client, server = ends
    producer = Producer(client)
    client.wire.registerProducer(producer, False)
    await until(lambda: server.data == b"some" * 3)
    await deferLater(reactor, 0.02)
    assert producer.calls == ["resume"] * 4
    with pytest.raises(RuntimeError):
        client.wire.registerProducer(producer, False)


@asynchronous
async def test_close_waits_for_the_producer(ends: Ends) -> None:
    """A connection with a pull producer is closed when that is unregistered; a lost one stops what comes later."""
    client, server = ends
    client.wire.registerProducer(Producer(client), False)
    client.wire.loseConnection()
    await until(lambda: server.data == b"some" * 3)
    await deferLater(reactor, 0.02)
    assert not client.is_lost
    client.wire.unregisterProducer()
    await gone(server)
    await gone(client)
    stopped = Producer(client)
    client.wire.registerProducer(stopped, True)
    assert stopped.calls == ["stop"]


@asynchronous
async def test_close_with_a_push_producer(ends: Ends) -> None:
    """A push producer that is paused is resumed before a close; one that is not has nothing to say in it."""
    client, server = ends
    producer = Producer(client)
    client.wire.registerProducer(producer, True)
    client.wire.write(bytes(64 * 1024 + 1))
    client.wire.loseConnection()
    await gone(client)
    await gone(server)
    assert producer.calls == ["pause", "resume", "stop"]
    assert len(server.data) == 64 * 1024 + 5
    assert client.reason is server.reason is ConnectionDone


@asynchronous
async def test_producer_of_who_is_reset(ends: Ends) -> None:
    """A reset stops the producer."""
    client, server = ends
    producer = Producer(client)
    client.wire.registerProducer(producer, True)
    server.wire.abortConnection()
    await gone(client)
    assert client.reason is ConnectionLost
    assert producer.calls == ["stop"]


@asynchronous
async def test_only_bytes(ends: Ends) -> None:
    """Anything but bytes is a mistake."""
    with pytest.raises(TypeError):
        ends[0].wire.write("text")
