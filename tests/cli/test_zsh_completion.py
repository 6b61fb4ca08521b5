"""zsh's own completion system, asked by the script: from a plain zsh, and beside the commands of a persistent one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.execution.owners import PATIENCE, asynchronous, until
from tests.execution.real_shells import RecordingOwner, ShellRig
from tests.tools import require_tool
from twisted_rsh import cli
from twisted_rsh.cli.completion import Completions, _parse, _quoted
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells.command import ShellCommand

SCRIPT = Path(cli.__file__).parent / "scripts" / "complete.zsh"

COMPINIT = "autoload -Uz compinit; compinit -u -d $PWD/.zcompdump\n"
"""Starts the completion system.  The dump makes the second start take a tenth of the time."""

TOOL = r"""
compdef _tool tool
_tool() {
  print noise
  print -u2 noise
  changed=yes
  _arguments '(-v --verbose)'{-v,--verbose}'[be loud]' '--name=[the name]:name:(one two)' '--here=-:where:_hosts' \
    '1:verb:((start\:"start it" stop\:"stop it"))' '*:file:_files'
}
"""
"""A user's own completion, which also prints, and changes a variable."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with some files."""
    folder = tmp_path_factory.mktemp("zsh")
    for name in ("a file", "plain.txt", "it's", "$x", "sub/inner", "漢字", ".hidden", "two\nlines"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return folder


def ask(folder: Path, lines: Sequence[str], before: str, settings: Sequence[str] = ()) -> list[str]:
    """Complete lines in one zsh, the first ones under settings of their own; return each with its candidates."""
    separator = "--end of an answer--\n"
    asked = "".join(
        f"( {setting}\nset -- {_quoted(line)} the-mark\n. {SCRIPT} )\nprint -r -- {separator}"
        for line, setting in zip_longest(lines, settings, fillvalue=":")
    )
    done = subprocess.run(
        [require_tool("zsh"), "-f", "-c", before + asked],
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    answers = done.stdout.split(separator)
    assert len(answers) == len(lines) + 1
    found = [_parse(answer, "the-mark", line) for line, answer in zip(lines, answers, strict=False)]
    return [shown(line, one) for line, one in zip(lines, found, strict=True)]


def shown(line: str, found: Completions | None) -> str:
    """Return what a line may become, each separated by a bar; an underscore stands for no space behind it."""
    if found is None:
        return ""
    start = line[: len(line) - found.replaced]
    return "|".join(start + text + "_" * found.is_open for text in found.texts)


EXPECTED = {
    "tool st": "tool start|tool stop",
    "tool sto": "tool stop",
    "tool --n": "tool --name=_",
    "tool --name=o": "tool --name=one",
    "tool --verb": "tool --verbose",
    "tool -v st": "tool -v start|tool -v stop",
    "tool start pl": "tool start plain.txt",
    "x=1 tool sto": "x=1 tool stop",
    "true; tool sto": "true; tool stop",
    "true | tool sto": "true | tool stop",
    "for x in a\ndo tool sto": "for x in a\ndo tool stop",
    "echo $(tool sto": "echo $(tool stop",
    "cat pl": "cat plain.txt",
    "cat a": "cat a\\ file",
    "cat a\\ f": "cat a\\ file",
    "cat 'a": "cat 'a file'",
    'cat "a': 'cat "a file"',
    "cat it": "cat it\\'s",
    "cat \\$": "cat \\$x",
    "cat su": "cat sub/_",
    "cat sub/": "cat sub/inner",
    "cat > pl": "cat > plain.txt",
    "cat 漢": "cat 漢字",
    "cat two": "cat two$'\\n'lines_",
    "echo $HOM": "echo $HOME/_",
    "cat nothing-like-it": "",
    "moocow sto": "moocow stop",
    "my_fun": "my_function",
}
"""What each line may become where the user has started the completion system."""


def test_what_the_user_has_defined(folder: Path) -> None:
    """`compdef`, options with descriptions, files, quotes, aliases, functions, several lines: as zsh inserts them."""
    before = COMPINIT + TOOL + "alias moocow=tool\nmy_function() { }\n"
    lines = list(EXPECTED)
    assert dict(zip(lines, ask(folder, lines, before), strict=True)) == EXPECTED


def test_styles_and_options(folder: Path) -> None:
    """`zstyle`, and the options that the user has set, count, whatever they do to the script itself."""
    case = "zstyle ':completion:*' matcher-list 'm:{a-z}={A-Z}'\n"
    upper = "_up() { local expl; _wanted x expl x compadd ALPHA BETA }; compdef _up up\n"
    assert ask(folder, ["up al"], COMPINIT + case + upper) == ["up ALPHA"]
    menu = "zstyle ':completion:*' menu select\nzstyle ':completion:*' completer _expand _complete _approximate\n"
    assert ask(folder, ["tool st", "tool stpo"], COMPINIT + TOOL + menu)[0] == "tool start|tool stop"
    assert ask(folder, ["cat *en"], COMPINIT + "setopt globcomplete globdots\n") == ["cat .hidden"]
    names = "ksharrays shwordsplit noglob nounset errexit xtrace verbose errreturn rcexpandparam kshtypeset".split()
    odd = [*(f"setopt {name}" for name in names), "alias print=false typeset=false; alias -g line=x one=y"]
    assert set(ask(folder, ["tool sto"] * len(odd), COMPINIT + TOOL, odd)) == {"tool stop"}


def test_without_the_system(folder: Path) -> None:
    """Where the user has not started it, and where it fails, zsh's commands, files and variables are completed."""
    assert ask(folder, ["cat pl", "tool sto"], "") == ["cat plain.txt", ""]
    broken = "_main_complete() { kill -KILL $sysparams[pid] }\n"
    assert ask(folder, ["cat pl"], COMPINIT + broken) == ["cat plain.txt"]


def test_more_than_can_be_listed(tmp_path: Path) -> None:
    """A part of the candidates is not taken for all of them: nothing is inserted that not all begin with."""
    for number in range(1200):
        (tmp_path / f"f{number:04}").touch()
    assert ask(tmp_path, ["cat f", "cat f1"], COMPINIT) == ["cat f", "|".join(f"cat f{at}" for at in range(1000, 1200))]


def begin(rig: ShellRig, line: str) -> tuple[ShellCommand, RecordingOwner]:
    """Ask beside the commands of a shell."""
    owner = RecordingOwner()
    request = JobRequest(command=f"set -- {_quoted(line)} the-mark\n{SCRIPT.read_text()}", in_shell=1, aside=True)
    return rig.shell.start_command(request, owner), owner


@pytest.mark.parametrize("on_terminal", [False, True], ids=["pipes", "terminal"])
@asynchronous
async def test_nothing_changes_in_the_shell(tmp_path: Path, on_terminal: bool) -> None:
    """A persistent zsh answers as its user's, and keeps variables, functions, `$?`, `$_`, history and jobs."""
    (tmp_path / ".zshrc").write_text("setopt globdots globcomplete\n")
    (tmp_path / ".hidden").touch()
    rig = ShellRig(tmp_path, "zsh", on_terminal, ZDOTDIR=str(tmp_path))
    await rig.ready()
    await rig.run(COMPINIT + TOOL)
    state = 'echo "$? $_ ${changed-unset} ${__trsh_line-unset} $(jobs) ${(k)functions[(I)__trsh*]} $#history"'
    await rig.run("false last")
    before = await rig.output(state)
    await rig.run("false last")
    answers = {"tool sto": "tool stop", "tool nothing": ""}
    for line, answer in answers.items():
        _, owner = begin(rig, line)
        await owner.finished()
        assert shown(line, _parse(owner.stdout.decode().replace("\r\n", "\n"), "the-mark", line)) == answer
    after = await rig.output(state)
    assert after.split()[:-1] == before.split()[:-1] == ["1", "last", "unset", "unset"]
    await rig.leave()


@asynchronous
async def test_function_that_hangs(tmp_path: Path) -> None:
    """An answer that is given up leaves no process, and the next command runs at once."""
    rig = ShellRig(tmp_path, "zsh")
    await rig.ready()
    await rig.run(
        COMPINIT + "compdef _hang hang\n_hang() { print $sysparams[pid] >pid; sleep 1000 & read x </dev/tty }"
    )
    command, owner = begin(rig, "hang x")
    pid = tmp_path / "pid"
    await until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    command.terminate()
    await owner.finished()
    assert await rig.output("echo probe") == "probe\n"
    await rig.leave()
