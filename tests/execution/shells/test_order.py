"""Persistent shells under odd input: every command gets its own output and ending, whatever ran before it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import deferLater

from tests.execution.owners import asynchronous, reactor
from tests.execution.real_shells import KINDS, SHELLS, ShellRig
from twisted_rsh.core.endings import Exited
from twisted_rsh.execution.shells.talk import quoted

pytestmark = pytest.mark.exhaustive

ODD = (
    "if", "echo 'open", 'echo "open', "`", "$(", "${", "cat <<X\n", "}", "{", "))", "((", "case x in", "f() {", "\\",
    "# only a comment", "  ", "\n\n", "&", "&&", "|", ";;", "<", "> /no/such/file", "< /no/such/file", "nosuchcommand",
    "PS1='noise '", "PS2='noise '", "PROMPT_COMMAND='echo noise'", "precmd() { echo noise; }",
    "set -u; : $nope; set +u",
    "set -v", ": ${x?}", "trap - INT", "unset PS1", "IFS=e", "unset IFS", "kill -INT $$", "(exit 5)", "printf x >&2",
    "alias printf=false eval=false; unalias printf eval", "set -x", "set +x", "sleep 0.05 &", "exec 5>&1", "! true",
    "read line", "cat", "printf '\\200\\377'", "return 3", "break", "eval \"'\"", "cd /no/such",
)  # fmt: skip
"""Commands that do something odd to a shell, and end."""

READING = ("read line", "cat")
"""Commands of :data:`ODD` that on a terminal wait for a key."""

SLOW = (
    "sleep 30",
    "while :; do :; done",
    "cat",
    "sh -c 'sleep 30; true'",
    "sleep 30 | cat",
    "(sleep 30)",
    "read x; sleep 30",
)
"""Commands that run until they are interrupted."""


@pytest.mark.parametrize("kind", KINDS, ids=str)
@asynchronous
async def test_steps(tmp_path: Path, kind: tuple[str, bool]) -> None:
    """After each of 300 random commands, some faulty and some interrupted, a probe returns its token and no more."""
    chance = random.Random(f"{kind} 1")
    rig = ShellRig(tmp_path, *kind)
    await rig.ready()
    choice = [text for text in ODD if not ((text in READING and kind[1]) or (text == "return 3" and kind[0] == "dash"))]
    lost = 0
    for number in range(300):
        if chance.random() < 0.12:
            command, owner = rig.begin(chance.choice(SLOW))
            await deferLater(reactor, chance.choice((0, 0, 0.001, 0.003, 0.03)))
            command.send_signal("INT")
            await owner.finished()
            if kind[0] == "zsh" and owner.ending == Exited(1):  # zsh itself has ended (docs/shells.rst)
                lost += 1
                await rig.ended()
                rig = ShellRig(tmp_path, *kind)
                await rig.ready()
        else:
            await rig.run(chance.choice(choice))
            owner = await rig.run("set +xv")
        # A notice of a background job may begin before this command, and end within it.
        begun = owner.stdout.rpartition(b"\n")[2]
        owner = await rig.run(f"echo token{number}")
        output = (begun if begun.startswith(b"[") else b"") + owner.stdout
        lines = output.replace(b"\r\n", b"\n").splitlines()
        # On a terminal a shell prints notices of background jobs at any time.  The user's own hooks run at the prompt.
        own = [line for line in lines if not line.startswith(b"[") and line != b"noise"]
        assert own == [b"token%d" % number], (number, owner.stdout)
        assert owner.ending == Exited(0)
    assert lost <= 2
    await rig.leave()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@asynchronous
async def test_last_bytes(tmp_path: Path, kind: tuple[str, bool]) -> None:
    """X-04: each of 2,000 short commands gets all of its own output and none of another's."""
    rig = ShellRig(tmp_path, *kind)
    await rig.ready()
    for number in range(2000):
        text = f"echo {number}" if number % 4 else f"/bin/echo {number}"
        assert await rig.output(text) == f"{number}\n"
    assert rig.owner.stdout == b""
    await rig.leave()


@pytest.mark.parametrize("shell", SHELLS)
@asynchronous
async def test_any_text_survives(tmp_path: Path, shell: str) -> None:
    """Any text without NUL is the same bytes after quoting and evaluating."""
    texts: list[bytes] = []

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.one_of(st.text(), st.text("'\"\\\n$`!{}#~ab"), st.binary().map(lambda data: data.decode("latin-1"))))
    def collect(text: str) -> None:
        texts.append(text.replace("\0", "").encode("utf-8", "replace"))

    collect()
    texts += [b"\xff\xfe\x81\x82\x83\x84\x85\x86\x87\x88", b"\xe4", b"\x81'", b"a\\", b"'", b"''", b"\r\n"]
    rig = ShellRig(tmp_path, shell)
    await rig.ready()
    for text in texts:
        command = b"printf '%s' " + quoted(text)
        owner = await rig.run(command.decode("utf-8", "surrogateescape"))
        assert owner.stdout == text
        assert owner.ending == Exited(0)
    await rig.leave()
