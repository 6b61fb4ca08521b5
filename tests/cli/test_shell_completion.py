"""The completion of words in bash and zsh, as a person meets it: with the Tab key, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import twisted_rsh
from tests.cli.terminal import Terminal
from tests.tools import require_tool

pytestmark = pytest.mark.real

SCRIPTS = Path(twisted_rsh.__file__).parent / "cli" / "completion_scripts"

START = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(trsh --completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(trsh --completion zsh)"'),
    "zsh by its file": (["-f", "-i"], f"fpath=({SCRIPTS} $fpath); autoload -U compinit; compinit -u -D"),
}


@pytest.fixture(params=list(START))
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A shell with the completion, in which one host is known."""
    name: str = request.param
    words, start = START[name]
    folder = tmp_path / "twisted-rsh"
    folder.mkdir(mode=0o700)
    tmp_path.chmod(0o700)
    (folder / "config").write_text("Host building other\n Port 1\n")
    (folder / "config").chmod(0o600)
    (folder / "groups").write_text("fleet: a[1-9]\n")
    (folder / "groups").chmod(0o600)
    environment = {
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PS1": "> ",
        "TERM": "xterm",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    terminal = Terminal([require_tool(name.split(maxsplit=1)[0]), *words], environment)
    terminal.type(f"cd; {start}; echo rea''dy\r")  # away from the files of this folder
    terminal.shows("ready")
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("trsh bui\t", "trsh building "),
        ("trsh bob@bui\t", "trsh bob@building "),
        ("trsh --no-re\t", "trsh --no-resume "),
        ("trsh -o ServerAliveI\t", "trsh -o ServerAliveInterval="),
        ("trsh -oServerAliveI\t", "trsh -oServerAliveInterval="),
        ("trsh -4 -oPort=1 bui\t", "trsh -4 -oPort=1 building "),
        ("trsh --hosts bui\t", "trsh --hosts building"),
        ("trsh --hosts other,@fl\t", "trsh --hosts other,@fleet"),
        ("trsh --on-disconnect ke\t", "trsh --on-disconnect keep "),
    ],
)
def test_words_are_completed(shell: Terminal, typed: str, completed: str) -> None:
    """Hosts of the configuration, options, keywords and their values are completed."""
    shell.type(typed)
    shell.until(lambda: any(line.endswith(f" {completed.rstrip()}") for line in shell.lines))
