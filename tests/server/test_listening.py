"""A server's listening ports: on every address, or on none."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence

import pytest
from twisted.internet import tcp
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import formatEvent

from tests.link.wire import collecting_log, failures
from tests.serving import asynchronous, reactor
from twisted_rsh.limited_log import LINES_A_MINUTE
from twisted_rsh.server import listening as listening_module
from twisted_rsh.server.listening import (
    check_interfaces,
    default_interfaces,
    listen_on_all,
    stop_listening,
    tcp_port_of,
)

BOTH = ("127.0.0.1", "::1")
has_ipv6 = len(default_interfaces()) == len(BOTH)
needs_ipv6 = pytest.mark.skipif(not has_ipv6, reason="this machine has no IPv6 loopback address")


async def listening(interfaces: Sequence[str], port: int, *endpoints: IStreamServerEndpoint) -> list[IListeningPort]:
    """Listen; when that fails, stop what listens already."""
    ports: list[IListeningPort] = []
    try:
        await listen_on_all(Factory(), interfaces, port, endpoints, reactor, ports)
    except CannotListenError:
        await stop_listening(ports)
        raise
    return ports


def is_free(interface: str, port: int) -> bool:
    """Tell whether no program listens on a port."""
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((interface, port)) != 0


@pytest.fixture
def taken_6() -> Iterator[int]:
    """A port that is taken on IPv6's loopback address and free on IPv4's."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as squatter:
        squatter.bind(("::1", 0))
        squatter.listen()
        yield squatter.getsockname()[1]


@needs_ipv6
@asynchronous
async def test_one_port_for_both() -> None:
    """The system chooses port 0 once, for both families."""
    ports = await listening(BOTH, 0)
    try:
        one, other = [tcp_port_of(port) for port in ports]
        assert one == other
        assert one
        assert [getattr(port.getHost(), "host", None) for port in ports] == list(BOTH)
        assert not is_free("127.0.0.1", one)
        assert not is_free("::1", one)
    finally:
        await stop_listening(ports)
    assert is_free("127.0.0.1", one)


@needs_ipv6
@asynchronous
async def test_a_port_taken_on_one_family(taken_6: int) -> None:
    """O-08: if the port is taken on one family, the server listens on neither."""
    with pytest.raises(CannotListenError):
        await listening(BOTH, taken_6)
    assert is_free("127.0.0.1", taken_6)


@asynchronous
async def test_an_endpoint_that_is_taken() -> None:
    """O-08: if a further endpoint is taken, the server listens on no interface."""
    (taken,) = await listening(["127.0.0.1"], 0)
    before = len(reactor.getReaders())
    endpoint = TCP4ServerEndpoint(reactor, tcp_port_of(taken) or 0, interface="127.0.0.1")
    with pytest.raises(CannotListenError):
        await listening(["127.0.0.1"], 0, endpoint)
    assert len(reactor.getReaders()) == before
    await stop_listening([taken])


@asynchronous
async def test_other_endpoints(tmp_path: object) -> None:
    """A port of another kind than TCP has no number."""
    ports = await listening([], 0, UNIXServerEndpoint(reactor, f"{tmp_path}/s"))
    assert [tcp_port_of(port) for port in ports] == [None]
    await stop_listening(ports)


class Stuck:
    """A port that cannot be closed."""

    def stopListening(self) -> Deferred[None]:
        """Fail."""
        return fail(LookupError("a mistake of the application"))


@asynchronous
async def test_a_port_that_does_not_stop() -> None:
    """A port of an application that fails to stop is in the log, and the others are waited for."""
    before = len(reactor.getReaders())
    ports = await listening(["127.0.0.1"], 0)
    with collecting_log() as events:
        await stop_listening([Stuck(), *ports])  # type: ignore[list-item]  # an application's
    assert len(reactor.getReaders()) == before
    assert [event["log_failure"].type for event in failures(events)] == [LookupError]


def test_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without IPv6 the default is IPv4's loopback address alone."""
    monkeypatch.setattr(listening_module, "LOOPBACK_6", "2001:db8::1")
    assert default_interfaces() == ("127.0.0.1",)
    monkeypatch.setattr(socket, "has_ipv6", False)
    assert default_interfaces() == ("127.0.0.1",)


@needs_ipv6
def test_a_machine_with_ipv6() -> None:
    """With IPv6 the default is both loopback addresses."""
    assert default_interfaces() == BOTH


@needs_ipv6
def test_the_check_beforehand(taken_6: int) -> None:
    """O-08: the check finds a port that is taken on either family, and an address of another machine."""
    check_interfaces(["127.0.0.1"], taken_6)
    check_interfaces(BOTH, 0)
    with pytest.raises(CannotListenError) as error:
        check_interfaces(BOTH, taken_6)
    assert (error.value.interface, error.value.port) == ("::1", taken_6)
    with pytest.raises(CannotListenError):
        check_interfaces(["192.0.2.1"], 0)
    assert is_free("127.0.0.1", taken_6)


class Exhausted:
    """A listening socket of a process that has no descriptor left."""

    def accept(self) -> None:
        """Fail."""
        raise OSError(errno.EMFILE, "Too many open files")


@asynchronous
async def test_connections_without_a_descriptor() -> None:
    """R-15: connections that come while there is no descriptor write a bounded number of lines, and Twisted's
    own port writes three for each."""
    ports = await listening(["127.0.0.1"], 0, TCP4ServerEndpoint(reactor, 0))
    plain = await TCP4ServerEndpoint(reactor, 0).listen(Factory())
    counts = []
    for port in (*ports, plain):
        assert isinstance(port, tcp.Port)
        with collecting_log() as logged:
            real, port.socket = port.socket, Exhausted()
            for _ in range(300):
                port.doRead()
            port.socket = real
            counts.append(len([event for event in logged if "EMFILE" in formatEvent(event)]))
    assert 1 <= counts[0] <= LINES_A_MINUTE
    assert 1 <= counts[1] <= LINES_A_MINUTE
    assert counts[2] >= 300
    await stop_listening([*ports, plain])
