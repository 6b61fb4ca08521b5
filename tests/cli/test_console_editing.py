"""What the prompt does for a person: unfinished commands, completion, history, escapes, and the shell's state."""

from __future__ import annotations

import os
import signal
import termios
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.terminal import PROMPT, Console, Terminal, pid_shown, restored
from tests.server_process import ServerProcess, running_server, wait_until_gone
from tests.tools import require_tool
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.real

MORE = "..: "


def leave(terminal: Terminal, status: int = 0) -> None:
    """Leave the console by ``exit``."""
    terminal.enter("exit")
    assert terminal.end() == status
    assert restored(terminal)


def last_is(terminal: Terminal, line: str) -> Callable[[], bool]:
    """Return a function that tells whether the last line of the screen is this one."""
    return lambda: terminal.lines[-1] == line


def test_unfinished_commands_go_on(bash_server: ServerProcess, console: Console) -> None:
    """A quote, a loop, a here-document, a trailing backslash: each goes on, runs once, and is one history entry."""
    terminal = console(bash_server)
    texts = {
        "echo 'one": ["two'"],
        "for x in a b; do": ["echo loop $x", "done"],
        "cat <<END": ["in the document", "END"],
        "echo back\\": ["slash"],
        "function f {": ["echo in f", "}"],
    }
    for first, rest in texts.items():
        terminal.prompt()
        terminal.type(f"{first}\r")
        for line in rest:
            terminal.until(lambda: terminal.lines[-1] == MORE.rstrip())
            terminal.type(line)
            terminal.until(last_is(terminal, f"{MORE}{line}"))
            terminal.type("\r")
    for shown in ("two", "loop a", "loop b", "in the document", "backslash"):
        terminal.shows(shown)
    terminal.enter("f")
    terminal.shows("in f")
    terminal.prompt()
    terminal.type("\x1b[A\x1b[A")
    terminal.until(lambda: terminal.lines[-2:] == [f"{MORE}echo in f", f"{MORE}}}"])
    assert terminal.lines[-3].startswith(f"{PROMPT}function f {{")
    terminal.type("\x03")
    leave(terminal)
    entries = Path(ConfigFolders.at(str(bash_server.folder)).history_path).read_text()
    assert "+for x in a b; do\n+echo loop $x\n+done\n" in entries


def test_wrong_text_does_not_go_on(bash_server: ServerProcess, console: Console) -> None:
    """What no line could mend is run, and the shell says what is wrong; Ctrl-C drops an unfinished command."""
    terminal = console(bash_server)
    terminal.enter("echo )")
    terminal.until(lambda: any("syntax error" in line for line in terminal.lines))
    terminal.enter("echo 'open")
    terminal.until(lambda: terminal.lines[-1] == MORE.rstrip())
    terminal.type("\x03")
    terminal.enter("echo $((40 + 2))")
    terminal.shows("42")
    leave(terminal)


def test_line_wider_than_the_screen(bash_server: ServerProcess, console: Console) -> None:
    """A line that the screen wraps is one line: the rest of it has no second prompt."""
    terminal = console(bash_server)
    terminal.prompt()
    words = "echo " + "x" * 200
    terminal.type(words)
    terminal.until(lambda: "".join(terminal.lines).endswith("x" * 200))
    assert not any(line.startswith(MORE.rstrip()) for line in terminal.lines)
    terminal.type("\r")
    terminal.until(lambda: "".join(terminal.lines).count("x" * 200) == 2)
    leave(terminal)


def test_paste_of_many_lines(bash_server: ServerProcess, console: Console) -> None:
    """Lines that are pasted together are one command, and wait for Enter."""
    terminal = console(bash_server)
    terminal.prompt()
    terminal.type("\x1b[200~x=1\ncd /\necho $((x + 1)) $PWD\x1b[201~")
    terminal.until(lambda: terminal.lines[-1] == f"{MORE}echo $((x + 1)) $PWD")
    assert "2 /" not in terminal.lines
    terminal.type("\r")
    terminal.shows("2 /")
    leave(terminal)


def test_state_on_the_right(bash_server: ServerProcess, console: Console, tmp_path: Path) -> None:
    """The prompt tells the folder, a status that is not 0 and a long time; what was typed stays on the screen alone."""
    terminal = console(bash_server)
    terminal.enter(f"cd {tmp_path}")
    terminal.prompt()
    terminal.until(lambda: terminal.right.endswith(str(tmp_path)[-30:]))
    terminal.enter("sleep 1.2; (exit 7)")
    terminal.shows("[status 7]")
    terminal.prompt()
    terminal.until(lambda: terminal.right.startswith("[7]  1."))
    terminal.enter("true")
    terminal.prompt()
    terminal.until(lambda: terminal.right.endswith(str(tmp_path)[-30:]) and "[" not in terminal.right)
    assert [line for line in terminal.lines if line.startswith(PROMPT)] == [
        f"{PROMPT}cd {tmp_path}",
        f"{PROMPT}sleep 1.2; (exit 7)",
        f"{PROMPT}true",
    ]
    leave(terminal)


def test_completion(bash_server: ServerProcess, console: Console, tmp_path: Path) -> None:
    """Tab completes files, commands, variables and what `complete` says, functions of this shell included."""
    (tmp_path / "a long name").write_text("found\n")
    (tmp_path / "folder").mkdir()
    terminal = console(bash_server)
    terminal.enter(f"cd {tmp_path}; only_here() {{ echo called $1; }}; complete -W 'start stop' only_here; only_x=42")
    for typed, shown in {
        "cat a": "cat a\\ long\\ name",
        "cd fol": "cd folder/",
        "only_h": "only_here",
        "only_here sto": "only_here stop",
        "echo $only_": "echo $only_x",
    }.items():
        terminal.prompt()
        terminal.type(typed)
        terminal.until(last_is(terminal, f"{PROMPT}{typed}"))
        terminal.press_until("\t", last_is(terminal, f"{PROMPT}{shown}"))
        terminal.type("\x03")
    terminal.prompt()
    terminal.type("only_here st")
    terminal.press_until("\t", lambda: "start  stop" in terminal.lines)
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}only_here st")
    terminal.type("o")
    terminal.press_until("\t", lambda: terminal.lines[-1] == f"{PROMPT}only_here stop")
    terminal.type("\r")
    terminal.shows("called stop")
    terminal.enter("echo $? $_")
    terminal.shows("0 stop")
    leave(terminal)


def test_more_completions_than_are_shown(bash_server: ServerProcess, console: Console, tmp_path: Path) -> None:
    """Tab inserts what all begin with, however many there are, and says in one line that they are too many to show."""
    for number in range(1200):
        (tmp_path / f"picture{number:04}").touch()
    terminal = console(bash_server)
    terminal.enter(f"cd {tmp_path}")
    terminal.prompt()
    terminal.type("cat pi")
    terminal.press_until("\t", last_is(terminal, f"{PROMPT}cat picture"))
    terminal.press_until("\t", lambda: "[more than 1,000 fit]" in terminal.lines)
    terminal.type("\x03")
    leave(terminal)


def test_completion_that_takes_too_long(bash_server: ServerProcess, console: Console) -> None:
    """Keys go on while the shell looks, and a slow completion is given up; the next command runs."""
    terminal = console(bash_server)
    terminal.enter("slowly() { sleep 30; }; complete -F slowly slow")
    terminal.prompt()
    terminal.type("slow x\t")
    terminal.type("; echo $((40 + 2))")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}slow x; echo $((40 + 2))")
    terminal.type("\r")
    terminal.shows("42")
    leave(terminal)


def test_search_in_the_history(server: ServerProcess, console: Console) -> None:
    """Ctrl-R finds an earlier command, and Enter runs it."""
    terminal = console(server)
    terminal.enter("echo needle $((1 + 1))")
    terminal.shows("needle 2")
    terminal.enter("echo hay")
    terminal.enter("clear")
    terminal.prompt()
    terminal.type("\x12needle")
    terminal.until(lambda: any("needle $((1 + 1))" in line for line in terminal.lines))
    terminal.type("\r")
    terminal.shows("needle 2")
    leave(terminal)


def test_leaving_runs_traps(bash_server: ServerProcess, console: Console) -> None:
    """Ctrl-D and ``exit`` let the shell run its traps; their output is shown, and their status counts."""
    for last in ("\x04", "exit\r"):
        terminal = console(bash_server)
        terminal.enter("trap 'echo BYE; exit 9' EXIT")
        terminal.prompt()
        terminal.type(last)
        assert terminal.end() == 9
        assert "BYE" in terminal.lines
        assert restored(terminal)


def test_what_is_detached_stays(bash_server: ServerProcess, console: Console) -> None:
    """A process under nohup goes on when the console is left by Ctrl-D."""
    terminal = console(bash_server)
    terminal.enter("nohup sleep 300 >/dev/null 2>&1 </dev/null & echo $!")
    pid = pid_shown(terminal)
    terminal.prompt()
    terminal.type("\x04")
    assert terminal.end() == 0
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def test_suspended_command_goes_on(bash_server: ServerProcess, console: Console) -> None:
    """Ctrl-Z suspends a command; ``jobs`` lists it, ``bg`` lets it go on, ``fg`` waits for it."""
    terminal = console(bash_server)
    terminal.enter("sh -c 'echo $$; sleep 1; echo finished; read x; echo got $x'")
    pid_shown(terminal)
    terminal.type("\x1a")
    terminal.shows("[stopped by SIGTSTP]")
    terminal.enter("jobs")
    terminal.until(lambda: any("Stopped" in line and "sleep 1" in line for line in terminal.lines))
    terminal.enter("fg")
    terminal.shows("finished")
    terminal.type("input\r")
    terminal.shows("got input")
    leave(terminal)


def test_escapes(bash_server: ServerProcess, console: Console) -> None:
    """``~?`` explains at the prompt and while a command runs; ``~~`` types one tilde; ``~.`` leaves in both."""
    terminal = console(bash_server)
    terminal.prompt()
    terminal.type("~?")
    terminal.until(lambda: any(line.startswith("  ~.") for line in terminal.lines))
    terminal.enter("clear")
    terminal.enter("sh -c 'echo $$; cat'")
    pid = pid_shown(terminal)
    terminal.type("~?")
    terminal.until(lambda: any(line.startswith("  ~.") for line in terminal.lines))
    terminal.type("\r~~x\r")
    terminal.until(lambda: terminal.lines.count("~x") == 2)
    terminal.type("~.")
    assert terminal.end() == 255
    assert terminal.lines[-1] == "trsh: left by ~.; the shell and what it ran are being ended"
    assert restored(terminal)
    wait_until_gone(pid)
    terminal = console(bash_server)
    terminal.prompt()
    terminal.type("a~.")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}a~.")
    terminal.type("\x15~.")
    assert terminal.end() == 255
    assert restored(terminal)


@pytest.mark.parametrize(("words", "escape"), [(("-e", "%"), "%"), (("-oEscapeChar=^]",), "\x1d")])
def test_another_escape_character(server: ServerProcess, console: Console, words: tuple[str, ...], escape: str) -> None:
    """``-e`` and ``EscapeChar`` name the key for the prompt, for what is typed for a command, and for the help."""
    terminal = console(server, *words)
    shown = escape if escape.isprintable() else "^]"
    terminal.enter("echo ready; cat")
    terminal.shows("ready")
    terminal.type("~.\r")
    terminal.until(lambda: terminal.lines.count("~.") == 2)
    terminal.type(f"{escape}?")
    terminal.until(lambda: any(line.startswith(f"  {shown}?") for line in terminal.lines))
    terminal.type("\r\x04")
    terminal.prompt()
    terminal.type("~.")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}~.")
    terminal.type(f"\x15{escape}.")
    assert terminal.end() == 255
    assert terminal.lines[-1] == f"trsh: left by {shown}.; the shell and what it ran are being ended"
    assert restored(terminal)


def test_no_escape_character(server: ServerProcess, console: Console) -> None:
    """With ``-e none`` no key leaves, at the prompt and while a command runs."""
    terminal = console(server, "-e", "none")
    terminal.prompt()
    terminal.type("~.?")
    terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}~.?")
    terminal.type("\x15")
    terminal.enter("echo ready; cat")
    terminal.shows("ready")
    terminal.type("~.\r")
    terminal.until(lambda: terminal.lines.count("~.") == 2)
    terminal.type("\x04")
    leave(terminal)


def test_help(server: ServerProcess, console: Console) -> None:
    """``:help`` tells how to use the console."""
    terminal = console(server)
    terminal.enter(":help")
    terminal.until(lambda: any("Ctrl-R" in line for line in terminal.lines))
    leave(terminal)


def test_wide_characters_at_the_prompt(server: ServerProcess, console: Console) -> None:
    """Wide characters take two columns, combining marks none: the cursor and what is erased are right."""
    terminal = console(server)
    terminal.prompt()
    terminal.type("echo 漢字x")
    terminal.until(lambda: terminal.lines[-1].replace(" ", "") == f"{PROMPT}echo漢字x".replace(" ", ""))
    terminal.type("\x7f\x7fe\u0301\r")
    terminal.until(lambda: any(unicodedata.normalize("NFC", line).replace(" ", "") == "漢é" for line in terminal.lines))
    leave(terminal)


def test_window_changes_while_a_command_runs(bash_server: ServerProcess, console: Console) -> None:
    """A command learns the new size of the window while it runs, and the next prompt fits it."""
    terminal = console(bash_server)
    terminal.enter("sh -c 'trap \"stty size; exit\" WINCH; echo $$; while :; do sleep 0.05; done'")
    pid_shown(terminal)
    terminal.resize(90, 20)
    terminal.shows("20 90")
    terminal.prompt()
    leave(terminal)


@pytest.mark.parametrize("shell", ["dash", "zsh"])
def test_other_shells(tmp_path: Path, console: Console, shell: str) -> None:
    """Unfinished commands go on, and Tab completes, in the other shells too; nothing changes in them."""
    (tmp_path / "plain.txt").write_text("found\n")
    with running_server(tmp_path / "server", require_tool(shell)) as server:
        terminal = console(server)
        terminal.enter(f"cd {tmp_path}; for x in a b; do")
        terminal.until(last_is(terminal, MORE.rstrip()))
        terminal.type("echo loop $x; done; (exit 3)\r")
        terminal.shows("loop b")
        terminal.prompt()
        terminal.type("echo $? pla")
        terminal.until(last_is(terminal, f"{PROMPT}echo $? pla"))
        terminal.press_until("\t", last_is(terminal, f"{PROMPT}echo $? plain.txt"))
        terminal.type("\r")
        terminal.shows("3 plain.txt")
        terminal.enter("trap 'echo BYE; exit 9' EXIT")
        terminal.prompt()
        terminal.type("\x04")
        assert terminal.end() == 9
        assert "BYE" in terminal.lines


def test_completion_system_of_zsh(tmp_path: Path, console: Console) -> None:
    """Tab asks `compdef`, shows what fits, leaves what stands behind the cursor, and gives a slow function up."""
    with running_server(tmp_path / "server", require_tool("zsh")) as server:
        terminal = console(server)
        terminal.enter("autoload -Uz compinit; compinit -D -u; slowly() { sleep 30 }; compdef slowly slow")
        terminal.enter(
            "_tool() { local a=(sto:one sta:two); _describe x a -S @ }; compdef _tool tool; tool() { echo $1 }"
        )
        terminal.prompt()
        terminal.type("tool st && :" + "\x1b[D" * 5)
        terminal.press_until("\t", lambda: "sta@  sto@" in terminal.lines)
        terminal.until(lambda: terminal.lines[-1] == f"{PROMPT}tool st && :")
        terminal.type("o")
        terminal.press_until("\t", last_is(terminal, f"{PROMPT}tool sto@ && :"))
        terminal.type("\x03")
        terminal.prompt()
        terminal.type("slow x\t")
        terminal.type("; echo $((40 + 2))")
        terminal.until(last_is(terminal, f"{PROMPT}slow x; echo $((40 + 2))"))
        terminal.type("\r")
        terminal.shows("42")
        leave(terminal)


def test_client_is_suspended_by_its_escape(bash_server: ServerProcess) -> None:
    """``~^Z`` gives the local shell its terminal as it was, at the prompt and while a command runs; ``fg`` goes on."""
    words = " ".join(bash_server.command())
    environment = bash_server.environment | {"PS1": "$ "}
    with closing(Terminal([require_tool("bash"), "--norc", "--noediting", "-i"], environment)) as terminal:
        terminal.until(lambda: terminal.lines == ["$"])
        before = termios.tcgetattr(terminal.terminal)
        terminal.type(f"{words}\r")
        terminal.prompt()
        for typed in ("~\x1a", "sleep 1; read -r x; echo got $x\r~\x1a"):
            terminal.type(typed)
            terminal.until(lambda: terminal.foreground == terminal.process.pid)
            assert termios.tcgetattr(terminal.terminal) == before
            terminal.type("fg\r")
            terminal.until(lambda: terminal.foreground != terminal.process.pid)
            # Until the client has the terminal's mode again, Ctrl-Z would be the kernel's.
            terminal.until(lambda: not termios.tcgetattr(terminal.terminal)[3] & termios.ISIG)
        terminal.type("input\r")
        terminal.shows("got input")
        terminal.enter("exit")
        terminal.until(lambda: terminal.foreground == terminal.process.pid)
        assert termios.tcgetattr(terminal.terminal) == before
        terminal.type("exit\r")
        assert terminal.end() == 0
