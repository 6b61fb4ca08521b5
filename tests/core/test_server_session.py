"""The server's side of a session."""

from __future__ import annotations

import pytest

from tests.core.pair import SMALL, TRUE, Pair
from twisted_rsh.core.codec import encode_control
from twisted_rsh.core.endings import Exited, JobEnd, OutcomeUnknown, RefusalReason, Refused, Signalled
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import ChannelAbandoned, ChannelOpened, ChannelRequested, JobEnded
from twisted_rsh.core.limits import MAX_ANSWERS, MAX_REFUSED_CHANNELS, MAX_UNACKNOWLEDGED
from twisted_rsh.core.messages import Ack, Close, Credit, Open, Opened
from twisted_rsh.core.roles import Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream


@pytest.mark.parametrize("number", [1, 2, 3])
def test_channel_numbers_only_grow(number: int) -> None:
    """H-13: a number that was used, or lies below one that was, is a breach, whether its channel is free or not."""
    for free in (False, True):
        pair = Pair()
        pair.hear(SERVER, Open(channel=3, command="true"))
        if free:
            pair.server.report_exit(3, JobEnd(Exited(0)))
            pair.hear(SERVER, Close(3))
        assert pair.breach(SERVER, Open(channel=number, command="true")) is ErrorCode.CHANNEL_STATE
        pair.hear(SERVER, Ack(0))
    pair = Pair()
    pair.hear(SERVER, Open(channel=3, command="true"))
    assert pair.hear(SERVER, Open(channel=2**32 - 1, command="true")) == [ChannelRequested(2**32 - 1, TRUE)]


def test_one_job_too_many() -> None:
    """H-09: as many jobs as the session may have are taken, the next is refused, and the session goes on."""
    pair = Pair()
    for _ in range(SMALL.max_channels):
        pair.open()
    channel = pair.client.open(TRUE)
    events = pair.settle()
    assert events[SERVER] == []
    (ended,) = events[CLIENT]
    assert isinstance(ended, JobEnded)
    assert ended.channel == channel
    assert isinstance(ended.end.ending, Refused)
    assert ended.end.ending.reason is RefusalReason.TOO_MANY_CHANNELS
    pair.server.report_exit(1, JobEnd(Exited(0)))
    pair.settle()
    assert isinstance(pair.client.open(TRUE), int)
    assert [type(event) for event in pair.settle()[SERVER]] == [ChannelRequested]


def test_a_job_that_was_given_up_still_counts() -> None:
    """It runs until it ends."""
    pair = Pair()
    for channel in [pair.open() for _ in range(SMALL.max_channels)]:
        pair.client.close(channel)
    pair.client.open(TRUE)
    assert [type(event) for event in pair.settle()[SERVER]] == [ChannelAbandoned] * SMALL.max_channels


def test_refused_channels_left_unclosed() -> None:
    """As many as the bound are taken, the next is a breach."""
    pair = Pair()
    for number in range(1, SMALL.max_channels + MAX_REFUSED_CHANNELS + 1):
        pair.hear(SERVER, Open(channel=number, command="true"))
        pair.server.frames_to_send()  # a client that reads, acknowledges, and does not close
        if number > SMALL.max_channels:
            pair.hear(SERVER, Ack(number - SMALL.max_channels))
    assert pair.breach(SERVER, Open(channel=number + 1, command="true")) is ErrorCode.CHANNEL_STATE


def test_a_client_that_acknowledges_nothing() -> None:
    """H-09: what waits for a client is bounded also when each of its channels is closed at once."""
    pair = Pair()
    bound = MAX_ANSWERS * (SMALL.max_channels + MAX_REFUSED_CHANNELS)
    number = 0
    with pytest.raises(RemoteProtocolError) as error:
        for number in range(1, 10_000):
            pair.hear(SERVER, Open(channel=number, command="true"))
            if number > SMALL.max_channels:
                pair.hear(SERVER, Close(number))
            pair.server.frames_to_send()
    assert error.value.code is ErrorCode.SEQUENCE
    assert pair.server._outbox.waiting == bound + 1
    assert number == SMALL.max_channels + MAX_UNACKNOWLEDGED + bound + 2


def test_a_flood_of_channels() -> None:
    """H-09: 10^5 channels opened and closed; nothing is left of them, and the log never exceeds its bound."""
    pair = Pair()
    for turn in range(100_000):
        channel = pair.client.open(TRUE)
        pair.client.close(channel)
        if turn % 5 == 4:  # 10 messages each way, and no more than the session may have
            for event in pair.settle()[SERVER]:
                if isinstance(event, ChannelAbandoned):
                    pair.server.report_exit(event.channel, JobEnd(Signalled("HUP")))
            pair.settle()
        assert len(pair.client._outbox.log) <= MAX_UNACKNOWLEDGED
        assert len(pair.server._outbox.log) <= MAX_UNACKNOWLEDGED
    assert pair.client._channels == pair.server._channels == {}
    assert pair.client._credits == pair.server._credits == {}
    assert pair.client.open(TRUE) == 100_001


def test_answers_come_once() -> None:
    """A request is accepted once, and an ending is told once."""
    pair = Pair()
    channel = pair.open()
    with pytest.raises(LocalProtocolError):
        pair.server.accept(channel, "utf-8")
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    with pytest.raises(LocalProtocolError):
        pair.server.report_exit(channel, JobEnd(Exited(0)))
    with pytest.raises(LocalProtocolError):
        pair.server.send_data(channel, STDOUT, b"x")


def test_an_ending_that_cannot_travel() -> None:
    """It changes nothing, so that another can be reported: the client is never left without one."""
    pair = Pair()
    channel = pair.open()
    for ending in (Signalled("RTMIN+1"), Exited(-1), OutcomeUnknown("x" * 5000)):
        with pytest.raises(LocalProtocolError) as error:
            pair.server.report_exit(channel, JobEnd(ending))
        assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    pair.server.report_exit(channel, JobEnd(OutcomeUnknown("signal 35")))
    assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(OutcomeUnknown("signal 35")), 0, 0)]


def test_a_code_page_that_cannot_travel() -> None:
    """It changes nothing either."""
    pair = Pair()
    channel = pair.open(accept=False)
    with pytest.raises(LocalProtocolError):
        pair.server.accept(channel, "x" * 65)
    pair.server.accept(channel, "utf-8")
    assert pair.settle()[CLIENT] == [ChannelOpened(channel, "utf-8")]


def test_input_consumed_before_the_answer() -> None:
    """H-03: the credit for it goes out behind OPENED; the channel allows it no earlier."""
    pair = Pair()
    channel = pair.client.open(TRUE)
    pair.client.send_data(channel, STDIN, bytes(SMALL.window))
    pair.settle()
    pair.server.consumed(channel, STDIN, SMALL.window)
    assert pair.server.frames_to_send() == []
    pair.server.accept(channel, "utf-8")
    assert pair.written(SERVER) == [
        Opened(channel=channel, encoding="utf-8"),
        Credit(channel, STDIN, 2 * SMALL.window),
    ]


def test_close_before_the_answer() -> None:
    """The server may still accept, which the client ignores, and must still report an ending."""
    pair = Pair()
    channel = pair.client.open(TRUE)
    pair.client.close(channel)
    assert pair.settle()[SERVER] == [ChannelRequested(channel, TRUE), ChannelAbandoned(channel)]
    pair.server.accept(channel, "utf-8")
    pair.server.send_data(channel, STDERR, b"dying")
    pair.server.report_exit(channel, JobEnd(Signalled("HUP")))
    assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(Signalled("HUP")), 0, 5)]


def test_unanswered_requests() -> None:
    """A request is unanswered until the server accepts or refuses it, also when the client has closed its channel."""
    pair = Pair()
    closed, refused, one_too_many = (pair.client.open(TRUE) for _ in range(3))
    pair.client.close(closed)
    channels = (closed, refused, one_too_many)
    assert [pair.server.is_unanswered(channel) for channel in channels] == [False, False, False]
    pair.settle()
    assert [pair.server.is_unanswered(channel) for channel in channels] == [True, True, False]
    pair.server.accept(closed, "utf-8")
    assert [pair.server.is_unanswered(channel) for channel in channels] == [False, True, False]
    pair.server.report_exit(refused, JobEnd(Refused(RefusalReason.NOT_FOUND, "no")))
    assert not any(pair.server.is_unanswered(channel) for channel in channels)


def test_after_the_ending_the_client_is_ignored() -> None:
    """What it sent before it knew changes nothing; that it keeps to the rules is still checked."""
    pair = Pair()
    channel = pair.open()
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    pair.client.send_data(channel, STDIN, b"abc")
    pair.client.send_signal(channel, "INT")
    pair.client.stop_stream(channel, STDOUT)
    pair.client.end_stream(channel, STDIN)
    assert pair.pass_on(CLIENT) == []
    assert pair.written(SERVER)[1:] == []


def test_data_after_close() -> None:
    """S-12: a closed channel is never brought back to life: what follows CLOSE is a breach."""
    pair = Pair()
    channel = pair.open()
    pair.client.close(channel)
    pair.settle()
    with pytest.raises(RemoteProtocolError) as error:
        pair.server.receive_frame(encode_control(Close(channel), 2)[0], 0.0)
    assert error.value.code is ErrorCode.CHANNEL_STATE


def test_whether_there_is_a_channel() -> None:
    """From the request until both have said their last word."""
    pair = Pair()
    answers = [pair.server.has_channels]
    channel = pair.open()
    answers.append(pair.server.has_channels)
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    answers.append(pair.server.has_channels)
    pair.settle()
    answers.append(pair.server.has_channels)
    assert answers == [False, True, True, False]
