"""What a server can see of a persistent shell from outside, and its wire form in INSPECTED."""

from __future__ import annotations

import enum

from twisted_rsh.core.fields import OFFSET, Boolean, Choice, Integer, NativeText, Object, Record, Sequence, wire
from twisted_rsh.core.limits import MAX_CWD_BYTES, MAX_JOB_COMMAND_BYTES, MAX_LISTED_JOBS
from twisted_rsh.core.values import dataclass

__all__ = ["JOB", "SHELL_STATE", "BackgroundJob", "JobState", "ShellState"]


_PROCESS_ID = Integer(1, 2**31 - 1)  # the positive numbers of ``pid_t``


class JobState(enum.Enum):
    """The state of a process in the background of a shell."""

    RUNNING = "running"
    """It runs, or sleeps until it has something to do."""

    STOPPED = "stopped"
    """A signal has suspended it, as Ctrl-Z does; it goes on when it gets ``CONT``."""


@dataclass(frozen=True, slots=True)
class BackgroundJob:
    """A process that an earlier command left in the background of a shell.

    :ivar pid: its process id on the server: what ``$!`` was in the shell, for the last process of a job.
    :ivar state: whether it runs or is suspended.
    :ivar command: its arguments with spaces between, cut to
        :data:`~twisted_rsh.core.limits.MAX_JOB_COMMAND_BYTES`; bytes that are no text are surrogate escapes.
    """

    pid: int
    state: JobState
    command: str


JOB = Object(
    BackgroundJob,
    {
        "pid": ("pid", _PROCESS_ID),
        "state": ("state", Choice(JobState)),
        "command": ("command", NativeText(MAX_JOB_COMMAND_BYTES)),
    },
)
"""A background job, in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellState:
    """A look at a persistent shell and its processes, true for the moment of the look.

    :ivar folder: the folder that the shell is in, an absolute path without symbolic links; ``None`` where that is not
        known, as when the folder was removed.
    :ivar waits_for_input: whether a process of the running command is blocked in a read of the command's input or of
        its terminal, and of nothing else; ``False`` while no command runs; ``None`` where that is not known.
    :ivar jobs: the children of the shell that earlier commands left behind and that have not ended, the first started
        first; ``None`` where they are not known.
    :ivar unlisted: how many more of these there are than :data:`~twisted_rsh.core.limits.MAX_LISTED_JOBS`.
    """

    folder: str | None = wire(NativeText(MAX_CWD_BYTES), default=None)
    waits_for_input: bool | None = wire(Boolean(), default=None)
    jobs: tuple[BackgroundJob, ...] | None = wire(Sequence(JOB, MAX_LISTED_JOBS), default=None)
    unlisted: int = wire(OFFSET, default=0)


SHELL_STATE = Record(ShellState)
"""A look at a shell, as members of INSPECTED's JSON object."""
