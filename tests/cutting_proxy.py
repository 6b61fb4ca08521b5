"""The proxy of soak mode as a program: ``python -m tests.cutting_proxy TARGET_PORT SEED``.

It prints its port; when its input ends, it prints how many connections were made and how many of them it cut, and ends.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.python.failure import Failure

from tests.soak_mode import HOST, CutLinks
from twisted_rsh.testing import FaultProxy

__all__ = ["main"]


class _Input(Protocol):
    """Waits for the end of the input."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


async def main(reactor: Any, port: str, seed: str) -> None:
    """Run the proxy until the input ends."""
    proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, HOST, int(port)), CutLinks(seed))
    await proxy.start()
    print(proxy.port, flush=True)  # noqa: T201 - who started this program reads it
    waiting = _Input()
    StandardIO(waiting, stdout=sys.stderr.fileno(), reactor=reactor)
    await waiting.ended
    await proxy.stop()
    print(proxy.connections, proxy.cuts, flush=True)  # noqa: T201


if __name__ == "__main__":
    react(main, sys.argv[1:])
