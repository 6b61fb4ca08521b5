"""``python -m bench.resume_cost``: what a resume takes on loopback, and what a job takes that is blocked meanwhile.

See README.rst.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import deferLater, react

from bench.conversation import latencies
from bench.processes import usage
from bench.report import describe_machine, find_versions
from bench.servers.starting import OURS, Site, running
from bench.severing import Severing
from bench.surroundings import clean_up_when_ended, prepare, user_name
from twisted_rsh import Connection, Job, connect_to_endpoint
from twisted_rsh.core.requests import Keep
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["main"]

WARM_UP = 20
"""Resumes before those that are measured."""

MAX_CPU_MS = 20.0
"""Milliseconds of processor time of both sides together, for one resume, above which the exit status is 1."""

MAX_BLOCKED_CPU_S = 0.05
"""Seconds of processor time that a job that is blocked, and its server, may take all the same: a few of the ticks in
which the system counts it."""

SETTLE_SECONDS = 2.0
"""Seconds that a job has to fill its pipe before it is looked at."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.resume_cost", description=__doc__)
    parser.add_argument("--resumes", type=int, default=200, help="resumes to measure [200]")
    parser.add_argument("--blocked", type=float, default=5.0, help="seconds to look at a job that is blocked [5]")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    parser.add_argument("--no-check", action="store_true", help="whatever the figures are, exit with 0")
    return parser.parse_args(arguments)


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu_of(pid: int) -> float:
    seen = usage(pid)
    return 0.0 if seen is None else seen.cpu_s


def _back(connection: Connection) -> Deferred[None]:
    """Return what fires at the next end of an outage."""
    back: Deferred[None] = Deferred()

    def changed(reason: str | None) -> None:
        if reason is None:
            stop()
            back.callback(None)

    stop = connection.watch_link(changed)
    return back


async def _resume(connection: Connection, endpoint: Severing) -> float:
    back = _back(connection)
    start = time.perf_counter()
    endpoint.sever()
    await back
    return time.perf_counter() - start


async def _read_pid(job: Job) -> int:
    said = b""
    while not said.endswith(b"\n"):
        said += await job.stdout.read()
    return int(said)


async def _look_at_blocked(
    reactor: Any, connection: Connection, endpoint: Severing, server: int, seconds: float
) -> dict[str, float]:
    job = connection.start("echo $$; read line; sleep 0.2; exec yes", on_disconnect=Keep())
    pid = await _read_pid(job)
    await job.stdin.write(b"\n")
    endpoint.is_reachable = False
    endpoint.sever()
    await deferLater(reactor, SETTLE_SECONDS)
    before = _cpu_of(pid), _cpu_of(server)
    await deferLater(reactor, seconds)
    figures = {"blocked_job_cpu_s": _cpu_of(pid) - before[0], "blocked_server_cpu_s": _cpu_of(server) - before[1]}
    endpoint.is_reachable = True
    if not connection.connected:
        await _back(connection)
    job.close()
    await job.wait()
    return figures


async def _measure(reactor: Any, options: argparse.Namespace, folder: str, server: int, port: int) -> dict[str, float]:
    config = ConfigFolders.at(folder)
    endpoint = Severing(TCP4ClientEndpoint(reactor, "127.0.0.1", port))
    pin, key = load_or_create_server_key(config).spki_sha256, load_or_create_client_key(config)
    connection = await connect_to_endpoint(reactor, endpoint, pin, key, user_name())
    job = connection.start(["cat"], on_disconnect=Keep())
    await job.when_started()
    for _ in range(WARM_UP):
        await _resume(connection, endpoint)
    own, theirs = _own_cpu(), _cpu_of(server)
    seconds = [await _resume(connection, endpoint) for _ in range(options.resumes)]
    figures = {
        "client_cpu_ms": (_own_cpu() - own) / options.resumes * 1000,
        "server_cpu_ms": (_cpu_of(server) - theirs) / options.resumes * 1000,
    }
    figures |= {name: value for name, value in latencies(seconds).items() if name != "per_s"}
    job.close()
    await job.wait()
    figures |= await _look_at_blocked(reactor, connection, endpoint, server, options.blocked)
    await connection.close()
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when something failed, or took more than it may.
    """
    options = _options(arguments)
    clean_up_when_ended()

    async def run(reactor: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
            prepare(folder)
            site = Site(folder=folder, shell="/bin/sh")  # noqa: S604 - the name of a shell; nothing is run by it here
            with running(OURS, site) as (pid, port):
                figures = await _measure(reactor, options, folder, pid, port)
        both = figures["client_cpu_ms"] + figures["server_cpu_ms"]
        blocked = figures["blocked_job_cpu_s"] + figures["blocked_server_cpu_s"]
        print(
            f"a resume: {figures['p50_us'] / 1000:.1f} ms (p50), {figures['p99_us'] / 1000:.1f} ms (p99); "
            f"processor time {both:.1f} ms, of the client {figures['client_cpu_ms']:.1f}, "
            f"of the server {figures['server_cpu_ms']:.1f}"
        )
        print(f"a job blocked for {options.blocked:g} s, and its server: {blocked:.2f} s of processor time")
        if options.json:
            results = {"format": 1, "machine": describe_machine(), "versions": find_versions(), "figures": figures}
            Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        if not options.no_check and (both > MAX_CPU_MS or blocked > MAX_BLOCKED_CPU_S):
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
