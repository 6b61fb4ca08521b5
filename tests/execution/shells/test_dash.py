"""What is dash's alone: packets, prompts, texts that need evaluation, questions that are swallowed, a lost folder."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import async_fixture
from tests.execution.owners import PATIENCE, RecordingOwner, asynchronous, reactor, until
from tests.execution.real_shells import ShellRig, account
from tests.tools import require_tool
from twisted_rsh.core.endings import Exited, OutcomeUnknown, RefusalReason, Refused, Signalled
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.shells import dash
from twisted_rsh.execution.shells.dash import DASH, MAX_EXAMINED_BYTES, MAX_PROMPT_BYTES, PLAIN
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.execution.shells.shell import start_shell
from twisted_rsh.execution.shells.talk import Dialect
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
    """A dash, on pipes and on a terminal."""
    rig = ShellRig(tmp_path, "dash", request.param)
    yield rig
    await rig.leave()


# A text as it is


@asynchronous
async def test_name_and_folder(rig: ShellRig) -> None:
    """The shell has its own name, and starts in its folder as one that never was elsewhere."""
    await rig.ready()
    texts = ('echo "$0"', 'pwd; echo "$OLDPWD"', "env | grep PWD", "nope", "cd /; cd - >/dev/null; pwd")
    name, folder, exported, wrong, back = await outputs(rig, *texts)
    assert (name, folder, exported, back) == ("dash\n", f"{rig.home}\n\n", "", f"{rig.home}\n")
    assert wrong.startswith("dash: ")
    assert wrong.endswith(": nope: not found\n")
    await rig.leave()


@asynchronous
async def test_last_word(rig: ShellRig) -> None:
    """``$_`` is the last word of the command before."""
    await rig.ready()
    assert await outputs(rig, "true a b", "echo $_", "true c d; (exit 3)", "echo $? $_") == ["", "b\n", "", "3 d\n"]
    await rig.leave()


@asynchronous
async def test_line_by_line(rig: ShellRig) -> None:
    """A line runs before the next one is read: an alias holds from there on, and an error comes at its place."""
    await rig.ready()
    await rig.run("alias greet='echo hello'\ngreet you")
    assert await outputs(rig, "alias bye='echo bye'\nbye you") == ["bye you\n"]
    owner = await rig.run("echo before\n)\necho behind")
    assert (owner.ending, owner.stdout.split(b"\r\n" if rig.shell.process.feed else b"\n")[0]) == (Exited(2), b"before")
    assert b"behind" not in owner.stdout
    assert await outputs(rig, "echo $?") == ["2\n"]
    await rig.leave()


@asynchronous
async def test_return(rig: ShellRig) -> None:
    """A ``return`` outside of a function ends dash, as it ends a script of dash."""
    await rig.ready()
    await rig.run("return 5; echo behind")
    await rig.ended()
    assert rig.owner.ending == Exited(5)


@asynchronous
async def test_signal_right_after_the_start(rig: ShellRig) -> None:
    """A background process that is killed at once ends, although an interactive dash ignores ``TERM``."""
    await rig.ready()
    for _ in range(5):
        text = "set -u; sleep 60 & p=$!; kill $p; wait $p 2>/dev/null; echo $?"
        assert (await outputs(rig, text))[0].endswith("143\n")
    await rig.run("kill $$")
    await rig.ended()
    assert rig.owner.ending == Signalled("TERM")


@asynchronous
async def test_own_input(tmp_path: Path) -> None:
    """An input that a command gives the shell itself holds for the next ones, until one has an input of its own."""
    rig = ShellRig(tmp_path, "dash")
    await rig.ready()
    await rig.run("printf 'one\\ntwo\\n' >f; exec <f")
    assert await outputs(rig, "read a; echo $a") == ["one\n"]
    assert (await rig.run("read a; echo $a", b"three\n")).stdout == b"three\n"
    assert await outputs(rig, "read a; echo $?") == ["1\n"]
    await rig.leave()


# A text that is evaluated


@asynchronous
async def test_prompts(rig: ShellRig) -> None:
    """Both prompts are the user's in a text that names them, also cut ones, and are never printed."""
    await rig.ready()
    default = "# " if os.geteuid() == 0 else "$ "
    assert await outputs(rig, 'echo "[$PS1][$PS2]"') == [f"[{default}][> ]\n"]
    texts = ("PS1='one> ' PS2=\"it's\nmore\"; (exit 3)", 'echo $? "$PS1" "$PS2"', "echo 'a\nb'", 'echo "$PS1"')
    assert await outputs(rig, *texts) == ["", "3 one>  it's\nmore\n", "a\nb\n", "one> \n"]
    long = "x" * (MAX_PROMPT_BYTES + 1)
    assert await outputs(rig, f"PS1={long}", "echo ${#PS1}") == ["", f"{MAX_PROMPT_BYTES}\n"]
    await rig.leave()


@asynchronous
async def test_verbose(rig: ShellRig) -> None:
    """``set -v`` shows the lines of the user's texts alone."""
    await rig.ready()
    texts = ("set -v", "# quiet", "# 'two\n# lines'", "set +v\n# behind", "echo x")
    assert await outputs(rig, *texts) == ["", "# quiet\n", "# 'two\n# lines'\n", "set +v\n", "x\n"]
    await rig.leave()


@pytest.mark.parametrize("size", [MAX_EXAMINED_BYTES, MAX_EXAMINED_BYTES + 1, 1 << 20])
@asynchronous
async def test_long(rig: ShellRig, size: int) -> None:
    """A text of any length runs, with the rules of ``set -e``, and leaves the next one alone."""
    await rig.ready()
    await rig.run("set -e")
    begin, end = "x='", "'; echo ${#x}; ! true"
    text = begin + "a" * (size - len(begin) - len(end)) + end
    owner = await rig.run(text)
    assert (owner.ending, owner.stdout.strip()) == (Exited(1), b"%d" % (size - len(begin) - len(end)))
    assert await outputs(rig, "echo $?") == ["1\n"]
    await rig.leave()


@asynchronous
async def test_unfinished_under_trace(rig: ShellRig) -> None:
    """An unfinished text shows nothing of ours in a trace, which goes on."""
    await rig.ready()
    await rig.run("set -x")
    (shown,) = await outputs(rig, "echo 'a")
    assert shown.startswith("dash: ")
    assert shown.endswith("Syntax error: Unterminated quoted string\n")
    assert len(shown.splitlines()) == 1
    assert sorted((await outputs(rig, "echo $?"))[0].split("\n")) == ["", "+ echo 2", "2"]
    await rig.leave()


@asynchronous
async def test_jobs_of_a_script(tmp_path: Path) -> None:
    """On a terminal dash forgets a job with the notice of its end, but not where a text keeps the job's number."""
    rig = ShellRig(tmp_path, "dash", on_terminal=True)
    await rig.ready()
    await rig.run("sh -c 'exit 3' & first=$!")
    await rig.run("sleep 0.1")
    assert (await outputs(rig, "wait $first; echo $?"))[0].endswith("3\n")
    await rig.leave()


# Packets and questions


@asynchronous
async def test_packets(rig: ShellRig) -> None:
    """A dash that finds the text and the report at once forgets only the text at an error."""
    await rig.ready()
    assert rig.shell.pid is not None
    os.kill(rig.shell.pid, signal.SIGSTOP)
    command, owner = rig.begin("echo ${x?nothing}\necho behind")
    if rig.shell.process.feed is None:
        command.end_input()
    reactor.callLater(0.05, os.kill, rig.shell.pid, signal.SIGCONT)
    await owner.finished().addTimeout(1, reactor)  # a question would come after a second
    assert owner.ending == Exited(2)
    assert b"behind" not in owner.stdout
    await rig.leave()


@asynchronous
async def test_without_packets(rig: ShellRig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a system whose FIFOs have no packets the same holds."""
    await rig.ready()
    await rig.leave()
    monkeypatch.setattr(dash, "_make_packets", lambda fd: False)
    rig = ShellRig(tmp_path, "dash", rig.shell.process.feed is not None)
    await rig.ready()
    texts = ("echo a\necho ${x?nothing}\necho b", "echo $?", ")", "echo $?", "echo 'a", "echo $?")
    found = await outputs(rig, *texts)
    assert (found[0].splitlines()[0], found[1], found[3], found[5]) == ("a", "2\n", "2\n", "2\n")
    command, owner = rig.begin("v=1; echo set; while :; do :; done")
    await until(lambda: bool(owner.stdout))
    command.send_signal("INT")
    await owner.finished()
    assert owner.ending == Exited(130)
    assert await outputs(rig, "echo $? $v") == ["130 1\n"]
    await rig.leave()


@pytest.mark.exhaustive
@asynchronous
async def test_alias_that_is_unfinished(rig: ShellRig) -> None:
    """A text that an alias makes unfinished fails within seconds, and the next one is untouched."""
    await rig.ready()
    await rig.run("k=5; alias open='echo \"'")
    owner = await rig.run("open")
    assert owner.ending == Exited(130)
    assert await outputs(rig, "echo $k") == ["5\n"]
    await rig.leave()


@pytest.mark.exhaustive
@asynchronous
async def test_report_impossible(rig: ShellRig) -> None:
    """A dash that only reads what it is told is declared lost within seconds, with a reason."""
    await rig.ready()
    owner = await rig.run("set -n")
    assert isinstance(owner.ending, OutcomeUnknown)
    assert "can report no more" in owner.ending.text
    await rig.ended()


@asynchronous
async def test_signal_before_the_beginning(tmp_path: Path) -> None:
    """A signal for a command that does not report its beginning reaches it as soon as it has begun."""
    rig = ShellRig(tmp_path, "dash")
    await rig.ready()
    for name, status in (("INT", 130), ("TERM", 143)):
        command, owner = rig.begin("sleep 60")
        command.end_input()
        command.send_signal(name)
        await owner.finished()
        assert owner.ending == Exited(status)
    await rig.leave()


@pytest.mark.exhaustive
@asynchronous
async def test_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the private folder is gone, a command with an input is refused, and another ends with the shell."""
    rig = ShellRig(tmp_path, "dash")
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
    assert isinstance(owner.ending, OutcomeUnknown)
    await rig.ended()


@asynchronous
async def test_plain(tmp_path: Path) -> None:
    """Another plain POSIX shell is talked to by evaluation."""
    rig = OwnDash(tmp_path, "", PLAIN)
    await rig.ready()
    texts = ("x=1; cd /; (exit 3)", "echo $? $x $PWD", "echo 'a", "echo $?", "cat <<E\n$x\nE")
    found = await outputs(rig, *texts)
    assert (found[1], found[3], found[4]) == ("3 1 /\n", "2\n", "1\n")
    await rig.leave()


# Start-up files and asides


class OwnDash(ShellRig):
    """A dash with the start-up file of its user, which ``ENV`` names."""

    def __init__(self, home: Path, startup: str, dialect: Dialect = DASH) -> None:
        (home / "shinit").write_text(startup)
        self.path = require_tool("dash")
        self.home = home
        self.owner = RecordingOwner()
        request = JobRequest(shell=self.path, startup_files=True, environment=(("ENV", "$HOME/shinit"),))
        plan = replace(plan_shell(request, account(home)), dialect=dialect)
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
    """A start-up file with a prompt, a trap, an alias, another folder and output works as at a prompt."""
    startup = "PS1='mine> '; trap 'echo BYE' EXIT; alias hi='echo hello'; echo welcome; mkdir d; cd d; false\n"
    rig = OwnDash(tmp_path, startup)
    await rig.ready()
    assert await outputs(rig, "hi", 'echo "$PS1"', "pwd") == ["hello\n", "mine> \n", f"{tmp_path}/d\n"]
    await rig.status("(exit 3)")
    rig.shell.end_input()
    await rig.ended().addTimeout(PATIENCE, reactor)
    assert (rig.owner.ending, rig.owner.stdout) == (Exited(3), b"BYE\n")


@asynchronous
async def test_aside(tmp_path: Path) -> None:
    """An aside sees functions and aliases, and changes neither the shell nor what the next command finds."""
    rig = OwnDash(tmp_path, "f() { echo F $1; }\n")
    await rig.ready()
    await rig.run("set -e; true word && (exit 3) && :")
    owner = await rig.aside("f a; x=2; cd /; echo 'never closed")
    assert owner.ending == Exited(2)
    owner = await rig.aside("f a; x=2; cd /; exit 5")
    assert (owner.ending, owner.stdout) == (Exited(5), b"F a\n")
    command = rig.shell.start_command(JobRequest(command="sleep 60", in_shell=1, aside=True), owner := RecordingOwner())
    command.end_input()
    command.send_signal("KILL")
    await owner.finished()
    assert owner.ending == Exited(128 + signal.SIGKILL)
    assert await rig.output('echo "$? $_ $x"; [ / = "$PWD" ] || echo here') == "3 word \nhere\n"
    await rig.leave()
