"""Persistent shells that are of no use: each ends, or is refused, with one clear line."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.execution.owners import asynchronous
from tests.execution.real_shells import ShellRig, account
from tests.tools import require_tool
from twisted_rsh.core.endings import OutcomeUnknown, RefusalReason, Refused
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells import shell
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.execution.shells.shell import RULES, Phase
from twisted_rsh.interfaces import JobRefused


def fake(path: Path, text: str) -> str:
    """Make a program that calls itself bash."""
    path.mkdir()
    program = path / "bash"
    program.write_text(text)
    program.chmod(0o755)
    return str(program)


async def failure(tmp_path: Path, text: str) -> Refused:
    """Start a program in place of a shell, and say how that went."""
    rig = ShellRig(tmp_path, fake(tmp_path / "bin", text))
    ready: list[None] = []
    rig.shell.when_ready(lambda: ready.append(None))
    command, owner = rig.begin("echo hi")
    await rig.ended()
    assert not ready
    rig.shell.when_ready(lambda: ready.append(None))
    assert not ready
    command.write_input(b"x")
    assert owner.endings == rig.owner.endings
    ending = rig.owner.ending
    assert isinstance(ending, Refused)
    assert ending.reason is RefusalReason.SHELL_FAILED
    assert ending.text.isprintable()
    return ending


@asynchronous
async def test_dies_at_once(tmp_path: Path) -> None:
    """A shell that exits says how, and what it last said."""
    ending = await failure(tmp_path, "#!/bin/sh\necho no luck >&2\nexit 4\n")
    assert ending.text.endswith("/bash: it ended before it was ready, with exit code 4: no luck")


@asynchronous
async def test_dies_of_a_signal(tmp_path: Path) -> None:
    """A shell that a signal ends at its start is said to."""
    ending = await failure(tmp_path, "#!/bin/sh\nkill -TERM $$\n")
    assert ending.text.endswith("/bash: it ended before it was ready, by signal TERM")


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a shell little time to start."""
    rules = {**RULES, Phase.STARTING: replace(RULES[Phase.STARTING], seconds=0.3)}
    monkeypatch.setattr(shell, "RULES", rules)


@asynchronous
async def test_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that says nothing is ended in time."""
    hurry(monkeypatch)
    ending = await failure(tmp_path, "#!/bin/sh\nexec sleep 30\n")
    assert ending.text.endswith("/bash: the shell did not get ready within 0.3 seconds")


@asynchronous
async def test_prints_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that prints and prints does not get through to anybody."""
    hurry(monkeypatch)
    await failure(tmp_path, "#!/bin/sh\nexec yes\n")


@asynchronous
async def test_garbage_at_start(tmp_path: Path) -> None:
    """A shell that writes to the status pipe what is no report is ended."""
    ending = await failure(tmp_path, "#!/bin/sh\necho garbage >&9\nexec sleep 30\n")
    assert "something wrote to the descriptor" in ending.text


@asynchronous
async def test_prints_at_start(tmp_path: Path) -> None:
    """What a shell prints before it is ready is nobody's."""
    path = fake(tmp_path / "bin", f'#!/bin/sh\necho hello; echo there >&2\nexec {require_tool("bash")} "$@"\n')
    rig = ShellRig(tmp_path, path)
    assert await rig.output("echo hi") == "hi\n"
    assert (rig.owner.stdout, rig.owner.stderr) == (b"", b"")
    await rig.leave()


@pytest.mark.skipif(sys.platform != "linux", reason="opens the pipe by way of /proc")
@pytest.mark.parametrize("text", ["e 99 0 x", "garbage", "e 1 256 x", "s", "x" * 300])
@asynchronous
async def test_garbage_later(tmp_path: Path, text: str) -> None:
    """A program that finds the status pipe and writes to it ends the shell, and the outcome is unknown."""
    rig = ShellRig(tmp_path, "dash")
    await rig.ready()
    pipe = os.open(f"/proc/{rig.shell._process.pid}/fd/9", os.O_WRONLY)
    _, owner = rig.begin("echo go; sleep 30")
    await owner.more_output(1)
    os.write(pipe, text.encode() + b"\n")
    os.close(pipe)
    await owner.finished()
    await rig.ended()
    assert isinstance(owner.ending, OutcomeUnknown)
    assert owner.ending == rig.owner.ending


def test_refusals(tmp_path: Path) -> None:
    """A shell that is not there, cannot be executed, or speaks no known dialect is refused by name."""
    (tmp_path / "zsh").touch(0o644)
    for program, reason, text in (
        ("nosuchshell", RefusalReason.NOT_FOUND, "nosuchshell: command not found"),
        (str(tmp_path / "zsh"), RefusalReason.NOT_EXECUTABLE, f"{tmp_path}/zsh: Permission denied"),
        ("env", RefusalReason.SHELL_FAILED, "env cannot be a persistent program; ask for one of: bash, dash, zsh"),
    ):
        with pytest.raises(JobRefused) as caught:
            plan_shell(JobRequest(shell=program), account(tmp_path))
        assert (caught.value.reason, caught.value.text) == (reason, text)


def test_a_shell_that_speaks_no_known_dialect(tmp_path: Path) -> None:
    """A user with such a shell gets the first that does, and a refusal where there is none."""
    user = replace(account(tmp_path), shell=require_tool("env"))
    assert plan_shell(JobRequest(shell=""), user).dialect.name == "bash"
    (tmp_path / "dash").symlink_to(require_tool("dash"))
    path = (("PATH", str(tmp_path)),)
    assert plan_shell(JobRequest(shell="", environment=path), user).spawn.executable == os.fsencode(tmp_path / "dash")
    (tmp_path / "dash").unlink()
    with pytest.raises(JobRefused, match="cannot be a persistent shell"):
        plan_shell(JobRequest(shell="", environment=path), user)


def test_plan(tmp_path: Path) -> None:
    """An empty name is the account's shell, and nothing that would make it run something of its own is passed on."""
    environment = (("ENV", "x"), ("BASH_ENV", "x"), ("HISTFILE", "x"), ("KEPT", "x"))
    plan = plan_shell(JobRequest(shell="", environment=environment), account(tmp_path))
    assert plan.spawn.argv[0] == b"sh"
    names = {name for name, _ in plan.spawn.environment}
    assert b"KEPT" in names
    assert not names & {b"ENV", b"BASH_ENV", b"HISTFILE"}
