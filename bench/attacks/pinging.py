"""``python -m bench.attacks.pinging FOLDER PORT``: a logged-in client that pings without a pause.

It writes a line when it has logged in, and answers each line on its stdin with the pings since the last, as JSON: how
many, their median and worst, in milliseconds.
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
"""Seconds between two pings."""

Pings = dict[str, float]
"""How many (``count``), their median (``median_ms``) and their worst (``worst_ms``)."""


@contextlib.contextmanager
def pinging(folder: str, port: int) -> Iterator[Callable[[], Pings]]:
    """Run a second client while a block lasts.

    :param folder: the folder of the keys.
    :param port: the server's TCP port on 127.0.0.1.
    :returns: a call that returns the pings since the last call.
    """
    command = [sys.executable, "-m", "bench.attacks.pinging", folder, str(port)]
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


def main(folder: str, port: int) -> None:
    """Ping until stdin ends."""
    client = RawClient(folder, port)
    print("there", flush=True)
    taken: list[float] = []
    while True:
        taken.append(client.ping())
        if select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
            if not sys.stdin.readline():
                return
            milliseconds = [seconds * 1000 for seconds in taken]
            figures = (len(taken), statistics.median(milliseconds), max(milliseconds))
            names = ("count", "median_ms", "worst_ms")
            print(json.dumps(dict(zip(names, figures, strict=True))), flush=True)
            taken.clear()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
