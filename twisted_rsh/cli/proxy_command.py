"""Connections through a program: its stdin and stdout carry the bytes, as with ``ssh``'s ProxyCommand."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from twisted_rsh.client.errors import NoServer

__all__ = ["ProxyCommandEndpoint"]


class _OneConnection(Factory):
    """Makes the protocol of one connection, and keeps it for the endpoint's caller."""

    noisy = False

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory
        self.made: IProtocol | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        self.made = self._factory.buildProtocol(addr)  # type: ignore[arg-type]  # a socket pair has no address
        return self.made  # type: ignore[return-value]


@implementer(IStreamClientEndpoint)
class ProxyCommandEndpoint:
    """Starts a command for each connection, with one end of a socket as its stdin and stdout.

    The command has a session of its own: Ctrl-C is meant for what runs on the server.

    :param reactor: provides `IReactorSocket`.
    :param command: a command line for the user's own shell.
    """

    def __init__(self, reactor: Any, command: str) -> None:
        self._reactor = reactor
        self._command = command
        self._processes: list[subprocess.Popen[bytes]] = []

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Start the command.

        :param factory: makes the connection's protocol.
        :returns: fires with the protocol at once; fails with :class:`~twisted_rsh.client.errors.NoServer` if the shell
            cannot be started.
        """
        return execute(self._start, factory)

    def stop(self) -> None:
        """Hang up the commands that still run, as their terminal would.  May be called more than once."""
        for process in self._processes:
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGHUP)

    def _start(self, factory: IProtocolFactory) -> IProtocol:
        self._processes = [process for process in self._processes if process.poll() is None]
        shell = os.environ.get("SHELL", "")
        words = [shell if os.path.isabs(shell) else "/bin/sh", "-c", f"exec {self._command}"]
        ours, theirs = socket.socketpair()
        with ours, theirs:
            try:
                self._processes.append(
                    subprocess.Popen(words, stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True)
                )
            except (OSError, ValueError) as error:
                raise NoServer(f"cannot run {words[0]!r} for the ProxyCommand: {error}") from None
            ours.setblocking(False)
            connection = _OneConnection(factory)
            # The reactor takes a duplicate.
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, connection)
        assert connection.made is not None
        return connection.made
