"""``python -m bench.run``: measure a server next to what the machine does without one.  See README.rst."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from bench import baselines, works
from twisted_rsh.client import RemoteShell, connect
from twisted_rsh.trust.home import Home

START_SECONDS = 30.0
"""Seconds that the server may take to start."""

COMMANDS = 300
AT_ONCE = 10
STREAM_BYTES = 256 * 1024 * 1024
"""Sizes of one measurement, so that each takes about a second."""

Figures = dict[str, dict[str, list[float]]]


def start_server(home: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server of its own in a folder; return its process and its port."""
    command = [sys.executable, "-m", "twisted_rsh.server", "--port", "0", "--interface", "127.0.0.1", "--home", home]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    run = os.path.join(home, "run")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        records = [name for name in os.listdir(run) if name.endswith(".json")] if os.path.isdir(run) else []
        if records:
            return server, int(records[0].removesuffix(".json"))
        time.sleep(0.05)
    server.kill()
    raise SystemExit("the server did not start")


def measurements(reactor: Any, shell: RemoteShell, server: int, home: Home) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return what each work measures: the figure with the server, and the one without."""

    async def w1() -> tuple[float, float]:
        return await works.sequential_commands(shell, COMMANDS), baselines.sequential_commands(COMMANDS)

    async def w2() -> tuple[float, float]:
        return await works.parallel_commands(shell, COMMANDS, AT_ONCE), baselines.parallel_commands(COMMANDS, AT_ONCE)

    async def w4() -> tuple[float, float]:
        return await works.stdout_rate(shell, STREAM_BYTES), baselines.tls_copy(STREAM_BYTES, home)

    async def w5() -> tuple[float, float]:
        return await works.stdin_rate(shell, STREAM_BYTES), baselines.tls_copy(STREAM_BYTES, home)

    async def w6() -> tuple[float, float]:
        before, growth = await works.stalled_reader(shell, reactor, server)
        return growth, before

    return {"W1": w1, "W2": w2, "W4": w4, "W5": w5, "W6": w6}


UNITS = {"W1": "commands/s", "W2": "commands/s", "W4": "MB/s", "W5": "MB/s", "W6": "MB growth, MB before"}


async def measure(reactor: Any, options: argparse.Namespace, port: int, server: int, home: Home) -> Figures:
    """Run every work in every round, in a new random order each time."""
    shell = await connect(reactor, "127.0.0.1", port, home=home)
    kinds = measurements(reactor, shell, server, home)
    names = [name for name in kinds if name in options.works]
    figures: Figures = {name: {"server": [], "baseline": []} for name in names}
    for _ in range(options.rounds):
        for name in random.sample(names, len(names)):
            ours, local = await kinds[name]()
            figures[name]["server"].append(ours)
            figures[name]["baseline"].append(local)
    await shell.close()
    return figures


def report(figures: Figures) -> None:
    """Print a table of medians and ratios."""
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"{'work':5}{'unit':23}{'server':>10}{'baseline':>10}{'ratio':>8}{'  (range of ratios)'}")
    for name, figure in sorted(figures.items()):
        ratios = [ours / local for ours, local in zip(figure["server"], figure["baseline"], strict=True)]
        ours, local = statistics.median(figure["server"]), statistics.median(figure["baseline"])
        print(
            f"{name:5}{UNITS[name]:23}{ours:10.1f}{local:10.1f}{statistics.median(ratios):8.2f}"
            f"  ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main(reactor: Any) -> Deferred[None]:
    """Measure, report, stop the server."""
    parser = argparse.ArgumentParser(description="Measure a server next to what the machine does without one.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--works", type=lambda text: text.split(","), default=list(UNITS))
    parser.add_argument("--json", help="file for all figures")
    options = parser.parse_args()

    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            server, port = start_server(folder)
            try:
                figures = await measure(reactor, options, port, server.pid, Home.at(folder))
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait()
        report(figures)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(figures, file, indent=1)

    return Deferred.fromCoroutine(run())


if __name__ == "__main__":
    react(main)
