"""The messages of a session, each at its bounds and one past them."""

from __future__ import annotations

import pytest

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import (
    MAX_CHANNEL_ID,
    MAX_DATA_BYTES,
    MAX_OFFSET,
    MAX_PART_BYTES,
    MAX_TEXT_BYTES,
    MAX_TIMEOUT_MS,
)
from twisted_rsh.core.messages import (
    Ack,
    Close,
    Credit,
    Data,
    End,
    Exit,
    Goodbye,
    Open,
    Opened,
    Part,
    Ping,
    Pong,
    Signal,
    Stop,
)
from twisted_rsh.core.roles import Stream

OUT = Stream.STDOUT

AT_THE_BOUND: list[Message] = [
    Data(1, OUT, 0, b"x"),
    Data(MAX_CHANNEL_ID, Stream.STDERR, MAX_OFFSET, b"x" * MAX_DATA_BYTES),
    Credit(1, Stream.STDIN, 0),
    Credit(MAX_CHANNEL_ID, Stream.STDERR, MAX_OFFSET),
    Ack(0),
    Ack(MAX_OFFSET),
    Ping(0),
    Ping(MAX_OFFSET),
    Pong(0),
    Pong(MAX_OFFSET),
    Part(b"x"),
    Part(b"x" * MAX_PART_BYTES),
    Open(channel=1, command=""),
    Open(channel=MAX_CHANNEL_ID, argv=("",), cwd="", environment=(("", ""),), timeout_ms=1),
    Open(channel=1, command="x", timeout_ms=MAX_TIMEOUT_MS),
    Opened(channel=1, encoding="x" * 64),
    Exit(channel=1, ending=Exited(0), stdout=0, stderr=MAX_OFFSET, held_open=True),
    End(1, OUT, 0),
    End(MAX_CHANNEL_ID, OUT, MAX_OFFSET),
    Stop(1, Stream.STDIN),
    Stop(MAX_CHANNEL_ID, Stream.STDERR),
    Signal(channel=1, signal="HUP"),
    Close(1),
    Close(MAX_CHANNEL_ID),
    Goodbye(text="x" * MAX_TEXT_BYTES),
]


@pytest.mark.parametrize("message", AT_THE_BOUND, ids=lambda message: repr(message)[:60])
def test_at_the_bound(message: Message) -> None:
    """What is just allowed travels."""
    assert type(message).parse(message.body()) == message


ONE_PAST: list[Message] = [
    Data(0, OUT, 0, b"x"),
    Data(MAX_CHANNEL_ID + 1, OUT, 0, b"x"),
    Data(1, 3, 0, b"x"),  # type: ignore[arg-type]  # no such stream
    Data(1, OUT, -1, b"x"),
    Data(1, OUT, MAX_OFFSET + 1, b"x"),
    Data(1, OUT, 0, b""),
    Data(1, OUT, 0, b"x" * (MAX_DATA_BYTES + 1)),
    Credit(0, OUT, 0),
    Credit(MAX_CHANNEL_ID + 1, OUT, 0),
    Credit(1, 3, 0),
    Credit(1, OUT, MAX_OFFSET + 1),
    Credit(1, OUT, -1),
    Ack(-1),
    Ack(MAX_OFFSET + 1),
    Ping(MAX_OFFSET + 1),
    Pong(MAX_OFFSET + 1),
    Part(b""),
    Part(b"x" * (MAX_PART_BYTES + 1)),
    Opened(channel=1, encoding="x" * 65),
    Opened(channel=0, encoding="x"),
    Opened(channel=MAX_CHANNEL_ID + 1, encoding="x"),
    Exit(channel=1, ending=Exited(0), stdout=MAX_OFFSET + 1, stderr=0, held_open=False),
    Exit(channel=1, ending=Exited(0), stdout=0, stderr=-1, held_open=False),
    Open(channel=1, command="x", timeout_ms=0),
    Open(channel=1, command="x", timeout_ms=MAX_TIMEOUT_MS + 1),
    Open(channel=1, command="\ud800"),
    End(0, OUT, 0),
    End(1, 3, 0),
    End(1, OUT, MAX_OFFSET + 1),
    Stop(0, OUT),
    Stop(1, 3),
    Signal(channel=1, signal="SIGHUP"),
    Close(0),
    Close(MAX_CHANNEL_ID + 1),
    Goodbye(text="x" * (MAX_TEXT_BYTES + 1)),
]


@pytest.mark.parametrize("message", ONE_PAST, ids=lambda message: repr(message)[:60])
def test_one_past_the_bound_is_not_written(message: Message) -> None:
    """F-13: what is just not allowed cannot be sent."""
    with pytest.raises(FieldError):
        message.body()


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (Data, Data.layout.pack(0, 1, 0) + b"x"),
        (Data, Data.layout.pack(1, 3, 0) + b"x"),
        (Data, Data.layout.pack(1, 1, MAX_OFFSET + 1) + b"x"),
        (Data, Data.layout.pack(1, 1, 2**64 - 1) + b"x"),
        (Data, Data.layout.pack(1, 1, 0)),
        (Data, Data.layout.pack(1, 1, 0)[:-1]),
        (Data, b""),
        (Data, Data.layout.pack(1, 1, 0) + b"x" * (MAX_DATA_BYTES + 1)),
        (Credit, Credit.layout.pack(1, 255, 0)),
        (Credit, Credit.layout.pack(1, 1, 2**64 - 1)),
        (Ack, Ack.layout.pack(MAX_OFFSET + 1)),
        (Ping, Ping.layout.pack(MAX_OFFSET + 1)),
        (Pong, Pong.layout.pack(2**64 - 1)),
        (Part, b""),
        (Part, b"x" * (MAX_PART_BYTES + 1)),
        (End, End.layout.pack(1, 1, MAX_OFFSET + 1)),
        (Stop, Stop.layout.pack(1, 3)),
        (Close, Close.layout.pack(0)),
        (Open, b'{"channel":1}'),
        (Open, b'{"channel":1,"argv":[]}'),
        (Open, b'{"channel":1,"argv":["x"],"command":"x"}'),
        (Open, b'{"channel":1,"command":"x","timeout_ms":0}'),
        (Open, b'{"channel":1,"command":"x","environment":{"A":1}}'),
        (Open, b'{"channel":1,"command":"x","environment":{"A":"1","A":"2"}}'),
        (Signal, b'{"channel":1,"signal":"KIL"}'),
    ],
)
def test_one_past_the_bound_is_not_read(message: type[Message], body: bytes) -> None:
    """F-10: nor is it taken from a peer, and nothing but a ``FieldError`` comes of it."""
    with pytest.raises(FieldError):
        message.parse(body)
