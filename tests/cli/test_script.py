"""Commands from a pipe, one a line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.defer import Deferred

from tests.cli.screens import Screen, open_pipe
from tests.serving import Serving, asynchronous, cut, reactor
from twisted_rsh import Connection
from twisted_rsh.cli.foreground import InputFailed
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.script import CommandLines, LineTooLong, run_script
from twisted_rsh.client.errors import SessionLost
from twisted_rsh.core.limits import MAX_CONTROL_BYTES

MakeLines = Callable[[bytes], CommandLines]


@pytest.fixture
def lines(tmp_path: object) -> Iterator[MakeLines]:
    """Makes lines from a file with some content."""
    made: list[tuple[int, CommandLines]] = []

    def make(content: bytes) -> CommandLines:
        path = f"{tmp_path}/{len(made)}"
        with open(path, "wb") as file:
            file.write(content)
        fd = os.open(path, os.O_RDONLY)
        made.append((fd, CommandLines(reactor, fd)))
        return made[-1][1]

    yield make
    for fd, one in made:
        one.stop()
        os.close(fd)


@pytest.fixture
def screen() -> Iterator[Screen]:
    """A foreground on two pipes."""
    screen = Screen(open_pipe(), open_pipe())
    yield screen
    screen.close()


async def all_of(lines: CommandLines) -> list[str]:
    """Every line."""
    found = []
    while (line := await lines.next()) is not None:
        found.append(line)
    return found


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\n", ["one"]),
        (b"one\n\n two \nlast", ["one", "", " two ", "last"]),
        (b"\n\n", ["", ""]),
        (b"a\r\nb", ["a\r", "b"]),
        ("字\n".encode() + b"\xff", ["字", "\udcff"]),
    ],
)
@asynchronous
async def test_lines(lines: MakeLines, monkeypatch: pytest.MonkeyPatch, content: bytes, expected: list[str]) -> None:
    """Lines end with a line feed, the last one also without; empty ones count, and bytes that are no text survive."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "UTF-8")
    assert await all_of(lines(content)) == expected


@asynchronous
async def test_line_comes_when_it_is_there() -> None:
    """A line is given as soon as it is complete; no more is read than needed; a stop ends the reading."""
    reading, writing = os.pipe()
    lines = CommandLines(reactor, reading)
    waiting = Deferred.fromCoroutine(lines.next())
    os.write(writing, b"fir")
    os.write(writing, b"st\nsecond\n")
    assert await waiting == "first"
    assert await lines.next() == "second"
    lines.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_longest_line(lines: MakeLines) -> None:
    """C-02: a line at the bound is given, one byte more is refused before more of it is held."""
    assert await all_of(lines(b"x" * MAX_CONTROL_BYTES + b"\nnext")) == ["x" * MAX_CONTROL_BYTES, "next"]
    assert len((await all_of(lines(b"x" * MAX_CONTROL_BYTES)))[0]) == MAX_CONTROL_BYTES
    endless = lines(b"x" * (MAX_CONTROL_BYTES + 1))
    with pytest.raises(LineTooLong, match=f"longer than {MAX_CONTROL_BYTES} bytes"):
        await endless.next()


@asynchronous
async def test_input_that_fails() -> None:
    """An input error is not the end of the script."""
    reading, writing = os.pipe()
    lines = CommandLines(reactor, writing)
    with pytest.raises(InputFailed, match="cannot read stdin: Bad file descriptor"):
        await lines.next()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_status_of_the_last(connection: Connection, screen: Screen, lines: MakeLines) -> None:
    """Every line runs, whatever the one before exited with; blank ones do not count; the last status is ours."""
    script = lines(b"echo one; (exit 3)\n\n  \necho two\ncat; (exit 4)\n   \n")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 4
    assert await screen.written() == (b"one\ntwo\n", b"")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, lines(b"(exit 3)\ntrue")) == 0
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, lines(b"\n\n")) == 0


@asynchronous
async def test_one_shell_runs_all_lines(connection: Connection, screen: Screen, lines: MakeLines) -> None:
    """What one line does, the next one finds; a line that ends the shell is the last."""
    script = lines(b"cd /; x=kept\npwd; echo $x\nexit 3\necho never\n")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 3
    assert await screen.written() == (b"/\nkept\n", b"")


@asynchronous
async def test_shell_that_dies(connection: Connection, screen: Screen, lines: MakeLines) -> None:
    """A shell that ends otherwise ends the script, with one line and a status that tells how."""
    script = lines(b"kill -KILL $$\necho never\n")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 137
    assert await screen.written() == (b"", b"trsh: the shell has ended: killed by SIGKILL\n")


@asynchronous
async def test_line_that_the_server_refuses(connection: Connection, screen: Screen, lines: MakeLines) -> None:
    """A line that is too long for a command is told, and the script goes on as a shell's would."""
    script = lines(b"echo " + b"x" * (MAX_CONTROL_BYTES - 5) + b"\necho next\n")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 0
    stdout, stderr = await screen.written()
    assert (stdout, stderr.count(b"\n")) == (b"next\n", 1)


@asynchronous
async def test_time_out_is_each_commands(connection: Connection, screen: Screen, lines: MakeLines) -> None:
    """Each line has the whole time."""
    script = lines(b"sleep 1000\necho next\n")
    assert await run_script(reactor, connection, ClientOptions(timeout=0.2), screen.foreground, script) == 0
    stdout, stderr = await screen.written()
    assert stdout == b"next\n"
    assert stderr.endswith(b"trsh: timed out after 0.2 s\n")  # some shells end the line of what they interrupt


@pytest.mark.uncut("the session is told to end with its connection")
@asynchronous
async def test_connection_lost_under_a_line(serving: Serving, screen: Screen, lines: MakeLines) -> None:
    """A connection that dies under a command ends the script, with one line; one that is gone before it, likewise."""
    connection = await serving.connect(resume=False)
    script = lines(b"echo started; sleep 1000\necho never\n")
    running = Deferred.fromCoroutine(run_script(reactor, connection, ClientOptions(), screen.foreground, script))
    while not (await screen.written())[0]:
        await connection.run("true")
    cut(connection)
    assert await running == 255
    assert await screen.written() == (b"", b"trsh: outcome unknown: the connection was lost: cut\n")
    with pytest.raises(SessionLost):
        await run_script(reactor, connection, ClientOptions(), screen.foreground, lines(b"true\n"))
