r"""GNU bash, also under the name ``sh``."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
from dataclasses import dataclass

from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.shells.bash_talk import BashTalk
from twisted_rsh.execution.shells.evaluation import WITHHELD, Evaluation, Syntax, unwatched
from twisted_rsh.execution.shells.folder import PrivateFolder
from twisted_rsh.execution.shells.talk import Dialect, TalkListener, quoted

__all__ = ["BASH", "OLD_BASH", "TypedBash", "bash_dialect"]


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

_VERSION = re.compile(rb"@\(#\)Bash version (\d+)\.(\d+)")
"""What every bash has in its program file, for what(1)."""


def bash_dialect(executable: bytes) -> Dialect:
    """Return the dialect of a bash: by its version, which stands in its program file, and by its name.

    :param executable: absolute path of the program.
    """
    if os.path.basename(executable) != b"rbash" and os.path.exists("/proc/self/fd"):
        with (
            contextlib.suppress(OSError, ValueError),  # ValueError: the file is empty
            open(executable, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program,
        ):
            found = _VERSION.search(program)
            if found is not None and (int(found[1]), int(found[2])) >= (5, 1):
                return BASH
    return OLD_BASH
