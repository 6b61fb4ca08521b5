"""What the system shows of a shell from outside: its folder, its background, whether its command waits for input."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.conftest import async_fixture
from tests.execution.owners import RecordingOwner, asynchronous, reactor, until
from tests.execution.real_shells import KINDS, ShellRig
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.limits import MAX_JOB_COMMAND_BYTES, MAX_LISTED_JOBS
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.shell_state import JobState, ShellState
from twisted_rsh.execution.shells import inspection
from twisted_rsh.execution.shells.command import STEP_SECONDS
from twisted_rsh.execution.shells.inspection import MAX_LOOKS, file_identity, waits_for
from twisted_rsh.execution.trees.table import ProcessTable

pytestmark = [
    pytest.mark.exhaustive,  # tests/client/test_kept_shell.py has a quick sample
    pytest.mark.skipif(
        not ProcessTable(Clock()).lists_children or inspection._MACHINE is None,
        reason="this system does not show what processes wait for",
    ),
]

PYTHON = f"{sys.executable} -I -S"


@async_fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ShellRig]:
    """A shell; the parameter says which, and whether on a terminal."""
    rig = ShellRig(tmp_path, *request.param)
    await rig.ready()
    yield rig
    await rig.leave()


def each(*kinds: tuple[str, bool]) -> pytest.MarkDecorator:
    """Run a test with each of these kinds of shell."""
    return pytest.mark.parametrize(
        "rig", kinds, indirect=True, ids=lambda kind: f"{kind[0]}-{'terminal' if kind[1] else 'pipes'}"
    )


# The folder


@each(*KINDS)
@asynchronous
async def test_folder(rig: ShellRig) -> None:
    """Each command's end has the folder that the shell is in: the real one, whatever ``PWD`` says."""
    (rig.home / "real").mkdir()
    (rig.home / "link").symlink_to("real")
    assert (await rig.run("true")).folder == str(rig.home)
    assert (await rig.run("cd link; PWD=/elsewhere")).folder == f"{rig.home}/real"
    assert (await rig.run("(cd /; false)")).folder == f"{rig.home}/real"
    assert rig.shell.inspect().folder == f"{rig.home}/real"
    assert (await rig.run("mkdir 'd (deleted)'; cd 'd (deleted)'")).folder == f"{rig.home}/real/d (deleted)"
    assert (await rig.run("rmdir ../d*")).folder is None
    assert (await rig.run(f"cd {rig.home}; mkdir \"$(printf 'caf\\351')\"; cd caf*")).folder == f"{rig.home}/caf\udce9"
    owner = await rig.run("cd /; exit 3")
    assert (owner.ending, owner.folder) == (Exited(3), None), "the shell is in no folder any more"


# Waiting for input

READERS = [
    "cat",
    "read x",
    "sh -c 'read x'",
    "true; (cat | sort)",
    "sh -c 'sh -c \"head -1; true\"; true'",
    f"{PYTHON} -c 'import sys; sys.stdin.read()'",
    f"{PYTHON} -c 'import select; select.select([0], [], [])'",
    f"{PYTHON} -c 'import select; p = select.poll(); p.register(0, select.POLLIN); p.poll()'",
    f"{PYTHON} -c 'import select; p = select.epoll(); p.register(0, select.EPOLLIN); p.poll()'",
    f"{PYTHON} -c 'import os, threading; t = threading.Thread(target=os.read, args=(0, 1)); t.start(); t.join()'",
    "exec 7<&0; cat <&7",
]
"""Commands that soon wait for their input."""

OTHERS = [
    "sleep 600",
    "sleep 600 | cat",
    "exec 7<&0; sleep 600",
    f"{PYTHON} -c 'import os; r, w = os.pipe(); os.read(r, 1)'",
    f"{PYTHON} -c 'import os, select; r, w = os.pipe(); select.select([0, r], [], [])'",
    f"{PYTHON} -c 'import os, select; r, w = os.pipe(); select.select([r], [], [])'",
    f"{PYTHON} -c 'import os, select; r, w = os.pipe(); p = select.poll(); p.register(0); p.register(r); p.poll()'",
    f"{PYTHON} -c 'import select; p = select.poll(); p.register(0, 0); p.poll()'",
    f"{PYTHON} -c 'import select; p = select.epoll(); p.poll()'",
    f"{PYTHON} -c 'import os, select\nr, w = os.pipe(); p = select.epoll(); p.register(0); p.register(r); p.poll()'",
    "sh -c 'kill -STOP $$'",
]
"""Commands that wait, or are stopped, and not for their input alone."""


async def blocked(rig: ShellRig) -> None:
    """Wait until the newest process of the command is blocked, or stopped: what it waits for does not change then."""

    def is_blocked() -> bool:
        found = rig.shell.signals.descendants()
        if not found:
            return False
        words = Path(f"/proc/{found[-1].pid}/syscall").read_bytes().split()
        name = Path(f"/proc/{found[-1].pid}/comm").read_text()
        return (
            name.strip() not in ("bash", "zsh", "dash", "sh") and len(words) > 2
        ) or rig.shell.signals.is_suspended()

    await until(is_blocked)


@each(("bash", False), ("bash", True))
@pytest.mark.parametrize("text", READERS)
@asynchronous
async def test_waits(rig: ShellRig, text: str) -> None:
    """A command that reads its input is told from one that works, and no more so when it has got its input."""
    assert rig.shell.inspect().waits_for_input is False
    command, owner = rig.begin(text)
    await until(lambda: rig.shell.inspect().waits_for_input is True)
    command.write_input(b"x\n")
    command.end_input()
    await owner.finished()
    assert rig.shell.inspect().waits_for_input is False


@each(("dash", False), ("dash", True), ("zsh", False), ("zsh", True))
@asynchronous
async def test_waits_in_other_shells(rig: ShellRig) -> None:
    """A built-in command that reads, and a program, in the other shells."""
    for text in ("read x", "cat"):
        command, owner = rig.begin(text)
        await until(lambda: rig.shell.inspect().waits_for_input is True)
        command.write_input(b"x\n")
        command.end_input()
        await owner.finished()


@each(("bash", False))
@pytest.mark.parametrize("text", OTHERS)
@asynchronous
async def test_does_not_wait(rig: ShellRig, text: str) -> None:
    """A command that waits for anything else does not wait for its input."""
    command, owner = rig.begin(text)
    await blocked(rig)
    assert rig.shell.inspect().waits_for_input is False
    command.send_signal("KILL")
    await owner.finished()


@each(("bash", True))
@asynchronous
async def test_password_at_the_terminal(rig: ShellRig) -> None:
    """A program that asks the terminal by its own name for it waits for input."""
    command, owner = rig.begin("head -1 </dev/tty")
    await until(lambda: rig.shell.inspect().waits_for_input is True)
    command.write_input(b"secret\n")
    await owner.finished()


@each(("bash", False))
@asynchronous
async def test_earlier_reader(rig: ShellRig) -> None:
    """A process that an earlier command left behind does not make a later command wait."""
    owner = await rig.run("mkfifo f; exec 6<>f; cat <&6 & echo $!")
    pid = int(owner.stdout)
    command, owner = rig.begin("sleep 600")
    await blocked(rig)
    assert rig.shell.inspect().waits_for_input is False
    command.send_signal("KILL")
    await owner.finished()
    os.kill(pid, signal.SIGKILL)


@each(("bash", False))
@asynchronous
async def test_input_that_has_ended(rig: ShellRig) -> None:
    """A command without input waits for none."""
    command, owner = rig.begin("sleep 600")
    command.end_input()
    await blocked(rig)
    assert rig.shell.inspect().waits_for_input is False
    command.send_signal("KILL")
    await owner.finished()


def reader() -> subprocess.Popen[bytes]:
    """Start a program that waits for its input."""
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


async def test_what_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an unknown machine, and of another user's process, it is not known; a process that is gone does not wait."""
    with reader() as process:
        assert process.stdin is not None
        inputs = frozenset({file_identity(os.fstat(process.stdin.fileno()))})
        with monkeypatch.context() as patch:
            patch.setattr(inspection, "_MACHINE", None)
            assert waits_for((process.pid,), inputs) is None
        with monkeypatch.context() as patch:
            patch.setattr(inspection, "open", _forbidden, raising=False)
            assert waits_for((process.pid,), inputs) is None
        process.kill()
    assert waits_for((process.pid,), inputs) is False


def _forbidden(*_args: object, **_options: object) -> None:
    raise PermissionError


@each(("bash", False))
@pytest.mark.parametrize(("count", "answer"), [(MAX_LOOKS - 3, False), (MAX_LOOKS + 1, None)])
@asynchronous
async def test_many_threads(rig: ShellRig, count: int, answer: bool | None) -> None:
    """A look ends at its bound; what it has not seen is not known."""
    start = "t = threading.Thread(target=time.sleep, args=(600,), daemon=True); t.start()"
    text = f"import threading, time\nfor _ in range({count}): {start}\nprint(flush=True); time.sleep(600)"
    command, owner = rig.begin(f"{PYTHON} -c {shlex.quote(text)}")
    await owner.more_output(0)
    assert rig.shell.inspect().waits_for_input is answer
    command.send_signal("KILL")
    await owner.finished()


# The background


@each(*KINDS)
@asynchronous
async def test_jobs(rig: ShellRig) -> None:
    """The background lists what earlier commands left behind, suspended or not, until it has ended."""
    assert rig.shell.inspect() == ShellState(folder=str(rig.home), waits_for_input=False, jobs=())
    left = await rig.run("sleep 601 & echo pid=$!; sh -c 'kill -STOP $$; exec sleep 602' & echo pid=$!")
    first, second = map(int, re.findall(rb"pid=(\d+)", left.stdout))

    def listed() -> list[tuple[int, JobState, str]]:
        return [(job.pid, job.state, job.command) for job in rig.shell.inspect().jobs or ()]

    running = (first, JobState.RUNNING, "sleep 601")
    await until(lambda: listed()[-1][1] is JobState.STOPPED and listed()[0] == running)
    assert listed()[1][0] == second
    command, owner = rig.begin("sleep 603")
    await blocked(rig)
    assert [pid for pid, *_ in listed()] == [first, second], "a command's own processes are no job"
    os.kill(second, signal.SIGCONT)
    await until(lambda: listed() == [running, (second, JobState.RUNNING, "sleep 602")])
    command.send_signal("KILL")
    await owner.finished()
    os.kill(first, signal.SIGKILL)
    await until(lambda: [pid for pid, *_ in listed()] == [second])
    os.kill(second, signal.SIGKILL)
    await until(lambda: listed() == [])


@each(("bash", False))
@asynchronous
async def test_many_jobs(rig: ShellRig) -> None:
    """The first MAX_LISTED_JOBS are listed, and the others are counted, also those that no look has seen."""
    for count, unlisted in (
        (MAX_LISTED_JOBS, 0),
        (1, 1),
        (MAX_LOOKS - MAX_LISTED_JOBS, MAX_LOOKS + 1 - MAX_LISTED_JOBS),
    ):
        await rig.run(f"for i in $(seq {count}); do sleep 600 & done")
        state = rig.shell.inspect()
        assert state.jobs is not None
        assert (len(state.jobs), state.unlisted) == (MAX_LISTED_JOBS, unlisted)
    await rig.run("kill -KILL $(jobs -p)")


@each(("bash", False))
@pytest.mark.parametrize("letter", ["x", "é", "\udce9", "中"])
@asynchronous
async def test_long_command_line(rig: ShellRig, letter: str) -> None:
    """A command line at the bound is whole, and a longer one is cut between two characters."""
    size = len(letter.encode("utf-8", "surrogateescape"))
    for count in (1, MAX_JOB_COMMAND_BYTES // size - 4, MAX_JOB_COMMAND_BYTES // size + 1):
        name = letter * count
        owner = RecordingOwner()
        text = f"(exec -a {shlex.quote(name)} sleep 600) >&- 2>&- & sleep 0.1; echo $!"
        rig.shell.start_command(JobRequest(command=text), owner).end_input()
        await owner.finished()

        def lines() -> list[str]:
            return [job.command for job in rig.shell.inspect().jobs or ()]

        await until(lambda: bool(lines()) and lines()[0].startswith(letter))
        whole, shown = f"{name} 600", lines()[0]
        sizes = [len(whole[:end].encode("utf-8", "surrogateescape")) for end in (len(shown), len(shown) + 1)]
        assert whole.startswith(shown)
        assert sizes[0] <= MAX_JOB_COMMAND_BYTES
        assert shown == whole or sizes[1] > MAX_JOB_COMMAND_BYTES
        os.kill(int(owner.stdout), signal.SIGKILL)
        await until(lambda: not lines())


# Asides


@each(*KINDS)
@asynchronous
async def test_aside(rig: ShellRig) -> None:
    """An aside sees what the shell remembers, and leaves nothing behind, neither a variable nor a status."""

    async def aside(text: str) -> RecordingOwner:
        owner = RecordingOwner()
        command = rig.shell.start_command(JobRequest(command=text, in_shell=1, aside=True), owner)
        if rig.shell.process.feed is None:
            command.end_input()
        await owner.finished()
        return owner

    await rig.run('f() { echo "f $X"; }; X=1; cd /usr; (exit 7)')
    owner = await aside("f; X=2; cd /; pwd; f; exit 3")
    assert owner.stdout.replace(b"\r", b"") == b"f 1\n/\nf 2\n"
    assert (owner.ending, owner.folder) == (Exited(3), "/usr")
    assert await rig.output("echo $? $X; pwd") == "7 1\n/usr\n"


@each(*KINDS)
@asynchronous
async def test_cancelled_aside(rig: ShellRig) -> None:
    """An aside that is cancelled, early or late and whatever it ignores, is gone at once; the shell goes on."""
    text = "trap '' INT TERM HUP; sleep 600; sleep 600"
    for is_early in (True, False):
        owner = RecordingOwner()
        command = rig.shell.start_command(JobRequest(command=text, in_shell=1, aside=True), owner)
        await until(lambda: command.has_begun)  # noqa: B023 - called at once
        if not is_early:
            await until(lambda: len(rig.shell.signals.descendants() or ()) >= 2)
        began = reactor.seconds()
        command.terminate()
        await owner.finished()
        assert reactor.seconds() - began < STEP_SECONDS
    assert await rig.output("echo still $?") == "still 0\n"
