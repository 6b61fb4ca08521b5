"""The user at the other end of a connection from this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from tests.server.test_listening import needs_ipv6
from tests.system.other_user import require_other_user
from twisted_rsh.server import peers
from twisted_rsh.server.peers import is_from_this_machine, peer_uid
from twisted_rsh.server.sources import OWN_USER, UNKNOWN_USER, source_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the users of connections")

OTHER_UID = 65534
PATIENCE = 10.0
MAX_SECONDS = 0.001
"""Seconds that one question may take, some 40 times of what it does: it must not hold the reactor."""


class Transport:
    """A connection as the reactor has it, as far as these functions look."""

    def __init__(self, handle: socket.socket) -> None:
        self._handle = handle

    def getHandle(self) -> socket.socket:
        """Return the socket."""
        return self._handle

    def getHost(self) -> Any:
        """Return this end's address."""
        return self._named(self._handle.getsockname())

    def getPeer(self) -> Any:
        """Return the other end's address."""
        return self._named(self._handle.getpeername())

    def _named(self, name: Any) -> Any:
        if self._handle.family == socket.AF_UNIX:
            return UNIXAddress(name or None)
        kind: Any = IPv6Address if self._handle.family == socket.AF_INET6 else IPv4Address
        return kind("TCP", *name[:2])


class Pair:
    """Both ends of a connection: the server's as its transport."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.transport = Transport(server)


Connect = Callable[..., Pair]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects to a new listener."""
    with ExitStack() as stack:

        def connect(host: str = "127.0.0.1", to: str | None = None) -> Pair:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            dual = host == "::"
            listener = stack.enter_context(socket.create_server((host, 0), family=family, dualstack_ipv6=dual))
            client = stack.enter_context(socket.create_connection((to or host, listener.getsockname()[1])))
            server, _ = listener.accept()
            return Pair(client, stack.enter_context(server))

        yield connect


def source(pair: Pair) -> str | None:
    """Return the source that a connection counts for."""
    return source_of(pair.transport, pair.transport.getPeer())


@pytest.mark.parametrize(
    ("host", "to"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.8.9.10"),  # noqa: S104 - a listener of this test's
        pytest.param("::1", "::1", marks=needs_ipv6),
        pytest.param("::", "::1", marks=needs_ipv6),
        pytest.param("::", "127.0.0.1", marks=needs_ipv6),
        pytest.param("::", "::ffff:127.0.0.1", marks=needs_ipv6),
    ],
)
def test_our_own_connection(connect: Connect, host: str, to: str) -> None:
    """R-01: the system tells our own user over IPv4, over IPv6, and for an IPv4 address that IPv6 writes."""
    pair = connect(host, to)
    assert is_from_this_machine(pair.transport)
    assert peer_uid(pair.transport) == os.geteuid()
    assert source(pair) == OWN_USER


def test_unix_socket(tmp_path: Path) -> None:
    """R-01: the same over a Unix socket."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client.connect(str(tmp_path / "s"))
        server, _ = listener.accept()
        with server:
            assert source(Pair(client, server)) == OWN_USER


def test_half_closed(connect: Connect) -> None:
    """A client that has ended its input still has a user."""
    pair = connect()
    pair.client.shutdown(socket.SHUT_WR)
    assert source(pair) == OWN_USER


def test_closed(connect: Connect) -> None:
    """R-01: a client that has closed its end has no user any more: it is not taken for root, whose number is 0."""
    pair = connect()
    pair.client.close()
    assert peer_uid(pair.transport) is None
    assert source(pair) == UNKNOWN_USER
    here, there = pair.transport.getHost(), pair.transport.getPeer()
    transport = Transport(pair.server)
    transport.getHost, transport.getPeer = lambda: here, lambda: there  # type: ignore[method-assign]  # as Twisted's own
    pair.server.shutdown(socket.SHUT_WR)  # so the other end waits, without a process (TIME_WAIT)
    assert peer_uid(transport) is None


def test_gone_and_another_listener(connect: Connect) -> None:
    """A program that listens where the client was is not taken for the client."""
    pair = connect()
    name = pair.client.getsockname()
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    transport = Transport(pair.server)
    here, there = transport.getHost(), transport.getPeer()
    pair.client.close()  # reset: no trace of it is left
    transport.getHost, transport.getPeer = lambda: here, lambda: there  # type: ignore[method-assign]  # a lost end
    with socket.create_server(name):
        assert is_from_this_machine(transport)
        assert peer_uid(transport) is None


def test_our_own_address_that_is_not_loopback() -> None:
    """A connection from this machine to one of its other addresses is of this machine, and from elsewhere it is not."""

    class Ends(Transport):
        def getHost(self) -> Any:
            return IPv4Address("TCP", "192.0.2.1", 1)

        def getPeer(self) -> Any:
            return IPv4Address("TCP", peer, 2)

    with socket.socket() as handle:
        peer = "192.0.2.1"
        assert is_from_this_machine(Ends(handle))
        assert source_of(Ends(handle), None, lambda _: 4321) == "uid 4321"
        peer = "192.0.2.2"
        assert not is_from_this_machine(Ends(handle))
        assert source_of(Ends(handle), Ends(handle).getPeer(), lambda _: 4321) == "192.0.2.2"


def test_what_the_system_says_decides(connect: Connect) -> None:
    """R-01: each user is a source; a system that does not tell users makes none."""
    pair = connect()
    address = pair.transport.getPeer()
    uid = os.geteuid()
    assert source_of(pair.transport, address, lambda _: uid) == OWN_USER
    assert source_of(pair.transport, address, lambda _: uid + 1) == f"uid {uid + 1}"
    assert source_of(pair.transport, address, lambda _: None) == UNKNOWN_USER

    def unable(_transport: object) -> int:
        raise OSError

    assert source_of(pair.transport, address, unable) is None


def test_a_system_without_netlink(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without sock_diag, or a process without a descriptor left: the connection is bounded with no source."""
    pair = connect()
    monkeypatch.delattr(socket, "AF_NETLINK")
    assert source(pair) is None


def test_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a connection in memory nothing is asked."""
    monkeypatch.setattr(peers, "_ask_system", None)
    assert not is_from_this_machine(object())
    assert source_of(object(), IPv4Address("TCP", "127.0.0.1", 1)) is None


def test_the_time_of_a_question(connect: Connect) -> None:
    """R-01: a question takes microseconds, also beside some hundred sockets: it may be asked for each connection."""
    pairs = [connect() for _ in range(150)]
    took = []
    for pair in pairs:
        began = time.perf_counter()
        assert peer_uid(pair.transport) == os.geteuid()
        took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < MAX_SECONDS


ANOTHER = """
import encodings.idna, os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
sys.stdin.read()
"""


@pytest.mark.real
@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_another_user(host: str) -> None:
    """R-01: the connection of another user is that user's."""
    require_other_user()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(PATIENCE)
        command = [sys.executable, "-S", "-c", ANOTHER, host, str(listener.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            server, _ = listener.accept()
            with server:
                pair = Pair(server, server)
                assert peer_uid(pair.transport) == OTHER_UID
                assert source(pair) == f"uid {OTHER_UID}"
            assert process.stdin is not None
            process.stdin.close()
