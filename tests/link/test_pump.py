"""The loop between a session and its link: signs of life, back-pressure, and a server that tells nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import LogEvent

from tests.core.samples import SAMPLES
from tests.link.test_tls import Dialling
from tests.link.wire import LocalWire, RawPeer, RawServer, SocketWire, Wire, failures, frame, identity
from tests.server.rig import NO_RESUME, Rig
from twisted_rsh import Connection, JobEnd
from twisted_rsh.client.errors import SessionLost
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown
from twisted_rsh.core.limits import MAX_OFFSET, SessionLimits
from twisted_rsh.core.messages import (
    Ack,
    AuthOk,
    Credit,
    Data,
    End,
    Exit,
    Goodbye,
    Open,
    Opened,
    Ping,
    Pong,
    Signal,
    Stop,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Phase, Role, Stream

TRANSPORTS = (Wire, SocketWire, LocalWire)
"""Each test runs over TLS, over a lane, and over a Unix socket."""


_LIMITS = SessionLimits()
LIFETIME = _LIMITS.keepalive_interval * _LIMITS.keepalive_misses
TYPES = [*range(0x10, 0x15), *range(0x20, 0x29)]
"""The types of the session's messages."""
CONTROL = 0x20
"""The lowest number of a message that has a sequence number."""


def running(dialling: Dialling) -> tuple[RawServer, Connection, list[Ending]]:
    """Let the server accept the login, and start a job; return the server, the connection, and the job's end."""
    server = dialling.server
    server.frames()
    server.send(frame(encode(AuthOk(session=bytes(16), instance="x", window=4096, max_channels=4))))
    (shell,) = dialling.outcomes
    assert isinstance(shell, Connection)
    ends: list[Ending] = []

    def note(end: JobEnd) -> None:
        ends.append(end.ending)

    shell.start("true").wait().addCallback(note)
    server.exchange()
    return server, shell, ends


def test_a_silent_client_is_asked_and_given_up(logged: list[LogEvent]) -> None:
    """H-10: after 15 s of silence the server asks, and after 45 s it gives the link up."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    client.heard()
    for ping in range(2):
        rig.clock.advance(_LIMITS.keepalive_interval)
        client.exchange()
        assert client.heard() == [Ping(ping)]
    assert not client.wire.aborted()
    rig.clock.advance(_LIMITS.keepalive_interval)
    assert client.wire.aborted()
    (job,) = rig.user.jobs
    assert job.names()[-1] == "terminate"
    assert "nothing came from the peer for 45 s" in str([event.get("reason") for event in logged])
    job.end()
    client.exchange()
    assert rig.clock.getDelayedCalls() == []


def test_a_client_that_answers_lives(rig: Rig) -> None:
    """A client that does nothing but answer is kept for as long as it does."""
    client = rig.log_in()
    for ping in range(20):
        rig.clock.advance(_LIMITS.keepalive_interval)
        client.exchange()
        assert client.heard() == [Ping(ping)]
        client.say(Pong(ping))
    assert not client.wire.is_over


def test_a_ping_is_answered(rig: Rig) -> None:
    """So is a client that asks."""
    client = rig.log_in()
    client.say(Ping(7))
    assert client.heard() == [Pong(7)]


def test_an_answer_to_no_question(rig: Rig) -> None:
    """A PONG for a PING that was never sent is a breach."""
    client = rig.log_in()
    client.say(Pong(0))
    assert client.wire.aborted()


def test_a_silent_server_is_given_up() -> None:
    """The client asks too, and its jobs' outcome is unknown when nothing comes."""
    dialling = Dialling(identity())
    _, shell, ends = running(dialling)
    dialling.clock.advance(LIFETIME / 3)
    dialling.clock.advance(LIFETIME / 3)
    assert ends == []
    dialling.clock.advance(LIFETIME / 3)
    assert ends == [OutcomeUnknown("the connection was lost: nothing came from the peer for 45 s")]
    with pytest.raises(SessionLost):
        shell.start("true")
    dialling.server.exchange()
    assert dialling.clock.getDelayedCalls() == []


def test_a_ping_flood_without_a_reader(rig: Rig) -> None:
    """H-10: while the transport is full nothing is written, and then one PONG, for the latest PING."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    client.heard()
    (job,) = rig.user.jobs
    client.wire.producer.pauseProducing()
    client.say(*[Ping(token) for token in range(10_000)])
    assert client.heard() == []
    assert job.owner.output_room(Stream.STDOUT) == 0
    client.wire.producer.resumeProducing()
    client.exchange()
    assert client.heard() == [Pong(9_999)]
    assert ("resume_output", Stream.STDOUT) in job.calls
    assert job.owner.output_room(Stream.STDOUT) == _LIMITS.window


def test_every_job_gets_its_turn(rig: Rig) -> None:
    """H-14: when the link takes bytes again another job is asked first each time."""
    client = rig.log_in()
    client.say(*[Open(channel=number, request=JobRequest(command="true")) for number in (1, 2, 3)])
    order: list[object] = []

    class Note(list):  # type: ignore[type-arg]  # a list that records the calls
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def append(self, call: object) -> None:
            order.append(self.number)

    for number, job in enumerate(rig.user.jobs, 1):
        job.calls = Note(number)
    for _ in range(3):
        client.wire.producer.pauseProducing()
        client.wire.producer.resumeProducing()
    assert order == [2, 2, 3, 3, 1, 1, 3, 3, 1, 1, 2, 2, 1, 1, 2, 2, 3, 3]


def test_a_job_that_ends_another_ones_turn(rig: Rig) -> None:
    """A job that ends when it is asked on is not asked again."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")), Open(channel=2, request=JobRequest(command="true")))
    client.heard()
    one, two = rig.user.jobs

    def end(stream: Stream) -> None:
        one.calls.append(("ended",))
        one.end()

    one.resume_output = end  # type: ignore[method-assign]  # what an application's job may do
    client.wire.producer.pauseProducing()
    client.wire.producer.resumeProducing()
    client.exchange()
    assert one.names() == ["ended"]
    assert two.names() == ["resume_output"] * 2
    assert client.heard()[-1] == Exit(channel=1, ending=Exited(0), stdout=0, stderr=0, held_open=False)


def test_a_link_that_dies_between_two_events() -> None:
    """F-14: of two things that one frame causes, the second does not happen on a link that the first has ended."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")), Open(channel=2, request=JobRequest(command="true")))
    link = rig.link_of(client)
    one, two = rig.user.jobs
    producer = client.wire.producer
    two.resume_output = lambda _stream: link.fail("enough")  # type: ignore[assignment,method-assign]  # as above
    producer.pauseProducing()
    producer.resumeProducing()
    assert client.wire.aborted()
    assert "terminate" in one.names()
    before = len(one.calls)
    producer.pauseProducing()
    producer.resumeProducing()
    assert len(one.calls) == before
    producer.stopProducing()


def test_events_behind_the_end() -> None:
    """F-14: the pump itself looks before each event."""
    dialling = Dialling(identity())
    _, _, ends = running(dialling)
    producer = dialling.server.wire.producer
    dialling.link.fail("enough")
    assert ends == [OutcomeUnknown("the connection was lost: enough")]
    before = list(ends)
    producer.pauseProducing()
    producer.resumeProducing()
    assert ends == before


ABSURD: list[bytes] = [
    *[encode(SAMPLES[kind]) for kind in (Pong,)],
    *[encode(Data(1, stream, 0, b"x")) for stream in Stream],
    encode(Data(2, Stream.STDOUT, 0, b"x")),
    encode(Data(1, Stream.STDOUT, MAX_OFFSET, b"x")),
    encode(Credit(1, Stream.STDIN, MAX_OFFSET, 0)),
    encode(Credit(1, Stream.STDOUT, 0, 0)),
    encode(Credit(2**32 - 1, Stream.STDIN, 0, 0)),
    encode(Ack(2)),
    encode(Ack(MAX_OFFSET)),
    encode(Pong(MAX_OFFSET)),
    encode_control(Open(channel=2, request=JobRequest(command="rm -rf /")), 0)[0],
    encode_control(Signal(channel=1, signal="KILL"), 0)[0],
    encode_control(Opened(channel=2, encoding="utf-8"), 0)[0],
    encode_control(Opened(channel=1, encoding="utf-8"), 1)[0],
    encode_control(Opened(channel=1, encoding="utf-8"), MAX_OFFSET)[0],
    encode_control(Exit(channel=1, ending=Exited(0), stdout=1, stderr=0, held_open=False), 0)[0],
    encode_control(Exit(channel=9, ending=Exited(0), stdout=0, stderr=0, held_open=False), 0)[0],
    encode_control(End(1, Stream.STDOUT, 0), 0)[0],
    encode_control(Stop(1, Stream.STDIN), 0)[0],
    *[bytes([0x23]) + bytes(8) + body for body in (b"", b"{}", b"null", b"[" * 5000, b'{"channel":1e999}')],
    b'\x23\x00\x00\x00\x00\x00\x00\x00\x00{"channel":1,"ending":{"exited":-1},"stdout":0,"stderr":0,"held_open":false}',
    b"\x00",
    b"\xff" * 10,
    b"\x10",
    b"\x01{}",
    b"\x02{}",
    b"\x03",
]
"""Messages that no honest server sends to a client that waits for the answer to one OPEN."""


@pytest.mark.parametrize("payload", ABSURD, ids=range(len(ABSURD)))
def test_an_absurd_server(payload: bytes, logged: list[LogEvent]) -> None:
    """C-02: it costs the client its connection, and leaves the job's outcome unknown; no traceback, no hang."""
    dialling = Dialling(identity())
    server, shell, ends = running(dialling)
    server.send(frame(payload))
    (ending,) = ends
    assert isinstance(ending, OutcomeUnknown)
    assert server.wire.aborted()
    with pytest.raises(SessionLost):
        shell.start("true")
    assert failures(logged) == []


@pytest.mark.parametrize(
    "text",
    ["", "\x1b]52;c;cm0K\x07", "a line\nand another", "\N{RIGHT-TO-LEFT OVERRIDE}" * 100],
)
def test_a_server_that_says_goodbye(text: str) -> None:
    """C-02: whatever it says, the job's outcome is unknown, and the connection is closed."""
    dialling = Dialling(identity())
    server, shell, ends = running(dialling)
    server.send(frame(encode_control(Goodbye(text=text), 0)[0]))
    assert ends == [OutcomeUnknown(text or "the server ended the session")]
    assert server.closed
    lost: list[str] = []
    shell.when_lost().addCallback(lost.append)
    server.connection.shutdown()
    server.exchange()
    assert lost == [text or "the server ended the session"]


@pytest.mark.parametrize("transport", [Wire], indirect=True)  # Hypothesis draws it
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([*range(0x10, 0x15), *range(0x20, 0x29)]), st.binary(max_size=40)), max_size=5),
    st.sampled_from(TRANSPORTS),
)
def test_a_server_gone_mad(messages: list[tuple[int, bytes]], wire: type[Wire]) -> None:
    """C-02: random bodies behind legal types never break the client: the job has an ending, or still waits for one."""
    RawPeer.transport = wire
    dialling = Dialling(identity())
    server, _, ends = running(dialling)
    for sequence, (kind, body) in enumerate(messages):
        number = sequence.to_bytes(8, "big") if kind >= CONTROL else b""
        server.send(frame(bytes([kind]) + number + body))
    server.wire.lose()
    (ending,) = ends
    assert isinstance(ending, (OutcomeUnknown, Exited))


def test_a_large_message_in_parts() -> None:
    """A message that is too long for one frame comes in parts, over a real link as well."""
    dialling = Dialling(identity())
    server, shell, _ = running(dialling)
    server.frames()
    shell.start("x" * 100_000)
    server.exchange()
    decoder = Decoder(Role.SERVER, Phase.SESSION)
    *parts, (_, message) = [decoder.decode(payload) for payload in server.frames()]
    assert len(parts) == 3
    assert isinstance(message, Open)
    assert message.request.command == "x" * 100_000
