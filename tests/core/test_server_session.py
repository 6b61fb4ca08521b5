"""The server's side of a session."""

from __future__ import annotations

import pytest

from tests.core.pair import SMALL, TRUE, Pair
from twisted_rsh.core.codec import encode_control
from twisted_rsh.core.endings import Exited, JobEnd, OutcomeUnknown, RefusalReason, Refused, Signalled
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import ChannelAbandoned, ChannelFreed, ChannelOpened, ChannelRequested, JobEnded
from twisted_rsh.core.limits import MAX_ANSWERS, MAX_REFUSED_CHANNELS, MAX_UNACKNOWLEDGED
from twisted_rsh.core.messages import Ack, Close, Credit, Open, Opened
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream


@pytest.mark.parametrize("number", [1, 2, 3])
def test_channel_numbers_only_grow(number: int) -> None:
    """H-13: a number that was used, or lies below one that was, is a breach, whether its channel is free or not."""
    for free in (False, True):
        pair = Pair()
        pair.hear(SERVER, Open(channel=3, request=JobRequest(command="true")))
        if free:
            pair.server.report_exit(3, JobEnd(Exited(0)))
            pair.hear(SERVER, Close(3))
        assert pair.breach(SERVER, Open(channel=number, request=JobRequest(command="true"))) is ErrorCode.CHANNEL_STATE
        pair.hear(SERVER, Ack(0))
    pair = Pair()
    pair.hear(SERVER, Open(channel=3, request=JobRequest(command="true")))
    assert pair.hear(SERVER, Open(channel=2**32 - 1, request=JobRequest(command="true"))) == [
        ChannelRequested(2**32 - 1, TRUE)
    ]


def test_one_job_too_many() -> None:
    """H-09: the server runs as many jobs as the session may have, refuses the next, and the session goes on."""
    pair = Pair()
    for _ in range(SMALL.max_channels):
        pair.open()
    channel = pair.client.open(TRUE)
    events = pair.settle()
    assert events[SERVER] == [ChannelFreed(channel)]
    (ended,) = events[CLIENT]
    assert isinstance(ended, JobEnded)
    assert ended.channel == channel
    assert isinstance(ended.end.ending, Refused)
    assert ended.end.ending.reason is RefusalReason.TOO_MANY_CHANNELS
    pair.server.report_exit(1, JobEnd(Exited(0)))
    pair.settle()
    assert isinstance(pair.client.open(TRUE), int)
    assert [type(event) for event in pair.settle()[SERVER]] == [ChannelRequested]


def test_unread_output() -> None:
    """M-16: a channel holds what its client has not consumed, also behind the ending, until the client closes it."""
    pair = Pair()
    channel = pair.open()
    assert pair.server.unread_output(channel) == 0
    pair.server.send_data(channel, Stream.STDOUT, b"12345")
    pair.server.send_data(channel, Stream.STDERR, b"678")
    assert pair.server.unread_output(channel) == 8
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    assert pair.server.unread_output(channel) == 8
    assert pair.settle()[SERVER] == [ChannelFreed(channel)]
    assert pair.server.unread_output(channel) == 0


def test_a_job_that_was_given_up_still_counts() -> None:
    """A job whose channel was closed counts until it ends."""
    pair = Pair()
    for channel in [pair.open() for _ in range(SMALL.max_channels)]:
        pair.client.close(channel)
    pair.client.open(TRUE)
    *given_up, freed = pair.settle()[SERVER]
    assert [type(event) for event in given_up] == [ChannelAbandoned] * SMALL.max_channels
    assert isinstance(freed, ChannelFreed)


def test_refused_channels_left_unclosed() -> None:
    """As many refused channels as the bound are allowed, and the next is a breach."""
    pair = Pair()
    for number in range(1, SMALL.max_channels + MAX_REFUSED_CHANNELS + 1):
        pair.hear(SERVER, Open(channel=number, request=JobRequest(command="true")))
        pair.server.frames_to_send()  # a client that reads, acknowledges, and does not close
        if number > SMALL.max_channels:
            pair.hear(SERVER, Ack(number - SMALL.max_channels))
    assert pair.breach(SERVER, Open(channel=number + 1, request=JobRequest(command="true"))) is ErrorCode.CHANNEL_STATE


def test_a_client_that_acknowledges_nothing() -> None:
    """H-09: the messages that wait for a client are bounded also when it closes each of its channels at once."""
    pair = Pair()
    bound = MAX_ANSWERS * (SMALL.max_channels + MAX_REFUSED_CHANNELS)
    number = 0
    with pytest.raises(RemoteProtocolError) as error:
        for number in range(1, 10_000):
            pair.hear(SERVER, Open(channel=number, request=JobRequest(command="true")))
            if number > SMALL.max_channels:
                pair.hear(SERVER, Close(number))
            pair.server.frames_to_send()
    assert error.value.code is ErrorCode.SEQUENCE
    assert pair.server._outbox.waiting == bound + 1
    assert number == SMALL.max_channels + MAX_UNACKNOWLEDGED + bound + 2


@pytest.mark.exhaustive
def test_a_flood_of_channels() -> None:
    """H-09: 10^5 channels opened and closed leave nothing behind, and the log never exceeds its bound."""
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
    """A request is accepted once, and an ending is reported once."""
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
    """An ending that cannot be encoded changes nothing, so that another can be reported in its place."""
    pair = Pair()
    channel = pair.open()
    for ending in (Signalled("RTMIN+1"), Exited(-1), OutcomeUnknown("x" * 5000)):
        with pytest.raises(LocalProtocolError) as error:
            pair.server.report_exit(channel, JobEnd(ending))
        assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    pair.server.report_exit(channel, JobEnd(OutcomeUnknown("signal 35")))
    assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(OutcomeUnknown("signal 35")), 0, 0)]


def test_a_code_page_that_cannot_travel() -> None:
    """A code page whose name cannot be encoded changes nothing."""
    pair = Pair()
    channel = pair.open(accept=False)
    with pytest.raises(LocalProtocolError):
        pair.server.accept(channel, "x" * 65)
    pair.server.accept(channel, "utf-8")
    assert pair.settle()[CLIENT] == [ChannelOpened(channel, "utf-8")]


def test_input_consumed_before_the_answer() -> None:
    """H-03: credit for input that was consumed before OPENED goes out behind OPENED."""
    pair = Pair()
    channel = pair.client.open(TRUE)
    pair.client.send_data(channel, STDIN, bytes(SMALL.window))
    pair.settle()
    pair.server.consumed(channel, STDIN, SMALL.window)
    assert pair.server.frames_to_send() == []
    pair.server.accept(channel, "utf-8")
    assert pair.written(SERVER) == [
        Opened(channel=channel, encoding="utf-8"),
        Credit(channel, STDIN, 2 * SMALL.window, SMALL.window),
    ]


def test_close_before_the_answer() -> None:
    """After CLOSE the server may still accept, which the client ignores, and must still report an ending."""
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
    """Messages that a client sent before it saw EXIT change nothing, but must keep to the rules."""
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
    """S-12: a message behind CLOSE is a breach, so a closed channel never comes back to life."""
    pair = Pair()
    channel = pair.open()
    pair.client.close(channel)
    pair.settle()
    with pytest.raises(RemoteProtocolError) as error:
        pair.server.receive_frame(encode_control(Close(channel), 2)[0], 0.0)
    assert error.value.code is ErrorCode.CHANNEL_STATE


def test_whether_there_is_a_channel() -> None:
    """A channel exists from the request until EXIT and CLOSE."""
    pair = Pair()
    answers = [pair.server.has_channels]
    channel = pair.open()
    answers.append(pair.server.has_channels)
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    answers.append(pair.server.has_channels)
    pair.settle()
    answers.append(pair.server.has_channels)
    assert answers == [False, True, True, False]
