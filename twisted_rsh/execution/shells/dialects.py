"""The dialects, by the names of the shells' programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from twisted_rsh.execution.shells.bash import OLD_BASH, bash_dialect
from twisted_rsh.execution.shells.dash import DASH, PLAIN
from twisted_rsh.execution.shells.talk import Dialect
from twisted_rsh.execution.shells.zsh import OLD_ZSH, zsh_dialect

__all__ = ["DIALECTS", "dialect_of"]

DIALECTS: Mapping[bytes, Dialect] = MappingProxyType(
    {b"bash": OLD_BASH, b"rbash": OLD_BASH, b"dash": DASH, b"ash": PLAIN, b"sh": PLAIN, b"zsh": OLD_ZSH}
)
"""The dialect of each known shell, by the name of its program; a bash and a zsh are asked for their version besides."""


def dialect_of(executable: bytes) -> Dialect | None:
    """Look up a shell's dialect by the name of its program.

    :param executable: absolute path.  The target of a symbolic link, such as ``/bin/sh``, counts before the link.
    :returns: the dialect, or ``None`` for an unknown program.
    """
    real = os.path.basename(os.path.realpath(executable))
    dialect = DIALECTS.get(real) or DIALECTS.get(os.path.basename(executable))
    if dialect is OLD_ZSH:
        return zsh_dialect(executable)
    if dialect is OLD_BASH:
        return bash_dialect(executable)
    return PLAIN if dialect is DASH and not os.path.exists("/proc/self/fd") else dialect
