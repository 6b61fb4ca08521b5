"""Commands on a terminal, over a real connection."""

from __future__ import annotations

import pytest

from tests.serving import asynchronous
from tests.tools import require_tool
from twisted_rsh import Connection, Job, Terminal
from twisted_rsh.core.endings import Exited, Signalled
from twisted_rsh.core.errors import LocalProtocolError

XTERM = Terminal(term="xterm-256color", columns=100, rows=30)


async def read_until(job: Job, text: bytes) -> bytes:
    """Read what a job writes until it has written something."""
    output = b""
    while text not in output:
        piece = await job.stdout.read()
        assert piece, output
        output += piece
    return output


@asynchronous
async def test_type_and_size(connection: Connection) -> None:
    """X-16: the command is on a terminal of the type and size that were asked for."""
    result = await connection.run("test -t 0 && test -t 1 && test -t 2 && echo $TERM && stty size", terminal=XTERM)
    assert (result.text, result.stderr, result.ending) == ("xterm-256color\r\n30 100\r\n", b"", Exited(0))
    result = await connection.run("echo $TERM", terminal=XTERM, environment={"TERM": "vt100"})
    assert result.text == "vt100\r\n"


@asynchronous
async def test_modes(connection: Connection) -> None:
    """The settings of the client's terminal are those of the command's."""
    terminal = Terminal(modes=(("ECHO", 0), ("VINTR", 2), ("ONLCR", 0)))
    result = await connection.run("stty -a", terminal=terminal)
    assert " -echo " in result.text
    assert "intr = ^B" in result.text
    assert "\r" not in result.text


@asynchronous
async def test_stderr_apart(connection: Connection) -> None:
    """Standard error is a pipe of its own where that is asked for."""
    result = await connection.run("test -t 2 || echo apart >&2", terminal=Terminal(separate_stderr=True))
    assert (result.stdout, result.stderr) == (b"", b"apart\n")


@asynchronous
async def test_another_size(connection: Connection) -> None:
    """X-16: the command learns of another size, and finds it."""
    job = connection.start("trap 'stty size; exit 4' WINCH; echo ready; while :; do read x; done", terminal=XTERM)
    await read_until(job, b"ready")
    with pytest.raises(LocalProtocolError):
        job.resize(0, 24)
    job.resize(132, 50)
    await read_until(job, b"50 132")
    assert (await job.wait()).ending == Exited(4)
    job.resize(80, 24)


@asynchronous
async def test_keys(connection: Connection) -> None:
    """X-16: what is typed is echoed; the end of the input is that of the terminal's; Ctrl-C interrupts."""
    job = connection.start(["cat"], terminal=XTERM)
    await job.stdin.write(b"a line\n")
    await read_until(job, b"a line\r\na line\r\n")
    job.stdin.end()
    assert (await job.wait()).ending == Exited(0)
    job = connection.start("echo ready; exec sleep 100", terminal=XTERM)
    await read_until(job, b"ready")
    await job.stdin.write(b"\x03")
    assert (await job.wait()).ending == Signalled("INT")


@asynchronous
async def test_a_signal_reaches_the_foreground(connection: Connection) -> None:
    """A signal by name does what the key does, also where a shell has put its command into a group of its own."""
    shell = [require_tool("bash"), "--norc", "--noediting", "-i"]
    job = connection.start(shell, terminal=XTERM, environment={"PS1": "prompt> "})
    await read_until(job, b"prompt> ")
    await job.stdin.write(b"sh -c 'echo rea''dy; exec sleep 100'\n")
    await read_until(job, b"ready\r\n")
    job.send_signal("INT")
    await read_until(job, b"prompt> ")
    await job.stdin.write(b"echo st'at'us $?; exit\n")
    await read_until(job, b"status 130")
    await job.wait()
