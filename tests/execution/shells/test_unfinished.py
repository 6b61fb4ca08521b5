"""Texts that are not whole: such a command has one status, and the next one is untouched."""

from __future__ import annotations

from collections.abc import Sequence as Several
from pathlib import Path

import pytest

from tests.execution.fidelity.outcomes import Outcome
from tests.execution.fidelity.plain import plain_outcome
from tests.execution.fidelity.sequences import Sequence
from tests.execution.owners import asynchronous
from tests.execution.real_shells import KINDS, ShellRig
from twisted_rsh.core.endings import Exited

BACKSLASHES = ("echo a \\", "true \\", "\\", "f 2>&- \\", "false \\", "echo a; \\", "echo 'a' \\\n\\", "v=2 \\")
"""A script that ends in a backslash is whole: what is continued is nothing."""

UNFINISHED = (
    *(
        "echo 'a",
        'echo "a',
        "echo `echo a",
        "echo $(echo a",
        "echo ${v",
        "echo $((1 +",
        "echo a'b\"",
        "echo \"$(echo '",
    ),
    *("( echo a", "{ echo a", "if true; then echo a", "if true", "for i in 1 2; do echo $i", "while false; do :"),
    *("until true", "case x in", "case x in x) echo a", "f() {", "f()", "echo a |", "true &&", "false ||", "! (true"),
    *("echo a; (echo b; {", "echo a\nif true; then", "echo a # 'x\n'", "( ( echo", "cat <<END\n$(echo"),
)
"""Texts that a shell refuses at their end."""


def script(text: str) -> Sequence:
    """Return a sequence of one command."""
    return Sequence(text, (), (text,), ("",), False)


async def outcome(rig: ShellRig, text: str) -> Outcome:
    """Run a command in a shell that lives on; leave out its messages, in whose words the lines are counted."""
    owner = await rig.run(text)
    assert isinstance(owner.ending, Exited), (text, owner.ending)
    return Outcome(owner.ending.code, owner.stdout.decode(), "")


@pytest.mark.parametrize("tried", [BACKSLASHES[:3], pytest.param(BACKSLASHES, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_backslash_at_the_end(tmp_path: Path, shell: str, on_terminal: bool, tried: Several[str]) -> None:
    """A backslash at the end of a text continues nothing: the command runs, and the next is not its continuation."""
    rig = ShellRig(tmp_path, shell, on_terminal)
    await rig.ready()
    for text in tried:
        plain = plain_outcome(shell, script(text), False)
        ours = await outcome(rig, text)
        # A plain shell's file ends in a newline behind the backslash; where that makes another word, ours may, too.
        assert (ours.status, ours.stdout.replace("\r\n", "\n")) == (plain.status, plain.stdout), text
        assert await rig.output("echo next") == "next\n", text
    await rig.leave()


@pytest.mark.parametrize("tried", [UNFINISHED[::8], pytest.param(UNFINISHED, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_unfinished_texts(tmp_path: Path, shell: str, on_terminal: bool, tried: Several[str]) -> None:
    """A text that breaks off fails as a command, with a message, and the shell goes on with what it knew."""
    rig = ShellRig(tmp_path, shell, on_terminal)
    await rig.ready()
    await rig.run("v=kept")
    for text in tried:
        ours = await outcome(rig, text)
        # In zsh some of them are whole.
        assert (ours.status != 0) == (plain_outcome(shell, script(text), False).status != 0), text
        assert await rig.output('echo "$v $?"') == f"kept {ours.status}\n", text
    await rig.leave()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@asynchronous
async def test_unfinished_texts_of_some_shells(tmp_path: Path, shell: str) -> None:
    """So it is with the syntax that only some shells have."""
    rig = ShellRig(tmp_path, shell)
    await rig.ready()
    for text in ("a=(1 2", "[[ a", "[[ a == a &&", "echo $'a", "cat < <(echo", "echo >(", "function f {", "(( 1 +"):
        assert (await outcome(rig, text)).status != 0, text
        assert await rig.output("echo next") == "next\n", text
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_unfinished_here_document(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A here-document without its last line ends with the text, as in a script."""
    rig = ShellRig(tmp_path, shell, on_terminal)
    await rig.ready()
    for text in ("cat <<END\nopen", "cat <<'END'\nopen", "cat <<-END\n\topen", "true; cat <<END && true\nopen"):
        assert (await outcome(rig, text)).stdout.endswith(("open", "open\n", "open\r\n")), text
        assert await rig.output("echo next") == "next\n", text
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_text_that_closes_what_it_did_not_open(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A closing word or bracket without an opening one is an error of its text, and cannot reach out of it."""
    rig = ShellRig(tmp_path, shell, on_terminal)
    await rig.ready()
    for text in (
        "}",
        ")",
        "fi",
        "done",
        "esac",
        "}; echo out; {",
        "); echo out; (",
        "' } '\n}",
        "echo a\n}\necho b\n{",
    ):
        ours = await outcome(rig, text)
        assert ours.status != 0, text
        assert "out" not in ours.stdout.splitlines(), text
        assert await rig.output("echo next") == "next\n", text
    await rig.leave()
