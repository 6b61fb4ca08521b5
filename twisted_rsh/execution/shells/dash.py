"""dash, and any other plain POSIX shell."""

from __future__ import annotations

from twisted_rsh.execution.shells.evaluation import Evaluation, Syntax, unwatched
from twisted_rsh.execution.shells.talk import Dialect, quoted

__all__ = ["DASH"]


def _guard(report: bytes) -> bytes:
    return b"PS1=" + quoted(b"$(%s)" % report)


DASH: Dialect = Evaluation(
    name="dash",
    clean=(b"-i",),
    own=(b"-i",),
    syntax=Syntax(
        opening=b"unset HISTFILE; set +o emacs +o vi",
        builtin=rb"\command",
        restore=rb"PS1= PS2=; \command set +v",
        guard=_guard,
        watch=unwatched,
    ),
)
"""dash, and any other plain POSIX shell."""
