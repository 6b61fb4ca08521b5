"""The upkeep of a session: frames, acknowledgements, the link's buffer, keepalive and GOODBYE."""

from __future__ import annotations

import pytest

from tests.core.pair import SMALL, TRUE, Pair
from twisted_rsh.core.codec import encode, encode_control
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import LinkSilent, RoomGained, SessionClosed, StreamEnded
from twisted_rsh.core.limits import ACKNOWLEDGE_EVERY, MAX_UNACKNOWLEDGED
from twisted_rsh.core.messages import MESSAGES, Ack, Close, Credit, Data, End, Exit, Goodbye, Part, Ping, Pong, Signal
from twisted_rsh.core.roles import Phase, Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream
WINDOW = SMALL.window
ROOM = RoomGained(None, None)


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
    """An acknowledgement of one message more than was sent is a breach."""
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
    assert pair.written(CLIENT)[-2:] == [End(channel, STDIN, 0), Credit(channel, STDOUT, 2 * WINDOW, WINDOW)]


def test_a_partial_acknowledgement_brings_no_room() -> None:
    """There is no room for data while some control messages still wait."""
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
    """Messages that wait arrive when the wire is used again."""
    pair, channel = blocked_pair()
    pair.client.end_stream(channel, STDIN)
    events = pair.settle()
    assert events[SERVER][-1] == StreamEnded(channel, STDIN)
    assert not pair.client._outbox.blocked
    assert len(pair.client._outbox.log) < ACKNOWLEDGE_EVERY


# The link's buffer.


def test_a_full_link() -> None:
    """While the link is full there is no room, and no credit, acknowledgement, ping or pong; afterwards there are."""
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
    assert pair.written(SERVER) == [Pong(5), Ack(ACKNOWLEDGE_EVERY + 1)]


def test_credit_waits_for_the_link() -> None:
    """Bytes consumed while the link was full are credited afterwards."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, bytes(WINDOW))
    pair.pass_on(CLIENT)
    pair.server.link_full()
    pair.server.consumed(channel, STDIN, WINDOW)
    assert pair.server.frames_to_send() == []
    pair.server.link_writable()
    assert pair.written(SERVER) == [Credit(channel, STDIN, 2 * WINDOW, WINDOW)]


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
    """A ping goes out after 15 s of silence, and an answer restarts the count; without one, the link dies at 45 s."""
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
    """A pong for no ping is a breach."""
    assert Pair().breach(CLIENT, Pong(0)) is ErrorCode.SEQUENCE


# GOODBYE.


@pytest.mark.parametrize("role", Role)
def test_goodbye(role: Role) -> None:
    """The peer learns of a GOODBYE, and accepts nothing behind it."""
    pair = Pair()
    assert not pair.side(role).goodbye_sent
    pair.side(role).goodbye("so long")
    assert not pair.side(role).goodbye_sent
    assert pair.pass_on(role) == [SessionClosed("so long")]
    assert pair.side(role).goodbye_sent
    for message in (Ping(0), Goodbye(text="")):
        assert pair.breach(role.peer, message) is ErrorCode.UNEXPECTED_MESSAGE


def test_goodbyes_cross() -> None:
    """Both sides may send GOODBYE at once."""
    pair = Pair()
    pair.client.goodbye("")
    pair.server.goodbye("")
    assert pair.settle() == {CLIENT: [], SERVER: []}


def test_nothing_follows_a_goodbye() -> None:
    """No credit, acknowledgement, ping, pong or control message is written behind GOODBYE; earlier messages are."""
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
    """GOODBYE goes out behind the messages that wait for an acknowledgement, all of which go out before."""
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
    """A GOODBYE whose text is too long does not end the session."""
    pair = Pair()
    with pytest.raises(LocalProtocolError):
        pair.client.goodbye("x" * 5000)
    assert not pair.client.goodbye_sent
    pair.open()
