"""The programs of others that a test needs."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ["require_tool"]


def require_tool(name: str) -> str:
    """Find a program, or end the test: skipped on a developer's machine, failed where ``CI`` is set.

    :param name: the program's name.
    :returns: its path.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and with CI set no test may be skipped")
    pytest.skip(f"{name} is not installed")
