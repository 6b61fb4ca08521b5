"""What a session adds to its jobs: limits of output, sizes, persistent shells, and ends that travel together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from zope.interface import implementer

from tests.server.rig import Rig, ScriptedJob
from twisted_rsh.core.endings import Exited, JobEnd, Limit, LimitReached, RefusalReason, Refused, ResourceUsage
from twisted_rsh.core.limits import MAX_UNACKNOWLEDGED, SessionLimits
from twisted_rsh.core.messages import Ack, Close, Data, End, Exit, Goodbye, Open, Opened, Resize
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.interfaces import IJobOwner, IShellJob, JobRefused
from twisted_rsh.link.framed_link import CLOSE_SECONDS
from twisted_rsh.server.job import ENDS_HELD_SECONDS


@implementer(IShellJob)
class ScriptedShell(ScriptedJob):
    """A persistent shell that notes what it is told.

    :ivar ready: what to call when it takes commands.
    :ivar commands: what it was asked to run.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner) -> None:
        super().__init__(request, owner)
        self.ready: list[Callable[[], None]] = []
        self.commands: list[ScriptedJob] = []

    def when_ready(self, call: Callable[[], None]) -> None:
        """See IShellJob."""
        self.ready.append(call)

    def start_command(self, request: JobRequest, owner: IJobOwner) -> ScriptedJob:
        """See IShellJob."""
        if self.commands:
            raise JobRefused(RefusalReason.SHELL_BUSY, "one at a time")
        self.commands.append(ScriptedJob(request, owner))
        return self.commands[-1]


@pytest.fixture
def rig() -> Rig:
    """A server whose user starts scripted jobs, and scripted shells where a shell is asked for."""
    rig = Rig(SessionLimits(max_channels=8))
    start = rig.user.start_job

    def start_job(request: JobRequest, owner: IJobOwner) -> ScriptedJob:
        if request.shell is None:
            job = start(request, owner)
            assert isinstance(job, ScriptedJob)
            return job
        rig.user.jobs.append(ScriptedShell(request, owner))
        return rig.user.jobs[-1]

    rig.user.start_job = start_job  # type: ignore[method-assign]  # the one user of this rig
    return rig


def shell_of(rig: Rig, at: int = 0) -> ScriptedShell:
    """Return the shell that was started."""
    shell = rig.user.jobs[at]
    assert isinstance(shell, ScriptedShell)
    return shell


def ended(channel: int, ending: object, stdout: int = 0, stderr: int = 0) -> Exit:
    """Return the last message of a channel."""
    return Exit(channel=channel, ending=ending, stdout=stdout, stderr=stderr, held_open=False)  # type: ignore[arg-type]  # an ending


def test_output_up_to_its_limit(rig: Rig) -> None:
    """As many bytes as allowed, on both outputs together, are no reason to end a job."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x", max_output=5)))
    (job,) = rig.user.jobs
    assert job.owner.output_room(Stream.STDOUT) == 6
    job.owner.output_received(Stream.STDOUT, b"abc")
    job.owner.output_received(Stream.STDERR, b"de")
    assert job.owner.output_room(Stream.STDOUT) == 1
    job.end()
    client.exchange()
    assert client.heard()[-1] == ended(1, Exited(0), 3, 2)
    assert "terminate" not in job.names()


def test_one_byte_beyond_the_limit_of_output(rig: Rig) -> None:
    """The client gets what is allowed to the last byte; the job is ended, and that is its ending."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x", max_output=5)))
    (job,) = rig.user.jobs
    job.owner.output_received(Stream.STDERR, b"de")
    job.owner.output_received(Stream.STDOUT, b"abcd")
    assert job.calls == [("terminate",), ("close_output", Stream.STDOUT), ("close_output", Stream.STDERR)]
    job.end(Exited(1))
    client.exchange()
    assert client.heard() == [
        Opened(channel=1, encoding="utf-8"),
        Data(1, Stream.STDERR, 0, b"de"),
        Data(1, Stream.STDOUT, 0, b"abc"),
        ended(1, LimitReached(Limit.OUTPUT, 5), 3, 2),
    ]


def test_no_output_allowed_at_all(rig: Rig) -> None:
    """A limit of nothing holds already for what a job writes while it is being started."""
    rig.user.script = lambda job: job.owner.output_received(Stream.STDOUT, b"x")
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x", max_output=0)))
    (job,) = rig.user.jobs
    assert "terminate" in job.names()
    job.end()
    client.exchange()
    assert client.heard()[-1] == ended(1, LimitReached(Limit.OUTPUT, 0))


def test_the_first_reason_counts(rig: Rig) -> None:
    """A job that exceeds its output and then its time ended because of its output."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x", max_output=1, timeout=1.0)))
    (job,) = rig.user.jobs
    job.owner.output_received(Stream.STDOUT, b"xy")
    rig.clock.advance(1)
    job.end()
    client.exchange()
    assert client.heard()[-1] == ended(1, LimitReached(Limit.OUTPUT, 1), 1)


def test_what_a_job_took_is_told(rig: Rig) -> None:
    """Times and memory arrive with the ending."""
    usage = ResourceUsage(wall=1.5, user=0.25, system=0.125, peak_memory=4096)
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x")))
    (job,) = rig.user.jobs
    job.owner.job_ended(JobEnd(Exited(0), held_open=True, usage=usage))
    client.exchange()
    exit_message = client.heard()[-1]
    assert exit_message == Exit(channel=1, ending=Exited(0), stdout=0, stderr=0, held_open=True, usage=usage)


def test_the_end_of_a_stream_alone(rig: Rig) -> None:
    """The end of a stream waits a moment for the end of the job, and then goes out without it."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x")))
    (job,) = rig.user.jobs
    for stream in OUTPUTS:
        job.owner.output_ended(stream)
    client.exchange()
    assert client.heard() == [Opened(channel=1, encoding="utf-8")]
    rig.clock.advance(ENDS_HELD_SECONDS)
    client.exchange()
    assert client.heard() == [End(1, Stream.STDOUT, 0), End(1, Stream.STDERR, 0)]
    job.owner.job_ended(JobEnd(Exited(0)))
    client.exchange()
    assert client.heard() == [ended(1, Exited(0))]


def test_sizes_reach_the_job(rig: Rig) -> None:
    """A terminal is asked for and given another size; after the job's end a size changes nothing."""
    client = rig.log_in()
    terminal = Terminal(term="xterm", columns=80, rows=24, modes=(("ECHO", 1),))
    client.say(Open(channel=1, request=JobRequest(command="x", terminal=terminal)), Resize(1, 132, 50))
    (job,) = rig.user.jobs
    assert job.request.terminal == terminal
    assert job.calls == [("resize", 132, 50)]
    job.end()
    client.say(Resize(1, 80, 24))
    assert job.calls == [("resize", 132, 50)]
    assert not client.wire.is_over


def test_a_shell_is_open_when_it_is_ready(rig: Rig) -> None:
    """The request for a shell is answered when the shell takes commands."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(shell="")))
    assert client.heard() == []
    (call,) = shell_of(rig).ready
    call()
    client.exchange()
    assert client.heard() == [Opened(channel=1, encoding="utf-8")]


def test_a_shell_that_does_not_get_ready(rig: Rig) -> None:
    """It is refused, and was never open; that it gets ready afterwards changes nothing."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(shell="fish")))  # noqa: S604 - a field of the message, nothing is run
    refusal = Refused(RefusalReason.SHELL_FAILED, "no such dialect")
    shell = shell_of(rig)
    shell.owner.job_ended(JobEnd(refusal))
    client.exchange()
    assert client.heard() == [ended(1, refusal)]
    shell.ready[0]()
    client.exchange()
    assert client.heard() == []


def test_a_command_in_a_shell(rig: Rig) -> None:
    """It is the shell that starts it, with streams and an ending of its own; a second one is the shell's to refuse."""
    client = rig.log_in()
    client.say(
        Open(channel=1, request=JobRequest(shell="")),
        Open(channel=2, request=JobRequest(command="cd /", in_shell=1, max_output=1)),
    )
    shell = shell_of(rig)
    (command,) = shell.commands
    assert (command.request.command, len(rig.user.jobs)) == ("cd /", 1)
    command.owner.output_received(Stream.STDOUT, b"/")
    client.say(Open(channel=3, request=JobRequest(command="pwd", in_shell=1)))
    command.end(Exited(3))
    client.exchange()
    assert client.heard() == [
        Opened(channel=2, encoding="utf-8"),
        Data(2, Stream.STDOUT, 0, b"/"),
        ended(3, Refused(RefusalReason.SHELL_BUSY, "one at a time")),
        ended(2, Exited(3), 1),
    ]


@pytest.mark.parametrize("host", [1, 2, 7])
def test_a_command_for_no_shell(rig: Rig, host: int) -> None:
    """A channel without a shell, with one that has ended, and none at all: the command is refused."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x")), Open(channel=2, request=JobRequest(shell="")))
    shell_of(rig, 1).end()
    client.heard()
    client.say(Open(channel=3, request=JobRequest(command="pwd", in_shell=host)))
    text = f"there is no persistent shell on channel {host}, or not any more"
    client.exchange()
    assert client.heard()[-1] == ended(3, Refused(RefusalReason.SHELL_GONE, text))
    assert not client.wire.is_over


def test_last_words_wait_for_earlier_ones(rig: Rig) -> None:
    """O-09: a client that is slow to acknowledge still gets everything up to GOODBYE before the link is closed."""
    client = rig.log_in()
    rounds = MAX_UNACKNOWLEDGED // 2 + 1
    for channel in range(1, rounds + 1):
        client.say(Open(channel=channel, request=JobRequest(command="x")))
        rig.user.jobs[-1].end()
        client.say(Close(channel))
        client.say(Ack(0))
    client.exchange()
    assert len([message for message in client.heard() if not isinstance(message, Ack)]) == MAX_UNACKNOWLEDGED
    rig.factory.go_away("bye")
    client.exchange()
    assert client.heard() == []
    assert not client.closed
    client.say(Ack(MAX_UNACKNOWLEDGED))
    client.exchange()
    assert client.heard()[-1] == Goodbye(text="bye")
    assert client.closed


def test_last_words_do_not_wait_for_ever(rig: Rig) -> None:
    """O-09: a client that never acknowledges anything is left all the same."""
    client = rig.log_in()
    for channel in range(1, MAX_UNACKNOWLEDGED // 2 + 2):
        client.say(Open(channel=channel, request=JobRequest(command="x")))
        rig.user.jobs[-1].end()
        client.say(Close(channel))
    gone: list[object] = []
    rig.factory.go_away("bye").addCallback(gone.append)
    rig.clock.advance(CLOSE_SECONDS)
    client.exchange()
    assert Goodbye(text="bye") not in client.heard()
    assert client.closed
    rig.clock.advance(CLOSE_SECONDS)
    assert len(gone) == 1
