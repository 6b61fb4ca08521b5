"""Frames that arrive together are handled together; frames that are written together leave together, and at once."""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from tests.link.records import KEY_UPDATE_BYTES
from tests.link.test_tls_floods import Deaf, Flooded, bound
from tests.link.wire import Wire, frame, unframe
from twisted_rsh.link.lane import Lane, TLSLane
from twisted_rsh.link.tls import (
    BATCH_BYTES,
    BIO_READ_BYTES,
    BUFFER_BYTES,
    MAX_REPLY_BYTES,
    RECORD_BYTES,
    ciphertext_bytes,
)


def heard(flooded: Flooded) -> list[bytes]:
    """Return the payloads of all that the peer has taken since the last call."""
    taken, flooded.transport.taken = flooded.transport.taken, b""
    flooded.client.connection.bio_write(taken)
    plaintext = b""
    try:
        while True:
            plaintext += flooded.client.connection.recv(RECORD_BYTES)
    except SSL.WantReadError:
        return unframe(plaintext)


def test_records_that_arrive_together() -> None:
    """Frames in several records, and one that lies across three, are looked at in one go, and answered once."""
    flooded = Flooded()
    long = frame(bytes(30_000))
    contents = [frame(b"one"), frame(b"two") + long[:10], long[10:15_000], long[15_000:] + frame(b"three")]
    flooded.link.act = lambda _payload: flooded.link.write_frames([b"an answer"])
    before = flooded.link.bursts
    flooded.arrive(b"".join(map(flooded.records.data, contents)))
    assert flooded.link.frames == [b"one", b"two", bytes(30_000), b"three"]
    assert flooded.link.bursts == before + 1


def test_a_record_that_ends_the_link() -> None:
    """Of what came with a breach of the protocol nothing is looked at behind it, now or later."""
    flooded = Flooded()
    flooded.arrive(b"".join(map(flooded.records.data, [frame(b"one"), frame(b"BAD"), frame(b"two")])))
    assert flooded.link.frames == [b"one", b"BAD"]
    assert flooded.transport.aborted
    assert flooded.link._unprocessed == b""
    assert flooded.link._arrived == []


def test_written_at_once() -> None:
    """Bytes that the operating system takes reach it before the call returns, in one piece, for any sizes of frames."""
    flooded = Flooded()
    flooded.transport.room = 2**30
    frames = [b"a", b"b", bytes(RECORD_BYTES), b"c" * 30_000, *[b"d" * 3000] * 5, b"e"]
    flooded.link.write_frames(frames)
    assert flooded.transport.pieces == 1
    assert flooded.unsent == 0
    assert heard(flooded) == frames


@pytest.mark.parametrize("room", [0, 1, 15_000])
def test_written_as_far_as_it_goes(room: int) -> None:
    """The system takes a part: the rest waits, and what is written later waits behind it."""
    flooded = Flooded()
    flooded.transport.room = room
    frames = [bytes([number]) * 16_000 for number in range(4)]
    flooded.link.write_frames(frames)
    assert len(flooded.transport.taken) == room
    flooded.transport.room = 2**30
    flooded.link.write_frames([b"later"])
    assert len(flooded.transport.taken) == room
    flooded.transport.take()
    assert heard(flooded) == [*frames, b"later"]


def test_written_where_the_system_fails() -> None:
    """An error of the system is left to the reactor, which meets it again: nothing is lost or doubled until then."""
    flooded = Flooded()
    flooded.transport.error = ConnectionLost()
    flooded.link.write_frames([b"one"])
    flooded.transport.error = None
    flooded.transport.take()
    assert heard(flooded) == [b"one"]


@pytest.mark.parametrize("transport", [Wire], indirect=True)  # a lane is told at once
def test_written_where_nothing_is_connected() -> None:
    """A transport that is gone, and whose link has not been told yet, is not written to."""
    flooded = Flooded()
    flooded.transport.room = 2**30
    flooded.transport.connected = 0
    flooded.link.write_frames([b"one"])
    assert flooded.transport.pieces == 0


def test_written_behind_the_end() -> None:
    """Behind the end of TLS there is nothing more to write, as with Twisted's own way."""
    flooded = Flooded()
    flooded.transport.room = 2**30
    flooded.protocol.loseConnection()
    said = flooded.transport.pieces
    flooded.protocol.writeSequence([frame(b"one")])
    assert flooded.transport.pieces == said


class Failing:
    """A connection of TLS that fails after some bytes.

    :param connection: the real one.
    :param size: how many bytes it takes.
    :param at_once: how many it takes in one call.
    :ivar asked: how many it was to take.
    """

    def __init__(self, connection: SSL.Connection, size: int, at_once: int = 2**30) -> None:
        self._connection = connection
        self._size = size
        self._at_once = at_once
        self.asked = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def send(self, data: bytes | memoryview) -> int:
        """Take bytes, or fail."""
        piece = data[: self._at_once]
        self.asked += len(piece)
        if self.asked > self._size:
            raise SSL.Error([("what", "ever", "failed")])
        return self._connection.send(piece)


def test_a_large_write_goes_out_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane sends each batch before it encrypts the next one; all arrives, and nothing is written after a failure."""
    flooded = Flooded()
    flooded.transport.room = 2**30
    lane, payloads = flooded.link.tls, [number * BATCH_BYTES for number in (b"1", b"2")]
    if not isinstance(lane, TLSLane):  # Twisted's layer sends all at once
        flooded.link.write_frames(payloads)
        assert heard(flooded) == payloads
        return
    sizes: list[int] = []
    send = lane._send

    def note(data: bytes) -> int:
        sizes.append(len(data))
        return int(send(data))

    monkeypatch.setattr(lane, "_send", note)
    flooded.link.write_frames(payloads)
    assert heard(flooded) == payloads
    assert sizes == [ciphertext_bytes(size) for size in (BATCH_BYTES, BATCH_BYTES, 2 * len(frame(b"")))]
    failing = Failing(flooded.protocol.getHandle(), BATCH_BYTES)
    monkeypatch.setattr(lane, "_connection", failing)
    flooded.link.write_frames(2 * payloads)
    assert failing.asked == 2 * BATCH_BYTES
    assert flooded.transport.disconnecting


def test_written_where_tls_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure of TLS is left to Twisted, behind what was written before it: that arrives, and the connection ends."""
    flooded = Flooded()
    flooded.transport.room = 2**30
    failing = Failing(flooded.protocol.getHandle(), RECORD_BYTES, at_once=RECORD_BYTES)  # as pyOpenSSL before 25.2
    monkeypatch.setattr(flooded.protocol, "_tlsConnection", failing)
    if isinstance(flooded.link.tls, Lane):
        monkeypatch.setattr(flooded.link.tls, "_connection", failing)
    payloads = [number * (RECORD_BYTES - len(frame(b""))) for number in (b"1", b"2", b"3")]
    flooded.link.write_frames(payloads)
    assert heard(flooded) == payloads[:1]
    assert flooded.transport.disconnecting


def test_written_behind_answers_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pending answers of TLS itself go first, and hold back no frame that is written."""
    inside = 2 * BIO_READ_BYTES
    bound(monkeypatch, replies=MAX_REPLY_BYTES, inside=inside)
    flooded = Flooded()
    at_once = 2400
    for _ in range(inside // (at_once * KEY_UPDATE_BYTES - BIO_READ_BYTES)):
        flooded.update(at_once, at_once)
    flooded.transport.take()
    flooded.transport.room = 2**30
    flooded.link.write_frames([b"one"])
    flooded.transport.take()
    assert len(flooded.transport.taken) > inside
    assert heard(flooded) == [b"one"]


def test_how_much_a_transport_takes() -> None:
    """Before there is a session it is Twisted's own measure, then ours."""
    flooded = Flooded(in_session=False)
    assert flooded.transport.bufferSize == Deaf.bufferSize < BUFFER_BYTES
    flooded.link.session_began()
    assert flooded.transport.bufferSize == BUFFER_BYTES
