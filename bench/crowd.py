"""Holds many connections to a server of this package open and does nothing with them.

``python -m bench.crowd FOLDER PORT COUNT`` writes a line when all have logged in, and lasts until its stdin ends.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.python.failure import Failure

from bench.servers.starting import QUIET_SECONDS
from bench.surroundings import server_fingerprint
from twisted_rsh import Connection, connect
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["main"]

AT_ONCE = 8
"""Connections that log in together: fewer than a server starts to turn some away for."""


class _UntilEnd(Protocol):
    """Waits for the end of stdin."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Learn of it; Twisted calls this."""
        self.ended.callback(None)


async def _hold(reactor: Any, folder: str, port: int, count: int) -> None:
    config = ConfigFolders.at(folder)
    fingerprint = server_fingerprint(folder)
    limits = SessionLimits(keepalive_interval=QUIET_SECONDS)

    async def connect_some(share: range) -> list[Connection]:
        words: dict[str, Any] = {"config": config, "limits": limits, "fingerprint": fingerprint}
        return [await connect(reactor, "127.0.0.1", port, **words) for _ in share]

    # One before the others: the first connection of all makes the key.
    held = [await connect_some(range(1))]
    shares = [range(start, count, AT_ONCE) for start in range(1, 1 + AT_ONCE)]
    held += await gatherResults([Deferred.fromCoroutine(connect_some(share)) for share in shares])
    until_end = _UntilEnd()
    StandardIO(until_end, reactor=reactor)
    print(sum(len(some) for some in held), flush=True)
    await until_end.ended


def main(folder: str, port: int, count: int) -> None:
    """Hold connections until stdin ends.

    :param folder: the folder of the keys.
    :param port: the server's TCP port on 127.0.0.1.
    :param count: connections.
    :raises SystemExit: always: with status 1, and the reason on stderr, when one could not be had.
    """
    react(lambda reactor: Deferred.fromCoroutine(_hold(reactor, folder, port, count)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
