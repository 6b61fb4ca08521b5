"""What is zsh's alone: its hooks and prompts, its history, its start-up files, asides, and reports that are lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.execution.owners import asynchronous, reactor
from tests.execution.real_shells import RecordingOwner, ShellRig, account
from tests.tools import require_tool
from twisted_rsh.core.endings import Exited, OutcomeUnknown
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells.evaluation import Evaluation
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.execution.shells.shell import ShellJob, start_shell
from twisted_rsh.execution.shells.zsh import OLD_ZSH, ZSH, zsh_dialect
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees

TERMINALS = pytest.mark.parametrize("on_terminal", [False, True], ids=["pipes", "terminal"])


async def started(home: Path, on_terminal: bool = False) -> ShellRig:
    """Return a ready zsh."""
    rig = ShellRig(home, "zsh", on_terminal)
    await rig.ready()
    return rig


@TERMINALS
@asynchronous
async def test_hooks_of_the_user(tmp_path: Path, on_terminal: bool) -> None:
    """The user's own hooks run as at a prompt, also when they replace the arrays; no prompt is printed, and kept."""
    rig = await started(tmp_path, on_terminal)
    await rig.run("precmd() { echo before the prompt; }; preexec() { echo go; }; PS1='one> ' PS2='two> '; setopt zle")
    assert await rig.output("echo $PS1$PS2") == "go\none> two> \nbefore the prompt\n"
    await rig.run("unfunction precmd preexec; precmd_functions=() preexec_functions=(); false")
    assert await rig.output('echo "$?"; echo $PS1') == "1\none> \n"
    await rig.leave()


@TERMINALS
@asynchronous
async def test_line_editor_stays_off(tmp_path: Path, on_terminal: bool) -> None:
    """The line editor would read the next text from the terminal; it is off again whenever a text has it on."""
    rig = await started(tmp_path, on_terminal)
    for text in ("setopt zle", "setopt zle\necho one", "unsetopt zle", "setopt ZLE; setopt prompt_sp"):
        await rig.run(text)
        await rig.run(text)
    assert await rig.output("echo on") == "on\n"
    await rig.leave()


@TERMINALS
@asynchronous
async def test_debug_trap_sees_no_hook(tmp_path: Path, on_terminal: bool) -> None:
    """A DEBUG trap, a trace and `err_exit` meet the user's commands only, in every way of running a text."""
    rig = await started(tmp_path, on_terminal)
    await rig.run("trap 'echo D' DEBUG; PS4='+ '")
    assert await rig.output("echo a\necho b") == "D\na\nD\nb\n"
    assert await rig.output("for i in 1 2; do\n echo $i\ndone") == "D\nD\n1\nD\n2\n"
    await rig.run("trap - DEBUG; setopt err_exit")
    assert await rig.output("! true; [ -f /no ] && echo y\necho on") == "on\n"
    await rig.leave()


@asynchronous
async def test_words_of_the_last_command(tmp_path: Path) -> None:
    """`$_` and `pipestatus` are those of the last command, also behind a text of several lines."""
    rig = await started(tmp_path)
    await rig.run("echo a b\nfalse | sh -c 'exit 9' x")
    assert await rig.output('echo "$pipestatus:$_:$?"') == "1 9:x:9\n"
    await rig.leave()


@asynchronous
async def test_history_is_what_was_typed(tmp_path: Path) -> None:
    """The history has the user's texts and nothing else, also those that are run as a file."""
    rig = await started(tmp_path)
    await rig.run("echo one")
    await rig.run("alias x='echo X'\nx")
    listed = await rig.output("fc -l")
    assert [line.split(None, 1)[1] for line in listed.splitlines()] == ["echo one", "alias x='echo X'\\nx"]
    await rig.leave()


@asynchronous
async def test_error_ends_the_whole_text(tmp_path: Path) -> None:
    """An error in one line of a text ends the text with 1, whether it is joined or run as a file."""
    rig = await started(tmp_path)
    for text in ("echo ${no?message}\necho NO", "setopt aliases\necho ${no?message}\necho NO", "echo a\n)"):
        owner = await rig.run(text)
        assert owner.ending == Exited(1)
        assert b"NO" not in owner.stdout
        assert await rig.output("echo $?") == "1\n"
    await rig.leave()


@asynchronous
async def test_input_of_the_user(tmp_path: Path) -> None:
    """An input that the user sets stays that of later commands, as in a script."""
    (tmp_path / "file").write_text("first\nsecond\n")
    rig = await started(tmp_path)
    await rig.run("exec <file; read x")
    assert (await rig.run("read y; echo $x $y", b"other\n")).stdout == b"first second\n"
    await rig.run("exec <&-")
    assert await rig.output("read z; echo $?") == "1\n"
    await rig.leave()


@asynchronous
async def test_long_text(tmp_path: Path) -> None:
    """A text of a megabyte, in one line or in many, arrives whole."""
    rig = await started(tmp_path)
    assert await rig.output("x='" + "a" * 1_000_000 + "'; echo ${#x}") == "1000000\n"
    assert await rig.output("wc -l <<E\n" + "line\n" * 200_000 + "E") == "200000\n"
    await rig.leave()


@asynchronous
async def test_aside_leaves_nothing(tmp_path: Path) -> None:
    """An aside sees functions and the folder; `$?`, `$_`, variables and the history are as before it."""
    rig = await started(tmp_path)
    await rig.run("f() { echo F $PWD; }; cd /; true last; false")
    owner = RecordingOwner()
    aside = rig.shell.start_command(JobRequest(command="f; cat; v=1; cd /tmp; (exit 4)", in_shell=1, aside=True), owner)
    aside.write_input(b"data")
    aside.end_input()
    await owner.finished()
    assert (owner.ending, owner.stdout) == (Exited(4), b"F /\ndata")
    assert await rig.output('echo "$? $_ ${v-unset} $PWD"') == "1 false unset /\n"
    assert "exit 4" not in await rig.output("fc -l")
    await rig.leave()


@asynchronous
async def test_hooks_gone(tmp_path: Path) -> None:
    """A shell whose hooks are all gone runs none of its input as commands unnoticed: it is declared lost."""
    rig = await started(tmp_path)
    _, owner = rig.begin("functions[__twisted_rsh]=: 2>/dev/null; eval unfunc''tion -m '*'")
    await owner.finished()
    assert isinstance(rig.owner.ending, OutcomeUnknown)
    assert "hooks" in rig.owner.ending.text


@TERMINALS
@asynchronous
async def test_interrupt_that_stops_the_hooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_terminal: bool
) -> None:
    """A zsh that reads its next command from the user's input gets one more interrupt and a line; then it is lost."""
    rig = await started(tmp_path, on_terminal)
    monkeypatch.setattr("twisted_rsh.execution.shells.zsh._reads_input", lambda pid, folder: True)
    _, owner = rig.begin("trap 'echo caught' INT; echo go; read x; echo got:$x:; read y; echo NO")
    await owner.more_output(2)
    rig.shell.interrupt(signal.SIGINT)
    await owner.when(lambda: b"got::" in owner.stdout)
    assert b"caught" in owner.stdout
    await owner.finished()
    assert isinstance(rig.owner.ending, OutcomeUnknown)
    assert b"NO" not in owner.stdout


@pytest.mark.exhaustive
@TERMINALS
@asynchronous
async def test_interrupts_of_a_tight_loop(tmp_path: Path, on_terminal: bool) -> None:
    """Each interrupt of a loop of built-in commands ends the loop, wherever it comes; a few end zsh."""
    rig = await started(tmp_path, on_terminal)
    lost = 0
    for _ in range(300):
        command, owner = rig.begin("while :; do :; done")
        command.send_signal("INT")
        await owner.finished()
        if owner.ending == Exited(1):  # zsh itself has ended (docs/shells.rst)
            await rig.owner.finished()
            rig = await started(tmp_path, on_terminal)
            lost += 1
        else:
            assert owner.ending == Exited(130)
    assert lost <= 6
    assert await rig.output("echo on") == "on\n"
    await rig.leave()


@asynchronous
async def test_no_folder(tmp_path: Path) -> None:
    """Without its private folder the shell is lost, and the command ends."""
    rig = await started(tmp_path)
    owner = await rig.run("rm -rf twisted-rsh-*; echo gone")
    assert owner.stdout == b"gone\n"
    assert rig.owner.endings


def test_old_zsh(tmp_path: Path) -> None:
    """A zsh before 5.9, and one that does not tell its version, is talked to by evaluation."""
    for number, (content, is_new) in enumerate(
        ((b"x/usr/lib/zsh/5.8.1\0", False), (b"/usr/lib/zsh/5.9\0", True), (b"/zsh/5.10\0", True), (b"", False))
    ):
        path = tmp_path / str(number)
        path.write_bytes(content)
        assert zsh_dialect(os.fsencode(path)) is (ZSH if is_new else OLD_ZSH)
    assert isinstance(OLD_ZSH, Evaluation)
    assert zsh_dialect(b"/no/such/zsh") is OLD_ZSH


@TERMINALS
@asynchronous
async def test_startup_files(tmp_path: Path, on_terminal: bool) -> None:
    """A shell with start-up files is the user's own: aliases, hooks, folder of the files; a clean one reads none."""
    files = tmp_path / "dot files"
    files.mkdir()
    (tmp_path / ".zshenv").write_text(f"ZDOTDIR='{files}'; export FROM_ENV=1\n")
    (files / ".zshrc").write_text(
        "alias hi='echo alias'; precmd() { echo hook; }; setopt promptsp vi; PS1='mine> '; echo printed; bindkey -v\n"
    )
    rig = await started(tmp_path, on_terminal)
    assert await rig.output('echo "${FROM_ENV-clean}${ZDOTDIR-}"') == "clean\n"
    await rig.leave()
    owner = RecordingOwner()
    shell = _own_shell(tmp_path, owner)
    command_owner = RecordingOwner()
    command = shell.start_command(JobRequest(command='hi; echo "$PS1$FROM_ENV $ZDOTDIR"'), command_owner)
    command.end_input()
    await command_owner.finished()
    assert command_owner.stdout.decode() == f"alias\nmine> 1 {files}\nhook\n"
    shell.end_input()
    await owner.finished()


def _own_shell(home: Path, owner: RecordingOwner) -> ShellJob:
    """Start a zsh that reads the user's start-up files."""
    request = JobRequest(shell=require_tool("zsh"), startup_files=True)
    plan = plan_shell(request, account(home))
    return start_shell(reactor, plan, owner, JobTree(JobTrees(reactor)), None, folder=str(home))
