"""Sizes of a terminal: the last one counts, and a flood of them fills no queue."""

from __future__ import annotations

import pytest

from tests.core.pair import TRUE, Pair
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import DataReceived, JobEnded, SessionClosed, TerminalResized
from twisted_rsh.core.limits import (
    ACKNOWLEDGE_EVERY,
    MAX_CHANNEL_ID,
    MAX_TERMINAL_SIZE,
    MAX_UNACKNOWLEDGED,
)
from twisted_rsh.core.messages import Ack, Close, Exit, Goodbye, Open, Resize
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STORM = 100_000


def test_a_size_arrives() -> None:
    """A size arrives as it was given, and once."""
    pair = Pair()
    channel = pair.open()
    pair.client.resize(channel, 132, 43)
    assert pair.settle() == {SERVER: [TerminalResized(channel, 132, 43)], CLIENT: []}
    assert pair.settle()[SERVER] == []


def test_a_size_before_the_answer() -> None:
    """A size follows the request, and need not wait for OPENED."""
    pair = Pair()
    channel = pair.client.open(TRUE)
    pair.client.resize(channel, 132, 43)
    assert pair.written(CLIENT) == [Open(channel=1, request=JobRequest(command="true")), Resize(1, 132, 43)]


@pytest.mark.parametrize(
    ("columns", "rows"),
    [(0, 24), (80, 0), (-1, 24), (80, -(2**70)), (MAX_TERMINAL_SIZE + 1, 24), (80, MAX_TERMINAL_SIZE + 1), (2**70, 1)],
)
def test_absurd_sizes(columns: int, rows: int) -> None:
    """An impossible size is our own mistake; the last real size is still sent, and the session goes on."""
    pair = Pair()
    channel = pair.open()
    pair.client.resize(channel, MAX_TERMINAL_SIZE, 1)
    with pytest.raises(LocalProtocolError) as error:
        pair.client.resize(channel, columns, rows)
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    assert pair.settle()[SERVER] == [TerminalResized(channel, MAX_TERMINAL_SIZE, 1)]


@pytest.mark.parametrize("channel", [2, MAX_CHANNEL_ID])
def test_a_channel_that_does_not_exist(channel: int) -> None:
    """A size for a channel that does not exist is our own mistake, and is not kept."""
    pair = Pair()
    pair.open()
    with pytest.raises(LocalProtocolError) as error:
        pair.client.resize(channel, 80, 24)
    assert error.value.code is ErrorCode.CHANNEL_STATE
    assert pair.client._latest == {}


@pytest.mark.exhaustive
def test_a_storm() -> None:
    """C-10: each of 10^5 sizes that the link takes is sent once, in order, within the bound of messages under way."""
    pair = Pair()
    channel = pair.open()
    arrived = []
    for turn in range(STORM):
        pair.client.resize(channel, 1 + turn % MAX_TERMINAL_SIZE, 24)
        pair.flush(CLIENT)
        if turn % 7 == 0:
            arrived += pair.settle()[SERVER]
        assert len(pair.client._outbox.log) <= MAX_UNACKNOWLEDGED
    arrived += pair.settle()[SERVER]
    assert arrived == [TerminalResized(channel, 1 + turn % MAX_TERMINAL_SIZE, 24) for turn in range(STORM)]


def test_a_storm_without_acknowledgements() -> None:
    """C-10: of 10^5 sizes as many go out as may be under way, one waits behind them, and the last is kept."""
    pair = Pair()
    channel = pair.open()
    before = pair.client._outbox._next - len(pair.client._outbox.log)
    for turn in range(STORM):
        pair.client.resize(channel, 1 + turn % 1000, 1 + turn // 1000)
        pair.flush(CLIENT)
    assert len(pair.wires[SERVER]) <= MAX_UNACKNOWLEDGED
    assert pair.client._outbox.waiting == 1
    assert pair.client._outbox._next - before == MAX_UNACKNOWLEDGED + 1
    assert pair.client._latest == {channel: (1000, 100)}
    events = pair.settle()[SERVER]
    assert len(events) <= MAX_UNACKNOWLEDGED + 1
    assert events[-1] == TerminalResized(channel, 1000, 100)


def test_a_storm_into_a_full_link() -> None:
    """C-10: while the link is full only the last size of each channel is kept, and it goes out afterwards."""
    pair = Pair()
    channels = [pair.open(), pair.open()]
    pair.client.link_full()
    for turn in range(STORM):
        pair.client.resize(channels[turn % 2], 1 + turn % 1000, 24)
        assert pair.client.frames_to_send() == []
    assert pair.client._latest == {channels[0]: (999, 24), channels[1]: (1000, 24)}
    pair.client.link_writable()
    expected = [TerminalResized(channels[0], 999, 24), TerminalResized(channels[1], 1000, 24)]
    assert sorted(pair.settle()[SERVER], key=repr) == expected


def test_a_size_does_not_hold_up_what_comes_after_it() -> None:
    """A size waits for an acknowledgement with all other messages, and the data of its channel follows."""
    pair = Pair()
    channel = pair.open()
    for turn in range(MAX_UNACKNOWLEDGED + 5):
        pair.client.resize(channel, 80 + turn, 24)
        pair.flush(CLIENT)
    assert pair.client.room(channel, Stream.STDIN) == 0
    events = pair.settle()
    assert events[SERVER][-1] == TerminalResized(channel, 80 + MAX_UNACKNOWLEDGED + 4, 24)
    pair.client.send_data(channel, Stream.STDIN, b"x")
    assert pair.settle()[SERVER] == [DataReceived(channel, Stream.STDIN, b"x")]


def test_a_size_kept_for_a_job_that_ends() -> None:
    """A kept size is forgotten when its job ends, and never follows CLOSE."""
    pair = Pair()
    channel = pair.open()
    pair.client.link_full()
    pair.client.resize(channel, 132, 43)
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    assert pair.pass_on(SERVER) == [JobEnded(channel, JobEnd(Exited(0)), 0, 0)]
    assert pair.client._latest == {}
    with pytest.raises(LocalProtocolError):
        pair.client.resize(channel, 132, 43)
    pair.client.link_writable()
    assert pair.written(CLIENT) == [Close(channel)]


def test_a_size_kept_for_a_channel_that_is_closed() -> None:
    """A kept size is forgotten when the client closes its channel."""
    pair = Pair()
    channel = pair.open()
    pair.client.resize(channel, 132, 43)
    pair.client.close(channel)
    assert pair.client._latest == {}
    with pytest.raises(LocalProtocolError) as error:
        pair.client.resize(channel, 80, 24)
    assert error.value.code is ErrorCode.CHANNEL_STATE
    assert pair.written(CLIENT) == [Close(channel)]


def test_sizes_of_channels_that_come_and_go_do_not_pile_up() -> None:
    """Jobs that end while the link is full leave no sizes behind."""
    pair = Pair()
    pair.client.link_full()
    for _ in range(MAX_UNACKNOWLEDGED):
        channel = pair.client.open(TRUE)
        pair.client.resize(channel, 132, 43)
        pair.hear(CLIENT, Exit(channel=channel, ending=Exited(0), stdout=0, stderr=0, held_open=False))
    assert pair.client._latest == {}


def test_a_size_that_crosses_the_ending() -> None:
    """A size that crosses EXIT or CLOSE causes no event and no breach."""
    pair = Pair()
    channel = pair.open()
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    pair.client.resize(channel, 132, 43)
    assert pair.pass_on(CLIENT) == []
    assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(Exited(0)), 0, 0)]
    assert pair.breach(SERVER, Resize(channel, 80, 24)) is ErrorCode.CHANNEL_STATE


def test_a_size_after_goodbye() -> None:
    """No size is sent or kept after GOODBYE."""
    pair = Pair()
    channel = pair.open()
    pair.client.goodbye("")
    pair.client.resize(channel, 132, 43)
    assert pair.written(CLIENT) == [Goodbye(text="")]
    assert pair.client._latest == {}
    assert pair.client.goodbye_sent


def test_a_size_before_a_goodbye_that_waits() -> None:
    """GOODBYE waits only for messages that were sent before it, not for a kept size."""
    pair = Pair()
    channel = pair.open()
    for turn in range(MAX_UNACKNOWLEDGED + 5):
        pair.client.resize(channel, 80 + turn, 24)
        pair.flush(CLIENT)
    pair.client.goodbye("done")
    events = pair.settle()[SERVER]
    assert events[-1] == SessionClosed("done")
    assert len(events) <= MAX_UNACKNOWLEDGED + 2
    assert pair.client.goodbye_sent
    assert pair.client._latest == {}


def test_sizes_are_acknowledged_like_anything() -> None:
    """Sizes count as control messages."""
    pair = Pair()
    channel = pair.open()
    taken = pair.server._inbox.received
    for turn in range(ACKNOWLEDGE_EVERY - taken):
        assert pair.written(SERVER) == []
        assert pair.hear(SERVER, Resize(channel, 80 + turn, 24)) == [TerminalResized(channel, 80 + turn, 24)]
    assert pair.written(SERVER) == [Ack(ACKNOWLEDGE_EVERY)]
