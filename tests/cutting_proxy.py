"""The proxy of soak mode as a program: ``python -m tests.cutting_proxy TARGET_PORT SEED``.

It prints its port; when its input ends, it prints how many connections were made and how many of them it cut, and ends.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from tests.soak_mode import HOST, CutLinks
from twisted_rsh.testing import FaultProxy

__all__ = ["main"]


async def main(reactor: Any, port: str, seed: str) -> None:
    """Run the proxy until the input ends."""
    proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, HOST, int(port)), CutLinks(seed))
    await proxy.start()
    print(proxy.port, flush=True)
    await deferToThread(sys.stdin.read)
    await proxy.stop()
    print(proxy.connections, proxy.cuts, flush=True)


if __name__ == "__main__":
    react(main, sys.argv[1:])
