"""Commands from a pipe, one a line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from tests.cli.screens import Screen, open_pipe
from tests.serving import Serving, asynchronous, cut, reactor
from twisted_rsh import Connection
from twisted_rsh.cli.input import IInputOwner, InputFailed
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.script import CommandLines, LineTooLong, run_script
from twisted_rsh.client.errors import SessionLost
from twisted_rsh.core.limits import MAX_CONTROL_BYTES

MakeStdin = Callable[[bytes], int]


@pytest.fixture
def stdin(tmp_path: Path) -> Iterator[MakeStdin]:
    """Makes descriptors of files that have some content."""
    made: list[int] = []

    def make(content: bytes) -> int:
        path = tmp_path / str(len(made))
        path.write_bytes(content)
        made.append(os.open(path, os.O_RDONLY))
        return made[-1]

    yield make
    for fd in made:
        os.close(fd)


@pytest.fixture
def screen() -> Iterator[Screen]:
    """A foreground on two pipes."""
    screen = Screen(open_pipe(), open_pipe())
    yield screen
    screen.close()


async def all_of(fd: int) -> list[str]:
    """Return every line of a descriptor."""
    lines, found = CommandLines(reactor, fd), []
    try:
        while (line := await lines.next()) is not None:
            found.append(line)
    finally:
        lines.stop()
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
async def test_lines(stdin: MakeStdin, monkeypatch: pytest.MonkeyPatch, content: bytes, expected: list[str]) -> None:
    """A line feed ends each line but perhaps the last; empty lines count, and bytes that are no text survive."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "UTF-8")
    assert await all_of(stdin(content)) == expected


@asynchronous
async def test_line_comes_when_it_is_there() -> None:
    """A line is given as soon as it is complete; no more is read than needed; a stop ends the reading."""
    reading, writing = os.pipe()
    lines = CommandLines(reactor, reading)
    verifyObject(IInputOwner, lines)
    waiting = Deferred.fromCoroutine(lines.next())
    os.write(writing, b"fir")
    os.write(writing, b"st\nsecond\n")
    assert await waiting == "first"
    assert await lines.next() == "second"
    lines.stop()
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_longest_line(stdin: MakeStdin) -> None:
    """C-02: a line at the bound is given, one byte more is refused before more of it is held."""
    assert await all_of(stdin(b"x" * MAX_CONTROL_BYTES + b"\nnext")) == ["x" * MAX_CONTROL_BYTES, "next"]
    assert len((await all_of(stdin(b"x" * MAX_CONTROL_BYTES)))[0]) == MAX_CONTROL_BYTES
    with pytest.raises(LineTooLong, match=f"longer than {MAX_CONTROL_BYTES} bytes"):
        await all_of(stdin(b"x" * (MAX_CONTROL_BYTES + 1)))


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
async def test_status_of_the_last(connection: Connection, screen: Screen, stdin: MakeStdin) -> None:
    """Every line runs, whatever the one before exited with; blank ones do not count; the last status is ours."""
    script = stdin(b"echo one; (exit 3)\n\n  \necho two\ncat; (exit 4)\n   \n")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 4
    assert await screen.written() == (b"one\ntwo\n", b"")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, stdin(b"(exit 3)\ntrue")) == 0
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, stdin(b"\n\n")) == 0


@asynchronous
async def test_one_shell_runs_all_lines(connection: Connection, screen: Screen, stdin: MakeStdin) -> None:
    """A line finds what the last one did; a line that ends the shell is the last."""
    script = stdin(b"cd /; x=kept\npwd; echo $x\nexit 3\necho never\n")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 3
    assert await screen.written() == (b"/\nkept\n", b"")


@asynchronous
async def test_shell_that_dies(connection: Connection, screen: Screen, stdin: MakeStdin) -> None:
    """A shell that ends otherwise ends the script, with one line and a status that tells how."""
    script = stdin(b"kill -KILL $$\necho never\n")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 137
    assert await screen.written() == (b"", b"trsh: the shell has ended: killed by SIGKILL\n")


@asynchronous
async def test_reader_that_has_enough(connection: Connection, stdin: MakeStdin, tmp_path: Path) -> None:
    """C-06: a line that writes when the reader of stdout is gone is the last, as in ``sh script | head``."""
    reading, writing = open_pipe()
    screen = Screen((reading, writing), open_pipe())
    script = stdin(f"touch {tmp_path}/quiet\necho much\ntouch {tmp_path}/never\n".encode())
    os.close(reading)
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 141
    assert ((tmp_path / "quiet").exists(), (tmp_path / "never").exists()) == (True, False)
    os.dup2(writing, reading)  # the screen closes it
    screen.close()


@asynchronous
async def test_line_that_the_server_refuses(connection: Connection, screen: Screen, stdin: MakeStdin) -> None:
    """A line that is too long for a command is told, and the script goes on as a shell's would."""
    script = stdin(b"echo " + b"x" * (MAX_CONTROL_BYTES - 5) + b"\necho next\n")
    assert await run_script(reactor, connection, ClientOptions(), screen.foreground, script) == 0
    stdout, stderr = await screen.written()
    assert (stdout, stderr.count(b"\n")) == (b"next\n", 1)


@asynchronous
async def test_time_out_is_each_commands(connection: Connection, screen: Screen, stdin: MakeStdin) -> None:
    """Each line has the whole time."""
    script = stdin(b"sleep 1000\necho next\n")
    assert await run_script(reactor, connection, ClientOptions(timeout=0.2), screen.foreground, script) == 0
    stdout, stderr = await screen.written()
    assert stdout == b"next\n"
    assert stderr.endswith(b"trsh: timed out after 0.2 s\n")  # some shells end the line of what they interrupt


@pytest.mark.uncut("the session is told to end with its connection")
@asynchronous
async def test_connection_lost_under_a_line(serving: Serving, screen: Screen, stdin: MakeStdin) -> None:
    """A connection that dies under a command ends the script, with one line; one that is gone before it, likewise."""
    connection = await serving.connect(resume=False)
    script = stdin(b"echo started; sleep 1000\necho never\n")
    running = Deferred.fromCoroutine(run_script(reactor, connection, ClientOptions(), screen.foreground, script))
    while not (await screen.written())[0]:
        await connection.run("true")
    cut(connection)
    assert await running == 255
    assert await screen.written() == (b"", b"trsh: outcome unknown: the connection was lost: cut\n")
    with pytest.raises(SessionLost):
        await run_script(reactor, connection, ClientOptions(), screen.foreground, stdin(b"true\n"))
