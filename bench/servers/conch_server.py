"""A server of Twisted Conch's that runs commands as its own user: the peer of that name.

``python -m bench.servers.conch_server FOLDER SHELL`` writes its port on stdout.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from twisted.conch.avatar import ConchUser
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.interfaces import ISession
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import SSHSession
from twisted.cred.portal import IRealm, Portal
from twisted.internet.error import ProcessExitedAlready
from twisted.python.components import registerAdapter
from zope.interface import implementer

from bench.surroundings import client_key_path, host_key_path, user_name

__all__ = ["main"]


class _User(ConchUser):
    """Whoever logs in.

    :ivar shell: the shell that runs commands.
    """

    def __init__(self, shell: str) -> None:
        ConchUser.__init__(self)
        self.shell = shell
        self.channelLookup[b"session"] = SSHSession


@implementer(ISession)
class _Session:
    """Runs one command; Conch calls all of these."""

    def __init__(self, user: Any) -> None:
        # As Conch's own session for Unix users does: without it every command waits 40 ms for an acknowledgement.
        user.conn.transport.transport.setTcpNoDelay(True)
        self._shell = user.shell
        self._process: Any = None
        self._terminal: Any = None

    def getPty(self, term: bytes, windowSize: Any, modes: Any) -> None:
        """Make a terminal for the command to come."""
        behind, terminal = os.openpty()
        self._terminal = (behind, terminal, os.ttyname(terminal))

    def execCommand(self, protocol: Any, command: bytes) -> None:
        """Run a command."""
        reactor: Any = importlib.import_module("twisted.internet.reactor")
        words = [self._shell, "-c", command]
        self._process = reactor.spawnProcess(protocol, words[0], words, env=os.environ, usePTY=self._terminal or 0)

    def openShell(self, protocol: Any) -> None:
        """Nobody asks for a shell here."""
        raise NotImplementedError("this server runs commands")

    def windowChanged(self, newWindowSize: Any) -> None:
        """The size of the terminal makes no difference here."""

    def eofReceived(self) -> None:
        """Pass the end of the input on."""
        if self._process is not None:
            self._process.closeStdin()

    def closed(self) -> None:
        """End the command whose channel is gone."""
        if self._process is not None:
            try:
                self._process.signalProcess("HUP")
            except ProcessExitedAlready:
                return
            self._process.loseConnection()


@implementer(IRealm)
class _Realm:
    def __init__(self, shell: str) -> None:
        self._shell = shell

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> tuple[Any, _User, Any]:
        return interfaces[0], _User(self._shell), lambda: None


def main(folder: str, shell: str) -> None:
    """Serve until ended by a signal.

    :param folder: the folder of the keys.
    :param shell: the shell that runs commands.
    """
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    registerAdapter(_Session, _User, ISession)
    factory: Any = SSHFactory()
    key = Key.fromFile(host_key_path(folder))
    factory.privateKeys = {b"ssh-ed25519": key}
    factory.publicKeys = {b"ssh-ed25519": key.public()}
    keys = InMemorySSHKeyDB({user_name().encode(): [Key.fromFile(client_key_path(folder) + ".pub")]})
    factory.portal = Portal(_Realm(shell), [SSHPublicKeyChecker(keys)])
    listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
    print(listening.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
