"""Typing at a process's terminal: the bytes, the end of the input, and the keys and signals that reach the process."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest
from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface.verify import verifyObject

from tests.execution.owners import asynchronous, reactor, until
from tests.execution.processes.recorder import (
    QUIET,
    PipeRecorder,
    close_ends,
    end_of,
    master_pair,
    start,
    start_on_terminal,
)
from twisted_rsh.core.requests import Terminal
from twisted_rsh.execution.processes import terminal
from twisted_rsh.execution.processes.terminal import TerminalInput, open_terminal

CTRL_C, CTRL_D, CTRL_Q, CTRL_S = b"\x03", b"\x04", b"\x11", b"\x13"

PASTE_BYTES = 8 * 1024
"""Bytes of a paste that stopped other programs: more than a terminal holds in either direction."""


@pytest.mark.parametrize("typed", [b"", b"a line\n", b"half a line", b"a\nhalf", b"gone\x15", b"cr\r"])
@asynchronous
async def test_end_of_input(typed: bytes) -> None:
    """X-16: the end of the input is VEOF, on a line of its own or behind half a line, and only one for the job."""
    protocol, process = start_on_terminal("cat; echo first; cat; echo second", *QUIET)
    process.write(typed)
    process.closeStdin()
    process.closeStdin()
    process.write(b"dropped")
    await protocol.output_has(b"first\n")
    expected = {b"gone\x15": b"", b"cr\r": b"cr\n"}.get(typed, typed)
    assert protocol.output[1] == expected + b"first\n"
    assert "lost 0" not in protocol.events
    assert process.pid is not None
    process.close_output(1)
    reason = await end_of(protocol)
    assert reason.signal == signal.SIGHUP


@asynchronous
async def test_end_of_input_of_another_character() -> None:
    """The end is the character that the terminal names at that moment; where it names none nothing is typed."""
    protocol, process = start_on_terminal("stty eof x; echo ready; cat; echo end", *QUIET)
    await protocol.output_has(b"ready\n")
    process.write(CTRL_D + b"\n")
    process.closeStdin()
    await end_of(protocol)
    assert protocol.output[1] == b"ready\n" + CTRL_D + b"\nend\n"

    ends = open_terminal(Terminal(modes=(("VEOF", 0),)))
    assert terminal.end_of_input(ends.writing, b"x") == b""
    close_ends(ends)
    assert terminal.end_of_input(ends.writing, b"x") == b""
    assert terminal.foreground_group(ends.writing) is None


@pytest.mark.parametrize(
    ("modes", "last", "times"),
    [
        ((), b"", 1),
        ((), b"\n", 1),
        ((), b"x", 2),
        ((), b"\0", 2),
        ((), CTRL_C, 1),
        ((), CTRL_D, 1),
        ((), b"\r", 1),
        ((("ICRNL", 0),), b"\r", 2),
        ((("IGNCR", 1),), b"\r", 2),
        ((("ICANON", 0),), b"", 0),
    ],
)
def test_how_often_to_type_the_end(modes: tuple[tuple[str, int], ...], last: bytes, times: int) -> None:
    """At the beginning of a line one end-of-file character is the end; a terminal without lines has none."""
    ends = open_terminal(Terminal(modes=modes))
    assert terminal.end_of_input(ends.writing, last) == CTRL_D * times
    close_ends(ends)


@asynchronous
async def test_raw_mode() -> None:
    """In a program that takes every key by itself nothing is typed at the end of the input, and bytes stay bytes."""
    protocol, process = start_on_terminal("stty raw -echo; echo ready; head -c 256 | od -An -v -tu1; exec sleep 60")
    await protocol.output_has(b"ready")
    protocol.output[1] = b""
    process.write(bytes(range(256)))
    process.closeStdin()
    await protocol.output_has(b"255")
    assert [int(word) for word in protocol.output[1].split()] == list(range(256))
    assert process.buffered_output(1) == 0
    process.discard_input()
    await protocol.when(lambda: "lost 0" in protocol.events)
    process.signalProcess("TERM")
    assert (await end_of(protocol)).signal == signal.SIGTERM


@asynchronous
async def test_interrupt_key() -> None:
    """X-16: Ctrl-C typed kills the command in the foreground, and the shell that waits for it goes on."""
    protocol, process = start_on_terminal("trap 'echo trapped' INT; sh -c 'echo ready; exec sleep 60'; echo $?", *QUIET)
    await protocol.output_has(b"ready\n")
    assert process.foreground_group() == process.pid
    process.write(CTRL_C)
    await end_of(protocol)
    assert protocol.output[1] == b"ready\ntrapped\n130\n"


@asynchronous
async def test_stop_and_go_keys() -> None:
    """X-16: Ctrl-S stops the output and Ctrl-Q lets it go on."""
    protocol, process = start_on_terminal("echo ready; while read line; do echo $line; done", *QUIET)
    await protocol.output_has(b"ready\n")
    process.write(CTRL_S + b"one\n")
    process.write(b"two\n")
    taken = reactor.seconds()
    await until(lambda: reactor.seconds() > taken + 0.1)
    assert protocol.output[1] == b"ready\n"
    assert process.buffered_output(1) == 0
    process.write(CTRL_Q)
    process.closeStdin()
    await end_of(protocol)
    assert protocol.output[1] == b"ready\none\ntwo\n"


@pytest.mark.parametrize("echo", [0, 1])
@asynchronous
async def test_paste(echo: int) -> None:
    """X-16: a paste of 8 KiB and more, with echo on or off, stops nothing, and arrives completely (ET #765)."""
    line = b"x" * 78 + b"\n"
    text = line * (PASTE_BYTES * 4 // len(line))
    protocol, process = start_on_terminal("wc -c", ("OPOST", 0), ("ECHO", echo))
    process.write(text)
    process.closeStdin()
    await end_of(protocol)
    # Of the echo the system drops what does not fit.
    assert (b"x" in protocol.output[1]) == bool(echo)
    assert int(protocol.output[1].splitlines()[-1].rpartition(b"x")[2]) == len(text)


@asynchronous
async def test_paste_that_nobody_reads() -> None:
    """X-16: the terminal takes as much of an unread paste as it holds; the rest waits here and costs nothing."""
    protocol, process = start_on_terminal("echo ready; exec sleep 60")
    await protocol.output_has(b"ready")
    text = (b"x" * 78 + b"\n") * 2000
    process.write(text)
    process.closeStdin()
    await until(lambda: protocol.taken > 0 and not protocol.output[1].endswith(b"ready\r\n"))
    assert 0 < protocol.taken < len(text)
    process.signalProcess("KILL")
    assert (await end_of(protocol)).signal == signal.SIGKILL
    assert protocol.taken < len(text)


@asynchronous
async def test_input_is_counted() -> None:
    """Every byte that the terminal takes is counted, and the end-of-file character is no input."""
    protocol, process = start_on_terminal("cat", *QUIET)
    process.write(b"some\n")
    process.write(b"text")
    process.closeStdin()
    await end_of(protocol)
    assert (protocol.taken, protocol.output[1]) == (9, b"some\ntext")


@asynchronous
async def test_signals_reach_the_foreground() -> None:
    """A signal reaches what a shell with job control has put into the foreground, and the shell as well."""
    protocol, process = start_on_terminal(
        "set -m; trap 'echo shell; exit' TERM; sh -c 'echo ready; exec sleep 60'; read x", *QUIET
    )
    await protocol.output_has(b"ready\n")
    foreground = process.foreground_group()
    assert foreground not in (None, process.pid)
    process.signalProcess("TERM")
    await end_of(protocol)
    assert b"shell\n" in protocol.output[1]


@asynchronous
async def test_terminal_that_is_closed_early() -> None:
    """X-16: a process that lets go of its terminal some time before it exits is not hung up in between."""
    protocol, process = start_on_terminal("exec 0<&- 1>&- 2>&-; sleep 0.2; exit 5", *QUIET)
    assert (await end_of(protocol)).exitCode == 5
    assert process.foreground_group() is None
    protocol, process = start_on_terminal("exec 0<&- 1>&- 2>&-; sleep 60", *QUIET)
    process.closeStdout()
    assert (await end_of(protocol)).signal == signal.SIGHUP


@asynchronous
async def test_what_was_typed_is_dropped(tmp_path: Path) -> None:
    """Unread typing, the end of the input included, can be dropped; later typing is read."""
    command = f"echo ready; until test -e {tmp_path}/go; do sleep 0.01; done; read line; echo got $line"
    protocol, process = start_on_terminal(command, *QUIET)
    await protocol.output_has(b"ready\n")
    process.write(b"stale\n")
    process.write(CTRL_D)
    process.discard_typed()
    process.write(b"fresh\n")
    (tmp_path / "go").touch()
    await end_of(protocol)
    assert protocol.output[1].endswith(b"got fresh\n")
    process.discard_typed()
    protocol, process = start("echo on pipes")
    process.discard_typed()
    await end_of(protocol)


@asynchronous
async def test_ladder_reaches_the_foreground() -> None:
    """A group that was in the foreground at one step is reached at the next, also if the shell has died in between."""
    protocol, process = start_on_terminal("set -m; sh -c 'trap \"\" HUP; echo ready; exec sleep 60'", *QUIET)
    await protocol.output_has(b"ready\n")
    foreground = process.foreground_group()
    assert foreground is not None
    assert process.signal_group(signal.SIGHUP)
    await protocol.has_exited()
    assert process.signal_group(0)
    os.killpg(foreground, 0)
    assert process.signal_group(signal.SIGKILL)
    await until(lambda: not process.signal_group(0))
    await end_of(protocol)


def test_master_that_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that a full terminal did not take, the end-of-file characters included, are written when it takes more."""
    wrote: list[bytes] = []
    recorder = PipeRecorder()
    master, slave = master_pair()
    typing = TerminalInput(reactor, master, 0, recorder)
    assert verifyObject(IReadWriteDescriptor, typing)
    typing.watch()

    def write_every_other_time(fd: int, data: bytes) -> int:
        wrote.append(bytes(data))
        if len(wrote) % 2:
            return 1
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "write", write_every_other_time)
    typing.write(b"xyz")
    typing.write(b"")
    typing.end()
    for _ in range(5):
        typing.doWrite()
    assert wrote[::2] == [b"xyz", b"yz", b"z", CTRL_D * 2, CTRL_D]
    assert recorder.taken == [1, 1, 1]
    assert typing not in reactor.getWriters()
    typing.close()
    os.close(slave)


@pytest.mark.parametrize("text", [b"", b"x"])
def test_master_whose_other_side_is_gone(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """An error that says that no process reads the terminal any more is the end of the input."""
    recorder = PipeRecorder()
    master, slave = master_pair()
    typing = TerminalInput(reactor, master, 0, recorder, recorder)

    def fail(fd: int, data: bytes) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", fail)
    typing.write(text)
    typing.end()
    if not text:
        typing.doWrite()
    assert (recorder.closed, recorder.taken) == ([0], [])
    os.close(slave)
