"""A command in a persistent shell sees nothing of how it got there: rules, traces and traps are those of a prompt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.execution.blindness import blindness
from tests.execution.fidelity.plain import plain_outcome
from tests.execution.fidelity.sequences import Sequence
from tests.execution.owners import asynchronous
from tests.execution.real_shells import KINDS, ShellRig
from twisted_rsh.core.endings import Exited

TERMINALS = [False, True]


async def started(tmp_path: Path, shell: str, on_terminal: bool) -> ShellRig:
    """Return a shell that takes commands."""
    rig = ShellRig(tmp_path, shell, on_terminal)
    await rig.ready()
    return rig


async def both(rig: ShellRig, text: str) -> str:
    """Run a command and return what it wrote to both outputs, the standard output first on pipes."""
    owner = await rig.run(text)
    return (owner.stdout + owner.stderr).decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_failures_that_set_e_forgives(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """Under ``set -e`` a failure that was tested or negated leaves the shell alive, with its status."""
    rig = await started(tmp_path, shell, on_terminal)
    await rig.run("set -e")
    for text in (
        *("[ -f /no ] && echo y", "! true", "false && true", "false || false || true", "if false; then :; fi"),
        *("while false; do :; done", "until true; do :; done", "! { true; }", "false && echo a; true", "! true | true"),
        *(
            "test -n '' && echo y",
            "f() { false; true; }; f || true",
            "{ false && true; }",
            "(exit 3) || true",
            "! (true)",
        ),
    ):
        owner = await rig.run(text)
        assert rig.owner.endings == [], text
        assert isinstance(owner.ending, Exited)
        code = 1 if re.search(r"^\[|^!|^(test|false) .*&& \w+( \w)?$|^\{", text) else 0
        assert owner.ending == Exited(code), text
        assert await rig.output("echo $?") == f"{code}\n", text
    await rig.run("false")
    await rig.ended()
    assert rig.owner.ending == Exited(1)


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@pytest.mark.parametrize(
    "text",
    ["(exit 3)", "false; echo never", "{ (exit 3); }", "true && (exit 3)", "f() { return 3; }; f", "x=$(exit 3)"],
)
@asynchronous
async def test_failures_that_end_the_shell(tmp_path: Path, shell: str, on_terminal: bool, text: str) -> None:
    """Under ``set -e`` any other failure ends the shell, with its status."""
    rig = await started(tmp_path, shell, on_terminal)
    await rig.run("set -e")
    owner = await rig.run(text)
    await rig.ended()
    assert rig.owner.ending == owner.ending == Exited(1 if "never" in text else 3)
    assert owner.stdout == b""


@pytest.mark.parametrize("on_terminal", TERMINALS)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
@asynchronous
async def test_traps_of_errors(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A trap of failed commands runs once for each, with its status, and for none of ours."""
    rig = await started(tmp_path, shell, on_terminal)
    assert await rig.output("trap 'echo E $?' ERR; false") == "E 1\n"
    assert await rig.output("false") == "E 1\n"
    assert await rig.output("echo a; (exit 4); echo b") == "a\nE 4\nb\n"
    assert await rig.output("true") == ""
    assert await rig.output("false || true; ! true") == ""
    await rig.run("trap - ERR")
    assert await rig.output("false") == ""
    await rig.leave()


@pytest.mark.parametrize("on_terminal", TERMINALS)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
@asynchronous
async def test_traps_of_each_command(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A DEBUG trap runs before the user's commands only."""
    rig = await started(tmp_path, shell, on_terminal)
    await rig.run("trap 'echo D' DEBUG")
    assert await rig.output("echo a") == "D\na\n"
    assert await rig.output("echo a; echo b") == "D\na\nD\nb\n"
    assert await rig.output("trap - DEBUG") == "D\n"
    assert await rig.output("echo c") == "c\n"
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_trace(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A trace shows the user's commands only."""
    rig = await started(tmp_path, shell, on_terminal)
    await rig.run("PS4='+ '")
    assert await both(rig, "set -x") == ""
    assert (await both(rig, "echo a")).split("\n") in (["a", "+ echo a", ""], ["+ echo a", "a", ""])
    assert await both(rig, "(exit 3)") == "+ exit 3\n"
    assert "3\n" in await both(rig, "echo $?")
    assert await both(rig, "v=1") == ("+ v=1 \n" if shell == "zsh" else "+ v=1\n")
    assert await both(rig, "set +x") == "+ set +x\n"
    assert await both(rig, "echo a") == "a\n"
    await rig.leave()


@pytest.mark.parametrize("on_terminal", TERMINALS)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
@asynchronous
async def test_last_word(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """``$_`` is the last word of the command before."""
    rig = await started(tmp_path, shell, on_terminal)
    await rig.run("echo one 'two words'")
    assert await rig.output("echo $_") == "two words\n"
    assert await rig.output("echo again; echo $_") == "again\nagain\n"
    await rig.run("mkdir made")
    assert await rig.output("cd $_ && pwd") == f"{tmp_path}/made\n"
    await rig.leave()


@pytest.mark.parametrize("on_terminal", TERMINALS)
@pytest.mark.parametrize(("shell", "name"), [("bash", "${PIPESTATUS[*]}"), ("zsh", "$pipestatus")])
@asynchronous
async def test_statuses_of_a_pipeline(tmp_path: Path, shell: str, name: str, on_terminal: bool) -> None:
    """The statuses of a pipeline's commands are there in the next command."""
    rig = await started(tmp_path, shell, on_terminal)
    await rig.run("false | true | (exit 3)")
    assert await rig.output(f"echo {name}") == "1 0 3\n"
    assert await rig.output(f"echo {name}") == "0\n"
    await rig.run("(exit 5)")
    assert await rig.output(f"echo {name} $?") == "5 5\n"
    assert await rig.output(f"true | false; echo {name}") == "0 1\n"
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_line_numbers(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """The lines of a text are counted from one in the first command, and one by one."""
    rig = await started(tmp_path, shell, on_terminal)
    text = "echo $LINENO; echo $LINENO\n\necho $LINENO\nf() {\necho\n}\nf $LINENO\necho $LINENO"
    plain = plain_outcome(shell, Sequence("lines", (), (text,), ("",), False), False)
    assert plain.stdout.startswith("1\n1\n3\n") or shell == "dash"  # which may be built without
    assert await rig.output(text) == plain.stdout
    if shell != "dash":
        first, second = [int(line) for line in (await rig.output("echo $LINENO\n\necho $LINENO")).split()]
        assert second == first + 2
    await rig.leave()


@pytest.mark.parametrize("on_terminal", TERMINALS)
@asynchronous
async def test_history_of_bash(tmp_path: Path, on_terminal: bool) -> None:
    """The history has what the user typed, if they want one, and nothing of ours."""
    rig = await started(tmp_path, "bash", on_terminal)
    assert await rig.output("history") == ""
    await rig.run("set -o history")
    await rig.run("echo one")
    await rig.run("for i in 1 2; do\necho $i\ndone")
    listed = (await rig.output("history")).replace("; echo $i; done", "\necho $i\ndone").replace("do echo", "do\necho")
    assert listed == "    1  echo one\n    2  for i in 1 2; do\necho $i\ndone\n    3  history\n"
    assert (await rig.output("fc -ln 1 1")).strip() == "echo one"
    await rig.leave()


@pytest.mark.parametrize("on_terminal", TERMINALS)
@asynchronous
async def test_prompts_of_bash(tmp_path: Path, on_terminal: bool) -> None:
    """A user's prompt hook runs once for each command and sees its status; the prompts keep their values."""
    rig = await started(tmp_path, "bash", on_terminal)
    await rig.run("n=0; PROMPT_COMMAND='seen=$?; n=$((n + 1))'; PS1='mine> ' PS2='more> '")
    await rig.run("n=0")
    await rig.run("(exit 7)")
    assert await rig.output('echo "$? $seen $n"') == "7 7 2\n"
    assert await rig.output('echo "$PS1|$PS2|"') == "mine> |more> |\n"
    assert await rig.output('echo "$PROMPT_COMMAND"') == "seen=$?; n=$((n + 1))\n"
    assert await both(rig, "PS0='ready '") == ""
    assert await rig.output('echo "$PS0|"') in ("ready |\n", "ready ready |\n")
    await rig.leave()


@pytest.mark.parametrize("on_terminal", TERMINALS)
@asynchronous
async def test_hooks_of_zsh(tmp_path: Path, on_terminal: bool) -> None:
    """A user's hooks run once for each command and see its status; the prompts keep their values."""
    rig = await started(tmp_path, "zsh", on_terminal)
    await rig.run("n=0 m=0; precmd() { seen=$?; (( n += 1 )) }; preexec() { (( m += 1 )) }; PS1='mine> '")
    await rig.run("n=0 m=0")
    await rig.run("(exit 7)")
    assert await rig.output('echo "$? $seen $n $m"') == "7 7 2 2\n"
    assert await rig.output('echo "$PS1|"') == "mine> |\n"
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_no_noise(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """Signals that end children, pipes that break and the shell's own exit leave no words of an interactive shell."""
    rig = await started(tmp_path, shell, on_terminal)
    assert await both(rig, "yes | head -n 1") == "y\n"
    for name in ("TERM", "KILL", "HUP", "PIPE", "USR1"):
        written = await both(rig, f"sh -c 'kill -{name} $$'; echo $?")
        assert "tcsetattr" not in written
        assert "ioctl" not in written
    killed = await both(rig, "sh -c 'kill -KILL $$'")
    # A script of bash says it, too; on pipes an interactive bash cannot be made to.
    assert "Killed" in killed or shell == "zsh" or (shell == "bash" and not on_terminal)
    assert await both(rig, "true & wait") == "" or on_terminal
    owner = await rig.run("echo bye; exit 3")
    await rig.ended()
    written = (owner.stdout + owner.stderr + rig.owner.stdout + rig.owner.stderr).decode().replace("\r\n", "\n")
    assert (written, rig.owner.ending) == ("bye\n", Exited(3))


@pytest.mark.parametrize("on_terminal", TERMINALS)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
@asynchronous
async def test_process_substitution(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """What a process substitution writes a moment later is the command's."""
    rig = await started(tmp_path, shell, on_terminal)
    assert await rig.output("seq 3 > >(tac)") == "3\n2\n1\n"
    assert await rig.output("echo x > >(sleep 0.05; tr x y)") == "y\n"
    assert await rig.output("echo a | tee >(tr a b) >/dev/null") == "b\n"
    assert await rig.output("echo next") == "next\n"
    with blindness():  # without a look, another process may be there that writes
        assert await rig.output("echo x > >(sleep 0.05; tr x y)") == "y\n"
    await rig.leave()
