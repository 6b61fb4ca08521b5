"""``python -m bench.attacks.stopping``: stubborn jobs, and a server that is told to stop.

The attack: every job ignores SIGHUP, SIGINT and SIGTERM, has a child that does the same in a session of its own, and
writes without end.  The promise: after one SIGTERM the server and all jobs are gone within 15 s.  After a second
SIGTERM both are gone at once, and nothing of a traceback is in the log.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare, server_fingerprint
from twisted_rsh import Connection, Job, connect
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["main"]

JOBS, QUICK_JOBS = 64, 8
"""Jobs of a full run, and of a quick one, with at least three processes each."""

JOBS_PER_SESSION = 32
"""Half of the jobs that a session may have."""

POLITE_SECONDS = 15.0
"""Seconds that one SIGTERM may take until nothing is left (O-09)."""

AT_ONCE_SECONDS = 3.0
"""Seconds that the second SIGTERM may take: what 300 processes need to die on a busy machine, and a fraction of
the kill ladder's ten."""

BETWEEN_SECONDS = 1.0
"""Seconds from the first SIGTERM to the second: the kill ladder has begun, and has ended nothing."""

POLL_SECONDS = 0.01
"""Seconds between two looks at what is left."""

_JOB = "trap '' HUP INT TERM; echo $$; while :; do sleep 1000 || exit; done"
_COMMAND = f"setsid sh -c '{_JOB.replace(chr(39), chr(34))}' & {_JOB.replace('echo $$;', 'echo $$; yes;')}"
"""Two processes say who they are; one of them then writes to a client that does not read."""


class _Watch:
    """Looks at the server and its jobs until they are gone."""

    def __init__(self, reactor: Any, server: int, jobs: Sequence[int]) -> None:
        self._reactor = reactor
        self._server = server
        self._jobs = jobs

    async def gone(self, seconds: float) -> tuple[float, float]:
        """Wait, and return the seconds until the server was gone, and until all jobs were."""
        began = time.monotonic()
        server: float | None = None
        while True:
            elapsed = time.monotonic() - began
            if server is None and not _is_alive(self._server):
                server = elapsed
            if server is not None and not any(map(_is_alive, self._jobs)):
                return server, elapsed
            if elapsed > seconds:
                return (float("inf") if server is None else server), float("inf")
            await deferLater(self._reactor, POLL_SECONDS)


def _is_alive(pid: int) -> bool:
    """Tell whether a process is there, and not only its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _start_jobs(reactor: Any, folder: str, port: int, count: int) -> tuple[list[Connection], list[int]]:
    connections, pids = [], []
    for first in range(0, count, JOBS_PER_SESSION):
        connection = await connect(
            reactor, "127.0.0.1", port, config=ConfigFolders.at(folder), fingerprint=server_fingerprint(folder)
        )
        connections.append(connection)
        jobs = [connection.start(_COMMAND) for _ in range(first, min(count, first + JOBS_PER_SESSION))]
        for job in jobs:
            pids += await _pids(job)
    return connections, pids


async def _pids(job: Job) -> list[int]:
    text = b""
    while sum(word.isdigit() for word in text.split(b"\n")[:-1]) < 2:
        text += await job.stdout.read()
    return [int(word) for word in text.split(b"\n")[:-1] if word.isdigit()]


async def _attack(reactor: Any, count: int, signals: int) -> tuple[int, float, float, bool]:
    """Start a server with jobs and end it by a number of signals; return what was seen."""
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        shell = "/bin/sh"
        with running(OURS, Site(folder=folder, shell=shell)) as (pid, port):
            connections, pids = await _start_jobs(reactor, folder, port, count)
            watch = _Watch(reactor, pid, pids)
            os.kill(pid, signal.SIGTERM)
            if signals > 1:
                await deferLater(reactor, BETWEEN_SECONDS)
                os.kill(pid, signal.SIGTERM)
            server, jobs = await watch.gone(2 * POLITE_SECONDS)
            for job in filter(_is_alive, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(job, signal.SIGKILL)
            for connection in connections:
                await connection.close()
            has_traceback = any("Traceback" in path.read_text() for path in Path(folder).glob("server-*.log"))
        return len(pids), server, jobs, has_traceback


async def _run(reactor: Any, *, quick: bool) -> bool:
    is_kept = True
    for signals, promised in [(2, AT_ONCE_SECONDS), *([] if quick else [(1, POLITE_SECONDS)])]:
        count, server, jobs, has_traceback = await _attack(reactor, QUICK_JOBS if quick else JOBS, signals)
        name = "second SIGTERM" if signals > 1 else "one SIGTERM"
        print(f"{name}: {count} stubborn processes")
        print(f"{name}, until the server is gone: {server:.2f} s, promised {promised:g} s")
        print(f"{name}, until all jobs are gone: {jobs:.2f} s, promised {promised:g} s")
        print(f"{name}, tracebacks in the log: {int(has_traceback)}, promised 0")
        is_kept = is_kept and max(server, jobs) <= promised and not has_traceback
    return is_kept


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when a promise is broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.stopping", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few jobs, and the second SIGTERM alone")
    options = parser.parse_args(arguments)
    clean_up_when_ended()

    async def run(reactor: Any) -> None:
        if not await _run(reactor, quick=options.quick):
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
