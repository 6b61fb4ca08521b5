"""``python -m bench.builtin``: what a built-in costs in a persistent shell, beside the evaluating way, in one run.

The ways take turns, so that what else the machine does meets all of them.  Every figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).parent.parent
RUN = Path(__file__).with_name("builtin_run.py")

SECONDS = 120
"""Seconds that one measurement may take; it takes one or two."""

COMMANDS = ("true", 'v=$((v + 1)); [ "$v" ]', "if true; then :; fi")
"""What is run: one word, what is plainly whole, and a compound."""

QUICK_COMMANDS = 20

FIGURES = ("server_us", "shell_us", "wall_us")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.builtin", description=__doc__)
    parser.add_argument("shells", nargs="*", help="the shells [those of bash, dash and zsh that are there]")
    parser.add_argument("--quick", action="store_true", help="only try it out; the figures mean nothing")
    parser.add_argument("--commands", type=int, default=2000, help="commands of one measurement [2000]")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each [5]")
    parser.add_argument("--former", type=Path, help="a source tree of another version, to measure beside this one")
    parser.add_argument("--json", type=Path, help="write the medians to this file, too")
    return parser.parse_args(arguments)


def _measure(shell: str, way: str, command: str, count: int, tree: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(RUN), shell, way, command, str(count)],
        env=dict(os.environ, PYTHONPATH=str(tree)),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if done.returncode or not done.stdout:
        raise SystemExit(f"{shell}, {way}: {done.stderr.strip() or done.returncode}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: a measurement failed.
    """
    options = _options(arguments)
    if options.quick:
        options.commands, options.rounds = QUICK_COMMANDS, 1
    shells = options.shells or [name for name in ("bash", "dash", "zsh") if shutil.which(name)]
    medians: dict[str, dict[str, float]] = {}
    print(f"{'microseconds of a command':<42} {'server':>8} {'shell':>8} {'both':>8} {'clock':>8}")
    for shell in shells:
        ways = [("typed", ROOT)]
        ways += [("evaluated", ROOT)] if shell == "bash" else []
        ways += [("former", options.former)] if options.former else []
        for command in COMMANDS:
            rounds: dict[str, list[dict[str, float]]] = {way: [] for way, _ in ways}
            for _ in range(options.rounds):
                for way, tree in ways:
                    rounds[way].append(_measure(shell, way, command, options.commands, tree))
            for way, _ in ways:
                found = {name: statistics.median(one[name] for one in rounds[way]) for name in FIGURES}
                medians[f"{shell} {way}: {command}"] = found
                server, own, clock = found.values()
                title = f"{shell} {way}: {command}"
                print(f"{title:<42} {server:8.0f} {own:8.0f} {server + own:8.0f} {clock:8.0f}")
    if options.json:
        options.json.write_text(json.dumps(medians, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
