"""How long a session without a link waits for a resume, and the bytes that it holds meanwhile."""

from __future__ import annotations

import pytest

from tests.link.wire import RawClient
from tests.server.resuming import Resumer, is_alive, is_refused
from tests.server.rig import Rig, is_ended
from twisted_rsh.core.endings import Signalled
from twisted_rsh.core.limits import DEFAULT_WINDOW, SessionLimits
from twisted_rsh.core.messages import Close, Data, Exit, Goodbye, Open, Opened, Positions
from twisted_rsh.core.requests import COMMAND_GRACE_SECONDS, Grace, JobRequest, Keep
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.server.session import IDLE_SECONDS, RETENTION_SECONDS

STDIN, STDOUT, STDERR = Stream

OPEN = Open(channel=1, request=JobRequest(command="true"))

KEPT = Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep()))

LATE = 0.001
"""Seconds beside a moment that is looked at from both sides."""


def test_the_detach_time_out() -> None:
    """M-15: at the server's time-out, and not before, the jobs are made to end and the session is forgotten."""
    rig = Rig(SessionLimits(detach_seconds=100))
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, request=JobRequest(shell="")))
    (job,) = rig.user.jobs
    job.fill()
    resumer.lose()
    rig.clock.advance(100 - LATE)
    assert is_alive(resumer.resume())
    resumer.lose()
    rig.clock.advance(100 - LATE)
    assert not is_ended(job)
    assert len(rig.sessions) == 1
    logouts = rig.realm.logouts
    rig.clock.advance(LATE)
    assert job.names()[-3:] == ["close_output", "close_output", "terminate"]
    assert rig.sessions == []
    assert rig.realm.logouts == logouts + 1
    job.end()
    assert is_refused(resumer)
    rig.clock.advance(100)
    assert rig.clock.getDelayedCalls() == []


def test_a_job_that_does_not_end_in_its_grace() -> None:
    """M-15: a job that cannot end, as its last output waits for a client, is let go at the time-out."""
    rig = Rig(SessionLimits(detach_seconds=100))
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    resumer.lose()
    rig.clock.advance(COMMAND_GRACE_SECONDS)
    assert job.names() == ["terminate"]
    rig.clock.advance(100 - COMMAND_GRACE_SECONDS - LATE)
    assert job.names() == ["terminate"]
    rig.clock.advance(LATE)
    assert job.names() == ["terminate", "close_output", "close_output", "terminate"]


def test_an_idle_session(rig: Rig) -> None:
    """M-15: a session with no job, and nothing that its client has not received, waits a minute."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    rig.user.jobs[0].end()
    resumer.client.say(Close(1))
    resumer.lose()
    rig.clock.advance(IDLE_SECONDS - LATE)
    assert is_alive(resumer.resume())
    resumer.lose()
    rig.clock.advance(IDLE_SECONDS)
    assert rig.sessions == []
    assert is_refused(resumer)


@pytest.mark.parametrize("attached", [True, False], ids=["before", "after"])
def test_an_ending_that_waits(rig: Rig, attached: bool) -> None:
    """M-15: an ending that the client has not received waits ten minutes, before the loss of the link or after it."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    if not attached:
        resumer.lose()
        rig.clock.advance(30)
    job.end()
    if attached:
        resumer.lose()
    rig.clock.advance(RETENTION_SECONDS - LATE)
    assert len(rig.sessions) == 1
    rig.clock.advance(LATE)
    assert rig.sessions == []


def test_an_old_ending(rig: Rig) -> None:
    """M-15: an ending that is older than that when the link is lost does not lengthen the wait."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    rig.user.jobs[0].end()
    for _ in range(100):
        rig.clock.advance(14)
        assert is_alive(resumer.client)
    resumer.lose()
    rig.clock.advance(IDLE_SECONDS - LATE)
    assert len(rig.sessions) == 1
    rig.clock.advance(LATE)
    assert rig.sessions == []


def test_an_ending_on_a_channel_that_was_closed(rig: Rig) -> None:
    """M-15: a client that closed a channel, and then lost its link, still gets the ending."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Close(1))
    resumer.lose()
    rig.user.jobs[0].end(Signalled("HUP"))
    rig.clock.advance(RETENTION_SECONDS - LATE)
    client = resumer.resume(Positions(1))
    assert [type(message) for message in client.heard()] == [Exit]


def test_the_time_out_is_the_longest() -> None:
    """M-15: a session waits no longer than the server's detach time-out, unless it has a kept job."""
    for message in (OPEN, Open(channel=1, request=JobRequest(command="true", on_disconnect=Grace(0.0))), None):
        rig = Rig(SessionLimits(detach_seconds=20))
        resumer = Resumer(rig)
        if message is not None:
            resumer.client.say(message)
        resumer.lose()
        for job in rig.user.jobs:
            job.end()
        rig.clock.advance(20 - LATE)
        assert len(rig.sessions) == 1
        rig.clock.advance(LATE)
        assert rig.sessions == []


def test_a_server_without_resume() -> None:
    """P12: with a detach time-out of 0 a session ends with its link, kept jobs included."""
    rig = Rig(SessionLimits(detach_seconds=0))
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Open(channel=2, request=JobRequest(shell="")))
    resumer.lose()
    assert all(is_ended(job) for job in rig.user.jobs)
    assert rig.sessions == []
    assert is_refused(resumer)
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Goodbye(text=""))
    assert is_ended(rig.user.jobs[-1])
    assert rig.sessions == []


def test_what_waits_is_bounded(rig: Rig) -> None:
    """M-16: a session without a link holds at most a window of each stream, and its jobs may write no more."""
    resumer = Resumer(rig)
    client: RawClient = resumer.client
    client.say(OPEN)
    (job,) = rig.user.jobs
    assert [job.fill(stream) for stream in OUTPUTS] == [DEFAULT_WINDOW] * 2
    client.exchange()
    assert client.heard()[0] == Opened(channel=1, encoding="utf-8")
    resumer.lose()
    assert [job.owner.output_room(stream) for stream in OUTPUTS] == [0, 0]
    resumed = resumer.resume(Positions(1, ((1, (0, 0)),)))
    data = [message for message in resumed.heard() if isinstance(message, Data)]
    assert sum(len(message.data) for message in data) == 2 * DEFAULT_WINDOW
    assert [job.owner.output_room(stream) for stream in OUTPUTS] == [0, 0]
