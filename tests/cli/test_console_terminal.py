"""The console on a real terminal, against a real server: the screen, and the state of the terminal afterwards."""

from __future__ import annotations

import os
import signal
import stat
import termios
from pathlib import Path

import pytest

from tests.cli.terminal import PROMPT, Console, Terminal, pid_shown, restored
from tests.server_process import PATIENCE, ServerProcess, running_server, wait_until_gone
from tests.tools import require_tool
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.real


def test_one_shell(server: ServerProcess, console: Console) -> None:
    """Prompt, command, output, prompt; one shell for all; a status that is not 0 is shown; Ctrl-D leaves with it."""
    terminal = console(server)
    terminal.enter("cd /tmp")
    terminal.enter("pwd; x=kept")
    terminal.shows("/tmp")
    terminal.enter("echo $x; test -t 0 && test -t 1 && test -t 2")
    terminal.shows("kept")
    terminal.enter("(exit 3)")
    terminal.shows("[status 3]")
    terminal.prompt()
    terminal.type("\x04")
    assert terminal.end() == 3
    commands = ["cd /tmp", "pwd; x=kept", "echo $x; test -t 0 && test -t 1 && test -t 2", "(exit 3)"]
    prompts = [f"{PROMPT}{command}" for command in commands]
    assert terminal.lines[:7] == [prompts[0], prompts[1], "/tmp", prompts[2], "kept", prompts[3], "[status 3]"]
    assert restored(terminal)


def test_leaving(server: ServerProcess, console: Console) -> None:
    """``exit 3`` ends the shell and the console, without a word."""
    terminal = console(server)
    terminal.enter("exit 3")
    assert terminal.end() == 3
    assert terminal.lines == [f"{PROMPT}exit 3"]
    assert restored(terminal)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("exec false", 1, "trsh: the shell has ended with status 1"),
        ("kill -KILL $$", 137, "trsh: the shell has ended: killed by SIGKILL"),
    ],
)
def test_shell_that_dies(server: ServerProcess, console: Console, command: str, status: int, said: str) -> None:
    """The console ends with its shell: one line, and the status of the shell's end."""
    terminal = console(server)
    terminal.enter(command)
    assert terminal.end() == status
    assert terminal.lines == [f"{PROMPT}{command}", said]
    assert restored(terminal)


def test_shell_that_dies_at_the_prompt(server: ServerProcess, console: Console) -> None:
    """The shell is killed while the prompt waits: one line, its status, and the terminal as it was."""
    terminal = console(server)
    terminal.enter("echo $$")
    pid = pid_shown(terminal)
    terminal.prompt()
    os.kill(pid, signal.SIGKILL)
    assert terminal.end() == 137
    assert [line for line in terminal.lines if "trsh:" in line] == ["trsh: the shell has ended: killed by SIGKILL"]
    assert restored(terminal)


def test_background_output_appears_above_the_prompt(server: ServerProcess, console: Console, tmp_path: Path) -> None:
    """The output of a background process appears above the line being typed, which stays as it is."""
    os.mkfifo(tmp_path / "go")
    terminal = console(server)
    terminal.enter(f"(read x < {tmp_path}/go; printf 'from behind') &")
    terminal.prompt()
    terminal.type("echo half")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}echo half")
    (tmp_path / "go").write_text("go\n")
    terminal.shows("from behind")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}echo half")
    assert terminal.lines.count(f"{PROMPT}echo half") == 1
    terminal.type(" done\r")
    terminal.shows("half done")
    terminal.enter("exit")
    assert terminal.end() == 0
    assert restored(terminal)


def test_interrupted_command(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-C interrupts the command where it runs, and the prompt comes back with its status."""
    terminal = console(server)
    terminal.enter("sh -c 'echo $$; exec sleep 100'")
    pid = pid_shown(terminal)
    terminal.type("\x03")
    terminal.shows("[status 130]")
    wait_until_gone(pid)
    terminal.enter("echo alive")
    terminal.shows("alive")
    terminal.prompt()
    terminal.type("\x04")
    assert terminal.end() == 0
    assert restored(terminal)


def test_output_without_a_line_end(server: ServerProcess, console: Console) -> None:
    """A prompt begins its own line, wherever the last command left the cursor."""
    terminal = console(server)
    first, second = "printf half", r"printf 'whole\n\033[0m'"
    terminal.enter(first)
    terminal.enter(second)
    terminal.enter("exit")
    assert terminal.end() == 0
    assert terminal.lines == [f"{PROMPT}{first}", "half", f"{PROMPT}{second}", "whole", f"{PROMPT}exit"]


def test_time_out_is_each_commands(server: ServerProcess, console: Console) -> None:
    """The server ends a command after its time-out, and the console goes on."""
    terminal = console(server, "--timeout", "0.5")
    terminal.enter("sleep 100")
    terminal.shows("[timed out after 0.5 s]")
    terminal.enter("true")
    terminal.enter("exit")
    assert terminal.end() == 0


def test_suspended_at_the_prompt(server: ServerProcess, tmp_path: Path) -> None:
    """C-04: SIGTSTP at the prompt leaves the shell that started the client its terminal as it was."""
    words = " ".join(server.command())
    terminal = Terminal([require_tool("bash"), "--norc", "--noediting", "-i"], server.environment | {"PS1": "$ "})
    try:
        terminal.until(lambda: terminal.lines == ["$"])
        before = termios.tcgetattr(terminal.terminal)
        terminal.type(f"{words}\r")
        terminal.prompt()
        os.killpg(terminal.foreground, signal.SIGTSTP)
        terminal.until(lambda: terminal.foreground == terminal.process.pid)
        assert termios.tcgetattr(terminal.terminal) == before
        terminal.type("fg\r")
        terminal.enter("echo back")
        terminal.shows("back")
        terminal.enter("exit")
        terminal.until(lambda: terminal.foreground == terminal.process.pid)
        assert termios.tcgetattr(terminal.terminal) == before
        terminal.type("exit\r")
        assert terminal.end() == 0
    finally:
        terminal.close()


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


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_signal_under_a_command(server: ServerProcess, console: Console, name: str) -> None:
    """C-04: a signal to the console while a command runs goes to the command, and the console goes on."""
    terminal = console(server)
    terminal.enter("sh -c 'echo $$; exec sleep 1000'")
    pid = pid_shown(terminal)
    number = signal.Signals[f"SIG{name}"]
    terminal.process.send_signal(number)
    terminal.until(lambda: any(str(128 + number) in line for line in terminal.lines))
    wait_until_gone(pid)
    terminal.enter("exit")
    assert terminal.end() == 128 + number
    assert restored(terminal)


def test_killed_console(server: ServerProcess, console: Console) -> None:
    """C-05: after SIGKILL, while a command runs, no flag is left on the terminal's descriptors."""
    terminal = console(server)
    terminal.enter("echo ready; cat")
    terminal.shows("ready")
    assert os.get_blocking(terminal.terminal)
    terminal.process.kill()
    terminal.process.wait(PATIENCE)
    assert os.get_blocking(terminal.terminal)


@pytest.mark.uncut("the session is told to end with its connection")
def test_server_killed_under_a_command(doomed_server: ServerProcess, console: Console) -> None:
    """C-04: a server that dies under a command: one line, 255, and the terminal is as it was."""
    terminal = console(doomed_server, "--no-resume")
    terminal.enter("echo ready; sleep 1000")
    terminal.shows("ready")
    doomed_server.kill()
    assert terminal.end() == 255
    assert terminal.lines[1] == "ready"
    assert len(terminal.lines) == 3
    assert "outcome unknown: the connection was lost" in terminal.lines[2]
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
    """O-02: the next console has the lines typed before, in a file that only its owner can read."""
    terminal = console(server)
    terminal.enter("echo remember me")
    terminal.shows("remember me")
    terminal.enter("exit")
    assert terminal.end() == 0
    path = Path(ConfigFolders.at(str(server.folder)).history_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    terminal = console(server)
    terminal.prompt()
    terminal.type("\x1b[A\x1b[A")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}echo remember me")
    terminal.type("\r")
    terminal.shows("remember me")
    terminal.enter("exit")
    assert terminal.end() == 0


@pytest.mark.uncut("the session is told to end with its connection")
def test_server_killed_at_the_prompt(doomed_server: ServerProcess, console: Console) -> None:
    """C-04: a server that dies while the prompt waits: one line, 255, and the terminal is as it was."""
    terminal = console(doomed_server, "--no-resume")
    terminal.enter("true")
    terminal.prompt()
    doomed_server.kill()
    assert terminal.end() == 255
    said = [line for line in terminal.lines if "trsh:" in line]
    assert len(said) == 1
    assert said[0].startswith("trsh: the connection was lost")
    assert terminal.lines[-1] == said[0]
    assert restored(terminal)


def test_no_server(doomed_server: ServerProcess, console: Console) -> None:
    """A console without a server is one line and 255."""
    doomed_server.kill()
    terminal = console(doomed_server)
    assert terminal.end() == 255
    assert terminal.lines == [f"trsh: cannot connect to 127.0.0.1 port {doomed_server.port}: Connection refused"]
    assert restored(terminal)


def test_server_without_shells(tmp_path: Path, console: Console) -> None:
    """A server that cannot start its shell: one line, and 255."""
    broken = tmp_path / "bash"
    broken.write_text("#!/bin/sh\nexit 4\n")
    broken.chmod(0o755)
    with running_server(tmp_path / "server", str(broken)) as server:
        terminal = console(server)
        assert terminal.end() == 255
    assert "it ended before it was ready, with exit code 4" in "".join(terminal.lines)
    assert restored(terminal)
