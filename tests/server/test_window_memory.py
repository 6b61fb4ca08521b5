"""The memory that the windows of a server's clients may grow by."""

from __future__ import annotations

from tests.server.resuming import Resumer
from tests.server.rig import Rig
from twisted_rsh.core.limits import DEFAULT_WINDOW, MAX_DATA_BYTES, MAX_WINDOW, SESSION_RESERVE_BYTES
from twisted_rsh.core.messages import Close, Credit, Data, Open
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream

STDIN, STDOUT, STDERR = Stream
GROWTH = 2 * DEFAULT_WINDOW
"""Bytes of the whole server's reserve."""


def greedy(rig: Rig, *channels: int) -> Resumer:
    """Return a client that grants all it may grant for the output of some jobs, and reads nothing."""
    client = Resumer(rig)
    for channel in channels:
        client.client.say(Open(channel=channel, request=JobRequest(command="yes")))
        client.client.say(*[Credit(channel, stream, MAX_WINDOW, 0) for stream in OUTPUTS])
    return client


def test_all_sessions_share_one_reserve() -> None:
    """R-10: what clients do not read beyond a window is held up to the server's bound, to the byte; then others go on
    with their window, and jobs still start."""
    rig = Rig(max_window_growth=GROWTH)
    first, second = greedy(rig, 1), greedy(rig, 1)
    one, other = rig.user.jobs
    assert one.fill(STDOUT) == DEFAULT_WINDOW + GROWTH
    assert one.fill(STDERR) == DEFAULT_WINDOW
    assert other.fill() == DEFAULT_WINDOW
    second.client.say(Open(channel=2, request=JobRequest(command="true")))
    assert rig.user.jobs[2].fill() == DEFAULT_WINDOW
    first.client.say(Credit(1, STDOUT, MAX_WINDOW, 100))
    assert other.fill() == 100
    assert one.fill() == 0
    second.client.say(Credit(1, STDOUT, MAX_WINDOW, 1))
    assert (one.fill(), other.fill()) == (1, 0)


def test_a_session_has_a_share() -> None:
    """R-10: one session gets no more than its share, however much there is."""
    rig = Rig(max_window_growth=10 * SESSION_RESERVE_BYTES)
    greedy(rig, 1, 2)
    written = [job.fill(stream) for job in rig.user.jobs for stream in OUTPUTS]
    assert sum(written) == 4 * DEFAULT_WINDOW + SESSION_RESERVE_BYTES
    assert max(written) == MAX_WINDOW


def test_a_server_without_a_reserve() -> None:
    """R-10: where windows may not grow, none does, whatever clients grant."""
    rig = Rig(max_window_growth=0)
    client = greedy(rig, 1)
    (job,) = rig.user.jobs
    assert [job.fill(stream) for stream in OUTPUTS] == [DEFAULT_WINDOW] * 2
    for start in range(0, DEFAULT_WINDOW, MAX_DATA_BYTES):
        size = min(MAX_DATA_BYTES, DEFAULT_WINDOW - start)
        client.client.say(Data(1, STDIN, start, bytes(size)))
        job.owner.input_consumed(size)
    heard = [message for message in client.client.heard() if isinstance(message, Credit)]
    assert {credit.limit - credit.consumed for credit in heard} == {DEFAULT_WINDOW}


def test_what_comes_back() -> None:
    """R-10: the reserve is whole again when channels are closed, and when sessions are over, with a link or without."""
    rig = Rig(max_window_growth=GROWTH)
    reserve = rig.factory.capacity.reserve
    client = greedy(rig, 1)
    rig.user.jobs[0].fill()
    assert reserve.free == 0
    rig.user.jobs[0].end()
    assert reserve.free == 0  # the output still waits for the client
    client.client.say(Close(1))
    assert reserve.free == GROWTH
    for loses in (True, False):
        client = greedy(rig, 1)
        rig.user.jobs[-1].fill()
        assert reserve.free == 0
        if loses:
            client.lose()
            assert reserve.free == 0
        rig.sessions[-1].end("enough")
        rig.clock.advance(0)
        if not loses:
            client.lose()
        assert reserve.free == GROWTH


def test_a_job_that_ended_holds_no_input() -> None:
    """R-10: the growth of its input's window comes back when a job ends, before its client closes the channel."""
    rig = Rig()
    reserve = rig.factory.capacity.reserve
    whole = reserve.free
    client = Resumer(rig)
    client.client.say(Open(channel=1, request=JobRequest(command="cat")))
    (job,) = rig.user.jobs
    for start in range(0, DEFAULT_WINDOW, MAX_DATA_BYTES):
        client.client.say(Data(1, STDIN, start, bytes(min(MAX_DATA_BYTES, DEFAULT_WINDOW - start))))
    job.owner.input_consumed(DEFAULT_WINDOW)
    assert reserve.free == whole - 3 * DEFAULT_WINDOW
    job.end()
    assert reserve.free == whole
