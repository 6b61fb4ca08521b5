"""The console on terminals that understand no escape sequence: not one byte of one, and all that a person needs."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.terminal import PROMPT, Terminal, restored
from tests.readable import is_readable
from tests.server_process import ServerProcess
from twisted_rsh.cli.terminal import is_plain_terminal
from twisted_rsh.trust.home import ConfigFolders

PLAIN = [{"TERM": "dumb"}, {"TERM": None}, {"TERM": "xterm", "NO_COLOR": "1"}]


class RecordingTerminal(Terminal):
    """A terminal that remembers all that it was sent."""

    sent = b""

    def _show(self, seconds: float) -> bool:
        if not is_readable(self._behind, seconds):
            return False
        data = os.read(self._behind, 65536)
        self.sent += data
        self._stream.feed(data)
        return True

    def plain_prompt(self, text: str = PROMPT) -> None:
        """Wait for a prompt with nothing behind it."""
        self.until(lambda: self.lines[-1:] == [text.rstrip()])


def opened(server: ServerProcess, settings: dict[str, str | None], *words: str) -> RecordingTerminal:
    """Open a console with these variables."""
    environment = {name: value for name, value in (server.environment | settings).items() if value is not None}
    return RecordingTerminal(server.command(*words), environment)


@pytest.mark.parametrize(
    ("environment", "is_plain"),
    [
        ({}, True),
        ({"TERM": ""}, True),
        ({"TERM": "dumb"}, True),
        ({"TERM": "unknown"}, True),
        ({"TERM": "no-such-terminal"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "vt100"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, False),
        ({"TERM": "xterm", "NO_COLOR": "0"}, True),
    ],
)
def test_which_terminals_are_plain(environment: dict[str, str], is_plain: bool) -> None:
    """A terminal without a type, of an unknown one, or with NO_COLOR, whatever its value, gets no escapes."""
    assert is_plain_terminal(environment) is is_plain


@pytest.mark.real
@pytest.mark.parametrize("settings", PLAIN, ids=lambda settings: "-".join(f"{k}={v}" for k, v in settings.items()))
def test_no_escape_at_all(bash_server: ServerProcess, settings: dict[str, str | None]) -> None:
    """Commands, errors, unfinished lines, a status, Ctrl-C and Ctrl-D: no escape sequence is written."""
    with closing(opened(bash_server, settings)) as terminal:
        for line, shown in {
            "echo out; echo err >&2": "err",
            "(exit 3)": "[status 3]",
            "printf half": "half",
            "echo $((40 + 2))": "42",
        }.items():
            terminal.plain_prompt()
            terminal.type(f"{line}\r")
            terminal.shows(shown)
        terminal.plain_prompt()
        terminal.type("dropped\x03")
        terminal.plain_prompt()
        terminal.type("for x in one two\r")
        terminal.plain_prompt("..: ")
        terminal.type("do echo $x; done\r")
        terminal.shows("two")
        terminal.plain_prompt()
        terminal.type("(exit 4)\r\x04")
        assert terminal.end() == 4
        assert b"\x1b" not in terminal.sent
        assert restored(terminal)


@pytest.mark.real
def test_keys_and_history(bash_server: ServerProcess) -> None:
    """Keys behind a command are its input, what it leaves comes back, and commands are in the history."""
    with closing(opened(bash_server, {"TERM": "dumb"})) as terminal:
        terminal.plain_prompt()
        terminal.type("read x; echo got $x\rinput\recho $((40 + 2))\r")
        terminal.shows("got input")
        terminal.shows("42")
        terminal.plain_prompt()
        terminal.type(":help\r")
        terminal.until(lambda: any("Ctrl-D" in line for line in terminal.lines))
        terminal.plain_prompt()
        terminal.type("sleep 1.1\r")
        terminal.until(lambda: any(line.startswith("[took 1.") for line in terminal.lines))
        terminal.plain_prompt()
        terminal.type("~.\r")
        assert terminal.end() == 255
        assert b"\x1b" not in terminal.sent
    entries = Path(ConfigFolders.at(str(bash_server.folder)).history_path).read_text()
    assert "+read x; echo got $x\n" in entries
    assert "+input\n" not in entries


@pytest.mark.real
def test_output_at_the_prompt(bash_server: ServerProcess, tmp_path: Path) -> None:
    """The output of a background process has lines of its own, and the prompt is shown again."""
    os.mkfifo(tmp_path / "go")
    with closing(opened(bash_server, {"TERM": "dumb"})) as terminal:
        terminal.plain_prompt()
        terminal.type(f"(read x < {tmp_path}/go; printf 'from behind') &\r")
        terminal.until(lambda: len(terminal.lines) > 1 and terminal.lines[-1] == PROMPT.rstrip())
        (tmp_path / "go").write_text("go\n")
        terminal.shows("from behind")
        terminal.plain_prompt()
        terminal.type("exit\r")
        assert terminal.end() == 0


@pytest.mark.real
def test_signals(bash_server: ServerProcess) -> None:
    """TERM at the prompt ends the console and gives the terminal back."""
    with closing(opened(bash_server, {"TERM": "dumb"})) as terminal:
        terminal.plain_prompt()
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.end() == 143
        assert restored(terminal)
