"""The client under shells that control jobs: in the background it leaves the terminal alone, and is stopped only if it
is of no use without it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import PROMPT, Terminal, pid_shown, restored
from tests.server_process import ServerProcess, cpu_seconds, is_running, wait_until_gone
from tests.tools import require_tool

pytestmark = pytest.mark.real

SHELLS = {
    "bash": ["--norc", "--noediting", "-i"],
    "dash": ["-i"],
    "zsh": ["-f", "+Z", "-o", "noprompt_sp", "-i"],
}
"""Shells that control jobs, with their options for plain lines.  They differ in what they send with ``fg``."""

Opener = Callable[..., Terminal]


@pytest.fixture
def shell(server: ServerProcess, tmp_path: Path) -> Iterator[Opener]:
    """Opens shells, each on a terminal of its own, in a folder with the client as ``./t``."""
    script = tmp_path / "t"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(server.command())} "$@"\n')
    script.chmod(0o755)
    terminals: list[Terminal] = []

    def open_shell(name: str = "bash") -> Terminal:
        environment = server.environment | {"PS1": "", "ENV": ""}
        terminals.append(Terminal([require_tool(name), *SHELLS[name]], environment))
        terminals[-1].type(f"cd {tmp_path}\r")
        return terminals[-1]

    yield open_shell
    for terminal in terminals:
        terminal.type("\x03\r")
        terminal.close()


def says(terminal: Terminal, *words: str) -> None:
    """Wait for a line of the screen that has all these words."""
    terminal.until(lambda: any(all(word in line for word in words) for line in terminal.lines))


def wait_until_stopped(terminal: Terminal, pid: int) -> None:
    """Wait until a client is stopped."""

    def is_stopped() -> bool:
        done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
        return done.stdout.startswith("T")

    terminal.until(is_stopped)


def wait_for(path: Path) -> str:
    """The text of a shell's command that waits for a file, and reads no key."""
    return f"while ! test -e {path}; do sleep 0.05; done"


def raw(terminal: Terminal) -> bool:
    """Whether keys are bytes for a command."""
    return not termios.tcgetattr(terminal.terminal)[3] & termios.ICANON


@pytest.mark.parametrize("name", SHELLS)
def test_background_and_foreground(shell: Opener, name: str, tmp_path: Path) -> None:
    """C-07: ``&`` does not stop a client, keys are the shell's, and after ``fg`` they are the command's."""
    terminal = shell(name)
    terminal.type("./t 127.0.0.1 'touch started; cat; echo over' &\r".replace("touch ", f"touch {tmp_path}/"))
    terminal.until((tmp_path / "started").exists)
    terminal.type("echo for the $((1 + 1))nd\r")
    terminal.shows("for the 2nd")
    terminal.type("jobs\r")
    says(terminal, "unning", "./t 127.0.0.1")
    assert not any("topped" in line or "suspended" in line for line in terminal.lines)
    terminal.type("fg\r")
    terminal.until(lambda: terminal.foreground != terminal.process.pid)
    terminal.type("typed\r")
    terminal.until(lambda: terminal.lines.count("typed") == 2)
    terminal.type("\x04")
    terminal.shows("over")
    terminal.until(lambda: terminal.foreground == terminal.process.pid)


def test_background_ends(shell: Opener, tmp_path: Path) -> None:
    """A command in the background ends by itself, with its output and its status, whatever was typed meanwhile."""
    terminal = shell()
    terminal.type(f"./t 127.0.0.1 '{wait_for(tmp_path / 'go')}; echo done there; exit 7' & pid=$!\r")
    for _ in range(3):
        terminal.type("echo a line\r")
    terminal.until(lambda: terminal.lines.count("a line") == 3)
    terminal.type("touch go; wait $pid; echo status $?\r")
    terminal.shows("status 7")
    says(terminal, "done there")


def test_suspended_by_a_key(shell: Opener, tmp_path: Path) -> None:
    """Ctrl-Z stops the client, ``bg`` lets it go on without keys, and ``fg`` gives it keys again."""
    terminal = shell()
    terminal.type(f"./t 127.0.0.1 'touch {tmp_path}/started; cat; echo over'; echo status $?\r")
    terminal.until((tmp_path / "started").exists)
    terminal.type("\x1a")
    terminal.shows("status 148")
    terminal.type("bg\r")
    terminal.type("echo for the $((1 + 1))nd\r")
    terminal.shows("for the 2nd")
    terminal.type("jobs\r")
    says(terminal, "Running")
    terminal.type("fg\r")
    terminal.until(lambda: terminal.foreground != terminal.process.pid)
    terminal.type("typed\r")
    terminal.until(lambda: terminal.lines.count("typed") == 2)
    terminal.type("\x04")
    terminal.shows("over")


def test_bars_of_many_hosts(shell: Opener, tmp_path: Path) -> None:
    """Ctrl-Z leaves no bars on the screen for the shell to write over, and they come back with ``fg``."""
    terminal = shell()
    terminal.type(f"./t -n --hosts 127.0.0.1 '{wait_for(tmp_path / 'go')}; echo over'; echo status $?\r")
    says(terminal, "running", "#")
    terminal.type("\x1a")
    terminal.shows("status 148")
    assert not any("#" in line or "running" in line for line in terminal.lines)
    terminal.type("bg\r")
    terminal.type("echo for the $((1 + 1))nd\r")
    terminal.shows("for the 2nd")
    terminal.type("fg\r")
    says(terminal, "running", "#")
    (tmp_path / "go").touch()
    terminal.shows("over")
    terminal.shows("trsh: 1 host: 1 ok")
    assert not any("#" in line for line in terminal.lines)


@pytest.mark.parametrize("words", ["127.0.0.1 'exec sleep 1000'", "-t 127.0.0.1 'exec sleep 1000'", "127.0.0.1"])
def test_timeout_of_a_script(shell: Opener, words: str) -> None:
    """C-07: ``timeout`` in a script has its own group, in the background: it ends the client all the same."""
    terminal = shell()
    before = termios.tcgetattr(terminal.terminal)
    terminal.type(f"sh -c 'timeout 3 \"$@\"; echo status $?; :' sh ./t {words}\r")
    terminal.type("echo typed $((1 + 1))\r")
    terminal.shows("status 124")
    terminal.shows("typed 2")  # the key was left for the shell
    assert termios.tcgetattr(terminal.terminal) == before


def test_timeout_that_is_not_reached(shell: Opener) -> None:
    """C-07: in the group of ``timeout``, a command runs to its end, which is the status."""
    terminal = shell()
    terminal.type("sh -c 'timeout 50 \"$@\"; echo status $?; :' sh ./t 127.0.0.1 'echo out; exit 3'\r")
    terminal.type("echo typed $((1 + 1))\r")
    terminal.shows("status 3")
    terminal.shows("out")
    terminal.shows("typed 2")


@pytest.mark.parametrize("line", ["timeout 50 {}", "sh -c 'timeout --foreground 50 \"$@\"; exit $?' sh {}"])
def test_timeout_in_the_foreground(shell: Opener, line: str, tmp_path: Path) -> None:
    """At a prompt, and with ``--foreground``, ``timeout`` leaves the client the terminal, and the command its keys."""
    terminal = shell()
    client = f"./t 127.0.0.1 'touch {tmp_path}/started; cat; exit 3'"
    terminal.type(f"{line.format(client)}; echo status $?\r")
    terminal.until((tmp_path / "started").exists)
    terminal.type("typed\r")
    terminal.until(lambda: terminal.lines.count("typed") == 2)
    terminal.type("\x04")
    terminal.shows("status 3")


@pytest.mark.parametrize("option", ["-t", "-tt"])
def test_command_with_the_terminal(shell: Opener, option: str, tmp_path: Path) -> None:
    """C-04: a command that needs the terminal is stopped in the background, as by ssh, and starts in the foreground."""
    terminal = shell()
    terminal.type(f"./t {option} 127.0.0.1 'touch {tmp_path}/started; read x; echo got $x; exit 5' & echo $!\r")
    wait_until_stopped(terminal, client := pid_shown(terminal))
    before = termios.tcgetattr(terminal.terminal)
    terminal.type("jobs; bg; echo for the $((1 + 1))nd\r")
    says(terminal, "Stopped")
    terminal.shows("for the 2nd")
    wait_until_stopped(terminal, client)
    assert not (tmp_path / "started").exists()
    terminal.type("fg\r")
    terminal.until((tmp_path / "started").exists)
    terminal.until(lambda: raw(terminal))
    terminal.type("keys\r")
    terminal.shows("got keys")
    terminal.type("echo status $?\r")
    terminal.shows("status 5")
    terminal.until(lambda: terminal.foreground == terminal.process.pid)
    assert termios.tcgetattr(terminal.terminal) == before


def test_lent_terminal_in_the_background(shell: Opener, tmp_path: Path) -> None:
    """C-04: continued in the background, a client leaves the terminal as it is; it is raw again after ``fg``."""
    terminal = shell()
    terminal.type(f"./t -t 127.0.0.1 'echo $$ > {tmp_path}/pid; cat'\r")
    terminal.until((tmp_path / "pid").exists)
    terminal.until(lambda: raw(terminal))
    os.killpg(terminal.foreground, signal.SIGTSTP)
    terminal.until(lambda: terminal.foreground == terminal.process.pid)
    terminal.type("bg\r")
    terminal.type("echo for the $((1 + 1))nd\r")
    terminal.shows("for the 2nd")
    assert not raw(terminal)
    terminal.type("jobs\r")
    says(terminal, "Running")
    terminal.type("fg\r")
    terminal.until(lambda: raw(terminal))
    terminal.type("typed\r")
    terminal.until(lambda: terminal.lines.count("typed") == 2)
    terminal.type("\x04")
    terminal.until(lambda: terminal.foreground == terminal.process.pid)
    assert not raw(terminal)


def test_console(shell: Opener) -> None:
    """C-04: a console is stopped in the background, prompts in the foreground, and ends by a signal in either."""
    terminal = shell()
    terminal.type("./t 127.0.0.1 & echo $!\r")
    wait_until_stopped(terminal, client := pid_shown(terminal))
    terminal.type("fg\r")
    terminal.enter("echo $((20 + 1)) there")
    terminal.shows("21 there")
    terminal.prompt()
    os.killpg(client, signal.SIGTSTP)
    terminal.until(lambda: terminal.foreground == terminal.process.pid)
    terminal.type("bg\r")
    terminal.type("echo for the $((1 + 1))nd\r")
    terminal.shows("for the 2nd")
    terminal.type("fg\r")
    terminal.until(lambda: terminal.lines[-1] == PROMPT.rstrip() and raw(terminal))
    os.killpg(client, signal.SIGTSTP)
    terminal.until(lambda: terminal.foreground == terminal.process.pid)
    settings = termios.tcgetattr(terminal.terminal)
    terminal.type("bg; echo once $((1 + 1)) more\r")
    terminal.shows("once 2 more")
    wait_until_stopped(terminal, client)
    terminal.type("kill %1; wait; echo gone\r")
    terminal.shows("gone")
    wait_until_gone(client)
    assert termios.tcgetattr(terminal.terminal) == settings


def test_nohup(shell: Opener) -> None:
    """C-07: ``nohup`` takes the terminal away: the command gets the end of its input, and its output is in the file."""
    terminal = shell()
    terminal.type("nohup ./t 127.0.0.1 'echo out; cat; exit 4'; echo status $?; cat nohup.out\r")
    terminal.shows("status 4")
    terminal.shows("out")


def test_nohup_outlives_the_shell(shell: Opener, tmp_path: Path) -> None:
    """With ``nohup`` a command in the background goes on when the terminal is gone."""
    terminal = shell()
    terminal.type(
        f"nohup ./t 127.0.0.1 'echo up; {wait_for(tmp_path / 'go')}; echo over' > out 2> /dev/null & echo $!\r"
    )
    output = tmp_path / "out"
    terminal.until(lambda: output.exists() and output.read_text() == "up\n")
    pid = pid_shown(terminal)
    terminal.process.send_signal(signal.SIGHUP)
    terminal.process.wait()
    assert is_running(pid)
    (tmp_path / "go").touch()
    wait_until_gone(pid)
    assert output.read_text() == "up\nover\n"


def test_session_without_the_terminal(shell: Opener, tmp_path: Path) -> None:
    """After ``setsid`` the system lets every process read the terminal, and the client reads it, as ssh does."""
    terminal = shell()
    terminal.type(f"setsid --wait ./t 127.0.0.1 'touch {tmp_path}/started; head -1; exit 3'; echo status $?\r")
    terminal.until((tmp_path / "started").exists)
    terminal.type("typed\r")
    terminal.until(lambda: terminal.lines.count("typed") == 2)
    terminal.shows("status 3")


def test_pipelines(shell: Opener) -> None:
    """In the middle of a pipeline, and before a file, nothing is different in the foreground or the background."""
    terminal = shell()
    terminal.type("echo x | ./t 127.0.0.1 'cat; echo y' | cat; echo status $?\r")
    terminal.shows("status 0")
    terminal.type("echo x | ./t 127.0.0.1 'cat; echo z' | cat > file & wait; tr '\\n' + < file; echo\r")
    terminal.shows("x+z+")
    terminal.type("./t 127.0.0.1 'echo in the file; exit 2' > file & wait $!; echo status $?; cat file\r")
    terminal.shows("status 2")
    terminal.shows("in the file")


def test_without_input_or_terminal(shell: Opener) -> None:
    """``-n`` and ``-T`` run in the background to their end."""
    terminal = shell()
    terminal.type("./t -n 127.0.0.1 'cat; exit 3' & wait $!; echo status $?\r")
    terminal.shows("status 3")
    terminal.type("./t -T 127.0.0.1 'exit 4' & wait $!; echo status $?\r")
    terminal.shows("status 4")


def test_script_with_job_control(shell: Opener, tmp_path: Path) -> None:
    """Under ``set -m`` a client has a group of its own; it also ends when the script is gone and no shell is left."""
    terminal = shell()
    terminal.type("bash -c 'set -m; ./t 127.0.0.1 \"exit 6\" & wait $!; echo status $?'\r")
    terminal.shows("status 6")
    line = f"{wait_for(tmp_path / 'go')}; echo over"
    terminal.type(f"bash -c 'set -m; ./t 127.0.0.1 \"touch {tmp_path}/started; {line}\" & echo $!'\r")
    terminal.until((tmp_path / "started").exists)
    terminal.type("echo for the $((1 + 1))nd\r")
    terminal.shows("for the 2nd")
    pid = pid_shown(terminal)
    assert is_running(pid)
    (tmp_path / "go").touch()
    terminal.shows("over")
    wait_until_gone(pid)


def test_keys_of_another_cost_nothing(shell: Opener, tmp_path: Path) -> None:
    """C-06: keys that another program leaves unread cost a client in the background no processor time."""
    terminal = shell()
    terminal.type(f"./t 127.0.0.1 'echo $$ > {tmp_path}/remote; cat' & echo $!\r")
    terminal.until((tmp_path / "remote").exists)
    pid = pid_shown(terminal)
    terminal.type("sleep 1000\r")
    terminal.until(lambda: terminal.foreground != terminal.process.pid)
    terminal.type("unread\r")
    before = cpu_seconds(pid)
    threading.Event().wait(2.0)
    assert cpu_seconds(pid) - before < 0.2
    terminal.type("\x03")
    terminal.type("fg\r")
    terminal.until(lambda: terminal.foreground == pid)
    terminal.type("\x04")
    wait_until_gone(pid)


def test_terminal_is_restored_in_the_foreground_only(shell: Opener) -> None:
    """C-05: no flag of the terminal has changed after all of that."""
    terminal = shell()
    terminal.type("./t 127.0.0.1 true & wait; echo over\r")
    terminal.shows("over")
    terminal.type("exit\r")
    terminal.end()
    assert restored(terminal)
