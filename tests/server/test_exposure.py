"""The warnings about listening ports that others can reach."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from tests.server.test_listening import needs_ipv6
from tests.serving import asynchronous, reactor
from twisted_rsh.server.exposure import listening_address, show_address, warnings_about
from twisted_rsh.server.listening import stop_listening

ANY = "0.0.0.0"  # noqa: S104 - the address that is warned about


class Port:
    """A listening port of an address."""

    def __init__(self, address: object) -> None:
        self._address = address

    def getHost(self) -> object:
        """Return it."""
        return self._address


def warnings_of(*addresses: object) -> list[str]:
    """Return the warnings about ports with these addresses."""
    return warnings_about([Port(address) for address in addresses])  # type: ignore[misc]  # all that is asked of them


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"])
def test_loopback(host: str) -> None:
    """O-11: a loopback address of either family is no reason to warn."""
    kind = IPv6Address if ":" in host else IPv4Address
    assert warnings_of(kind("TCP", host, 1)) == []


@pytest.mark.parametrize(
    "host",
    [ANY, "192.0.2.1", "128.0.0.1", "::", "::ffff:192.0.2.1", "::ffff:0.0.0.0", "2001:db8::1", "fe80::1%lo"],
)
def test_other_machines(host: str) -> None:
    """O-11: any other address is named once, with the way out, also when two ports have it."""
    kind = IPv6Address if ":" in host else IPv4Address
    (warning,) = warnings_of(kind("TCP", host, 8082), IPv4Address("TCP", "127.0.0.1", 1), kind("TCP", host, 8082))
    shown = f"[{host}]:8082" if ":" in host else f"{host}:8082"
    assert warning.startswith(f"other machines can reach this server at {shown}; ")
    assert "--interface, or interface= in --listen" in warning
    assert "\n" not in warning


def test_a_name() -> None:
    """A name may stand for any address."""
    assert len(warnings_of(IPv4Address("TCP", "localhost", 1))) == 1


def test_a_port_without_a_socket() -> None:
    """A port whose socket cannot be asked is judged by what it says."""

    class Strange(Port):
        def fileno(self) -> int:
            return -1

    for host, warned in (("127.0.0.1", 0), ("192.0.2.1", 1)):
        port: Any = Strange(IPv4Address("TCP", host, 1))
        assert len(warnings_about([port])) == warned


def test_several_addresses() -> None:
    """Each address has a line of its own."""
    assert len(warnings_of(IPv4Address("TCP", ANY, 1), IPv4Address("TCP", ANY, 2))) == 2


def test_an_address_of_another_kind() -> None:
    """An address that Twisted does not define may be anywhere."""
    (warning,) = warnings_of(HostnameAddress(b"example.onion", 1))
    assert warning.startswith("others may be able to reach this server at HostnameAddress(")


@pytest.mark.parametrize(
    ("folder_mode", "mode", "warned"),
    [
        (0o700, 0o666, False),
        (0o711, 0o600, False),
        (0o711, 0o644, False),
        (0o711, 0o666, True),
        (0o755, 0o602, True),
        (0o710, 0o660, True),
    ],
)
def test_a_unix_socket(
    folder_mode: int, mode: int, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O-11: a Unix socket is open to others if they can write it, and can enter every folder above it."""
    real_stat = os.stat

    def stat(path: bytes) -> os.stat_result:
        # The folders above the test's own are as open as they can be.
        if not path.startswith(bytes(tmp_path)):
            return real_stat("/")
        return real_stat(path)

    monkeypatch.setattr("twisted_rsh.server.exposure.os.stat", stat)
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(mode)
        tmp_path.chmod(folder_mode)
        warnings = warnings_of(UNIXAddress(os.fsencode(path)))
    tmp_path.chmod(0o700)
    assert len(warnings) == warned
    if warned:
        assert warnings[0].startswith(f"other users of this machine can reach this server at {path}; ")
        assert "mode 0700" in warnings[0]


@pytest.mark.parametrize("name", [b"\0abstract", b"", None, b"/no/such/socket"])
def test_a_socket_that_no_permission_protects(name: bytes | None) -> None:
    """O-11: an abstract socket is open to all; so is one that cannot be looked at, for all that is known."""
    assert len(warnings_of(UNIXAddress(name))) == 1


def test_a_path_that_is_no_text() -> None:
    """A path cannot spoil the line."""
    assert show_address(UNIXAddress(b"/a\n\xff")) == r"/a\n\udcff"


@asynchronous
@pytest.mark.parametrize("description", ["tcp:0", "tcp6:0", r"tcp:0:interface=\:\:"])
async def test_endpoints_without_an_interface(description: str) -> None:
    """O-11: an endpoint without an address, or with the unspecified one, listens on all."""
    port = await serverFromString(reactor, description).listen(Factory())
    try:
        assert len(warnings_about([port])) == 1
    finally:
        await stop_listening([port])


@needs_ipv6
@asynchronous
@pytest.mark.parametrize(
    ("family", "address", "claimed"),
    [
        (socket.AF_INET6, "::1", socket.AF_INET),
        (socket.AF_INET, "127.0.0.1", socket.AF_INET6),
        (socket.AF_UNIX, "socket", socket.AF_INET),
    ],
)
async def test_a_socket_that_was_given(
    family: socket.AddressFamily,
    address: str,
    claimed: socket.AddressFamily,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """O-11: a socket of another family than was said is judged as what it is."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind(address if family == socket.AF_UNIX else (address, 0))
        listener.listen()
        listener.setblocking(False)
        port: IListeningPort = reactor.adoptStreamPort(listener.fileno(), claimed, Factory())
        try:
            found = listening_address(port)
            assert getattr(found, "host", None) == (None if family == socket.AF_UNIX else address)
            assert isinstance(found, UNIXAddress) == (family == socket.AF_UNIX)
            assert warnings_about([port]) == []
        finally:
            await stop_listening([port])
