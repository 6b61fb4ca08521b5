"""The client's side of a session."""

from __future__ import annotations

import math

import pytest

from tests.core.pair import SMALL, TRUE, Pair
from twisted_rsh.core.endings import Exited, JobEnd, RefusalReason, Refused
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import ChannelOpened, ChannelRequested, JobEnded, SignalReceived
from twisted_rsh.core.limits import MAX_CHANNEL_ID, MAX_CONTROL_BYTES, MAX_REFUSED_CHANNELS, MAX_TIMEOUT_MS
from twisted_rsh.core.messages import Close, Exit, Open, Opened, Signal
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream
FULL = JobRequest(
    argv=("printf", "\udcff\N{GREEK SMALL LETTER ALPHA}"),
    cwd="/tmp",
    environment=(("B", "2"), ("A", "1")),
    timeout=1.5,
)


@pytest.mark.parametrize("request_", [TRUE, FULL], ids=["command", "argv"])
def test_a_request_arrives_as_it_was(request_: JobRequest) -> None:
    """Every field of a request arrives at the server, the environment in its order."""
    pair = Pair()
    channel = pair.client.open(request_)
    assert pair.settle()[SERVER] == [ChannelRequested(channel, request_)]


def test_a_long_request() -> None:
    """A long request travels in parts, which both sides count, and the messages behind it arrive."""
    pair = Pair()
    request = JobRequest(command="\N{GREEK SMALL LETTER ALPHA}" * 500_000)
    channel = pair.client.open(request)
    pair.client.send_signal(channel, "HUP")
    events = pair.settle()[SERVER]
    assert events == [ChannelRequested(channel, request), SignalReceived(channel, "HUP")]
    assert pair.server._inbox.received == len(pair.sent[CLIENT]) == 32
    assert len(pair.client._outbox.log) == 0


@pytest.mark.parametrize(
    ("timeout", "milliseconds"),
    [(0.0, 1), (-5.0, 1), (0.0004, 1), (0.0016, 2), (1e300, MAX_TIMEOUT_MS), (math.inf, MAX_TIMEOUT_MS)],
)
def test_timeouts_are_cut_to_what_can_travel(timeout: float, milliseconds: int) -> None:
    """A time-out is written as at least a millisecond, and at most the longest."""
    pair = Pair()
    pair.client.open(JobRequest(command="true", timeout=timeout))
    assert pair.written(CLIENT) == [Open(channel=1, request=JobRequest(command="true", timeout=milliseconds / 1000))]


def test_channels_are_numbered_upwards() -> None:
    """No channel number is used twice, even when its channel is free."""
    pair = Pair()
    numbers = []
    for _ in range(5):
        numbers.append(pair.open())
        pair.server.report_exit(numbers[-1], JobEnd(Exited(0)))
        pair.settle()
    assert numbers == [1, 2, 3, 4, 5]


def test_the_last_channel_number() -> None:
    """The last channel number can be used; then there is none left."""
    pair = Pair()
    pair.client._next_channel = MAX_CHANNEL_ID
    assert pair.client.open(TRUE) == MAX_CHANNEL_ID
    with pytest.raises(LocalProtocolError) as error:
        pair.client.open(TRUE)
    assert error.value.code is ErrorCode.CHANNEL_STATE


def test_a_client_knows_how_many_channels_it_may_have() -> None:
    """A client opens as many channels as a server allows before it aborts the link, and not one more."""
    pair = Pair()
    for _ in range(SMALL.max_channels + MAX_REFUSED_CHANNELS):
        pair.client.open(TRUE)
    with pytest.raises(LocalProtocolError) as error:
        pair.client.open(TRUE)
    assert error.value.code is ErrorCode.CHANNEL_STATE
    pair.settle()


@pytest.mark.parametrize(
    "request_", [JobRequest(command="x" * MAX_CONTROL_BYTES), JobRequest(command="\ud800")], ids=["long", "surrogate"]
)
def test_a_request_that_cannot_travel(request_: JobRequest) -> None:
    """A request that cannot be encoded takes no channel number and no sequence number."""
    pair = Pair()
    with pytest.raises(LocalProtocolError) as error:
        pair.client.open(request_)
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    assert pair.client.frames_to_send() == []
    assert pair.open() == 1


def test_a_job() -> None:
    """A job is opened and ends, and the client frees the channel with CLOSE."""
    pair = Pair()
    channel = pair.client.open(TRUE)
    pair.settle()
    pair.server.accept(channel, "gbk")
    assert pair.settle()[CLIENT] == [ChannelOpened(channel, "gbk")]
    pair.server.send_data(channel, STDOUT, b"abc")
    pair.server.report_exit(channel, JobEnd(Exited(3), held_open=True))
    assert pair.settle()[CLIENT][-1] == JobEnded(channel, JobEnd(Exited(3), held_open=True), 3, 0)
    assert pair.client._channels == pair.server._channels == {}


def test_signals() -> None:
    """A signal is sent by its name, and only one that can travel."""
    pair = Pair()
    channel = pair.open()
    pair.client.send_signal(channel, "INT")
    assert pair.settle()[SERVER] == [SignalReceived(channel, "INT")]
    with pytest.raises(LocalProtocolError) as error:
        pair.client.send_signal(channel, "SIGINT")
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE


@pytest.mark.parametrize(("stdout", "stderr"), [(2, 0), (4, 0), (3, 1), (0, 3)])
def test_totals_must_match(stdout: int, stderr: int) -> None:
    """H-13: an ending whose totals differ from the bytes that arrived is a breach, so no output is lost unseen."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, b"abc")
    pair.settle()
    ending = Exit(channel=channel, ending=Exited(0), stdout=stdout, stderr=stderr, held_open=False)
    assert pair.breach(CLIENT, ending) is ErrorCode.STREAM_STATE


def test_totals_count_what_was_dropped() -> None:
    """The totals match also on a stream that the client stopped, and on a channel that it closed."""
    pair = Pair()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, b"abc")
    pair.server.send_data(channel, STDERR, b"de")
    pair.client.stop_stream(channel, STDOUT)
    pair.client.close(channel)
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(Exited(0)), 3, 2)]


def test_opened_after_close() -> None:
    """A client that has closed a channel gets no event for its OPENED."""
    pair = Pair()
    channel = pair.client.open(TRUE)
    pair.client.close(channel)
    assert pair.hear(CLIENT, Opened(channel=channel, encoding="utf-8")) == []


def test_a_refusal() -> None:
    """A refusal is an ending like any other."""
    pair = Pair()
    channel = pair.open(accept=False)
    refusal = Refused(RefusalReason.NOT_FOUND, "no such command")
    pair.server.report_exit(channel, JobEnd(refusal))
    assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(refusal), 0, 0)]


def test_input_before_the_answer() -> None:
    """A client may send input, a signal or CLOSE before the answer to OPEN."""
    pair = Pair()
    channel = pair.client.open(TRUE)
    pair.client.send_data(channel, STDIN, b"abc")
    pair.client.end_stream(channel, STDIN)
    pair.client.send_signal(channel, "HUP")
    pair.client.close(channel)
    assert [type(message) for message in pair.written(CLIENT)][-2:] == [Signal, Close]
    with pytest.raises(LocalProtocolError):
        pair.client.close(channel)
