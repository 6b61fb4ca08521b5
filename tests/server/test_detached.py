"""Sessions without a link: the grace of each job, how long what there is to tell is kept, and how many there may be."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent, formatEvent
from zope.interface import alsoProvides

from tests.link.wire import RawClient, failures, frame
from tests.server.resuming import FAIL, Resumer, is_alive
from tests.server.rig import Rig, ScriptedJob
from twisted_rsh.core.endings import Exited, Signalled
from twisted_rsh.core.events import StreamEnded
from twisted_rsh.core.limits import DEFAULT_WINDOW, MAX_DETACH_SECONDS, SessionLimits
from twisted_rsh.core.messages import Close, Data, Exit, Goodbye, Open, Opened, Positions
from twisted_rsh.core.requests import COMMAND_GRACE_SECONDS, SHELL_GRACE_SECONDS, JobRequest, Terminal
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.interfaces import IJob, IJobOwner, IShellJob
from twisted_rsh.server.capacity import MAX_SESSIONS_PER_KEY
from twisted_rsh.server.session import IDLE_SECONDS, RETENTION_SECONDS
from twisted_rsh.server.sessions import MAX_DETACHED_PER_KEY

STDIN, STDOUT, STDERR = Stream
OPEN = Open(channel=1, command="true")
KEPT = Open(channel=1, command="true", keep=True)
LATE = 0.001
"""Seconds beside a moment that is looked at from both sides."""


def is_ended(job: ScriptedJob) -> bool:
    """Tell whether a job was made to end."""
    return "terminate" in job.names()


def is_refused(resumer: Resumer) -> bool:
    """Try to resume; tell whether the server knows nothing of the session."""
    client = resumer.rig.connect()
    resumer.ask(client)
    return client.frames() == [FAIL]


# Policies.

GRACES = {
    "command": (Open(channel=1, command="true"), COMMAND_GRACE_SECONDS),
    "argv": (Open(channel=1, argv=("true",)), COMMAND_GRACE_SECONDS),
    "terminal": (Open(channel=1, command="true", terminal=Terminal()), SHELL_GRACE_SECONDS),
    "shell": (Open(channel=1, shell=""), SHELL_GRACE_SECONDS),
    "asked": (Open(channel=1, command="true", grace_ms=2500), 2.5),
    "longer than the server allows": (Open(channel=1, command="true", grace_ms=10**9), 86400.0),
}


@pytest.mark.parametrize("which", GRACES)
def test_a_grace(which: str) -> None:
    """P12: a job goes on for its grace, to the moment, and is then made to end, and reports it as ever."""
    message, seconds = GRACES[which]
    rig = Rig(SessionLimits(detach_seconds=86400))
    resumer = Resumer(rig)
    # Beside one that is kept: the session stays, whatever becomes of the other.
    resumer.client.say(message, Open(channel=2, command="true", keep=True))
    job, kept = rig.user.jobs
    resumer.lose()
    rig.clock.advance(seconds - LATE)
    assert not is_ended(job)
    rig.clock.advance(LATE)
    assert is_ended(job)
    assert not is_ended(kept)


def test_no_grace(rig: Rig) -> None:
    """P12: a job without a grace is made to end at once; its session stays, and tells of it."""
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, command="true", grace_ms=0), Open(channel=2, command="true"))
    one, two = rig.user.jobs
    resumer.lose()
    assert one.names() == ["terminate"]
    assert two.names() == []
    one.end(Signalled("HUP"))
    client = resumer.resume(Positions(2, ((1, (0, 0)), (2, (0, 0)))))
    assert client.heard() == [Exit(channel=1, ending=Signalled("HUP"), stdout=0, stderr=0, held_open=False)]


def test_a_resume_in_time(rig: Rig) -> None:
    """P12: a resume gives the whole grace again, and nothing else does."""
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
    """P12: nothing of its grace is left."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    resumer.lose()
    job.end(Exited(0))
    rig.clock.advance(COMMAND_GRACE_SECONDS)
    assert not is_ended(job)


def test_a_job_that_is_kept() -> None:
    """P12: it goes on to its end, however long that takes, and what it has to tell is kept for ten minutes."""
    rig = Rig(SessionLimits(detach_seconds=3600))
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Open(channel=2, command="true"))
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
    """M-15: after those ten minutes, or a shorter time if the server keeps nothing for so long, it is forgotten."""
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


class ScriptedShell(ScriptedJob):
    """A persistent shell that runs commands of the same kind."""

    def __init__(self, request: JobRequest, owner: IJobOwner) -> None:
        super().__init__(request, owner)
        self.commands: list[ScriptedJob] = []
        alsoProvides(self, IShellJob)

    def when_ready(self, call: object) -> None:
        """See IShellJob."""
        assert callable(call)
        call()

    def start_command(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """See IShellJob."""
        self.commands.append(ScriptedJob(request, owner))
        return self.commands[-1]


@pytest.fixture
def shells(rig: Rig) -> Rig:
    """A server whose user starts shells."""

    def start_job(request: JobRequest, owner: IJobOwner) -> IJob:
        job = ScriptedShell(request, owner)
        rig.user.jobs.append(job)
        return job

    rig.user.start_job = start_job  # type: ignore[method-assign]  # another kind of job
    return rig


def shell_of(rig: Rig) -> ScriptedShell:
    """Return the shell that was started."""
    (shell,) = rig.user.jobs
    assert isinstance(shell, ScriptedShell)
    return shell


def test_a_command_in_a_shell(shells: Rig) -> None:
    """P12: it has the shell's grace, and goes with the shell."""
    resumer = Resumer(shells)
    resumer.client.say(Open(channel=1, shell="", grace_ms=5000), Open(channel=2, command="sleep", in_shell=1))
    shell = shell_of(shells)
    (command,) = shell.commands
    resumer.lose()
    shells.clock.advance(5 - LATE)
    assert not is_ended(shell)
    shells.clock.advance(LATE)
    assert is_ended(shell)
    assert not is_ended(command)


def test_a_command_whose_shell_is_kept(shells: Rig) -> None:
    """P12: so is the command."""
    resumer = Resumer(shells)
    resumer.client.say(Open(channel=1, shell="", keep=True), Open(channel=2, command="sleep", in_shell=1))
    shell = shell_of(shells)
    resumer.client.say(Goodbye(text=""))
    assert not is_ended(shell)
    assert not is_ended(shell.commands[0])


def test_a_command_whose_shell_is_gone(shells: Rig) -> None:
    """P12: should it still run, it has the grace of a command."""
    resumer = Resumer(shells)
    resumer.client.say(Open(channel=1, shell=""), Open(channel=2, command="sleep", in_shell=1))
    shell = shell_of(shells)
    (command,) = shell.commands
    shell.end()
    resumer.lose()
    shells.clock.advance(SHELL_GRACE_SECONDS)
    assert is_ended(command)


def test_a_job_that_cannot_be_ended_in_time(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: an application's job that breaks when its grace is over keeps no other one alive."""
    resumer = Resumer(rig)
    resumer.client.say(
        Open(channel=1, command="true", grace_ms=0),
        Open(channel=2, command="true", grace_ms=0),
        Open(channel=3, command="true", grace_ms=1000),
        Open(channel=4, command="true", grace_ms=1000),
    )
    for job in rig.user.jobs[::2]:
        job.raises.add("terminate")
    resumer.lose()
    rig.clock.advance(1)
    assert all(is_ended(job) for job in rig.user.jobs)
    assert len(failures(logged)) == 2


def test_a_blocked_job_costs_nothing(rig: Rig) -> None:
    """P12: while a session has no link nothing is done for it: its one timer, and that of each grace, wait."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Open(channel=2, command="true", keep=True))
    for job in rig.user.jobs:
        job.fill()
    resumer.lose()
    rig.clock.advance(0)
    calls = rig.clock.getDelayedCalls()
    assert len(calls) == 1  # the grace of the first: as long as a job is kept, the session does not expire
    rig.clock.advance(COMMAND_GRACE_SECONDS - 1)
    assert rig.clock.getDelayedCalls() == calls
    assert [job.names() for job in rig.user.jobs] == [[], []]


# How long a session waits.


def test_the_detach_time_out() -> None:
    """M-15: at the server's time-out, and not before, the jobs are made to end and the session is forgotten."""
    rig = Rig(SessionLimits(detach_seconds=100))
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, shell=""))
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
    """M-15: with no job and nothing to tell it is kept for a minute."""
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
    """M-15: an ending that nobody has heard of waits ten minutes, whether it came before the loss or after it."""
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
    """M-15: one that is older than that when the link is lost is kept as long as nothing at all."""
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
    """M-15: a client that has closed a channel, and lost its link, still hears how the job ended."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Close(1))
    resumer.lose()
    rig.user.jobs[0].end(Signalled("HUP"))
    rig.clock.advance(RETENTION_SECONDS - LATE)
    client = resumer.resume(Positions(1))
    assert [type(message) for message in client.heard()] == [Exit]


def test_the_time_out_is_the_longest() -> None:
    """M-15: nothing but a job that is kept makes a session wait for longer than the server says."""
    for message in (OPEN, Open(channel=1, command="true", grace_ms=0), None):
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
    """P12: with a time-out of 0 a session ends with its link, whatever its jobs were promised."""
    rig = Rig(SessionLimits(detach_seconds=0))
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Open(channel=2, shell=""))
    resumer.lose()
    assert all(is_ended(job) for job in rig.user.jobs)
    assert rig.sessions == []
    assert is_refused(resumer)
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Goodbye(text=""))
    assert is_ended(rig.user.jobs[-1])
    assert rig.sessions == []


# Those who leave on purpose.


def test_a_kept_job_of_a_client_that_leaves(rig: Rig, logged: list[LogEvent]) -> None:
    """P12: GOODBYE ends the other jobs; the kept one goes on, its input ends, and nobody waits for its output."""
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Open(channel=2, command="true"), Goodbye(text=""))
    kept, other = rig.user.jobs
    assert is_ended(other)
    assert kept.names() == ["end_input", "resume_output", "resume_output"]
    assert resumer.client.closed
    resumer.client.wire.lose()
    assert is_refused(resumer)
    for _ in range(5):
        room = kept.owner.output_room(STDOUT)
        assert room == DEFAULT_WINDOW
        kept.owner.output_received(STDOUT, bytes(room))
    kept.owner.input_consumed(0)
    kept.owner.input_closed()
    other.end(Signalled("HUP"))
    rig.clock.advance(MAX_DETACH_SECONDS)
    assert not is_ended(kept)
    (session,) = rig.sessions
    assert [job["stdout"] for job in session.jobs.describe()] == [5 * DEFAULT_WINDOW]
    assert rig.realm.logouts == 0
    kept.end(Exited(0))
    assert rig.sessions == []
    assert rig.realm.logouts == 1
    text = [formatEvent(event) for event in logged]
    assert any(f"stdout {5 * DEFAULT_WINDOW}" in line for line in text)
    assert any("its last job has ended" in line for line in text)


def test_a_kept_job_has_its_end_of_input_once(rig: Rig) -> None:
    """P12: a job whose input has ended is not told again; a limit of output holds for what nobody reads, too."""
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, command="true", keep=True, max_output=10))
    (job,) = rig.user.jobs
    (session,) = rig.sessions
    session.jobs.happened(StreamEnded(1, STDIN))
    resumer.client.say(Goodbye(text=""))
    assert job.names().count("end_input") == 1
    assert job.owner.output_room(STDOUT) == 11
    job.owner.output_received(STDOUT, bytes(11))
    assert is_ended(job)


def test_a_client_that_leaves_without_a_kept_job(rig: Rig) -> None:
    """X-07: its session is over at once."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Goodbye(text=""))
    assert is_ended(rig.user.jobs[0])
    assert rig.sessions == []
    assert rig.realm.logouts == 1
    assert is_refused(resumer)


def test_a_server_that_stops(rig: Rig, logged: list[LogEvent]) -> None:
    """O-09: sessions without a link end too, also those with a kept job, and the stop waits for their jobs."""
    resumers = [Resumer(rig) for _ in range(3)]
    for resumer in resumers:
        resumer.client.say(KEPT)
    resumers[0].lose()
    resumers[1].client.say(Goodbye(text=""))
    resumers[1].client.wire.lose()
    stopped: list[object] = []
    rig.factory.go_away("the server is stopping").addCallback(stopped.append)
    assert all(is_ended(job) for job in rig.user.jobs)
    assert rig.sessions == []
    resumers[2].client.exchange()
    assert resumers[2].client.heard()[-1] == Goodbye(text="the server is stopping")
    resumers[2].client.wire.lose()
    for job in rig.user.jobs:
        assert stopped == []
        job.end()
    assert len(stopped) == 1
    assert rig.realm.logouts == 3
    assert failures(logged) == []


@pytest.mark.parametrize("data", [frame(b""), b"\x01\x00\x00\x00", frame(b"\xff"), frame(b"\x20")], ids=range(4))
def test_a_breach_ends_the_session(rig: Rig, data: bytes) -> None:
    """S-03: nothing more is believed of a client that has broken the protocol: its jobs are made to end."""
    resumer = Resumer(rig)
    resumer.client.say(KEPT)
    resumer.client.send(data)
    assert resumer.client.wire.aborted()
    assert is_ended(rig.user.jobs[0])
    assert rig.sessions == []
    assert is_refused(resumer)


# How many.


def test_too_many_sessions_without_a_link(rig: Rig, logged: list[LogEvent]) -> None:
    """M-16: of one key there may be so many; of one more, the one that lost its link first is ended for it."""
    rig.checker.answer = lambda: b"anybody"
    resumers = []
    for number in range(MAX_DETACHED_PER_KEY):
        resumers.append(Resumer(rig))
        resumers[-1].client.say(Open(channel=1, command=f"{number}", keep=True))
    other = Resumer(rig, which=1)
    other.client.say(KEPT)
    other.lose()
    order = [*range(3, MAX_DETACHED_PER_KEY), *range(3)]
    for number in order:
        resumers[number].lose()
        rig.clock.advance(1)
    assert len(rig.sessions) == MAX_DETACHED_PER_KEY + 1
    resumers.append(Resumer(rig))
    assert len(rig.sessions) == MAX_DETACHED_PER_KEY + 2
    resumers[-1].lose()
    assert [job.request.command for job in rig.user.jobs if is_ended(job)] == ["3"]
    assert is_refused(resumers[3])
    assert len(rig.sessions) == MAX_DETACHED_PER_KEY + 1
    assert is_alive(resumers[4].resume())
    assert is_alive(other.resume())
    assert any("more than 16 sessions without a link" in formatEvent(event) for event in logged)


def test_sessions_without_a_link_count(rig: Rig) -> None:
    """M-16: a session counts among those of its key until it is over, with a link or without."""
    resumers = [Resumer(rig) for _ in range(MAX_SESSIONS_PER_KEY)]
    for resumer in resumers[:3]:
        resumer.client.say(KEPT)
        resumer.lose()
    refused = rig.connect()
    refused.send(frame(refused.auth(rig.pin)))
    assert refused.frames() == [b"\x03"]
    is_alive(resumers[0].resume())
    (session, *_) = rig.sessions
    session.end("enough")
    assert is_alive(rig.log_in())


def test_what_waits_is_bounded(rig: Rig) -> None:
    """M-16: a session without a link holds a window of each stream, and lets its jobs write no more."""
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
