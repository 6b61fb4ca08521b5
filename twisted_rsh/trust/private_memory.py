"""The memory of a process that holds private keys, which no debugger and no core file may show.

The programs call :func:`hide_memory`; an application decides for itself, as it changes the whole process.  OpenSSH's
agent does the same.  Source: prctl(2), ``PR_SET_DUMPABLE``.
"""

from __future__ import annotations

import ctypes
import sys

__all__ = ["hide_memory"]

_PR_SET_DUMPABLE = 4
"""From ``linux/prctl.h``."""


def hide_memory() -> bool:
    """Keep the memory of this process from core files and from other processes of the same user, from now on.

    Those cannot trace it, nor read its ``/proc/PID/mem``, ``environ`` or ``fd``; root still can.  A program that this
    process executes is not affected, and this process itself still reads its own ``/proc/self``.

    :returns: whether it is so; ``False`` where the system is not Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    result: int = ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return result == 0
