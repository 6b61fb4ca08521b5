"""The jobs of a session that has lost its link: the grace of each."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent

from tests.link.wire import failures, frame
from tests.server.resuming import Resumer, is_alive, is_refused
from tests.server.rig import Rig, is_ended, shell_of
from twisted_rsh.core.endings import Exited, Signalled
from twisted_rsh.core.limits import MAX_DETACH_SECONDS, SessionLimits
from twisted_rsh.core.messages import Exit, Goodbye, Open, Positions
from twisted_rsh.core.requests import COMMAND_GRACE_SECONDS, SHELL_GRACE_SECONDS, Grace, JobRequest, Keep, Terminal
from twisted_rsh.core.roles import Stream
from twisted_rsh.server.session import RETENTION_SECONDS

STDIN, STDOUT, STDERR = Stream

OPEN = Open(channel=1, request=JobRequest(command="true"))

KEPT = Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep()))

LATE = 0.001
"""Seconds beside a moment that is looked at from both sides."""


GRACES = {
    "command": (Open(channel=1, request=JobRequest(command="true")), COMMAND_GRACE_SECONDS),
    "argv": (Open(channel=1, request=JobRequest(argv=("true",))), COMMAND_GRACE_SECONDS),
    "terminal": (Open(channel=1, request=JobRequest(command="true", terminal=Terminal())), SHELL_GRACE_SECONDS),
    "shell": (Open(channel=1, request=JobRequest(shell="")), SHELL_GRACE_SECONDS),
    "asked": (Open(channel=1, request=JobRequest(command="true", on_disconnect=Grace(2.5))), 2.5),
    "as long as the server allows": (
        Open(channel=1, request=JobRequest(command="true", on_disconnect=Grace(86400.0))),
        86400.0,
    ),
}


@pytest.mark.parametrize("which", GRACES)
def test_a_grace(which: str) -> None:
    """P12: a job goes on for its grace, to the moment; then it is made to end, and reports its ending."""
    message, seconds = GRACES[which]
    rig = Rig(SessionLimits(detach_seconds=86400))
    resumer = Resumer(rig)
    # Beside one that is kept: the session stays, whatever becomes of the other.
    resumer.client.say(message, Open(channel=2, request=JobRequest(command="true", on_disconnect=Keep())))
    job, kept = rig.user.jobs
    resumer.lose()
    rig.clock.advance(seconds - LATE)
    assert not is_ended(job)
    rig.clock.advance(LATE)
    assert is_ended(job)
    assert not is_ended(kept)


def test_no_grace(rig: Rig) -> None:
    """P12: a job without a grace is made to end at once; its session stays, and reports the ending."""
    resumer = Resumer(rig)
    resumer.client.say(
        Open(channel=1, request=JobRequest(command="true", on_disconnect=Grace(0.0))),
        Open(channel=2, request=JobRequest(command="true")),
    )
    one, two = rig.user.jobs
    resumer.lose()
    assert one.names() == ["terminate"]
    assert two.names() == []
    one.end(Signalled("HUP"))
    client = resumer.resume(Positions(2, ((1, (0, 0)), (2, (0, 0)))))
    assert client.heard() == [Exit(channel=1, ending=Signalled("HUP"), stdout=0, stderr=0, held_open=False)]


def test_a_resume_in_time(rig: Rig) -> None:
    """P12: a resume gives the whole grace again; a refused resume or another connection does not."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    for _ in range(5):
        resumer.lose()
        rig.clock.advance(COMMAND_GRACE_SECONDS - LATE)
        assert is_alive(resumer.resume())
    rig.away(0)
    resumer.lose()
    rig.clock.advance(COMMAND_GRACE_SECONDS / 2)
    assert not is_refused(Resumer(rig))
    lost = rig.connect()
    lost.send(frame(b"\x04nothing of the kind"))
    rig.clock.advance(COMMAND_GRACE_SECONDS / 2 - LATE)
    assert not is_ended(job)
    rig.clock.advance(LATE)
    assert is_ended(job)


def test_a_job_that_ends_in_its_grace(rig: Rig) -> None:
    """P12: a job that ends in its grace is not ended again."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    resumer.lose()
    job.end(Exited(0))
    rig.clock.advance(COMMAND_GRACE_SECONDS)
    assert not is_ended(job)


def test_a_job_that_is_kept() -> None:
    """P12: a kept job goes on to its end, and the session keeps its output and ending for ten minutes."""
    rig = Rig(SessionLimits(detach_seconds=3600))
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Open(channel=2, request=JobRequest(command="true")))
    kept, other = rig.user.jobs
    resumer.lose()
    rig.clock.advance(MAX_DETACH_SECONDS)
    assert is_ended(other)
    other.end(Signalled("HUP"))
    assert not is_ended(kept)
    kept.end(Exited(3))
    rig.clock.advance(RETENTION_SECONDS - LATE)
    assert len(rig.sessions) == 1
    client = resumer.resume(Positions(2, ((1, (0, 0)), (2, (0, 0)))))
    assert [exit_.ending for exit_ in client.heard() if isinstance(exit_, Exit)] == [Signalled("HUP"), Exited(3)]


def test_a_kept_job_that_nobody_asks_for() -> None:
    """M-15: after those ten minutes, or a shorter bound of the server, the session is forgotten."""
    for detach_seconds, kept_for in ((3600, RETENTION_SECONDS), (100, 100.0)):
        rig = Rig(SessionLimits(detach_seconds=detach_seconds))
        resumer = Resumer(rig)
        resumer.client.say(KEPT)
        resumer.lose()
        rig.clock.advance(5000)
        rig.user.jobs[0].end()
        rig.clock.advance(kept_for - LATE)
        assert len(rig.sessions) == 1
        rig.clock.advance(LATE)
        assert rig.sessions == []
        assert is_refused(resumer)


def test_a_command_in_a_shell(rig: Rig) -> None:
    """P12: a command in a shell has the shell's grace, and ends with the shell."""
    resumer = Resumer(rig)
    resumer.client.say(
        Open(channel=1, request=JobRequest(shell="", on_disconnect=Grace(5.0))),
        Open(channel=2, request=JobRequest(command="sleep", in_shell=1)),
    )
    shell = shell_of(rig)
    (command,) = shell.commands
    resumer.lose()
    rig.clock.advance(5 - LATE)
    assert not is_ended(shell)
    rig.clock.advance(LATE)
    assert is_ended(shell)
    assert not is_ended(command)


def test_a_command_whose_shell_is_kept(rig: Rig) -> None:
    """P12: a command in a kept shell is kept."""
    resumer = Resumer(rig)
    resumer.client.say(
        Open(channel=1, request=JobRequest(shell="", on_disconnect=Keep())),
        Open(channel=2, request=JobRequest(command="sleep", in_shell=1)),
    )
    shell = shell_of(rig)
    resumer.client.say(Goodbye(text=""))
    assert not is_ended(shell)
    assert not is_ended(shell.commands[0])


def test_a_command_whose_shell_is_gone(rig: Rig) -> None:
    """P12: a command that outlives its shell has the grace of a command."""
    resumer = Resumer(rig)
    resumer.client.say(
        Open(channel=1, request=JobRequest(shell="")), Open(channel=2, request=JobRequest(command="sleep", in_shell=1))
    )
    shell = shell_of(rig)
    (command,) = shell.commands
    shell.end()
    resumer.lose()
    rig.clock.advance(SHELL_GRACE_SECONDS)
    assert is_ended(command)


def test_a_job_that_cannot_be_ended_in_time(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: an application's job that breaks at the end of its grace keeps no other job alive."""
    resumer = Resumer(rig)
    resumer.client.say(
        Open(channel=1, request=JobRequest(command="true", on_disconnect=Grace(0.0))),
        Open(channel=2, request=JobRequest(command="true", on_disconnect=Grace(0.0))),
        Open(channel=3, request=JobRequest(command="true", on_disconnect=Grace(1.0))),
        Open(channel=4, request=JobRequest(command="true", on_disconnect=Grace(1.0))),
    )
    for job in rig.user.jobs[::2]:
        job.raises.add("terminate")
    resumer.lose()
    rig.clock.advance(1)
    assert all(is_ended(job) for job in rig.user.jobs)
    assert len(failures(logged)) == 2


def test_a_blocked_job_costs_nothing(rig: Rig) -> None:
    """P12: a session without a link has one timer, and one for each grace, and does no work until they fire."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Open(channel=2, request=JobRequest(command="true", on_disconnect=Keep())))
    for job in rig.user.jobs:
        job.fill()
    resumer.lose()
    rig.clock.advance(0)
    calls = rig.clock.getDelayedCalls()
    assert len(calls) == 1  # the grace of the first: as long as a job is kept, the session does not expire
    rig.clock.advance(COMMAND_GRACE_SECONDS - 1)
    assert rig.clock.getDelayedCalls() == calls
    assert [job.names() for job in rig.user.jobs] == [[], []]
