"""``python -m bench.history PLOT.svg RESULTS.json ...``: draw how the ratios have changed from run to run, in one plot.

Figures of two runs cannot be compared, because a machine is not always equally fast.  What can be compared is how many
times as good this package was as another contestant of the same run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.plot import Bar, Panel, draw
from bench.report import Results, Spread, ratios
from bench.works import CONTESTANTS, SUBJECT, WORKS, Work

__all__ = ["main", "panels"]

MINUTE = len("2026-11-28T11:05")
"""Characters of a date that name a run."""


def panels(runs: Sequence[Results]) -> list[Panel]:
    """Make what the plot shows: for each work and contestant, a bar for each run, the oldest first.

    :param runs: the results, in any order.
    """
    ordered = sorted(runs, key=lambda run: run.date)
    made = []
    for work in WORKS.values():
        for contestant, name in CONTESTANTS.items():
            bars = [bar for run in ordered if (bar := _bar(work, contestant, run)) is not None]
            if bars:
                title = f"{work.name}  {work.title}, beside {name}"
                made.append(Panel(title, "times as good, more is better", bars))
    return made


def _bar(work: Work, contestant: str, run: Results) -> Bar | None:
    """Make the bar of one run; ``None`` where the run did not compare the two."""
    if contestant == SUBJECT or not work.is_compared:
        return None
    by_contestant = run.figures.get(work.name, {})
    found = ratios(work, by_contestant.get(SUBJECT, []), by_contestant.get(contestant, []))
    if not found:
        return None
    spread = Spread.of(found)
    return Bar(run.date[:MINUTE].replace("T", " "), spread.median, spread.low, spread.high, is_ours=True)


def main(plot: str, *results: str) -> None:
    """Draw.

    :param plot: where to draw.
    :param results: the paths of files of results.
    """
    Path(plot).write_text(draw(panels([Results.load(path) for path in results])), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
