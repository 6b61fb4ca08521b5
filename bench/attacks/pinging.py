"""``python -m bench.attacks.pinging FOLDER PORT PID``: a logged-in client that pings without a pause.

It writes a line when it has logged in, and answers each line on its stdin with the pings since the last, as JSON: how
many, their median and worst, in milliseconds, and the most processor time that the server took during one of them.
Other programs of the machine make a ping slow, but do not count in that time.
"""

from __future__ import annotations

import contextlib
import json
import select
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

from bench.attacks.raw_client import RawClient
from bench.surroundings import ROOT, environment

__all__ = ["Pings", "main", "pinging"]

PAUSE_SECONDS = 0.002
"""Seconds between two pings: less than the shortest hold that is looked for."""

Pings = dict[str, float]
"""How many (``count``), their median (``median_ms``), their worst (``worst_ms``), and the most processor time that the
server took during one of them (``held_ms``)."""


@contextlib.contextmanager
def pinging(folder: str, port: int, pid: int) -> Iterator[Callable[[], Pings]]:
    """Run a second client while a block lasts.

    :param folder: the folder of the keys.
    :param port: the server's TCP port on 127.0.0.1.
    :param pid: the server's process.
    :returns: a call that returns the pings since the last call.
    """
    command = [sys.executable, "-m", "bench.attacks.pinging", folder, str(port), str(pid)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()

        def ask() -> Pings:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            pings: Pings = json.loads(process.stdout.readline())
            return pings

        try:
            yield ask
        finally:
            process.stdin.close()
            process.wait(10)


def main(folder: str, port: int, pid: int) -> None:
    """Ping until stdin ends."""
    client = RawClient(folder, port)
    print("there", flush=True)
    taken: list[float] = []
    held = 0.0
    while True:
        before = _processor_ms(pid)
        taken.append(client.ping())
        held = max(held, _processor_ms(pid) - before)
        if select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            if not sys.stdin.readline():
                return
            milliseconds = [seconds * 1000 for seconds in taken]
            figures = (len(taken), statistics.median(milliseconds), max(milliseconds), held)
            names = ("count", "median_ms", "worst_ms", "held_ms")
            print(json.dumps(dict(zip(names, figures, strict=True))), flush=True)
            taken.clear()
            held = 0.0


def _processor_ms(pid: int) -> float:
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e6


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
