"""``python -m bench.far``: streams and keystrokes over a long way, beside ``ssh`` over the same.

See README.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.delaying import delaying
from bench.measuring import MeasurementFailed, measure
from bench.report import describe_machine, find_versions
from bench.servers.starting import OPENSSH, OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare, user_name
from bench.task import FULL, Task

__all__ = ["main"]

WORKS = {"W4": "out", "W5": "in", "W8b": "keys"}
"""The works, and what the table calls them."""

CLIENTS = {OURS: "ours", OPENSSH: "openssh"}
"""The module of ``bench.clients`` for each server."""

MIN_RATIO = 2.0
"""The rate out, and in, as a multiple of that of ``ssh``, below which the exit status is 1."""

MAX_P99_RATIO = 3.0
"""The 99th percentile of a keystroke beside a stream, as a multiple of that without, above which it is 1."""

Figures = dict[str, dict[str, list[dict[str, float]]]]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.far", description=__doc__)
    parser.add_argument("--ms", type=float, default=50.0, help="there and back; 0 for no proxy [50]")
    parser.add_argument("--rate", type=float, default=0.0, help="MB/s each way; 0 for no bound [0]")
    parser.add_argument("--loss", type=float, default=0.0, help="the share of packets that get lost [0]")
    parser.add_argument("--seed", type=int, default=1, help="what decides which [1]")
    parser.add_argument("--mib", type=int, default=256, help="size of a stream, in MiB [256]")
    parser.add_argument("--keys", type=int, default=200, help="keystrokes [200]")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement [5]")
    parser.add_argument("--works", default=",".join(WORKS.values()), help="of out,in,keys [all]")
    parser.add_argument("--only", default=",".join(CLIENTS), help="of ours,openssh [both]")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    parser.add_argument("--no-check", action="store_true", help="whatever the ratios are, exit with 0")
    return parser.parse_args(arguments)


def _measure_all(options: argparse.Namespace, folder: str) -> Figures:
    site = Site(folder=folder, shell="/bin/sh")  # noqa: S604 - the name of a shell, which nothing is run by here
    sizes = replace(FULL, stream_bytes=options.mib * 1024 * 1024, keys=options.keys)
    kinds = options.only.split(",")
    works = [work for work, name in WORKS.items() if name in options.works.split(",")]
    figures: Figures = {work: {kind: [] for kind in kinds} for work in works}
    with contextlib.ExitStack() as stack:
        ports: dict[str, tuple[int, int]] = {}
        for kind in kinds:
            pid, port = stack.enter_context(running(kind, site))
            if options.ms or options.rate or options.loss:
                way = (options.ms / 1000, options.rate, options.loss, options.seed)
                port = stack.enter_context(delaying(folder, port, *way))
            ports[kind] = (pid, port)
        for number in range(options.rounds):
            pairs = [(work, kind) for work in works for kind in kinds]
            for work, kind in random.sample(pairs, len(pairs)):
                print(f"round {number + 1}: {WORKS[work]}, {kind}", file=sys.stderr, flush=True)
                pid, port = ports[kind]
                task = Task(
                    work=work,
                    variant="",
                    port=port,
                    folder=folder,
                    user=user_name(),
                    shell=site.shell,
                    sizes=sizes,
                )
                figures[work][kind].append(measure(CLIENTS[kind], task, pid))
    return figures


def _table(figures: Figures) -> tuple[str, bool]:
    """Return the table, and whether everything reaches what it must."""
    lines, is_enough = [], True
    for work, kinds in figures.items():
        rates = {kind: [one["mb_per_s"] for one in rounds if "mb_per_s" in one] for kind, rounds in kinds.items()}
        for kind, rounds in kinds.items():
            words = [f"{WORKS[work]:5} {kind:8}"]
            if rates[kind]:
                words.append(f"{statistics.median(rates[kind]):7.1f} MB/s")
            if work == "W8b":
                names = ("alone_p50_us", "alone_p99_us", "p50_us", "p99_us")
                medians = [statistics.median(one[name] for one in rounds) / 1e3 for name in names]
                ratio = statistics.median(one["p99_ratio"] for one in rounds)
                words.append("alone p50 {:.2f} ms, p99 {:.2f}; beside p50 {:.2f}, p99 {:.2f};".format(*medians))
                words.append(f"p99 ratio {ratio:.2f}")
                is_enough = is_enough and (kind != OURS or ratio <= MAX_P99_RATIO)
            elif kind == OURS and OPENSSH in kinds:
                ratios = [ours / theirs for ours, theirs in zip(rates[OURS], rates[OPENSSH], strict=True)]
                ratio = statistics.median(ratios)
                words.append(f"of ssh {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
                is_enough = is_enough and ratio >= MIN_RATIO
            lines.append(" ".join(words))
    return "\n".join(lines) + "\n", is_enough


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status: 1 when a ratio is not what it must be, or a measurement failed.
    :raises RuntimeError: a server or a proxy did not start.
    """
    options = _options(arguments)
    clean_up_when_ended()
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        try:
            figures = _measure_all(options, folder)
        except MeasurementFailed as error:
            print(f"a measurement failed: {error}", file=sys.stderr)
            return 1
    text, is_enough = _table(figures)
    sys.stdout.write(text)
    if options.json:
        names = ("ms", "rate", "loss", "seed", "mib", "keys", "rounds")
        settings = {name: getattr(options, name) for name in names}
        machine = {"machine": describe_machine(), "versions": find_versions()}
        results = {"format": 1, **machine, "settings": settings, "figures": figures}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if is_enough or options.no_check else 1


if __name__ == "__main__":
    sys.exit(main())
