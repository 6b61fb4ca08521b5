"""The way to the server, as the options describe it: the key to log in with, addresses, a proxy, patience."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure

from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.proxy_command import ProxyCommandEndpoint
from twisted_rsh.client.connecting import connect
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import NoServer
from twisted_rsh.core.errors import Error
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.trust.client_key import ClientKey, load_client_key
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["Reach"]


class Reach:
    """Connects to the server of the options.

    :param reactor: the reactor.
    :param options: the options.
    :param config: the folders of the client's own key and of the records of servers.
    """

    def __init__(self, reactor: Any, options: ClientOptions, config: ConfigFolders) -> None:
        self._reactor = reactor
        self._options = options
        self._config = config
        self._proxy = None if options.proxy_command is None else ProxyCommandEndpoint(reactor, options.proxy_command)

    async def connect(self) -> Connection:
        """Connect and log in.

        :raises twisted_rsh.core.errors.Error: that failed, or took longer than the options allow.
        :raises OSError: a file cannot be read.
        """
        options = self._options
        connecting = connect(
            self._reactor,
            options.host,
            options.port,
            user=options.user,
            fingerprint=options.fingerprint,
            config=self._config,
            limits=self._limits(),
            resume=not options.no_resume,
            key=self._key(),
            endpoint=self._proxy or self._endpoint(),
        )
        if options.connect_timeout is not None:
            connecting.addTimeout(options.connect_timeout, self._reactor, self._timed_out)
        try:
            return await connecting
        except socket.gaierror as error:
            raise NoServer(f"cannot connect to {options.host} port {options.port}: {error.strerror}") from None

    def stop(self) -> None:
        """End what the way needed.  May be called more than once."""
        if self._proxy is not None:
            self._proxy.stop()

    def _limits(self) -> SessionLimits:
        limits = SessionLimits()
        if self._options.alive_interval is not None:
            limits = replace(limits, keepalive_interval=self._options.alive_interval)
        if self._options.alive_count is not None:
            # A link that could miss one interval alone would be lost before the server has been asked.
            limits = replace(limits, keepalive_misses=max(self._options.alive_count, 2))
        return limits

    def _key(self) -> ClientKey | None:
        """Read the key from the first file of the options that exists."""
        paths = self._options.identities
        if not paths:
            return None
        found = next(filter(os.path.exists, paths), None)
        if found is None:
            raise Error(f"there is no key to log in with: {paths[0]!r} does not exist")
        return load_client_key(found)

    def _endpoint(self) -> IStreamClientEndpoint | None:
        options = self._options
        if not options.family:
            return None
        # Only here, as they load much that most runs of the client do not need.
        from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint

        if options.family == 4:
            return TCP4ClientEndpoint(self._reactor, options.host, options.port)
        return TCP6ClientEndpoint(self._reactor, options.host, options.port)

    def _timed_out(self, _result: object, seconds: float) -> Failure:
        options = self._options
        return Failure(
            NoServer(f"cannot connect to {options.host} port {options.port}: no answer within {seconds:g} s")
        )
