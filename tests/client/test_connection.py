"""Commands run over a real connection: everything that a caller can ask for, and every ending."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.python.failure import Failure

from tests.server_process import is_running, wait_until_gone
from tests.serving import Serving, asynchronous, cut, reactor
from twisted_rsh import Connection, Grace, Job, Terminal
from twisted_rsh.client.errors import SessionLost
from twisted_rsh.core.endings import Exited, OutcomeUnknown, RefusalReason, Refused, Signalled, TimedOut
from twisted_rsh.core.limits import MAX_CONTROL_BYTES, MAX_REFUSED_CHANNELS, MAX_REQUEST_BYTES, SessionLimits
from twisted_rsh.core.requests import JobRequest


async def first_line(job: Job) -> str:
    """Read until the first line of a job's output is complete."""
    text = b""
    while not text.endswith(b"\n"):
        piece = await job.stdout.read()
        assert piece
        text += piece
    return text.decode().strip()


async def gone(*pids: int) -> None:
    """Wait until processes are gone, while the reactor, which the server runs on, goes on."""
    from twisted.internet.threads import deferToThread

    await deferToThread(wait_until_gone, *pids)


@asynchronous
async def test_command_line_and_argument_vector(connection: Connection) -> None:
    """A string is for the user's shell; a sequence is a program and its arguments, and no shell sees it."""
    result = await connection.run("printf '%s|' a  'b  c' $((1+1))")
    assert (result.text, result.command) == ("a|b  c|2|", "printf '%s|' a  'b  c' $((1+1))")
    result = await connection.run(["printf", "%s|", "a  b", "$x", ""])
    assert (result.text, result.command) == ("a  b|$x||", ("printf", "%s|", "a  b", "$x", ""))
    with pytest.raises(ValueError, match="names at least the program"):
        connection.run([])


@asynchronous
async def test_stdin_is_sent_and_ended(connection: Connection) -> None:
    """H-08: the command gets all of its input, more than any window, and then the end."""
    data = bytes(range(256)) * 8192
    result = await connection.run(["cat"], stdin=data)
    assert result.check().stdout == data
    result = await connection.run("exec <&-; exit 5", stdin=data)
    assert result.ending == Exited(5)


@asynchronous
@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (JobRequest(command="true", max_output=-1), "not an integer from 0 to "),
        (JobRequest(command="true", on_disconnect=Grace(-1)), "a grace below 0 seconds"),
        (JobRequest(command="true", terminal=Terminal(columns=0)), "not an integer from 1 to 65535"),
        (JobRequest(command="true", terminal=Terminal(term="x" * 65)), "longer than 64 bytes"),
        (JobRequest(subsystem="x" * 65), "longer than 64 bytes"),
    ],
)
async def test_values_out_of_their_bounds(connection: Connection, request_: JobRequest, text: str) -> None:
    """A value that cannot be sent is refused as such; the line does not blame the length of the command."""
    ending = (await connection.open(request_).wait()).ending
    assert isinstance(ending, Refused)
    assert ending.reason is RefusalReason.NOT_SUPPORTED
    assert ending.text.startswith(f"the request has a value out of its bounds: {text}")


@asynchronous
@pytest.mark.parametrize(("program", "term"), [("\ud800", "dumb"), ("", "\ud800")])
async def test_names_that_are_no_text(connection: Connection, program: str, term: str) -> None:
    """The name of a shell or of a terminal with a character that no text has is refused, like such a command."""
    request_ = JobRequest(shell=program, terminal=Terminal(term=term))
    ending = (await connection.open(request_).wait()).ending
    assert isinstance(ending, Refused)
    assert ending.reason is RefusalReason.BAD_TEXT


@asynchronous
async def test_folder_and_environment(connection: Connection, tmp_path: Path) -> None:
    """The working folder and the additions to the environment are as asked for."""
    result = await connection.run('pwd; echo "$GREETING"', cwd=str(tmp_path), environment={"GREETING": "汉 字"})
    assert result.check().text == f"{tmp_path.resolve()}\n汉 字\n"
    result = await connection.run("pwd", cwd=str(tmp_path / "missing"))
    assert isinstance(result.ending, Refused)
    assert result.ending.reason is RefusalReason.BAD_CWD
    assert (result.encoding, result.status) == ("utf-8", 255)


@asynchronous
async def test_time_out_ends_the_command(connection: Connection) -> None:
    """X-07: when its time is up the command is gone, and what it wrote is there."""
    result = await connection.run("echo $$; exec sleep 1000", timeout=0.3)
    assert result.ending == TimedOut(0.3)
    await gone(int(result.stdout))


@asynchronous
async def test_signal_is_the_ending(connection: Connection) -> None:
    """A command that a signal ended did not exit."""
    assert (await connection.run("kill -9 $$")).ending == Signalled("KILL")


@asynchronous
async def test_slow_command_does_not_delay_others(connection: Connection) -> None:
    """H-05: while one command waits and another one's output is not read, others come and go."""
    slow = connection.start("cat")
    unread = connection.start("yes")
    results = await gatherResults([connection.run(["echo", str(number)]) for number in range(10)])
    assert [result.text for result in results] == [f"{number}\n" for number in range(10)]
    unread.close()
    slow.stdin.end()
    assert (await slow.wait()).ending == Exited(0)
    assert (await unread.wait()).ending != Exited(0)


@asynchronous
async def test_cancelling_ends_the_remote_command(connection: Connection, tmp_path: Path) -> None:
    """X-07: a cancelled run leaves no process behind, and the shell goes on."""
    fifo = tmp_path / "fifo"
    (await connection.run(["mkfifo", str(fifo)])).check()
    running = connection.run('echo $$ > "$FIFO"; exec sleep 1000', environment={"FIFO": str(fifo)})
    pid = int((await connection.run(["cat", str(fifo)])).stdout)
    assert is_running(pid)
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    await gone(pid)
    assert (await connection.run("echo alive")).text == "alive\n"


@asynchronous
async def test_refusals_are_endings(connection: Connection) -> None:
    """X-02: whatever cannot be started is refused, by the server or here, with a reason and a line."""
    cases: list[tuple[str | list[str], RefusalReason]] = [
        (["no-such-program"], RefusalReason.NOT_FOUND),
        (["/"], RefusalReason.NOT_EXECUTABLE),
        ("", RefusalReason.BAD_TEXT),
        ("a\0b", RefusalReason.BAD_TEXT),
        ("echo \ud800", RefusalReason.BAD_TEXT),
        ("x" * (MAX_REQUEST_BYTES + 1), RefusalReason.TOO_LONG),
        ("x" * (MAX_CONTROL_BYTES + 1), RefusalReason.TOO_LONG),
        (["true", "x" * (MAX_CONTROL_BYTES + 1)], RefusalReason.TOO_LONG),
    ]
    for command, reason in cases:
        result = await connection.run(command, stdin=b"unread")
        assert isinstance(result.ending, Refused), command
        assert result.ending.reason is reason
        assert result.ending.text.isprintable()
        if reason is RefusalReason.TOO_LONG:
            assert str(MAX_REQUEST_BYTES) in result.ending.text
        assert (result.stdout, result.stderr) == (b"", b"")
    result = await connection.run(["true"], environment={"A\ud800": "1"})
    assert isinstance(result.ending, Refused)
    assert result.ending.reason is RefusalReason.BAD_TEXT
    result = await connection.run(["true"], environment={"A": "1" * (MAX_CONTROL_BYTES + 1)}, cwd="/")
    assert isinstance(result.ending, Refused)
    assert result.ending.reason is RefusalReason.TOO_LONG
    assert (await connection.run("echo alive")).text == "alive\n"


@asynchronous
async def test_refused_job_is_as_any_other(connection: Connection) -> None:
    """A job that was never sent has streams at their end, an ending, and methods that do nothing."""
    job = connection.start("\ud800")
    assert await job.stdout.read() == b""
    assert [piece async for piece in job.stderr] == []
    with pytest.raises(BrokenPipeError):
        await job.stdin.write(b"x")
    job.stdin.end()
    job.stdout.stop()
    job.send_signal("INT")
    job.close()
    assert isinstance((await job.wait()).ending, Refused)


@asynchronous
async def test_more_jobs_than_the_server_has_room_for(serving: Serving) -> None:
    """H-09: one job too many is refused by the server, and far too many are refused here; the shell goes on."""
    connection = await serving.connect()
    limit = SessionLimits().max_channels
    jobs = [connection.start(["cat"]) for _ in range(limit)]
    endings = await gatherResults([connection.run("true") for _ in range(MAX_REFUSED_CHANNELS + 1)])
    refused = [result.ending for result in endings if isinstance(result.ending, Refused)]
    assert {ending.reason for ending in refused} == {RefusalReason.TOO_MANY_CHANNELS}
    assert len(refused) == MAX_REFUSED_CHANNELS + 1
    assert all("the server's --max-jobs-per-session" in ending.text for ending in refused)
    for job in jobs:
        job.stdin.end()
    assert {(await job.wait()).ending for job in jobs} == {Exited(0)}
    assert (await connection.run("echo alive")).text == "alive\n"


@asynchronous
async def test_closing_ends_everything(serving: Serving) -> None:
    """A closed shell has ended its commands, here and there, and starts no more."""
    connection = await serving.connect()
    before = connection.lost
    job = connection.start("echo $$; exec sleep 1000")
    pid = int(await first_line(job))
    waiting = job.wait()
    closing = connection.close()
    assert (await waiting).ending == OutcomeUnknown("the connection was closed")
    await closing
    await connection.close()
    assert await connection.when_lost() == "the connection was closed"
    assert (before, connection.lost) == (None, "the connection was closed")
    with pytest.raises(SessionLost, match="was closed"):
        connection.start("true")
    with pytest.raises(SessionLost, match="was closed"):
        connection.run("true")
    job.close()
    job.send_signal("TERM")
    job.stdout.stop()
    await gone(pid)


@pytest.mark.uncut("the session is told to end with its connection")
@asynchronous
async def test_connection_lost_under_a_command(serving: Serving, tmp_path: Path) -> None:
    """X-06: a lost connection makes the outcome unknown; what came until then is there, and nothing is invented."""
    connection = await serving.connect(resume=False)
    lost = connection.when_lost()
    running = connection.run(f"echo before; echo wrong >&2; echo > {tmp_path}/written; exec sleep 1000")
    # What a process has written before another is started arrives before that one's output.
    while not (tmp_path / "written").exists():
        await connection.run(["true"])
    job = connection.start("echo $$; exec sleep 1000")
    pid = int(await first_line(job))
    cut(connection, "the cable was cut")
    result = await running
    assert result.ending == OutcomeUnknown("the connection was lost: the cable was cut")
    assert (result.stdout, result.stderr) == (b"before\n", b"wrong\n")
    assert result.status == 255
    assert isinstance((await job.wait()).ending, OutcomeUnknown)
    assert await lost == "the connection was lost: the cable was cut"
    await gone(pid)


@pytest.mark.uncut("the last word of a server that ends the session can be lost with its link")
@asynchronous
async def test_server_that_stops_says_so(serving: Serving) -> None:
    """O-09: a server that stops ends the session with a word; the outcome is unknown and says why."""
    connection = await serving.connect()
    job = connection.start("echo ready; exec sleep 1000")
    assert await first_line(job) == "ready"
    lost = connection.when_lost()
    stopping = serving.service.stopService()
    ending = (await job.wait()).ending
    assert isinstance(ending, OutcomeUnknown)
    assert ending.text
    assert await lost == ending.text
    await stopping
    serving.service.startService()
    await serving.service.when_listening()


@pytest.mark.uncut("the session is told to end with its connection")
@asynchronous
async def test_waiting_for_the_end_of_the_connection_can_be_given_up(serving: Serving) -> None:
    """A cancelled wait is not fired; the callback of the first that is may cancel the others."""
    connection = await serving.connect(resume=False)
    errors: list[object] = []

    def note(failure: Failure) -> None:
        errors.append(failure.type)

    given_up, first, second = connection.when_lost(), connection.when_lost(), connection.when_lost()
    for waiting in (given_up, second):
        waiting.addErrback(note)
    given_up.cancel()
    assert errors == [CancelledError]
    told: Deferred[None] = Deferred()

    def stop_the_others(_: str) -> None:
        second.cancel()
        told.callback(None)

    first.addCallback(stop_the_others)
    cut(connection)
    await told
    assert errors == [CancelledError, CancelledError]
    assert reactor.running
