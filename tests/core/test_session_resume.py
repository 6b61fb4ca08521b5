"""A session loses its link and goes on over another."""

from __future__ import annotations

import pytest

from tests.core.pair import SMALL, TRUE, Pair
from twisted_rsh.core.channel import ChannelState
from twisted_rsh.core.codec import Decoder, encode
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelFreed,
    ChannelRequested,
    DataReceived,
    JobEnded,
    LinkSilent,
    RoomGained,
    SessionClosed,
    SignalReceived,
    StreamEnded,
    TerminalResized,
)
from twisted_rsh.core.limits import MAX_UNACKNOWLEDGED, REPLAY_BYTES, SessionLimits
from twisted_rsh.core.messages import Data, End, Exit, Ping, Pong, Positions
from twisted_rsh.core.roles import Phase, Role, Stream
from twisted_rsh.core.session import Session

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream
ROOM = RoomGained(None, None)


def lose(pair: Pair) -> None:
    """Let the link die, with all frames on it."""
    for role in Role:
        pair.wires[role].clear()
        pair.side(role).link_lost()


def resume(pair: Pair) -> None:
    """Let both sides go on over another link."""
    here, there = pair.client.positions(), pair.server.positions()
    assert pair.server.resume(here, pair.now) == [ROOM]
    assert pair.client.resume(there, pair.now) == [ROOM]


def lose_and_resume(pair: Pair) -> None:
    """Let the link die, and both sides go on over another."""
    lose(pair)
    resume(pair)


def test_nothing_is_written_without_a_link() -> None:
    """Without a link every call but that for data is allowed; a resume sends all messages, once and in order."""
    pair = Pair()
    channel = pair.open()
    lose(pair)
    assert pair.client.room(channel, STDIN) == 0
    with pytest.raises(LocalProtocolError):
        pair.client.send_data(channel, STDIN, b"x")
    pair.client.send_signal(channel, "INT")
    pair.client.resize(channel, 100, 40)
    pair.client.resize(channel, 101, 41)
    pair.client.end_stream(channel, STDIN)
    assert pair.client.frames_to_send() == pair.server.frames_to_send() == []
    resume(pair)
    events = pair.settle()[SERVER]
    assert [event for event in events if event != ROOM] == [
        SignalReceived(channel, "INT"),
        StreamEnded(channel, STDIN),
        TerminalResized(channel, 101, 41),
    ]


def test_what_was_lost_is_repeated() -> None:
    """A resume repeats only what had not arrived, even where the arrival was never acknowledged."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, b"abc")
    pair.pass_on(CLIENT)
    pair.client.send_data(channel, STDIN, b"def")
    pair.client.end_stream(channel, STDIN)
    pair.flush(CLIENT)
    assert pair.deliver(SERVER, 1) == [DataReceived(channel, STDIN, b"def")]
    pair.server.send_data(channel, STDOUT, b"xyz")
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    pair.flush(SERVER)
    lose_and_resume(pair)
    events = pair.settle()
    assert events[SERVER] == [ChannelFreed(channel)]  # the job has ended, so the end of its input is no event
    assert events[CLIENT] == [DataReceived(channel, STDOUT, b"xyz"), JobEnded(channel, JobEnd(Exited(0)), 3, 0)]
    assert pair.client._channels == pair.server._channels == {}


def test_a_piece_is_cut_where_the_peer_has_it() -> None:
    """A piece of which the peer has a part is repeated from there on."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, b"abcdef")
    lose(pair)
    pair.server.resume(Positions(pair.client._inbox.received, ((channel, (2, 0)),)), 0.0)
    assert pair.server.replaying
    assert pair.written(SERVER) == [Data(channel, STDOUT, 2, b"cdef")]
    assert not pair.server.replaying


def test_the_order_of_what_is_repeated() -> None:
    """Frames are repeated in their original order: an end behind its data, with another channel's data between."""
    pair = Pair()
    first, second = pair.open(), pair.open()
    for channel in (first, second):
        pair.server.send_data(channel, STDOUT, b"a")
    pair.server.end_stream(first, STDOUT)
    pair.server.send_data(second, STDERR, b"b")
    pair.server.end_stream(second, STDOUT)
    said = pair.written(SERVER)
    lose_and_resume(pair)
    assert pair.written(SERVER) == said


def test_two_losses_in_a_row() -> None:
    """Frames that are being repeated when the link is lost again are repeated again."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, b"abc")
    pair.server.send_data(channel, STDERR, b"def")
    for _ in range(3):
        pair.flush(SERVER)
        lose_and_resume(pair)
    pair.flush(SERVER)
    assert pair.deliver(CLIENT, 1) == [DataReceived(channel, STDOUT, b"abc")]
    lose_and_resume(pair)
    assert pair.settle()[CLIENT] == [DataReceived(channel, STDERR, b"def")]


def test_credit_that_was_lost() -> None:
    """H-03: a lost credit is announced again, also where less than a quarter of the window was consumed since."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, bytes(4096))
    pair.settle()
    pair.client.consumed(channel, STDOUT, 4096)
    pair.flush(CLIENT)
    lose_and_resume(pair)
    assert pair.server.room(channel, STDOUT) == 0
    pair.settle()
    assert pair.server.room(channel, STDOUT) == 4096


def test_a_job_goes_on_without_a_link() -> None:
    """M-07: without a link a job goes on until its output has used up the credit; then it waits, and loses none."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, bytes(4000))
    pair.server.link_full()
    assert pair.server.room(channel, STDOUT) == 0
    lose(pair)
    assert pair.server.room(channel, STDOUT) == 96
    pair.server.send_data(channel, STDOUT, bytes(96))
    assert pair.server.room(channel, STDOUT) == 0
    with pytest.raises(LocalProtocolError):
        pair.server.send_data(channel, STDOUT, b"one more")
    resume(pair)
    assert pair.server.room(channel, STDOUT) == 0
    pair.settle()
    pair.client.consumed(channel, STDOUT, 4096)
    pair.settle()
    assert pair.server.room(channel, STDOUT) == 4096


def test_an_ending_without_a_link() -> None:
    """M-06: when there is a link again, the output comes first, then the ending."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, b"last")
    lose(pair)
    pair.server.end_stream(channel, STDOUT)
    pair.server.report_exit(channel, JobEnd(Exited(7)))
    resume(pair)
    assert pair.settle()[CLIENT] == [
        DataReceived(channel, STDOUT, b"last"),
        StreamEnded(channel, STDOUT),
        JobEnded(channel, JobEnd(Exited(7)), 4, 0),
    ]


def test_opening_and_closing_without_a_link() -> None:
    """A job that is opened, and a channel that is closed, without a link are opened and closed by the resume."""
    pair = Pair()
    channel = pair.open()
    lose(pair)
    other = pair.client.open(TRUE)
    pair.client.close(channel)
    resume(pair)
    assert pair.settle()[SERVER] == [ChannelRequested(other, TRUE), ChannelAbandoned(channel)]


def test_the_output_of_an_abandoned_job() -> None:
    """A resume may leave out the output of an abandoned job: gaps, its end and its totals are no breach."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, b"abc")
    pair.settle()
    pair.client.close(channel)
    assert pair.hear(CLIENT, Data(channel, STDOUT, 10, b"x")) == []
    assert pair.hear(CLIENT, Data(channel, STDOUT, 0, b"x")) == []
    assert pair.hear(CLIENT, End(channel, STDOUT, 99)) == []
    assert pair.breach(CLIENT, Data(channel, STDOUT, 4096, b"x")) is ErrorCode.FLOW_CONTROL
    exit_ = Exit(channel=channel, ending=Exited(0), stdout=11, stderr=5, held_open=False)
    assert pair.hear(CLIENT, exit_) == [JobEnded(channel, JobEnd(Exited(0)), 11, 5)]


def test_the_input_of_a_job_that_ended() -> None:
    """A server ignores the input of a job that ended, up to its credit."""
    pair = Pair()
    channel = pair.open()
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    assert pair.hear(SERVER, Data(channel, STDIN, 100, b"x")) == []
    assert pair.hear(SERVER, End(channel, STDIN, 7)) == []
    assert pair.breach(SERVER, Data(channel, STDIN, 4096, b"x")) is ErrorCode.FLOW_CONTROL


def test_what_is_listed() -> None:
    """A client lists channels whose jobs run, a server also those not yet answered, and neither those that are over."""
    pair = Pair(SessionLimits(window=4096, max_channels=9))
    asked, runs, ended, closed = (pair.open(accept=False) for _ in range(4))
    for channel in (runs, ended, closed):
        pair.server.accept(channel, "utf-8")
    pair.settle()
    pair.client.send_data(runs, STDIN, b"abc")
    pair.server.send_data(runs, STDERR, b"de")
    pair.settle()
    pair.client.close(closed)
    pair.server.report_exit(ended, JobEnd(Exited(0)))
    assert pair.client.positions() == Positions(3, ((runs, (0, 2)), (ended, (0, 0))))
    assert pair.server.positions() == Positions(4, ((asked, (0,)), (runs, (3,)), (closed, (0,))))
    pair.server.check_positions(pair.client.positions())
    pair.client.check_positions(pair.server.positions())


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("streams", "code"),
    [
        (((1, "below"),), ErrorCode.FLOW_CONTROL),
        (((1, "above"),), ErrorCode.FLOW_CONTROL),
        (((1, "highest"),), ErrorCode.FLOW_CONTROL),
        (((1, "narrow"),), ErrorCode.CHANNEL_STATE),
        (((9, "right"),), ErrorCode.CHANNEL_STATE),
    ],
)
def test_impossible_positions(role: Role, streams: tuple[tuple[int, str], ...], code: ErrorCode) -> None:
    """M-13: an offset below the acknowledged or above the sent, or a channel that cannot be, is refused and changes
    nothing."""
    pair = Pair()
    channel = pair.open()
    stream = STDIN if role is CLIENT else STDOUT
    pair.side(role).send_data(channel, stream, bytes(2000))
    pair.settle()
    pair.side(role.peer).consumed(channel, stream, 2000)
    pair.settle()
    rest = () if role is CLIENT else (0,)
    offset = {"below": 1999, "above": 2001, "highest": 2**63 - 1}.get(streams[0][1], 2000)
    offsets = () if streams[0][1] == "narrow" else (offset, *rest)
    true = pair.side(role.peer).positions()
    for call in (pair.side(role).check_positions, lambda said: pair.side(role).resume(said, 0.0)):
        with pytest.raises(RemoteProtocolError) as error:
            call(Positions(true.controls, ((streams[0][0], offsets),)))
        assert error.value.code is code
    assert pair.side(role).room(channel, stream) == 4096
    pair.side(role).check_positions(true)


@pytest.mark.parametrize("state", [ChannelState.REQUESTED, ChannelState.ABANDONED])
def test_a_client_cannot_list_what_it_has_not(state: ChannelState) -> None:
    """M-13: a server knows on which channels a client may receive; a client must accept any channel."""
    pair = Pair()
    channel = pair.open(accept=False)
    said = Positions(0, ((channel, (0, 0)),))
    if state is ChannelState.ABANDONED:
        pair.server.accept(channel, "utf-8")
        pair.settle()
        pair.client.close(channel)
        pair.settle()
        said = Positions(1, said.streams)
    with pytest.raises(RemoteProtocolError) as error:
        pair.server.check_positions(said)
    assert error.value.code is ErrorCode.CHANNEL_STATE
    pair.client.check_positions(pair.server.positions())


def test_what_waits_goes_with_the_resume() -> None:
    """Positions acknowledge: control messages that waited follow those that are repeated."""
    pair = Pair()
    channel = pair.open()
    pair.settle()
    count = 0
    while not pair.server._outbox.blocked:
        pair.server._send_control(End(channel, STDOUT, 0))
        count += 1
    lose(pair)
    said = pair.client.positions()
    pair.server.resume(said, 0.0)
    assert len(pair.server.frames_to_send()) == MAX_UNACKNOWLEDGED
    assert count + 1 == MAX_UNACKNOWLEDGED + 1


def replaying(pair: Pair) -> bool:
    """Tell whether the server has more to repeat at once."""
    return pair.server.replaying


def test_much_is_repeated_in_turns() -> None:
    """A resume repeats a bounded number of bytes in one go, none while the link is full, and nothing new overtakes
    them."""
    window = 4 * REPLAY_BYTES
    pair = Pair(SessionLimits(window=window, max_channels=2))
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, bytes(window))
    lose_and_resume(pair)
    pair.server.end_stream(channel, STDOUT)
    pair.server.link_full()
    assert not replaying(pair)
    assert pair.server.frames_to_send() == []
    pair.server.link_writable()
    sizes: list[int] = []
    while replaying(pair):
        sizes.append(sum(map(len, pair.server.frames_to_send())))
    assert all(REPLAY_BYTES <= size < 2 * REPLAY_BYTES for size in sizes[:-1])
    assert pair.written(SERVER) == [End(channel, STDOUT, window)]
    assert window <= sum(sizes) < window + REPLAY_BYTES


def test_nothing_of_an_old_link() -> None:
    """A resume carries over no pong for the old link's ping, no token of its pings, and no credit that was due."""
    pair = Pair()
    pair.server.deadline_reached(15.0)
    pair.pass_on(SERVER)
    lose_and_resume(pair)
    assert pair.written(CLIENT) == []
    with pytest.raises(RemoteProtocolError):
        pair.hear(SERVER, Pong(0))
    pair.now = 15.0
    pair.server.deadline_reached(15.0)
    assert pair.written(SERVER) == [Ping(0)]


def test_time_without_a_link() -> None:
    """M-22: without a link no ping goes out and no silence counts; the new link has all of its time."""
    pair = Pair()
    lose(pair)
    assert pair.server.deadline_reached(3600.0) == []
    assert pair.server.frames_to_send() == []
    pair.now = 3600.0
    resume(pair)
    assert pair.server.deadline == 3615.0
    assert pair.server.deadline_reached(3644.9) == []
    assert pair.server.deadline_reached(3645.0) == [LinkSilent(45.0)]


def test_an_answer_that_is_expected() -> None:
    """A client that waits for an answer gives the link up sooner, unless the peer sends anything."""
    pair = Pair()
    pair.client.answer_expected(5.0, 10.0, 0.0)
    assert pair.client.deadline == 5.0
    assert pair.client.deadline_reached(5.0) == []
    assert pair.written(CLIENT) == [Ping(0)]
    assert pair.client.deadline_reached(10.0) == [LinkSilent(10.0)]
    pair.now = 11.0
    pair.hear(CLIENT, Pong(0))
    assert pair.client.deadline_reached(21.0) == []
    assert pair.client.deadline == 26.0


@pytest.mark.parametrize("role", Role)
def test_a_goodbye_without_a_link(role: Role) -> None:
    """A GOODBYE without a link goes out with the resume, behind all messages before it."""
    pair = Pair()
    channel = pair.open()
    lose(pair)
    if role is CLIENT:
        pair.client.send_signal(channel, "INT")
    pair.side(role).goodbye("bye")
    resume(pair)
    assert not pair.side(role).goodbye_sent
    events = pair.settle()[role.peer]
    assert [event for event in events if event != ROOM][-1] == SessionClosed("bye")
    assert pair.side(role).goodbye_sent


def test_a_message_in_parts_goes_on() -> None:
    """Of a message that the loss of the link cut, only the missing parts are repeated."""
    pair = Pair(SMALL)
    request = type(TRUE)(command="x" * 100_000)
    pair.client.open(request)
    pair.flush(CLIENT)
    assert len(pair.wires[SERVER]) == 4
    pair.deliver(SERVER, 2)
    lose_and_resume(pair)
    assert pair.flush(CLIENT) == 2
    assert pair.deliver(SERVER) == [ChannelRequested(1, request)]


def test_a_resume_in_place_of_a_link() -> None:
    """M-08: a session that still has its link goes on over the new one, and writes waiting frames there, once."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, b"abc")
    pair.client.link_lost()
    there = pair.server.positions()
    pair.server.resume(pair.client.positions(), 0.0)
    pair.client.resume(there, 0.0)
    decoder = Decoder(CLIENT, Phase.SESSION)
    payloads = pair.server.frames_to_send()
    assert payloads == [encode(Data(channel, STDOUT, 0, b"abc"))]
    assert [decoder.decode(payload)[1] for payload in payloads] == [Data(channel, STDOUT, 0, b"abc")]


def test_each_side_says_what_may_be_kept_waiting() -> None:
    """The shared half of a session knows neither the last word on a channel nor the answers that wait."""
    pair = Pair()
    with pytest.raises(NotImplementedError):
        Session._send_latest(pair.server, pair.open(), None)
    with pytest.raises(NotImplementedError):
        Session._send_answer(pair.client, pair.open(), None)


def test_a_link_that_is_gone_takes_nothing() -> None:
    """A link that is gone cannot take bytes again, and makes no room."""
    pair = Pair()
    channel = pair.open()
    lose(pair)
    assert pair.client.link_writable() == []
    assert pair.client.room(channel, STDIN) == 0
