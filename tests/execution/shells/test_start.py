"""Persistent shells that fail: each ends with one clear line."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.execution.owners import asynchronous
from tests.execution.real_shells import ShellRig
from tests.tools import require_tool
from twisted_rsh.core.endings import OutcomeUnknown, RefusalReason, Refused
from twisted_rsh.execution.shells import phases
from twisted_rsh.execution.shells.bash import OLD_BASH
from twisted_rsh.execution.shells.phases import RULES, Phase


def fake(path: Path, text: str) -> str:
    """Make a program with the name bash."""
    path.mkdir()
    program = path / "bash"
    program.write_text(text)
    program.chmod(0o755)
    return str(program)


async def failure(tmp_path: Path, text: str) -> Refused:
    """Start a program in place of a shell, and return the refusal."""
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
    """The refusal names the exit code of the shell and its last line."""
    ending = await failure(tmp_path, "#!/bin/sh\necho no luck >&2\nexit 4\n")
    assert ending.text.endswith("/bash: it ended before it was ready, with exit code 4: no luck")


@asynchronous
async def test_dies_of_a_signal(tmp_path: Path) -> None:
    """The refusal names the signal that ended the shell."""
    ending = await failure(tmp_path, "#!/bin/sh\nkill -TERM $$\n")
    assert ending.text.endswith("/bash: it ended before it was ready, by signal TERM")


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a shell little time to start."""
    rules = {**RULES, Phase.STARTING: replace(RULES[Phase.STARTING], seconds=0.3)}
    monkeypatch.setattr(phases, "RULES", rules)


@asynchronous
async def test_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that never reports is ended in time."""
    hurry(monkeypatch)
    ending = await failure(tmp_path, "#!/bin/sh\nexec sleep 30\n")
    assert ending.text.endswith("/bash: the shell did not get ready within 0.3 seconds")


@asynchronous
async def test_prints_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endless output of a shell that never gets ready is thrown away."""
    hurry(monkeypatch)
    await failure(tmp_path, "#!/bin/sh\nexec yes\n")


@asynchronous
async def test_garbage_at_start(tmp_path: Path) -> None:
    """A shell that writes something else than reports to the status pipe is ended."""
    ending = await failure(tmp_path, "#!/bin/sh\necho garbage >&9\nexec sleep 30\n")
    assert "something wrote to the descriptor" in ending.text


@asynchronous
async def test_prints_at_start(tmp_path: Path) -> None:
    """Output of a shell that is not ready yet goes to no owner."""
    path = fake(tmp_path / "bin", f'#!/bin/sh\necho hello; echo there >&2\nexec {require_tool("bash")} "$@"\n')
    rig = ShellRig(tmp_path, path)
    assert await rig.output("echo hi") == "hi\n"
    assert (rig.owner.stdout, rig.owner.stderr) == (b"", b"")
    await rig.leave()


@pytest.mark.skipif(sys.platform != "linux", reason="opens the pipe by way of /proc")
@pytest.mark.parametrize("text", ["e 99 0 x", "garbage", "e 1 256 x", "s", "x" * 300])
@asynchronous
async def test_garbage_later(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that finds the status pipe and writes to it ends the shell, and the outcome is unknown."""
    monkeypatch.setattr("twisted_rsh.execution.shells.dialects.bash_dialect", lambda executable: OLD_BASH)
    rig = ShellRig(tmp_path, "bash")
    await rig.ready()
    pipe = os.open(f"/proc/{rig.shell.process.pid}/fd/9", os.O_WRONLY)
    _, owner = rig.begin("echo go; sleep 30")
    await owner.more_output(1)
    os.write(pipe, text.encode() + b"\n")
    os.close(pipe)
    await owner.finished()
    await rig.ended()
    assert isinstance(owner.ending, OutcomeUnknown)
    assert owner.ending == rig.owner.ending
