"""The dialects, by the names of the shells' programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from twisted_rsh.execution.shells.bash import BASH
from twisted_rsh.execution.shells.dash import DASH
from twisted_rsh.execution.shells.talk import Dialect
from twisted_rsh.execution.shells.zsh import ZSH

__all__ = ["DIALECTS", "dialect_of"]

DIALECTS: Mapping[bytes, Dialect] = MappingProxyType(
    {b"bash": BASH, b"rbash": BASH, b"dash": DASH, b"ash": DASH, b"sh": DASH, b"zsh": ZSH}
)
"""The dialect of each known shell, by the name of its program."""


def dialect_of(executable: bytes) -> Dialect | None:
    """Look up a shell's dialect by the name of its program.

    :param executable: absolute path.  The target of a symbolic link, such as ``/bin/sh``, counts before the link.
    :returns: the dialect, or ``None`` for an unknown program.
    """
    real = os.path.basename(os.path.realpath(executable))
    return DIALECTS.get(real) or DIALECTS.get(os.path.basename(executable))
