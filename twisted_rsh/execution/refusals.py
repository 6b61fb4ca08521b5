"""Why a process was not started: from what the system says to a refusal that a client may act on."""

from __future__ import annotations

import errno
import os

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.execution.plan import SpawnPlan, shown
from twisted_rsh.execution.terminal import TerminalUnavailable
from twisted_rsh.interfaces import JobRefused

__all__ = ["refusal_of"]

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
