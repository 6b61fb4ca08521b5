r"""GNU bash, also under the name ``sh``."""

from __future__ import annotations

from twisted_rsh.execution.shells.evaluation import Evaluation, Syntax, unwatched
from twisted_rsh.execution.shells.talk import Dialect, quoted

__all__ = ["BASH"]


def _guard(report: bytes) -> bytes:
    return b"PROMPT_COMMAND=" + quoted(report)


BASH: Dialect = Evaluation(
    name="bash",
    clean=(b"--noprofile", b"--norc", b"--noediting", b"-i"),
    own=(b"--noediting", b"-i"),
    syntax=Syntax(
        opening=b"unset HISTFILE MAILCHECK; set +o history +H",
        builtin=rb"\builtin",
        # `jobs -n` consumes the notices of finished jobs, which bash would print at the next prompt, into other output.
        restore=rb"\builtin unset PROMPT_COMMAND; PS0= PS1= PS2=; \builtin set +vH; \builtin jobs -n",
        guard=_guard,
        watch=unwatched,
    ),
)
"""GNU bash, 3.2 and later, also under the name ``sh``."""
