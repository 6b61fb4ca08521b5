"""A server to which the keeper holds one connection, for as long as something uses it and for a while after."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.python.failure import Failure

from twisted_rsh import ClientKey, ConfigFolders, Connection, Error, NoServer, connect, load_client_key
from twisted_rsh.ansible.aliases import HostSettings, read_host_settings

__all__ = ["KeptServer", "ServerAddress"]


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server, and how to reach it.  Processes that give the same address share a connection.

    :ivar host: a host name or address, or an alias of the configuration file.
    :ivar port: the TCP port; ``None`` for that of the configuration file, or the usual one.
    :ivar user: the user to log in as; ``None`` for that of the file, or the one who runs the keeper.
    :ivar fingerprint: that of the server's key; ``None`` for that of the file, or a server that is known.
    :ivar config_dir: the folder of the client's key and of the records; ``None`` for the user's XDG folders.
    :ivar resume: whether commands outlive a connection that breaks.
    """

    host: str
    port: int | None
    user: str | None
    fingerprint: str | None
    config_dir: str | None
    resume: bool

    async def connect(self, reactor: Any, seconds: float) -> Connection:
        """Connect and log in.

        :param reactor: the reactor.
        :param seconds: how long that may take.
        :raises twisted_rsh.NoServer: it has taken longer.
        :raises twisted_rsh.Error: as :func:`twisted_rsh.connect`.
        :raises OSError: likewise.
        """
        settings = await read_host_settings(self)
        connecting = connect(
            reactor,
            settings.host,
            settings.port,
            user=settings.user,
            fingerprint=settings.fingerprint,
            config=None if self.config_dir is None else ConfigFolders.at(self.config_dir),
            limits=settings.limits,
            resume=settings.resume,
            key=_given_key(settings.identities),
            endpoint=_endpoint(reactor, settings),
        )
        try:
            return await connecting.addTimeout(seconds, reactor)
        except defer.TimeoutError:
            raise NoServer(f"{settings.host} port {settings.port} has let no one in within {seconds:.15g} s") from None


def _endpoint(reactor: Any, settings: HostSettings) -> IStreamClientEndpoint | None:
    """Return the way over one kind of address alone; ``None`` where both will do."""
    if settings.family == "inet":
        return TCP4ClientEndpoint(reactor, settings.host, settings.port)
    if settings.family == "inet6":
        return TCP6ClientEndpoint(reactor, settings.host, settings.port)
    return None


def _given_key(paths: tuple[str, ...]) -> ClientKey | None:
    """Read the key from the first file that exists; ``None`` where no file is named."""
    if not paths:
        return None
    found = next(filter(os.path.exists, paths), None)
    if found is None:
        raise Error(f"there is no key to log in with: {paths[0]!r} does not exist")
    return load_client_key(found)


class KeptServer:
    """One connection, made when it is needed, shared by all that use it, and closed when nothing has for a while.

    :param reactor: the reactor.
    :param address: the server.
    :param closed: called when the connection was closed and nothing waits for another.
    """

    def __init__(self, reactor: Any, address: ServerAddress, closed: Callable[[KeptServer], object]) -> None:
        self.address = address
        self._reactor = reactor
        self._closed = closed
        self._connection: Connection | None = None
        self._waiting: list[Deferred[Connection]] = []
        self._uses = 0
        self._is_retired = False
        self._idle: IDelayedCall | None = None

    @asynccontextmanager
    async def use(self, connect_seconds: float, idle_seconds: float) -> AsyncIterator[Connection]:
        """Use the connection for as long as a block lasts.

        :param connect_seconds: how long connecting and logging in may take.
        :param idle_seconds: for how long to keep it once nothing uses it.
        :raises twisted_rsh.Error: there is no connection: what :func:`twisted_rsh.connect` fails with.
        :raises OSError: likewise.
        """
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._uses += 1
        try:
            yield await self._obtain(connect_seconds)
        finally:
            self._uses -= 1
            if not self._uses:
                seconds = 0 if self._is_retired else idle_seconds
                self._idle = self._reactor.callLater(seconds, self._idle_too_long)

    def retire(self) -> None:
        """Close the connection as soon as nothing uses it, at once if nothing does."""
        self._is_retired = True
        if self._idle is not None:
            self._idle.cancel()
            self._idle_too_long()

    def close(self) -> Deferred[None]:
        """Close the connection; the server ends what still runs over it.

        :returns: fires, and never fails, when it is closed.
        """
        connection, self._connection = self._connection, None
        return succeed(None) if connection is None else connection.close()

    def _idle_too_long(self) -> None:
        self._idle = None
        self.close()
        self._closed(self)

    def _obtain(self, seconds: float) -> Deferred[Connection]:
        kept = self._connection
        # A connection that has lost its link looks for another.  Only commands that run over it are worth the wait.
        if kept is not None and kept.lost is None and (kept.connected or self._uses > 1):
            return succeed(kept)
        self.close()
        waiter: Deferred[Connection] = Deferred()
        self._waiting.append(waiter)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self.address.connect(self._reactor, seconds)).addBoth(self._arrived)
        return waiter

    def _arrived(self, outcome: Connection | Failure) -> None:
        waiting, self._waiting = self._waiting, []
        if isinstance(outcome, Connection):
            self._connection = outcome
        for waiter in waiting:
            waiter.callback(outcome)
