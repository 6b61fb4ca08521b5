"""A proxy that is as far away as it is told, in a process of its own.

``python -m bench.delaying PORT MILLISECONDS RATE LOSS SEED`` writes its own port and connects each client to PORT.  It
gives every byte on after half of MILLISECONDS, the time there and back, and no faster than RATE MB/s each way; 0 is no
bound.  LOSS is the share of packets that get lost: TCP sends such a packet again, so it, and all after it, comes a
round trip later.  The proxy lasts until its stdin ends.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator

from bench.surroundings import running_proxy

__all__ = ["Path", "delaying", "main"]

READ_BYTES = 256 * 1024
"""Bytes of one read."""

PACKET_BYTES = 1448
"""Bytes of a stream in one packet of an Ethernet."""

MAX_HELD_BYTES = 64 * 1024 * 1024
"""Bytes on their way in one direction, beyond which the proxy does not read: four of the largest windows."""


class Path:
    """What becomes of the bytes of one direction.

    :param one_way: seconds that a byte takes.
    :param rate: bytes in a second; 0 for no bound.
    :param loss: the share of packets that get lost.
    :param draw: draws which.
    """

    def __init__(self, one_way: float, rate: float, loss: float, draw: random.Random) -> None:
        self._one_way = one_way
        self._rate = rate
        self._loss = loss
        self._draw = draw
        self._free_at = 0.0
        self._last = 0.0

    def arrival(self, size: int, now: float) -> float:
        """Return when bytes arrive that are sent now: never before those that were sent earlier.

        :param size: how many.
        :param now: the time in seconds.
        """
        self._free_at = max(self._free_at, now)
        if self._rate:
            self._free_at += size / self._rate
        at = self._free_at + self._one_way
        packets = -(-size // PACKET_BYTES)
        if self._loss and self._draw.random() < 1 - (1 - self._loss) ** packets:
            at += 2 * self._one_way
        self._last = max(self._last, at)
        return self._last


class _Way:
    """One direction of one connection: from a socket, over a path, into another socket."""

    def __init__(self, source: socket.socket, sink: socket.socket, path: Path) -> None:
        self._source = source
        self._sink = sink
        self._path = path
        self._under_way: deque[tuple[float, memoryview]] = deque()
        self._held = 0
        self._has_ended = False
        self.is_blocked = False
        self.is_over = False

    @property
    def wants_to_read(self) -> bool:
        """Whether it takes more bytes."""
        return not self._has_ended and self._held < MAX_HELD_BYTES

    def read(self, now: float) -> None:
        """Take the bytes that are there."""
        try:
            data = self._source.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._has_ended = not data
        self._held += len(data)
        self._under_way.append((self._path.arrival(len(data), now), memoryview(data)))

    def write(self, now: float) -> None:
        """Give on the bytes that have arrived."""
        self.is_blocked = False
        while self._under_way and self._under_way[0][0] <= now:
            at, data = self._under_way.popleft()
            if not data:
                self.is_over = True
                with contextlib.suppress(OSError):
                    self._sink.shutdown(socket.SHUT_WR)
                return
            try:
                sent = self._sink.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.is_over = True
                return
            self._held -= sent
            if sent < len(data):
                self._under_way.appendleft((at, data[sent:]))
                self.is_blocked = True
                return

    @property
    def due(self) -> float | None:
        """When the next bytes arrive; ``None`` when none are under way, or the socket takes none."""
        return self._under_way[0][0] if self._under_way and not self.is_blocked else None


class _Proxy:
    def __init__(self, port: int, seconds: float, rate: float, loss: float, seed: int) -> None:
        self._port = port
        self._conditions = (seconds / 2, rate, loss)
        self._draw = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._ways: dict[socket.socket, tuple[_Way, _Way]] = {}
        self.port = int(self._listener.getsockname()[1])

    def run(self) -> None:
        while True:
            dues = [due for way, _ in self._ways.values() if (due := way.due) is not None]
            seconds = max(min(dues) - time.monotonic(), 0.0) if dues else None
            for key, events in self._selector.select(seconds):
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is self._listener:
                    self._connect()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._ways and events:
                    outgoing, incoming = self._ways[key.fileobj]
                    if events & selectors.EVENT_READ:
                        outgoing.read(time.monotonic())
                    if events & selectors.EVENT_WRITE:
                        incoming.is_blocked = False
            now = time.monotonic()
            for way, _ in list(self._ways.values()):
                if not way.is_blocked:
                    way.write(now)
            self._watch()

    def _connect(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._port))
        there, back = (_Way(*ends, Path(*self._conditions, self._draw)) for ends in ((near, far), (far, near)))
        for end, ways in ((near, (there, back)), (far, (back, there))):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ways[end] = ways
            self._selector.register(end, selectors.EVENT_READ)

    def _watch(self) -> None:
        """Wait for what each socket can do next; let a connection go that is over both ways."""
        watched = self._selector.get_map()
        for end, (outgoing, incoming) in list(self._ways.items()):
            if outgoing.is_over and incoming.is_over:
                del self._ways[end]
                if end in watched:
                    self._selector.unregister(end)
                end.close()
                continue
            events = selectors.EVENT_READ * outgoing.wants_to_read | selectors.EVENT_WRITE * incoming.is_blocked
            if end not in watched:
                if events:
                    self._selector.register(end, events)
            elif not events:
                self._selector.unregister(end)
            elif watched[end].events != events:
                self._selector.modify(end, events)


@contextlib.contextmanager
def delaying(
    folder: str, port: int, seconds: float, rate: float = 0.0, loss: float = 0.0, seed: int = 1
) -> Iterator[int]:
    """Run a proxy while a block lasts.

    :param folder: the run's.
    :param port: the TCP port on 127.0.0.1 that it connects to.
    :param seconds: the time there and back.
    :param rate: MB in a second each way; 0 for no bound.
    :param loss: the share of packets that get lost, below 1.
    :param seed: what is drawn from to decide which.
    :returns: its own TCP port.
    :raises RuntimeError: it did not start.
    """
    numbers = [str(number) for number in (port, seconds * 1000, rate, loss, seed)]
    command = [sys.executable, "-m", "bench.delaying", *numbers]
    with running_proxy(command, folder) as own:
        yield own


def main(port: int, milliseconds: float, rate: float, loss: float, seed: int) -> None:
    """Run until stdin ends."""
    proxy = _Proxy(port, milliseconds / 1000, rate * 1e6, loss, seed)
    print(proxy.port, flush=True)
    proxy.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
