"""Commands that take away what a persistent shell may report with: its command ends, or the shell is declared lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import TimeoutError as DeferTimeout
from twisted.internet.defer import ensureDeferred, gatherResults

from tests.execution.owners import asynchronous, reactor
from tests.execution.real_shells import KINDS, ShellRig
from twisted_rsh.core.endings import Exited, OutcomeUnknown, Refused, Signalled
from twisted_rsh.interfaces import JobRefused

SECONDS = 15.0
"""Seconds within which a command has ended, or the shell is declared lost: a few, on a busy machine."""

EVERYWHERE = (
    *("ulimit -n 3", "ulimit -n 0", "ulimit -n 10", "ulimit -f 0", "umask 777", "PATH=", "PATH=/nowhere; hash -r"),
    *(
        "IFS=abcdefghijklmnopqrstuvwxyz",
        "unset IFS PATH HOME",
        "set -f",
        "set -C",
        "set -a",
        "alias eval=false exec=false",
    ),
    *(
        "alias printf=false command=false builtin=false echo=false trap=false",
        "readonly PS1 PS2 PS4 IFS",
        "trap '' PIPE",
    ),
    *("printf() { return 9; }", "eval() { exit 9; }", "exec() { return 9; }", "trap() { :; }", "command() { :; }"),
    *("rm -rf twisted-rsh-*", "chmod 000 twisted-rsh-*", "rm -f twisted-rsh-*/*", "cd /; PWD=/nowhere"),
    *(
        "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-",
        "LC_ALL=nowhere",
        "LANG=zz LC_ALL=C",
        "mkdir gone; cd gone; rmdir ../gone",
    ),
    *(
        "trap 'echo T' PIPE HUP",
        "exec <&-",
        "exec 2>&-",
        "exec >&- 2>&-",
        "exec 3<>/dev/null",
        "set -u",
        "set --",
        "set -x",
    ),
    *("unset -f eval printf", "set -e", "set -o noclobber", "ulimit -s 64", "ulimit -c 0", "exec </dev/null"),
)
"""Texts that any shell takes."""

OF_BASH = (
    *("enable -n printf", "enable -n eval exec trap . source builtin command echo printf test read", "set -r"),
    *("set -o posix", "shopt -s extdebug; trap 'false' DEBUG", "trap 'exit' DEBUG", "trap 'return 1' DEBUG; set -T"),
    *(
        "unset PROMPT_COMMAND",
        "PROMPT_COMMAND=",
        "PROMPT_COMMAND=()",
        "PROMPT_COMMAND='exit'",
        "readonly PROMPT_COMMAND",
    ),
    *("PROMPT_COMMAND='('", "PROMPT_COMMAND=(false false)", "declare -r PS1=x", "exec 10>&- 11>&- 63>&- 255>&-"),
    *('for fd in {3..255}; do eval "exec $fd>&-"; done', "set -o vi; set +o emacs", "set +o vi +o emacs", "set -n"),
    *(
        "shopt -s failglob nullglob",
        "shopt -u promptvars",
        "shopt -s compat31",
        "trap 'kill -INT $$' DEBUG; trap - DEBUG",
    ),
    *(
        "bind -r '\\C-m'",
        "bind 'set editing-mode vi'",
        "bind -f /dev/null",
        "bind -x '\"a\": echo'",
        "set -o ignoreeof",
    ),
    *(
        "builtin() { :; }",
        "IGNOREEOF=100",
        "PS0='$(exit 3)'",
        "set -k",
        "HISTCONTROL=ignorespace; set -o history",
        "set -m",
    ),
    *(
        "shopt -s expand_aliases; alias if=false for=false '{'=false",
        "set -b",
        "stty sane 2>/dev/null",
        "complete -E -C false",
    ),
    *(
        "function '['() { :; }",
        "exec {x}>&1",
        "trap 'echo R' RETURN; trap 'echo E' ERR",
        "unset BASH_VERSION SHELLOPTS",
    ),
)

OF_ZSH = (
    *("unset precmd_functions preexec_functions", "precmd_functions=() preexec_functions=()", "unfunction -m '*'"),
    *(
        "unfunction precmd preexec 2>/dev/null",
        "precmd() { return 1; }",
        "preexec() { exec >/dev/null; }; unfunction preexec",
    ),
    *("disable print printf exec eval builtin echo trap", "disable -r '{' for if", "emulate -R sh", "emulate -R csh"),
    *(
        "setopt ksharrays",
        "setopt noexec",
        "unsetopt functionargzero",
        "setopt errexit",
        "setopt errreturn",
        "setopt vi",
    ),
    *("setopt shwordsplit globsubst", "readonly precmd_functions", "typeset -r precmd_functions", "trap 'false' DEBUG"),
    *(
        "setopt debugbeforecmd; trap 'setopt errexit' DEBUG",
        "zmodload -u zsh/main 2>/dev/null",
        "setopt zle",
        "set -o emacs",
    ),
    *("exec 10>&- 11>&- 12>&- 13>&-", "setopt ignoreeof", "setopt printexitvalue", "unset fpath path", "setopt xtrace"),
    *("alias -g eval=false", "alias '{'=false", "setopt cshnullcmd shnullcmd", "setopt ignorebraces ignoreclosebraces"),
    *(
        "periodic() { echo P; }; PERIOD=1",
        "TRAPDEBUG() { return 1; }",
        "TRAPZERR() { :; }",
        "setopt promptsubst; PS1='$(exit)'",
    ),
)

QUICK = ("ulimit -n 3", "set -r", "enable -n printf eval", "unset PROMPT_COMMAND precmd_functions", "exec 3>&- 9>&-")
"""What a quick run tries in each shell."""

KNOWN = (Exited, OutcomeUnknown, Signalled, Refused)


def texts(shell: str) -> tuple[str, ...]:
    """Return what is tried in a shell."""
    return EVERYWHERE + {"bash": OF_BASH, "zsh": OF_ZSH}.get(shell, ())


async def fate(home: Path, shell: str, on_terminal: bool, text: str) -> str:
    """Run a text, then commands; return what is wrong with their ends, or nothing."""
    home.mkdir()
    rig = ShellRig(home, shell, on_terminal)
    await rig.ready()
    try:
        for command in (text, "echo one", "echo two"):
            _, owner = rig.begin(command)
            await owner.finished().addTimeout(SECONDS, reactor)
            if not isinstance(owner.ending, KNOWN):
                return f"{text!r}: {command!r} ended as {owner.ending}"
    except JobRefused:
        pass  # the shell has ended
    except DeferTimeout:
        return f"{text!r}: a command did not end"
    finally:
        if not rig.owner.endings:
            rig.shell.end_input()
            force = reactor.callLater(SECONDS, rig.shell.terminate)
            await rig.ended()
            if force.active():
                force.cancel()
            else:
                text = f"{text} (and the shell could not be left)"
    return "" if isinstance(rig.owner.ending, KNOWN) else f"{text!r}: the shell ended as {rig.owner.ending}"


async def fates(tmp_path: Path, shell: str, on_terminal: bool, tried: tuple[str, ...]) -> list[str]:
    """Try texts, some at a time, each in a shell of its own; return what is wrong."""
    waiting = iter(enumerate(tried))
    wrong: list[str] = []

    async def work() -> None:
        for number, text in waiting:
            wrong.append(await fate(tmp_path / str(number), shell, on_terminal, text))

    await gatherResults([ensureDeferred(work()) for _ in range(6)], consumeErrors=True)
    return [line for line in wrong if line]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_commands_end(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """The command and the next ones end, whatever became of the shell."""
    assert await fates(tmp_path, shell, on_terminal, QUICK) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize(("shell", "on_terminal"), KINDS)
@asynchronous
async def test_all_commands_end(tmp_path: Path, shell: str, on_terminal: bool) -> None:
    """So it is with everything known that might break a report."""
    assert await fates(tmp_path, shell, on_terminal, texts(shell)) == []
