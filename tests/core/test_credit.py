"""Flow control of one stream."""

from __future__ import annotations

import pytest

from twisted_rsh.core.credit import ReceiveStream, SendStream
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import MAX_WINDOW
from twisted_rsh.core.windows import Reserve, Window

WINDOW = 4096


def sender(reserve: int = 0) -> SendStream:
    """Return the sender's side of a stream that may keep as many bytes beyond its window."""
    return SendStream(WINDOW, Reserve(reserve))


def receiver(reserve: int = 0) -> ReceiveStream:
    """Return the receiver's side of a stream whose window may grow by as many bytes."""
    return ReceiveStream(Window(WINDOW, Reserve(reserve), starts_large=True))


def test_sender_starts_with_a_window() -> None:
    """A sender starts with a window of room, and not one byte more."""
    stream = sender()
    assert stream.room == WINDOW
    assert stream.send(bytes(WINDOW), 0) == 0
    assert stream.room == 0
    with pytest.raises(LocalProtocolError) as error:
        stream.send(b"x", 1)
    assert error.value.code is ErrorCode.FLOW_CONTROL
    assert stream.sent == WINDOW


def test_credit_only_grows() -> None:
    """H-04: a credit that is repeated or lower changes nothing."""
    stream = sender()
    stream.send(bytes(1000), 0)
    assert stream.credit(WINDOW + 1000, 1000)
    assert stream.room == WINDOW
    assert not stream.credit(WINDOW + 1000, 1000)
    assert not stream.credit(WINDOW + 999, 999)
    assert not stream.credit(0, 0)
    assert stream.room == WINDOW
    assert stream.consumed == 1000


@pytest.mark.parametrize(
    ("limit", "consumed"),
    [
        (WINDOW + 1001, 1001),
        (1000 + MAX_WINDOW + 1, 1000),
        (MAX_WINDOW + 1, 0),
        (2**63 - 1, 1000),
        (2**64 - 1, 2**64 - 1),
    ],
)
def test_absurd_credit(limit: int, consumed: int) -> None:
    """H-04: a credit for bytes never sent or beyond the largest window is a breach, from one byte on."""
    stream = sender()
    stream.send(bytes(1000), 0)
    with pytest.raises(RemoteProtocolError) as error:
        stream.credit(limit, consumed)
    assert error.value.code is ErrorCode.FLOW_CONTROL
    assert stream.credit(1000 + MAX_WINDOW, 1000)


@pytest.mark.parametrize("flag", ["ended", "stopped"])
def test_no_room_after_the_last_word(flag: str) -> None:
    """A stream that ended or was stopped has no room, and credit brings none."""
    stream = sender()
    stream.send(b"x", 1)
    setattr(stream, flag, True)
    assert stream.room == 0
    assert not stream.credit(WINDOW + 1, 1)
    with pytest.raises(LocalProtocolError):
        stream.send(b"x", 1)


def test_receiver_takes_a_window() -> None:
    """H-01: the last byte of the credit is accepted, the next is a breach."""
    stream = receiver()
    stream.receive(0, WINDOW)
    with pytest.raises(RemoteProtocolError) as error:
        stream.receive(WINDOW, 1)
    assert error.value.code is ErrorCode.FLOW_CONTROL
    assert stream.received == WINDOW


@pytest.mark.parametrize("offset", [99, 101, 0, 2**63 - 1])
def test_data_continues_its_stream(offset: int) -> None:
    """A gap and a repetition in a stream are breaches."""
    stream = receiver()
    stream.receive(0, 100)
    with pytest.raises(RemoteProtocolError) as error:
        stream.receive(offset, 1)
    assert error.value.code is ErrorCode.FLOW_CONTROL


def test_end() -> None:
    """H-13: an end comes once, at the right size, and nothing follows it."""
    stream = receiver()
    stream.receive(0, 100)
    for wrong in (99, 101):
        with pytest.raises(RemoteProtocolError) as error:
            stream.end(wrong)
        assert error.value.code is ErrorCode.STREAM_STATE
    stream.end(100)
    assert stream.ended
    with pytest.raises(RemoteProtocolError) as error:
        stream.end(100)
    assert error.value.code is ErrorCode.STREAM_STATE
    with pytest.raises(RemoteProtocolError) as error:
        stream.receive(100, 1)
    assert error.value.code is ErrorCode.STREAM_STATE


def test_consuming_more_than_was_received() -> None:
    """Consuming one byte more than was received is our own mistake."""
    stream = receiver()
    stream.receive(0, 10)
    with pytest.raises(LocalProtocolError) as error:
        stream.consume(11)
    assert error.value.code is ErrorCode.FLOW_CONTROL
    stream.consume(10)
    with pytest.raises(LocalProtocolError):
        stream.consume(1)


def test_credit_is_due_at_a_quarter() -> None:
    """A quarter of the window is worth a frame, one byte less is not."""
    stream = receiver()
    stream.receive(0, WINDOW)
    stream.consume(WINDOW // 4 - 1)
    assert stream.credit_due(0.0, None) is None
    stream.consume(1)
    assert stream.credit_due(0.0, None) == (WINDOW + WINDOW // 4, WINDOW // 4)
    assert stream.credit_due(0.0, None) is None
    stream.receive(WINDOW, WINDOW // 4)


def test_when_to_look_for_a_credit() -> None:
    """Consuming bytes tells whether a credit may be due: once it was looked for, not before the next quarter."""
    stream = receiver()
    stream.receive(0, WINDOW)
    assert stream.consume(1)  # it was never looked for
    assert stream.credit_due(0.0, None) is None
    assert not stream.consume(WINDOW // 4 - 2)
    assert stream.consume(1)
    assert stream.credit_due(0.0, None) is not None
    assert stream.consume(1)
    assert stream.credit_due(0.0, None) is None
    assert not stream.consume(1)
    stream.announce_again()
    assert stream.consume(1)
    assert stream.credit_due(0.0, None) is not None
    stream.end(WINDOW)
    assert not stream.consume(WINDOW // 2)


def test_no_credit_after_the_end() -> None:
    """A stream that has ended gets no more credit."""
    stream = receiver()
    stream.receive(0, WINDOW)
    stream.end(WINDOW)
    stream.consume(WINDOW)
    assert stream.credit_due(0.0, None) is None


def test_discarding_consumes_everything() -> None:
    """Discarding consumes the bytes that were received and those that still come."""
    stream = receiver()
    stream.receive(0, WINDOW)
    stream.discard()
    assert stream.credit_due(0.0, None) == (2 * WINDOW, WINDOW)
    stream.receive(WINDOW, WINDOW)
    assert stream.credit_due(0.0, None) == (3 * WINDOW, 2 * WINDOW)


def test_the_quarter_rule_cannot_stall() -> None:
    """H-03: a reader that stops at exactly zero room and goes on later gets all of the flow back."""
    source, sink = sender(), receiver()
    for _ in range(10):
        size = source.room
        assert size == WINDOW
        sink.receive(source.send(bytes(size), 0), size)
        assert source.room == 0
        sink.consume(size)
        credit = sink.credit_due(0.0, None)
        assert credit is not None
        assert source.credit(*credit)
    assert sink.received == source.sent == 10 * WINDOW


def test_what_is_kept() -> None:
    """The bytes from any offset on are kept, cut where necessary; a piece is forgotten once all of it is consumed."""
    stream = sender()
    for order, piece in ((3, b"abcd"), (5, b"efgh"), (9, b"ij")):
        stream.send(piece, order)
    assert stream.consumed == 0
    assert stream.kept_from(0) == [(3, 0, b"abcd"), (5, 4, b"efgh"), (9, 8, b"ij")]
    assert stream.kept_from(4) == [(5, 4, b"efgh"), (9, 8, b"ij")]
    assert stream.kept_from(6) == [(5, 6, b"gh"), (9, 8, b"ij")]
    assert stream.kept_from(10) == []
    stream.credit(WINDOW + 5, 5)
    assert stream.consumed == 5
    assert stream.kept_from(5) == [(5, 5, b"fgh"), (9, 8, b"ij")]
    assert len(stream._kept) == 2
    stream.credit(WINDOW + 8, 8)
    assert len(stream._kept) == 1
    stream.credit(WINDOW + 10, 10)
    assert not stream._kept


def test_passing_over() -> None:
    """H-01: on a channel that is over, data may have gaps and repetitions, but not exceed the credit."""
    stream = receiver()
    stream.receive(0, 10)
    for offset, size in ((100, 50), (0, 1), (WINDOW - 1, 1)):
        stream.pass_over(offset, size)
    assert stream.received == 10
    with pytest.raises(RemoteProtocolError) as error:
        stream.pass_over(WINDOW, 1)
    assert error.value.code is ErrorCode.FLOW_CONTROL


def test_announcing_again() -> None:
    """A credit that may have been lost is due, however small; without an earlier credit, none is due."""
    stream = receiver()
    stream.announce_again()
    assert stream.credit_due(0.0, None) is None
    stream.receive(0, 10)
    stream.announce_again()
    assert stream.credit_due(0.0, None) is None
    stream.consume(1)
    assert stream.credit_due(0.0, None) is None
    stream.announce_again()
    assert stream.credit_due(0.0, None) == (WINDOW + 1, 1)
    assert stream.credit_due(0.0, None) is None
