"""The date of a line that a program adds to a file, for the person who reads the file.  No decision follows from it."""

from __future__ import annotations

import time

__all__ = ["today"]


def today() -> str:
    """Return the date of the wall clock, UTC, such as ``2026-01-31``."""
    return time.strftime("%Y-%m-%d", time.gmtime())
