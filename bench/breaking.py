"""A proxy whose connections break every now and then, in a process of its own.

``python -m bench.breaking PORT LOW HIGH SEED`` writes its own port, connects whoever comes to PORT, cuts each
connection after LOW to HIGH seconds, or never with a HIGH of 0, and lasts until its stdin ends.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.python.failure import Failure

from bench.surroundings import running_proxy
from twisted_rsh.testing import NO_FAULTS, CutEverySeconds, FaultProxy

__all__ = ["LOGIN_SECONDS", "breaking", "main"]

LOGIN_SECONDS = 2.0
"""Seconds that the first connection has beside the others': a login is not repeated."""


class _UntilEnd(Protocol):
    """Waits for the end of stdin."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Learn of it; Twisted calls this."""
        self.ended.callback(None)


async def _serve(reactor: Any, port: int, low: float, high: float, seed: int) -> None:
    schedule = CutEverySeconds(seed, low, high, spare_seconds=LOGIN_SECONDS) if high else NO_FAULTS
    proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", port), schedule)
    await proxy.start()
    until_end = _UntilEnd()
    StandardIO(until_end, reactor=reactor)
    print(proxy.port, flush=True)
    await until_end.ended
    await proxy.stop()


@contextlib.contextmanager
def breaking(folder: str, port: int, low: float, high: float, seed: int) -> Iterator[int]:
    """Run a proxy while a block lasts.

    :param folder: the run's.
    :param port: the TCP port on 127.0.0.1 that it connects to.
    :param low: seconds after which a connection is cut, at least.
    :param high: seconds, at most; 0 for never.
    :param seed: what they are drawn from.
    :returns: its own TCP port.
    :raises RuntimeError: it did not start.
    """
    command = [sys.executable, "-m", "bench.breaking", str(port), str(low), str(high), str(seed)]
    with running_proxy(command, folder) as own:
        yield own


def main(port: int, low: float, high: float, seed: int) -> None:
    """Run until stdin ends.

    :raises SystemExit: always.
    """
    react(lambda reactor: Deferred.fromCoroutine(_serve(reactor, port, low, high, seed)))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
