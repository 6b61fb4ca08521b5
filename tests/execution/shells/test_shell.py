"""Real persistent shells: their memory, and the input, output, signals and endings of their commands."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from twisted.internet.task import deferLater

from tests.conftest import async_fixture
from tests.execution.owners import asynchronous, reactor, until
from tests.execution.real_shells import KINDS, RecordingOwner, ShellRig
from tests.tools import require_tool
from twisted_rsh.core.endings import Exited, RefusalReason, Refused, Signalled, Stopped
from twisted_rsh.core.limits import MAX_SCRIPT_BYTES
from twisted_rsh.core.roles import Stream
from twisted_rsh.interfaces import JobRefused


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'terminal' if kind[1] else 'pipes'}")
def kind(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """Return each shell on pipes and on a terminal."""
    found: tuple[str, bool] = request.param
    return found


@async_fixture
async def rig(kind: tuple[str, bool], tmp_path: Path) -> AsyncIterator[ShellRig]:
    """Start a shell of each kind."""
    rig = ShellRig(tmp_path, *kind)
    await rig.ready()
    yield rig
    await rig.leave()
    assert list(tmp_path.glob("twisted-rsh-*")) == []


@asynchronous
async def test_memory(rig: ShellRig) -> None:
    """The next command finds folder, variables, functions, aliases, umask and the last status."""
    assert await rig.output("cd /tmp; X='a  b'; f() { echo \"f:$1\"; }; umask 027; alias hi='echo alias'") == ""
    assert (
        await rig.output('pwd; echo "$X"; f 1; umask; hi')
        == "/tmp\na  b\nf:1\n" + ("027" if "zsh" in rig.path else "0027") + "\nalias\n"
    )
    assert await rig.status("(exit 7)") == Exited(7)
    assert await rig.output("echo $?") == "7\n"
    assert await rig.output("echo $?") == "0\n"


def text_of(rig: ShellRig, owner: RecordingOwner) -> str:
    """Return all output of a command; on a terminal both outputs are one."""
    return (owner.stdout + owner.stderr).decode(errors="replace").replace("\r\n", "\n")


@asynchronous
async def test_separate_outputs_and_binary(rig: ShellRig) -> None:
    """The outputs are separate, except on a terminal, and bytes that are no text arrive unchanged."""
    owner = await rig.run("printf 'a\\377\\001b'; echo err >&2")
    if rig.shell.process.feed is None:
        assert (owner.stdout, owner.stderr) == (b"a\xff\x01b", b"err\n")
    else:
        assert (owner.stdout, owner.stderr) == (b"a\xff\x01berr\r\n", b"")
    assert owner.ending == Exited(0)


@pytest.mark.parametrize(
    "text",
    ["if", "echo 'open", 'echo "open', "cat <<EOF\n$(", "for x in 1; do", ")", "f() {", "${", "echo $((1/0))", "`"],
)
@asynchronous
async def test_faulty_text(rig: ShellRig, text: str) -> None:
    """A text that is no command ends with a message and a status other than 0, and the shell goes on."""
    owner = await rig.run(text)
    assert isinstance(owner.ending, Exited)
    if text != "cat <<EOF\n$(":
        assert owner.ending.code != 0, owner.ending
        assert text_of(rig, owner)
    assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_several_lines(rig: ShellRig) -> None:
    """Newlines, here-documents, comments and a final backslash work as in a script, and no prompt is printed."""
    text = "cat <<'EOF' # comment\none 'two\n\"three\nEOF\nif true\nthen\n  echo four\nfi\necho a\\\nb"
    assert await rig.output(text) == "one 'two\n\"three\nfour\nab\n"
    assert await rig.output("echo end\\") in ("end\n", "end\\\n")


@asynchronous
async def test_no_descriptors(rig: ShellRig) -> None:
    """X-12: a command has descriptors 0, 1 and 2, and neither of the shell's own two."""
    require_tool("ls")
    assert (await rig.output("ls /proc/self/fd")).split() == ["0", "1", "2", "3"]
    assert (await rig.output("ls /proc/self/fd | cat")).split() == ["0", "1", "2", "3"]
    for number in (7, 8, 9):
        assert await rig.status(f"true >&{number}") != Exited(0)


@asynchronous
async def test_input(rig: ShellRig) -> None:
    """Each command has its own input with an end; the next command does not read the rest of it."""
    if rig.shell.process.feed is None:
        owner = await rig.run("cat", b"line\n" * 100_000)
        assert owner.stdout == b"line\n" * 100_000
        assert owner.consumed == 500_000
        assert (await rig.run("read x; echo $x", b"one\ntwo\n")).stdout == b"one\n"
        assert (await rig.run("cat")).stdout == b""
        command, owner = rig.begin("exec <&-; sleep 0.2; echo end")
        await owner.when(lambda: owner.inputs_closed == 1)
        command.write_input(b"nobody")
        await owner.finished()
        assert owner.consumed == 0
    else:
        command, owner = rig.begin("cat")
        command.write_input(b"line\n")
        command.end_input()
        await owner.finished()
        assert owner.stdout == b"line\r\nline\r\n"
        assert owner.consumed == 5


@asynchronous
async def test_input_opened_again(rig: ShellRig) -> None:
    """A program that opens its input by name when it has ended finds the end, and what is unread before it."""
    if rig.shell.process.feed is not None:
        return  # a terminal has no end
    owner = await rig.run("while read -r x; do echo $x; done; cat /dev/stdin; cat </dev/stdin; echo end", b"one\n")
    assert owner.stdout == b"one\nend\n"
    command, owner = rig.begin(
        "read -r x; read -r y </dev/fd/0; echo $x $y; while [ ! -e ended ]; do :; done; cat /dev/fd/0"
    )
    command.write_input(b"one\ntwo\nthree\n")
    await owner.more_output(0)
    command.end_input()
    (rig.home / "ended").touch()
    await owner.finished()
    assert owner.stdout == b"one two\nthree\n"


@asynchronous
async def test_unread_input(rig: ShellRig) -> None:
    """A command that ends with unread input closes its input, and the undelivered rest is dropped."""
    if rig.shell.process.feed is not None:
        return  # a terminal takes it all
    command, owner = rig.begin("sleep 0.1")
    command.write_input(b"x" * 1_000_000)
    await owner.finished()
    assert owner.inputs_closed == 1
    assert owner.consumed < 100_000
    command.write_input(b"more")
    command.end_input()
    command.send_signal("INT")
    command.resume_output(Stream.STDOUT)
    command.close_output(Stream.STDOUT)
    command.resize(1, 1)
    command.terminate()
    assert owner.ending == Exited(0)


@asynchronous
async def test_interrupt(rig: ShellRig) -> None:
    """An interrupt ends the whole line, also a loop, and the shell lives and remembers."""
    await rig.run("X=kept")
    for text in ("echo go; sleep 30; echo not", "echo go; while :; do :; done; echo not"):
        command, owner = rig.begin(text)
        await owner.more_output(1)
        command.send_signal("INT")
        await owner.finished()
        assert owner.ending == Exited(130)
        assert b"not" not in owner.stdout
        assert await rig.output("echo $X") == "kept\n"


@asynchronous
async def test_interrupt_while_a_program_is_started(rig: ShellRig) -> None:
    """No program of an interrupted line is left, for which the shell would wait during the next command."""
    for _ in range(15):
        command, owner = rig.begin("echo go; sleep 600; echo not")
        await owner.more_output(1)
        command.send_signal("INT")
        await owner.finished()
        assert owner.ending == Exited(130)
        following = await rig.run("echo next")
        assert (following.stdout.replace(b"\r\n", b"\n"), following.ending) == (b"next\n", Exited(0))


@asynchronous
async def test_interrupted_loop(rig: ShellRig) -> None:
    """An interrupted loop of built-in commands ends with 130, whatever their status and the shell's options."""
    loops = ("while :; do :; done", "while :; do false; done", "while :; do x=$((x+1)); done")
    # Without tracing: zsh itself may forget an interrupt while it prints a trace.
    options = ("emulate sh", "emulate ksh", "emulate zsh", "set -u") if "zsh" in rig.path else ("set -u",)
    for option in ("true", *options):
        await rig.run(option)
        for loop in loops:
            command, owner = rig.begin(f"echo go; x=1; {loop}")
            await owner.more_output(1)
            command.send_signal("INT")
            await owner.finished()
            assert (option, loop, owner.ending) == (option, loop, Exited(130))
        assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_interrupt_by_key(rig: ShellRig) -> None:
    """Ctrl-C on a terminal ends the whole line too."""
    if rig.shell.process.feed is None:
        return
    for text in ("echo go; sleep 30; echo not", "echo go; while :; do :; done; echo not"):
        command, owner = rig.begin(text)
        await owner.more_output(1)
        await deferLater(reactor, 0.1)  # an earlier key may be lost, and a person presses it again
        command.write_input(b"\x03")
        await owner.finished()
        assert owner.ending == Exited(130)
        assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_early_interrupt(rig: ShellRig) -> None:
    """A signal for a command that the shell has not read yet waits until it has."""
    command, owner = rig.begin("sleep 30; echo not")
    command.send_signal("INT")
    await owner.finished()
    assert owner.ending == Exited(130)
    assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_caught_interrupt(rig: ShellRig) -> None:
    """A program that catches the interrupt goes on, and the shell is in step after it."""
    script = (
        "import time\ntry:\n print('go', flush=True); time.sleep(30)\n"
        "except KeyboardInterrupt:\n time.sleep(.6); print('caught')"
    )
    command, owner = rig.begin(f'{sys.executable} -c "{script}"')
    await owner.more_output(1)
    command.send_signal("INT")
    await owner.finished()
    assert b"caught" in owner.stdout
    assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_lost_hook(rig: ShellRig) -> None:
    """A command that removes the hook for an abandoned line, and is then interrupted, still ends."""
    command, owner = rig.begin("unset PROMPT_COMMAND; PS1='$ '; precmd() { :; }; echo go; sleep 30")
    await owner.more_output(1)
    command.send_signal("INT")
    await owner.finished()
    assert owner.ending in (Exited(130), Exited(2))
    assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_trace(rig: ShellRig) -> None:
    """`set -x` stays on until it is switched off; it traces the user's commands and not the server's."""
    await rig.run("set -x")
    for _ in range(2):
        shown = text_of(rig, await rig.run("echo traced"))
        assert shown.count("echo traced") == 1
        assert len(shown.splitlines()) == 2
    await rig.run("set +x")
    assert text_of(rig, await rig.run("echo plain")) == "plain\n"


@asynchronous
async def test_abandoned_line(rig: ShellRig) -> None:
    """An error that makes a shell drop the whole line ends the command with a status; the command does not hang."""
    for text in (
        "echo ${nope?message}; echo no",
        "set -u; echo $nope; echo no",
        "set +u; kill -INT $$; sleep 1; echo no",
    ):
        owner = await rig.run(text)
        assert isinstance(owner.ending, Exited)
        assert owner.ending.code != 0
        assert b"\nno" not in owner.stdout
    assert await rig.output("echo probe") == "probe\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [("exit 3", 3), ("set -e; false; echo no", 1), ("exec sh -c 'exit 5'", 5), ("trap 'echo bye' EXIT; exit", 0)],
)
@asynchronous
async def test_shell_that_ends(rig: ShellRig, text: str, code: int) -> None:
    """A command that ends the shell has the shell's ending, after all of its output; so has the shell's job."""
    owner = await rig.run("echo last; " + text)
    assert owner.ending == Exited(code)
    assert owner.stdout.startswith(b"last")
    await rig.ended()
    assert rig.owner.ending == Exited(code)
    with pytest.raises(JobRefused) as caught:
        rig.begin("echo")
    assert caught.value.reason is RefusalReason.SHELL_GONE


@asynchronous
async def test_shell_that_is_killed(rig: ShellRig) -> None:
    """The ending of a shell that a signal has ended names the signal."""
    assert await rig.status("kill -KILL $$") == Signalled("KILL")
    await rig.ended()
    assert rig.owner.ending == Signalled("KILL")


@asynchronous
async def test_options_that_stay(rig: ShellRig) -> None:
    """The next command finds options, traps and limits."""
    await rig.run("set -o noglob; trap 'echo exiting' EXIT; ulimit -n 64")
    assert await rig.output("echo /*; ulimit -n") == "/*\n64\n"
    assert "exiting" in await rig.output("exit 0")


@asynchronous
async def test_background(rig: ShellRig) -> None:
    """A background job does not hold the command; its later output goes to the shell or to the next command."""
    owner = await rig.run("(sleep 0.3; echo later; sleep 0.6; echo last) & echo now")
    assert b"now" in owner.stdout
    assert b"later" not in owner.stdout
    await rig.owner.more_output(4)
    assert b"later" in rig.owner.stdout
    assert b"last" in (await rig.run("sleep 1")).stdout


@asynchronous
async def test_one_at_a_time(rig: ShellRig) -> None:
    """A second command is refused while one runs; an empty, impossible or too long text is refused too."""
    command, owner = rig.begin("while :; do :; done")
    with pytest.raises(JobRefused) as caught:
        rig.begin("echo")
    assert caught.value.reason is RefusalReason.SHELL_BUSY
    command.send_signal("INT")
    await owner.finished()
    for text, reason in (
        ("", RefusalReason.BAD_TEXT),
        ("a\0b", RefusalReason.BAD_TEXT),
        ("x" * (MAX_SCRIPT_BYTES + 1), RefusalReason.TOO_LONG),
    ):
        with pytest.raises(JobRefused) as caught:
            rig.begin(text)
        assert caught.value.reason is reason
    assert await rig.output("echo probe") == "probe\n"


@pytest.mark.exhaustive
@asynchronous
async def test_longest_text(rig: ShellRig) -> None:
    """A text of exactly the greatest length runs."""
    head, tail = ": '", "'; echo $((6*7))"
    text = head + "\n" * (MAX_SCRIPT_BYTES - len(head) - len(tail)) + tail
    assert await rig.output(text) == "42\n"


@asynchronous
async def test_slow_reader(rig: ShellRig) -> None:
    """A command stops while its owner has no room; no output is lost, and none goes to the next command."""
    command, owner = rig.begin(
        "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done", 1000
    )
    await owner.when(lambda: owner.room[Stream.STDOUT] == 0)
    for _ in range(300):
        if owner.endings:
            break
        owner.give_room(command, 1000)  # type: ignore[arg-type]  # any job will do
        await deferLater(reactor, 0.002)
    owner.give_room(command, 10_000_000)  # type: ignore[arg-type]
    await owner.finished()
    assert owner.stdout.replace(b"\r\n", b"\n") == b"0123456789012345678901234567890123456789\n" * 3000
    assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_no_room_at_the_end(rig: ShellRig) -> None:
    """The end of the shortest command waits until its owner has the last bytes."""
    command, owner = rig.begin("echo 12345", 2)
    await owner.when(lambda: owner.room[Stream.STDOUT] == 0)
    await deferLater(reactor, 0.1)
    assert not owner.endings
    owner.give_room(command, 1000)  # type: ignore[arg-type]  # any job will do
    await owner.finished()
    assert owner.stdout.replace(b"\r", b"") == b"12345\n"


@asynchronous
async def test_closed_output(rig: ShellRig) -> None:
    """A command that writes to a closed output is ended, a program as well as a loop of the shell; the shell lives."""
    for text in ("yes", "while :; do echo y; done"):
        command, owner = rig.begin(text)
        await owner.more_output(10)
        command.close_output(Stream.STDOUT)
        command.close_output(Stream.STDOUT)
        await owner.finished()
        assert owner.ending in (Exited(141), Exited(130), Exited(1))
        assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_terminate(rig: ShellRig) -> None:
    """`terminate` interrupts the command, and the shell lives."""
    await rig.run("X=kept")
    command, owner = rig.begin("while :; do :; done")
    await until(lambda: command.has_begun)
    command.terminate()
    command.terminate()
    await owner.finished()
    assert owner.ending == Exited(130)
    assert await rig.output("echo $X") == "kept\n"


@asynchronous
async def test_terminate_and_a_lost_interrupt(rig: ShellRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """X-08: a shell that has missed the interrupt of its own loop is interrupted again, and lives."""
    monkeypatch.setattr("twisted_rsh.execution.shells.command.STEP_SECONDS", 0.3)
    command, owner = rig.begin("echo go; while :; do :; done")
    await owner.more_output(1)
    lost: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(rig.shell, "interrupt", lost.append)
        command.terminate()
    assert lost == [signal.SIGINT]
    await owner.finished()
    assert owner.ending == Exited(130)
    assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_terminate_stubborn_program(rig: ShellRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """X-08: a program that ignores INT and TERM is killed, and the shell lives."""
    monkeypatch.setattr("twisted_rsh.execution.shells.command.STEP_SECONDS", 0.3)
    command, owner = rig.begin("sh -c \"trap '' INT TERM; echo go; while :; do sleep 0.01; done\"")
    await owner.more_output(1)
    command.terminate()
    await owner.finished()
    assert owner.ending in (Exited(137), Exited(130))
    assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_terminate_stubborn_shell(rig: ShellRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that does not come back from a command is killed with it."""
    monkeypatch.setattr("twisted_rsh.execution.shells.command.STEP_SECONDS", 0.2)
    command, owner = rig.begin("trap '' INT; echo go; while :; do :; done")
    await owner.more_output(1)
    command.terminate()
    await owner.finished()
    assert owner.ending == Signalled("KILL")
    await rig.ended()


@asynchronous
async def test_signals(rig: ShellRig) -> None:
    """TERM reaches the program and not the shell; a signal that this system lacks reaches neither."""
    command, owner = rig.begin("sh -c 'echo go; exec sleep 30'")
    await owner.more_output(1)
    command.send_signal("NONE")
    command.send_signal("TERM")
    await owner.finished()
    assert owner.ending == Exited(143)
    assert await rig.output("echo probe") == "probe\n"


@asynchronous
async def test_suspend_and_continue(rig: ShellRig) -> None:
    """Ctrl-Z suspends a command, an ending other than exit code 148, and `fg` continues it."""
    if rig.shell.process.feed is None:
        return
    command, owner = rig.begin("sh -c 'echo go; sleep 1; echo done'")
    await owner.more_output(1)
    # Not while sh starts the other program: stopped between vfork and exec, neither of them can go on.
    await deferLater(reactor, 0.2)
    command.write_input(b"\x1a")
    await owner.finished()
    assert owner.ending == Stopped("TSTP")
    assert await rig.status("sh -c 'exit 148'") == Exited(148)
    if "zsh" in rig.path:
        assert b"done" in (await rig.run("fg")).stdout
        return  # zsh loses a job that `fg` inside of a list has continued and that is suspended again
    command, owner = rig.begin("fg")
    await owner.when(lambda: b"sh -c" in owner.stdout)
    await deferLater(reactor, 0.2)
    command.write_input(b"\x1a")
    await owner.finished()
    assert owner.ending == Stopped("TSTP")
    owner = await rig.run("fg")
    assert b"done" in owner.stdout
    assert owner.ending == Exited(0)


@asynchronous
async def test_key_that_suspends_is_no_interrupt(rig: ShellRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that Ctrl-Z has suspended is suspended, however soon the shell has the terminal again."""
    if rig.shell.process.feed is None:
        return
    command, owner = rig.begin("sh -c 'echo go; exec sleep 30'")
    await owner.more_output(1)
    monkeypatch.setattr(rig.shell.process.transport, "foreground_group", lambda: rig.shell.pid)
    command.write_input(b"\x1a")
    await owner.finished()
    assert owner.ending == Stopped("TSTP")
    monkeypatch.undo()
    await rig.run("kill -KILL %1")


@asynchronous
async def test_size(rig: ShellRig) -> None:
    """A terminal has the size of the request, and can be resized."""
    if rig.shell.process.feed is None:
        rig.shell.resize(10, 10)
        return
    assert await rig.output("stty size") == "43 132\n"
    rig.shell.resize(100, 50)
    assert await rig.output("stty size") == "50 100\n"


@asynchronous
async def test_leaving(rig: ShellRig) -> None:
    """After the end of its own input the shell finishes its command and exits."""
    _, owner = rig.begin("sleep 0.1; echo ready")
    rig.shell.end_input()
    with pytest.raises(JobRefused):
        rig.begin("echo")
    await owner.finished()
    assert owner.ending == Exited(0)
    await rig.ended()
    assert rig.owner.ending == Exited(0)
    rig.shell.terminate()
    rig.shell.write_input(b"x")
    rig.shell.close_output(Stream.STDOUT)


@asynchronous
async def test_terminate_the_shell(rig: ShellRig) -> None:
    """`terminate` of the shell sends HUP to it, and ends its command too."""
    command, owner = rig.begin("sleep 60")
    await until(lambda: command.has_begun)
    rig.shell.terminate()
    await owner.finished()
    await rig.ended()
    assert owner.ending == rig.owner.ending
    assert owner.ending in (Signalled("HUP"), Exited(129), Exited(1))


@asynchronous
async def test_end_before_the_beginning(rig: ShellRig) -> None:
    """A command that the shell had not begun when it ended did not run, and no status is made up for it."""
    await rig.output("trap 'exit 0' TERM")
    assert rig.shell.pid is not None
    os.kill(rig.shell.pid, signal.SIGSTOP)
    command, owner = rig.begin("echo ran")
    await until(lambda: command.number > 0)
    os.kill(rig.shell.pid, signal.SIGTERM)
    os.kill(rig.shell.pid, signal.SIGCONT)
    await owner.finished()
    # Which of the two the shell takes first, the line or the signal, is for the system.
    if owner.stdout:
        assert isinstance(owner.ending, Exited)
    else:
        assert owner.ending == Refused(
            RefusalReason.SHELL_GONE, "the shell has ended with status 0, before it began the command"
        )
    await rig.leave()  # dash may not look at the signal before its next line


@pytest.mark.parametrize("way", ["exit 3", "exec false", "kill -KILL $$"])
@asynchronous
async def test_order_of_the_ends(rig: ShellRig, way: str) -> None:
    """The shell's owner hears of its end before the owner of the command, which then knows that there is no shell."""
    await rig.ready()
    _, owner = rig.begin(way)
    heard: list[bool] = []
    owner.finished().addCallback(lambda _: heard.append(bool(rig.owner.endings)))
    await rig.ended()
    await owner.finished()
    assert heard == [True]
