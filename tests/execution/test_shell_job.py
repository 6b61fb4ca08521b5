"""Persistent shells at work: what they remember, how commands end, and that nothing is lost between two of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import async_fixture
from tests.execution.owners import asynchronous
from tests.execution.shells import KINDS, ShellRig
from twisted_rsh.core.endings import Exited


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'terminal' if kind[1] else 'pipes'}")
def kind(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """Each shell on pipes and on a terminal."""
    found: tuple[str, bool] = request.param
    return found


@async_fixture
async def rig(kind: tuple[str, bool], tmp_path: Path) -> AsyncIterator[ShellRig]:
    """A shell of each kind."""
    rig = ShellRig(tmp_path, *kind)
    await rig.ready()
    yield rig
    await rig.leave()
    assert list(tmp_path.glob("twisted-rsh-*")) == []


@asynchronous
async def test_memory(rig: ShellRig) -> None:
    """Folder, variables, functions, aliases, umask and the last status are there for the next command."""
    assert await rig.output("cd /tmp; X='a  b'; f() { echo \"f:$1\"; }; umask 027; alias hi='echo alias'") == ""
    assert (
        await rig.output('pwd; echo "$X"; f 1; umask; hi')
        == "/tmp\na  b\nf:1\n" + ("027" if "zsh" in rig.path else "0027") + "\nalias\n"
    )
    assert await rig.status("(exit 7)") == Exited(7)
    assert await rig.output("echo $?") == "7\n"
    assert await rig.output("echo $?") == "0\n"
