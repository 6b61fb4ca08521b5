"""The progress of a run as text: a bar for each state, whatever the number of hosts."""

from __future__ import annotations

from collections.abc import Mapping

from twisted_rsh.fleet.run import HostState

__all__ = ["MAX_BAR_COLUMNS", "progress_lines", "summary"]

MAX_BAR_COLUMNS = 40
"""Columns of a full bar at most: longer ones are no easier to compare."""

_LABEL_COLUMNS = max(len(state.value) for state in HostState)

_ALWAYS = (HostState.WAITING, HostState.CONNECTING, HostState.RUNNING, HostState.OK)
"""The states that have a line also without a host, so that the lines stay where they are."""


def progress_lines(counts: Mapping[HostState, int], columns: int, rows: int) -> list[str]:
    """Draw the bars.

    :param counts: how many hosts are in each state.
    :param columns: columns of the terminal.
    :param rows: its rows.
    :returns: lines that are shorter than a row; one line with the numbers alone where the bars have no room.
    """
    total = sum(counts.values())
    shown = [state for state in HostState if counts.get(state, 0) or state in _ALWAYS]
    digits = len(str(total))
    bar = min(MAX_BAR_COLUMNS, columns - _LABEL_COLUMNS - digits - 5)
    if bar < 1 or rows <= len(shown):
        return [summary(counts)[: max(columns - 1, 0)]]
    lines = []
    for state in shown:
        count = counts.get(state, 0)
        # A host that is there is seen, also among many.
        filled = max(bar * count // total, 1) if count else 0
        lines.append(f"{state.value:<{_LABEL_COLUMNS}}  {'#' * filled:<{bar}}  {count:>{digits}}")
    return lines


def summary(counts: Mapping[HostState, int]) -> str:
    """Return the numbers in one line, such as ``10 ok, 1 failed``."""
    return ", ".join(f"{counts[state]} {state.value}" for state in HostState if counts.get(state, 0))
