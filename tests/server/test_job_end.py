"""The ending of a job: by itself, at a limit, out of time, or in a form that cannot travel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.logger import LogEvent

from tests.link.wire import failures
from tests.server.rig import NO_RESUME, Rig, ScriptedJob, ended, exits, job_lines
from twisted_rsh.core.endings import (
    Exited,
    JobEnd,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    ResourceUsage,
    Signalled,
    TimedOut,
)
from twisted_rsh.core.limits import MAX_TEXT_BYTES
from twisted_rsh.core.messages import (
    Close,
    Data,
    End,
    Exit,
    Open,
    Opened,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.server.job import ENDS_HELD_SECONDS, OPENED_HELD_SECONDS
from twisted_rsh.server.job_line import MAX_LOGGED_CHARACTERS

STDIN, STDOUT, STDERR = Stream

OPEN = Open(channel=1, request=JobRequest(command="true"))


def test_output_up_to_its_limit(rig: Rig) -> None:
    """A job may write as many bytes as its limit allows, on both outputs together."""
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
    """The client gets every byte that the limit allows; then the job is ended, and the limit is its ending."""
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
    """A limit of 0 bytes already holds while the job is being started."""
    rig.user.script = lambda job: job.owner.output_received(Stream.STDOUT, b"x")
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x", max_output=0)))
    (job,) = rig.user.jobs
    assert "terminate" in job.names()
    job.end()
    client.exchange()
    assert client.heard()[-1] == ended(1, LimitReached(Limit.OUTPUT, 0))


def test_the_first_reason_counts(rig: Rig) -> None:
    """A job that exceeds its output and then its time has its output as the reason of its ending."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x", max_output=1, timeout=1.0)))
    (job,) = rig.user.jobs
    job.owner.output_received(Stream.STDOUT, b"xy")
    rig.clock.advance(1)
    job.end()
    client.exchange()
    assert client.heard()[-1] == ended(1, LimitReached(Limit.OUTPUT, 1), 1)


def test_a_time_out(rig: Rig) -> None:
    """The job is ended at its time-out, and no earlier; however it then ends, the time-out is its ending."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true", timeout=1.5)))
    (job,) = rig.user.jobs
    rig.clock.advance(1.4)
    assert job.calls == []
    rig.clock.advance(0.1)
    assert job.calls == [("terminate",)]
    job.end(Signalled("HUP"))
    client.exchange()
    assert [exit_.ending for exit_ in exits(client.heard())] == [TimedOut(1.5)]


def test_a_job_that_is_faster_than_its_time_out(rig: Rig) -> None:
    """A job that ends in time has its own ending, and leaves no timer behind."""
    client = rig.log_in()
    calls = len(rig.clock.getDelayedCalls())
    client.say(Open(channel=1, request=JobRequest(command="true", timeout=1.5)))
    rig.user.jobs[0].end(Exited(1))
    client.exchange()
    assert [exit_.ending for exit_ in exits(client.heard())] == [Exited(1)]
    rig.clock.advance(ENDS_HELD_SECONDS)  # the call that all jobs share
    assert len(rig.clock.getDelayedCalls()) == calls


def test_a_time_out_after_the_client_is_gone() -> None:
    """A job without a session is told twice to end, which does no harm."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true", timeout=1.5)))
    client.wire.lose()
    (job,) = rig.user.jobs
    rig.clock.advance(2)
    assert job.names().count("terminate") == 2
    job.end()


def test_what_a_job_took_is_told(rig: Rig) -> None:
    """The times and the memory of a job arrive with its ending."""
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


ENDINGS = [Exited(-1), Signalled("NO_SUCH"), OutcomeUnknown("x" * (MAX_TEXT_BYTES + 1)), Exited(2**70)]


@pytest.mark.parametrize("ending", ENDINGS, ids=range(len(ENDINGS)))
def test_an_ending_that_cannot_travel(rig: Rig, ending: Exited, logged: list[LogEvent]) -> None:
    """S-13: a job whose ending cannot travel still ends for its client, and the link lives."""
    client = rig.log_in()
    client.say(OPEN)
    rig.user.jobs[0].end(ending)
    client.exchange()
    (exit_,) = exits(client.heard())
    assert exit_.ending == OutcomeUnknown("the server cannot say how the job ended")
    assert len(failures(logged)) == 1
    client.say(Close(1), Open(channel=2, request=JobRequest(command="true")))
    assert client.heard() == [Opened(channel=2, encoding="utf-8")]


NO_ENDINGS: list[Any] = [None, Exited(0), JobEnd(cast("Any", None)), JobEnd(Exited(0), usage=cast("Any", 5))]


@pytest.mark.parametrize("end", NO_ENDINGS, ids=range(len(NO_ENDINGS)))
def test_an_end_that_is_none(rig: Rig, end: Any, logged: list[LogEvent]) -> None:
    """S-13: a job that reports something else than its end has ended all the same: nobody waits for it for ever."""
    client = rig.log_in()
    client.say(OPEN)
    rig.user.jobs[0].owner.job_ended(end)
    client.exchange()
    (exit_,) = exits(client.heard())
    assert exit_.ending == OutcomeUnknown("the server cannot say how the job ended")
    assert len(failures(logged)) == 1
    assert rig.factory.capacity.jobs == 0
    assert not client.wire.is_over


def raising(error: Exception) -> Callable[[ScriptedJob], None]:
    """Return a script that fails."""

    def script(job: ScriptedJob) -> None:
        raise error

    return script


def test_a_refusal_that_cannot_travel(rig: Rig) -> None:
    """S-13: a refusal that is too long does not end the link."""
    rig.user.script = raising(JobRefused(RefusalReason.NOT_PERMITTED, "x" * (MAX_TEXT_BYTES + 1)))
    client = rig.log_in()
    client.say(OPEN)
    assert [type(exit_.ending) for exit_ in exits(client.heard())] == [OutcomeUnknown]
    assert not client.wire.is_over


@pytest.mark.parametrize("log_commands", [False, True])
@pytest.mark.parametrize("argv", [None, ("rm", "-rf", "\x1b[31m/tmp/secret")])
def test_one_line_for_each_job(log_commands: bool, argv: tuple[str, ...] | None, logged: list[LogEvent]) -> None:
    """O-10: the log names the account, the bytes and the ending, and the command only if the operator wants that."""
    rig = Rig(log_commands=log_commands)
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command=None if argv else "cat \x1b /tmp/secret", argv=argv)))
    client.say(Data(1, STDIN, 0, b"12345"))
    (job,) = rig.user.jobs
    rig.clock.advance(2 - 2 * OPENED_HELD_SECONDS)
    job.owner.output_received(STDERR, b"12")
    job.end(Exited(3))
    client.exchange()
    (line,) = job_lines(logged)
    assert ("secret" in line) is log_commands
    assert line.startswith("job of alice from 192.0.2.7:50000: " + ("argv" if argv else "command"))
    assert "stdin 5, stdout 0, stderr 2 bytes" in line
    assert "code=3" in line
    assert line.endswith("2.000 s")
    assert line.isprintable()


@pytest.mark.parametrize(
    "request_",
    [
        JobRequest(command="\udcff" * 1_000_000),
        JobRequest(command="x" * (MAX_LOGGED_CHARACTERS + 1)),
        JobRequest(argv=("x" * 50_000, "y")),
    ],
    ids=["escapes", "text", "argv"],
)
def test_a_long_command_in_the_log(request_: JobRequest, logged: list[LogEvent]) -> None:
    """The log has the beginning of a long command, and says that it is cut."""
    rig = Rig(log_commands=True)
    rig.log_in().say(Open(channel=1, request=request_))
    rig.user.jobs[0].end()
    (line,) = job_lines(logged)
    assert "...," in line
    assert len(line) < MAX_LOGGED_CHARACTERS + 300
