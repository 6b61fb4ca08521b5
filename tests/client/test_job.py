"""One job over a real connection: its streams live, its signals, its end."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from tests.client.test_connection import first_line, gone
from tests.link.wire import collecting_log, failures
from tests.serving import asynchronous
from twisted_rsh import Connection, Job, JobEnd
from twisted_rsh.core.endings import Exited, OutcomeUnknown, Refused, Signalled
from twisted_rsh.core.errors import LocalProtocolError
from twisted_rsh.core.limits import DEFAULT_WINDOW, START_WINDOWS


@asynchronous
async def test_streams_are_live(connection: Connection) -> None:
    """Input is answered while the job runs, and the encoding is known once it does."""
    job = connection.start("cat; echo over >&2")
    before = job.encoding
    for line in (b"one\n", b"two\n"):
        await job.stdin.write(line)
        assert await job.stdout.read() == line
    assert (before, job.encoding) == (None, "utf-8")
    job.stdin.end()
    assert [piece async for piece in job.stdout] == []
    assert [piece async for piece in job.stderr] == [b"over\n"]
    end = await job.wait()
    assert (end.ending, end.held_open) == (Exited(0), False)
    assert await job.wait() == end


@asynchronous
async def test_unread_output_stops_the_job(connection: Connection) -> None:
    """H-02: unread output waits on the other side; H-03: it is complete when it is read."""
    granted = START_WINDOWS * DEFAULT_WINDOW  # once a quarter of the first window was read
    size = 4 * granted
    job = connection.start(f"head -c {size} /dev/zero; echo over >&2")
    first = len(await job.stdout.read())
    alive = await connection.run("echo alive")
    assert alive.text == "alive\n"
    assert sum(map(len, job.stdout._chunks)) <= granted
    assert not job.stderr._chunks
    assert first + sum([len(piece) async for piece in job.stdout]) == size
    assert await job.stderr.read() == b"over\n"
    assert (await job.wait()).ending == Exited(0)


@asynchronous
async def test_signals_reach_the_job(connection: Connection) -> None:
    """C-10: a signal is the whole group's, and the job may answer it."""
    job = connection.start("trap 'echo got; exit 7' USR1; echo ready; while :; do sleep 0.05; done")
    assert await first_line(job) == "ready"
    job.send_signal("USR1")
    assert await first_line(job) == "got"
    assert (await job.wait()).ending == Exited(7)
    job.send_signal("USR1")
    job = connection.start("sleep 1000 & echo $!; sleep 1000 | sleep 1000 & echo $!; wait")
    pids = [int(pid) for pid in (await read_words(job, 2))]
    job.send_signal("KILL")
    assert (await job.wait()).ending == Signalled("KILL")
    await gone(*pids)


async def read_words(job: Job, count: int) -> list[bytes]:
    """Read so many words of a job's output."""
    text = b""
    while len(text.split()) < count or not text.endswith(b"\n"):
        text += await job.stdout.read()
    return text.split()


@asynchronous
async def test_signal_that_does_not_exist(connection: Connection) -> None:
    """A wrong name is the caller's mistake, and harms no job."""
    job = connection.start("cat")
    with pytest.raises(LocalProtocolError):
        job.send_signal("NOPE")
    job.stdin.end()
    assert (await job.wait()).ending == Exited(0)


@asynchronous
async def test_stopped_output_is_a_broken_pipe(connection: Connection) -> None:
    """H-06: a job whose output is not wanted any more gets SIGPIPE, and its end still comes."""
    job = connection.start(["yes"])
    await job.stdout.read()
    job.stdout.stop()
    assert (await job.wait()).ending == Signalled("PIPE")
    while await job.stdout.read():
        pass


@asynchronous
async def test_input_that_the_job_closes(connection: Connection) -> None:
    """H-07: a write to a job that reads no more fails with a broken pipe."""
    job = connection.start("exec <&-; echo closed; sleep 1000")
    assert await first_line(job) == "closed"
    with pytest.raises(BrokenPipeError):
        await job.stdin.write(bytes(2 * DEFAULT_WINDOW))
    with pytest.raises(BrokenPipeError):
        await job.stdin.write(b"more")
    job.stdin.end()
    job.close()
    await job.wait()


@asynchronous
async def test_end_of_input_after_the_end_of_the_job(connection: Connection) -> None:
    """Ending, or writing to, the input of a job that has ended does no harm."""
    job = connection.start("exit 4")
    assert (await job.wait()).ending == Exited(4)
    with pytest.raises(BrokenPipeError):
        await job.stdin.write(b"late")
    job.stdin.end()


@asynchronous
async def test_closing_ends_the_job(connection: Connection) -> None:
    """X-07: a job of no more interest is ended, and its ending still comes."""
    job = connection.start("echo $$; exec sleep 1000")
    pid = int(await first_line(job))
    job.close()
    job.close()
    with pytest.raises(BrokenPipeError):
        await job.stdin.write(b"late")
    assert isinstance((await job.wait()).ending, Signalled)
    assert await job.stdout.read() == b""
    await gone(pid)


@asynchronous
async def test_closing_before_the_answer(connection: Connection) -> None:
    """A job may be given up before the server has said a word about it."""
    job = connection.start("exec sleep 1000")
    job.close()
    assert isinstance((await job.wait()).ending, Signalled)
    refused = connection.start(["no-such-program"])
    refused.close()
    assert isinstance((await refused.wait()).ending, Refused)


@asynchronous
async def test_cancelled_wait_ends_the_job(connection: Connection) -> None:
    """X-07: a cancelled wait ends the job; other waits get its ending, and may be cancelled at that moment."""
    job = connection.start("echo $$; exec sleep 1000")
    pid = int(await first_line(job))
    impatient, patient, late = job.wait(), job.wait(), job.wait()

    def stop_the_other(end: JobEnd) -> JobEnd:
        late.cancel()
        return end

    patient.addCallback(stop_the_other)
    impatient.cancel()
    with pytest.raises(CancelledError):
        await impatient
    assert isinstance((await patient).ending, Signalled)
    with pytest.raises(CancelledError):
        await late
    await gone(pid)
    assert (await connection.run("echo alive")).text == "alive\n"


def raise_error(*_values: object) -> None:
    """Make a mistake, as an application's function may."""
    raise LookupError("a mistake of the application")


@pytest.mark.uncut("the test looks whether the link lasts")
@asynchronous
async def test_readers_that_raise(connection: Connection) -> None:
    """A job has its ending, and the session its link and its end, whatever the functions raise that take the output."""
    outages: list[str | None] = []
    connection.watch_link(outages.append)
    job, endless, other = connection.start("echo out"), connection.start("sleep 1000"), connection.start("sleep 1000")
    job.stdout.forward(raise_error, raise_error)
    job.stderr.forward(raise_error, raise_error)
    endless.stdout.forward(raise_error, raise_error)
    with collecting_log() as events:
        assert (await job.wait()).ending == Exited(0)
        await connection.close()
    assert isinstance((await endless.wait()).ending, OutcomeUnknown)
    assert isinstance((await other.wait()).ending, OutcomeUnknown)
    assert outages == []
    assert [event["log_failure"].type for event in failures(events)] == [LookupError] * 4


@asynchronous
async def test_left_behind_process_is_marked(connection: Connection) -> None:
    """X-04: a process that the job left behind does not hold its ending, which tells of it."""
    job = connection.start("sleep 5 & echo $!; exit 7")
    pid = int(await first_line(job))
    end = await job.wait()
    assert (end.ending, end.held_open) == (Exited(7), True)
    await connection.run(["kill", str(pid)])
