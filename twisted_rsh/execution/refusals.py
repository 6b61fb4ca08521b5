"""Why a process was not started, or is of no use: from what the system says to a refusal that a client may act on."""

from __future__ import annotations

import errno
import os

from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown, RefusalReason, Refused, Signalled
from twisted_rsh.execution.plan import SpawnPlan, shown
from twisted_rsh.execution.terminal import TerminalUnavailable
from twisted_rsh.interfaces import JobRefused

__all__ = ["refusal_of", "shell_failure"]

_REASON_BY_ERRNO = {
    errno.ENOENT: RefusalReason.NOT_FOUND,
    errno.E2BIG: RefusalReason.TOO_LONG,
    errno.EMFILE: RefusalReason.RESOURCES,
    errno.ENFILE: RefusalReason.RESOURCES,
    errno.EAGAIN: RefusalReason.RESOURCES,
    errno.ENOMEM: RefusalReason.RESOURCES,
    errno.ENOSPC: RefusalReason.RESOURCES,
}
"""Why a process could not be started, for what a client may act on; anything else makes it not executable."""


def refusal_of(error: OSError, plan: SpawnPlan) -> JobRefused:
    """Say why the system did not start a process.

    :param error: what it said.
    :param plan: what was to be executed.
    :returns: the refusal, to be raised.
    """
    if isinstance(error, TerminalUnavailable):
        return JobRefused(RefusalReason.NO_TERMINAL, f"there is no terminal to be had: {error.strerror}")
    if error.filename == plan.cwd:
        return JobRefused(RefusalReason.BAD_CWD, f"{shown(os.fsdecode(plan.cwd))}: {error.strerror}")
    reason = _REASON_BY_ERRNO.get(error.errno or 0, RefusalReason.NOT_EXECUTABLE)
    return JobRefused(reason, f"{shown(os.fsdecode(plan.executable))}: {error.strerror}")


def shell_failure(plan: SpawnPlan, ending: Ending | None, said: str) -> Refused:
    """Say in one line why a persistent shell that was started is of no use.

    :param plan: what was executed.
    :param ending: how it ended, or why it was given up; ``None`` when that is not known.
    :param said: what it printed last.
    :returns: its ending, with `SHELL_FAILED`.
    """
    name = shown(os.fsdecode(plan.executable))
    if isinstance(ending, OutcomeUnknown):
        return Refused(RefusalReason.SHELL_FAILED, f"{name}: {ending.text}")
    how = "it ended before it was ready"
    if isinstance(ending, Exited):
        how += f", with exit code {ending.code}"
    elif isinstance(ending, Signalled):
        how += f", by signal {ending.signal}"
    last = next((shown(line.strip()) for line in reversed(said.split("\n")) if line.strip()), "")
    return Refused(RefusalReason.SHELL_FAILED, f"{name}: {how}" + (f": {last}" if last else ""))
