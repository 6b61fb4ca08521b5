"""One shell runs thousands of commands: each status and each byte is right, and nothing grows."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from tests.execution.owners import asynchronous, open_descriptors, reactor, until
from tests.execution.real_shells import SHELLS, ShellRig
from twisted_rsh.core.endings import Exited

COMMANDS = 10_000
"""Commands in one shell."""

SETTLED = 2_000
"""Commands after which neither process has a reason to grow: caches are full by then."""

MAX_GROWTH_KB = 2_048
"""KB that the shell, and this process, may grow by behind these: less than 300 bytes for each command."""

SECONDS = 180.0
"""Seconds within which all must be done; a machine that does nothing else takes some ten."""

PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def resident_kb(pid: int) -> int:
    """Return the memory of a process that is in use."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB


def descriptors_of(pid: int) -> list[str]:
    """List the descriptors of another process."""
    return sorted(os.listdir(f"/proc/{pid}/fd"))


async def run_one(rig: ShellRig, number: int) -> None:
    """Run the command of a number; most of them are built-ins."""
    if number % 100 == 0:
        owner = await rig.run("cat; exit_of() { return 7; }; exit_of", f"input {number}\n".encode())
        assert (owner.stdout, owner.ending) == (f"input {number}\n".encode(), Exited(7))
    elif number % 100 == 1:
        owner = await rig.run(f"sh -c 'echo {number}; echo error >&2; exit {number % 256}'")
        assert (owner.stdout, owner.stderr) == (f"{number}\n".encode(), b"error\n")
        assert owner.ending == Exited(number % 256)
    elif number % 100 == 2:
        owner = await rig.run(f"echo 'not closed {number}")
        assert owner.ending != Exited(0)
    elif number % 100 == 3:
        owner = await rig.run(f"for i in 1 2; do\n:\ndone; cat <<E\n{'x' * 5_000}\nE")
        assert (owner.stdout, owner.ending) == (b"x" * 5_000 + b"\n", Exited(0))
    elif number % 3:
        owner = await rig.run(
            f"n=$((n + 1)); echo {number}; (exit {number % 256})" if number % 30 == 1 else f"echo {number}"
        )
        assert owner.stdout == f"{number}\n".encode()
        assert owner.ending == Exited(number % 256 if number % 30 == 1 else 0)
    else:
        owner = await rig.run("false")
        assert (owner.stdout, owner.stderr, owner.ending) == (b"", b"", Exited(1))


@pytest.mark.soak
@pytest.mark.parametrize("shell", SHELLS)
@asynchronous
async def test_many_commands(tmp_path: Path, shell: str) -> None:
    """Ten thousand commands: statuses and outputs are exact; memory and descriptors of both processes stay."""
    rig = ShellRig(tmp_path, shell)
    await rig.ready()
    pid = rig.shell.pid
    assert pid is not None
    begun = reactor.seconds()
    for number in range(1, SETTLED):
        await run_one(rig, number)
    gc.collect()
    ours, theirs = open_descriptors(), descriptors_of(pid)
    memory = [resident_kb(os.getpid()), resident_kb(pid)]
    for number in range(SETTLED, COMMANDS + 1):
        await run_one(rig, number)
    assert reactor.seconds() - begun < SECONDS
    gc.collect()
    await until(lambda: open_descriptors() == ours)
    await until(lambda: descriptors_of(pid) == theirs)
    growth = resident_kb(os.getpid()) - memory[0], resident_kb(pid) - memory[1]
    assert max(growth) < MAX_GROWTH_KB, growth
    assert await rig.output("echo $?") == "7\n"
    await rig.leave()
    assert list(tmp_path.iterdir()) == []
