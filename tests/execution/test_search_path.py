"""A single command has the search path that the user's start-up file sets, as by ssh, and nothing else of that file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.execution.owners import RecordingOwner, asynchronous, reactor
from tests.tools import require_tool
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.user import LocalUser


async def run(home: Path, command: str, shell: str = "bash", **environment: str) -> RecordingOwner:
    """Run a command with the user's shell and home folder."""
    user = Account.current({"PATH": os.environ["PATH"]}, shell=require_tool(shell), encoding="utf-8")
    given = dict(user.environment, HOME=str(home))
    account = Account(user.name, str(home), user.shell, user.encoding, tuple(given.items()))
    owner = RecordingOwner()
    request = JobRequest(command=command, environment=tuple(environment.items()))
    LocalUser(reactor, account).start_job(request, owner).end_input()
    await owner.finished()
    return owner


@pytest.mark.parametrize(
    "bashrc",
    [
        "PATH=/own/bin:$PATH\n",
        "export PATH=/own/bin:$PATH; [[ $- == *i* ]] || return 3\n",
        "PATH=/own/bin:$PATH; echo noise; echo noise >&2; cd /; set -eu; greet() { echo hi; }; X=1\n",
        "PATH=/own/bin:$PATH; read -r line; exec >/nowhere; trap 'echo bye' EXIT\n",
        "PATH=/own/bin:$PATH; sleep 600 &\n",
    ],
)
@asynchronous
async def test_bash(tmp_path: Path, bashrc: str) -> None:
    """Only the path comes from the file; what it prints, changes or starts is not the command's."""
    (tmp_path / ".bashrc").write_text(bashrc)
    owner = await run(tmp_path, 'echo "$PATH:$?:$-:${X-}:${BASH_ENV-}:$LINENO"; pwd; type greet; echo done')
    path = f"/own/bin:{os.environ['PATH']}"
    assert owner.stdout.decode() == f"{path}:0:hBc:::0\n{tmp_path}\ndone\n".replace(":::0", ":::1")
    assert b"greet: not found" in owner.stderr
    assert b"noise" not in owner.stderr
    assert owner.ending == Exited(0)


@pytest.mark.parametrize("bashrc", [None, "exit 3\n", "PATH=\n", "if\n"])
@asynchronous
async def test_bash_without_a_path(tmp_path: Path, bashrc: str | None) -> None:
    """Without a file, and where the file sets no path, the path is the server's."""
    if bashrc is not None:
        (tmp_path / ".bashrc").write_text(bashrc)
    owner = await run(tmp_path, "echo $PATH")
    assert (owner.stdout.decode(), owner.stderr) == (os.environ["PATH"] + "\n", b"")


@asynchronous
async def test_programs_of_the_command(tmp_path: Path) -> None:
    """A bash that the command runs reads no file."""
    (tmp_path / ".bashrc").write_text('PATH=$PATH:/more\necho x >>"$HOME/reads"\n')
    owner = await run(tmp_path, "bash -c 'bash -c \"echo \\$PATH\"'")
    assert owner.stdout.decode() == os.environ["PATH"] + ":/more\n"
    assert (tmp_path / "reads").read_text() == "x\n"


@asynchronous
async def test_the_clients_own(tmp_path: Path) -> None:
    """A request may name another file, or none."""
    (tmp_path / ".bashrc").write_text("PATH=$PATH:/more\n")
    (tmp_path / "mine").write_text("PATH=$PATH:/mine\n")
    assert (await run(tmp_path, "echo $PATH", BASH_ENV="")).stdout.decode() == os.environ["PATH"] + "\n"
    owner = await run(tmp_path, "echo $PATH", BASH_ENV=str(tmp_path / "mine"))
    assert owner.stdout.decode() == os.environ["PATH"] + ":/mine\n"


@asynchronous
async def test_zsh(tmp_path: Path) -> None:
    """zsh reads its own file for every command."""
    (tmp_path / ".zshenv").write_text("path+=(/more)\n")
    owner = await run(tmp_path, "echo $PATH", "zsh")
    assert owner.stdout.decode() == os.environ["PATH"] + ":/more\n"
