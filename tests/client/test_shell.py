"""A shell that remembers, over a real connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, gatherResults

from tests.execution.owners import until
from tests.server_process import is_running
from tests.serving import asynchronous
from tests.tools import require_tool
from twisted_rsh import Connection, Terminal
from twisted_rsh.client.errors import SessionLost, ShellRefused
from twisted_rsh.core.endings import Exited, Limit, LimitReached, RefusalReason, Refused, TimedOut
from twisted_rsh.core.limits import MAX_SCRIPT_BYTES

SHELLS = ["bash", "dash", "zsh"]


@pytest.mark.parametrize("program", SHELLS)
@pytest.mark.parametrize("terminal", [None, Terminal()])
@asynchronous
async def test_it_remembers(connection: Connection, tmp_path: Path, program: str, terminal: Terminal | None) -> None:
    """Folder, variables, functions, options, umask and limits outlive the command that set them."""
    shell = await connection.open_shell(require_tool(program), terminal=terminal, environment={"GIVEN": "given"})
    assert shell.encoding == "utf-8"
    await shell.run(
        f"cd {tmp_path}; variable='a b'; greet() {{ echo \"hello $1\"; }}; umask 027; ulimit -n 77; set -o noglob"
    )
    result = await shell.run('pwd; echo "$variable"; greet you; umask; ulimit -n; echo *; echo $GIVEN')
    lines = result.text.replace("\r\n", "\n").splitlines()
    assert lines[:3] == [str(tmp_path), "a b", "hello you"]
    assert int(lines[3], 8) == 0o027
    assert lines[4:] == ["77", "*", "given"]
    assert result.ending == Exited(0)
    shell.close()
    await shell.wait()


@asynchronous
async def test_each_command_has_its_own(connection: Connection) -> None:
    """Input, both outputs, status, time-out and limit of output belong to one command."""
    shell = await connection.open_shell("bash")
    result = await shell.run("cat; echo err >&2; (exit 7)", stdin=b"input")
    assert (result.stdout, result.stderr, result.ending) == (b"input", b"err\n", Exited(7))
    result = await shell.run("echo begun; sleep 100; echo not", timeout=0.5)
    assert (result.stdout, result.ending) == (b"begun\n", TimedOut(0.5))
    result = await shell.run("yes", max_output=1001)
    assert (len(result.stdout), result.ending) == (1001, LimitReached(Limit.OUTPUT, 1001))
    result = await shell.run("echo $?; cat")
    assert result.stderr == b""
    assert result.stdout.endswith(b"\n")


@pytest.mark.parametrize("program", SHELLS)
@asynchronous
async def test_an_end_of_input_that_no_command_read(connection: Connection, program: str) -> None:
    """On a terminal the end of one command's input is not that of the next, which may read what is typed."""
    shell = await connection.open_shell(require_tool(program), terminal=Terminal(modes=(("ECHO", 0),)))
    for _ in range(5):
        await shell.run("true")
    job = shell.start("cat; echo over")
    await job.stdin.write(b"typed\n")
    assert await job.stdout.read() == b"typed\r\n"
    job.stdin.end()
    assert await job.stdout.read() == b"over\r\n"
    assert (await job.wait()).ending == Exited(0)


@asynchronous
async def test_the_end_of_input_is_the_terminals(connection: Connection) -> None:
    """X-16: the end of a command's input is what its terminal takes for it then, whatever character that is."""
    shell = await connection.open_shell("bash", terminal=Terminal(modes=(("ECHO", 0), ("VEOF", 5))))
    result = await shell.run("cat; echo over", stdin=b"no newline")
    assert (result.text, result.ending) == ("no newlineover\r\n", Exited(0))
    result = await shell.run("stty raw; head -c 3; stty sane -echo; echo over", stdin=b"raw")
    assert (result.text, result.ending) == ("rawover\r\n", Exited(0))


@asynchronous
async def test_turns(connection: Connection) -> None:
    """Commands that are asked for at once run one after another; one that is started beside another is refused."""
    shell = await connection.open_shell("dash")
    results = await gatherResults([shell.run(f"n=$((n+1)); echo {i} $n") for i in range(5)])
    assert [result.text for result in results] == [f"{i} {i + 1}\n" for i in range(5)]
    job = shell.start("cat")
    refused = (await shell.start("echo no").wait()).ending
    assert isinstance(refused, Refused)
    assert refused.reason is RefusalReason.SHELL_BUSY
    waiting = shell.run("echo never")
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    job.stdin.end()
    assert (await job.wait()).ending == Exited(0)
    assert (await shell.run("echo still")).text == "still\n"


@asynchronous
async def test_interrupted(connection: Connection) -> None:
    """A signal ends the command and not the shell, whatever it was doing."""
    shell = await connection.open_shell("bash")
    for command in ("echo ready; sleep 100; echo not", "echo ready; while :; do :; done"):
        job = shell.start(command)
        assert await job.stdout.read() == b"ready\n"
        job.send_signal("INT")
        assert (await job.wait()).ending == Exited(130)
    assert (await shell.run("echo alive")).text == "alive\n"


@pytest.mark.parametrize(("text", "code"), [("exit 3", 3), ("set -e; false; echo not", 1), ("exec sh -c 'exit 5'", 5)])
@asynchronous
async def test_the_end_of_the_shell(connection: Connection, text: str, code: int) -> None:
    """A command that ends the shell gives both its ending; later commands are refused."""
    shell = await connection.open_shell("bash")
    assert (await shell.run(text)).ending == Exited(code)
    assert (await shell.wait()).ending == Exited(code)
    late = (await shell.run("echo late")).ending
    assert isinstance(late, Refused)
    assert late.reason is RefusalReason.SHELL_GONE


@asynchronous
async def test_between_commands(connection: Connection) -> None:
    """The output of a background process between commands is the shell's own."""
    shell = await connection.open_shell("bash")
    result = await shell.run("(read x </dev/null; sleep 0.2; echo later) & echo now")
    assert result.text == "now\n"
    assert await shell.stdout.read() == b"later\n"


@asynchronous
async def test_no_such_shell(connection: Connection, tmp_path: Path) -> None:
    """A shell that is not there, cannot be executed or is none is refused in one line."""
    (tmp_path / "bash").write_text("")
    for program, words in (
        ("/no/such/bash", "command not found"),
        (str(tmp_path / "bash"), "Permission denied"),
        ("python3", "cannot be a persistent shell"),
    ):
        with pytest.raises(ShellRefused, match=words):
            await connection.open_shell(program)


@asynchronous
async def test_long_and_odd_text(connection: Connection) -> None:
    """A command may be as long as its bound, of many lines, and wrong; one byte more is refused."""
    shell = await connection.open_shell("dash")
    assert (await shell.run("cat <<'X'\n'a' \"b\" $c\nX\n")).text == "'a' \"b\" $c\n"
    assert (await shell.run("echo 'open")).ending == Exited(2)
    padding = MAX_SCRIPT_BYTES - len("echo fits #")
    assert (await shell.run("echo fits #" + "x" * padding)).text == "fits\n"
    ending = (await shell.run("echo fits #" + "x" * (padding + 1))).ending
    assert isinstance(ending, Refused)
    assert ending.reason is RefusalReason.TOO_LONG
    assert (await shell.run("echo alive")).text == "alive\n"


@asynchronous
async def test_the_end_of_the_session(connection: Connection) -> None:
    """X-07: with the shell the shell ends, and all that it has started."""
    shell = await connection.open_shell("bash")
    result = await shell.run("sleep 1000 & echo $!; echo $$")
    pids = [int(word) for word in result.text.split()]
    assert all(map(is_running, pids))
    running = shell.start("sleep 1000")
    await connection.close()
    await until(lambda: not any(map(is_running, pids)))
    assert "closed" in str((await running.wait()).ending)
    with pytest.raises(SessionLost):
        await shell.run("true")
    with pytest.raises(SessionLost):
        await connection.open_shell()


@asynchronous
async def test_limits_of_a_shell(connection: Connection) -> None:
    """The limits that a shell is given hold for all that it runs together."""
    shell = await connection.open_shell("bash", max_cpu=0.2)
    result = await shell.run("echo begun; while :; do :; done")
    assert result.text == "begun\n"
    assert result.ending == LimitReached(Limit.CPU, 200)
    assert (await shell.wait()).ending == LimitReached(Limit.CPU, 200)
