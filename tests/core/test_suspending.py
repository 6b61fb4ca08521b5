"""Suspensions of a job: the last state counts, and a flood of them fills no queue."""

from __future__ import annotations

import itertools

import pytest

from tests.core.pair import SMALL, TRUE, Pair
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import ChannelAbandoned, JobEnded, JobSuspended, RoomGained, SessionClosed
from twisted_rsh.core.limits import MAX_ANSWERS, MAX_REFUSED_CHANNELS, MAX_UNACKNOWLEDGED
from twisted_rsh.core.messages import Close, Exit, Goodbye, Open, Opened, Suspended
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Role

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STORM = 100_000


def state(turn: int) -> str | None:
    """Return one of two states, in turn."""
    return None if turn % 2 else "STOP"


def test_a_suspension_arrives() -> None:
    """A client learns that a job is suspended, and that it goes on, each once."""
    pair = Pair()
    channel = pair.open()
    for signal in ("TSTP", None):
        pair.server.report_suspension(channel, signal)
        assert pair.settle() == {CLIENT: [JobSuspended(channel, signal)], SERVER: []}
    assert pair.settle()[CLIENT] == []


def test_what_the_client_knows_is_not_sent() -> None:
    """A state that the client knows is not sent again; another signal is a new state."""
    pair = Pair()
    channel = pair.open()
    told = []
    for signal in (None, "STOP", "STOP", "TTIN", None, None, "STOP"):
        pair.server.report_suspension(channel, signal)
        told += pair.settle()[CLIENT]
    assert told == [JobSuspended(channel, signal) for signal in ("STOP", "TTIN", None, "STOP")]


def test_what_has_passed_before_it_could_be_sent() -> None:
    """A job that goes on before its suspension was written causes no message."""
    pair = Pair()
    channel = pair.open()
    pair.server.report_suspension(channel, "STOP")
    pair.server.report_suspension(channel, None)
    assert pair.written(SERVER) == []


def test_a_job_that_is_not_answered_for() -> None:
    """A suspension before OPENED, behind EXIT, or on an unknown channel is our own mistake."""
    pair = Pair()
    channel = pair.open(accept=False)
    for number in (channel, channel + 1):
        with pytest.raises(LocalProtocolError) as error:
            pair.server.report_suspension(number, "STOP")
        assert error.value.code is ErrorCode.CHANNEL_STATE
    pair.server.accept(channel, "utf-8")
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    with pytest.raises(LocalProtocolError):
        pair.server.report_suspension(channel, "STOP")
    assert pair.server._latest == {}
    pair.client.link_full()
    assert pair.breach(CLIENT, Suspended(channel=channel, signal="STOP")) is ErrorCode.CHANNEL_STATE


@pytest.mark.parametrize("signal", ["SIGSTOP", "", "stop", "\ud800"])
def test_no_signal(signal: str) -> None:
    """An unknown signal is our own mistake; the state before it is still sent, and the session goes on."""
    pair = Pair()
    channel = pair.open()
    pair.server.report_suspension(channel, "STOP")
    with pytest.raises(LocalProtocolError) as error:
        pair.server.report_suspension(channel, signal)
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    assert pair.settle()[CLIENT] == [JobSuspended(channel, "STOP")]


@pytest.mark.exhaustive
def test_a_storm_without_acknowledgements() -> None:
    """C-10: of 10^5 states as many go out as may be under way, one waits behind them, and the last is kept."""
    pair = Pair()
    channel = pair.open()
    for turn in range(STORM + 1):
        pair.server.report_suspension(channel, state(turn))
        pair.flush(SERVER)
    outbox = pair.server._outbox
    assert len(outbox.log) == MAX_UNACKNOWLEDGED
    assert outbox.waiting == 1
    assert pair.server._latest == {channel: "STOP"}
    events = pair.settle()[CLIENT]
    assert len(events) <= MAX_UNACKNOWLEDGED + 2
    assert events[-1] == JobSuspended(channel, "STOP")
    assert all(one != other for one, other in itertools.pairwise(events))


@pytest.mark.exhaustive
def test_a_storm_without_a_link() -> None:
    """C-10: while the link takes nothing, or there is none, only the last state of each channel is kept."""
    pair = Pair()
    channels = [pair.open(), pair.open()]
    pair.server.link_full()
    for turn in range(STORM):
        pair.server.report_suspension(channels[turn % 2], ("STOP", "TTIN", None)[turn % 3])
        assert pair.server.frames_to_send() == []
        if turn == STORM // 2:
            pair.server.link_lost()
            pair.client.link_lost()
    assert pair.server._latest == {channels[0]: None, channels[1]: "STOP"}
    pair.server.resume(pair.client.positions(), 0.0)
    pair.client.resume(pair.server.positions(), 0.0)
    assert pair.settle()[CLIENT] == [JobSuspended(channels[1], "STOP")]


def test_a_suspension_that_was_lost_with_the_link() -> None:
    """A lost suspension is repeated by the resume, and reporting it again sends nothing more."""
    pair = Pair()
    channel = pair.open()
    pair.server.report_suspension(channel, "STOP")
    assert pair.written(SERVER) == [Suspended(channel=channel, signal="STOP")]  # which then never arrives
    pair.server.link_lost()
    pair.client.link_lost()
    pair.server.report_suspension(channel, "STOP")
    there, here = pair.client.positions(), pair.server.positions()
    assert pair.server.resume(there, 0.0) == [RoomGained(None, None)]
    pair.client.resume(here, 0.0)
    assert pair.settle()[CLIENT] == [JobSuspended(channel, "STOP")]


def test_it_cannot_make_a_client_that_keeps_the_rules_break_them() -> None:
    """One state may wait besides the MAX_ANSWERS of each channel: a client may still open its last channel."""
    pair = Pair()
    first = pair.open()
    for turn in range(2 * MAX_UNACKNOWLEDGED):
        pair.server.report_suspension(first, state(turn))
        pair.server.frames_to_send()
    assert pair.server._outbox.waiting == 1
    most = SMALL.max_channels + MAX_REFUSED_CHANNELS
    for number in range(first + 1, most + 1):
        pair.hear(SERVER, Open(channel=number, request=JobRequest(command="true")))
        pair.server.frames_to_send()
    assert pair.server._outbox.waiting <= MAX_ANSWERS * most


@pytest.mark.parametrize("told", [True, False])
def test_a_job_that_ends(told: bool) -> None:
    """A kept state is forgotten when its job ends, and never follows EXIT."""
    pair = Pair()
    channel = pair.open()
    pair.server.report_suspension(channel, "STOP")
    if told:
        assert pair.settle()[CLIENT] == [JobSuspended(channel, "STOP")]
        pair.server.report_suspension(channel, None)
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    assert pair.server._latest == pair.server._told == {}
    assert [type(message) for message in pair.written(SERVER)] == [Exit]


def test_a_channel_that_the_client_has_closed() -> None:
    """A suspension on a closed channel is not sent, and one that crosses CLOSE has no effect."""
    pair = Pair()
    channel = pair.open()
    pair.server.report_suspension(channel, "STOP")
    pair.flush(SERVER)
    pair.client.close(channel)
    assert pair.deliver(CLIENT) == []
    assert pair.pass_on(CLIENT) == [ChannelAbandoned(channel)]
    assert pair.server._told == {}
    pair.server.report_suspension(channel, "TTIN")
    assert pair.server._latest == {}
    pair.server.report_exit(channel, JobEnd(Exited(0)))
    assert pair.settle()[CLIENT] == [JobEnded(channel, JobEnd(Exited(0)), 0, 0)]


def test_a_state_kept_for_a_channel_that_is_closed() -> None:
    """A kept state is forgotten when its channel is closed, also before OPENED."""
    pair = Pair()
    channel, other = pair.open(), pair.client.open(TRUE)
    pair.settle()
    pair.server.report_suspension(channel, "STOP")
    for number in (channel, other):
        assert pair.hear(SERVER, Close(number)) == [ChannelAbandoned(number)]
    pair.server.accept(other, "utf-8")
    pair.server.report_suspension(other, "STOP")
    assert pair.written(SERVER) == [Opened(channel=other, encoding="utf-8")]


def test_after_goodbye() -> None:
    """No state is sent or kept after GOODBYE."""
    pair = Pair()
    channel = pair.open()
    pair.server.goodbye("")
    pair.server.report_suspension(channel, "STOP")
    assert pair.written(SERVER) == [Goodbye(text="")]
    assert pair.server._latest == {}
    assert pair.server.goodbye_sent


def test_before_a_goodbye_that_waits() -> None:
    """GOODBYE waits only for messages that were sent before it, not for a kept state."""
    pair = Pair()
    channel = pair.open()
    for turn in range(MAX_UNACKNOWLEDGED + 5):
        pair.server.report_suspension(channel, state(turn))
        pair.flush(SERVER)
    pair.server.goodbye("done")
    assert pair.settle()[CLIENT][-1] == SessionClosed("done")
    assert pair.server.goodbye_sent
