"""Keys typed ahead of a command in a real shell: read by the command, shown by nothing, and given back when unread."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.execution.owners import RecordingOwner
from tests.execution.real_shells import SHELLS, ShellRig
from tests.serving import asynchronous
from twisted_rsh.core.endings import Exited, Signalled
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells.command import ShellCommand


def begin(rig: ShellRig, text: str, keys: bytes) -> tuple[ShellCommand, RecordingOwner]:
    """Begin a command for which keys were typed."""
    owner = RecordingOwner()
    return rig.shell.start_command(JobRequest(command=text, in_shell=1, typed_ahead=keys), owner), owner


@pytest.mark.parametrize("shell", SHELLS)
@asynchronous
async def test_keys_on_a_terminal(tmp_path: Path, shell: str) -> None:
    """The command reads its lines; nothing of them is shown; the rest comes back, lines without their end included."""
    rig = ShellRig(tmp_path, shell, on_terminal=True)
    await rig.ready()
    _, owner = begin(rig, "read -r x; stty -echo; read -r y; stty echo; echo got $x $y", b"one\rtwo\rthree\rfou")
    await owner.finished()
    assert owner.ending == Exited(0)
    assert owner.stdout.decode().split() == ["got", "one", "two"]
    assert (owner.typed, owner.unread) == (0, b"three\nfou")
    _, owner = begin(rig, "true", b"")
    await owner.finished()
    assert (owner.typed, owner.unread) == (0, b"")
    await rig.leave()


@asynchronous
async def test_keys_that_come_while_the_command_runs(tmp_path: Path) -> None:
    """Keys that were sent behind those typed ahead count as typed, and come back as well; without keys none do."""
    rig = ShellRig(tmp_path, "bash", on_terminal=True)
    await rig.ready()
    command, owner = begin(rig, "read -r x; echo got $x; sleep 0.2", b"one\r")
    command.write_input(b"later\rhal")
    await owner.finished()
    assert (owner.typed, owner.unread) == (9, b"later\nhal")
    assert owner.consumed == 9
    _, owner = begin(rig, "true", b"x\r")
    await owner.finished()
    assert owner.unread == b"x\n"
    _, plain = rig.begin("true")
    await plain.finished()
    assert (plain.typed, plain.unread) == (None, b"")
    await rig.leave()


@asynchronous
async def test_keys_that_make_a_signal(tmp_path: Path) -> None:
    """Ctrl-C among the keys interrupts the command that has begun, and what was typed before it is dropped."""
    rig = ShellRig(tmp_path, "bash", on_terminal=True)
    await rig.ready()
    _, owner = begin(rig, "while :; do :; done", b"dropped\r\x03kept\r")
    await owner.finished()
    assert owner.ending in {Exited(130), Signalled("INT")}
    assert owner.unread == b"kept\n"
    await rig.leave()


@asynchronous
async def test_keys_on_pipes(tmp_path: Path) -> None:
    """On pipes the keys are the first of the input, and have no credit; nothing comes back."""
    rig = ShellRig(tmp_path, "dash")
    await rig.ready()
    command, owner = begin(rig, "cat", b"one ")
    command.write_input(b"two")
    command.end_input()
    await owner.finished()
    assert owner.stdout == b"one two"
    assert owner.consumed == 3
    assert (owner.typed, owner.unread) == (None, b"")
    await rig.leave()


@pytest.mark.parametrize("shell", SHELLS)
@asynchronous
async def test_an_interrupt_while_a_program_is_started(tmp_path: Path, shell: str) -> None:
    """Ctrl-C that is typed in any moment of a program's start interrupts it."""
    rig = ShellRig(tmp_path, shell, on_terminal=True)
    await rig.ready()
    for _ in range(8):
        _, owner = begin(rig, "sleep 100", b"dropped\r\x03")
        await owner.finished()
        assert owner.ending in {Exited(130), Signalled("INT")}
    await rig.leave()


@pytest.mark.parametrize("way", ["key", "signal"])
@pytest.mark.parametrize("shell", SHELLS)
@asynchronous
async def test_an_interrupt_leaves_the_background_alone(tmp_path: Path, shell: str, way: str) -> None:
    """On a terminal an interrupt ends the command; a background job that it has only just started lives on."""
    rig = ShellRig(tmp_path, shell, on_terminal=True)
    await rig.ready()
    begun = "until grep -q sleep /proc/$!/comm; do :; done; echo started"
    command, owner = begin(rig, f"sleep 50 & {begun}; while :; do :; done", b"")
    await owner.when(lambda: b"started" in owner.stdout)
    if way == "key":
        command.write_input(b"\x03")
    else:
        command.send_signal("INT")
    await owner.finished()
    assert owner.ending in {Exited(130), Signalled("INT")}
    _, after = begin(rig, "kill -0 $! && echo alive; kill $!", b"")
    await after.finished()
    assert b"alive" in after.stdout
    await rig.leave()
