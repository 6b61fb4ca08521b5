"""Waiting for changes at a real server that no event announces."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from twisted.internet.task import deferLater

from tests.serving import reactor

__all__ = ["is_gone", "until"]

PATIENCE = 400
"""Looks at a condition, 0.05 s apart: 20 s, far more than a change takes."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that no event announces."""
    for _ in range(PATIENCE):
        if condition():
            return
        await deferLater(reactor, 0.05)
    pytest.fail("it never came")


def is_gone(pid: int) -> bool:
    """Tell whether a process is gone, and reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
