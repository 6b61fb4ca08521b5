"""A job that was asked for with RUN: its first output waits for a moment, and goes with the answer."""

from __future__ import annotations

from tests.link.wire import RawClient, frame
from tests.server.rig import Rig, ScriptedJob, ended
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.endings import (
    Exited,
    JobEnd,
    Limit,
    LimitReached,
    OutcomeUnknown,
    ResourceUsage,
    Signalled,
    TimedOut,
)
from twisted_rsh.core.limits import MAX_REPLY_OUTPUT_BYTES
from twisted_rsh.core.messages import Close, Data, End, Exit, Open, Opened, Reply, Run, Signal, Stop, Suspended
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.server.job import ENDS_HELD_SECONDS, OPENED_HELD_SECONDS

STDIN, STDOUT, STDERR = Stream

USAGE = ResourceUsage(wall=1.0, user=0.5, system=0.25, peak_memory=None)
RUN = Run(channel=1, request=JobRequest(command="true"))


def ask(client: RawClient, *messages: Message) -> None:
    """Send messages in one piece; no time passes."""
    client.send(b"".join(frame(payload) for message in messages for payload in client.payloads(message)))
    client.exchange()


def end(job: ScriptedJob, code: int = 0) -> None:
    """Let a job end, in a way that REPLY can tell."""
    for stream in (STDOUT, STDERR):
        job.owner.output_ended(stream)
    job.owner.job_ended(JobEnd(Exited(code), usage=USAGE))


def test_all_in_one(rig: Rig) -> None:
    """All that a short job writes, and its end, is one frame; the next RUN closes its channel."""
    client = rig.log_in()
    for channel in (1, 2):
        ask(client, Run(channel=channel, request=JobRequest(command="true"), closes=channel - 1))
        job = rig.user.jobs[-1]
        assert job.calls == [("end_input",)]
        job.owner.output_received(STDOUT, b"out")
        job.owner.output_received(STDERR, b"err")
        job.owner.output_received(STDOUT, b"put")
        assert job.owner.output_room(STDOUT) == MAX_REPLY_OUTPUT_BYTES - 9
        end(job, 3)
        client.exchange()
        whole = JobEnd(Exited(3), usage=USAGE)
        assert client.heard() == [Reply(channel=channel, encoding="utf-8", stdout=b"output", stderr=b"err", end=whole)]


def test_no_timer_is_left(rig: Rig) -> None:
    """A job that was told in one frame leaves no timer behind, once the one that all jobs share has found nothing."""
    client = rig.log_in()
    before = len(rig.clock.getDelayedCalls())
    ask(client, RUN)
    end(rig.user.jobs[0])
    rig.clock.advance(OPENED_HELD_SECONDS)
    assert len(rig.clock.getDelayedCalls()) == before


def test_output_waits_no_longer_than_the_answer(rig: Rig) -> None:
    """The first output of a job that goes on comes with the answer, and everything behind it as ever."""
    client = rig.log_in()
    ask(client, RUN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, b"out")
    job.owner.output_ended(STDERR)
    rig.clock.advance(OPENED_HELD_SECONDS)
    client.exchange()
    assert client.heard() == [Reply(channel=1, encoding="utf-8", stdout=b"out")]
    rig.clock.advance(ENDS_HELD_SECONDS)
    client.exchange()
    assert client.heard() == [End(1, STDERR, 0)]
    job.owner.output_received(STDOUT, b"put")
    client.exchange()
    assert client.heard() == [Data(1, STDOUT, 3, b"put")]
    end(job)
    client.exchange()
    (told,) = client.heard()
    assert isinstance(told, Exit)
    assert (told.stdout, told.stderr) == (6, 0)


def test_more_than_the_answer_holds(rig: Rig) -> None:
    """A job that writes more than the answer holds is answered at once, with what was held."""
    client = rig.log_in()
    ask(client, RUN)
    (job,) = rig.user.jobs
    assert job.owner.output_room(STDERR) == MAX_REPLY_OUTPUT_BYTES
    job.owner.output_received(STDERR, bytes(MAX_REPLY_OUTPUT_BYTES - 1))
    job.owner.output_received(STDOUT, b"ab")
    client.exchange()
    held = Reply(channel=1, encoding="utf-8", stderr=bytes(MAX_REPLY_OUTPUT_BYTES - 1))
    assert client.heard() == [held, Data(1, STDOUT, 0, b"ab")]


def test_a_full_answer_makes_room(rig: Rig) -> None:
    """A job that has filled the answer, and asks for room, has that of its window."""
    client = rig.log_in()
    ask(client, RUN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, bytes(MAX_REPLY_OUTPUT_BYTES))
    assert job.owner.output_room(STDOUT) == rig.limits.window - MAX_REPLY_OUTPUT_BYTES
    rig.clock.advance(OPENED_HELD_SECONDS)
    client.exchange()
    assert client.heard() == [Reply(channel=1, encoding="utf-8", stdout=bytes(MAX_REPLY_OUTPUT_BYTES))]


def test_the_answer_to_open_holds_nothing(rig: Rig) -> None:
    """Output of a job that was asked for with OPEN goes as ever."""
    client = rig.log_in()
    ask(client, Open(channel=1, request=RUN.request), End(1, STDIN, 0))
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, b"out")
    client.exchange()
    assert client.heard() == [Opened(channel=1, encoding="utf-8"), Data(1, STDOUT, 0, b"out")]


def test_a_time_out_and_a_limit(rig: Rig) -> None:
    """Time-outs and limits hold, and what the job had written comes before its end."""
    client = rig.log_in()
    ask(client, Run(channel=1, request=JobRequest(command="x", timeout=0.005)))
    ask(client, Run(channel=2, request=JobRequest(command="x", max_output=3)))
    late, loud = rig.user.jobs
    late.owner.output_received(STDOUT, b"out")
    rig.clock.advance(0.005)
    assert late.calls == [("end_input",), ("terminate",)]
    late.end(Signalled("HUP"))
    client.exchange()
    heard = client.heard()
    assert heard[-2:] == [Reply(channel=1, encoding="utf-8", stdout=b"out"), ended(1, TimedOut(0.005), 3)]
    assert loud.owner.output_room(STDOUT) == 4
    loud.owner.output_received(STDOUT, b"loud")
    loud.end(Signalled("HUP"))
    client.exchange()
    assert client.heard()[-1] == ended(2, LimitReached(Limit.OUTPUT, 3), 3)


def test_a_signal_and_a_suspension(rig: Rig) -> None:
    """A signal reaches the job; when it is suspended, the client learns that behind what was written."""
    client = rig.log_in()
    ask(client, RUN, Signal(channel=1, signal="STOP"))
    (job,) = rig.user.jobs
    assert job.calls == [("end_input",), ("send_signal", "STOP")]
    job.owner.output_received(STDOUT, b"out")
    job.owner.job_stopped("STOP")  # type: ignore[attr-defined]  # of ISuspensionListener
    client.exchange()
    assert client.heard() == [Reply(channel=1, encoding="utf-8", stdout=b"out"), Suspended(channel=1, signal="STOP")]


def test_an_output_that_is_stopped(rig: Rig) -> None:
    """What was held of an output that the client has stopped is dropped."""
    client = rig.log_in()
    ask(client, RUN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, b"out")
    ask(client, Stop(1, STDOUT))
    assert job.calls[-1] == ("close_output", STDOUT)
    end(job)
    client.exchange()
    assert client.heard() == [Reply(channel=1, encoding="utf-8", end=JobEnd(Exited(0), usage=USAGE))]


def test_a_close_of_a_short_job(rig: Rig) -> None:
    """CLOSE ends the job, whose end is still told."""
    client = rig.log_in()
    ask(client, RUN, Close(1))
    (job,) = rig.user.jobs
    assert job.calls[-1] == ("terminate",)
    end(job)
    client.exchange()
    assert client.heard() == [Reply(channel=1, encoding="utf-8", end=JobEnd(Exited(0), usage=USAGE))]


def test_an_input_that_is_closed(rig: Rig) -> None:
    """A job that closes its input, which has ended with the request, is no reason to answer."""
    client = rig.log_in()
    ask(client, RUN)
    (job,) = rig.user.jobs
    job.owner.input_closed()
    client.exchange()
    assert client.heard() == []


def test_an_end_that_cannot_travel(rig: Rig) -> None:
    """An application's end that no message can tell becomes an unknown one, behind the output."""
    client = rig.log_in()
    ask(client, RUN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, b"out")
    job.owner.job_ended(JobEnd(Exited(-1), usage=USAGE))
    client.exchange()
    reply, told = client.heard()
    assert reply == Reply(channel=1, encoding="utf-8", stdout=b"out")
    assert isinstance(told, Exit)
    assert isinstance(told.ending, OutcomeUnknown)


def test_a_job_without_its_client(rig: Rig) -> None:
    """What a job writes and how it ends while its client is away is told when that comes back."""
    client = rig.log_in()
    ask(client, RUN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, b"out")
    client.wire.lose()
    rig.clock.advance(OPENED_HELD_SECONDS)
    end(job)
    (session,) = rig.sessions
    core = session.core
    assert [payload[0] for _, payload in core._outbox.log] == [0x2E, 0x23]
