"""``python -m bench.watching``: what an audit log and metrics cost a built-in in a persistent shell.

Server and client are one process on loopback.  The observers take turns, so that what else the machine does meets all
of them.  Every figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.task import react

from twisted_rsh import ConfigFolders, Shell, connect
from twisted_rsh.interfaces import IServerObserver
from twisted_rsh.server import Account, RemoteShellService, ServiceOptions, local_portal
from twisted_rsh.watching.audit import Audit
from twisted_rsh.watching.audit_file import AuditFile
from twisted_rsh.watching.entries import TextForm
from twisted_rsh.watching.metrics import Metrics

__all__ = ["main"]

WARM_UP = 50
"""Commands before those that count."""

Observers = Callable[[str], list[IServerObserver]]

WAYS: dict[str, Observers] = {
    "nothing": lambda _: [],
    "audit": lambda path: [Audit(AuditFile(path))],
    "audit with text": lambda path: [Audit(AuditFile(path), TextForm.FULL)],
    "metrics": lambda _: [Metrics()],
    "both": lambda path: [Audit(AuditFile(path)), Metrics()],
}
"""The observers of each measurement, which writes to a file of its own."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.watching", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only try it out; the figures mean nothing")
    parser.add_argument("--commands", type=int, default=500, help="commands of one measurement [500]")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each [7]")
    parser.add_argument("--json", type=Path, help="write the medians to this file, too")
    options = parser.parse_args(arguments)
    if options.quick:
        options.commands, options.rounds = 5, 1
    return options


async def _measure(shell: Shell, count: int) -> dict[str, float]:
    for _ in range(min(WARM_UP, count)):
        await shell.run("true")
    processor, clock = time.process_time(), time.perf_counter()
    for _ in range(count):
        await shell.run("true")
    return {
        "processor_us": (time.process_time() - processor) * 1e6 / count,
        "clock_us": (time.perf_counter() - clock) * 1e6 / count,
    }


async def _run(reactor: Any, folder: str, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    config = ConfigFolders.at(os.path.join(folder, "home"))
    account = Account.current(os.environ, "/bin/bash", "utf-8")
    services, shells, rounds = [], {}, {}
    for number, (name, observers) in enumerate(WAYS.items()):
        made = observers(os.path.join(folder, f"audit.{number}"))
        chosen = ServiceOptions(port=0, interfaces=["127.0.0.1"], observers=made)
        service = RemoteShellService(reactor, local_portal(reactor, config, account), config, chosen)
        service.startService()
        await service.when_listening()
        services.append(service)
        connection = await connect(reactor, "127.0.0.1", service.tcp_port, config=config)
        shells[name], rounds[name] = await connection.open_shell(), list[dict[str, float]]()
    for _ in range(options.rounds):
        for name, shell in shells.items():
            rounds[name].append(await _measure(shell, options.commands))
    for service in services:
        await service.stopService()
    return {
        name: {figure: statistics.median(one[figure] for one in each) for figure in each[0]}
        for name, each in rounds.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always.
    """
    options = _options(arguments)

    async def run(reactor: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            medians = await _run(reactor, folder, options)
        print(f"{'microseconds of a command':<28} {'processor':>10} {'clock':>10}")
        for name, each in medians.items():
            print(f"{name:<28} {each['processor_us']:>10.0f} {each['clock_us']:>10.0f}")
        if options.json:
            options.json.write_text(json.dumps(medians, indent=1))

    react(run)


if __name__ == "__main__":
    main()
