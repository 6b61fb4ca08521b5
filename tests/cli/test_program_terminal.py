"""A command on a terminal of its own, lent the client's: the command's view, and the client's terminal afterwards."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import termios
from pathlib import Path

import pytest

from tests.cli.terminal import Console, Terminal, pid_shown, restored
from tests.server_process import HOST, PATIENCE, ServerProcess, one_line, read_line, wait_until_gone
from tests.tools import require_tool

pytestmark = pytest.mark.real


def test_terminal_is_asked_for(server: ServerProcess, console: Console) -> None:
    """With -t a command has a terminal of this one's type, size and settings; without it, none."""
    script = "test -t 0 && test -t 1 && test -t 2 && echo on one; echo $TERM; stty size; stty -a | grep -o 'intr = ..'"
    terminal = console(server, "-t", HOST, script)
    assert terminal.end() == 0
    assert terminal.lines == ["on one", "xterm", "30 200", "intr = ^C"]
    assert restored(terminal)
    terminal = console(server, HOST, "tty")
    assert terminal.end() == 1
    assert terminal.lines == ["not a tty"]


def test_settings_are_those_of_the_clients_terminal(server: ServerProcess, console: Console) -> None:
    """A key that the user has chosen for interrupting is the remote terminal's as well."""
    terminal = console(server, "-T", HOST, "true")  # it never looks at the terminal
    assert terminal.end() == 0
    settings = termios.tcgetattr(terminal.terminal)
    settings[6][termios.VINTR] = b"\x07"
    settings[6][termios.VQUIT] = bytes([os.fpathconf(terminal.terminal, "PC_VDISABLE")])
    settings[0] |= termios.IXANY
    termios.tcsetattr(terminal.terminal, termios.TCSANOW, settings)
    terminal.start(
        server.command("-t", HOST, "stty -a | grep -oE 'intr = ..|quit = [^;]+|-?ixany'"), server.environment
    )
    assert terminal.end() == 0
    assert terminal.lines == ["intr = ^G", "quit = <undef>", "ixany"]
    assert termios.tcgetattr(terminal.terminal) == settings


def test_without_a_terminal_here(server: ServerProcess) -> None:
    """-t says so where stdin is no terminal and goes on; -tt gives a plain one, and the end of input arrives there."""
    done = server.run("-t", HOST, "test -t 0; echo $?")
    assert (done.returncode, done.stdout) == (0, b"1\n")
    assert one_line(done.stderr) == "no terminal for the command, because stdin is none; -tt allocates one anyway"
    assert server.run("-q", "-t", HOST, "true").stderr == b""
    done = server.run("-tt", HOST, "stty -echo; stty size; echo $TERM; echo ready; cat", input=b"typed\n")
    lines = done.stdout.replace(b"typed\r\n", b"", 1) if done.stdout.startswith(b"typed") else done.stdout
    assert (done.returncode, lines, done.stderr) == (0, b"24 80\r\nxterm\r\nready\r\ntyped\r\n", b"")
    done = server.run("-tt", "-T", HOST, "test -t 0; echo $?")
    assert done.stdout == b"1\n"


def test_no_input_is_no_terminal(server: ServerProcess, console: Console) -> None:
    """With -n the client's terminal is not read, so there is none to lend."""
    terminal = console(server, "-n", "-t", HOST, "test -t 0; echo $?")
    assert terminal.end() == 0
    assert terminal.lines[-1] == "1"


def test_keys_are_bytes_for_the_command(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-C, Ctrl-Z and Ctrl-\\ are three bytes on a raw terminal, and end no client."""
    terminal = console(server, "-t", HOST, "stty raw -echo; echo ready; head -c 4 | od -An -tx1; stty sane")
    terminal.until(lambda: "ready" in "".join(terminal.lines))
    terminal.type("\x03\x1a\x1c\r")
    assert terminal.end() == 0
    assert "03 1a 1c 0d" in " ".join(terminal.lines)
    assert restored(terminal)


@pytest.mark.parametrize(("words", "key"), [((), "~"), (("-e", "^]"), "\x1d")])
def test_escapes(server: ServerProcess, console: Console, words: tuple[str, ...], key: str) -> None:
    """At the beginning of a line the escape explains itself, types itself and leaves, as with ssh; elsewhere not."""
    terminal = console(server, *words, "-t", HOST, "stty -echo; echo $$; exec cat -v")
    pid = pid_shown(terminal)
    shown = "~" if key == "~" else "^]"
    terminal.type(f"{key}{key}.\rx{key}.\r")
    terminal.shows(f"{shown}.")
    terminal.shows(f"x{shown}.")
    terminal.type(f"{key}?")
    terminal.until(lambda: any(line.startswith(f"  {shown}?") for line in terminal.lines))
    terminal.type(f"{key}.")
    assert terminal.end() == 255
    assert terminal.lines[-1] == f"trsh: left by {shown}.; the command is being ended"
    wait_until_gone(pid)
    assert restored(terminal)


@pytest.mark.parametrize(("words", "command"), [(("-e", "none"), "-t"), ((), "-T")])
def test_no_escapes(server: ServerProcess, console: Console, words: tuple[str, ...], command: str) -> None:
    """With ``-e none``, and without a terminal on the server, no key leaves."""
    terminal = console(server, *words, command, HOST, "echo ready; head -n 1 | od -An -c")
    terminal.shows("ready")
    terminal.type("~.\r")
    assert terminal.end() == 0
    assert "~   .  \\n" in "".join(terminal.lines)


def test_interrupt_key(server: ServerProcess, console: Console) -> None:
    """C-10: Ctrl-C at a cooked remote terminal interrupts there, and the status tells."""
    terminal = console(server, "-t", HOST, "echo $$; exec sleep 1000")
    pid = pid_shown(terminal)
    terminal.type("\x03")
    assert terminal.end() == 130
    assert terminal.lines[-1] == "trsh: killed by SIGINT"
    wait_until_gone(pid)
    assert restored(terminal)


def test_password(server: ServerProcess, console: Console) -> None:
    """Keys that the command wants no echo of are not shown, neither there nor here."""
    terminal = console(server, "-t", HOST, "stty -echo; printf 'Password: '; read p; stty echo; echo; echo \"[$p]\"")
    terminal.until(lambda: terminal.lines[-1:] == ["Password:"])
    terminal.type("secret")
    terminal.type("\r")
    assert terminal.end() == 0
    assert terminal.lines == ["Password:", "[secret]"]


def test_size_is_passed_on(server: ServerProcess, console: Console) -> None:
    """C-10: another size of this window is the remote terminal's, at once and as a signal."""
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    terminal = console(server, "-t", HOST, script)
    terminal.shows("ready")
    terminal.resize(100, 40)
    terminal.shows("40 100")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert restored(terminal)


def test_storm_of_sizes(server: ServerProcess, console: Console) -> None:
    """C-10: the last of a thousand sizes counts, and the connection survives them all."""
    terminal = console(server, "-t", HOST, "echo ready; while read x; do stty size; done")
    terminal.shows("ready")
    for count in range(1000):
        terminal.resize(100 + count % 50, 40)
    terminal.resize(90, 35)
    # The client has seen all of its signals by the time that it reads a key: the size goes before it.
    terminal.type("x\r")
    terminal.until(lambda: any(line.endswith(" 90") or "40 1" in line for line in terminal.lines))
    while "35 90" not in terminal.lines:
        terminal.type("x\r")
        terminal._show(0.5)  # keys without a pause would fill the terminal
    terminal.type("\x04")
    assert terminal.end() == 0
    assert restored(terminal)


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT"])
def test_signal_to_the_client(server: ServerProcess, console: Console, name: str) -> None:
    """C-04: a signal that ends the client's command, by way of the client, leaves the terminal as it was."""
    terminal = console(server, "-t", HOST, "ulimit -c 0; echo $$; exec sleep 1000")
    pid = pid_shown(terminal)
    assert not restored(terminal)
    assert os.get_blocking(terminal.terminal)
    number = signal.Signals[f"SIG{name}"]
    terminal.process.send_signal(number)
    assert terminal.end() == 128 + number
    wait_until_gone(pid)
    assert restored(terminal)


@pytest.mark.uncut("the session is told to end with its connection")
def test_lost_server(doomed_server: ServerProcess, console: Console) -> None:
    """C-04: a server that dies under a command on a terminal: one line, 255, and the terminal is as it was."""
    terminal = console(doomed_server, "--no-resume", "-t", HOST, "printf half; exec sleep 1000")
    terminal.until(lambda: terminal.lines == ["half"])
    doomed_server.kill()
    assert terminal.end() == 255
    assert terminal.lines[0] == "half"
    assert terminal.lines[1].startswith("trsh: outcome unknown: the connection was lost")
    assert restored(terminal)


def test_killed_client(server: ServerProcess, console: Console) -> None:
    """C-05: SIGKILL leaves a raw terminal, as it must, but no flag on its descriptors."""
    terminal = console(server, "-t", HOST, "echo ready; exec sleep 1000")
    terminal.shows("ready")
    terminal.process.kill()
    terminal.process.wait(PATIENCE)
    assert os.get_blocking(terminal.terminal)


def test_suspended_client(server: ServerProcess, console: Console, tmp_path: Path) -> None:
    """C-04: SIGTSTP gives the shell that started the client its terminal as it was; SIGCONT takes it again."""
    words = " ".join(
        server.command("-t", HOST, f"'echo $$ > {tmp_path}/pid; trap \"stty size\" WINCH; cat; stty size'")
    )
    terminal = Terminal([require_tool("bash"), "--norc", "--noediting", "-i"], server.environment | {"PS1": "$ "})
    try:
        terminal.type("stty -g; echo start\r")
        terminal.shows("start")
        before = termios.tcgetattr(terminal.terminal)
        settings = terminal.lines[-2].split()[-1]
        terminal.type(f"{words}\r")
        terminal.until((tmp_path / "pid").exists)
        terminal.until(lambda: not termios.tcgetattr(terminal.terminal)[3] & termios.ICANON)
        client = terminal.foreground
        os.killpg(client, signal.SIGTSTP)
        terminal.until(lambda: terminal.foreground == terminal.process.pid)
        assert termios.tcgetattr(terminal.terminal) == before
        terminal.type("stty -g\r")
        terminal.until(lambda: sum(line.endswith(settings) for line in terminal.lines) > 1)
        terminal.resize(111, 44)
        terminal.type("fg\r")
        terminal.until(lambda: not termios.tcgetattr(terminal.terminal)[3] & termios.ICANON)
        terminal.type("typed\r")
        terminal.until(lambda: terminal.lines.count("typed") > 1)  # the echo, and what cat writes
        terminal.type("\x04")
        terminal.shows("44 111")
        terminal.until(lambda: terminal.foreground == terminal.process.pid)
        assert termios.tcgetattr(terminal.terminal) == before
        terminal.type("exit\r")
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_output_that_is_no_terminal(server: ServerProcess, console: Console) -> None:
    """With stdout elsewhere the bytes of the remote terminal go there, and the local one is still lent."""
    terminal = console(server, "-t", HOST, "echo out", stdout=subprocess.PIPE)
    assert terminal.process.stdout is not None
    assert terminal.process.stdout.read() == b"out\r\n"
    assert terminal.end() == 0
    assert restored(terminal)


def test_lasting_terminal_is_a_device(server: ServerProcess) -> None:
    """The remote terminal has a name that the command can open."""
    client = server.start("-tt", HOST, "tty; read x")
    assert client.stdin is not None
    path = Path(read_line(client).rstrip("\r"))
    assert stat.S_ISCHR(path.stat().st_mode)
    client.stdin.write(b"\n")
    assert client.stdin.close() is None
    with client:
        assert client.wait(PATIENCE) == 0


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
