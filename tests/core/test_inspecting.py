"""Questions about a persistent shell: each is answered once, and a flood of them fills no queue."""

from __future__ import annotations

import pytest

from tests.core.pair import Pair
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.events import ChannelAbandoned, InspectionRequested, JobEnded, ShellInspected
from twisted_rsh.core.limits import MAX_LISTED_JOBS, MAX_UNACKNOWLEDGED
from twisted_rsh.core.messages import Inspect, Inspected
from twisted_rsh.core.roles import Role
from twisted_rsh.core.shell_state import BackgroundJob, JobState, ShellState

CLIENT, SERVER = Role.CLIENT, Role.SERVER
JOB = BackgroundJob(4711, JobState.RUNNING, "sleep 100")
STATE = ShellState(folder="/srv", waits_for_input=True, jobs=(JOB,))


def test_a_question_and_its_answer() -> None:
    """A client asks, the server answers, and the client may ask again."""
    pair = Pair()
    channel = pair.open()
    for state in (STATE, ShellState()):
        pair.client.inspect(channel)
        assert pair.settle()[SERVER] == [InspectionRequested(channel)]
        pair.server.report_inspection(channel, state)
        assert pair.settle()[CLIENT] == [ShellInspected(channel, state)]


def test_one_question_at_a_time() -> None:
    """A second question before the answer is our own mistake, and a breach by a peer."""
    pair = Pair()
    channel = pair.open()
    pair.client.inspect(channel)
    with pytest.raises(LocalProtocolError) as error:
        pair.client.inspect(channel)
    assert error.value.code is ErrorCode.CHANNEL_STATE
    pair.settle()
    assert pair.breach(SERVER, Inspect(channel)) is ErrorCode.CHANNEL_STATE


def test_a_question_while_the_answer_waits_to_be_sent() -> None:
    """A client that asks again before a frame carries the answer breaks the protocol, and nothing piles up."""
    pair = Pair()
    channel = pair.open()
    pair.client.inspect(channel)
    pair.settle()
    pair.server.link_full()
    pair.server.report_inspection(channel, STATE)
    assert pair.breach(SERVER, Inspect(channel)) is ErrorCode.CHANNEL_STATE
    with pytest.raises(LocalProtocolError):
        pair.server.report_inspection(channel, STATE)


def test_a_question_behind_unacknowledged_messages() -> None:
    """A question would only queue up behind messages that the server has not acknowledged: it is refused."""
    pair = Pair()
    channel = pair.open()
    while not pair.client._outbox.blocked:
        pair.client.send_signal(channel, "USR1")
    with pytest.raises(LocalProtocolError) as error:
        pair.client.inspect(channel)
    assert error.value.code is ErrorCode.SEQUENCE
    pair.settle()
    pair.client.inspect(channel)


def test_before_the_shell_is_ready() -> None:
    """A question before OPENED is our own mistake, and a breach by a peer."""
    pair = Pair()
    channel = pair.open(accept=False)
    with pytest.raises(LocalProtocolError):
        pair.client.inspect(channel)
    assert pair.breach(SERVER, Inspect(channel)) is ErrorCode.CHANNEL_STATE


def test_an_answer_without_a_question() -> None:
    """An answer without a question is our own mistake, and a breach by a peer."""
    pair = Pair()
    channel = pair.open()
    with pytest.raises(LocalProtocolError) as error:
        pair.server.report_inspection(channel, STATE)
    assert error.value.code is ErrorCode.CHANNEL_STATE
    assert pair.breach(CLIENT, Inspected(channel=channel, state=STATE)) is ErrorCode.CHANNEL_STATE


def test_an_answer_out_of_its_bounds() -> None:
    """A state that cannot travel is our own mistake; the question still waits for its answer."""
    pair = Pair()
    channel = pair.open()
    pair.client.inspect(channel)
    pair.settle()
    with pytest.raises(LocalProtocolError) as error:
        pair.server.report_inspection(channel, ShellState(jobs=(JOB,) * (MAX_LISTED_JOBS + 1)))
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    pair.server.report_inspection(channel, ShellState(jobs=(JOB,) * MAX_LISTED_JOBS))
    assert len(pair.settle()[CLIENT]) == 1


def test_a_shell_that_ends_first() -> None:
    """EXIT stands for the answer; a question that crosses it changes nothing."""
    pair = Pair()
    channel = pair.open()
    pair.client.inspect(channel)
    pair.server.report_exit(channel, JobEnd(Exited(3)))
    events = pair.settle()
    assert not any(isinstance(event, InspectionRequested) for event in events[SERVER])
    assert [type(event) for event in events[CLIENT]] == [JobEnded]
    assert not pair.client._asked and not pair.server._asked and not pair.server._answers


def test_a_shell_that_is_closed_first() -> None:
    """The server answers nothing about a channel that the client has closed."""
    pair = Pair()
    channel = pair.open()
    pair.client.inspect(channel)
    pair.settle()
    pair.client.close(channel)
    assert pair.settle()[SERVER] == [ChannelAbandoned(channel)]
    pair.server.report_inspection(channel, STATE)
    assert pair.settle()[CLIENT] == []
    with pytest.raises(LocalProtocolError):
        pair.client.inspect(channel)


def test_an_answer_that_the_close_crosses() -> None:
    """An answer that was under way when the client closed the channel has no effect."""
    pair = Pair()
    channel = pair.open()
    pair.client.inspect(channel)
    pair.settle()
    pair.server.report_inspection(channel, STATE)
    pair.client.close(channel)
    assert pair.settle()[CLIENT] == []


@pytest.mark.parametrize("lost", ["question", "answer"])
def test_lost_with_the_link(lost: str) -> None:
    """M-04: a question and an answer that are lost with the link are repeated, each once."""
    pair = Pair()
    channel = pair.open()
    pair.client.inspect(channel)
    if lost == "question":
        assert pair.written(CLIENT) == [Inspect(channel)]  # which then never arrives
    else:
        assert pair.settle()[SERVER] == [InspectionRequested(channel)]
        pair.server.report_inspection(channel, STATE)
        assert pair.written(SERVER) == [Inspected(channel=channel, state=STATE)]
    pair.server.link_lost()
    pair.client.link_lost()
    there, here = pair.client.positions(), pair.server.positions()
    pair.server.resume(there, 0.0)
    pair.client.resume(here, 0.0)
    events = pair.settle()
    if lost == "question":
        assert events[SERVER] == [InspectionRequested(channel)]
        pair.server.report_inspection(channel, STATE)
        events = pair.settle()
    assert events[CLIENT] == [ShellInspected(channel, STATE)]


def test_a_storm_without_acknowledgements() -> None:
    """C-10: a client that asks and never acknowledges makes the server hold one answer besides those under way."""
    pair = Pair()
    channel = pair.open()
    pair.client.link_full()  # so it acknowledges nothing
    answers = 0
    for _ in range(2 * MAX_UNACKNOWLEDGED):
        if pair.hear(SERVER, Inspect(channel)) == [InspectionRequested(channel)]:
            pair.server.report_inspection(channel, STATE)
        answers += sum(isinstance(message, Inspected) for message in pair.written(SERVER))
        if pair.server._answers:
            break
    assert MAX_UNACKNOWLEDGED - 2 <= answers <= MAX_UNACKNOWLEDGED + 1
    assert pair.server._outbox.waiting <= 1
    assert pair.server._answers == {channel: STATE}
    assert pair.breach(SERVER, Inspect(channel)) is ErrorCode.CHANNEL_STATE
