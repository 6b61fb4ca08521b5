"""The server's Unix sockets: each is a file of its own, which takes the place of one that a killed server has left.

Twisted's own port would do, but for three things.  It takes a socket for left behind when no process has a number that
stands in a second file; that number may be another program's by then, or of another container.  It gives every user
write permission unless told otherwise, also to a socket that a service manager has made.  And when it stops it removes
whatever has the name, also the socket of that manager.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Any, cast

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.log_level import leveled_log
from twisted_rsh.server.listening import BACKLOG
from twisted_rsh.trust.locks import locked_folder
from twisted_rsh.trust.socket_path import check_length

__all__ = ["DEFAULT_MODE", "AdoptedSocketPort", "SocketPort", "SocketReactor", "SocketServerEndpoint"]

_log = Logger(namespace=__name__, observer=leveled_log)

LOCK_SECONDS = 1.0
"""Seconds to wait for another server that starts in the same folder, which takes it less than a millisecond."""

_NO_FILE = b"\0"
"""What the name of a socket begins with that is no file (unix(7))."""

DEFAULT_MODE = 0o600
"""The mode of a socket: its owner's."""


class SocketPort(unix.Port):
    """Listens on a Unix socket.

    It replaces a socket of the same name on which no process listens, and nothing else.  When it stops, it removes its
    own socket, and not the one of a server that came after it.

    :param path: the socket's path.
    :param factory: makes the protocols.
    :param reactor: the reactor.
    :param mode: the mode of the file.
    """

    def __init__(self, path: str, factory: Any, reactor: Any, mode: int = DEFAULT_MODE) -> None:
        super().__init__(os.fsencode(path), factory, backlog=BACKLOG, mode=mode, reactor=reactor)
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._made: socket.socket | None = None

    def startListening(self) -> None:
        """Listen.

        :raises CannotListenError: another server listens there, another kind of file has the name, or the system does
            not allow it.
        """
        try:
            check_length(self._path)
            # Of two servers that start at the same time, one could remove the socket of the other, which looks like one
            # that was left behind between the bind and the listen.  No server serves before it listens, so it may wait.
            with locked_folder(os.path.dirname(self._path), LOCK_SECONDS):
                self._remove_left_behind()
                self._listen()
        except (OSError, ValueError) as error:
            raise CannotListenError(None, os.fsencode(self._path), error) from error

    def check(self) -> None:
        """Find out whether the socket can be made, and leave nothing but a free name.

        :raises OSError: it cannot be made, as for :meth:`startListening`.
        :raises ValueError: its path is too long.
        """
        check_length(self._path)
        with locked_folder(os.path.dirname(self._path), LOCK_SECONDS):
            self._remove_left_behind()
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(self._path)
            os.unlink(self._path)

    def _listen(self) -> None:
        try:
            unix.Port.startListening(self)
        except BaseException:
            if self._made is not None:
                self._made.close()  # which Twisted leaves to the garbage collector
            raise
        self._identity = _identity(self._path)

    def _remove_left_behind(self) -> None:
        try:
            mode = os.lstat(self._path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise FileExistsError(errno.EEXIST, "a file that is no socket has that name")
        if not self.may_replace():
            raise OSError(errno.EADDRINUSE, "a server listens there")
        os.unlink(self._path)

    def may_replace(self) -> bool:
        """Tell whether a socket of the same name goes: here, if no process listens on it.

        :raises OSError: that cannot be found out, as with a socket of another user's.
        """
        return not _is_served(self._path)

    def createInternetSocket(self) -> socket.socket:
        """Return a socket; Twisted calls this."""
        self._made = unix.Port.createInternetSocket(self)
        return self._made

    def loseConnection(self, connDone: Failure = connectionDone) -> Any:
        """Stop listening, and remove the socket's file now: a program that refuses to start has no later turn."""
        self._remove_own()
        return unix.Port.loseConnection(self, connDone)

    stopListening = loseConnection

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._remove_own()
        tcp.Port.connectionLost(self, reason)

    def _remove_own(self) -> None:
        # Not as unix.Port does, which removes any file that has the name by now, and breaks where there is none.
        identity, self._identity = self._identity, None
        if identity is not None and _identity(self._path) == identity:
            try:
                os.unlink(self._path)
            except OSError as error:  # a file system that is read-only by now: the port must stop all the same
                _log.warn("{path!a} stays: {reason}; remove it", path=self._path, reason=error.strerror)


class AdoptedSocketPort(unix.Port):
    """Listens on a Unix socket that the program was given: its mode stays, and the socket goes on when this stops."""

    _shouldShutdown = False  # Twisted's: the service manager listens on the same socket

    def startListening(self) -> None:
        """Listen."""
        path = self._bindPath
        # Twisted gives what has the name a mode.  Only an owner may, even where nothing changes, and a service manager
        # makes sockets as root, and in a folder that may be hidden from the program.
        mode = self._own_mode()
        if mode is None:
            self._bindPath = _NO_FILE + path
        else:
            self.mode = mode
        try:
            unix.Port.startListening(self)
        finally:
            self._bindPath = path

    def _own_mode(self) -> int | None:
        """Return the mode of the socket's file; ``None`` where that is not this user's, or not to be seen."""
        if not self._bindPath or self._bindPath.startswith(_NO_FILE):
            return None
        try:
            status = os.stat(self._bindPath)
        except OSError:
            return None
        return stat.S_IMODE(status.st_mode) if os.geteuid() in (0, status.st_uid) else None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        tcp.Port.connectionLost(self, reason)


@implementer(IStreamServerEndpoint)
class SocketServerEndpoint:
    """A Unix socket of the user's own to listen on.

    It takes the place of a socket that a killed program has left, and of no other file.

    :param reactor: the reactor.
    :param path: the socket's path.
    """

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path

    def check(self) -> None:
        """Find out whether the socket can be made, as before the program becomes a daemon.

        :raises OSError: it cannot be made: another program listens there, another kind of file has the name, or the
            system does not allow it.
        :raises ValueError: the path is too long.
        """
        SocketPort(self._path, None, self._reactor).check()

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen.

        :returns: fires with the port; fails with :class:`twisted.internet.error.CannotListenError`.
        """
        return execute(_listening, SocketPort(self._path, protocolFactory, self._reactor))


class SocketReactor:
    """A reactor for the endpoints of Twisted's endpoint strings, whose Unix sockets are those of this module.

    :param reactor: makes everything else.
    :param mode: the mode of each socket, in place of the endpoint's; ``None`` for the endpoint's.
    """

    def __init__(self, reactor: Any, mode: int | None) -> None:
        self._reactor = reactor
        self._mode = mode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUNIX(self, address: str, factory: Any, *, mode: int, **_: object) -> IListeningPort:
        """Listen on a path; Twisted's endpoints call this."""
        return _listening(SocketPort(address, factory, self._reactor, mode if self._mode is None else self._mode))

    def adoptStreamPort(self, fileno: int, family: int, factory: Any) -> IListeningPort:
        """Listen on a socket that the program was given; Twisted's endpoints call this."""
        with socket.socket(fileno=os.dup(fileno)) as probe:
            family = probe.family  # whatever the endpoint string says
        if family != socket.AF_UNIX:
            return cast("IListeningPort", self._reactor.adoptStreamPort(fileno, family, factory))
        # As Twisted's own reactor makes it; there is no public way.
        port = AdoptedSocketPort._fromListeningDescriptor(self._reactor, fileno, factory)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return _listening(port)


def _listening(port: Any) -> IListeningPort:
    port.startListening()
    return cast("IListeningPort", port)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _is_served(path: str) -> bool:
    """Tell whether a process listens on a socket.

    :raises OSError: that cannot be found out, as with a socket of another user's.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # its backlog is full
            return True
    return True
