"""The console with pipes (-T): standard error apart and in red, input that ends, and signals instead of keys."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from tests.cli.terminal import PROMPT, Console, pid_shown, restored
from tests.server_process import ServerProcess, wait_until_gone

pytestmark = pytest.mark.real


def test_output_is_live_and_errors_are_red(server: ServerProcess, console: Console) -> None:
    """A command's output appears while it runs, with its standard error in red."""
    terminal = console(server, "-T")
    terminal.enter("echo plain; echo wrong >&2; cat; echo over")
    terminal.shows("plain")
    terminal.shows("wrong")
    assert terminal.colours("plain") == {"default"}
    assert terminal.colours("wrong") == {"red"}
    assert "over" not in terminal.lines
    terminal.type("\x04")
    terminal.shows("over")
    assert terminal.colours("over") == {"default"}
    terminal.enter("exit")
    assert terminal.end() == 0


def test_command_reads_typed_lines(server: ServerProcess, console: Console) -> None:
    """``cat`` gets the typed lines one by one until Ctrl-D; the console then prompts again."""
    terminal = console(server, "-T")
    terminal.enter("echo ready; cat -n")
    terminal.shows("ready")
    for number, line in enumerate(("one", "two"), 1):
        terminal.type(f"{line}\r")
        terminal.shows(f"     {number}  {line}")
    terminal.type("\x04")
    terminal.enter("exit")
    assert terminal.end() == 0


def test_output_without_a_line_end(server: ServerProcess, console: Console) -> None:
    """A prompt begins its own line, whatever the last command left behind."""
    terminal = console(server, "-T")
    terminal.enter("printf half")
    terminal.shows("half")
    terminal.enter("printf wrong >&2; (exit 2)")
    terminal.shows("wrong")
    terminal.shows("[status 2]")
    terminal.prompt()
    assert terminal.lines[1] == "half"
    assert terminal.lines[-3:] == ["wrong", "[status 2]", PROMPT.rstrip()]
    terminal.type("\x04")
    assert terminal.end() == 2


def test_interrupted_command(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-C ends the command, also on the server, and the console lives."""
    terminal = console(server, "-T")
    terminal.enter("sh -c 'echo $$; exec sleep 30'")
    pid = pid_shown(terminal)
    before = time.monotonic()
    terminal.type("\x03")
    terminal.shows("[status 130]")
    terminal.prompt()
    assert terminal.lines[2] == "^C"
    assert time.monotonic() - before < 10
    wait_until_gone(pid)
    terminal.enter("echo alive")
    terminal.shows("alive")
    terminal.prompt()
    terminal.type("\x04")
    assert terminal.end() == 0


def test_stubborn_command(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-C three times in a row is SIGKILL: no command is too stubborn, and the shell goes on."""
    terminal = console(server, "-T")
    script = "trap 'echo int' INT; trap 'echo term' TERM; echo $$; while :; do sleep 0.05; done"
    terminal.enter(f'sh -c "{script.replace("$$", chr(92) + "$$")}"')
    pid = pid_shown(terminal)
    terminal.type("\x03")
    terminal.until(lambda: any(line.endswith("int") for line in terminal.lines))
    terminal.type("\x03")
    terminal.until(lambda: any(line.endswith("term") for line in terminal.lines))
    terminal.type("\x03")
    terminal.enter("echo alive")
    terminal.shows("alive")
    wait_until_gone(pid)
    assert any(line.startswith("[status 1") for line in terminal.lines)  # 130 where the shell remembers the first one
    terminal.enter("exit")
    assert terminal.end() == 0


def test_quit_key(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-\\\\ is SIGQUIT, for the command alone."""
    terminal = console(server, "-T")
    terminal.enter("""sh -c 'trap "echo quit" QUIT; echo ready; while :; do sleep 0.05; done'""")
    terminal.shows("ready")
    terminal.type("\x1c")
    terminal.until(lambda: any(line.endswith("quit") for line in terminal.lines))
    terminal.type("\x03")
    terminal.enter("exit")
    assert terminal.end() == 130


def test_text_of_another_code_page(server: ServerProcess, console: Console) -> None:
    """On a UTF-8 terminal GBK output is readable, and a command reads the keys as GBK."""
    terminal = console(server, "-T", "--encoding", "gbk")
    terminal.enter(r"printf '\272\272\327\326\n'; head -n 1 | od -An -tx1")
    terminal.until(lambda: any(line.replace(" ", "") == "汉字" for line in terminal.lines))
    terminal.type("汉\r")
    terminal.shows(" ba ba 0a")
    terminal.enter("exit")
    assert terminal.end() == 0


def test_output_file_gets_no_prompt(server: ServerProcess, console: Console) -> None:
    """If stdout is no terminal, the prompt is still on the terminal, and stdout has the commands' output alone."""
    terminal = console(server, "-T", stdout=subprocess.PIPE)
    terminal.enter("echo elsewhere")
    assert terminal.process.stdout is not None
    assert terminal.process.stdout.readline() == b"elsewhere\n"
    terminal.enter("exit")
    assert terminal.end() == 0
    assert terminal.process.stdout.read() == b""


def test_one_shell(server: ServerProcess, console: Console) -> None:
    """Also on pipes a command finds what the last one did; ``exit 3`` ends the console."""
    terminal = console(server, "-T")
    terminal.enter("cd /; x=kept")
    terminal.enter("pwd; echo $x; test -t 0 || echo pipes")
    for line in ("/", "kept", "pipes"):
        terminal.shows(line)
    terminal.enter("exit 3")
    assert terminal.end() == 3
    assert terminal.lines[-1] == f"{PROMPT}exit 3"
    assert restored(terminal)


def test_reader_leaves_at_the_prompt(server: ServerProcess, console: Console) -> None:
    """C-06: a reader of stdout that has enough ends the console at once, with SIGPIPE's status and no word."""
    reading, writing = os.pipe()
    terminal = console(server, stdout=writing)
    os.close(writing)
    terminal.enter("echo one; exit_status=3")
    assert os.read(reading, 100) == b"one\n"
    terminal.prompt()
    lines = terminal.lines
    os.close(reading)
    assert terminal.end() == 141
    assert terminal.lines == lines
    assert restored(terminal)


@pytest.mark.parametrize("option", ["-T", "-t"])
def test_reader_leaves_a_command(server: ServerProcess, console: Console, option: str) -> None:
    """C-06: a reader that leaves under a command ends the console when the command has ended, as it does by writing."""
    reading, writing = os.pipe()
    terminal = console(server, option, stdout=writing)
    os.close(writing)
    terminal.enter("sh -c 'echo $$; read x; yes'")
    pid = int(os.read(reading, 100))
    os.close(reading)
    terminal.type("go on\r")
    assert terminal.end() == 141
    wait_until_gone(pid)
    assert not any("Traceback" in line or line.startswith("trsh") for line in terminal.lines)
    assert restored(terminal)
