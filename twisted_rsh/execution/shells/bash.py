r"""GNU bash, also under the name ``sh``."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass

from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.shells.bash_talk import BashTalk
from twisted_rsh.execution.shells.evaluation import WITHHELD, Evaluation, Syntax, unwatched
from twisted_rsh.execution.shells.folder import PrivateFolder
from twisted_rsh.execution.shells.talk import TalkListener, quoted

__all__ = ["BASH", "OLD_BASH", "TypedBash"]


def _guard(report: bytes) -> bytes:
    return b"PROMPT_COMMAND=" + quoted(report)


OLD_BASH = Evaluation(
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
"""GNU bash, 3.2 and later, by evaluation."""


@dataclass(frozen=True, slots=True)
class TypedBash:
    """The dialect of a bash that is new enough to report at its prompt."""

    name: str = "bash"

    def arguments(self, *, startup_files: bool) -> tuple[bytes, ...]:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.arguments`."""
        return () if startup_files else (b"--noprofile", b"--norc", b"--noediting")

    def withheld(self, *, startup_files: bool) -> frozenset[bytes]:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.withheld`."""
        return WITHHELD - {b"HISTFILE"} if startup_files else WITHHELD

    def start_talk(
        self, reactor: IJobReactor, plan: SpawnPlan, folder: PrivateFolder, listener: TalkListener
    ) -> BashTalk:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.start_talk`."""
        return BashTalk(reactor, plan, folder, listener)


BASH = TypedBash()
"""GNU bash, 5.1 and later."""
