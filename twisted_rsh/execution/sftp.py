"""The program behind the subsystem ``sftp``: the system's ``sftp-server``, or this package's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace

from twisted_rsh.execution.processes.spawn import SpawnPlan

__all__ = ["OFF", "OWN", "OWN_MODULE", "SYSTEM", "SYSTEM_SERVERS", "enter_own", "find_sftp"]

SYSTEM = "system"
"""The choice of the system's server, and of this package's own where the system has none."""

OWN = "own"
"""The choice of this package's own server."""

OFF = "off"
"""The choice of no server."""

SYSTEM_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)
"""Where systems have OpenSSH's server: Debian, Fedora, Arch and Alpine, the BSDs and macOS."""

OWN_MODULE = "twisted_rsh.files"
"""The module that is this package's own server."""

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def find_sftp(choice: str, program_check: Callable[[bytes], None]) -> tuple[str, ...] | None:
    """Find the server for one job; the system's may come and go while this server runs.

    :param choice: :data:`SYSTEM`, :data:`OWN`, :data:`OFF`, or the absolute path of a program.
    :param program_check: raises ``OSError`` unless its argument, an absolute path, can be executed.
    :returns: the command line, or ``None`` for no server.  Hand the plan of that of :data:`OWN_MODULE` to
        :func:`enter_own`.
    """
    if choice == OFF:
        return None
    if choice not in (SYSTEM, OWN):
        return (choice,)
    for path in SYSTEM_SERVERS if choice == SYSTEM else ():
        try:
            program_check(os.fsencode(path))
        except OSError:
            continue
        return (path,)
    # It needs the standard library alone: without site, and whatever the variables of Python say, it starts faster.
    return (sys.executable, "-ES", "-m", OWN_MODULE)


def enter_own(plan: SpawnPlan) -> SpawnPlan:
    """Complete the plan of this package's own server.

    Python looks for the module in the folder in which it starts, and the job's own folder may have any modules.  So it
    starts where this package is, and enters the job's folder itself.

    :param plan: the plan of the command line that :func:`find_sftp` returned.
    """
    if OWN_MODULE.encode() not in plan.argv:
        return plan
    return replace(plan, argv=(*plan.argv, plan.cwd), cwd=os.fsencode(_PACKAGE_ROOT))
