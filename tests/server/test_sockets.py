"""The server's Unix sockets: whose place they take, what others may do with them, and what is left of them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogEvent, formatEvent
from twisted.python.systemd import ListenFDs

from tests.serving import asynchronous, reactor
from twisted_rsh.server import sockets
from twisted_rsh.server.sockets import SocketPort, SocketReactor
from twisted_rsh.trust.socket_path import MAX_SOCKET_PATH_BYTES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which the paths of sockets are short, whatever the test is called."""
    monkeypatch.chdir(tmp_path)
    yield Path()


def port_at(path: Path, **options: Any) -> Any:
    """Return a :class:`SocketPort` that does not listen yet."""
    return SocketPort(str(path), Factory.forProtocol(Protocol), reactor, **options)


def left_behind(path: Path) -> None:
    """Leave a socket behind, as a server that is killed does."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()


def problem(path: Path) -> str:
    """Return what keeps a server from listening."""
    with pytest.raises(CannotListenError) as caught:
        port_at(path).startListening()
    return str(caught.value.socketError)


@asynchronous
async def test_a_socket_that_was_left_behind(folder: Path) -> None:
    """A killed server's socket is replaced, with the mode of its owner alone; a look and the end leave nothing."""
    path = folder / "rsh.sock"
    left_behind(path)
    port = port_at(path)
    port.check()
    assert list(folder.iterdir()) == []
    left_behind(path)
    port.startListening()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    await port.stopListening()
    assert list(folder.iterdir()) == []


@asynchronous
async def test_a_socket_that_cannot_be_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, logged: list[LogEvent]
) -> None:
    """On a file system that has become read-only the port stops all the same, and the log says once what stays."""
    port = port_at(folder / "rsh.sock")
    port.startListening()

    def refuse(path: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        await port.stopListening()
    assert not port.connected
    assert not sockets._is_served("rsh.sock")
    lines = [formatEvent(event) for event in logged if event["log_namespace"] == sockets.__name__]
    assert lines == ["'rsh.sock' stays: Read-only file system; remove it"]
    (folder / "rsh.sock").unlink()


@asynchronous
async def test_a_socket_that_is_served(folder: Path) -> None:
    """A living server keeps its socket, also one whose backlog is full; a server that came later keeps its own."""
    path = folder / "rsh.sock"
    first = port_at(path)
    first.startListening()
    assert "a server listens there" in problem(path)
    with pytest.raises(OSError, match="a server listens there"):
        port_at(path).check()
    path.rename(folder / "other")  # what an administrator may do
    second = port_at(path)
    second.startListening()
    await first.stopListening()
    assert path.is_socket()
    await second.stopListening()
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as waiting:
        full.bind(str(path))
        full.listen(0)
        waiting.connect(str(path))
        assert "a server listens there" in problem(path)


@pytest.mark.parametrize("kind", ["file", "FIFO", "link", "folder"])
def test_a_path_that_is_something_else(folder: Path, kind: str) -> None:
    """O-01: a file, a FIFO, a link, also one to a socket, or a folder stays as it is, and the server does not start."""
    path, target = folder / "rsh.sock", folder / "target"
    left_behind(target)
    makers: dict[str, Callable[[], object]] = {
        "file": path.touch,
        "FIFO": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(target.name),
        "folder": path.mkdir,
    }
    makers[kind]()
    before = path.lstat()
    assert "no socket" in problem(path)
    assert path.lstat().st_ino == before.st_ino
    assert target.is_socket()


@pytest.mark.parametrize("beyond", [0, 1])
@asynchronous
async def test_the_longest_path(folder: Path, beyond: int) -> None:
    """A path of 107 bytes can be listened on, and of one that is longer the error says so."""
    path = folder / ("x" * (MAX_SOCKET_PATH_BYTES + beyond))
    if beyond:
        assert problem(path) == "it has 108 bytes, and the path of a socket has 107 at most"
        return
    port = port_at(path)
    port.startListening()
    await port.stopListening()


def test_a_folder_that_another_server_has_locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers do not look for what was left behind at the same time; a lock that stays is an error."""
    monkeypatch.setattr(sockets, "LOCK_SECONDS", 0.0)
    left_behind(folder / "rsh.sock")
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert "another program is changing it" in problem(folder / "rsh.sock")
    os.close(descriptor)
    assert (folder / "rsh.sock").is_socket()


def test_a_folder_that_is_missing(folder: Path) -> None:
    """The error is the system's."""
    assert "No such file" in problem(folder / "missing" / "rsh.sock")


@pytest.mark.parametrize("place", ["ours", "root's", "hidden"])
@asynchronous
async def test_a_socket_of_a_service_manager(folder: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """O-11: the mode of a socket that the server was given stays, and so does the socket when the server stops.

    The file may be root's, who alone may change its mode then, or in a folder that the server does not see.
    """
    path = folder / "given.sock"
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(path))
        path.chmod(0o600)
        given.listen()
        descriptor = os.dup(given.fileno())
        parser = next(one for one in _parsers() if one.prefix == "systemd")
        monkeypatch.setattr(type(parser), "_sddaemon", ListenFDs([descriptor], ["rsh"]))
        # The domain is wrong, and Twisted would believe it.
        endpoint = serverFromString(SocketReactor(reactor, None), "systemd:domain=INET:index=0")
        with monkeypatch.context() as patch:
            if place == "hidden":
                path.rename(folder / "elsewhere.sock")
            elif place == "root's":
                patch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
                patch.setattr(os, "chmod", forbidden)
            port = await endpoint.listen(Factory.forProtocol(Protocol))
        if place == "hidden":
            (folder / "elsewhere.sock").rename(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert port.getHost().name == os.fsencode(path)
        await port.stopListening()
        assert path.is_socket()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def forbidden(path: bytes, _: int) -> None:
    """Refuse to change the mode of another user's file."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)


def _parsers() -> Any:
    from twisted.internet.interfaces import IStreamServerEndpointStringParser
    from twisted.plugin import getPlugins

    return getPlugins(IStreamServerEndpointStringParser)
