"""``python -m bench.soak --seconds N``: everything that clients do, for any length of time; does the server grow?

See README.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react

from bench.breaking import breaking
from bench.processes import children, descriptors, resident_mb
from bench.report import describe_machine, find_versions
from bench.servers.starting import OURS, Site, running
from bench.soak_load import Load
from bench.surroundings import clean_up_when_ended, prepare
from bench.trend import trend
from twisted_rsh.manage.__main__ import SessionOptions, manage_sessions
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["main"]

WARM_UP_SHARE = 0.2
"""The share of the time whose samples are not looked at: what a program loads and keeps on first use is there then."""

SAMPLES = 500
"""Samples of a run, about, where they are not closer than two seconds."""

CUT_SECONDS = (0.5, 3.0)
"""Seconds for which connections live, at least and at most, with ``--cuts``."""

DETACH_SECONDS = 10
"""Seconds for which the server keeps a session without a link.  Usually it keeps the endings of killed jobs for
ten minutes, and those of a soak would be there at its end."""

END_SECONDS = 60.0
"""Seconds that the server has to end what is left then: the grace of the last killed client's job, the kill ladder, and
:data:`DETACH_SECONDS`, on a busy machine."""

FIELDS = ("memory_mb", "descriptors", "children")
"""What is sampled of the server."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long [3600]")
    parser.add_argument("--cuts", action="store_true", help="through a proxy that cuts the connections")
    parser.add_argument("--json", metavar="FILE", help="write all samples to a file")
    return parser.parse_args(arguments)


class _Server:
    """Looks at a server.

    :ivar samples: what was seen, with the seconds since the beginning.
    """

    def __init__(self, reactor: Any, folder: str, pid: int) -> None:
        self.samples: list[dict[str, float]] = []
        self._reactor = reactor
        self._folder = folder
        self._pid = pid
        self._began = time.monotonic()

    def sample(self) -> None:
        """Look once."""
        seen = (resident_mb(self._pid), float(descriptors(self._pid)), float(len(children(self._pid))))
        self.samples.append({"seconds": time.monotonic() - self._began, **dict(zip(FIELDS, seen, strict=True))})

    async def sessions(self) -> int:
        """Ask how many sessions it has."""
        options = SessionOptions(config_dir=self._folder, as_json=True)
        return len(json.loads(await manage_sessions(self._reactor, options)))

    async def left(self, before: Sequence[int]) -> dict[str, int]:
        """Wait until nothing is left of the load, and return what is left all the same.

        :param before: the server's children before the load.
        """
        deadline = time.monotonic() + END_SECONDS
        while True:
            sessions, processes = await self.sessions(), len(set(children(self._pid)) - set(before))
            if not (sessions or processes) or time.monotonic() > deadline:
                return {"sessions": sessions, "processes": processes}
            await deferLater(self._reactor, 0.5)


async def _soak(reactor: Any, options: argparse.Namespace, folder: str, pid: int, port: int) -> dict[str, Any]:
    fingerprint = load_or_create_server_key(ConfigFolders.at(folder)).fingerprint
    server, load = _Server(reactor, folder, pid), Load(reactor, folder, port, fingerprint)
    before = children(pid)
    load.start()
    sampling = LoopingCall(server.sample)
    sampling.clock = reactor
    sampling.start(min(max(options.seconds / SAMPLES, 2.0), options.seconds / 4))
    await deferLater(reactor, options.seconds)
    sampling.stop()
    await load.stop()
    left = await server.left(before)
    used = [sample for sample in server.samples if sample["seconds"] >= options.seconds * WARM_UP_SHARE]
    hours = [sample["seconds"] / 3600 for sample in used]
    slopes = {name: trend(hours, [sample[name] for sample in used]) for name in FIELDS}
    return {
        "done": dict(load.done),
        "failures": load.failures,
        "left": left,
        "slopes_per_hour": {name: None if slope is None else asdict(slope) for name, slope in slopes.items()},
        "samples": server.samples,
    }


def _table(results: dict[str, Any]) -> str:
    lines = [", ".join(f"{name} {count}" for name, count in sorted(results["done"].items()))]
    for name, slope in results["slopes_per_hour"].items():
        first, last = results["samples"][0][name], results["samples"][-1][name]
        grows = "not known" if slope is None else f"{slope['slope']:+.2f} an hour, standard error {slope['error']:.2f}"
        lines.append(f"{name:12} {first:8.1f} to {last:8.1f}; {grows}")
    lines.append("left: {sessions} sessions, {processes} processes".format(**results["left"]))
    lines += [f"failed: {failure}" for failure in results["failures"]]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when sessions or processes are left, or something went wrong.
    """
    options = _options(arguments)
    clean_up_when_ended()

    async def run(reactor: Any) -> None:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rshbench-"))
            prepare(folder)
            options_of_server = ("--detach-timeout", str(DETACH_SECONDS))
            shell = "/bin/sh"
            site = Site(folder=folder, shell=shell, server_options=options_of_server)
            pid, port = stack.enter_context(running(OURS, site))
            if options.cuts:
                port = stack.enter_context(breaking(folder, port, *CUT_SECONDS, seed=1))
            results = await _soak(reactor, options, folder, pid, port)
        sys.stdout.write(_table(results))
        if options.json:
            settings = {"seconds": options.seconds, "cuts": options.cuts}
            machine = {"machine": describe_machine(), "versions": find_versions()}
            text = json.dumps({"format": 1, **machine, "settings": settings, **results}, indent=1)
            Path(options.json).write_text(text + "\n", encoding="utf-8")
        if results["failures"] or any(results["left"].values()):
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
