"""A shell with its user's own start-up files, as they know it, and one without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving import asynchronous
from tests.tools import require_tool
from twisted_rsh import Connection, Exited, Shell, Terminal

pytestmark = pytest.mark.exhaustive

TERMINALS = [None, Terminal(modes=(("ECHO", 0),))]

BASHRC = r"""
echo "welcome to this machine"
echo "complaints go here" >&2
PATH=$HOME/own/bin:$PATH
export OWN=1
PS1='\u@\h:\w\$ '
PROMPT_COMMAND='prompts=$((prompts + 1)); echo prompt >>"$HOME/prompts"'
HISTSIZE=1000
shopt -s histappend checkwinsize
set -o vi
alias ll='echo long listing of'
greet() { echo "hello $1"; }
trap 'echo bye' EXIT
false
"""
"""A start-up file of bash that does what real ones do, and ends with a failure."""

ZSHRC = r"""
echo "welcome to this machine"
echo "complaints go here" >&2
path=($HOME/own/bin $path)
export OWN=1
PS1='%n@%m:%~%# '
precmd() { prompts=$((prompts + 1)); echo prompt >>$HOME/prompts }
setopt extendedglob sharehistory
bindkey -v
alias ll='echo long listing of'
greet() { echo "hello $1"; }
zshexit() { echo bye; }
false
"""
"""The same for zsh."""

SHINIT = r"""
echo "welcome to this machine"
PATH=$HOME/own/bin:$PATH
export OWN=1
alias ll='echo long listing of'
greet() { echo "hello $1"; }
trap 'echo bye' EXIT
false
"""
"""The file that ``ENV`` names for dash."""

FILES = {"bash": (".bashrc", BASHRC), "zsh": (".zshrc", ZSHRC), "dash": (".shinit", SHINIT)}


async def opened(
    connection: Connection, home: Path, program: str, terminal: Terminal | None, *, startup_files: bool
) -> Shell:
    """Write the file and open a shell."""
    name, text = FILES[program]
    (home / name).write_text(text)
    environment = {"HOME": str(home), "ENV": str(home / ".shinit")}
    return await connection.open_shell(
        require_tool(program), terminal=terminal, environment=environment, startup_files=startup_files
    )


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("program", FILES)
@asynchronous
async def test_own_shell(connection: Connection, tmp_path: Path, program: str, terminal: Terminal | None) -> None:
    """Aliases, functions, PATH and variables of the start-up file are there; what it printed is not."""
    shell = await opened(connection, tmp_path, program, terminal, startup_files=True)

    async def lines(command: str) -> list[str]:
        result = await shell.run(command)
        assert result.stderr == b""
        assert result.ending == Exited(0)
        return result.text.replace("\r\n", "\n").splitlines()

    assert await lines('ll here; greet you; echo $OWN; echo "${PATH%%:*}"') == [
        "long listing of here",
        "hello you",
        "1",
        f"{tmp_path}/own/bin",
    ]
    assert await lines("read -r line || line=none; echo $line") == ["none"]
    if program != "dash":
        before = int((await lines("echo $prompts"))[0])
        assert int((await lines("echo $prompts"))[0]) > before
        assert (tmp_path / "prompts").exists()
    result = await shell.leave()
    assert result.text.replace("exit", "").strip() == "bye"


@pytest.mark.parametrize("program", ["bash", "zsh"])
@asynchronous
async def test_hook_runs_once(connection: Connection, tmp_path: Path, program: str) -> None:
    """The user's hook of the prompt runs once for each command."""
    shell = await opened(connection, tmp_path, program, None, startup_files=True)
    counts = [int((await shell.run("echo $prompts")).text) for _ in range(3)]
    assert counts[2] - counts[0] == 2


@pytest.mark.parametrize("terminal", TERMINALS)
@pytest.mark.parametrize("program", FILES)
@asynchronous
async def test_clean_shell(connection: Connection, tmp_path: Path, program: str, terminal: Terminal | None) -> None:
    """A clean shell reads no file."""
    shell = await opened(connection, tmp_path, program, terminal, startup_files=False)
    result = await shell.run("greet you")
    assert result.ending == Exited(127)
    assert (await shell.run('echo "$OWN$prompts"')).text.strip() == ""
    result = await shell.leave()
    assert b"bye" not in result.stdout


@pytest.mark.parametrize("program", ["bash", "zsh"])
@asynchronous
async def test_startup_file_that_exits(connection: Connection, tmp_path: Path, program: str) -> None:
    """A start-up file that ends the shell is a refusal that repeats what it said last."""
    (tmp_path / FILES[program][0]).write_text("echo 'no shells on sundays'\nexit 4\n")
    with pytest.raises(Exception, match="exit code 4: no shells on sundays"):
        await connection.open_shell(require_tool(program), environment={"HOME": str(tmp_path)}, startup_files=True)


@pytest.mark.parametrize("program", ["bash", "zsh"])
@asynchronous
async def test_startup_file_that_reads(connection: Connection, tmp_path: Path, program: str) -> None:
    """A start-up file that asks a question gets no answer, and takes nothing of what the server says."""
    (tmp_path / FILES[program][0]).write_text("read -r answer; echo $answer\nset -e\n")
    shell = await connection.open_shell(require_tool(program), environment={"HOME": str(tmp_path)}, startup_files=True)
    assert (await shell.run('echo "[$answer]"')).text == "[]\n"
