"""Options that make a shell take up its input again, or edit its lines: no data is run, and no text is cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.execution.owners import asynchronous
from tests.execution.real_shells import KINDS, ShellRig
from twisted_rsh.core.endings import Exited

DATA = b"echo BAD\nexit 9\nrm -f kept\n"
"""Input that must not be taken for commands."""

EVERYWHERE = ("set -o vi", "set -o emacs", "set +o vi", 'eval "$(set +o)"', "set +m", "set -o ignoreeof")
OF_BASH = (
    *('eval "$(shopt -p)"', 'eval "$(shopt -po)"', "set -o vi; set -o emacs", "set +o emacs +o vi", "set -o history"),
    *("shopt -s expand_aliases extglob", "set -o posix", "set -o vi; set -o posix", "bind 'set editing-mode vi'"),
    *(
        "set -m",
        "set +o history; history -c",
        "set -H",
        "shopt -s cmdhist lithist",
        'eval "$(declare -p BASHOPTS)" 2>/dev/null',
    ),
)
OF_ZSH = (
    *("setopt vi", "setopt emacs", "bindkey -v", "bindkey -e", "setopt zle", "unsetopt zle", "emulate sh; emulate zsh"),
    *(
        'eval "$(emulate -L zsh; setopt)" 2>/dev/null',
        "setopt banghist",
        "setopt interactivecomments",
        "setopt monitor",
    ),
    *("for o in $(setopt); do setopt $o 2>/dev/null; done", "setopt sharehistory incappendhistory"),
)


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_input_is_not_run(tmp_path: Path, shell: str, on_terminal: bool, step: int) -> None:
    """Behind such an option a command reads its own input, and each line of a text runs once."""
    (tmp_path / "kept").touch()
    rig = ShellRig(tmp_path, shell, on_terminal)
    await rig.ready()
    for text in (EVERYWHERE + {"bash": OF_BASH, "zsh": OF_ZSH}.get(shell, ()))[::step]:
        owner = await rig.run(text)
        assert isinstance(owner.ending, Exited), text
        if not on_terminal:
            owner = await rig.run('read first; echo "$first"; cat', DATA)
            assert owner.stdout == DATA, text
            owner = await rig.run("echo unread", DATA)
            assert owner.stdout == b"unread\n", text
        assert await rig.output(f"{text}\necho one\necho two; echo three") == "one\ntwo\nthree\n", text
        assert rig.owner.endings == [], text
    assert (tmp_path / "kept").exists()
    await rig.leave()


@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_keys_of_an_editor(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """A text with the keys of a line editor arrives as it is, whatever editor is on."""
    rig = ShellRig(tmp_path, shell, on_terminal)
    await rig.ready()
    keys = "".join(map(chr, range(1, 32))).replace("\n", "") + "\x7f\x1b[A\x1bx !! !$ ^a^b^"
    for option in ("true", "set -o vi", "set -o emacs", "set +o emacs", "set -H 2>/dev/null; true"):
        await rig.run(option)
        text = await rig.output(f"printf %s '{keys}' | od -An -v -tx1")
        assert bytes.fromhex(text) == keys.encode(), option
    await rig.leave()
