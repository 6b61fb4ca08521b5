"""What is bash's alone: its prompt, its history, its start-up files, and a report that cannot be written."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from twisted.internet.task import deferLater

from tests.conftest import async_fixture
from tests.execution.owners import PATIENCE, RecordingOwner, asynchronous, reactor, until
from tests.execution.real_shells import ShellRig, account
from tests.tools import require_tool
from twisted_rsh.core.endings import Exited, OutcomeUnknown, RefusalReason, Refused
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells.bash import BASH, OLD_BASH, bash_dialect
from twisted_rsh.execution.shells.bash_text import (
    MAX_TYPED_BYTES,
    Way,
    is_nothing,
    is_plainly_complete,
    traits_of,
    way_of,
)
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.execution.shells.shell import start_shell
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees


async def outputs(rig: ShellRig, *texts: str) -> list[str]:
    """Run commands, and return what each wrote to both outputs."""
    found = []
    for text in texts:
        owner = await rig.run(text)
        found.append((owner.stdout + owner.stderr).decode().replace("\r\n", "\n"))
    return found


@async_fixture(params=[False, True], ids=["pipes", "terminal"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ShellRig]:
    """A bash, on pipes and on a terminal."""
    rig = ShellRig(tmp_path, "bash", request.param)
    yield rig
    await rig.leave()


# The choice of a way


@pytest.mark.parametrize(
    "text",
    ["true", "echo a b; cd /tmp && ls -l | wc -l", "x=1 y='a b' cmd \"c\" $HOME ${x} >f 2>&1", "a || b -x", "ls *.c"],
)
def test_plainly_complete(text: str) -> None:
    """Rows of simple commands are known to be complete."""
    assert is_plainly_complete(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "a 'b",
        'a "b',
        "a \\",
        "a |",
        "a &&",
        "if true",
        "f() {",
        "( a",
        "cat <<E",
        "a $(",
        "a # b",
        "[[ a",
        "; a",
        "a ;; b",
        "a >",
    ],
)
def test_not_plainly_complete(text: str) -> None:
    """Whatever may want more is asked of bash."""
    assert not is_plainly_complete(text.encode())


def test_ways() -> None:
    """A text is typed, read from a file, or takes the input for good, by what it has."""

    def way(text: bytes, flags: bytes = b"hB", is_watched: bool = False) -> Way:
        return way_of(text, flags=flags, is_watched=is_watched)

    assert way(b"echo a") == Way()
    assert way(b"sleep 1 &") == way(b"exit 3") == way(b'eval "$x"') == way(b"a\nb") == Way(in_file=True)
    assert way(b"(exit 3)") == way(b"a && b >&2") == Way()
    assert way(b"exec 10>f") == way(b"exec {n}>f") == way(b"exec 3>&-") == Way(takes_input=True)
    assert way(b"exec $n>f") == way(b"exec ${n}>f") == Way(takes_input=True)
    assert way(b"sleep 1 &", flags=b"x") == way(b"sleep 1 &", is_watched=True) == way(b"return 3") == Way()
    assert way(b"set -o vi") == Way()
    assert way(b'set -o vi; eval "$x"') == Way(in_file=True, edits=True)
    assert way(b"x" * MAX_TYPED_BYTES) == Way()
    assert way(b"x" * (MAX_TYPED_BYTES + 1)) == Way(in_file=True)
    assert way(b"tee >(cat) <f\nwait $!") == Way(in_file=True, is_group=True)
    assert way(b"head -1 <(yes)\nwait $!") == Way(in_file=True, is_group=True)
    assert way(b"alias x=y\na >(b)\nx") == way(b"a >(b)\nshopt -s extglob") == Way(in_file=True)
    assert way(b"a >(b)\n. f") == way(b"a >(b)\nc", flags=b"hBv") == way(b"cat <(a)\nb") == Way(in_file=True)
    assert way(b"cat <(a)") == Way()
    names = traits_of(b"die() { exit 3; }").noticed
    assert names == {b"die"}
    assert way_of(b"die now", flags=b"", is_watched=False, noticed=names) == Way(in_file=True)
    names = traits_of(b"swap() { exec 10<&0; }").takers
    assert names == {b"swap"}
    assert way_of(b"swap", flags=b"", is_watched=False, takers=names) == Way(takes_input=True)


@pytest.mark.parametrize("text", [": ${x?}", ": ${x:?no}", ": ${a[1]?no}", ": ${@?no}", "set -eu", "set -o nounset"])
def test_what_may_stop(text: str) -> None:
    """A text of several lines is one command where a variable without a value must drop the rest."""
    assert traits_of(text.encode()).may_stop
    assert way_of(b"a\nb", flags=b"", is_watched=False, may_stop=True) == Way()
    assert way_of(b"eval a\nb", flags=b"", is_watched=False, may_stop=True) == Way(in_file=True)
    assert way_of(b"a &", flags=b"", is_watched=False, may_stop=True) == Way(in_file=True, is_group=True)


@pytest.mark.parametrize("text", ["echo ${x:-?}", "echo ${a[@]}", "echo ${#a}", "[ $x ] ? y", "set -- u", "set +u"])
def test_what_does_not_stop(text: str) -> None:
    """Another expansion or option leaves the way as it is."""
    assert not traits_of(text.encode()).may_stop


def test_nothing() -> None:
    """Blanks and remarks are nothing to run."""
    assert is_nothing(b" \n# a\n\t")
    assert not is_nothing(b"# a\nb")


def test_version(tmp_path: Path) -> None:
    """A bash before 5.1, and a program without a version, are talked to by evaluation."""
    program = tmp_path / "bash"
    for version, dialect in (("5.1.16", BASH), ("6.0", BASH), ("5.0.17", OLD_BASH), ("3.2.57", OLD_BASH)):
        program.write_text(f"x @(#)Bash version {version}(1) release GNU x")
        assert bash_dialect(os.fsencode(program)) is dialect
    program.write_text("#!/bin/sh\n")
    assert bash_dialect(os.fsencode(program)) is OLD_BASH
    assert bash_dialect(os.fsencode(tmp_path / "rbash")) is OLD_BASH


# Input taken up again


@asynchronous
async def test_line_editing(rig: ShellRig) -> None:
    """Options of line editing, however they are set, leave the shell's input and the command's alone."""
    texts = ("set -o vi", 'eval "$(set +o)"', "set -o emacs\necho a", 'x=$(set +o); eval "$x"', 'eval "$(shopt -po)"')
    for text in (*texts, "set +o emacs", 'eval "$x"', "set -o vi; echo b", "set +o vi"):
        await rig.run(text, b"echo NO\n" if rig.shell.process.feed is None else b"")
        assert await outputs(rig, "echo next") == ["next\n"], text


# The prompt


@asynchronous
async def test_prompt_of_the_user(rig: ShellRig) -> None:
    """The user's `PROMPT_COMMAND` and `PS0` run as at a prompt; `PS1` and `PS2` are kept and never printed."""
    await rig.run("PS1='one> '; PS2='two> '; n=0; PROMPT_COMMAND='n=$((n + $?))'; (exit 3)")
    assert await outputs(rig, 'echo "$PS1$PS2$?"', "echo 'a\nb'", "echo $n") == ["one> two> 3\n", "a\nb\n", "3\n"]
    await rig.run("PROMPT_COMMAND='echo PC'")
    last = "b\nzero> " if rig.shell.process.feed is None else "zero> b\n"
    assert await outputs(rig, "echo a", "PROMPT_COMMAND=; PS0='zero> '", "echo b") == ["a\nPC\n", "", last]


@asynchronous
async def test_slow_prompt_of_the_user(rig: ShellRig) -> None:
    """A hook of the user's that waits a second for a program is not taken for a shell that wants more text."""
    await rig.run("n=0; hook() { y=$(sleep ${slow-0}; echo z); n=$((n + 1)); }; PROMPT_COMMAND=hook")
    for text in ("slow=1", "true"):
        owner = await rig.run(text)
        assert owner.ending == Exited(0)
    assert await outputs(rig, "slow=0; echo $n") == ["3\n"]


@asynchronous
async def test_prompt_at_once(rig: ShellRig) -> None:
    """A prompt is there in the next command, however long bash takes to put it aside: a trap delays that here."""
    await rig.run("trap 'sleep 0.1' DEBUG; PS1='one> '")
    assert await outputs(rig, 'echo "$PS1"') == ["one> \n"]


@asynchronous
async def test_hook_taken_away(rig: ShellRig) -> None:
    """A command that takes the server's hooks away ends, and so do the next ones; the status is theirs."""
    for text in ("PROMPT_COMMAND=(); (exit 4)", "unset PROMPT_COMMAND; (exit 4)"):
        assert await rig.status(text) == Exited(4)
        assert await rig.output("echo $?") == "4\n"


@asynchronous
async def test_nothing_to_see(rig: ShellRig) -> None:
    """Traps, the trace, `$_`, `PIPESTATUS`, `$LINENO` and the history have the user's commands alone."""
    assert await outputs(rig, "echo $LINENO", "echo a\necho $LINENO", "echo $LINENO") == ["1\n", "a\n3\n", "4\n"]
    assert await outputs(rig, "false | sh -c 'exit 3'", "echo ${PIPESTATUS[*]}", "true x\ntrue y", "echo $_") == [
        "", "1 3\n", "", "y\n"
    ]  # fmt: skip
    texts = ("trap 'echo E' ERR", "false", "true", "(\nfalse )", "trap - ERR")
    assert await outputs(rig, *texts) == ["", "E\n", "", "E\n", ""]
    assert await outputs(rig, "trap 'echo \"D $BASH_COMMAND\"' DEBUG", "echo a", "trap - DEBUG") == [
        "", "D echo a\na\n", "D trap - DEBUG\n"
    ]  # fmt: skip
    await rig.run("trap 'echo E' ERR")
    failing = "true\n(exit 3) | sh -c 'exit 4'"
    assert await outputs(rig, failing, "echo ${PIPESTATUS[*]} $?", "trap - ERR") == ["E\n", "3 4 4\n", ""]
    assert await outputs(rig, "set -o history", "echo h", "history") == ["", "h\n", "    1  echo h\n    2  history\n"]


@asynchronous
async def test_top_level(rig: ShellRig) -> None:
    """Statuses that `set -e` lets pass do not end the shell."""
    texts = ("set -e", "[ -f /no ] && echo y", "! true", "eval '! true' || :", "true\n[ -f /no ] && echo y", "echo $?")
    assert (await outputs(rig, *texts))[-1] == "1\n"


@asynchronous
async def test_descriptors_of_the_user(rig: ShellRig) -> None:
    """Every descriptor above 2 is the user's, also those from 10 on."""
    found = await outputs(
        rig,
        "exec 10>f {n}>g; echo $n; echo ten >&10",
        'cat f; for fd in {3..20}; do eval "exec $fd>&-"; done',
        "echo on; exec 9>lock; flock 9",
        "flock -n lock true || echo held",
        "cat </dev/null; echo $?",
    )
    assert found == ["11\n", "ten\n", "on\n", "held\n", "0\n"]


@asynchronous
async def test_unfinished_texts(rig: ShellRig) -> None:
    """An unfinished text ends with a status, and the next one is untouched."""
    for text in ("echo 'a", 'echo "', "for i in 1 2", "if true; then", "echo $(", "{ echo a", "}", ") ; (", "; ;"):
        assert await rig.status(text) == Exited(2), text
        assert await rig.output("echo $?") == "2\n"
    for text in ("echo a \\", "true \\", "\\", "cat <<E\nabc", "}; echo x; {", "alias q='echo \"'", "q"):
        await rig.run(text)
        assert await rig.output("echo next") == "next\n", text


@asynchronous
async def test_long_and_binary(rig: ShellRig) -> None:
    """A text of 1 MB, and every byte but NUL, arrive as they are."""
    assert await rig.output("x='" + "a'\\''b" * 100_000 + "'; echo ${#x}") == "300000\n"
    binary = "".join(chr(code) for code in range(1, 128) if chr(code) not in "\n'") + "é"
    assert (await rig.output(f"printf %s '{binary}' | od -An -v -tx1 | tr -d ' \\n'")) == binary.encode().hex()
    await rig.run("set -o vi")
    assert (await rig.output(f"printf %s '{binary}' | od -An -v -tx1 | tr -d ' \\n'")) == binary.encode().hex()


# A report that cannot be written


@pytest.mark.parametrize("text", ["ulimit -n 3", "set -r"])
@asynchronous
async def test_no_report(tmp_path: Path, text: str) -> None:
    """A shell that cannot report is declared lost, with the reason, or it ends."""
    rig = ShellRig(tmp_path, "bash")
    await rig.ready()
    owner = await rig.run(text)
    await rig.ended()
    assert isinstance(owner.ending, OutcomeUnknown)
    assert "cannot report any more" in owner.ending.text


@asynchronous
async def test_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the private folder is gone, a command with an input is refused, and another ends with the shell."""
    rig = ShellRig(tmp_path, "bash")
    await rig.ready()

    def fail(**options: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    for path in tmp_path.glob("twisted-rsh-*"):
        shutil.rmtree(path)
    _, owner = rig.begin("echo")
    await owner.finished()
    assert isinstance(owner.ending, Refused)
    assert owner.ending.reason is RefusalReason.RESOURCES
    owner = await rig.run("echo without input")
    assert owner.stdout == b"without input\n"
    assert isinstance(owner.ending, OutcomeUnknown)
    await rig.ended()


# Interrupts


@asynchronous
async def test_interrupt_between_programs(tmp_path: Path) -> None:
    """On a terminal an interrupt ends a loop of short programs, whichever of them is just starting or ending."""
    rig = ShellRig(tmp_path, "bash", True)
    await rig.ready()
    for _ in range(10):
        command, owner = rig.begin("echo go; while :; do /bin/true; done")
        await owner.more_output(1)
        command.send_signal("INT")
        await owner.finished().addTimeout(4, reactor)
        assert owner.ending == Exited(130)
    await rig.leave()


@asynchronous
async def test_no_second_interrupt(tmp_path: Path) -> None:
    """With a trap bash goes on behind the program that has died, as at a terminal, and is not interrupted itself."""
    rig = ShellRig(tmp_path, "bash", True)
    await rig.ready()
    command, owner = rig.begin("trap 'echo caught' INT; echo go; sleep 5; sleep 0.3; echo end")
    await until(lambda: bool(rig.shell.signals.descendants()))
    await deferLater(reactor, 0.03)
    command.send_signal("INT")
    await owner.finished()
    assert owner.stdout.split() == [b"go", b"end"]
    await rig.leave()


# Start-up files and asides


class OwnBash(ShellRig):
    """A bash that reads the start-up files of its user."""

    def __init__(self, home: Path, startup: str) -> None:
        (home / ".bashrc").write_text(startup)
        self.path = require_tool("bash")
        self.home = home
        self.owner = RecordingOwner()
        request = JobRequest(shell=self.path, startup_files=True)
        plan = plan_shell(request, account(home))
        self.shell = start_shell(reactor, plan, self.owner, JobTree(JobTrees(reactor)), folder=str(home))

    async def aside(self, text: str) -> RecordingOwner:
        """Run an aside to its end."""
        owner = RecordingOwner()
        request = JobRequest(command=text, in_shell=1, aside=True)
        self.shell.start_command(request, owner).end_input()
        await owner.finished()
        return owner


@asynchronous
async def test_startup_file(tmp_path: Path) -> None:
    """A start-up file with a hook, a trap, another editing mode, an alias and output works as at a prompt."""
    startup = """
        n=0; PROMPT_COMMAND='n=$((n + 1))'
        trap 'echo BYE' EXIT
        set -o vi
        bind '"(": "()"' 2>/dev/null
        PS1='mine> '
        alias hi='echo hello'
        echo welcome; echo trouble >&2
    """
    rig = OwnBash(tmp_path, startup)
    await rig.ready()
    assert await outputs(rig, "hi", 'echo "$PS1"') == ["hello\n", "mine> \n"]
    before = int(await rig.output("echo $n"))
    assert int(await rig.output("echo $n")) == before + 1
    assert "echo $n" in await rig.output("history | tail -n 2")
    await rig.status("(exit 3)")
    rig.shell.end_input()
    await rig.ended().addTimeout(PATIENCE, reactor)
    assert (rig.owner.ending, rig.owner.stdout) == (Exited(3), b"BYE\n")


@asynchronous
async def test_history_changes_nothing(tmp_path: Path) -> None:
    """The history has each text once, and the next one finds what it left: `$?`, `$_`, `PIPESTATUS`, `$LINENO`."""
    rig = OwnBash(tmp_path, "alias history='history 3'\nset -o vi\n")
    await rig.ready()
    rows = (
        ("true 'a b'", 'echo "$_ $? $LINENO"', "a b 0 2\n"),
        ("false | sh -c 'exit 3'", "echo ${PIPESTATUS[*]} $?", "1 3 3\n"),
        ("false | true", "echo ${PIPESTATUS[*]} $?", "1 0 0\n"),
        ("! true | true", "echo $?", "1\n"),
        ("set -o pipefail; false | true", "echo ${PIPESTATUS[*]} $?", "1 0 1\n"),
        ("true $'t\\t\\nn\\303\\251'", 'echo "$_"', "t\t\nné\n"),
        ("set -e; (exit 4) || true", "echo $?", "0\n"),
        ("(exit 5) && :", "echo $? $LINENO", "5 16\n"),
        ("true x\ntrue y", "echo $_ $LINENO", "y 19\n"),
        ("false | true &&\n:", "set -x", ""),
        ("echo t", "set +x; (exit 6) || :", "+ set +x\n"),
    )
    for first, second, written in rows:
        assert (await outputs(rig, first, second))[1] == written, first
    listed = [line.split(maxsplit=1)[1] for line in (await rig.output(r"\history 3")).splitlines()]
    assert listed == ["echo t", "set +x; (exit 6) || :", r"\history 3"]
    await rig.leave()


@asynchronous
async def test_aside(tmp_path: Path) -> None:
    """An aside sees functions and aliases, and changes neither the shell nor what the next command finds."""
    rig = OwnBash(tmp_path, "f() { echo F $1; }\n")
    await rig.ready()
    await rig.run("false | sh -c 'exit 3' word")
    owner = await rig.aside("f a; x=2; cd /; echo 'never closed")
    assert owner.ending == Exited(2)
    owner = await rig.aside("f a; x=2; cd /; exit 5")
    assert (owner.ending, owner.stdout) == (Exited(5), b"F a\n")
    assert await rig.output('echo $? ${PIPESTATUS[*]} $x; [ / = "$PWD" ] || echo here') == "3 1 3\nhere\n"
    await rig.leave()
