"""What both ends of a session do alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from tests.core.pair import SMALL, TRUE, Pair
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.channel import TRANSITIONS, ChannelInput, ChannelState
from twisted_rsh.core.codec import encode, encode_control
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import (
    DataReceived,
    LinkSilent,
    RoomGained,
    SessionClosed,
    StreamEnded,
    StreamStopped,
)
from twisted_rsh.core.limits import (
    ACKNOWLEDGE_EVERY,
    MAX_DATA_BYTES,
    MAX_UNACKNOWLEDGED,
    SENT_DATA_BYTES,
    SessionLimits,
)
from twisted_rsh.core.messages import (
    MESSAGES,
    Ack,
    Close,
    Credit,
    Data,
    End,
    Exit,
    Goodbye,
    Opened,
    Part,
    Ping,
    Pong,
    Resize,
    Signal,
    Stop,
    Suspended,
)
from twisted_rsh.core.roles import OUTPUTS, Phase, Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream
WINDOW = SMALL.window
ROOM = RoomGained(None, None)


# The channel table, on both sides.

HEARD: dict[ChannelInput, tuple[Role, list[Message]]] = {
    ChannelInput.OPENED: (CLIENT, [Opened(channel=1, encoding="utf-8")]),
    ChannelInput.EXIT: (CLIENT, [Exit(channel=1, ending=Exited(0), stdout=0, stderr=0, held_open=False)]),
    ChannelInput.CLOSE: (SERVER, [Close(1)]),
    ChannelInput.FROM_CLIENT: (
        SERVER,
        [
            Data(1, STDIN, 0, b"x"),
            End(1, STDIN, 0),
            Credit(1, STDOUT, 0),
            Stop(1, STDERR),
            Signal(channel=1, signal="INT"),
            Resize(1, 80, 24),
        ],
    ),
    ChannelInput.FROM_SERVER: (
        CLIENT,
        [
            Data(1, STDOUT, 0, b"x"),
            End(1, STDERR, 0),
            Credit(1, STDIN, 0),
            Stop(1, STDIN),
            Suspended(channel=1, signal="STOP"),
        ],
    ),
}
SAID: dict[ChannelInput, tuple[Role, list[Callable[[Pair], object]]]] = {
    ChannelInput.OPENED: (SERVER, [lambda pair: pair.server.accept(1, "utf-8")]),
    ChannelInput.EXIT: (SERVER, [lambda pair: pair.server.report_exit(1, JobEnd(Exited(0)))]),
    ChannelInput.CLOSE: (CLIENT, [lambda pair: pair.client.close(1)]),
    ChannelInput.FROM_CLIENT: (
        CLIENT,
        [
            lambda pair: pair.client.send_data(1, STDIN, b"x"),
            lambda pair: pair.client.end_stream(1, STDIN),
            lambda pair: pair.client.stop_stream(1, STDOUT),
            lambda pair: pair.client.send_signal(1, "INT"),
            lambda pair: pair.client.resize(1, 80, 24),
        ],
    ),
    ChannelInput.FROM_SERVER: (
        SERVER,
        [
            lambda pair: pair.server.send_data(1, STDOUT, b"x"),
            lambda pair: pair.server.end_stream(1, STDERR),
            lambda pair: pair.server.stop_stream(1, STDIN),
            lambda pair: pair.server.report_suspension(1, "STOP"),
        ],
    ),
}


def pair_in(role: Role, state: ChannelState) -> Pair:
    """Return a pair in which one side's channel 1 is in this state."""
    pair = Pair()
    pair.open(accept=False)
    if state is ChannelState.FREED:
        del pair.side(role)._channels[1]
    else:
        pair.side(role)._channels[1].state = state
    return pair


def state_of(pair: Pair, role: Role) -> ChannelState:
    """Return the state of one side's channel 1."""
    channel = pair.side(role)._channels.get(1)
    return ChannelState.FREED if channel is None else channel.state


PRODUCT = list(itertools.product(ChannelState, ChannelInput))


@pytest.mark.parametrize(("state", "event"), PRODUCT)
def test_hearing_in_every_state(state: ChannelState, event: ChannelInput) -> None:
    """H-13, S-12: what the table does not allow is a breach, whichever message it is, and what it allows is none."""
    role, kinds = HEARD[event]
    for message in kinds:
        pair = pair_in(role, state)
        after = TRANSITIONS.get((state, event))
        if after is None:
            assert pair.breach(role, message) is ErrorCode.CHANNEL_STATE
            continue
        pair.hear(role, message)
        if role is CLIENT and after is ChannelState.ENDED:
            after = ChannelState.FREED  # a client answers EXIT with CLOSE at once
        assert state_of(pair, role) is after


@pytest.mark.parametrize(("state", "event"), PRODUCT)
def test_saying_in_every_state(state: ChannelState, event: ChannelInput) -> None:
    """What the table does not allow we cannot say either, and what we try has no effect."""
    role, calls = SAID[event]
    for call in calls:
        pair = pair_in(role, state)
        after = TRANSITIONS.get((state, event))
        if after is not None:
            call(pair)
            assert state_of(pair, role) is after
            continue
        with pytest.raises(LocalProtocolError):
            call(pair)
        assert state_of(pair, role) is state
        assert pair.side(role).frames_to_send() == []


@pytest.mark.parametrize("state", ChannelState)
def test_room_in_every_state(state: ChannelState) -> None:
    """There is room exactly where data may be sent."""
    for role, stream, event in (
        (CLIENT, STDIN, ChannelInput.FROM_CLIENT),
        (SERVER, STDOUT, ChannelInput.FROM_SERVER),
    ):
        room = pair_in(role, state).side(role).room(1, stream)
        assert room == (WINDOW if (state, event) in TRANSITIONS else 0)


# Frames.


@pytest.mark.parametrize("role", Role)
def test_empty_frames(role: Role) -> None:
    """F-01: an empty frame is a breach in a session."""
    with pytest.raises(RemoteProtocolError) as error:
        Pair().side(role).receive_frame(b"", 0.0)
    assert error.value.code is ErrorCode.FRAME_SIZE


@pytest.mark.parametrize("role", Role)
def test_every_type(role: Role) -> None:
    """F-09: every byte value as type, with a body that no message has, is a breach of a session."""
    receivable = {
        message.declaration.number
        for message in MESSAGES
        if message.declaration.phase is Phase.SESSION and role.peer in message.declaration.senders
    }
    for number in range(256):
        with pytest.raises(RemoteProtocolError) as error:
            Pair().side(role).receive_frame(bytes([number]) + b"\xff" * 99, 0.0)
        if number == Part.declaration.number:
            # It may hold any bytes, but not at that place in the sequence.
            assert error.value.code is ErrorCode.SEQUENCE
        elif number in receivable:
            assert error.value.code is ErrorCode.MALFORMED_MESSAGE
        else:
            assert error.value.code is ErrorCode.UNEXPECTED_MESSAGE


def test_control_messages_out_of_order() -> None:
    """A gap and a repetition in the sequence numbers are breaches."""
    for sequence in (0, 2):
        pair = Pair()
        pair.open(accept=False)
        with pytest.raises(RemoteProtocolError) as error:
            pair.server.receive_frame(encode_control(Close(1), sequence)[0], 0.0)
        assert error.value.code is ErrorCode.SEQUENCE


# Data.


def test_data_is_cut() -> None:
    """F-13: data of any size goes out in frames that fill a TLS record each, in order."""
    pair = Pair(SessionLimits(window=3 * MAX_DATA_BYTES))
    channel = pair.open()
    data = bytes(range(251)) * 300
    pair.server.send_data(channel, STDOUT, data)
    frames = pair.written(SERVER)
    assert all(isinstance(frame, Data) and len(frame.data) <= MAX_DATA_BYTES for frame in frames)
    assert b"".join(frame.data for frame in frames if isinstance(frame, Data)) == data
    assert [frame.offset for frame in frames if isinstance(frame, Data)] == list(range(0, len(data), SENT_DATA_BYTES))
    assert len(encode(frames[0])) + 4 == 16 * 1024


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
    """H-03: nothing is credited before a quarter is consumed, and a stream at exactly zero room goes on."""
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
    """H-04: a lower credit is ignored, one beyond what was sent and a window is a breach."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, b"1234567890")
    assert pair.hear(CLIENT, Credit(channel, STDIN, 0)) == []
    assert pair.hear(CLIENT, Credit(channel, STDIN, WINDOW + 10)) == [RoomGained(channel, STDIN)]
    assert pair.hear(CLIENT, Credit(channel, STDIN, WINDOW)) == []
    assert pair.client.room(channel, STDIN) == WINDOW
    for limit in (WINDOW + 11, 2**63 - 1):
        assert pair.breach(CLIENT, Credit(channel, STDIN, limit)) is ErrorCode.FLOW_CONTROL


def test_consuming_too_much() -> None:
    """More than arrived is our own mistake; on a channel that is free it does not matter any more."""
    pair = Pair()
    channel = pair.open()
    with pytest.raises(LocalProtocolError):
        pair.server.consumed(channel, STDIN, 1)
    pair.server.consumed(99, STDIN, 1)


@pytest.mark.parametrize("stream", OUTPUTS)
def test_streams_of_the_wrong_side(stream: Stream) -> None:
    """H-13: neither side sends, ends, credits or stops what is not its to."""
    for message in (Data(1, stream, 0, b"x"), End(1, stream, 0), Credit(1, STDIN, 0), Stop(1, STDIN)):
        pair = Pair()
        pair.open()
        assert pair.breach(SERVER, message) is ErrorCode.STREAM_STATE
    for message in (Data(1, STDIN, 0, b"x"), End(1, STDIN, 0), Credit(1, stream, 0), Stop(1, stream)):
        pair = Pair()
        pair.open()
        assert pair.breach(CLIENT, message) is ErrorCode.STREAM_STATE


def test_unknown_channels() -> None:
    """H-13: a channel that never was is a breach, whatever is said on it."""
    for role, kinds in HEARD.values():
        for message in kinds:
            assert Pair().breach(role, message) is ErrorCode.CHANNEL_STATE


def test_data_after_the_end() -> None:
    """H-13: so are data after the end, a second end, and an end of the wrong size."""
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
    """We end a stream once, and send nothing on it then."""
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
    """The sender learns once that nobody reads; what is on its way is dropped and counts as consumed."""
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
    """A stream is stopped once."""
    pair = Pair()
    pair.open()
    pair.hear(SERVER, Stop(1, STDOUT))
    assert pair.breach(SERVER, Stop(1, STDOUT)) is ErrorCode.STREAM_STATE


def test_stop_crosses_end() -> None:
    """The one no longer matters to the other."""
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
    """A job whose output is dropped is not held up by what arrived before."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, bytes(WINDOW))
    pair.settle()
    pair.client.stop_stream(channel, STDOUT)
    assert pair.written(CLIENT) == [Stop(channel, STDOUT), Credit(channel, STDOUT, 2 * WINDOW)]


# Acknowledgements.


def test_acknowledging() -> None:
    """Sixteen control messages are worth an acknowledgement, fifteen are not."""
    pair = Pair()
    channel = pair.open()
    for _ in range(ACKNOWLEDGE_EVERY - 2):
        pair.client.send_signal(channel, "INT")
    pair.pass_on(CLIENT)
    assert pair.written(SERVER) == []
    pair.client.send_signal(channel, "INT")
    pair.pass_on(CLIENT)
    assert pair.written(SERVER) == [Ack(ACKNOWLEDGE_EVERY)]


def test_acknowledging_what_was_never_sent() -> None:
    """One more than was sent is a breach."""
    pair = Pair()
    pair.client.open(TRUE)
    assert pair.hear(CLIENT, Ack(1)) == []
    assert pair.breach(CLIENT, Ack(2)) is ErrorCode.SEQUENCE


def blocked_pair() -> tuple[Pair, int]:
    """Return a pair whose client waits for the server's acknowledgement, and a channel; nothing has been delivered."""
    pair = Pair()
    channel = pair.open()
    while pair.client.room(channel, STDIN):
        pair.client.send_signal(channel, "INT")
    return pair, channel


def test_nothing_overtakes_what_waits() -> None:
    """Data and credit wait behind control messages that wait for an acknowledgement, and then go on."""
    pair, channel = blocked_pair()
    assert len(pair.client._outbox.log) == MAX_UNACKNOWLEDGED
    pair.server.send_data(channel, STDOUT, bytes(WINDOW))
    pair.pass_on(SERVER)
    pair.client.consumed(channel, STDOUT, WINDOW)
    pair.client.end_stream(channel, STDIN)
    first = pair.written(CLIENT)
    assert {type(message) for message in first} == {Signal}
    with pytest.raises(LocalProtocolError) as error:
        pair.client.send_data(channel, STDIN, b"x")
    assert error.value.code is ErrorCode.FLOW_CONTROL
    with pytest.raises(LocalProtocolError) as error:
        pair.client.send_signal(channel, "INT")
    assert error.value.code is ErrorCode.SEQUENCE
    assert pair.hear(CLIENT, Ack(2)) == [ROOM]
    assert pair.written(CLIENT)[-2:] == [End(channel, STDIN, 0), Credit(channel, STDOUT, 2 * WINDOW)]


def test_a_partial_acknowledgement_brings_no_room() -> None:
    """While some still wait, there is none."""
    pair, channel = blocked_pair()
    pair.client.stop_stream(channel, STDOUT)
    pair.client.stop_stream(channel, STDERR)
    assert pair.client._outbox.waiting == 3
    assert pair.hear(CLIENT, Ack(2)) == []
    assert pair.client.room(channel, STDIN) == 0
    assert pair.hear(CLIENT, Ack(3)) == [ROOM]
    assert pair.client.room(channel, STDIN) == WINDOW
    assert pair.hear(CLIENT, Ack(4)) == []


def test_a_blocked_side_recovers() -> None:
    """Whatever waits arrives when the wire is used again."""
    pair, channel = blocked_pair()
    pair.client.end_stream(channel, STDIN)
    events = pair.settle()
    assert events[SERVER][-1] == StreamEnded(channel, STDIN)
    assert not pair.client._outbox.blocked
    assert len(pair.client._outbox.log) < ACKNOWLEDGE_EVERY


# The link's buffer.


def test_a_full_link() -> None:
    """No room, no credit, acknowledgement, ping or pong while the link is full; all of them when it is not."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, bytes(WINDOW))
    for _ in range(ACKNOWLEDGE_EVERY):
        pair.client.send_signal(channel, "INT")
    pair.pass_on(CLIENT)
    pair.server.link_full()
    assert pair.server.room(channel, STDOUT) == 0
    pair.server.consumed(channel, STDIN, WINDOW)
    pair.hear(SERVER, Ping(5))
    assert pair.server.deadline_reached(SMALL.keepalive_interval) == []
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    assert [type(message) for message in pair.written(SERVER)] == [Exit]
    assert pair.server.link_writable() == [ROOM]
    assert pair.written(SERVER) == [Ack(ACKNOWLEDGE_EVERY + 1), Pong(5)]


def test_credit_waits_for_the_link() -> None:
    """What was consumed meanwhile is credited afterwards."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, bytes(WINDOW))
    pair.pass_on(CLIENT)
    pair.server.link_full()
    pair.server.consumed(channel, STDIN, WINDOW)
    assert pair.server.frames_to_send() == []
    pair.server.link_writable()
    assert pair.written(SERVER) == [Credit(channel, STDIN, 2 * WINDOW)]


def test_a_flood_of_pings() -> None:
    """H-10: only the latest ping is answered, however many came while nothing could be written."""
    pair = Pair()
    pair.server.link_full()
    for token in range(10_000):
        pair.hear(SERVER, Ping(token))
    assert pair.server.frames_to_send() == []
    pair.server.link_writable()
    assert pair.written(SERVER) == [Pong(9_999)]
    assert pair.written(SERVER) == []


# Life and death.


def test_keepalive() -> None:
    """A ping after 15 s of silence, an answer, and everything is well; without one, death at 45 s."""
    pair = Pair()
    for turn in range(3):
        pair.now = pair.client.deadline
        assert pair.client.deadline_reached(pair.now) == []
        assert pair.settle() == {CLIENT: [], SERVER: []}
        assert pair.sent[CLIENT][-1] == encode(Ping(turn))
        assert pair.sent[SERVER][-1] == encode(Pong(turn))
        assert pair.client.deadline == pair.now + 15.0
    assert pair.client.deadline_reached(pair.now + 14.9) == []
    assert pair.client.frames_to_send() == []
    assert pair.client.deadline_reached(pair.now + 45.0) == [LinkSilent(45.0)]


def test_a_pong_for_no_ping() -> None:
    """It is a breach."""
    assert Pair().breach(CLIENT, Pong(0)) is ErrorCode.SEQUENCE


# GOODBYE.


@pytest.mark.parametrize("role", Role)
def test_goodbye(role: Role) -> None:
    """The peer learns of it, and takes nothing more."""
    pair = Pair()
    assert not pair.side(role).goodbye_sent
    pair.side(role).goodbye("so long")
    assert not pair.side(role).goodbye_sent
    assert pair.pass_on(role) == [SessionClosed("so long")]
    assert pair.side(role).goodbye_sent
    for message in (Ping(0), Goodbye(text="")):
        assert pair.breach(role.peer, message) is ErrorCode.UNEXPECTED_MESSAGE


def test_goodbyes_cross() -> None:
    """Both may leave at once."""
    pair = Pair()
    pair.client.goodbye("")
    pair.server.goodbye("")
    assert pair.settle() == {CLIENT: [], SERVER: []}


def test_nothing_follows_a_goodbye() -> None:
    """No credit, acknowledgement, ping, pong or control message is written behind it; what was said before it is."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, bytes(WINDOW))
    for _ in range(ACKNOWLEDGE_EVERY):
        pair.client.send_signal(channel, "INT")
    pair.pass_on(CLIENT)
    pair.hear(SERVER, Ping(0))
    pair.server.send_data(channel, STDOUT, b"last words")
    pair.server.consumed(channel, STDIN, WINDOW)
    pair.server.goodbye("")
    assert pair.server.room(channel, STDOUT) == 0
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    pair.server.goodbye("again")
    pair.server.deadline_reached(SMALL.keepalive_interval)
    assert pair.written(SERVER) == [Data(channel, STDOUT, 0, b"last words"), Goodbye(text="")]
    assert pair.hear(SERVER, Data(channel, STDIN, WINDOW, b"x")) == []
    assert pair.written(SERVER) == []


def test_a_goodbye_waits_for_what_waits() -> None:
    """A side that leaves while its messages wait for an acknowledgement has said all of them before it is gone."""
    pair, channel = blocked_pair()
    pair.client.end_stream(channel, STDIN)
    pair.client.goodbye("")
    pair.flush(CLIENT)
    assert not pair.client.goodbye_sent
    events = pair.settle()
    assert events[SERVER][-2:] == [StreamEnded(channel, STDIN), SessionClosed("")]
    assert events[CLIENT] == []
    assert pair.client.goodbye_sent


def test_a_goodbye_that_cannot_travel() -> None:
    """Its text is too long: nobody has left."""
    pair = Pair()
    with pytest.raises(LocalProtocolError):
        pair.client.goodbye("x" * 5000)
    assert not pair.client.goodbye_sent
    pair.open()
