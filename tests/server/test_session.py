"""A session with its link: several jobs at once, their flow, and its lines in the log."""

from __future__ import annotations

from twisted.logger import LogEvent, formatEvent

from tests.link.wire import client_key
from tests.server.rig import Rig
from twisted_rsh import JobEnd, Result
from twisted_rsh.core.endings import (
    Exited,
    RefusalReason,
    Refused,
)
from twisted_rsh.core.limits import DEFAULT_WINDOW, START_WINDOWS, SessionLimits
from twisted_rsh.core.messages import (
    Open,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.server.session import IDLE_SECONDS

STDIN, STDOUT, STDERR = Stream

OPEN = Open(channel=1, request=JobRequest(command="true"))


def test_a_stalled_job_beside_a_busy_one(rig: Rig) -> None:
    """H-05: a job whose output the client does not take does not hold another job's."""
    connected = rig.connected()
    stalled = connected.connection.start("stalled")
    busy = connected.connection.start("busy")
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
    """H-07: a job that takes no input gets a window of it, and the client holds the rest."""
    connected = rig.connected()
    remote = connected.connection.start("sleep")
    written: list[None] = []
    remote.stdin.write(bytes(200_000_000)).addCallback(written.append)
    connected.exchange()
    (job,) = rig.user.jobs
    assert len(job.input) == DEFAULT_WINDOW
    assert written == []
    job.owner.input_consumed(DEFAULT_WINDOW)
    connected.exchange()
    assert len(job.input) == DEFAULT_WINDOW + START_WINDOWS * DEFAULT_WINDOW
    closed: list[None] = []
    connected.connection.close().addCallback(closed.append)
    job.end()
    connected.exchange()
    assert closed == [None]


def test_too_many_jobs() -> None:
    """H-09: the server refuses one job more than the session may have, and has room again when one ends."""
    rig = Rig(SessionLimits(max_channels=2))
    connected = rig.connected()
    ends: list[JobEnd] = []
    for command in ("one", "two", "three"):
        connected.connection.start(command).wait().addCallback(ends.append)
    connected.exchange()
    assert len(rig.user.jobs) == 2
    (end,) = ends
    assert isinstance(end.ending, Refused)
    assert end.ending.reason is RefusalReason.TOO_MANY_CHANNELS
    assert end.ending.text == "this session has 2 jobs, as many as the server's --max-jobs-per-session allows"
    rig.user.jobs[0].end()
    connected.exchange()
    connected.connection.start("four")
    connected.exchange()
    assert [job.request.command for job in rig.user.jobs] == ["one", "two", "four"]


def test_the_log_of_a_connection(rig: Rig, logged: list[LogEvent]) -> None:
    """One line names the account and its key, one says that the link was lost, and one that the session is over."""
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
        f"session {shown} of {account} is over: 'no client resumed it in time'",
    ]
    assert all(client.session.hex() not in line for line in lines)


def test_a_whole_command(rig: Rig) -> None:
    """Client and server together: the output is the input."""
    connected = rig.connected()
    results: list[Result] = []
    connected.connection.run(["cat"], stdin=b"input").addCallback(results.append)
    connected.exchange()
    (job,) = rig.user.jobs
    assert job.request.argv == ("cat",)
    job.owner.output_received(STDOUT, job.input)
    job.end()
    connected.exchange()
    assert [(result.stdout, result.ending) for result in results] == [(b"input", Exited(0))]
    assert OUTPUTS == (STDOUT, STDERR)
