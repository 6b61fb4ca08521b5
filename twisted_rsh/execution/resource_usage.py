"""What a process took, as the protocol tells it."""

from __future__ import annotations

import resource
import sys

from twisted_rsh.core.endings import ResourceUsage

__all__ = ["MAXRSS_UNIT", "resource_usage"]

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ``ru_maxrss``: getrusage(2) counts KiB on Linux and the BSDs, bytes on macOS."""


def resource_usage(wall: float, usage: resource.struct_rusage) -> ResourceUsage:
    """Put together what is told of a job that has ended.

    :param wall: seconds from its start to its end; what a clock that was set back makes negative is 0.
    :param usage: what wait4(2) said of its first process, which includes what that has waited for.
    :returns: the value for :class:`twisted_rsh.core.endings.JobEnd`.
    """
    return ResourceUsage(
        wall=max(0.0, wall),
        user=usage.ru_utime,
        system=usage.ru_stime,
        peak_memory=usage.ru_maxrss * MAXRSS_UNIT,
    )
