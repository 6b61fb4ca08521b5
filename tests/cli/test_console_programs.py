"""Programs that take the whole screen, or ask, at the console: they work as they do anywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import Console, restored
from tests.server_process import ServerProcess
from tests.tools import require_tool

pytestmark = pytest.mark.real


def test_editor(server: ServerProcess, console: Console, tmp_path: Path) -> None:
    """Vim edits a file and saves it, and the next prompt begins a line."""
    vim = require_tool("vim")
    path = tmp_path / "poem"
    terminal = console(server)
    terminal.enter(f"{vim} -u NONE -i NONE -n {path}")
    terminal.until(lambda: "~" in terminal.lines)
    terminal.type("iroses are red")
    terminal.until(lambda: terminal.lines[0] == "roses are red")
    terminal.type("\x1b:wq\r")
    terminal.prompt()
    assert path.read_text() == "roses are red\n"
    terminal.enter("exit")
    assert terminal.end() == 0
    assert restored(terminal)


def test_pager(server: ServerProcess, console: Console) -> None:
    """Less shows a page, goes to the end on a key, and leaves on another."""
    less = require_tool("less")
    terminal = console(server)
    terminal.enter(f"seq 1 500 | {less} -X")
    terminal.until(lambda: terminal.lines[-1:] == [":"])
    terminal.type("G")
    terminal.shows("500")
    terminal.type("q")
    terminal.enter("echo left")
    terminal.shows("left")
    terminal.enter("exit")
    assert terminal.end() == 0


def test_interpreter(server: ServerProcess, console: Console) -> None:
    """Python's own prompt takes lines, and Ctrl-D leaves it, not the console."""
    terminal = console(server)
    terminal.enter(f"{require_tool('python3')} -q")
    terminal.until(lambda: terminal.lines[-1:] == [">>>"])
    terminal.type("6 * 7\r")
    terminal.shows("42")
    terminal.until(lambda: terminal.lines[-1:] == [">>>"])
    terminal.type("\x04")
    terminal.enter("echo out of it")
    terminal.shows("out of it")
    terminal.enter("exit")
    assert terminal.end() == 0


def test_password(server: ServerProcess, console: Console) -> None:
    """A password that a program asks for is not shown."""
    terminal = console(server)
    terminal.enter("stty -echo; printf 'Password: '; read p; stty echo; echo; echo \"[$p]\"")
    terminal.until(lambda: terminal.lines[-1] == "Password:")
    terminal.type("secret")
    terminal.type("\r")
    terminal.shows("[secret]")
    terminal.enter("exit")
    assert terminal.end() == 0
    assert not any("secret" in line for line in terminal.lines if line != "[secret]")


def test_size(server: ServerProcess, console: Console) -> None:
    """C-10: a command learns of another size while it runs, and of one that came at the prompt."""
    terminal = console(server)
    terminal.enter("sh -c 'trap \"stty size\" WINCH; echo ready; while :; do sleep 0.05; done'")
    terminal.shows("ready")
    terminal.resize(120, 35)
    terminal.shows("35 120")
    terminal.type("\x03")
    terminal.prompt()
    terminal.resize(110, 33)
    terminal.enter("stty size")
    terminal.shows("33 110")
    terminal.enter("exit")
    assert terminal.end() == 0
    assert restored(terminal)


def test_suspended_command(console: Console, bash_server: ServerProcess) -> None:
    """Ctrl-Z suspends a command and the prompt says so; ``fg`` continues it."""
    terminal = console(bash_server)
    terminal.enter("sh -c 'echo ready; exec cat'")
    terminal.shows("ready")
    terminal.type("one\r")
    terminal.until(lambda: terminal.lines.count("one") > 1)
    terminal.type("\x1a")
    terminal.shows("[stopped by SIGTSTP]")
    terminal.enter("fg")
    terminal.shows("sh -c 'echo ready; exec cat'")
    terminal.type("two\r")
    terminal.until(lambda: terminal.lines.count("two") > 1)
    terminal.type("\x04")
    terminal.enter("exit")
    assert terminal.end() == 0
    assert restored(terminal)
