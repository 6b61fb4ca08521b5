"""How long a session without a link waits for a resume, and the bytes that it holds meanwhile."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone

from tests.link.wire import RawClient
from tests.server.resuming import Resumer, is_alive, is_refused
from tests.server.rig import Rig, exits, is_ended, shell_of
from twisted_rsh.core.endings import Refused, Signalled
from twisted_rsh.core.limits import DEFAULT_WINDOW, SessionLimits
from twisted_rsh.core.messages import Close, Data, Exit, Goodbye, Open, Opened, Positions
from twisted_rsh.core.requests import COMMAND_GRACE_SECONDS, Disconnection, Grace, JobRequest, Keep
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
    """P12: with a detach time-out of 0 a session ends with its link, and a job that asks for more is refused."""
    rig = Rig(SessionLimits(detach_seconds=0))
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, request=JobRequest(shell="")))
    assert (
        refusal_of(resumer, 2, Keep())
        == "the server keeps no job without its client, because of its --detach-timeout 0"
    )
    assert "--detach-timeout, 0 s" in refusal_of(resumer, 3, Grace(1.0))
    resumer.client.say(Open(channel=4, request=JobRequest(command="true", on_disconnect=Grace(0.0))))
    resumer.lose()
    assert len(rig.user.jobs) == 2
    assert all(is_ended(job) for job in rig.user.jobs)
    assert rig.sessions == []
    assert is_refused(resumer)


def refusal_of(resumer: Resumer, channel: int, policy: Disconnection) -> str:
    """Ask for a job that must be refused; return the line that says why."""
    resumer.client.say(Open(channel=channel, request=JobRequest(command="true", on_disconnect=policy)))
    (exit_,) = [message for message in exits(resumer.client.heard()) if message.channel == channel]
    assert isinstance(exit_.ending, Refused)
    return exit_.ending.text


def test_a_grace_at_the_bound() -> None:
    """M-15: a grace as long as the detach time-out is given, and one that is longer is refused; the shell's own hour is
    as long as the time-out allows."""
    rig = Rig(SessionLimits(detach_seconds=100))
    resumer = Resumer(rig)
    assert (
        refusal_of(resumer, 1, Grace(100.5)) == "a grace of 100.5 s is longer than the server's --detach-timeout, 100 s"
    )
    resumer.client.say(Open(channel=2, request=JobRequest(command="true", on_disconnect=Grace(100.0))))
    resumer.client.say(Open(channel=3, request=JobRequest(shell="")))
    resumer.lose()
    rig.clock.advance(100 - LATE)
    assert not any(is_ended(job) for job in rig.user.jobs)
    rig.clock.advance(LATE)
    assert [is_ended(job) for job in rig.user.jobs] == [True, True]


def test_the_bound_of_kept_jobs() -> None:
    """M-16: one kept job more than the bound is refused with a line that names it, also when the clients are away or
    have left; those that were accepted go on to their ends."""
    rig = Rig(max_kept_jobs=3)
    away, gone, here = Resumer(rig), Resumer(rig), Resumer(rig)
    for resumer in (away, gone, here):
        resumer.client.say(KEPT)
    away.lose()
    gone.client.say(Goodbye(text=""))
    here.client.heard()
    assert (
        refusal_of(here, 2, Keep()) == "the server keeps 3 jobs, as many as its --max-kept-jobs allows; try again later"
    )
    here.client.say(Open(channel=3, request=JobRequest(command="true")))
    rig.clock.advance(1_000)
    assert not any(is_ended(job) for job in rig.user.jobs[:3])
    rig.user.jobs[0].end()
    here = here if is_alive(here.client) else Resumer(rig)
    here.client.say(Open(channel=4, request=JobRequest(command="true", on_disconnect=Keep())))
    assert exits(here.client.heard()) == []


def test_a_shell_that_is_kept_counts_once() -> None:
    """M-16: the commands of a kept shell are kept with it and take no further place."""
    rig = Rig(max_kept_jobs=1)
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, request=JobRequest(shell="", on_disconnect=Keep())))
    resumer.client.say(Open(channel=2, request=JobRequest(command="true", in_shell=1)))
    assert exits(resumer.client.heard()) == []
    assert len(shell_of(rig).commands) == 1


def test_output_that_waits_counts() -> None:
    """M-16, R-10: the output of jobs that have ended counts, to the byte, until the client closes the channel or the
    session is over: then there is room for another job."""
    rig = Rig(max_unread_output=4 * DEFAULT_WINDOW)
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Open(channel=2, request=JobRequest(command="true")))
    first, second = rig.user.jobs
    first.fill()
    first.end()
    resumer.client.heard()
    assert "--max-unread-output" in refusal_of(resumer, 3, Keep())
    resumer.client.say(Close(1), Close(3))
    resumer.client.say(Open(channel=4, request=JobRequest(command="true")))
    assert len(rig.user.jobs) == 3
    second.fill()
    second.end()
    rig.user.jobs[2].end()
    resumer.client.heard()
    resumer.lose()
    other = Resumer(rig)
    other.client.say(OPEN)
    assert len(rig.user.jobs) == 4
    assert "--max-unread-output" in refusal_of(other, 2, Keep())
    rig.sessions[0].end("enough")
    other.client.say(Open(channel=3, request=JobRequest(command="true")))
    assert len(rig.user.jobs) == 5


def test_output_that_nobody_will_read_does_not_count() -> None:
    """M-16, R-10: what jobs have left unread counts no more when the client has left, while a kept job goes on."""
    rig = Rig()
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Open(channel=2, request=JobRequest(command="true")))
    kept, other = rig.user.jobs
    other.fill()
    other.end()
    resumer.client.say(Goodbye(text=""))
    resumer.client.wire.lose(ConnectionDone())
    (session,) = rig.sessions
    assert session.jobs.count == 1
    held = next(bound for bound in rig.factory.capacity.bounds() if bound.option == "--max-unread-output")
    assert held.used == 2 * DEFAULT_WINDOW, "what the kept job may leave"
    kept.end()
    assert rig.sessions == []
    assert {bound.used for bound in rig.factory.capacity.bounds()} == {0}


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
