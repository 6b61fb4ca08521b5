"""A command that a signal has stopped has not ended, and the user learns why it hangs."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from twisted.internet.defer import Deferred

from tests.cli.screens import Screen, open_pipe
from tests.cli.terminal import Console, pid_shown
from tests.client.test_connection import first_line
from tests.server_process import HOST, ServerProcess, finish, read_line
from tests.serving import asynchronous
from twisted_rsh import Connection, Job, Terminal
from twisted_rsh.core.endings import Exited

pytestmark = [pytest.mark.real, pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell")]

STOPPED = "[the command is stopped by STOP; send it CONT to go on]"
GOES_ON = "[the command goes on]"


def told(job: Job, signal: str | None) -> Deferred[None]:
    """Wait until a job is reported as suspended, or as going on."""
    waiting: Deferred[None] = Deferred()

    def watcher(state: str | None) -> None:
        assert state == job.suspended
        if state == signal:
            stop()
            stop()
            waiting.callback(None)

    stop = job.watch_suspension(watcher)
    return waiting


def state_of(job: Job) -> str | None:
    """Return the state of a job now."""
    return job.suspended


@asynchronous
async def test_the_job_tells(connection: Connection) -> None:
    """A job's state is known, a watcher is told of each change once, and the job ends as it would have."""
    job, states = connection.start("echo $$; kill -STOP $$; read line; exit 3"), list[str | None]()
    stop = job.watch_suspension(states.append)
    await first_line(job)
    await told(job, "STOP")
    assert state_of(job) == "STOP"
    job.send_signal("CONT")
    await told(job, None)
    assert state_of(job) is None
    stop()
    job.send_signal("STOP")
    await told(job, "STOP")
    job.stdin.end()
    job.send_signal("CONT")
    assert (await job.wait()).ending == Exited(3)
    assert job.suspended is None
    assert states == ["STOP", None]


@asynchronous
async def test_a_stopped_job_can_be_ended(connection: Connection) -> None:
    """A job that goes on only to end is not reported as going on."""
    job, states = connection.start("exec sleep 1000"), list[str | None]()
    job.watch_suspension(states.append)
    job.send_signal("STOP")
    await told(job, "STOP")
    job.close()
    await job.wait()
    assert states == ["STOP"]
    assert job.suspended is None


@pytest.mark.parametrize(("quiet", "terminal"), [(False, None), (True, None), (False, Terminal())])
@asynchronous
async def test_what_the_user_sees(connection: Connection, quiet: bool, terminal: Terminal | None) -> None:
    """The user gets two lines on stderr, but not with ``-q``, nor on a terminal, where the keys are the job's."""
    screen, (reading, writing) = Screen(open_pipe(), open_pipe(), quiet=quiet), open_pipe()
    job = connection.start("kill -STOP $$; read line; exit 3", terminal=terminal)
    running = Deferred.fromCoroutine(screen.foreground.run(job, reading))
    await told(job, "STOP")
    goes_on = told(job, None)
    job.send_signal("CONT")
    await goes_on
    os.write(writing, b"\n")
    assert await running == Exited(3)
    _, stderr = await screen.written()
    assert stderr.decode() == ("" if quiet or terminal is not None else f"{STOPPED}\n{GOES_ON}\n")
    assert job._suspension_watchers._watchers == []
    screen.close()
    os.close(reading)
    os.close(writing)


def line_of(client: subprocess.Popen[bytes]) -> str:
    """Read one line of a client's stderr."""
    assert client.stderr is not None
    return client.stderr.readline().decode().rstrip("\n")


def test_a_command(server: ServerProcess) -> None:
    """X-01: ``kill -STOP`` is a line on stderr, ``CONT`` another, and the exit status is the command's."""
    with server.start(HOST, "echo $$; read line; exit 3") as client:
        pid = int(read_line(client))
        os.kill(pid, signal.SIGSTOP)
        assert line_of(client) == STOPPED
        os.kill(pid, signal.SIGCONT)
        assert line_of(client) == GOES_ON
        assert client.poll() is None
        status, stdout, stderr = finish(client)  # with the end of its input
    assert (status, stdout, stderr) == (3, b"", b"")


def test_a_script(server: ServerProcess) -> None:
    """The same for the shell that reads a script."""
    with server.start(HOST) as client:
        assert client.stdin is not None
        client.stdin.write(b"echo $$; kill -STOP $$; exit 3\n")
        client.stdin.close()
        client.stdin = None
        pid = int(read_line(client))
        assert line_of(client) == STOPPED
        os.kill(pid, signal.SIGCONT)
        status, stdout, _ = finish(client)
    assert (status, stdout) == (3, b"")


def test_a_console_on_pipes(server: ServerProcess, console: Console) -> None:
    """The line appears while the command hangs."""
    terminal = console(server, "-T")
    terminal.enter("sh -c 'echo $$; kill -STOP $$; read line; exit 3'")
    pid = pid_shown(terminal)
    terminal.shows(STOPPED)
    os.kill(pid, signal.SIGCONT)
    terminal.shows(GOES_ON)
    terminal.type("\r")
    terminal.shows("[status 3]")
    terminal.enter("exit 0")
    assert terminal.end() == 0
