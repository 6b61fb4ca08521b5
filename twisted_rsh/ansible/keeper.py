"""The keeper of Ansible's connections: ``python -m twisted_rsh.ansible.keeper NAME``.

The connection plugin starts it, in a folder that belongs to the account and that no other user can enter.  It listens
at a Unix socket of that name there, writes :data:`READY` to its stdout, and serves the processes of Ansible
(:mod:`twisted_rsh.ansible.worker`).  One keeper holds the connections to all hosts, also those of several controllers
that run at once.  It ends when no process of Ansible has been connected for as long as its connections are kept.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from twisted_rsh import use_steady_clock
from twisted_rsh.ansible.kept import KeptServer, ServerAddress
from twisted_rsh.ansible.worker import WorkerLink

__all__ = ["BACKLOG", "FIRST_SECONDS", "READY", "Keeper", "KeeperPort", "main"]

READY = "ready"
"""The line that says that the keeper listens.  Whatever else it writes says why it does not."""

FIRST_SECONDS = 30.0
"""Seconds for which the keeper waits for a first request: the process of Ansible that has started it asks at once."""

BACKLOG = 1024
"""Processes of Ansible that wait to be taken: more than the number of forks that one machine has memory for."""


class Keeper(Factory):
    """The connections to all hosts, and the processes of Ansible that use them.

    :param reactor: the reactor.
    :ivar idle: fires when no process of Ansible has been connected for as long as the connections are kept.
    """

    noisy = False

    def __init__(self, reactor: Any) -> None:
        self.idle: Deferred[None] = Deferred()
        self._reactor = reactor
        self._servers: dict[ServerAddress, KeptServer] = {}
        self._workers: set[WorkerLink] = set()
        self._ending: IDelayedCall | None = reactor.callLater(FIRST_SECONDS, self.idle.callback, None)
        self._until = 0.0

    def buildProtocol(self, addr: IAddress | None) -> WorkerLink | None:
        # A keeper that ends greets no one, so that the process of Ansible starts another.
        return None if self.idle.called else WorkerLink(self)

    def server(self, address: ServerAddress) -> KeptServer:
        """Return the server at an address."""
        if address not in self._servers:
            self._servers[address] = KeptServer(self._reactor, address, self._forget)
        return self._servers[address]

    def reset(self, address: ServerAddress) -> None:
        """Let the next use of a server connect anew.  What runs over the old connection goes on."""
        server = self._servers.pop(address, None)
        if server is not None:
            server.retire()

    def worker_came(self, link: WorkerLink) -> None:
        """Learn that a process of Ansible has connected."""
        self._workers.add(link)
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def worker_left(self, link: WorkerLink, idle_seconds: float | None) -> None:
        """Learn that a process of Ansible is gone, and for how long it wanted connections to be kept, if it said so."""
        self._workers.discard(link)
        now = self._reactor.seconds()
        self._until = max(self._until, now + (FIRST_SECONDS if idle_seconds is None else idle_seconds))
        if not self._workers and not self.idle.called:
            self._ending = self._reactor.callLater(max(self._until - now, 0.0), self.idle.callback, None)

    def close(self) -> Deferred[Any]:
        """Close all connections.

        :returns: fires, and never fails, when they are closed.
        """
        return DeferredList([server.close() for server in self._servers.values()])

    def _forget(self, server: KeptServer) -> None:
        if self._servers.get(server.address) is server:
            del self._servers[server.address]


class KeeperPort(unix.Port):
    """Listens at a Unix socket in the current folder, whatever the length of the folder's path.

    :param name: the socket's name.
    :param keeper: serves who connects.
    :param reactor: the reactor.
    """

    def __init__(self, name: str, keeper: Keeper, reactor: Any) -> None:
        super().__init__(os.fsencode(name), keeper, backlog=BACKLOG, mode=0o600, reactor=reactor)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # Not unix.Port's own, which removes the name: by now it may be that of the next keeper's socket.
        tcp.Port.connectionLost(self, reason)


async def main(reactor: Any, name: str) -> None:
    """Keep connections until nothing needs them.

    :param reactor: the reactor.
    :param name: the name of the socket in the current folder.
    """
    use_steady_clock(reactor)
    keeper = Keeper(reactor)
    port: Any = KeeperPort(name, keeper, reactor)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)  # an earlier keeper was killed
    port.startListening()
    reactor.addSystemEventTrigger("before", "shutdown", keeper.close)
    print(READY, flush=True)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    await keeper.idle
    # Without the name the next process of Ansible starts another keeper, instead of waiting for this one.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)
    await port.stopListening()


if __name__ == "__main__":
    react(main, sys.argv[1:])
