"""``python -m bench.servers.measured FILE ARGUMENTS``: a server that measures the turns of its reactor.

A turn of the reactor is what the server does from one wait for its descriptors to the next: nothing that arrives
meanwhile is noticed.  The longest turn, in seconds of the process's own processor time, stands in FILE as a native
double; whoever reads it writes 0 to begin anew.  Other programs on the machine do not count.
"""

from __future__ import annotations

import mmap
import runpy
import select
import struct
import sys
import time
from typing import Any

import twisted.internet.epollreactor as epoll_reactor

__all__ = ["SIZE", "LongestTurn"]

_DOUBLE = struct.Struct("d")

SIZE = _DOUBLE.size
"""Bytes of the file."""


class LongestTurn:
    """The file, as both sides use it.

    :param path: the file, which has :data:`SIZE` bytes.
    """

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SIZE)

    def take(self) -> float:
        """Return the longest turn since the last call, in seconds, and begin anew."""
        (seconds,) = _DOUBLE.unpack(self._memory[:SIZE])
        self._memory[:SIZE] = bytes(SIZE)
        return float(seconds)

    def add(self, seconds: float) -> None:
        """Note a turn."""
        if seconds > _DOUBLE.unpack(self._memory[:SIZE])[0]:
            self._memory[:SIZE] = _DOUBLE.pack(seconds)


class _Poller:
    """An epoll object that measures the time between two waits."""

    longest: LongestTurn

    def __init__(self, size: int) -> None:
        self._poller = select.epoll(size)
        self._began: float | None = None

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        if self._began is not None:
            self.longest.add(time.process_time() - self._began)
        try:
            return self._poller.poll(timeout, most)
        finally:
            self._began = time.process_time()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)


def main(path: str) -> None:
    """Run the server in this process."""
    _Poller.longest = LongestTurn(path)
    epoll_reactor.epoll = _Poller
    runpy.run_module("twisted_rsh.server", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv.pop(1))
