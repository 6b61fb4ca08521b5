"""A session at a server: its jobs, their flow and their endings, and what an application's errors may cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import client_key, failures, frame
from tests.server.rig import NO_RESUME, Rig, ScriptedJob
from twisted_rsh import JobEnd, Result
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.endings import (
    Exited,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    Signalled,
    TimedOut,
)
from twisted_rsh.core.events import ChannelOpened, SignalReceived
from twisted_rsh.core.limits import DEFAULT_WINDOW, MAX_TEXT_BYTES, SessionLimits
from twisted_rsh.core.messages import (
    Close,
    Credit,
    Data,
    End,
    Exit,
    Goodbye,
    Open,
    Opened,
    Signal,
    Stop,
)
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.link.framed_link import CLOSE_SECONDS
from twisted_rsh.server.job import OPENED_HELD_SECONDS
from twisted_rsh.server.session import IDLE_SECONDS

STDIN, STDOUT, STDERR = Stream
OPEN = Open(channel=1, command="true")


def exits(messages: list[Message]) -> list[Exit]:
    """Return the endings among some messages."""
    return [message for message in messages if isinstance(message, Exit)]


def job_lines(logged: list[LogEvent]) -> list[str]:
    """Return the log's lines about jobs that have ended."""
    return [formatEvent(event) for event in logged if (event["log_format"] or "").startswith("job of")]


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
        Credit(1, STDOUT, DEFAULT_WINDOW + 1),
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
    """What crosses its end on the way is dropped, and the link lives."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    job.end()
    client.say(Data(1, STDIN, 0, b"late"), Signal(channel=1, signal="INT"))
    assert job.calls == []
    assert not client.wire.is_over


def test_the_client_grants_nothing(rig: Rig) -> None:
    """H-02: a job may write a window of each stream, and then there is no room until the client grants some."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    assert job.fill(STDOUT) == DEFAULT_WINDOW
    assert job.fill(STDERR) == DEFAULT_WINDOW
    assert (job.owner.output_room(STDOUT), job.owner.output_room(STDERR)) == (0, 0)
    client.exchange()
    assert sum(len(message.data) for message in client.heard() if isinstance(message, Data)) == 2 * DEFAULT_WINDOW
    client.say(Credit(1, STDOUT, DEFAULT_WINDOW + 100))
    assert job.calls == [("resume_output", STDOUT)]
    assert job.fill(STDOUT) == 100


def test_a_stalled_job_beside_a_busy_one(rig: Rig) -> None:
    """H-05: a job whose output nobody takes does not hold another one's."""
    connected = rig.connected()
    stalled = connected.shell.start("stalled")
    busy = connected.shell.start("busy")
    connected.exchange()
    taken = 0

    def take(data: bytes) -> None:
        nonlocal taken
        taken += len(data)
        busy.stdout.consumed(len(data))

    busy.stdout.forward(take)
    one, two = rig.user.jobs
    assert one.fill() == DEFAULT_WINDOW
    total = 0
    for _ in range(40):
        total += two.fill()
        connected.exchange()
    assert total == taken
    assert taken > 20 * DEFAULT_WINDOW
    assert one.fill() == 0
    rest = 0

    def take_rest(data: bytes) -> None:
        nonlocal rest
        rest += len(data)

    stalled.stdout.forward(take_rest)
    assert rest == DEFAULT_WINDOW


def test_an_upload_that_nobody_reads(rig: Rig) -> None:
    """H-07: a job that takes no input is given a window of it, and the client waits with the rest."""
    connected = rig.connected()
    remote = connected.shell.start("sleep")
    written: list[None] = []
    remote.stdin.write(bytes(200_000_000)).addCallback(written.append)
    connected.exchange()
    (job,) = rig.user.jobs
    assert len(job.input) == DEFAULT_WINDOW
    assert written == []
    job.owner.input_consumed(DEFAULT_WINDOW)
    connected.exchange()
    assert len(job.input) == 2 * DEFAULT_WINDOW
    closed: list[None] = []
    connected.shell.close().addCallback(closed.append)
    job.end()
    connected.exchange()
    assert closed == [None]


def test_a_job_that_takes_no_more_input(rig: Rig) -> None:
    """H-08: the client is told, and what it still sends is dropped."""
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
    client.say(Open(channel=1, command="true", timeout_ms=5000))
    messages = client.heard()
    assert messages[0] == Opened(channel=1, encoding="utf-8")
    assert messages[-1] == Exit(channel=1, ending=Exited(3), stdout=0, stderr=DEFAULT_WINDOW, held_open=False)
    assert [type(message) for message in messages].count(Opened) == 1
    client.say(Signal(channel=1, signal="INT"))
    rig.clock.advance(6)
    assert rig.user.jobs[0].calls == []


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


def test_events_while_a_job_is_being_started(rig: Rig) -> None:
    """What comes before there is a job to tell is nobody's: a channel whose job has not been started is quiet."""

    def script(job: ScriptedJob) -> None:
        channel: Any = job.owner
        channel.write_input(b"x")
        channel.end_input()
        channel.send_signal("INT")
        channel.resume_output(STDOUT)
        channel.abandon()

    rig.user.script = script
    client = rig.log_in()
    client.say(OPEN)
    assert rig.user.jobs[0].calls == []
    assert client.heard() == [Opened(channel=1, encoding="utf-8")]


def test_events_for_nobody(rig: Rig) -> None:
    """An event for a job that has ended, or one that says nothing to a job, changes nothing."""
    client = rig.log_in()
    client.say(OPEN)
    session = rig.link_of(client)._session
    assert session is not None
    session.jobs.dispatch(SignalReceived(9, "INT"))
    session.jobs.dispatch(ChannelOpened(1, "utf-8"))
    assert rig.user.jobs[0].calls == []


def test_a_job_that_ends_at_once_when_it_is_told(rig: Rig) -> None:
    """A job may end from within the call that closes its output: it is told nothing after that."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs

    def end(stream: Stream) -> None:
        job.end(Signalled("PIPE"))

    job.close_output = end  # type: ignore[method-assign]  # what an application's job may do
    client.say(Close(1))
    assert job.calls == []
    assert [exit_.ending for exit_ in exits(client.heard())] == [Signalled("PIPE")]


def test_a_start_that_fails_behind_the_end(rig: Rig) -> None:
    """S-13: a job that has ended before its start fails has the one ending."""

    def script(job: ScriptedJob) -> None:
        job.end(Exited(5))
        raise RuntimeError

    rig.user.script = script
    client = rig.log_in()
    client.say(OPEN)
    assert [exit_.ending for exit_ in exits(client.heard())] == [Exited(5)]
    rig.user.script = None
    client.say(Open(channel=2, command="true"))
    assert client.heard() == [Opened(channel=2, encoding="utf-8")]


def raising(error: Exception) -> Callable[[ScriptedJob], None]:
    """Return a script that fails."""

    def script(job: ScriptedJob) -> None:
        raise error

    return script


def test_a_refusal(rig: Rig, logged: list[LogEvent]) -> None:
    """A user's refusal is the job's ending."""
    rig.user.script = raising(JobRefused(RefusalReason.NOT_FOUND, "no such thing"))
    client = rig.log_in()
    client.say(OPEN)
    ending = Refused(RefusalReason.NOT_FOUND, "no such thing")
    assert client.heard() == [Exit(channel=1, ending=ending, stdout=0, stderr=0, held_open=False)]
    assert failures(logged) == []
    assert len(job_lines(logged)) == 1


def test_a_user_that_breaks(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: an exception in an application's user costs one job, with one traceback; the link and others live."""
    client, other = rig.log_in(), rig.log_in()
    client.say(OPEN)
    rig.user.script = raising(RuntimeError("a secret of the application"))
    client.say(Open(channel=2, command="true"))
    (exit_,) = exits(client.heard())
    assert isinstance(exit_.ending, Refused)
    assert exit_.ending.reason is RefusalReason.RESOURCES
    assert "secret" not in exit_.ending.text
    assert len(failures(logged)) == 1
    rig.user.script = None
    for one, channel in ((client, 3), (other, 1)):
        one.say(Open(channel=channel, command="true"))
        assert Opened(channel=channel, encoding="utf-8") in one.heard()


MESSAGES: dict[str, list[Message]] = {
    "write_input": [Data(1, STDIN, 0, b"x")],
    "end_input": [End(1, STDIN, 0)],
    "send_signal": [Signal(channel=1, signal="INT")],
    "resume_output": [Credit(1, STDOUT, DEFAULT_WINDOW + 1)],
    "close_output": [Stop(1, STDOUT)],
    "terminate": [Close(1)],
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_job_that_breaks(rig: Rig, name: str, logged: list[LogEvent]) -> None:
    """S-13: an exception in an application's job ends its link; its other jobs are ended, other links live."""
    client, other = rig.log_in(), rig.log_in()
    client.say(OPEN, Open(channel=2, command="true"))
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
    other.say(Open(channel=2, command="true"))
    assert len(rig.user.jobs) == 4
    assert rig.realm.logouts == 1
    assert len(rig.links) == 1


ENDINGS = [Exited(-1), Signalled("NO_SUCH"), OutcomeUnknown("x" * (MAX_TEXT_BYTES + 1)), Exited(2**70)]


@pytest.mark.parametrize("ending", ENDINGS, ids=range(len(ENDINGS)))
def test_an_ending_that_cannot_travel(rig: Rig, ending: Exited, logged: list[LogEvent]) -> None:
    """S-13: an application's job that ends impossibly still ends for its client, and the link lives."""
    client = rig.log_in()
    client.say(OPEN)
    rig.user.jobs[0].end(ending)
    client.exchange()
    (exit_,) = exits(client.heard())
    assert exit_.ending == OutcomeUnknown("the server cannot say how the job ended")
    assert len(failures(logged)) == 1
    client.say(Close(1), Open(channel=2, command="true"))
    assert client.heard() == [Opened(channel=2, encoding="utf-8")]


def test_a_refusal_that_cannot_travel(rig: Rig) -> None:
    """S-13: nor does a refusal in too many words end the link."""
    rig.user.script = raising(JobRefused(RefusalReason.NOT_PERMITTED, "x" * (MAX_TEXT_BYTES + 1)))
    client = rig.log_in()
    client.say(OPEN)
    assert [type(exit_.ending) for exit_ in exits(client.heard())] == [OutcomeUnknown]
    assert not client.wire.is_over


def test_a_time_out(rig: Rig) -> None:
    """At the time given, and no earlier, the job is ended; whatever its end then is, it timed out."""
    client = rig.log_in()
    client.say(Open(channel=1, command="true", timeout_ms=1500))
    (job,) = rig.user.jobs
    rig.clock.advance(1.4)
    assert job.calls == []
    rig.clock.advance(0.1)
    assert job.calls == [("terminate",)]
    job.end(Signalled("HUP"))
    client.exchange()
    assert [exit_.ending for exit_ in exits(client.heard())] == [TimedOut(1.5)]


def test_a_job_that_is_faster_than_its_time_out(rig: Rig) -> None:
    """Its end is its own, and nothing is left on the clock but the session's timer."""
    client = rig.log_in()
    calls = len(rig.clock.getDelayedCalls())
    client.say(Open(channel=1, command="true", timeout_ms=1500))
    rig.user.jobs[0].end(Exited(1))
    client.exchange()
    assert [exit_.ending for exit_ in exits(client.heard())] == [Exited(1)]
    assert len(rig.clock.getDelayedCalls()) == calls


def test_a_time_out_after_the_client_is_gone() -> None:
    """A job that nobody owns any more is told to end twice, which does no harm."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(Open(channel=1, command="true", timeout_ms=1500))
    client.wire.lose()
    (job,) = rig.user.jobs
    rig.clock.advance(2)
    assert job.names().count("terminate") == 2
    job.end()


def test_too_many_jobs() -> None:
    """H-09: as many as the session may have run, one more is refused, and room comes with an end."""
    rig = Rig(SessionLimits(max_channels=2))
    connected = rig.connected()
    ends: list[JobEnd] = []
    for command in ("one", "two", "three"):
        connected.shell.start(command).wait().addCallback(ends.append)
    connected.exchange()
    assert len(rig.user.jobs) == 2
    (end,) = ends
    assert isinstance(end.ending, Refused)
    assert end.ending.reason is RefusalReason.TOO_MANY_CHANNELS
    rig.user.jobs[0].end()
    connected.exchange()
    connected.shell.start("four")
    connected.exchange()
    assert [job.request.command for job in rig.user.jobs] == ["one", "two", "four"]


def test_a_connection_without_its_end(logged: list[LogEvent]) -> None:
    """L-06: a FIN without close_notify is no end of input: without resume the jobs are ended."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(OPEN)
    client.wire.lose(ConnectionDone())
    (job,) = rig.user.jobs
    assert job.names() == ["close_output", "close_output", "terminate"]
    job.fill()
    job.owner.input_consumed(0)
    job.owner.input_closed()
    assert job.owner.output_room(STDOUT) == 0
    job.owner.output_received(STDOUT, b"nobody hears this")
    job.end(Signalled("HUP"))
    assert failures(logged) == []
    assert len(job_lines(logged)) == 1
    assert rig.links == set()


def test_the_end_of_tls_without_goodbye(logged: list[LogEvent]) -> None:
    """L-06: close_notify without GOODBYE likewise."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(OPEN)
    client.connection.shutdown()
    client.exchange()
    (job,) = rig.user.jobs
    assert job.names() == ["close_output", "close_output", "terminate"]
    assert client.wire.is_lost
    assert failures(logged) == []


def test_a_client_that_says_goodbye(rig: Rig) -> None:
    """Its jobs are ended, TLS is closed, and frames behind it are not looked at."""
    client = rig.log_in()
    client.say(OPEN, Goodbye(text="enough"), Open(channel=2, command="true"))
    assert len(rig.user.jobs) == 1
    assert rig.user.jobs[0].names()[-1] == "terminate"
    assert client.closed
    client.connection.shutdown()
    client.exchange()
    assert (rig.links, rig.realm.logouts) == (set(), 1)
    assert not client.wire.aborted()


def test_a_peer_that_ignores_the_end(rig: Rig) -> None:
    """L-07: a peer that never answers close_notify, though it goes on sending, is gone after 5 s."""
    client = rig.log_in()
    client.say(OPEN, Goodbye(text=""))
    rig.clock.advance(CLOSE_SECONDS - 0.1)
    client.send(frame(b"nobody looks at this"))
    assert not client.wire.aborted()
    rig.clock.advance(0.1)
    assert client.wire.aborted()


def test_a_server_that_stops(rig: Rig) -> None:
    """O-09: clients are told, jobs are ended, and the stop is complete when the last has ended and its link is gone."""
    connected, idle, stranger = rig.connected(), rig.connected(), rig.connect()
    remote = connected.shell.start("sleep")
    ends: list[JobEnd] = []
    remote.wait().addCallback(ends.append)
    connected.exchange()
    stopped: list[object] = []
    rig.factory.go_away("the server is stopping").addCallback(stopped.append)
    stranger.exchange()
    connected.exchange()
    idle.exchange()
    assert [end.ending for end in ends] == [OutcomeUnknown("the server is stopping")]
    lost: list[str] = []
    for one in (connected, idle):
        one.shell.when_lost().addCallback(lost.append)
    assert lost == ["the server is stopping"] * 2
    assert stopped == []
    (job,) = rig.user.jobs
    assert job.names()[-1] == "terminate"
    job.end()
    assert len(stopped) == 1
    assert (rig.links - {link for link in rig.links if link.is_over}, rig.realm.logouts) == (set(), 2)


def test_a_stop_waits_for_the_line_to_arrive(rig: Rig) -> None:
    """O-09: without jobs, too, the stop is complete only when the connection is: else nobody would read the line."""
    client = rig.log_in()
    stopped: list[object] = []
    rig.factory.go_away("bye").addCallback(stopped.append)
    assert stopped == []
    client.exchange()
    assert client.heard() == [Goodbye(text="bye")]
    assert client.closed
    assert stopped == []
    rig.clock.advance(CLOSE_SECONDS)
    rig.clock.advance(0)
    assert len(stopped) == 1


def test_a_stop_after_the_client_has_left(rig: Rig) -> None:
    """A link that is closing already does not say goodbye again, and does not hold the stop for ever."""
    client = rig.log_in()
    client.say(OPEN, Goodbye(text=""))
    rig.user.jobs[0].end()
    stopped: list[object] = []
    rig.factory.go_away("bye").addCallback(stopped.append)
    rig.clock.advance(CLOSE_SECONDS)
    client.exchange()
    assert len(stopped) == 1


def test_a_job_that_cannot_be_ended(logged: list[LogEvent]) -> None:
    """S-13: the other jobs of a session are ended although one of them breaks."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(OPEN, Open(channel=2, command="true"))
    bad, good = rig.user.jobs
    bad.raises.add("terminate")
    client.wire.lose()
    assert good.names()[-1] == "terminate"
    assert len(failures(logged)) == 1


@pytest.mark.parametrize("log_commands", [False, True])
@pytest.mark.parametrize("argv", [None, ("rm", "-rf", "\x1b[31m/tmp/secret")])
def test_one_line_for_each_job(log_commands: bool, argv: tuple[str, ...] | None, logged: list[LogEvent]) -> None:
    """O-10: the log names who, how much and how it ended, and the command only where that is wanted."""
    rig = Rig(log_commands=log_commands)
    client = rig.log_in()
    client.say(Open(channel=1, command=None if argv else "cat \x1b /tmp/secret", argv=argv))
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


def test_the_log_of_a_connection(rig: Rig, logged: list[LogEvent]) -> None:
    """One line says who logged in with which key, one that the link was lost, and one that the session is over."""
    rig.user.name = "alice\n\x1b[31m"
    client = rig.log_in()
    client.wire.lose()
    rig.away(IDLE_SECONDS)
    lines = [formatEvent(event) for event in logged if event["log_namespace"].startswith("twisted_rsh")]
    reason = "Connection to the other side was lost in a non-clean fashion: Connection lost"
    shown, account = client.session.hex()[:8], r"alice\n\x1b[31m from 192.0.2.7:50000"
    assert lines == [
        f"{account} logged in with {client_key().fingerprint}: session {shown}",
        f"session {shown} of {account} lost its link: {reason!r}; 0 jobs",
        f"session {shown} of {account} is over: 'nobody resumed it in time'",
    ]
    assert all(client.session.hex() not in line for line in lines)


def test_a_whole_command(rig: Rig) -> None:
    """Client and server together: what goes in comes out."""
    connected = rig.connected()
    results: list[Result] = []
    connected.shell.run(["cat"], stdin=b"input").addCallback(results.append)
    connected.exchange()
    (job,) = rig.user.jobs
    assert job.request.argv == ("cat",)
    job.owner.output_received(STDOUT, job.input)
    job.end()
    connected.exchange()
    assert [(result.stdout, result.ending) for result in results] == [(b"input", Exited(0))]
    assert OUTPUTS == (STDOUT, STDERR)
