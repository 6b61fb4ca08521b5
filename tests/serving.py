"""A server in the test's own process, and shells connected to it: all real, on loopback, in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest_twisted
from twisted.cred.portal import Portal
from twisted.internet import reactor as installed_reactor

from tests.soak_mode import ServiceProxy, cutting, over_socket
from twisted_rsh import Connection, connect
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.execution.account import Account
from twisted_rsh.link.framed_link import FramedLink
from twisted_rsh.server import RemoteShellService, ServiceOptions, local_portal
from twisted_rsh.server.options import AUTO
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["Serving", "asynchronous", "cut", "link_of", "reactor"]

reactor: Any = installed_reactor

Test = TypeVar("Test", bound=Callable[..., Any])

asynchronous: Callable[[Test], Test] = pytest_twisted.ensureDeferred
"""Marks a test that is a coroutine, and runs it on the real reactor."""


def link_of(connection: Connection) -> FramedLink:
    """Return the connection that a shell has."""
    link = connection._pump.link
    assert link is not None
    return link


def cut(connection: Connection, reason: str = "cut") -> None:
    """Cut the connection that a shell has."""
    link_of(connection).fail(reason)


class Serving:
    """One server, and the shells that a test opened to it.

    :ivar config: where its keys and records are; a client with the same home is let in.
    :ivar service: the server.
    """

    def __init__(self, config: ConfigFolders, portal: Portal | None = None, **options: Any) -> None:
        account = Account.current(os.environ, "/bin/sh", options.pop("encoding", "utf-8"))
        self.config = config
        self.account = account
        socket = AUTO if over_socket() else None
        portal = portal or local_portal(reactor, config, account)
        self.service = RemoteShellService(
            reactor, portal, config, ServiceOptions(port=0, interfaces=["127.0.0.1"], **({"socket": socket} | options))
        )
        self._shells: list[Connection] = []
        self._proxy: ServiceProxy | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1 that clients dial: the server's, or in soak mode that of a proxy."""
        return self.service.tcp_port if self._proxy is None else self._proxy.port

    async def start(self) -> None:
        """Listen."""
        self.service.startService()
        await self.service.when_listening()
        run = cutting()
        if run is not None:
            self._proxy = ServiceProxy(run, reactor, self.config, self.service.tcp_port)
            await self._proxy.start()

    async def connect(self, limits: SessionLimits | None = None, *, resume: bool = True) -> Connection:
        """Connect and log in."""
        connection = await connect(reactor, "127.0.0.1", self.port, config=self.config, limits=limits, resume=resume)
        self._shells.append(connection)
        return connection

    async def stop(self) -> None:
        """Close every shell and stop the server; nothing is left on the reactor."""
        for shell in self._shells:
            await shell.close()
        if self._proxy is not None:
            await self._proxy.stop()
        await self.service.stopService()
