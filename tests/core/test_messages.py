"""The messages of a session, each at its bounds and one past them."""

from __future__ import annotations

import pytest

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.endings import Exited, Limit, LimitReached, ResourceUsage, Stopped
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import (
    MAX_CHANNEL_ID,
    MAX_DATA_BYTES,
    MAX_OFFSET,
    MAX_PART_BYTES,
    MAX_TERM_BYTES,
    MAX_TERMINAL_MODES,
    MAX_TERMINAL_SIZE,
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
    Resize,
    Signal,
    Stop,
    Suspended,
)
from twisted_rsh.core.requests import MODE_NAMES, Terminal
from twisted_rsh.core.roles import Stream

OUT = Stream.STDOUT
BASH = "bash"
NO_TEXT = "\ud800"
ALL_MODES = tuple((name, 255) for name in sorted(MODE_NAMES))
NOTHING = ResourceUsage(wall=0, user=0, system=0, peak_memory=0)

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
    Open(channel=1, shell="", terminal=Terminal(columns=1, rows=1)),
    Open(channel=1, argv=("x",), terminal=Terminal(term="", columns=MAX_TERMINAL_SIZE, rows=MAX_TERMINAL_SIZE)),
    Open(channel=1, command="x", terminal=Terminal(term="x" * MAX_TERM_BYTES, modes=ALL_MODES, separate_stderr=True)),
    Open(channel=2, command="", in_shell=1, timeout_ms=1, max_output=0),
    Open(channel=MAX_CHANNEL_ID, command="x", in_shell=MAX_CHANNEL_ID, max_output=MAX_OFFSET),
    Open(channel=1, command="x", max_output=0, max_cpu_ms=1, max_memory=0),
    Open(channel=1, shell=BASH, max_output=MAX_OFFSET, max_cpu_ms=MAX_TIMEOUT_MS, max_memory=MAX_OFFSET),
    Open(channel=1, command="x", grace_ms=0),
    Open(channel=1, shell="", grace_ms=MAX_TIMEOUT_MS),
    Open(channel=1, argv=("x",), keep=True),
    Opened(channel=1, encoding="x" * 64),
    Exit(channel=1, ending=Exited(0), stdout=0, stderr=MAX_OFFSET, held_open=True),
    Exit(channel=1, ending=LimitReached(Limit.MEMORY, MAX_OFFSET), stdout=0, stderr=0, held_open=False, usage=NOTHING),
    Exit(channel=1, ending=Stopped("TSTP"), stdout=0, stderr=0, held_open=False),
    End(1, OUT, 0),
    End(MAX_CHANNEL_ID, OUT, MAX_OFFSET),
    Stop(1, Stream.STDIN),
    Stop(MAX_CHANNEL_ID, Stream.STDERR),
    Signal(channel=1, signal="HUP"),
    Close(1),
    Close(MAX_CHANNEL_ID),
    Goodbye(text="x" * MAX_TEXT_BYTES),
    Resize(1, 1, 1),
    Resize(MAX_CHANNEL_ID, MAX_TERMINAL_SIZE, MAX_TERMINAL_SIZE),
    Suspended(channel=1),
    Suspended(channel=MAX_CHANNEL_ID, signal="TTOU"),
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
    Open(channel=1, shell=NO_TEXT),
    Open(channel=1, command="x", in_shell=0),
    Open(channel=1, command="x", in_shell=MAX_CHANNEL_ID + 1),
    Open(channel=1, command="x", max_output=-1),
    Open(channel=1, command="x", max_output=MAX_OFFSET + 1),
    Open(channel=1, command="x", max_cpu_ms=0),
    Open(channel=1, command="x", max_cpu_ms=MAX_TIMEOUT_MS + 1),
    Open(channel=1, command="x", max_memory=-1),
    Open(channel=1, command="x", grace_ms=-1),
    Open(channel=1, command="x", grace_ms=MAX_TIMEOUT_MS + 1),
    Open(channel=1, command="x", max_memory=MAX_OFFSET + 1),
    Open(channel=1, command="x", terminal=Terminal(columns=0)),
    Open(channel=1, command="x", terminal=Terminal(columns=MAX_TERMINAL_SIZE + 1)),
    Open(channel=1, command="x", terminal=Terminal(rows=-1)),
    Open(channel=1, command="x", terminal=Terminal(rows=MAX_TERMINAL_SIZE + 1)),
    Open(channel=1, command="x", terminal=Terminal(term="x" * (MAX_TERM_BYTES + 1))),
    Open(channel=1, command="x", terminal=Terminal(term="\udcff")),
    Open(channel=1, command="x", terminal=Terminal(modes=(("B9600", 1),))),
    Open(channel=1, command="x", terminal=Terminal(modes=(("VINTR", 256),))),
    Open(channel=1, command="x", terminal=Terminal(modes=(("VINTR", -1),))),
    Open(channel=1, command="x", terminal=Terminal(modes=(("ECHO", 1),) * (MAX_TERMINAL_MODES + 1))),
    Exit(channel=1, ending=Stopped("RTMIN"), stdout=0, stderr=0, held_open=False),
    Exit(channel=1, ending=LimitReached(Limit.CPU, -1), stdout=0, stderr=0, held_open=False),
    Exit(channel=1, ending=LimitReached(Limit.CPU, MAX_OFFSET + 1), stdout=0, stderr=0, held_open=False),
    Exit(
        channel=1,
        ending=Exited(0),
        stdout=0,
        stderr=0,
        held_open=False,
        usage=ResourceUsage(wall=0, user=0, system=0, peak_memory=-1),
    ),
    Resize(0, 80, 24),
    Resize(MAX_CHANNEL_ID + 1, 80, 24),
    Resize(1, 0, 24),
    Resize(1, 80, 0),
    Resize(1, -80, 24),
    Resize(1, 80, -24),
    Resize(1, MAX_TERMINAL_SIZE + 1, 24),
    Resize(1, 80, MAX_TERMINAL_SIZE + 1),
    End(0, OUT, 0),
    End(1, 3, 0),
    End(1, OUT, MAX_OFFSET + 1),
    Stop(0, OUT),
    Stop(1, 3),
    Signal(channel=1, signal="SIGHUP"),
    Suspended(channel=0, signal="STOP"),
    Suspended(channel=MAX_CHANNEL_ID + 1),
    Suspended(channel=1, signal="SIGSTOP"),
    Suspended(channel=1, signal=""),
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
        (Resize, Resize.layout.pack(0, 80, 24)),
        (Resize, Resize.layout.pack(1, 0, 24)),
        (Resize, Resize.layout.pack(1, 80, 0)),
        (Resize, Resize.layout.pack(1, 80, 24)[:-1]),
        (Resize, Resize.layout.pack(1, 80, 24) + b"\0"),
        (Suspended, b"{}"),
        (Suspended, b'{"signal":"STOP"}'),
        (Suspended, b'{"channel":1,"signal":null}'),
        (Suspended, b'{"channel":1,"signal":19}'),
        (Suspended, b'{"channel":1,"signal":"SIGSTOP"}'),
        (Open, b'{"channel":1}'),
        (Open, b'{"channel":1,"command":"x","shell":""}'),
        (Open, b'{"channel":1,"argv":["x"],"in_shell":1}'),
        (Open, b'{"channel":1,"shell":"x","in_shell":1}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"cwd":""}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"environment":{"A":"1"}}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"max_cpu_ms":1}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"max_memory":0}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"grace_ms":0}'),
        (Open, b'{"channel":1,"command":"x","in_shell":1,"keep":true}'),
        (Open, b'{"channel":1,"command":"x","grace_ms":0,"keep":true}'),
        (Open, b'{"channel":1,"command":"x","keep":1}'),
        (Open, b'{"channel":1,"command":"x","terminal":{}}'),
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


def test_seconds_and_milliseconds() -> None:
    """A request has seconds, its message milliseconds; nothing else differs between them."""
    message = Open(channel=1, shell="", timeout_ms=1500, max_cpu_ms=1, terminal=Terminal())
    assert Open.of(1, message.request()) == message
    assert message.request().timeout == 1.5


def test_a_terminal_has_room_for_more() -> None:
    """Members of a terminal and of a usage that a later version adds are ignored, whatever they are."""
    terminal = '{"later":[null,{"a":-1}],"term":"x","columns":1,"rows":2,"modes":{"ECHO":0},"separate_stderr":true}'
    body = f'{{"channel":1,"command":"x","terminal":{terminal}}}'.encode()
    expected = Terminal(term="x", columns=1, rows=2, modes=(("ECHO", 0),), separate_stderr=True)
    assert Open.parse(body) == Open(channel=1, command="x", terminal=expected)
    usage = '{"wall_us":1500000,"user_us":1,"system_us":0,"peak_memory":4096,"later":"x"}'
    ending = '{"kind":"stopped","signal":"TSTP","later":1}'
    body = f'{{"channel":1,"ending":{ending},"stdout":0,"stderr":0,"held_open":false,"usage":{usage}}}'.encode()
    took = ResourceUsage(wall=1.5, user=0.000001, system=0.0, peak_memory=4096)
    assert Exit.parse(body) == Exit(channel=1, ending=Stopped("TSTP"), stdout=0, stderr=0, held_open=False, usage=took)
