"""zsh."""

from __future__ import annotations

from twisted_rsh.execution.shells.evaluation import Evaluation, Syntax
from twisted_rsh.execution.shells.talk import Dialect

__all__ = ["ZSH"]


def _guard(report: bytes) -> bytes:
    return b"precmd() { %s; }" % report


def _watch(command: bytes, report: bytes) -> bytes:
    # When an interrupt ends a loop of built-in commands, `eval` returns 2, or the status of the last of them.
    report_interrupt = b"[[ ${TRY_BLOCK_INTERRUPT-} = 1 ]] && precmd() { %s; }" % report
    return b"{ %s; } always { { %s; } >/dev/null 2>&1; }" % (command, report_interrupt)


ZSH: Dialect = Evaluation(
    name="zsh",
    clean=(b"-f", b"-i", b"+o", b"zle"),
    own=(b"-i", b"+o", b"zle"),
    syntax=Syntax(
        opening=b"unset HISTFILE; MAILCHECK=0; setopt interactivecomments",
        builtin=rb"\builtin",
        restore=(
            rb"\builtin unfunction -m precmd preexec periodic; precmd_functions=() preexec_functions=() "
            rb"periodic_functions=() PS1= PS2=; \builtin unsetopt zle promptcr promptsp verbose banghist"
        ),
        guard=_guard,
        watch=_watch,
    ),
)
"""zsh, 5.0 and later.  A ``#`` begins a comment, as in its scripts."""
