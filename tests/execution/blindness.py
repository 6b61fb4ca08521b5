"""A machine that has no descriptor left to look at ``/proc`` with."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from twisted_rsh.execution.trees.table import SpareDescriptor

__all__ = ["blindness"]


@contextmanager
def blindness() -> Iterator[None]:
    """Let the machine have no descriptor left to look at ``/proc`` with, while a block lasts."""

    def refuse(path: str, *_: object, **__: object) -> None:
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE), path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpareDescriptor, "open", lambda self, path: refuse(path))
        patch.setattr(SpareDescriptor, "list_folder", lambda self, path: refuse(path))
        yield
