"""What a program that keeps a shell gets from it: chunks, output so far, the folder, jobs, and a shell that follows."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock

from tests.execution.owners import reactor, until
from tests.server_process import is_running
from tests.serving import asynchronous
from tests.tools import require_tool
from twisted_rsh import (
    CommandFailed,
    Connection,
    Exited,
    JobState,
    LocalProtocolError,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    SessionLost,
    Shell,
    ShellState,
    Signalled,
    Terminal,
    TimedOut,
)
from twisted_rsh.core.limits import DEFAULT_WINDOW
from twisted_rsh.core.roles import Stream
from twisted_rsh.testing import MemoryPair, ScriptedUser

SHELLS = ["bash", "dash", "zsh"]

STUBBORN = "echo begun; trap '' INT TERM; while :; do :; done"
"""A command that can only be ended with its shell."""


@asynchronous
async def test_chunks(connection: Connection) -> None:
    """Each output comes as it is written, and apart; the result has all of it too."""
    shell = await connection.open_shell("bash")
    chunks: list[tuple[str, bytes]] = []
    next_line: list[Deferred[None]] = [Deferred()]

    def keep(name: str, data: bytes) -> None:
        chunks.append((name, data))
        next_line[0].callback(None)

    job_input = Lines()
    running = shell.run(
        "echo one; read x; echo two >&2; read x; echo three",
        stdin=job_input,
        on_stdout=lambda data: keep("out", data),
        on_stderr=lambda data: keep("err", data),
    )
    for _ in range(3):
        await next_line[0]
        next_line[0] = Deferred()
        job_input.give(b"go\n")
    result = await running
    assert chunks == [("out", b"one\n"), ("err", b"two\n"), ("out", b"three\n")]
    assert (result.stdout, result.stderr) == (b"one\nthree\n", b"two\n")


class Lines:
    """Input whose pieces a test gives one by one."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._waiting: Deferred[None] = Deferred()

    def give(self, data: bytes) -> None:
        """Give a piece."""
        self._pieces.append(data)
        if not self._waiting.called:
            self._waiting.callback(None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            self._waiting = Deferred()
            await self._waiting
        return self._pieces.pop(0)


class Odd(Exception):
    """An error of the caller's."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", ["stdin", "on_stdout", "cancelled"])
@asynchronous
async def test_output_so_far(connection: Connection, fault: str) -> None:
    """Whatever ends a command early, the error has what the command wrote until then; the shell goes on."""
    shell = await connection.open_shell("bash")
    seen: Deferred[None] = Deferred()

    async def failing() -> AsyncIterator[bytes]:
        yield b"line\n"
        await seen
        raise Odd

    def watch(data: bytes) -> None:
        seen.callback(None)
        if fault == "on_stdout":
            raise Odd

    stdin = failing() if fault == "stdin" else b"line\n"
    running = shell.run('read x; echo "so far $x"; sleep 600', stdin=stdin, on_stdout=watch)
    await seen
    if fault == "cancelled":
        running.cancel()
    with pytest.raises(CancelledError if fault == "cancelled" else Odd) as error:
        await running
    cause = error.value.__cause__
    assert isinstance(cause, CommandFailed)
    assert cause.result.stdout == b"so far line\n"
    assert (await shell.run("echo on")).stdout == b"on\n"


@pytest.mark.exhaustive
@asynchronous
async def test_an_error_that_has_a_cause_keeps_it(connection: Connection) -> None:
    """An error that was raised from another still says so."""

    async def failing() -> AsyncIterator[bytes]:
        if connection.connected:
            raise Odd from KeyError("cause")
        yield b""

    with pytest.raises(Odd) as error:
        await connection.run("cat", stdin=failing())
    assert isinstance(error.value.__cause__, KeyError)


@asynchronous
async def test_chunks_of_a_single_command(connection: Connection) -> None:
    """A command of its own has its chunks, too."""
    chunks: list[bytes] = []
    result = await connection.run("echo out; echo err >&2", on_stdout=chunks.append, on_stderr=chunks.append)
    assert sorted(chunks) == [b"err\n", b"out\n"]
    assert (result.stdout, result.stderr, result.folder, result.replaced) == (b"out\n", b"err\n", None, None)


@pytest.mark.exhaustive
@pytest.mark.parametrize("program", SHELLS)
@asynchronous
async def test_folder(connection: Connection, tmp_path: Path, program: str) -> None:
    """Each result has the folder that the shell is in behind the command, also behind one that failed."""
    shell = await connection.open_shell(require_tool(program))
    for command, folder in ((f"cd {tmp_path}", str(tmp_path)), ("cd /usr; false", "/usr"), ("cd /; exit 3", None)):
        assert (await shell.run(command)).folder == folder


@pytest.mark.exhaustive
@pytest.mark.parametrize("terminal", [None, Terminal(modes=(("ECHO", 0),))])
@pytest.mark.parametrize("program", SHELLS)
@asynchronous
async def test_time_out_that_the_shell_survives(
    connection: Connection, program: str, terminal: Terminal | None
) -> None:
    """A command whose time is up has what it wrote; the shell goes on, and remembers."""
    shell = await connection.open_shell(require_tool(program), terminal=terminal, replace=True)
    await shell.run("x=kept")
    result = await shell.run("echo begun; sleep 600", timeout=0.3)
    assert (result.text.strip(), result.ending) == ("begun", TimedOut(0.3))
    assert shell.ending is None
    result = await shell.run("echo $x")
    assert (result.text.strip(), result.replaced) == ("kept", None)


@asynchronous
async def test_jobs(connection: Connection) -> None:
    """The background is listed, between commands and while one runs."""
    shell = await connection.open_shell("bash")
    assert await shell.jobs() == ()
    pid = int((await shell.run("sleep 600 >/dev/null 2>&1 & echo $!")).stdout)
    await until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")  # not bash any more
    running = shell.start("sleep 600")
    for _ in range(2):
        (job,) = await shell.jobs() or ()
        assert (job.pid, job.state, job.command) == (pid, JobState.RUNNING, "sleep 600")
        await running.close()
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("terminal", [None, Terminal()])
@asynchronous
async def test_waits_for_input(connection: Connection, terminal: Terminal | None) -> None:
    """A program learns that a command waits for input, gives it, and learns that it waits no more."""
    shell = await connection.open_shell("bash", terminal=terminal)
    assert await shell.waits_for_input() is False
    job = shell.start('read -r line; echo "got $line"; exec 9<&-; sleep 600')
    while not await shell.waits_for_input():
        pass
    await job.stdin.write(b"input\n")
    while b"got input" not in await job.stdout.read():
        pass
    while await shell.waits_for_input():
        pass
    await job.close()


@pytest.mark.exhaustive
@asynchronous
async def test_questions_at_once(connection: Connection) -> None:
    """Any number of questions may be asked at once; each is answered about a moment behind it."""
    shell = await connection.open_shell("bash")
    questions = [shell.inspect() for _ in range(50)]
    questions[0].cancel()
    with pytest.raises(CancelledError):
        await questions[0]
    questions[10].cancel()
    questions[10].addErrback(lambda failure: failure.trap(CancelledError))
    answers = await gatherResults(questions[1:10] + questions[11:])
    assert {answer.folder for answer in answers} == {answers[0].folder}
    assert answers[0].folder is not None
    running = shell.run("cd /usr; sleep 0.3")
    early = shell.inspect()
    await running
    late = shell.inspect()
    await early
    assert (await late).folder == "/usr"


@pytest.mark.exhaustive
@asynchronous
async def test_questions_about_a_shell_that_ends(connection: Connection) -> None:
    """Of a shell that has ended, or ends first, nothing is known."""
    shell = await connection.open_shell("bash")
    asked = shell.inspect()
    shell.close()
    assert await asked == ShellState()
    await shell.wait()
    assert await shell.inspect() == ShellState()
    assert await shell.jobs() is None
    assert await shell.waits_for_input() is None
    other = await connection.open_shell("bash")
    asked = other.inspect()
    await connection.close()
    assert await asked == ShellState()


def test_questions_when_the_server_is_far_behind() -> None:
    """A question that cannot be asked again has an answer all the same, and costs neither the link nor others."""
    clock, user = Clock(), ScriptedUser({"by hand": None})
    pair = MemoryPair(clock, user)
    connection = pair.run_until_complete(pair.connect())
    shell = pair.run_until_complete(connection.open_shell())
    job = connection.start("by hand")
    pair.run_until_complete(job.when_started())
    user.shells[0].state = ShellState(folder="/usr")
    outages: list[str | None] = []
    connection.watch_link(outages.append)
    answers: list[ShellState] = []
    for _ in range(2):
        shell.inspect().addCallback(answers.append)
    with pytest.raises(LocalProtocolError):
        while True:
            job.send_signal("CONT")
    clock.advance(1)
    assert (sorted(answer.folder or "" for answer in answers), outages) == (["", "/usr"], [])
    shell.inspect().addCallback(answers.append)
    clock.advance(1)
    assert answers[-1].folder == "/usr"
    pair.run_until_complete(pair.close())


@asynchronous
async def test_question_about_a_command(connection: Connection) -> None:
    """Nothing is known about a job that is no shell."""
    async with connection.start("cat") as job:
        await job.when_started()
        assert await job.inspect() == ShellState()


@asynchronous
async def test_aside(connection: Connection) -> None:
    """An aside changes nothing, whether it runs to its end or is cancelled."""
    shell = await connection.open_shell("bash")
    await shell.run('cd /usr; x=1; f() { echo "f $x"; }; (exit 4)')
    result = await shell.run("f; x=2; cd /; exit 5", aside=True)
    assert (result.stdout, result.ending, result.folder) == (b"f 1\n", Exited(5), "/usr")
    job = shell.start("sleep 600", aside=True)
    await job.when_started()
    began = reactor.seconds()
    await job.close()
    assert reactor.seconds() - began < 2
    assert (await shell.run("echo $? $x")).stdout == b"4 1\n"


# A shell that follows


async def killed(shell: Shell) -> None:
    """Have a command kill its shell."""
    result = await shell.run("echo last words; kill -KILL $$; sleep 600")
    assert (result.stdout, result.ending) == (b"last words\n", Signalled("KILL"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("program", SHELLS)
@asynchronous
async def test_replaced(connection: Connection, program: str) -> None:
    """The next command runs in a new shell of the same kind; its result says so, and that of the one behind not."""
    shell = await connection.open_shell(require_tool(program), cwd="/usr", environment={"GIVEN": "g"}, replace=True)
    await shell.run("x=1; cd /")
    await killed(shell)
    result = await shell.run("echo $GIVEN$x; pwd", stdin=b"")
    assert (result.stdout, result.replaced, result.ending) == (b"g\n/usr\n", Signalled("KILL"), Exited(0))
    assert shell.ending is None
    assert (await shell.run("echo on")).replaced is None
    assert (await shell.run("exit 3")).ending == Exited(3)
    with pytest.raises(CommandFailed) as error:
        await shell.run("false", check=True)
    assert error.value.result.replaced == Exited(3)


@pytest.mark.exhaustive
@asynchronous
async def test_replaced_after_a_time_out(connection: Connection) -> None:
    """A command that can only be ended with its shell ends as timed out; the next one runs in a new shell."""
    shell = await connection.open_shell("bash", replace=True)
    result = await shell.run(STUBBORN, timeout=0.2)
    assert (result.stdout, result.ending) == (b"begun\n", TimedOut(0.2))
    await shell.wait()
    assert (await shell.run("echo new")).replaced == Signalled("KILL")


@pytest.mark.exhaustive
@asynchronous
async def test_replaced_while_its_end_is_held_back(connection: Connection) -> None:
    """The shell's own output, which the program does not read, does not hide that the shell has ended."""
    shell = await connection.open_shell("bash", replace=True)
    pid = int((await shell.run("{ sleep 0.1; head -c 2000000 /dev/zero; } & echo $$")).stdout)
    await until(lambda: sum(map(len, shell.stdout._chunks)) == DEFAULT_WINDOW)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not is_running(pid))
    assert shell.ending is None
    result = await shell.run("echo new")
    assert (result.stdout, result.ending) == (b"new\n", Exited(0))
    assert result.replaced is not None


@pytest.mark.exhaustive
@asynchronous
async def test_not_replaced(connection: Connection) -> None:
    """Without `replace`, and once its user has left it, a shell that has ended is gone."""
    shell = await connection.open_shell("bash")
    await killed(shell)
    result = await shell.run("echo new")
    assert isinstance(result.ending, Refused)
    assert (result.ending.reason, result.replaced) == (RefusalReason.SHELL_GONE, None)
    left = await connection.open_shell("bash", replace=True)
    await left.leave()
    assert isinstance((await left.run("echo new")).ending, Refused)
    closed = await connection.open_shell("bash", replace=True)
    await closed.close()
    assert isinstance((await closed.run("echo new")).ending, Refused)


@pytest.mark.exhaustive
@asynchronous
async def test_not_replaced_without_a_session(connection: Connection) -> None:
    """When the session is over there is no other shell to be had."""
    shell = await connection.open_shell("bash", replace=True)
    await killed(shell)
    running = connection.close()
    with pytest.raises(SessionLost):
        await shell.run("echo new")
    await running


# Leaving


@asynchronous
async def test_leaving_waits_its_turn(connection: Connection) -> None:
    """The shell leaves behind the commands that were asked for, and again changes nothing."""
    shell = await connection.open_shell("bash")
    running = shell.run("sleep 0.2; echo run")
    left = shell.leave()
    assert (await running).stdout == b"run\n"
    assert (await left).ending == Exited(0)
    assert (await shell.leave()).ending == Exited(0)


@asynchronous
async def test_leaving_collects_what_was_not_read(connection: Connection) -> None:
    """What the background wrote comes with the end, unless the caller reads it already."""
    shell = await connection.open_shell("bash")
    await shell.run("trap 'echo bye; echo err >&2' EXIT; { sleep 0.1; echo late; } &")
    await until(lambda: bool(shell.stdout._chunks))
    result = await shell.leave()
    assert (result.stdout, result.stderr) == (b"late\nbye\n", b"err\n")
    shell = await connection.open_shell("bash")
    chunks: list[bytes] = []
    shell.stdout.forward(chunks.append)
    await shell.run("trap 'echo bye; echo err >&2' EXIT")
    result = await shell.leave()
    assert (chunks, result.stdout, result.stderr) == ([b"bye\n"], b"", b"err\n")


@pytest.mark.exhaustive
@asynchronous
async def test_leaving_that_is_cancelled(connection: Connection) -> None:
    """A trap that does not end is ended with the shell, and what it wrote until then is known."""
    shell = await connection.open_shell("bash")
    await shell.run("trap 'echo bye; sleep 600' EXIT")
    left = shell.leave()
    channel = connection._jobs._session._channels[shell._job.channel]
    await until(lambda: channel.receives[Stream.STDOUT].received == len(b"bye\n"))
    left.cancel()
    with pytest.raises(CancelledError) as error:
        await left
    assert isinstance(error.value.__cause__, CommandFailed)
    assert error.value.__cause__.result.stdout == b"bye\n"
    assert isinstance(error.value.__cause__.result.ending, OutcomeUnknown)
    await shell.wait()
