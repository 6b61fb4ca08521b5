"""The streams of a session: data, credit, ends and STOP."""

from __future__ import annotations

import pytest

from tests.core.pair import SMALL, Pair
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import DataReceived, RoomGained, StreamEnded, StreamStopped
from twisted_rsh.core.limits import MAX_DATA_BYTES, MAX_WINDOW, SessionLimits
from twisted_rsh.core.messages import Credit, Data, End, Stop
from twisted_rsh.core.roles import OUTPUTS, Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, _ = Stream
WINDOW = SMALL.window


# Data.


def test_data_is_cut() -> None:
    """F-13: data of any size goes out in frames as large as they may be, in order."""
    pair = Pair(SessionLimits(window=3 * MAX_DATA_BYTES))
    channel = pair.open()
    data = bytes(range(251)) * 600
    pair.server.send_data(channel, STDOUT, data)
    frames = pair.written(SERVER)
    assert all(isinstance(frame, Data) and len(frame.data) <= MAX_DATA_BYTES for frame in frames)
    assert b"".join(frame.data for frame in frames if isinstance(frame, Data)) == data
    assert [frame.offset for frame in frames if isinstance(frame, Data)] == list(range(0, len(data), MAX_DATA_BYTES))
    assert isinstance(frames[0], Data)
    assert len(frames[0].data) == MAX_DATA_BYTES


def test_no_data_is_no_frame() -> None:
    """Sending nothing sends nothing."""
    pair = Pair()
    pair.client.send_data(pair.open(), STDIN, b"")
    assert pair.client.frames_to_send() == []


def test_the_window_and_one_byte_more() -> None:
    """H-01: exactly the window can be sent; one byte more is our mistake, and the peer's breach."""
    pair = Pair()
    channel = pair.open()
    with pytest.raises(LocalProtocolError) as local:
        pair.client.send_data(channel, STDIN, bytes(WINDOW + 1))
    assert local.value.code is ErrorCode.FLOW_CONTROL
    pair.client.send_data(channel, STDIN, bytes(WINDOW))
    assert pair.pass_on(CLIENT) == [DataReceived(channel, STDIN, bytes(WINDOW))]
    assert pair.client.room(channel, STDIN) == 0
    assert pair.breach(SERVER, Data(channel, STDIN, WINDOW, b"x")) is ErrorCode.FLOW_CONTROL


def test_credit_goes_with_consumption() -> None:
    """H-03: no credit goes out before a quarter is consumed, and a stream at exactly zero room goes on."""
    pair = Pair()
    channel = pair.open()
    for turn in range(5):
        pair.client.send_data(channel, STDIN, bytes(pair.client.room(channel, STDIN)))
        pair.settle()
        assert pair.client.room(channel, STDIN) == 0
        pair.server.consumed(channel, STDIN, WINDOW // 4 - 1)
        assert pair.settle()[CLIENT] == []
        pair.server.consumed(channel, STDIN, 1)
        assert pair.settle()[CLIENT] == [RoomGained(channel, STDIN)]
        assert pair.client.room(channel, STDIN) == WINDOW // 4
        pair.server.consumed(channel, STDIN, WINDOW * 3 // 4 if turn == 0 else 0)
        pair.settle()
    pair.client.end_stream(channel, STDIN)
    assert pair.settle()[SERVER] == [StreamEnded(channel, STDIN)]


def test_absurd_credit() -> None:
    """H-04: a lower credit is ignored; one for bytes never sent, or beyond the largest window, is a breach."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, b"1234567890")
    assert pair.hear(CLIENT, Credit(channel, STDIN, 0, 0)) == []
    assert pair.hear(CLIENT, Credit(channel, STDIN, WINDOW + 10, 10)) == [RoomGained(channel, STDIN)]
    assert pair.hear(CLIENT, Credit(channel, STDIN, WINDOW, 10)) == []
    assert pair.hear(CLIENT, Credit(channel, STDIN, WINDOW + 10, 9)) == []
    assert pair.client.room(channel, STDIN) == WINDOW
    for limit, consumed in ((WINDOW + 11, 11), (MAX_WINDOW + 11, 10), (2**63 - 1, 10), (2**63 - 1, 2**63 - 1)):
        assert pair.breach(CLIENT, Credit(channel, STDIN, limit, consumed)) is ErrorCode.FLOW_CONTROL


def test_consuming_too_much() -> None:
    """Consuming more than arrived is our own mistake; on a free channel it has no effect."""
    pair = Pair()
    channel = pair.open()
    with pytest.raises(LocalProtocolError):
        pair.server.consumed(channel, STDIN, 1)
    pair.server.consumed(99, STDIN, 1)


@pytest.mark.parametrize("stream", OUTPUTS)
def test_streams_of_the_wrong_side(stream: Stream) -> None:
    """H-13: a side that sends, ends, credits or stops a stream that is not its own to, commits a breach."""
    for message in (Data(1, stream, 0, b"x"), End(1, stream, 0), Credit(1, STDIN, 0, 0), Stop(1, STDIN)):
        pair = Pair()
        pair.open()
        assert pair.breach(SERVER, message) is ErrorCode.STREAM_STATE
    for message in (Data(1, STDIN, 0, b"x"), End(1, STDIN, 0), Credit(1, stream, 0, 0), Stop(1, stream)):
        pair = Pair()
        pair.open()
        assert pair.breach(CLIENT, message) is ErrorCode.STREAM_STATE


def test_data_after_the_end() -> None:
    """H-13: data after the end, a second end, and an end of the wrong size are breaches."""
    for message in (Data(1, STDIN, 3, b"x"), End(1, STDIN, 3)):
        pair = Pair()
        pair.open()
        pair.client.send_data(1, STDIN, b"abc")
        pair.client.end_stream(1, STDIN)
        pair.settle()
        assert pair.breach(SERVER, message) is ErrorCode.STREAM_STATE
    for size in (0, 2, 4):
        pair = Pair()
        pair.open()
        pair.client.send_data(1, STDIN, b"abc")
        pair.settle()
        assert pair.breach(SERVER, End(1, STDIN, size)) is ErrorCode.STREAM_STATE


def test_our_own_end() -> None:
    """We end a stream once, and send nothing on it afterwards."""
    pair = Pair()
    channel = pair.open()
    pair.client.end_stream(channel, STDIN)
    with pytest.raises(LocalProtocolError) as error:
        pair.client.end_stream(channel, STDIN)
    assert error.value.code is ErrorCode.STREAM_STATE
    with pytest.raises(LocalProtocolError):
        pair.client.send_data(channel, STDIN, b"x")


# STOP.


def test_stop() -> None:
    """The sender of a stopped stream learns it once; bytes under way are dropped and count as consumed."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, bytes(WINDOW))
    pair.client.stop_stream(channel, STDOUT)
    pair.client.stop_stream(channel, STDOUT)
    events = pair.settle()
    assert events[SERVER] == [StreamStopped(channel, STDOUT)]
    assert events[CLIENT] == []
    assert pair.server.room(channel, STDOUT) == 0
    pair.client.consumed(channel, STDOUT, 1)
    pair.server.end_stream(channel, STDOUT)
    assert pair.settle()[CLIENT] == []


def test_a_second_stop() -> None:
    """A second STOP of one stream is a breach."""
    pair = Pair()
    pair.open()
    pair.hear(SERVER, Stop(1, STDOUT))
    assert pair.breach(SERVER, Stop(1, STDOUT)) is ErrorCode.STREAM_STATE


def test_stop_crosses_end() -> None:
    """A STOP and an END of one stream that cross have no effect on each other."""
    pair = Pair()
    channel = pair.open()
    pair.server.end_stream(channel, STDOUT)
    pair.flush(SERVER)
    pair.client.stop_stream(channel, STDOUT)
    events = pair.settle()
    assert events == {CLIENT: [], SERVER: []}


def test_stop_after_the_end_says_nothing() -> None:
    """A stream that ended needs no STOP."""
    pair = Pair()
    channel = pair.open()
    pair.server.end_stream(channel, STDOUT)
    pair.settle()
    pair.client.stop_stream(channel, STDOUT)
    assert pair.client.frames_to_send() == []


def test_what_was_held_is_credited_at_a_stop() -> None:
    """A STOP credits the bytes that arrived before it, so that they do not hold up the job."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, bytes(WINDOW))
    pair.settle()
    pair.client.stop_stream(channel, STDOUT)
    assert pair.written(CLIENT) == [Stop(channel, STDOUT), Credit(channel, STDOUT, 2 * WINDOW, WINDOW)]
