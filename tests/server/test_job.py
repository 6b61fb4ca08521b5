"""A job of a session: the events that reach it, its reports to the client, and the cost of an application's errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import failures
from tests.server.resuming import Resumer
from tests.server.rig import Rig, ScriptedJob, exits, job_lines
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.endings import (
    Exited,
    JobEnd,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    Signalled,
)
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelOpened,
    DataReceived,
    RoomGained,
    SignalReceived,
    StreamEnded,
)
from twisted_rsh.core.limits import DEFAULT_WINDOW
from twisted_rsh.core.messages import (
    Close,
    Credit,
    Data,
    End,
    Exit,
    Open,
    Opened,
    Positions,
    Resize,
    Signal,
    Stop,
)
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Stream
from twisted_rsh.interfaces import IJobOwner, JobRefused
from twisted_rsh.link.framed_link import CLOSE_SECONDS

STDIN, STDOUT, STDERR = Stream

OPEN = Open(channel=1, request=JobRequest(command="true"))


def test_a_job_hears_everything(rig: Rig) -> None:
    """Input, its end, signals, room and closed outputs reach the job, in order."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    assert job.fill() == DEFAULT_WINDOW
    client.say(
        Data(1, STDIN, 0, b"input"),
        End(1, STDIN, 5),
        Signal(channel=1, signal="USR1"),
        Credit(1, STDOUT, DEFAULT_WINDOW + 1, 1),
        Stop(1, STDERR),
        Close(1),
    )
    assert job.calls == [
        ("write_input", b"input"),
        ("end_input",),
        ("send_signal", "USR1"),
        ("resume_output", STDOUT),
        ("close_output", STDERR),
        ("close_output", STDOUT),
        ("close_output", STDERR),
        ("terminate",),
    ]
    job.end(Signalled("HUP"))
    client.exchange()
    assert exits(client.heard()) == [
        Exit(channel=1, ending=Signalled("HUP"), stdout=DEFAULT_WINDOW, stderr=0, held_open=False)
    ]


def test_a_job_is_told_nothing_after_its_end(rig: Rig) -> None:
    """An event that crosses the job's end on the way is dropped, and the link lives."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    job.end()
    client.say(Data(1, STDIN, 0, b"late"), Signal(channel=1, signal="INT"))
    assert job.calls == []
    assert not client.wire.is_over


def test_sizes_reach_the_job(rig: Rig) -> None:
    """A request for a terminal and a change of its size reach the job; after its end a change does nothing."""
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


def test_the_client_grants_nothing(rig: Rig) -> None:
    """H-02: a job may write a window of each stream, and more only when the client grants room."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    assert job.fill(STDOUT) == DEFAULT_WINDOW
    assert job.fill(STDERR) == DEFAULT_WINDOW
    assert (job.owner.output_room(STDOUT), job.owner.output_room(STDERR)) == (0, 0)
    client.exchange()
    assert sum(len(message.data) for message in client.heard() if isinstance(message, Data)) == 2 * DEFAULT_WINDOW
    client.say(Credit(1, STDOUT, DEFAULT_WINDOW + 100, 100))
    assert job.calls == [("resume_output", STDOUT)]
    assert job.fill(STDOUT) == 100


def test_a_job_that_takes_no_more_input(rig: Rig) -> None:
    """H-08: the client learns it, and the server drops input that still comes."""
    client = rig.log_in()
    client.say(OPEN)
    client.heard()
    (job,) = rig.user.jobs
    job.owner.input_closed()
    client.exchange()
    assert client.heard() == [Stop(1, STDIN)]
    client.say(Data(1, STDIN, 0, b"late"))
    assert job.calls == []


def test_a_job_that_tells_before_it_is_started(rig: Rig) -> None:
    """A job may report from within start_job: OPENED still comes first, and each report once."""

    def script(job: ScriptedJob) -> None:
        job.owner.input_closed()
        job.fill(STDERR)
        job.end(Exited(3))

    rig.user.script = script
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true", timeout=5.0)))
    messages = client.heard()
    assert messages[0] == Opened(channel=1, encoding="utf-8")
    assert messages[-1] == Exit(channel=1, ending=Exited(3), stdout=0, stderr=DEFAULT_WINDOW, held_open=False)
    assert [type(message) for message in messages].count(Opened) == 1
    client.say(Signal(channel=1, signal="INT"))
    rig.clock.advance(6)
    assert rig.user.jobs[0].calls == []


def test_events_while_a_job_is_being_started(rig: Rig) -> None:
    """Events for a job that has not been started yet are dropped."""

    def script(job: ScriptedJob) -> None:
        channel: Any = job.owner
        channel.happened(DataReceived(1, STDIN, b"x"))
        channel.happened(StreamEnded(1, STDIN))
        channel.happened(SignalReceived(1, "INT"))
        channel.happened(RoomGained(1, STDOUT))
        channel.happened(ChannelAbandoned(1))

    rig.user.script = script
    client = rig.log_in()
    client.say(OPEN)
    assert rig.user.jobs[0].calls == []
    assert client.heard() == [Opened(channel=1, encoding="utf-8")]


def test_events_for_nobody(rig: Rig) -> None:
    """An event for a job that has ended, or one that does not concern a job, changes nothing."""
    client = rig.log_in()
    client.say(OPEN)
    session = rig.link_of(client)._session
    assert session is not None
    session.jobs.happened(SignalReceived(9, "INT"))
    session.jobs.happened(ChannelOpened(1, "utf-8"))
    assert rig.user.jobs[0].calls == []


def test_a_job_that_ends_at_once_when_it_is_told(rig: Rig) -> None:
    """A job may end from within the call that closes its output; no call follows."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs

    def end(stream: Stream) -> None:
        job.end(Signalled("PIPE"))

    job.close_output = end  # type: ignore[method-assign]  # what an application's job may do
    client.say(Close(1))
    assert job.calls == []
    assert [exit_.ending for exit_ in exits(client.heard())] == [Signalled("PIPE")]


def raising(error: Exception) -> Callable[[ScriptedJob], None]:
    """Return a script that fails."""

    def script(job: ScriptedJob) -> None:
        raise error

    return script


def test_a_refusal(rig: Rig, logged: list[LogEvent]) -> None:
    """A refusal by the user object is the job's ending."""
    rig.user.script = raising(JobRefused(RefusalReason.NOT_FOUND, "no such thing"))
    client = rig.log_in()
    client.say(OPEN)
    ending = Refused(RefusalReason.NOT_FOUND, "no such thing")
    assert client.heard() == [Exit(channel=1, ending=ending, stdout=0, stderr=0, held_open=False)]
    assert failures(logged) == []
    assert len(job_lines(logged)) == 1


def test_output_from_a_buffer_that_is_used_again(rig: Rig) -> None:
    """What a resume repeats is what the job wrote, also if it wrote from a buffer that has other bytes by then."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    buffer = bytearray(b"first")
    resumer.client.heard()
    job.owner.output_received(STDOUT, memoryview(buffer))  # type: ignore[arg-type]  # other checkers allow it
    buffer[:] = b"other"
    resumer.lose()
    resumer.resume(Positions(1, ((1, (0, 0)),)))
    assert [message.data for message in resumer.client.heard() if isinstance(message, Data)] == [b"first"]


@pytest.mark.parametrize("data", ["text", None, 7])
def test_output_that_is_no_bytes(rig: Rig, data: Any) -> None:
    """S-13: the mistake is the job's, and costs neither the link nor the session; not a byte of it counts."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    with pytest.raises(TypeError):
        job.owner.output_received(STDOUT, data)
    job.owner.output_received(STDOUT, b"bytes")
    job.end()
    client.exchange()
    assert [(exit_.ending, exit_.stdout) for exit_ in exits(client.heard())] == [(Exited(0), 5)]


def test_a_job_that_refuses_itself(rig: Rig) -> None:
    """A job that ends as refused from within start_job is refused, never opened."""

    def script(job: ScriptedJob) -> None:
        job.owner.job_ended(JobEnd(Refused(RefusalReason.NOT_PERMITTED, "no")))

    rig.user.script = script
    client = rig.log_in()
    client.say(OPEN)
    ending = Refused(RefusalReason.NOT_PERMITTED, "no")
    assert client.heard() == [Exit(channel=1, ending=ending, stdout=0, stderr=0, held_open=False)]
    assert not client.wire.is_over


def test_a_start_that_fails_behind_the_end(rig: Rig) -> None:
    """S-13: a job that ends before its start fails has one ending."""

    def script(job: ScriptedJob) -> None:
        job.end(Exited(5))
        raise RuntimeError

    rig.user.script = script
    client = rig.log_in()
    client.say(OPEN)
    assert [exit_.ending for exit_ in exits(client.heard())] == [Exited(5)]
    rig.user.script = None
    client.say(Open(channel=2, request=JobRequest(command="true")))
    assert client.heard() == [Opened(channel=2, encoding="utf-8")]


@pytest.mark.parametrize("request_", [JobRequest(command="halt"), JobRequest(shell="")])
def test_a_command_that_stops_the_server(rig: Rig, request_: JobRequest) -> None:
    """S-13: a job whose start ends its session is ended like the others, and the stop does not wait for ever."""
    stopped: list[object] = []
    rig.user.script = lambda job: rig.factory.go_away("bye").addCallback(stopped.append)
    client = rig.log_in()
    client.say(Open(channel=1, request=request_))
    client.exchange()
    (job,) = rig.user.jobs
    assert job.names() == ["close_output", "close_output", "terminate"]
    rig.clock.advance(CLOSE_SECONDS)
    assert stopped == []
    job.end()
    assert len(stopped) == 1
    assert rig.clock.getDelayedCalls() == []


def test_a_user_that_breaks(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: an exception in an application's user ends one job, with one traceback; the link and others live."""
    client, other = rig.log_in(), rig.log_in()
    client.say(OPEN)
    rig.user.script = raising(RuntimeError("a secret of the application"))
    client.say(Open(channel=2, request=JobRequest(command="true")))
    (exit_,) = exits(client.heard())
    assert isinstance(exit_.ending, Refused)
    assert exit_.ending.reason is RefusalReason.RESOURCES
    assert "secret" not in exit_.ending.text
    assert len(failures(logged)) == 1
    rig.user.script = None
    for one, channel in ((client, 3), (other, 1)):
        one.say(Open(channel=channel, request=JobRequest(command="true")))
        assert Opened(channel=channel, encoding="utf-8") in one.heard()


async def no_job() -> None:
    """A coroutine in the place of a job."""


@pytest.mark.parametrize("answer", [lambda: None, object, no_job], ids=["None", "an object", "a coroutine"])
@pytest.mark.filterwarnings("ignore:coroutine 'no_job' was never awaited")
def test_a_user_that_starts_no_job(rig: Rig, answer: Callable[[], Any], logged: list[LogEvent]) -> None:
    """S-13: what a user object returns in the place of a job is refused, and named in the log; nothing waits for it."""
    rig.user.start_job = lambda request, owner: answer()  # type: ignore[method-assign]  # a broken application
    client = rig.log_in()
    client.say(OPEN, Open(channel=2, request=JobRequest(shell="", timeout=1.0)))
    assert [exit_.ending for exit_ in exits(client.heard())] == [
        Refused(RefusalReason.RESOURCES, "an error inside the server; its log says more")
    ] * 2
    assert all("it has to provide IJob" in formatEvent(event) for event in failures(logged))
    assert len(failures(logged)) == 2
    stopped: list[object] = []
    rig.factory.go_away("bye").addCallback(stopped.append)
    client.exchange()
    rig.clock.advance(CLOSE_SECONDS)
    assert len(stopped) == 1


def test_a_job_that_ended_before_it_was_returned(rig: Rig, logged: list[LogEvent]) -> None:
    """A user object may return anything for a job that has ended by then."""

    def start(request: JobRequest, owner: IJobOwner) -> Any:
        owner.job_ended(JobEnd(Exited(0)))

    rig.user.start_job = start  # type: ignore[method-assign]  # a job that is over at once
    client = rig.log_in()
    client.say(OPEN)
    assert [exit_.ending for exit_ in exits(client.heard())] == [Exited(0)]
    assert failures(logged) == []


def test_a_job_that_breaks_when_its_time_is_up(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: a job that cannot be ended is given up: its client hears of it, and other jobs go on."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true", timeout=1.0)))
    client.say(Open(channel=2, request=JobRequest(command="true")))
    bad, good = rig.user.jobs
    bad.raises.add("terminate")
    client.heard()
    rig.clock.advance(1)
    client.exchange()
    unknown = OutcomeUnknown("the server could not end the job; its log says more")
    assert [exit_.ending for exit_ in exits(client.heard())] == [unknown]
    assert len(failures(logged)) == 1
    bad.owner.output_received(STDOUT, b"late")
    bad.end()
    good.end()
    client.exchange()
    assert [exit_.ending for exit_ in exits(client.heard())] == [Exited(0)]


def test_jobs_that_break_when_the_server_stops(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: the server does not wait for a job that cannot be ended, and ends one that cannot close its output."""
    client = rig.log_in()
    client.say(OPEN, Open(channel=2, request=JobRequest(command="true")))
    endless, stubborn = rig.user.jobs
    endless.raises.add("terminate")
    stubborn.raises.add("close_output")
    stopped: list[object] = []
    rig.factory.go_away("bye").addCallback(stopped.append)
    client.exchange()
    rig.clock.advance(CLOSE_SECONDS)
    assert [job.names()[-1] for job in (endless, stubborn)] == ["terminate"] * 2
    assert len(failures(logged)) == 2
    assert stopped == []
    stubborn.end()
    assert len(stopped) == 1
    assert rig.clock.getDelayedCalls() == []


@pytest.mark.parametrize("name", ["close_output", "terminate"])
def test_a_job_that_breaks_and_loses_its_link(rig: Rig, name: str) -> None:
    """S-13: a client's CLOSE ends the job also if the job cannot close its output."""
    client = rig.log_in()
    client.say(OPEN)
    (bad,) = rig.user.jobs
    bad.raises.add(name)
    client.say(Close(1))
    assert bad.names()[-1] == "terminate"
    assert client.wire.aborted()


MESSAGES: dict[str, list[Message]] = {
    "write_input": [Data(1, STDIN, 0, b"x")],
    "end_input": [End(1, STDIN, 0)],
    "send_signal": [Signal(channel=1, signal="INT")],
    "resume_output": [Credit(1, STDOUT, DEFAULT_WINDOW + 1, 1)],
    "close_output": [Stop(1, STDOUT)],
    "terminate": [Close(1)],
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_job_that_breaks(rig: Rig, name: str, logged: list[LogEvent]) -> None:
    """S-13: an exception in an application's job ends its link; its other jobs are ended, other links live."""
    client, other = rig.log_in(), rig.log_in()
    client.say(OPEN, Open(channel=2, request=JobRequest(command="true")))
    other.say(OPEN)
    bad, good, _ = rig.user.jobs
    bad.fill()
    bad.raises.add(name)
    client.say(*MESSAGES[name])
    assert client.wire.aborted()
    assert good.names()[-1] == "terminate"
    provoked = [event for event in failures(logged) if "a frame from" in (event["log_format"] or "")]
    assert len(provoked) == 1
    assert len(failures(logged)) == (2 if name in ("close_output", "terminate") else 1)
    other.say(Open(channel=2, request=JobRequest(command="true")))
    assert len(rig.user.jobs) == 4
    assert rig.realm.logouts == 1
    assert len(rig.links) == 1
