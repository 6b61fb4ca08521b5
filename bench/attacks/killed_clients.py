"""``python -m bench.attacks.killed_clients``: clients with much unread output are killed, hundreds of them.

Each client has jobs that write as much as the server takes, reads nothing of it, and is killed.  The server keeps no
session without a link here (``--detach-timeout 0``), so each session ends with its client.  The promise: after the
storm the server has at most 20 MiB more memory than before, without a run of the garbage collector.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence

from bench.attacks.raw_client import RawClient, Refused, memory
from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare
from twisted_rsh.core.messages import Goodbye, Open
from twisted_rsh.core.requests import JobRequest

__all__ = ["main"]

PROMISED_MIB = 20.0
"""MiB by which the server may have grown."""

AT_ONCE = 40
"""Clients that are there together."""

JOBS = 2
"""Jobs of a client, each of which fills the window of an output: 512 KiB in all."""

COUNTS = (200, 760)
"""Clients of the two storms: 960 in all."""

SETTLE_SECONDS = 12.0
"""Seconds for the last jobs to end: the kill ladder takes ten."""

COMMAND = "exec 2>&1; head -c 300000 /dev/zero; exec sleep 30"


def _storm(folder: str, port: int, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        clients = []
        for _ in range(min(AT_ONCE, count - start)):
            client = RawClient(folder, port, narrow=True)
            clients.append(client)
            for channel in range(1, JOBS + 1):
                client.send_control(Open(channel=channel, request=JobRequest(command=COMMAND)))
        time.sleep(0.3)
        for number, client in enumerate(clients):
            if number % 4 == 3:
                with contextlib.suppress(Refused):
                    client.send_control(Goodbye(text=""))
            client.kill()


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when the promise is broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.killed_clients", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 clients")
    options = parser.parse_args(arguments)
    clean_up_when_ended()
    broken = False
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        many = ("--max-sessions-per-key", "1000", "--detach-timeout", "0")
        site = Site(folder=folder, shell="/bin/sh", server_options=many)  # noqa: S604 - a name
        with running(OURS, site) as (pid, port):
            # What a server loads with its first clients stays, and is no growth.
            _storm(folder, port, AT_ONCE // 2)
            time.sleep(1.0 if options.quick else SETTLE_SECONDS)
            before = memory(pid, "VmRSS")
            killed = 0
            for count in (40,) if options.quick else COUNTS:
                _storm(folder, port, count)
                killed += count
                time.sleep(2.0 if options.quick else SETTLE_SECONDS)
                after = memory(pid, "VmRSS")
                broken |= after - before > PROMISED_MIB
                print(
                    f"{killed} killed clients: {before:.0f} to {after:.0f} MiB, peak {memory(pid, 'VmHWM'):.0f} MiB, "
                    f"promised at most {PROMISED_MIB:.0f} MiB more",
                    flush=True,
                )
    raise SystemExit(int(broken))


if __name__ == "__main__":
    main(sys.argv[1:])
