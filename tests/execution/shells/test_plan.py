"""The plan of a persistent shell: its program, its environment, and the refusals, without a running shell."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.execution.real_shells import account
from tests.tools import require_tool
from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.interfaces import JobRefused


def test_refusals(tmp_path: Path) -> None:
    """A shell that is missing, not executable, or of no known dialect is refused by name."""
    (tmp_path / "zsh").touch(0o644)
    for program, reason, text in (
        ("nosuchshell", RefusalReason.NOT_FOUND, "nosuchshell: command not found"),
        (str(tmp_path / "zsh"), RefusalReason.NOT_EXECUTABLE, f"{tmp_path}/zsh: Permission denied"),
        ("env", RefusalReason.SHELL_FAILED, "env cannot be a persistent shell; ask for one of: bash, dash, zsh"),
    ):
        with pytest.raises(JobRefused) as caught:
            plan_shell(JobRequest(shell=program), account(tmp_path))
        assert (caught.value.reason, caught.value.text) == (reason, text)


def test_a_shell_that_speaks_no_known_dialect(tmp_path: Path) -> None:
    """A user whose shell is of no known dialect gets the first fallback, or a refusal where there is none."""
    user = replace(account(tmp_path), shell=require_tool("env"))
    assert plan_shell(JobRequest(shell=""), user).dialect.name == "bash"
    (tmp_path / "dash").symlink_to(require_tool("dash"))
    path = (("PATH", str(tmp_path)),)
    assert plan_shell(JobRequest(shell="", environment=path), user).spawn.executable == os.fsencode(tmp_path / "dash")
    (tmp_path / "dash").unlink()
    with pytest.raises(JobRefused, match="cannot be a persistent shell"):
        plan_shell(JobRequest(shell="", environment=path), user)


def test_plan(tmp_path: Path) -> None:
    """An empty name means the account's shell; variables that make a shell run something by itself are left out."""
    environment = (("ENV", "x"), ("BASH_ENV", "x"), ("HISTFILE", "x"), ("KEPT", "x"))
    plan = plan_shell(JobRequest(shell="", environment=environment), account(tmp_path))
    assert plan.spawn.argv[0] == b"sh"
    names = {name for name, _ in plan.spawn.environment}
    assert b"KEPT" in names
    assert not names & {b"ENV", b"BASH_ENV", b"HISTFILE"}
