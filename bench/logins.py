"""``python -m bench.logins``: what a login costs the server, and what a session costs that does nothing.

Logins follow each other, each with its end, from one client that keeps its program and its key.  Then another process
holds as many sessions open as asked for, while the server's memory and processor time are read.  See README.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from bench.processes import processor_seconds, resident_mb
from bench.report import describe_machine, find_versions
from bench.servers.starting import OURS, Site, crowd_size, running
from bench.surroundings import ROOT, clean_up_when_ended, environment, prepare, server_fingerprint
from twisted_rsh import connect
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["main"]

LOGINS, QUICK_LOGINS = 1000, 20
SESSIONS, QUICK_SESSIONS = 2000, 10

WARM_UP = 20
"""Logins before those that count."""

SETTLE_SECONDS = 2.0
"""Seconds between the last login and the look at the memory: what was freed is given back once a second."""

END_SECONDS = 60.0
"""Seconds that the process with the sessions may take to end."""

IDLE_SECONDS, QUICK_IDLE_SECONDS = 60.0, 1.0
"""Seconds over which the idle sessions' processor time is counted; each gives signs of life in them."""

MAX_LOGIN_MS = 2.0
"""The server's processor time of a login, and its end, above which the exit status is 1."""

MAX_SESSION_KIB = 40.0
"""The server's memory of an idle session above which the exit status is 1."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.logins", description=__doc__)
    parser.add_argument("--logins", type=int, default=LOGINS, help=f"one after another [{LOGINS}]")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"held open [{SESSIONS}]")
    parser.add_argument("--quick", action="store_true", help="a few of each, and no check: does everything run?")
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    return parser.parse_args(arguments)


async def _log_in(reactor: Any, folder: str, port: int, pid: int, count: int, figures: dict[str, float]) -> None:
    """Log in so many times, and add what a login took."""
    config, fingerprint = ConfigFolders.at(folder), server_fingerprint(folder)
    times: list[float] = []
    spent = 0.0
    for number in range(-WARM_UP, count):
        if number == 0:
            spent = processor_seconds(pid)
        start = time.perf_counter()
        connection = await connect(reactor, "127.0.0.1", port, config=config, fingerprint=fingerprint)
        if number >= 0:
            times.append(time.perf_counter() - start)
        await connection.close()
    figures["login_cpu_ms"] = (processor_seconds(pid) - spent) / count * 1000
    figures["login_p50_ms"] = statistics.median(times) * 1000
    figures["login_p99_ms"] = statistics.quantiles(times, n=100)[98] * 1000


@contextlib.contextmanager
def _crowd(folder: str, port: int, count: int) -> Iterator[None]:
    """Hold so many sessions open while a block lasts."""
    command = [sys.executable, "-m", "bench.crowd", folder, str(port), str(count)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=environment(folder), **pipes) as crowd:
        assert crowd.stdin is not None and crowd.stdout is not None
        try:
            if not crowd.stdout.readline():
                raise RuntimeError("the sessions could not all be had")
            yield
        finally:
            crowd.stdin.close()
            crowd.wait(END_SECONDS)


def _hold(folder: str, port: int, pid: int, count: int, seconds: float, figures: dict[str, float]) -> None:
    """Hold so many sessions open, and add what one takes."""
    before, spent = resident_mb(pid), processor_seconds(pid)
    with _crowd(folder, port, count):
        figures["crowd_login_cpu_ms"] = (processor_seconds(pid) - spent) / count * 1000
        time.sleep(SETTLE_SECONDS)
        figures["session_kib"] = (resident_mb(pid) - before) * 1e6 / 1024 / count
        spent = processor_seconds(pid)
        time.sleep(seconds)
        figures["idle_cpu_percent"] = (processor_seconds(pid) - spent) / seconds * 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status: 1 when a login or a session takes more than it may.
    :raises RuntimeError: the server did not start, or the sessions could not all be had.
    """
    options = _options(arguments)
    if options.quick:
        options.logins, options.sessions = QUICK_LOGINS, QUICK_SESSIONS
    clean_up_when_ended()
    figures: dict[str, float] = {}
    sessions = crowd_size(options.sessions)
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        many = str(sessions + 1)
        room = ("--max-sessions", many, "--max-sessions-per-key", many)
        site = Site(folder=folder, shell="/bin/sh", server_options=room)  # noqa: S604 - a shell's name
        with running(OURS, site) as (pid, port):
            work = (folder, port, pid, options.logins, figures)
            with contextlib.suppress(SystemExit):
                react(lambda reactor: Deferred.fromCoroutine(_log_in(reactor, *work)))
            idle = QUICK_IDLE_SECONDS if options.quick else IDLE_SECONDS
            _hold(folder, port, pid, sessions, idle, figures)
    sys.stdout.write(
        f"a login of {options.logins:,} one after another: {figures['login_cpu_ms']:.2f} ms of the server's processor"
        f" time, p50 {figures['login_p50_ms']:.1f} ms, p99 {figures['login_p99_ms']:.1f} ms\n"
        f"an idle session of {sessions:,}: {figures['session_kib']:.1f} KiB of the server's memory,"
        f" {figures['crowd_login_cpu_ms']:.2f} ms to log in; all of them {figures['idle_cpu_percent']:.1f} % of a"
        " processor\n"
    )
    if options.json:
        machine = {"machine": describe_machine(), "versions": find_versions()}
        counts = {"logins": options.logins, "sessions": sessions}
        results = {"format": 1, **machine, "settings": counts, "figures": figures}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    is_enough = figures["login_cpu_ms"] <= MAX_LOGIN_MS and figures["session_kib"] <= MAX_SESSION_KIB
    return 0 if is_enough or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
