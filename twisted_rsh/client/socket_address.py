"""The way to a server on this machine over a Unix socket, by the path of its file."""

from __future__ import annotations

import os
import stat
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from twisted_rsh.client.address import CONNECT_SECONDS, Connecting
from twisted_rsh.client.errors import NoServer
from twisted_rsh.link.credentials import trusted_servers
from twisted_rsh.trust.socket_path import check_length

__all__ = ["SocketEndpoint"]


@implementer(IStreamClientEndpoint)
class SocketEndpoint:
    """A Unix socket, at which the system names the user of the server: no TLS and no key.

    :param reactor: provides `IReactorUNIX` and `IReactorTime`.
    :param path: its path.
    :param trusts_owner: whether to trust a server of the file's owner, as at a path that the user has named.  A server
        of the user's own, and of root's, is trusted in any case.
    """

    def __init__(self, reactor: Any, path: str, *, trusts_owner: bool) -> None:
        self._reactor = reactor
        self._path = path
        self._trusts_owner = trusts_owner

    def trusted(self) -> frozenset[int]:
        """Return the users whose server may be there."""
        try:
            owner = os.stat(self._path).st_uid if self._trusts_owner else None
        except (OSError, ValueError):  # no path has a NUL byte
            owner = None
        return trusted_servers(os.geteuid(), owner)

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect.

        :param factory: makes the connection's protocol, and does not decline.
        :returns: fires with the protocol in the turn after the connection was made; fails with a
            :class:`twisted.internet.error.ConnectError`, or with :class:`~twisted_rsh.client.errors.NoServer` for a
            path that cannot be a server's.  Cancelling it closes the socket.
        """
        if "\0" in self._path:
            return fail(NoServer("no path has a NUL byte"))
        try:
            check_length(self._path)
            if not stat.S_ISSOCK(os.stat(self._path).st_mode):
                return fail(NoServer("it is no socket"))
        except ValueError as error:
            return fail(NoServer(str(error)))
        except OSError as error:
            return fail(NoServer(error.strerror))
        connecting = Connecting(self._reactor, factory)
        self._reactor.connectUNIX(self._path, connecting, timeout=CONNECT_SECONDS)
        return connecting.done
