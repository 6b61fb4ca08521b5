"""A proxy on loopback that cuts connections, for tests that wait for processes instead of running a reactor."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.server_process import HOST, PATIENCE

__all__ = ["CuttingProxy", "cutting_proxy"]


class CuttingProxy:
    """Carries bytes between clients and a server, until it is told to cut.

    :param port: the server's TCP port.
    :ivar port: its own.
    :ivar target: the port of the server; another one is that of connections which still come.
    :ivar is_up: whether a connection that comes is carried on; otherwise it is closed at once.
    :ivar connections: how many came.
    :ivar cut_every: bytes after which each connection is cut, or ``None``.
    """

    def __init__(self, port: int) -> None:
        self.is_up = True
        self.connections = 0
        self.cut_every: int | None = None
        self.target = port
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            cut, self._open = self._open, []
        for one in cut:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def go_down(self) -> None:
        """Cut every connection, and carry no new one."""
        self.is_up = False
        self.cut()

    def close(self) -> None:
        """Cut every connection, and listen no more."""
        self.go_down()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection((HOST, self.target), PATIENCE) if self.is_up else None
            except OSError:
                server = None
            if server is None:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            pair = threading.Thread(target=self._carry_both, args=(client, server))
            self._threads.append(pair)
            pair.start()

    def _carry_both(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._carry, args=(server, client))
        back.start()
        self._carry(client, server)
        back.join(PATIENCE)
        client.close()
        server.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        left = self.cut_every
        with contextlib.suppress(OSError):
            while left is None or left > 0:
                data = source.recv(65536 if left is None else min(left, 65536))
                if not data:
                    break
                target.sendall(data)
                left = None if left is None else left - len(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting_proxy(port: int) -> Iterator[CuttingProxy]:
    """Run a proxy while a block lasts."""
    proxy = CuttingProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
