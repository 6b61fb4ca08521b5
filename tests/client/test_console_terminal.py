"""The console on a real terminal, against a real server: what the user sees, and how the terminal is left."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.client.processes import PATIENCE, ServerProcess, wait_until_gone
from tests.client.terminal import PROMPT, Console, pid_shown, restored
from twisted_rsh.trust.home import Home


def test_commands_one_after_another(server: ServerProcess, console: Console) -> None:
    """Prompt, command, output, prompt; a status that is not 0 is shown; Ctrl-D leaves with the last one."""
    terminal = console(server)
    terminal.enter("echo first")
    terminal.shows("first")
    terminal.enter("exit 3")  # of that command's shell
    terminal.shows("[status 3]")
    terminal.prompt()
    terminal.type("\x04")
    assert terminal.end() == 3
    assert terminal.lines[:4] == [f"{PROMPT}echo first", "first", f"{PROMPT}exit 3", "[status 3]"]
    assert restored(terminal)


def test_empty_lines_prompt_again(server: ServerProcess, console: Console) -> None:
    """An empty line, or one of spaces, runs nothing; ``exit`` leaves."""
    terminal = console(server)
    for count, line in enumerate(("", "   "), 1):
        terminal.prompt()
        terminal.type(f"{line}\r")
        terminal.shows_lines(count + 1)
    terminal.enter(" exit ")
    assert terminal.end() == 0
    assert terminal.lines[:2] == [PROMPT.rstrip()] * 2
    assert restored(terminal)


def test_output_is_live_and_errors_are_red(server: ServerProcess, console: Console) -> None:
    """What a command writes is there while it runs, with its standard error in red."""
    terminal = console(server)
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
    """``cat`` gets what is typed, line by line, until Ctrl-D; the console then prompts again."""
    terminal = console(server)
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
    terminal = console(server)
    terminal.enter("printf half")
    terminal.shows("half")
    terminal.enter("printf wrong >&2; exit 2")
    terminal.shows("wrong")
    terminal.shows("[status 2]")
    terminal.prompt()
    assert terminal.lines[1] == "half"
    assert terminal.lines[-3:] == ["wrong", "[status 2]", PROMPT.rstrip()]
    terminal.type("\x04")
    assert terminal.end() == 2


def test_interrupted_command(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-C ends the command, also on the server, and the console lives."""
    terminal = console(server)
    terminal.enter("echo $$; exec sleep 30")
    pid = pid_shown(terminal)
    before = time.monotonic()
    terminal.type("\x03")
    terminal.shows("[killed by SIGINT]")
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
    """C-10: with the third Ctrl-C the user has the prompt back; the command is ended."""
    terminal = console(server)
    terminal.enter("trap 'echo never' INT; echo $$; while :; do sleep 0.05; done")
    pid = pid_shown(terminal)
    for count in (1, 2):
        terminal.type("\x03")
        terminal.shows_lines(2 + count)
    terminal.type("\x03")
    terminal.enter("echo alive")
    terminal.shows("alive")
    wait_until_gone(pid)
    terminal.enter("exit")
    assert terminal.end() == 0


def test_interrupt_at_the_prompt(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-C at the prompt drops the line and prompts anew, any number of times."""
    terminal = console(server)
    terminal.prompt()
    for count in range(3):
        terminal.type("ls")
        terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}ls")
        terminal.type("\x03")
        terminal.shows_lines(count + 2)
        terminal.prompt()
    terminal.enter("echo alive")
    terminal.shows("alive")
    terminal.prompt()
    terminal.type("\x04")
    assert terminal.end() == 0
    assert restored(terminal)


def test_history_is_kept_for_its_owner_alone(server: ServerProcess, console: Console) -> None:
    """O-02: the lines typed are there in the next console, in a file that nobody else can read."""
    terminal = console(server)
    terminal.enter("echo remember me")
    terminal.shows("remember me")
    terminal.enter("exit")
    assert terminal.end() == 0
    path = Path(Home.at(str(server.folder)).history_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    terminal = console(server)
    terminal.prompt()
    terminal.type("\x1b[A\x1b[A")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}echo remember me")
    terminal.type("\r")
    terminal.shows("remember me")
    terminal.enter("exit")
    assert terminal.end() == 0


def test_output_file_gets_no_prompt(server: ServerProcess, console: Console) -> None:
    """With stdout elsewhere, the prompt is still on the terminal, and the output elsewhere is the commands' alone."""
    terminal = console(server, stdout=subprocess.PIPE)
    terminal.enter("echo elsewhere")
    assert terminal.process.stdout is not None
    assert terminal.process.stdout.readline() == b"elsewhere\n"
    terminal.enter("exit")
    assert terminal.end() == 0
    assert terminal.process.stdout.read() == b""


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_signal_at_the_prompt(server: ServerProcess, console: Console, name: str) -> None:
    """C-04: a console that is told to end restores the terminal; C-05: its flags are as they were."""
    terminal = console(server)
    terminal.prompt()
    assert not restored(terminal)
    assert os.get_blocking(terminal.terminal)
    terminal.process.send_signal(signal.Signals[f"SIG{name}"])
    assert terminal.end() == 128 + signal.Signals[f"SIG{name}"]
    assert restored(terminal)


def test_killed_console_leaves_blocking_descriptors(server: ServerProcess, console: Console) -> None:
    """C-05: after SIGKILL, while a command runs, the terminal is blocking and as it was."""
    terminal = console(server)
    terminal.enter("echo ready; cat")
    terminal.shows("ready")
    assert os.get_blocking(terminal.terminal)
    terminal.process.kill()
    terminal.process.wait(PATIENCE)
    assert restored(terminal)


def test_server_killed_at_the_prompt(doomed_server: ServerProcess, console: Console) -> None:
    """C-04: a server that dies while the user thinks: one line, 255, and the terminal is as it was."""
    terminal = console(doomed_server)
    terminal.enter("true")
    terminal.prompt()
    doomed_server.kill()
    assert terminal.end() == 255
    said = [line for line in terminal.lines if "trsh:" in line]
    assert len(said) == 1
    assert said[0].startswith("trsh: the connection was lost")
    assert terminal.lines[-1] == said[0]
    assert restored(terminal)


def test_server_killed_under_a_command(doomed_server: ServerProcess, console: Console) -> None:
    """C-04: a server that dies under a command: one line, 255, and the terminal is as it was."""
    terminal = console(doomed_server)
    terminal.enter("echo ready; exec sleep 1000")
    terminal.shows("ready")
    doomed_server.kill()
    assert terminal.end() == 255
    assert terminal.lines[1] == "ready"
    assert len(terminal.lines) == 3
    assert "outcome unknown: the connection was lost" in terminal.lines[2]
    assert restored(terminal)


def test_no_server(doomed_server: ServerProcess, console: Console) -> None:
    """A console without a server is one line and 255."""
    doomed_server.kill()
    terminal = console(doomed_server)
    assert terminal.end() == 255
    assert terminal.lines == [f"trsh: cannot connect to 127.0.0.1 port {doomed_server.port}: Connection refused"]
    assert restored(terminal)


def test_text_of_another_code_page(server: ServerProcess, console: Console) -> None:
    """On a UTF-8 terminal, GBK output is readable, and GBK is what a command gets to read."""
    terminal = console(server, "--encoding", "gbk")
    terminal.enter(r"printf '\272\272\327\326\n'; head -n 1 | od -An -tx1")
    terminal.until(lambda: any(line.replace(" ", "") == "汉字" for line in terminal.lines))
    terminal.type("汉\r")
    terminal.shows(" ba ba 0a")
    terminal.enter("exit")
    assert terminal.end() == 0


def test_one_command_on_a_terminal(server: ServerProcess, console: Console) -> None:
    """C-05: a command on the command line, on a terminal: its output, its status, and no trace on the terminal."""
    terminal = console(server, "127.0.0.1", "echo out; echo err >&2; exit 9")
    assert terminal.end() == 9
    assert sorted(terminal.lines) == ["err", "out"]
    assert restored(terminal)


def test_interrupt_of_one_command(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-C at a terminal ends a single command, here and there."""
    terminal = console(server, "127.0.0.1", "echo $$; exec sleep 1000")
    pid = pid_shown(terminal)
    terminal.type("\x03")
    assert terminal.end() == 130
    wait_until_gone(pid)
    assert restored(terminal)
