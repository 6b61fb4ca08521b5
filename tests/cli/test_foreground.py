"""A command in the foreground: its streams on descriptors, the lines about it, and signals for it."""

from __future__ import annotations

import os
import termios
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.cli.screens import Screen, open_pipe, open_terminal
from tests.client.test_connection import gone
from tests.serving import asynchronous, reactor
from twisted_rsh import Connection
from twisted_rsh.cli.foreground import ESCALATION_SECONDS, Interrupted
from twisted_rsh.cli.input import InputFailed
from twisted_rsh.cli.outputs import OutputFailed
from twisted_rsh.cli.terminal import LocalTerminal
from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown, RefusalReason, Refused, Signalled, TimedOut
from twisted_rsh.core.limits import MAX_UNACKNOWLEDGED

MakeScreen = Callable[..., Screen]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeScreen]:
    """Makes screens, in UTF-8."""
    monkeypatch.setattr("locale.getpreferredencoding", lambda _=True: "UTF-8")
    screens: list[Screen] = []

    def make(stdout: Any = open_pipe, stderr: Any = open_pipe, **options: Any) -> Screen:
        screens.append(Screen(stdout(), stderr(), **options))
        return screens[-1]

    yield make
    for one in screens:
        one.close()


@asynchronous
async def test_output_is_shown_before_the_ending(connection: Connection, screen: MakeScreen) -> None:
    """Both outputs are complete when the ending is known; a plain exit needs no words."""
    one = screen()
    ending = await one.foreground.run(connection.start("echo out; echo err >&2; exit 3"), None)
    assert ending == Exited(3)
    assert one.foreground.outputs.tell(ending) == 3
    assert await one.written() == (b"out\n", b"err\n")


@asynchronous
async def test_input_is_passed_on(connection: Connection, screen: MakeScreen) -> None:
    """The command reads the descriptor to its end."""
    one = screen()
    reading, writing = os.pipe()
    os.write(writing, b"b\na\n")
    os.close(writing)
    assert await one.foreground.run(connection.start("sort"), reading) == Exited(0)
    assert (await one.written())[0] == b"a\nb\n"
    os.close(reading)


@asynchronous
async def test_no_input_is_the_end_at_once(connection: Connection, screen: MakeScreen) -> None:
    """Without a descriptor the command finds the end."""
    one = screen()
    assert await one.foreground.run(connection.start("cat; echo end"), None) == Exited(0)
    assert (await one.written())[0] == b"end\n"


@pytest.mark.parametrize("encoding", ["gbk", "klingon"])
@asynchronous
async def test_typed_text_is_converted(connection: Connection, screen: MakeScreen, encoding: str) -> None:
    """A GBK command reads the keys of a UTF-8 terminal as GBK; an unknown code page changes nothing."""
    one = screen(encoding=encoding)
    behind, terminal = open_terminal()
    job = connection.start("head -c 3 | od -An -tx1")
    running = Deferred.fromCoroutine(one.foreground.run(job, terminal))
    while job.encoding is None:
        await connection.run("true")
    os.write(behind, "字x".encode())
    assert await running == Exited(0)
    expected = "字x".encode("gbk") if encoding == "gbk" else "字".encode()
    assert bytes.fromhex((await one.written())[0].decode()) == expected
    os.close(behind)
    os.close(terminal)


@asynchronous
async def test_input_that_fails(connection: Connection, screen: MakeScreen) -> None:
    """An input error ends the command, and does not look like the end of its input."""
    one = screen()
    reading, writing = os.pipe()
    with pytest.raises(InputFailed, match="cannot read stdin: Bad file descriptor"):
        await one.foreground.run(connection.start("cat; echo all >&2; sleep 1000"), os.dup(writing))
    assert await one.written() == (b"", b"")
    os.close(reading)
    os.close(writing)


@asynchronous
async def test_command_that_leaves_its_input(connection: Connection, screen: MakeScreen) -> None:
    """H-07: when the command takes no more input, not a byte more is read."""
    one = screen()
    reading, writing = os.pipe()
    job = connection.start("exec <&-; echo closed; sleep 0.3")
    running = Deferred.fromCoroutine(one.foreground.run(job, reading))
    while not (await one.written())[0]:
        await connection.run("true")
    os.write(writing, b"x" * 1000)
    assert await running == Exited(0)
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("ending", "status", "said", "quietly"),
    [
        (Exited(0), 0, b"", b""),
        (Exited(255), 254, b"trsh: exited with 255, reported as 254\n", b""),
        (Signalled("TERM"), 143, b"trsh: killed by SIGTERM\n", b""),
        (Signalled("PIPE"), 141, b"trsh: killed by SIGPIPE\n", b""),
        (TimedOut(1), 124, b"trsh: timed out after 1 s\n", b""),
        (Refused(RefusalReason.NOT_FOUND, "no\x1b[m"), 127, b"trsh: no^[[m\n", b"trsh: no^[[m\n"),
        (Refused(RefusalReason.TOO_LONG, "no"), 255, b"trsh: no\n", b"trsh: no\n"),
        (OutcomeUnknown("x"), 255, b"trsh: outcome unknown: x\n", b"trsh: outcome unknown: x\n"),
    ],
)
@asynchronous
async def test_what_is_told(screen: MakeScreen, ending: Ending, status: int, said: bytes, quietly: bytes) -> None:
    """C-03: one line at most, safe to print; quiet: failures and refusals; silent: what a shell would write."""
    silently = quietly if status == 127 else b""
    for quiet, silent, expected in ((False, False, said), (True, False, quietly), (True, True, silently)):
        one = screen(quiet=quiet, silent=silent)
        assert one.foreground.outputs.tell(ending) == status
        assert await one.written() == (b"", expected)


@asynchronous
async def test_reader_that_left_needs_no_words(connection: Connection, screen: MakeScreen) -> None:
    """H-06: SIGPIPE is told unless the client's own reader has left."""
    one = screen(stdout=broken_pipe)
    ending = await one.foreground.run(connection.start(["yes"]), None)
    assert ending == Signalled("PIPE")
    assert one.foreground.outputs.tell(ending) == 141
    assert one.foreground.outputs.tell(Signalled("HUP")) == 129  # of a command on a terminal
    assert (await one.written())[1] == b""
    assert one.foreground.outputs.tell(Signalled("TERM")) == 143
    assert (await one.written())[1] == b"trsh: killed by SIGTERM\n"


def broken_pipe() -> tuple[int, int]:
    """Open a pipe without a reader; the other descriptor is anything that can be closed."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.open(os.devnull, os.O_RDONLY), writing


def full_disk() -> tuple[int, int]:
    """A disk with no room left."""
    return os.open(os.devnull, os.O_RDONLY), os.open("/dev/full", os.O_WRONLY)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@asynchronous
async def test_full_disk(connection: Connection, screen: MakeScreen) -> None:
    """C-06: output that cannot be written is the client's failure, whatever the command made of it."""
    with pytest.raises(OutputFailed, match="cannot write to stdout: No space left on device"):
        await screen(stdout=full_disk).foreground.run(connection.start(["yes"]), None)
    with pytest.raises(OutputFailed, match="cannot write to stderr: No space left on device"):
        await screen(stderr=full_disk).foreground.run(connection.start("echo err >&2"), None)


STUBBORN = "trap 'echo int' INT; trap 'echo term' TERM; echo $$; while :; do sleep 0.05; done"


async def press(screen: Screen, connection: Connection, text: bytes, lines: int) -> bytes:
    """Wait until a command has written so many lines in all, and interrupt it."""
    while text.count(b"\n") < lines:
        await connection.run("true")
        text += (await screen.written())[0]
    assert screen.foreground.signal_arrived("INT")
    return text


@asynchronous
async def test_interrupts_in_a_hurry_escalate(connection: Connection, screen: MakeScreen) -> None:
    """C-10: one interrupt after another is INT, TERM and KILL."""
    one = screen()
    assert not one.foreground.signal_arrived("INT")
    running = Deferred.fromCoroutine(one.foreground.run(connection.start(STUBBORN), None))
    text = b""
    for lines in (1, 2, 3):
        text = await press(one, connection, text, lines)
    assert await running == Signalled("KILL")
    assert text.split()[1:] == [b"int", b"term"]
    assert not one.foreground.signal_arrived("INT")


@asynchronous
async def test_interrupt_after_the_last_step_gives_up(connection: Connection, screen: MakeScreen) -> None:
    """C-10: after the fourth interrupt the client waits no longer, and the server ends the command."""
    one = screen()
    job = connection.start(STUBBORN)
    running = Deferred.fromCoroutine(one.foreground.run(job, None))
    text = await press(one, connection, b"", 1)
    for _ in range(3):
        assert one.foreground.signal_arrived("INT")
    with pytest.raises(Interrupted):
        await running
    await gone(int(text.split()[0]))
    assert not one.foreground.signal_arrived("INT")


@asynchronous
async def test_interrupts_with_time_between_them(
    connection: Connection, screen: MakeScreen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C-10: an interrupt just within the time goes on; one after it begins anew, with INT."""
    one = screen()
    now = 1000.0
    monkeypatch.setattr(one.foreground, "_reactor", SimpleNamespace(seconds=lambda: now))
    sent: list[str] = []
    job = connection.start("exec sleep 1000")
    monkeypatch.setattr(job, "send_signal", sent.append)
    running = Deferred.fromCoroutine(one.foreground.run(job, None))
    for pause in (0.0, ESCALATION_SECONDS, ESCALATION_SECONDS + 0.001, ESCALATION_SECONDS, ESCALATION_SECONDS):
        now += pause
        assert one.foreground.signal_arrived("INT")
    assert sent == ["INT", "TERM", "INT", "TERM", "KILL"]
    job.close()
    await running


@asynchronous
async def test_server_that_is_far_behind(
    connection: Connection, screen: MakeScreen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C-10: the client sends no more signals of a storm than the session holds, and goes on."""
    one = screen()
    job = connection.start("trap 'echo got' USR1; echo ready; cat; echo over")
    reading, writing = os.pipe()
    running = Deferred.fromCoroutine(one.foreground.run(job, reading))
    while not (await one.written())[0]:
        await connection.run("true")
    for _ in range(MAX_UNACKNOWLEDGED * 100):
        assert one.foreground.signal_arrived("USR1")
    os.close(writing)
    assert isinstance(await running, Exited | Signalled)
    os.close(reading)


@asynchronous
async def test_terminal_is_lent_for_as_long_as_a_command_runs(connection: Connection, screen: MakeScreen) -> None:
    """C-04: a terminal is raw while the command has it and all it wrote is written, and then as it was."""
    one = screen()
    behind, fd = os.openpty()
    before = termios.tcgetattr(fd)
    terminal = LocalTerminal(reactor, fd)
    job = connection.start("printf ready; read x; echo $x", terminal=terminal.describe({"TERM": "vt100"}))
    running = Deferred.fromCoroutine(one.foreground.run(job, fd, terminal))
    assert not termios.tcgetattr(fd)[3] & termios.ICANON
    os.write(behind, b"typed\r")
    assert await running == Exited(0)
    assert termios.tcgetattr(fd) == before
    assert b"typed" in (await one.written())[0]
    broken = connection.start("exec sleep 1000")
    running = Deferred.fromCoroutine(one.foreground.run(broken, fd, terminal))
    one.foreground.stop()
    assert termios.tcgetattr(fd) == before
    broken.close()
    await running
    os.close(behind)
    os.close(fd)


@asynchronous
async def test_other_signals_are_always_passed_on(connection: Connection, screen: MakeScreen) -> None:
    """Every signal that is no interrupt goes to the command."""
    one = screen()
    job = connection.start("trap 'echo got' USR1; echo ready; while :; do sleep 0.05; done")
    running = Deferred.fromCoroutine(one.foreground.run(job, None))
    text = b""
    for lines in (1, 2, 3, 4):
        while text.count(b"\n") < lines:
            await connection.run("true")
            text += (await one.written())[0]
        assert one.foreground.signal_arrived("USR1" if lines < 4 else "TERM")
    assert await running == Signalled("TERM")


@pytest.mark.parametrize("name", ["INT", "QUIT"])
@asynchronous
async def test_line_behind_a_key_that_sends_a_signal(connection: Connection, screen: MakeScreen, name: str) -> None:
    """The terminal shows the key that sends a signal, such as ^C or ^\\; what is told then begins another line."""
    one = screen(stdout=open_terminal)
    job = connection.start("echo ready; exec sleep 30")
    running = Deferred.fromCoroutine(one.foreground.run(job, None))
    while b"ready" not in (await one.written())[0]:
        await connection.run("true")
    assert one.foreground.signal_arrived(name)
    one.foreground.outputs.tell(await running)
    assert await one.written() == (b"\n", f"trsh: killed by SIG{name}\n".encode())


@asynchronous
async def test_remarks_begin_a_line_of_their_own(screen: MakeScreen) -> None:
    """On a terminal an open line is ended first; elsewhere nothing is added; when quiet nothing is said."""
    one = screen(stdout=open_terminal)
    one.foreground.outputs.stdout.terminal_echoed()
    one.foreground.outputs.remark("[status 1]")
    assert await one.written() == (b"\n", b"[status 1]\n")
    one.foreground.outputs.stderr.terminal_echoed()
    one.foreground.outputs.end_line()
    assert await one.written() == (b"", b"")
    quiet = screen(stdout=open_terminal, quiet=True)
    quiet.foreground.outputs.stdout.terminal_echoed()
    quiet.foreground.outputs.remark("[status 1]")
    assert await quiet.written() == (b"", b"")


@asynchronous
async def test_own_lines_are_safe_to_print(screen: MakeScreen) -> None:
    """C-03: every line of the client's own is one line without escapes, whatever its text is."""
    one = screen()
    one.foreground.outputs.say("bad\x1b[2J\nname\x9b")
    one.foreground.outputs.remark("[worse\x07\r]")
    assert await one.written() == (b"", b"trsh: bad^[[2J^Jname\\x9b\n[worse^G^M]\n")
