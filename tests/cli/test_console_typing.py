"""Keys typed ahead at the console: they are for the command before which they stand, and a password is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.terminal import PROMPT, Console, restored
from tests.server_process import ServerProcess, running_server
from tests.tools import require_tool
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.real

SECRET = "s3cret"


def history(server: ServerProcess) -> str:
    """The console's history, on disk."""
    path = Path(ConfigFolders.at(str(server.folder)).history_path)
    return path.read_text() if path.exists() else ""


def test_password_in_one_burst(bash_server: ServerProcess, console: Console) -> None:
    """A password typed behind the command that asks for it is read by it, not shown, not run and not in the history."""
    terminal = console(bash_server)
    for number in range(4):
        terminal.prompt()
        terminal.type(f"read -rs pw; echo got{number} ${{#pw}}\r{SECRET}\r")
        terminal.shows(f"got{number} {len(SECRET)}")
    terminal.enter("exit")
    assert terminal.end() == 0
    assert not any(SECRET in line for line in terminal.lines)
    assert SECRET not in history(bash_server)
    assert restored(terminal)


@pytest.mark.parametrize("shell", ["dash", "zsh"])
def test_password_in_other_shells(tmp_path: Path, console: Console, shell: str) -> None:
    """The same in the shells that read their commands in other ways."""
    with running_server(tmp_path, require_tool(shell)) as server:
        terminal = console(server)
        terminal.prompt()
        terminal.type(f"stty -echo; read -r pw; stty echo; echo got ${{#pw}}\r{SECRET}\recho $((40 + 2))\r")
        terminal.shows(f"got {len(SECRET)}")
        terminal.shows("42")
        terminal.enter("exit")
        assert terminal.end() == 0
        assert not any(SECRET in line for line in terminal.lines)
        assert SECRET not in history(server)


def test_lines_for_a_program_with_its_own_prompt(server: ServerProcess, console: Console) -> None:
    """A program that reads its terminal with an editor of its own gets the lines behind it."""
    require_tool("python3")
    terminal = console(server)
    terminal.prompt()
    terminal.type("python3 -q\rprint(6 * 7)\rexit()\r")
    terminal.shows("42")
    terminal.enter("echo after")
    terminal.shows("after")
    terminal.enter("exit")
    assert terminal.end() == 0


def test_text_before_the_first_prompt(server: ServerProcess, console: Console) -> None:
    """Commands that are typed before there is a prompt run one after another, each once."""
    terminal = console(server)
    terminal.type("echo on$((1))\recho tw$((2))\rexit 5\r")
    assert terminal.end() == 5
    assert [line for line in terminal.lines if line in {"on1", "tw2"}] == ["on1", "tw2"]
    assert restored(terminal)


def test_what_is_left_unread_comes_back(bash_server: ServerProcess, console: Console) -> None:
    """Commands typed in one burst, or while one runs, are read from the prompt when no command reads them."""
    terminal = console(bash_server)
    terminal.prompt()
    terminal.type("true\rhead -n 1\rfor head\recho $((40 + 2))\r")
    terminal.shows("42")
    assert "for head" in terminal.lines
    terminal.prompt()
    terminal.type("echo begun; sleep 0.3\r")
    terminal.shows("begun")
    terminal.type("echo $((50 + 2))\r")
    terminal.shows("52")
    terminal.prompt()
    terminal.type("sleep 0.2\rhalf")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}half")
    terminal.type("\x15exit\r")
    assert terminal.end() == 0


def test_characters_and_halves(bash_server: ServerProcess, console: Console) -> None:
    """Wide characters, combining marks, escape sequences and a paste reach the command byte by byte."""
    terminal = console(bash_server)
    terminal.prompt()
    text = "汉字e\u0301\x1b[A\x1b[200~x\x1b[201~"
    terminal.type(f"IFS= read -r x; printf %s \"$x\" | od -An -tx1 | tr -d ' \\n'; echo\r{text}\r")
    terminal.shows(text.encode().hex())
    terminal.enter("exit")
    assert terminal.end() == 0


def test_interrupt_typed_ahead(bash_server: ServerProcess, console: Console) -> None:
    """Ctrl-C behind a command interrupts it, and what stands before it is dropped."""
    terminal = console(bash_server)
    terminal.prompt()
    terminal.type("sleep 100\recho dropped\r\x03")
    terminal.shows("[status 130]")
    terminal.enter("echo alive")
    terminal.shows("alive")
    assert "dropped" not in terminal.lines
    terminal.enter("exit")
    assert terminal.end() == 0


def test_more_than_travels_with_the_command(bash_server: ServerProcess, console: Console, tmp_path: Path) -> None:
    """A long text behind a command reaches it whole."""
    terminal = console(bash_server)
    terminal.prompt()
    lines = [f"line {number} of the text" for number in range(300)]
    terminal.type(f"stty -echo; cat > {tmp_path}/text\r" + "".join(f"{line}\r" for line in lines) + "\x04")
    terminal.enter("stty echo; echo done")
    terminal.shows("done")
    assert (tmp_path / "text").read_text().splitlines() == lines
    terminal.enter("exit")
    assert terminal.end() == 0


def test_without_a_terminal(bash_server: ServerProcess, console: Console) -> None:
    """On pipes the lines behind a command are its input, up to Ctrl-D; what follows is for the prompt."""
    terminal = console(bash_server, "-T")
    terminal.prompt()
    terminal.type("cat -n\rone\rtwo\r\x04echo $((40 + 2))\r")
    terminal.shows("     2  two")
    terminal.shows("42")
    terminal.enter("exit")
    assert terminal.end() == 0
