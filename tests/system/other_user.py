"""Runs a server or a client as another user of this machine, without an account of the test's making."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.running import require

__all__ = ["OTHER_USER", "other_users_command", "other_users_folder", "require_other_user"]

OTHER_USER = "nobody"
"""An account that every system has and that owns nothing."""

_BECOME = """
import ctypes, importlib, os, pkgutil, sys
import twisted_rsh

# All that may be needed, while it can still be read: the interpreter may lie where only the first user can go.
for module in pkgutil.walk_packages(twisted_rsh.__path__, "twisted_rsh."):
    importlib.import_module(module.name)
import encodings.idna
from twisted.internet import reactor

uid, gid, program, *arguments = sys.argv[1:]
os.setgroups([])
os.setgid(int(gid))
os.setuid(int(uid))
# A change of the user hides the memory (PR_SET_DUMPABLE); that of a program which this user executes is not hidden.
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
sys.exit(importlib.import_module(program).main(arguments))
"""


def require_other_user() -> None:
    """End the test unless this process may become another user: skipped, or failed where ``CI`` is set."""
    require(os.geteuid() == 0, "only root can run a program as another user")


def other_users_command(program: str) -> tuple[str, ...]:
    """Make the beginning of a command line that runs a program of ours as the other user.

    :param program: a module with a ``main``, such as ``"twisted_rsh.cli.__main__"``.
    """
    user = pwd.getpwnam(OTHER_USER)
    # Not measured: the other user cannot write where the coverage of the tests is kept.
    unmeasured = ("/usr/bin/env", "-u", "COVERAGE_PROCESS_START")
    return (*unmeasured, sys.executable, "-c", _BECOME, str(user.pw_uid), str(user.pw_gid), program)


@contextmanager
def other_users_folder() -> Iterator[Path]:
    """Give the other user a folder while a block lasts: only this user can enter pytest's own."""
    user = pwd.getpwnam(OTHER_USER)
    folder = Path(tempfile.mkdtemp(prefix="twisted-rsh-test-"))
    try:
        os.chown(folder, user.pw_uid, user.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder)
