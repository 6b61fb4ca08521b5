"""The ways out of a shell that remembers: its own exit runs its traps, and leaves alone what was detached."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Awaitable, Callable

import pytest

from tests.execution.owners import until
from tests.server_process import is_running
from tests.serving import asynchronous
from tests.tools import require_tool
from twisted_rsh import Connection, Result, Shell, Terminal
from twisted_rsh.cli.program import SCRIPT_COMMAND
from twisted_rsh.core.endings import Exited

pytestmark = pytest.mark.exhaustive  # tests/client/test_kept_shell.py has a quick sample

SHELLS = ["bash", "dash", "zsh"]
TERMINALS = [None, Terminal(modes=(("ECHO", 0),))]


async def by_leaving(shell: Shell) -> Result:
    """Leave the shell."""
    return await shell.leave()


async def by_exit(shell: Shell) -> Result:
    """Run ``exit``, and return its result with what the shell wrote outside of commands."""
    result = await shell.run("exit")
    rest = await shell.leave()
    assert rest.ending == result.ending
    return Result(
        "exit", result.stdout + rest.stdout, result.stderr + rest.stderr, rest.ending, result.encoding, rest.held_open
    )


Way = Callable[[Shell], Awaitable[Result]]
WAYS: list[Way] = [by_leaving, by_exit]


def detached(program: str) -> list[str]:
    """Return commands of a shell that leave a process behind, and print its number."""
    commands = ["nohup sleep 600 >/dev/null 2>&1 & echo pid=$!", "sleep 600 >/dev/null 2>&1 & echo pid=$!"]
    commands.append("setsid sh -c 'echo pid=$$; exec sleep 600 >/dev/null 2>&1' & sleep 0.2")
    if program != "dash":
        commands.append("sleep 600 >/dev/null 2>&1 & echo pid=$!; disown")
    return commands


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("program", SHELLS)
@pytest.mark.parametrize("way", WAYS)
@asynchronous
async def test_traps(connection: Connection, program: str, terminal: Terminal | None, way: Way) -> None:
    """A trap of the exit runs, its output arrives, and its status is the shell's."""
    shell = await connection.open_shell(require_tool(program), terminal=terminal)
    await shell.run("trap 'echo BYE; exit 7' EXIT")
    result = await way(shell)
    assert b"BYE" in result.stdout
    assert result.ending == Exited(7)
    assert shell.ending == Exited(7)


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("program", SHELLS)
@pytest.mark.parametrize("way", WAYS)
@asynchronous
async def test_status(connection: Connection, program: str, terminal: Terminal | None, way: Way) -> None:
    """Without a trap the status is that of the last command, and nothing is printed."""
    shell = await connection.open_shell(require_tool(program), terminal=terminal)
    await shell.run("(exit 3)")
    result = await way(shell)
    assert result.ending == Exited(3)
    assert (result.stdout + result.stderr).strip() in (b"", b"exit")


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("program", SHELLS)
@pytest.mark.parametrize("way", WAYS)
@asynchronous
async def test_detached(connection: Connection, program: str, terminal: Terminal | None, way: Way) -> None:
    """What was detached in any way goes on behind the shell, and behind the session."""
    shell = await connection.open_shell(require_tool(program), terminal=terminal)
    pids = []
    for command in detached(program):
        result = await shell.run(command)
        found = re.search(rb"pid=(\d+)", result.stdout)
        assert found is not None
        pids.append(int(found[1]))
    try:
        result = await way(shell)
        assert result.ending == Exited(0)
        await connection.close()
        assert [is_running(pid) for pid in pids] == [True] * len(pids)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    await until(lambda: not any(map(is_running, pids)))


@asynchronous
async def test_script(connection: Connection) -> None:
    """The end of a script is no other end: its trap runs, its status counts, and what it detached stays."""
    script = "trap 'echo BYE; exit 7' EXIT; " + "; ".join(f"{{ {command}; }}" for command in detached("dash"))
    result = await connection.run(SCRIPT_COMMAND, stdin=f"{script}\n(exit 3)\n".encode())
    pids = [int(found) for found in re.findall(rb"pid=(\d+)", result.stdout)]
    try:
        assert len(pids) == len(detached("dash"))
        assert result.stdout.endswith(b"BYE\n")
        assert result.ending == Exited(7)
        await connection.close()
        assert all(map(is_running, pids))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
