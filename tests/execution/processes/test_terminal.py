"""A process on a terminal: what it finds there, and what happens where no terminal can be had."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import deferLater

from tests.execution.owners import asynchronous, open_descriptors, reactor
from tests.execution.processes.recorder import QUIET, Recorder, close_ends, end_of, start, start_on_terminal, written
from tests.tools import require_tool
from twisted_rsh.core.limits import MAX_TERMINAL_SIZE
from twisted_rsh.core.requests import CONTROL_CHARACTERS, MODE_NAMES, Terminal
from twisted_rsh.execution.processes import terminal
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.terminal import TerminalUnavailable, open_terminal
from twisted_rsh.execution.processes.transport import spawn_process


@pytest.mark.parametrize("interpreter", ["dash", "bash", "sh"])
@asynchronous
async def test_what_a_process_finds(interpreter: str) -> None:
    """A process on a terminal has it three times, with its size, as the controlling terminal of its own session."""
    path = require_tool(interpreter)
    script = (
        "test -t 0 && test -t 1 && test -t 2 && tty && stty size && echo to stderr >&2 && echo to tty >/dev/tty"
        " && ps -o pid= -o pgid= -o sid= -o tpgid= -p $$"
    )
    output = await written(f"exec {path} -c '{script}'")
    name, size, error, tty, ids = output.decode().splitlines()
    assert name.startswith("/dev/")
    assert (size, error, tty) == ("30 100", "to stderr", "to tty")
    assert len(set(ids.split())) == 1


@asynchronous
async def test_order_of_events() -> None:
    """Output 2 ends at once and without data, input 0 and output 1 when no process holds the terminal any more."""
    protocol, process = start_on_terminal("read line; echo $line; exit 3", *QUIET)
    assert protocol.events == ["made"]
    await protocol.when(lambda: "lost 2" in protocol.events)
    assert process.is_output_exhausted(2)
    for harmless in (process.resume_output, process.close_output):
        harmless(2)
    assert process.buffered_output(2) == 0
    process.write(b"typed\n")
    reason = await end_of(protocol)
    assert reason.exitCode == 3
    assert protocol.output == {1: b"typed\n", 2: b""}
    assert sorted(protocol.events) == [
        "ended ProcessTerminated",
        "exited ProcessTerminated",
        "lost 0",
        "lost 1",
        "lost 2",
        "made",
    ]
    assert protocol.events[-1] == "ended ProcessTerminated"


@asynchronous
async def test_separate_stderr() -> None:
    """Standard error may be a pipe beside the terminal: byte for byte, whatever the terminal does to the rest."""
    protocol, _ = start_on_terminal("test -t 1 && test ! -t 2 && echo out && echo err >&2", separate_stderr=True)
    await end_of(protocol)
    assert protocol.output == {1: b"out\r\n", 2: b"err\n"}
    assert protocol.events.count("lost 2") == 1


@asynchronous
async def test_input_elsewhere() -> None:
    """The terminal may be at 8, with something else of the caller's as 0: the way of a persistent shell."""
    commands = os.pipe()
    status = os.pipe()
    protocol, process = start_on_terminal(
        "read line; echo $line; test ! -t 0 && test -t 8 && read line <&8 && echo $line >&9; tty <&8 >&9;"
        " echo done >/dev/tty",
        *QUIET,
        input_at=8,
        inherited={0: commands[0], 9: status[1]},
    )
    os.close(commands[0])
    os.close(status[1])
    os.write(commands[1], b"a command\n")
    os.close(commands[1])
    process.write(b"typed\n")
    await end_of(protocol)
    assert protocol.output[1] == b"a command\ndone\n"
    first, second = os.read(status[0], 1000).splitlines()
    assert first == b"typed"
    assert second.startswith(b"/dev/")
    assert os.read(status[0], 1) == b""
    os.close(status[0])


@asynchronous
async def test_descriptors_on_a_terminal() -> None:
    """X-12: on a terminal too a process sees its own descriptors only, and nothing stays open here."""
    before = open_descriptors()
    with open(os.devnull) as canary:
        os.set_inheritable(canary.fileno(), True)
        listed = await written(
            "fd=0; while [ $fd -lt 256 ]; do if [ -e /dev/fd/$fd ]; then echo $fd; fi; fd=$((fd + 1)); done"
        )
    assert listed.split() == [b"0", b"1", b"2"]
    await deferLater(reactor, 0)  # the turn in which descriptors are closed
    assert open_descriptors() == before


@asynchronous
async def test_modes() -> None:
    """Settings go by name; those that this system does not know are skipped, 0 switches a character off."""
    output = await written(
        "stty -a", ("VINTR", 7), ("VSUSP", 0), ("IUTF8", 1), ("ECHOE", 0), ("VNONE", 3), ("XCASE", 1)
    )
    words = output.replace(b";", b" ").split()
    assert words[words.index(b"intr") + 2] == b"^G"
    assert words[words.index(b"susp") + 2] == b"<undef>"
    assert {b"iutf8", b"-echoe", b"-echo", b"-opost", b"isig"} <= set(words)


def test_every_mode_is_known() -> None:
    """Every name that can travel is looked for in the right place."""
    known: set[str] = set()
    for _, flags in terminal._FLAGS:
        assert not known & set(flags)
        known |= set(flags)
    assert known | CONTROL_CHARACTERS == MODE_NAMES
    ends = open_terminal(Terminal(modes=tuple((name, 1) for name in sorted(known))))
    attributes: list[Any] = termios.tcgetattr(ends.slave)
    for place, flags in terminal._FLAGS:
        for flag in flags.values():
            assert attributes[place] & flag == flag
    close_ends(ends)


@pytest.mark.parametrize("missing", ["VLNEXT", "VWERASE"])
def test_character_that_is_unknown_here(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """A control character that this system does not have is skipped."""
    monkeypatch.delattr(termios, missing)
    ends = open_terminal(Terminal(modes=((missing, 1),)))
    close_ends(ends)


@asynchronous
async def test_size() -> None:
    """X-16: a process learns the size, and SIGWINCH tells it of another; one beyond all bounds is the largest."""
    protocol, process = start_on_terminal(
        "trap 'stty size; n=$((n+1))' WINCH; echo ready; while [ ${n:-0} -lt 2 ]; do read x; done", *QUIET
    )
    await protocol.output_has(b"ready\n")
    process.resize(132, 43)
    process.write(b"\n")
    await protocol.output_has(b"43 132\n")
    process.resize(MAX_TERMINAL_SIZE + 1, MAX_TERMINAL_SIZE)
    process.write(b"\n")
    await protocol.output_has(f"{MAX_TERMINAL_SIZE} {MAX_TERMINAL_SIZE}\n".encode())
    process.write(b"\n")
    await end_of(protocol)
    piped, without = start("exit 0")
    without.resize(1, 1)
    assert without.foreground_group() is None
    without.closeStdin()
    await end_of(piped)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EAGAIN, errno.ENOSPC, errno.EMFILE])
def test_no_terminal(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """When there is no terminal to be had an error of its own kind says why, and nothing stays open."""
    before = open_descriptors()

    def fail() -> tuple[int, int]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "openpty", fail)
    with pytest.raises(TerminalUnavailable) as caught:
        start_on_terminal("exit 0")
    assert (caught.value.errno, caught.value.strerror) == (number, os.strerror(number))
    assert open_descriptors() == before


@pytest.mark.parametrize("step", ["dup", "modes", "name"])
def test_terminal_that_cannot_be_set_up(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A terminal that fails on the way is closed again, wherever it fails."""
    before = open_descriptors()

    def fail(*arguments: object) -> Any:
        raise (termios.error if step == "modes" else OSError)(errno.EIO, "Input/output error")

    if step == "dup":
        monkeypatch.setattr(fcntl, "fcntl", fail)
    elif step == "modes":
        monkeypatch.setattr(termios, "tcsetattr", fail)
    else:
        monkeypatch.setattr(os, "ttyname", fail)
    with pytest.raises(TerminalUnavailable, match="Input/output error"):
        open_terminal(Terminal())
    assert open_descriptors() == before


@asynchronous
async def test_program_that_cannot_be_started(tmp_path: Path) -> None:
    """A failure behind the terminal is not the terminal's, and nothing stays open."""
    before = open_descriptors()
    plan = SpawnPlan(b"/no/such/program", (b"x",), (), os.fsencode(os.getcwd()))
    with pytest.raises(FileNotFoundError):
        spawn_process(reactor, Recorder(), plan, terminal=Terminal())
    assert open_descriptors() == before
