"""What a run found: the file of its figures, and the table of medians and ratios.

``python -m bench.report RESULTS.json [PLOT.svg]`` shows a file again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.plot import Bar, Panel, draw
from bench.task import Sizes
from bench.works import CONTESTANTS, SUBJECT, WORKS, Extra, Work

__all__ = ["FORMAT", "Results", "Spread", "describe_machine", "find_versions", "panels", "ratios", "table", "values_of"]

FORMAT = 1
"""The version of the file's form."""

Figures = dict[str, float]


@dataclass(kw_only=True)
class Results:
    """Everything that a run found.

    :ivar date: when it began, in UTC, as ISO 8601 writes it.
    :ivar machine: what it ran on.
    :ivar versions: of everything that took part.
    :ivar settings: the sizes, the shell and the number of rounds.
    :ivar figures: by work and contestant, one entry for each round; ``None`` where there is none.
    :ivar missing: why a contestant took no part, by its name.
    :ivar failures: what went wrong, a line each.
    :ivar format: :data:`FORMAT`.
    """

    date: str
    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    figures: dict[str, dict[str, list[Figures | None]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    format: int = FORMAT

    @classmethod
    def begin(cls, sizes: Sizes, shell: str, login_shell: str, rounds: int) -> Results:
        """Make the results of a run that begins now."""
        return cls(
            date=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
            machine=describe_machine(),
            versions=find_versions(),
            settings={**asdict(sizes), "shell": shell, "sshd_shell": login_shell, "rounds": rounds},
        )

    def save(self, path: str) -> None:
        """Write them to a file, as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str) -> Results:
        """Read what :meth:`save` wrote.

        :raises ValueError: it is no such file, as one of another benchmark, or one of another version.
        """
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("format") != FORMAT or "date" not in values:
            raise ValueError(f"{path} has no results of format {FORMAT}; measure again with this version")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and how far the rounds are apart.

    :ivar median: of all rounds.
    :ivar low: the lowest.
    :ivar high: the highest.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Describe one value or more."""
        return cls(statistics.median(values), min(values), max(values))


def values_of(work: Work, rounds: Sequence[Figures | None]) -> list[float | None]:
    """Take what counts out of each round's figures; ``None`` where a round has none."""
    return [None if figures is None or work.figure not in figures else work.value(figures) for figures in rounds]


def ratios(work: Work, ours: Sequence[Figures | None], theirs: Sequence[Figures | None]) -> list[float]:
    """Say how many times as good ours was, in each round that has both.

    :returns: for a rate ours divided by theirs, for a time or a size theirs divided by ours: above 1, ours is better.
        A round in which the divisor is not above 0 has none.
    """
    found = []
    for own, other in zip(values_of(work, ours), values_of(work, theirs), strict=False):
        over, under = (own, other) if work.more_is_better else (other, own)
        if over is not None and under is not None and under > 0:
            found.append(over / under)
    return found


def table(results: Results) -> str:
    """Write the medians and ratios for people."""
    machine = results.machine
    lines = [
        f"{results.date}  {machine['system']}, {machine['processor']}, {machine['cores']} cores",
        ", ".join(f"{name} {version}" for name, version in results.versions.items()),
        f"{results.settings['rounds']} rounds; medians, in parentheses the range over the rounds",
    ]
    for name, by_contestant in results.figures.items():
        work = WORKS[name]
        lines += ["", f"{name}  {work.title}: {work.unit}, {'more' if work.more_is_better else 'less'} is better"]
        ours = by_contestant.get(SUBJECT, [])
        for contestant, rounds in by_contestant.items():
            lines += _row(work, contestant, rounds, ours)
    notes = [f"left out: {contestant}: {reason}" for contestant, reason in results.missing.items()]
    notes += [f"failed: {failure}" for failure in results.failures]
    shell, sshd_shell = results.settings["shell"], results.settings["sshd_shell"]
    has_sshd = any("openssh" in name for by_contestant in results.figures.values() for name in by_contestant)
    if has_sshd and shell != sshd_shell:
        notes.append(f"sshd runs commands with {sshd_shell}, the others with {shell}")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def panels(results: Results) -> list[Panel]:
    """Make what a plot shows: for each work, a bar for each contestant."""
    made = []
    for name, by_contestant in results.figures.items():
        work = WORKS[name]
        bars = []
        for contestant, rounds in by_contestant.items():
            values = [value for value in values_of(work, rounds) if value is not None]
            if values:
                spread = Spread.of(values)
                bars.append(Bar(CONTESTANTS[contestant], spread.median, spread.low, spread.high, contestant == SUBJECT))
        better = "more is better" if work.more_is_better else "less is better"
        made.append(Panel(f"{name}  {work.title}", f"{work.unit}, {better}", bars))
    return made


def describe_machine() -> dict[str, Any]:
    """Say what this runs on."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 10**6,
        "load_before": os.getloadavg()[0],
    }


def find_versions() -> dict[str, str]:
    """Find the version of everything that takes part, as far as it is installed."""
    versions = {"Python": platform.python_version()}
    for name in ("Twisted", "cryptography", "pyOpenSSL", "asyncssh"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    with contextlib.suppress(FileNotFoundError):
        versions["ssh"] = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr.strip()
    return versions


def _row(work: Work, contestant: str, rounds: Sequence[Figures | None], ours: Sequence[Figures | None]) -> list[str]:
    values = [value for value in values_of(work, rounds) if value is not None]
    if not values:
        return []
    text = f"  {CONTESTANTS[contestant]:42}{_with_range(Spread.of(values)):>32}"
    compared = ratios(work, ours, rounds) if work.is_compared and contestant != SUBJECT else []
    if compared:
        text += f"   ours is {_with_range(Spread.of(compared))} times as good"
    extras = [shown for extra in work.extras if (shown := _show_extra(rounds, extra))]
    return [text, *([f"      {', '.join(extras)}"] if extras else [])]


def _show_extra(rounds: Sequence[Figures | None], extra: Extra) -> str:
    values = [figures[extra.key] * extra.scale for figures in rounds if figures is not None and extra.key in figures]
    return f"{extra.title} {_short(statistics.median(values))} {extra.unit}" if values else ""


def _with_range(spread: Spread) -> str:
    return f"{_short(spread.median)} ({_short(spread.low)} to {_short(spread.high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def main(results: str, plot: str | None = None) -> None:
    """Show a file of results.

    :param results: its path.
    :param plot: where to draw it, or ``None``.
    """
    found = Results.load(results)
    sys.stdout.write(table(found))
    if plot is not None:
        Path(plot).write_text(draw(panels(found)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
