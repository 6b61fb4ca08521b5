"""The differences between plain shells and ours that are allowed, each with its reason."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FILE", "load_differences"]

FILE = Path(__file__).with_name("differences.txt")
"""One difference in a line: shell, name of the sequence, modes and reason, with `` | `` between."""


def load_differences() -> dict[tuple[str, str, str], str]:
    """Read the list.

    :returns: the reason of each, by shell, name of the sequence, and mode.
    :raises ValueError: a line is malformed, or a difference stands in two lines.
    """
    found: dict[tuple[str, str, str], str] = {}
    for number, line in enumerate(FILE.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        shell, name, modes, reason = line.split(" | ", 3)
        for mode in modes.split():
            if (shell, name, mode) in found or not reason.strip():
                raise ValueError(f"{FILE.name}, line {number}: listed before, or without a reason")
            found[shell, name, mode] = reason.strip()
    return found
