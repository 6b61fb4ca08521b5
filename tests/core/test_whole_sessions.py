"""Whole sessions: two cores on one wire, and the messages that cross on it."""

from __future__ import annotations

import hashlib
import itertools
import random

import pytest

from tests.core.pair import TRUE, Pair
from twisted_rsh.core.endings import Exited, JobEnd, OutcomeUnknown, Signalled
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelFreed,
    DataReceived,
    JobEnded,
    StreamEnded,
    StreamStopped,
)
from twisted_rsh.core.limits import MAX_UNACKNOWLEDGED, SessionLimits
from twisted_rsh.core.roles import OUTPUTS, Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream


def nothing_left(pair: Pair) -> bool:
    """Tell whether both sides have forgotten every channel."""
    return pair.client._channels == pair.server._channels == {}


def test_output_after_the_end_of_input() -> None:
    """H-08: standard error still comes after the ends of input and standard output."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, b"in")
    pair.client.end_stream(channel, STDIN)
    assert pair.settle()[SERVER] == [DataReceived(channel, STDIN, b"in"), StreamEnded(channel, STDIN)]
    pair.server.send_data(channel, STDOUT, b"out")
    pair.server.end_stream(channel, STDOUT)
    pair.server.send_data(channel, STDERR, b"err")
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    assert pair.settle()[CLIENT] == [
        DataReceived(channel, STDOUT, b"out"),
        StreamEnded(channel, STDOUT),
        DataReceived(channel, STDERR, b"err"),
        JobEnded(channel, JobEnd(Exited(0)), 3, 3),
    ]
    assert nothing_left(pair)


def test_binary_fidelity() -> None:
    """H-12: a megabyte of random bytes each way, in pieces of random sizes, arrives as it was."""
    dice = random.Random(12)
    pair = Pair(SessionLimits(window=65536))
    channel = pair.open()
    data = dice.randbytes(1_000_000)
    sent = dict.fromkeys((STDIN, STDOUT), 0)
    got = {stream: hashlib.sha256() for stream in sent}
    while min(sent.values()) < len(data):
        for stream in sent:
            side = pair.side(stream.sender)
            size = min(dice.randrange(1, 50_000), side.room(channel, stream))
            piece = data[sent[stream] : sent[stream] + size]
            side.send_data(channel, stream, piece)
            sent[stream] += len(piece)
        for role, events in pair.settle().items():
            for event in events:
                if isinstance(event, DataReceived):
                    got[event.stream].update(event.data)
                    pair.side(role).consumed(channel, event.stream, len(event.data))
    assert {stream: digest.digest() for stream, digest in got.items()} == dict.fromkeys(
        sent, hashlib.sha256(data).digest()
    )


def test_a_slow_channel_beside_a_fast_one() -> None:
    """H-05: an unread stream holds up no other, on the same channel or another."""
    pair = Pair()
    slow, fast = pair.open(), pair.open()
    pair.server.send_data(slow, STDOUT, bytes(pair.server.room(slow, STDOUT)))
    pair.settle()
    for _ in range(50):
        for channel, stream in ((fast, STDOUT), (slow, STDERR)):
            size = pair.server.room(channel, stream)
            assert size
            pair.server.send_data(channel, stream, bytes(size))
            pair.settle()
            pair.client.consumed(channel, stream, size)
            pair.settle()
    assert pair.server.room(slow, STDOUT) == 0


def test_close_crosses_exit() -> None:
    """When CLOSE and EXIT cross, the client has its ending, and both sides free the channel."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, b"abc")
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    pair.client.close(channel)
    pair.flush(SERVER)
    pair.flush(CLIENT)
    assert pair.deliver(SERVER) == [ChannelFreed(channel)]
    assert pair.deliver(CLIENT) == [JobEnded(channel, JobEnd(Exited(0)), 3, 0)]
    assert pair.settle() == {CLIENT: [], SERVER: []}
    assert nothing_left(pair)


def test_everything_crosses_exit() -> None:
    """Messages that a client sends before it sees EXIT arrive at an ended channel, and change nothing."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, bytes(2000))
    pair.settle()
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    pair.client.send_data(channel, STDIN, b"abc")
    pair.client.send_signal(channel, "INT")
    pair.client.consumed(channel, STDOUT, 2000)
    pair.flush(CLIENT)
    pair.client.stop_stream(channel, STDOUT)
    pair.client.end_stream(channel, STDIN)
    events = pair.settle()
    assert events == {CLIENT: [JobEnded(channel, JobEnd(Exited(0)), 2000, 0)], SERVER: [ChannelFreed(channel)]}
    assert nothing_left(pair)


def test_everything_crosses_close() -> None:
    """Messages that a server sends before it sees CLOSE are dropped and counted, and EXIT follows."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_data(channel, STDIN, bytes(2000))
    pair.settle()
    pair.client.close(channel)
    pair.server.send_data(channel, STDOUT, b"abc")
    pair.server.consumed(channel, STDIN, 2000)
    pair.server.stop_stream(channel, STDIN)
    pair.server.end_stream(channel, STDOUT)
    events = pair.settle()
    assert events == {CLIENT: [], SERVER: [ChannelAbandoned(channel)]}
    pair.server.report_exit(channel, JobEnd(Signalled("HUP")))
    assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(Signalled("HUP")), 3, 0)]
    assert nothing_left(pair)


@pytest.mark.parametrize("stream", Stream)
def test_stop_crosses_data_and_end(stream: Stream) -> None:
    """The rest of a stopped stream is dropped; its sender learns of the STOP only if it had not ended the stream."""
    for ended in (False, True):
        pair = Pair()
        channel = pair.open()
        sender = stream.sender
        pair.side(sender).send_data(channel, stream, b"abc")
        if ended:
            pair.side(sender).end_stream(channel, stream)
        pair.side(sender.peer).stop_stream(channel, stream)
        pair.flush(sender)
        events = pair.settle()
        assert events[sender.peer] == []
        assert events[sender] == ([] if ended else [StreamStopped(channel, stream)])


def test_credit_never_follows_close() -> None:
    """Credit that is due when a channel is closed is not sent; that of other channels is."""
    pair = Pair()
    closed, other = pair.open(), pair.open()
    for channel in (closed, other):
        pair.server.send_data(channel, STDOUT, bytes(4096))
    pair.settle()
    for channel in (closed, other):
        pair.client.consumed(channel, STDOUT, 4096)
    pair.client.close(closed)
    pair.settle()
    assert pair.server.room(closed, STDOUT) == 0
    assert pair.server.room(other, STDOUT) == 4096


def test_a_channel_whose_opening_waits() -> None:
    """An OPEN that waits for an acknowledgement holds back its channel's data, and CLOSE waits behind it."""
    pair = Pair(SessionLimits(window=4096, max_channels=64))
    channels = [pair.client.open(TRUE) for _ in range(MAX_UNACKNOWLEDGED + 2)]
    assert pair.client.room(channels[-1], STDIN) == 0
    pair.client.close(channels[-1])
    events = pair.settle()
    assert pair.client.room(channels[0], STDIN) == 4096
    assert len(pair.client._channels) == 64
    ended = {event.channel for event in events[CLIENT] if isinstance(event, JobEnded)}
    assert ended == set(channels[64:])


def test_the_last_words_of_a_server_that_stops() -> None:
    """All endings and the GOODBYE of a server that stops arrive, even if they are more than may be under way."""
    pair = Pair(SessionLimits(window=4096, max_channels=64))
    channels = [pair.open() for _ in range(64)]
    for channel in channels:
        for stream in OUTPUTS:
            pair.server.end_stream(channel, stream)
        pair.server.report_exit(channel, JobEnd(OutcomeUnknown("the server is stopping")))
    pair.server.goodbye("stopping")
    assert pair.server._outbox.blocked
    events = pair.settle()
    assert [event.channel for event in events[CLIENT] if isinstance(event, JobEnded)] == channels
    assert pair.server.goodbye_sent


def test_any_order_of_delivery() -> None:
    """Frames of the two directions may arrive in any interleaving: the outcome is the same."""
    outcomes = []
    for order in itertools.product(Role, repeat=6):
        pair = Pair()
        channel = pair.client.open(TRUE)
        pair.pass_on(CLIENT)
        pair.client.send_data(channel, STDIN, b"abc")
        pair.client.send_signal(channel, "INT")
        pair.client.end_stream(channel, STDIN)
        pair.server.accept(channel, "utf-8")
        pair.server.send_data(channel, STDOUT, b"xyz")
        pair.server.report_exit(channel, JobEnd(Exited(0)))
        pair.flush(CLIENT)
        pair.flush(SERVER)
        ended = [event for role in order for event in pair.deliver(role, 1) if isinstance(event, JobEnded)]
        ended += [event for event in pair.settle()[CLIENT] if isinstance(event, JobEnded)]
        outcomes.append(ended)
        assert nothing_left(pair)
    assert outcomes == [[JobEnded(1, JobEnd(Exited(0)), 3, 0)]] * 64
