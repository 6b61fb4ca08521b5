"""``python -m bench.attacks.parts``: messages that begin to arrive in parts, and never end.

Each of many sessions sends parts up to the longest message, and stops.  Promised is that the server holds no more than
its bound for all sessions together and 128 KiB for each, and that at most 20 MiB stay when the clients have gone.
"""

from __future__ import annotations

import argparse
import contextlib
import struct
import sys
import tempfile
import time
from collections.abc import Sequence

from bench.attacks.raw_client import RawClient, Refused, memory
from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare
from twisted_rsh.core.limits import MAX_PART_BYTES
from twisted_rsh.server.sessions import MAX_UNFINISHED_BYTES, OVERRUN_BYTES

__all__ = ["main"]

PROMISED_MIB = 20.0
"""MiB by which the server may have grown when the clients have gone, and beside its bound while they are there."""

SESSIONS, QUICK_SESSIONS = 160, 60
"""Sessions that send parts, and are all there together."""

PARTS = 57
"""Parts that each sends: all but the last of the longest message."""


def _flood(folder: str, port: int, count: int) -> list[RawClient]:
    clients = []
    for _ in range(count):
        client = RawClient(folder, port)
        clients.append(client)
        with contextlib.suppress(Refused):
            for number in range(PARTS):
                client.send([struct.pack("!BQ", 0x20, number) + bytes(MAX_PART_BYTES)])
    return clients


def _end(clients: Sequence[RawClient]) -> None:
    for client in clients:
        with contextlib.suppress(Refused):
            client.send([b"\xff"])  # a breach ends the session with its link
            client.ping()
        client.kill()


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when a promise is broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.parts", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SESSIONS} sessions")
    options = parser.parse_args(arguments)
    count = QUICK_SESSIONS if options.quick else SESSIONS
    clean_up_when_ended()
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        many = str(2 * count)
        site = Site(folder=folder, shell="/bin/sh", server_options=("--max-sessions-per-key", many))  # noqa: S604 - a name
        with running(OURS, site) as (pid, port):
            _end(_flood(folder, port, 20))
            time.sleep(2.0)
            before = memory(pid, "VmRSS")
            clients = _flood(folder, port, count)
            time.sleep(1.0)
            bound = (MAX_UNFINISHED_BYTES + count * OVERRUN_BYTES) / 2**20
            peak = memory(pid, "VmHWM")
            print(
                f"{count} sessions with unfinished messages: {before:.0f} to {peak:.0f} MiB at most, promised "
                f"{bound:.0f} MiB and {PROMISED_MIB:.0f} MiB more"
            )
            _end(clients)
            time.sleep(4.0)
            after = memory(pid, "VmRSS")
            print(f"when they have gone: {after:.0f} MiB, promised at most {PROMISED_MIB:.0f} MiB more than before")
            broken = after - before > PROMISED_MIB or peak - before > bound + PROMISED_MIB
    raise SystemExit(int(broken))


if __name__ == "__main__":
    main(sys.argv[1:])
