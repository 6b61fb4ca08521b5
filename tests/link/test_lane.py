"""The lane: when a link has one, what it takes over, and how Twisted gets the socket back."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.execution.owners import asynchronous
from tests.link.recorder import over_tls
from tests.link.test_tls_floods import DeafSocket, Flooded
from tests.link.wire import SocketWire, frame
from tests.serving import Serving, link_of
from twisted_rsh.link.lane import Lane, open_lane
from twisted_rsh.link.tls import BUFFER_BYTES

pytestmark = pytest.mark.parametrize("transport", [SocketWire], indirect=True)


@implementer(IPushProducer)
class Producer:
    """A producer that notes when it is told what.

    :ivar calls: that.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        """Note."""
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        """Note."""
        self.calls.append("resume")

    def stopProducing(self) -> None:
        """See IProducer; a lane does not call it."""
        raise NotImplementedError


def socket_of(flooded: Flooded) -> DeafSocket:
    """Return the transport, which has a socket."""
    assert isinstance(flooded.transport, DeafSocket)
    return flooded.transport


def lane_of(flooded: Flooded) -> Lane:
    """Return the lane of a link that has one."""
    assert isinstance(flooded.link.tls, Lane)
    return flooded.link.tls


@pytest.mark.uncut("it looks at the first connection")
@pytest.mark.parametrize("resumes", [0, 1])
@asynchronous
async def test_both_ends_have_a_lane(serving: Serving, resumes: int) -> None:
    """On real sockets both ends have one, over the connection of the login and over that of a resume."""
    connection = await serving.connect()
    for _ in range(resumes):
        link_of(connection).fail("cut")
        assert (await connection.run("echo hello")).stdout == b"hello\n"
    assert isinstance(link_of(connection).tls, Lane)
    [session] = serving.service._factory.sessions
    assert session._link is not None
    assert isinstance(session._link.tls, Lane)


def test_bytes_that_the_system_does_not_take() -> None:
    """A transport that holds unsent bytes keeps the socket: nothing may overtake them.  Else it writes them first."""
    for room in (0, 2**30):
        flooded = Flooded(in_session=False)
        flooded.transport.room = room
        flooded.protocol.transport.write(b"unsent")
        lane = open_lane(flooded.protocol, flooded.link)
        assert (lane is None) == (not room)
        assert flooded.transport.taken == (b"unsent" if room else b"")


def test_a_transport_that_ends() -> None:
    """A connection that is gone, or is being closed, gets no lane."""
    for flag in ("connected", "disconnecting"):
        flooded = Flooded(in_session=False)
        setattr(flooded.transport, flag, flag == "disconnecting")
        assert open_lane(flooded.protocol, flooded.link) is None


def test_a_full_socket_pauses_the_producer() -> None:
    """More than 128 KiB that wait pause the producer, which goes on once they are sent."""
    flooded, producer = Flooded(), Producer()
    lane_of(flooded).registerProducer(producer, True)
    flooded.link.write_frames([bytes(BUFFER_BYTES // 2)])
    assert producer.calls == []
    flooded.link.write_frames([bytes(BUFFER_BYTES // 2)])
    flooded.link.write_frames([b"more"])
    assert producer.calls == ["pause"]
    assert lane_of(flooded).unsent > BUFFER_BYTES
    flooded.transport.take(BUFFER_BYTES)
    assert producer.calls == ["pause"]
    flooded.transport.take()
    assert producer.calls == ["pause", "resume"]
    assert not socket_of(flooded).watch.writers


@pytest.mark.parametrize("how", ["close", "fail"])
def test_given_back(how: str) -> None:
    """A link that ends gives the socket back with all that is unsent, behind which Twisted ends TLS."""
    flooded = Flooded()
    lane = lane_of(flooded)
    flooded.link.write_frames([b"x" * 1000])
    waiting = lane.unsent
    flooded.link.close() if how == "close" else flooded.link.fail("enough")
    transport = socket_of(flooded)
    assert flooded.link.tls is flooded.protocol
    assert lane not in transport.watch.readers | transport.watch.writers
    assert flooded.unsent > waiting > 1000
    assert flooded.transport.aborted == (how == "fail")
    assert lane.doWrite() is None
    assert lane.give_back() is flooded.protocol
    assert flooded.unsent > waiting


def test_a_lane_that_was_held_is_given_back_held() -> None:
    """Twisted does not read either where the link reads nothing for now, until the link goes on."""
    flooded = Flooded()
    transport = socket_of(flooded)
    flooded.link.hold()
    assert not transport.watch.readers
    flooded.link.close()
    assert not transport.watch.readers
    flooded.link.go_on()
    assert transport.watch.readers == {transport}


def ended(flooded: Flooded) -> list[object]:
    """Let the peer's end of TLS arrive behind a frame; return the frames."""
    client = flooded.client.connection
    with contextlib.suppress(SSL.Error):
        client.send(frame(b"last"))
        client.shutdown()
    socket_of(flooded).incoming += flooded.client.drain()
    assert lane_of(flooded).doRead() is None
    return list(flooded.link.frames)


def test_the_peer_ends_tls() -> None:
    """Frames before the end are handled, the end is answered, and Twisted closes the connection."""
    flooded = Flooded()
    assert ended(flooded) == [b"last"]
    assert flooded.link.tls is flooded.protocol
    assert flooded.transport.disconnecting
    assert flooded.unsent > 0


def test_a_broken_record() -> None:
    """A record that is not the peer's ends the connection; frames before it are handled."""
    flooded = Flooded()
    flooded.arrive(flooded.records.data(frame(b"good")) + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert flooded.link.frames == [b"good"]
    assert flooded.transport.disconnecting


def test_errors_of_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end and an error of the socket are the reactor's to act on; a read without data is nothing."""
    flooded = Flooded()
    transport, lane = socket_of(flooded), lane_of(flooded)
    outcomes: Iterator[object] = iter([OSError(errno.ECONNRESET, "reset"), BlockingIOError(), 0])

    def recv_into(_buffer: memoryview) -> object:
        outcome = next(outcomes)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    monkeypatch.setattr(lane, "_read", recv_into)
    assert [type(lane.doRead()).__name__ for _ in range(3)] == ["ConnectionLost", "NoneType", "ConnectionDone"]
    flooded.link.write_frames([b"x"])
    transport.error = ConnectionResetError()
    assert type(lane.doWrite()).__name__ == "ConnectionLost"


def test_a_transport_that_twisted_ends() -> None:
    """A connection that Twisted's own transport has lost under a lane is lost for the link."""
    link, client = over_tls(Clock())
    link.session_began()
    lane = link.tls
    assert isinstance(client.wire, SocketWire)
    client.wire.connectionLost(Failure(ConnectionLost()))
    assert len(link.reasons) == 1
    assert link.tls is not lane
    assert not client.wire.watch.readers
