"""The proxy of soak mode as a program: ``python -m tests.cutting_proxy TARGET_PORT SEED SOCKET``.

SOCKET is the path of the server's Unix socket, or empty.  The program prints its port, or the path of its own socket;
when its input ends, it prints how many connections were made and how many of them it cut, and ends.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.task import react
from twisted.internet.threads import deferToThread

from tests.soak_mode import cut_path, cutting_proxy

__all__ = ["main"]


async def main(reactor: Any, port: str, seed: str, socket: str) -> None:
    """Run the proxy until the input ends."""
    proxy = cutting_proxy(reactor, int(port), socket or None, seed)
    await proxy.start()
    print(cut_path(socket) if socket else proxy.port, flush=True)
    await deferToThread(sys.stdin.read)
    await proxy.stop()
    print(proxy.connections, proxy.cuts, flush=True)


if __name__ == "__main__":
    react(main, sys.argv[1:])
