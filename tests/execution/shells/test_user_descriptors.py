"""Every descriptor above 2 of a persistent shell is the user's, and the first three, too, as far as they wish."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.execution.owners import asynchronous
from tests.execution.real_shells import KINDS, ShellRig
from tests.tools import require_tool

LONG = ("bash", "zsh")
"""The shells that know descriptors of more than one digit."""


async def started(tmp_path: Path, shell: str, on_terminal: bool) -> ShellRig:
    """Return a shell that takes commands."""
    rig = ShellRig(tmp_path, shell, on_terminal)
    await rig.ready()
    return rig


def numbers(shell: str) -> tuple[int, ...]:
    """Return descriptors that a user may name in a shell; those that shells take for themselves are among them."""
    # An interactive bash keeps 255 for its terminal, and puts that back behind a redirection.
    more = (10, 11, 12, 13, 20, 61, 62, 63, 250, 254) if shell == "bash" else ()
    return (*range(3, 10), *more)


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_lock(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A lock on a descriptor is held from one command to the next, and until the descriptor is closed."""
    require_tool("flock")
    rig = await started(tmp_path, shell, on_terminal)
    for number in (3, 9):
        await rig.run(f"exec {number}>lock; flock {number}")
        assert await rig.output("flock -n lock echo got it || echo held") == "held\n"
        await rig.run(f"exec {number}>&-")
        assert await rig.output("flock -n lock echo got it || echo held") == "got it\n"
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_files(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """What is written to a descriptor is in its file, and nothing else."""
    rig = await started(tmp_path, shell, on_terminal)
    for number in numbers(shell):
        await rig.run(f"exec {number}>f{number}")
    for number in numbers(shell):
        assert await rig.output(f"echo {number} >&{number}; echo said") == "said\n"
    for number in numbers(shell):
        await rig.run(f"exec {number}>&-")
        assert (tmp_path / f"f{number}").read_text() == f"{number}\n"
    assert await rig.output("echo on") == "on\n"
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_all_closed(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A user may close every descriptor that they can name, one by one and all at once, and go on."""
    rig = await started(tmp_path, shell, on_terminal)
    for number in numbers(shell):
        assert await rig.output(f"exec {number}>&-; echo {number}") == f"{number}\n"
        assert await rig.output(f"exec {number}<&-; echo {number}") == f"{number}\n"
    await rig.run("".join(f"exec {number}>&-;" for number in numbers(shell)))
    assert await rig.output("echo on; cat /dev/null; echo a | cat") == "on\na\n"
    if shell == "bash":
        await rig.run('for fd in {3..255}; do eval "exec $fd>&-"; done')
        assert await rig.output("echo on; echo a | cat") == "on\na\n"
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_children_inherit_three(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A program finds the three descriptors of every program, and those that the user opened."""
    rig = await started(tmp_path, shell, on_terminal)
    listing = "ls /proc/self/fd | tr '\\n' ' '"  # ls itself has 3 open
    assert await rig.output(listing) == "0 1 2 3 "
    await rig.run("exec 7>/dev/null")
    assert await rig.output(listing) == "0 1 2 3 7 "
    assert await rig.output(f"( {listing} )") == "0 1 2 3 7 "
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_first_three(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """Input and outputs may be redirected for good, closed, and put back."""
    rig = await started(tmp_path, shell, on_terminal)
    await rig.run("exec 4>&1 5>&2 >out 2>err")
    await rig.run("echo one; echo two >&2")
    assert (await rig.run("cat nowhere")).ending != (await rig.run("true")).ending
    await rig.run("exec >&4 2>&5 4>&- 5>&-")
    assert await rig.output("cat out; wc -l <err") == "one\n2\n"
    await rig.run("exec 4>&1 >&-")
    await rig.run("exec >&4 4>&-")
    await rig.run("exec 4>&2 2>&-")
    await rig.run("exec 2>&4 4>&-")
    assert await rig.output("echo back") == "back\n"
    await rig.run("exec <&-")
    assert await rig.output("echo on") == "on\n"
    (tmp_path / "data").write_text("line\n")
    assert await rig.output("read x <data; echo $x") == "line\n"
    await rig.leave()


@pytest.mark.parametrize("shell", LONG)
@asynchronous
async def test_named_descriptors(tmp_path: Path, shell: str) -> None:
    """A descriptor that the shell chooses for the user stays as well."""
    rig = await started(tmp_path, shell, False)
    await rig.run("exec {fd}>f")
    await rig.run("echo a >&$fd; false")
    await rig.run("echo b >&$fd")
    await rig.run("exec {fd}>&-")
    assert (tmp_path / "f").read_text() == "a\nb\n"
    await rig.leave()
