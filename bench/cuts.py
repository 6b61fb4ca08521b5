"""``python -m bench.cuts``: a large file each way through a proxy that cuts its connections, and one that does not.

See README.rst.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.breaking import breaking
from bench.processes import peak_mb
from bench.report import describe_machine, find_versions
from bench.servers.starting import OURS, Site, running
from bench.surroundings import ROOT, clean_up_when_ended, environment, prepare

__all__ = ["main"]

WAYS = ("up", "down")
"""To the server, and from it."""

MIN_RATIO = 0.8
"""Throughput with cuts, as a share of that without, below which the exit status is 1."""

TRANSFER_SECONDS = 900.0
"""Seconds after which a transfer is given up; a gigabyte takes some ten (docs/performance.rst)."""

BLOCK_BYTES = 1024 * 1024
"""Bytes of the file that are made at once."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cuts", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the file, in MiB [1024]")
    parser.add_argument("--rounds", type=int, default=3, help="of each way, with cuts and without [3]")
    parser.add_argument("--low", type=float, default=0.5, help="seconds that a connection lives, at least [0.5]")
    parser.add_argument("--high", type=float, default=3.0, help="seconds, at most [3]")
    parser.add_argument("--seed", type=int, default=1, help="what they are drawn from [1]")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    parser.add_argument("--no-check", action="store_true", help=f"whatever the ratio is, not only from {MIN_RATIO} on")
    return parser.parse_args(arguments)


def _make_file(path: str, mib: int, seed: int) -> str:
    draw, digest = random.Random(seed), hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(mib):
            block = draw.randbytes(BLOCK_BYTES)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _measure(folder: str, way: str, path: str, low: float, high: float, seed: int) -> dict[str, Any]:
    """Transfer the file once, with a new server, a new proxy and a new client."""
    site = Site(folder=folder, shell="/bin/sh")  # noqa: S604 - the name of a shell, which nothing is run by here
    with (
        running(OURS, site) as (pid, port),
        breaking(folder, port, low, high, seed) as proxy,
    ):
        before = peak_mb(pid)
        done = subprocess.run(
            [sys.executable, "-m", "bench.clients.transfer", way, folder, str(proxy), path],
            cwd=ROOT,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=TRANSFER_SECONDS,
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["the client said nothing"])[-1])
        figures: dict[str, Any] = json.loads(done.stdout)
        size = os.path.getsize(path)
        return {
            "mb_per_s": size / figures["seconds"] / 1e6,
            "cuts": figures["outages"],
            "sha256": figures["sha256"],
            "client_peak_mb": figures["peak_mb"],
            "server_peak_mb": peak_mb(pid),
            "server_before_mb": before,
        }


def _table(figures: dict[str, dict[str, list[dict[str, Any]]]]) -> tuple[str, float]:
    lines = ["way   with cuts   without   ratio (range)        cuts   peak of server, client"]
    lowest = float("inf")
    for way, kinds in figures.items():
        cut, whole = kinds["cuts"], kinds["whole"]
        ratios = [one["mb_per_s"] / other["mb_per_s"] for one, other in zip(cut, whole, strict=True)]
        ratio = statistics.median(ratios)
        lowest = min(lowest, ratio)
        rates = [statistics.median(one["mb_per_s"] for one in kind) for kind in (cut, whole)]
        count = statistics.median(one["cuts"] for one in cut)
        peaks = [max(one[name] for one in cut) for name in ("server_peak_mb", "client_peak_mb")]
        spread = f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(
            f"{way:4}  {rates[0]:5.0f} MB/s  {rates[1]:4.0f} MB/s   {spread}"
            f"   {count:6.0f}   {peaks[0]:.0f} MB, {peaks[1]:.0f} MB"
        )
    return "\n".join(lines) + "\n", lowest


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status: 1 when a file did not arrive as it was, or cuts cost too much.
    :raises RuntimeError: something did not start, or a transfer failed.
    """
    options = _options(arguments)
    clean_up_when_ended()
    figures: dict[str, dict[str, list[dict[str, Any]]]] = {way: {"cuts": [], "whole": []} for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        path = os.path.join(folder, "file")
        digest = _make_file(path, options.mib, options.seed)
        for number in range(options.rounds):
            pairs = [(way, kind) for way in WAYS for kind in ("cuts", "whole")]
            for way, kind in random.sample(pairs, len(pairs)):
                print(f"round {number + 1}: {way}, {kind}", file=sys.stderr, flush=True)
                high = options.high if kind == "cuts" else 0.0
                seed = options.seed + number
                figures[way][kind].append(_measure(folder, way, path, options.low, high, seed))
    text, lowest = _table(figures)
    sys.stdout.write(text)
    wrong = [one for kinds in figures.values() for kind in kinds.values() for one in kind if one["sha256"] != digest]
    if wrong:
        print(f"{len(wrong)} transfers have another SHA-256 than the file")
    if options.json:
        settings = {name: getattr(options, name) for name in ("mib", "rounds", "low", "high", "seed")}
        machine = {"machine": describe_machine(), "versions": find_versions()}
        results = {"format": 1, **machine, "settings": settings, "figures": figures}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong or (lowest < MIN_RATIO and not options.no_check) else 0


if __name__ == "__main__":
    sys.exit(main())
