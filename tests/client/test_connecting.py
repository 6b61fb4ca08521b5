"""Finding a server, knowing it, and logging in: every way in which that can fail has an error of its own."""

from __future__ import annotations

import pwd
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.serving import Serving, asynchronous, reactor
from twisted_rsh import Connection, connect, connect_to_endpoint
from twisted_rsh.client.connecting import fetch_pin, find_pins
from twisted_rsh.client.errors import (
    Error,
    LoginRefused,
    NoServer,
    NotARemoteShell,
    SessionLost,
    UnknownServer,
    WrongServer,
)
from twisted_rsh.link.framed_link import HANDSHAKE_SECONDS
from twisted_rsh.link.tls import PinnedClientTLS, ServerTLS
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.files import FileProblem, UntrustedFile
from twisted_rsh.trust.fingerprint import format_fingerprint, parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import KnownServers
from twisted_rsh.trust.records import ServerRecord, write_record
from twisted_rsh.trust.server_key import ServerKey, load_or_create_server_key

HOST = "127.0.0.1"

WRONG_PIN = "SHA256:" + "A" * 43


async def refused(connecting: Deferred[Connection]) -> Error:
    """Check that connecting fails with one printable line, and return the error."""
    with pytest.raises(Error) as caught:
        await connecting
    assert str(caught.value).isprintable()
    return caught.value


class Stranger(Protocol):
    """Some other server: says something at once, and keeps what it hears."""

    def __init__(self, greeting: bytes, hang_up: bool, echo: bool) -> None:
        self.received = b""
        self.has_heard_enough = False
        self.connected_once: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._greeting = greeting
        self.hangs_up = hang_up
        self._echo = echo

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._greeting)
        if self.hangs_up:
            self.transport.loseConnection()
        self.connected_once.callback(None)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.received += data
        if self.has_heard_enough:
            self.transport.loseConnection()
        if self._echo:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


class Strangers(Factory):
    """Hands out one stranger."""

    noisy = False

    def __init__(self, greeting: bytes = b"", hang_up: bool = False, echo: bool = False) -> None:
        self.stranger = Stranger(greeting, hang_up, echo)

    def buildProtocol(self, addr: IAddress | None) -> Stranger:
        return self.stranger


Listen = Callable[[IProtocolFactory], int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listens on loopback with a factory, and returns the port."""
    ports: list[IListeningPort] = []

    def listen(factory: IProtocolFactory) -> int:
        ports.append(reactor.listenTCP(0, factory, interface=HOST))
        address = ports[-1].getHost()
        assert isinstance(address, IPv4Address)
        return address.port

    yield listen
    for port in ports:
        pytest_twisted.blockon(port.stopListening())


def over_tls(key: ServerKey, factory: IProtocolFactory) -> IProtocolFactory:
    """The same behind TLS, as our server does it."""
    return TLSMemoryBIOFactory(ServerTLS(key.private_key, key.certificate), False, factory, reactor)


@asynchronous
async def test_server_of_ones_own_needs_no_words(serving: Serving) -> None:
    """The record that the server left is enough, for an address and for ``localhost``."""
    for host in (HOST, "localhost"):
        connection = await connect(reactor, host, serving.port, config=serving.config)
        assert (await connection.run("echo here")).text == "here\n"
        await connection.close()


@asynchronous
async def test_ipv6(config: ConfigFolders) -> None:
    """The same over IPv6, where there is any."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    serving = Serving(config)
    await serving.start()
    port = reactor.listenTCP(0, serving.service._factory, interface="::1")
    fingerprint = serving.service.fingerprint
    connection = await connect(reactor, "::1", port.getHost().port, config=config, fingerprint=fingerprint)
    assert (await connection.run("echo here")).text == "here\n"
    await connection.close()
    await port.stopListening()
    await serving.stop()


@asynchronous
async def test_fingerprint_instead_of_a_record(serving: Serving, tmp_path: Path) -> None:
    """With a fingerprint, no record is looked for; another key is not let in, and the server does not say why."""
    config = ConfigFolders.at(str(tmp_path / "other"))
    fingerprint = serving.service.fingerprint
    error = await refused(connect(reactor, HOST, serving.port, config=config, user="ada", fingerprint=fingerprint))
    assert isinstance(error, LoginRefused)
    key = load_or_create_client_key(config)
    assert str(error) == f"login as ada with the key {key.fingerprint} was refused by {HOST}:{serving.port}"
    connection = await connect(reactor, HOST, serving.port, config=serving.config, fingerprint=fingerprint)
    await connection.close()


@asynchronous
async def test_wrong_user(serving: Serving) -> None:
    """A-19: the right key for another user is refused."""
    assert isinstance(
        await refused(connect(reactor, HOST, serving.port, config=serving.config, user="nobody-here")), LoginRefused
    )


@asynchronous
async def test_user_without_a_name(config: ConfigFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a uid that the user database does not know, as in a container, the user to log in as must be named."""

    def unknown(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert "-l USER" in str(await refused(connect(reactor, HOST, 1, config=config, fingerprint=WRONG_PIN)))


@asynchronous
async def test_known_endpoint(serving: Serving) -> None:
    """A caller that knows everything about a server needs neither record nor folder."""
    key = load_or_create_client_key(serving.config)
    pin = load_or_create_server_key(serving.config).spki_sha256
    endpoint = TCP4ClientEndpoint(reactor, HOST, serving.port)
    connection = await connect_to_endpoint(reactor, endpoint, pin, key, serving.account.name)
    assert (await connection.run("echo here")).text == "here\n"
    await connection.close()


@asynchronous
async def test_no_server_listens(config: ConfigFolders) -> None:
    """A port without a server: one line with the system's own words."""
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
        error = await refused(connect(reactor, HOST, port, config=config, fingerprint=WRONG_PIN))
    assert isinstance(error, NoServer)
    assert str(error) == f"cannot connect to {HOST} port {port}: Connection refused"


@asynchronous
async def test_name_that_does_not_resolve(config: ConfigFolders) -> None:
    """A name that does not resolve is no server either."""
    error = await refused(connect(reactor, "no-such-host.invalid", 1, config=config, fingerprint=WRONG_PIN))
    assert isinstance(error, NoServer)
    assert str(error).startswith("cannot connect to no-such-host.invalid port 1: ")


@asynchronous
@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("a..b", 1, "cannot connect to a..b port 1: it is no host name"),
        ("a b", 1, "cannot connect to a b port 1: it is no host name"),
        ("", 1, "cannot connect to  port 1: it is no host name"),
        ("unix:/a\0b", 1, "cannot connect to unix:/a^@b: no path has a NUL byte"),
        ("127.0.0.1", 0, "cannot connect to 127.0.0.1 port 0: a port is a number from 1 to 65535"),
        ("127.0.0.1", 65536, "cannot connect to 127.0.0.1 port 65536: a port is a number from 1 to 65535"),
        ("localhost", -1, "cannot connect to localhost port -1: a port is a number from 1 to 65535"),
    ],
)
async def test_addresses_that_cannot_be(config: ConfigFolders, host: str, port: int, text: str) -> None:
    """What can be no host's name, no path or no port has no server: that is one of the package's own errors."""
    error = await refused(connect(reactor, host, port, config=config, fingerprint=WRONG_PIN))
    assert (type(error), str(error)) == (NoServer, text)


@asynchronous
async def test_unknown_servers_are_not_dialled(config: ConfigFolders) -> None:
    """C-01: without a fingerprint or a record nothing is sent anywhere, and the line says what to do."""
    error = await refused(connect(reactor, "192.0.2.1", 8082, config=config))
    assert isinstance(error, UnknownServer)
    assert "--fingerprint SHA256:" in str(error)
    for host in (HOST, "::1", "localhost"):
        error = await refused(connect(reactor, host, 8082, config=config))
        assert isinstance(error, UnknownServer)
        assert "twistd rsh --port 8082" in str(error)


@asynchronous
async def test_known_server(serving: Serving, tmp_path: Path) -> None:
    """A server of the file is known without a fingerprint, by its host and its port; any of its keys will do."""
    config = ConfigFolders.at(str(tmp_path / "other"))
    key = load_or_create_client_key(serving.config)
    known = KnownServers(config)
    known.add(HOST, serving.port, bytes(32))
    known.add(HOST, serving.port, parse_fingerprint(serving.service.fingerprint))
    connection = await connect(reactor, HOST, serving.port, config=config, key=key)
    assert (await connection.run("echo here")).text == "here\n"
    await connection.close()
    assert isinstance(await refused(connect(reactor, HOST, serving.port + 1, config=config, key=key)), UnknownServer)


@asynchronous
async def test_changed_key(serving: Serving, tmp_path: Path) -> None:
    """A-24, C-01: a server with another key than the file has is sent nothing; the line has both fingerprints and the
    command that makes it known again.  A fingerprint that the caller gives comes before the file."""
    config = ConfigFolders.at(str(tmp_path / "o t"))
    key = load_or_create_client_key(serving.config)
    KnownServers(config).add(HOST, serving.port, bytes(32))
    error = await refused(connect(reactor, HOST, serving.port, config=config, key=key))
    assert isinstance(error, WrongServer)
    assert error.found == parse_fingerprint(serving.service.fingerprint)
    assert str(error) == (
        f"the key of {HOST} port {serving.port} has changed: it is {serving.service.fingerprint}, and not "
        f"{WRONG_PIN}; nothing was sent there; if the administrator of the server confirms the new key, run: "
        f"trshctl enroll --config-dir '{config.config}' --fingerprint {serving.service.fingerprint} "
        f"{HOST}:{serving.port}"
    )
    error = await refused(connect(reactor, HOST, serving.port, config=config, key=key, destination="ada@build"))
    assert str(error).endswith(f"--fingerprint {serving.service.fingerprint} ada@build")
    fingerprint = serving.service.fingerprint
    await (await connect(reactor, HOST, serving.port, config=config, key=key, fingerprint=fingerprint)).close()


@asynchronous
async def test_broken_file_of_known_servers(serving: Serving) -> None:
    """A file of known servers that is broken is no reason to trust a server by less."""
    path = Path(serving.config.known_servers_path)
    path.write_text("build\n")
    with pytest.raises(FileProblem, match="line 1 is wrong"):
        await connect(reactor, HOST, serving.port, config=serving.config)


@asynchronous
async def test_asking_for_a_key(serving: Serving, listen: Listen) -> None:
    """A client that asks a server for its key sends it no message, and learns of a server that has none."""
    endpoint = TCP4ClientEndpoint(reactor, HOST, serving.port)
    assert format_fingerprint(await fetch_pin(reactor, endpoint)) == serving.service.fingerprint
    with pytest.raises(NotARemoteShell):
        await fetch_pin(reactor, TCP4ClientEndpoint(reactor, HOST, listen(Strangers(b"HTTP/1.1 400 Bad\r\n"))))


@asynchronous
async def test_fingerprint_that_is_none(config: ConfigFolders) -> None:
    """A typing error in the fingerprint is the caller's."""
    with pytest.raises(ValueError, match="'md5:00' is not a fingerprint"):
        await connect(reactor, HOST, 1, config=config, fingerprint="md5:00")


@asynchronous
async def test_record_that_others_can_write(config: ConfigFolders) -> None:
    """O-01: a record that another user may have written is not believed."""
    write_record(config, 8082, ServerRecord(bytes(32), "x", 1, ()))
    Path(config.record_path(8082)).chmod(0o666)
    with pytest.raises(UntrustedFile, match="chmod go-w"):
        await connect(reactor, HOST, 8082, config=config)
    Path(config.record_path(8082)).chmod(0o600)
    Path(config.record_path(8082)).write_text("{}")
    with pytest.raises(FileProblem, match="start the server again"):
        await connect(reactor, HOST, 8082, config=config)


@asynchronous
async def test_server_with_another_key(serving: Serving) -> None:
    """C-01: a server with another key learns nothing; the line names the key it has and the one it should have."""
    error = await refused(connect(reactor, HOST, serving.port, config=serving.config, fingerprint=WRONG_PIN))
    assert isinstance(error, WrongServer)
    assert str(error) == (
        f"{HOST}:{serving.port} is not the expected server: its key is {serving.service.fingerprint}, "
        f"expected {WRONG_PIN}"
    )


@asynchronous
async def test_key_is_compared_twice(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """L-05: if TLS let another key pass, the client still would not log in."""
    monkeypatch.setattr(PinnedClientTLS, "_verify", lambda *_: True)
    error = await refused(connect(reactor, HOST, serving.port, config=serving.config, fingerprint=WRONG_PIN))
    assert isinstance(error, WrongServer)
    assert serving.service.fingerprint in str(error)


@asynchronous
async def test_web_server_behind_tls(config: ConfigFolders, tmp_path: Path, listen: Listen) -> None:
    """L-03: HTTPS with its own key is the wrong server; with the right key, but not our protocol, it is none."""
    key = load_or_create_server_key(config)
    port = listen(over_tls(key, Site(Resource(), reactor=reactor)))
    error = await refused(connect(reactor, HOST, port, config=config, fingerprint=WRONG_PIN))
    assert isinstance(error, WrongServer)
    assert format_fingerprint(key.spki_sha256) in str(error)

    class OtherTLS(ServerTLS):
        """TLS without our protocol."""

        def __init__(self) -> None:
            super().__init__(key.private_key, key.certificate)
            self._context.set_alpn_select_callback(lambda _connection, _offered: SSL.NO_OVERLAPPING_PROTOCOLS)

    other = Strangers()
    port = listen(TLSMemoryBIOFactory(OtherTLS(), False, other, reactor))
    error = await refused(connect(reactor, HOST, port, config=config, fingerprint=format_fingerprint(key.spki_sha256)))
    assert isinstance(error, NotARemoteShell)
    assert other.stranger.received == b""


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
@asynchronous
async def test_other_servers(config: ConfigFolders, listen: Listen, greeting: bytes) -> None:
    """C-01: one that echoes, one that greets, one that hangs up: none is a remote shell; none hears more than TLS.

    One that says nothing before it hangs up may be a remote shell all the same.
    """
    for strangers in (Strangers(greeting, echo=True), Strangers(greeting, hang_up=True)):
        says_something = greeting or not strangers.stranger.hangs_up
        port = listen(strangers)
        error = await refused(connect(reactor, HOST, port, config=config, fingerprint=WRONG_PIN))
        assert isinstance(error, NotARemoteShell if says_something else NoServer)
        assert (f"what answers at {HOST}:{port} is no twisted-rsh server" in str(error)) == bool(says_something)
        await strangers.stranger.gone
        assert strangers.stranger.received[:1] in (b"", b"\x16")


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\0", b"\0\0\0\1?", b"\xff\xff\xff\xff"])
@asynchronous
async def test_server_that_fails_during_the_login(config: ConfigFolders, listen: Listen, answer: bytes) -> None:
    """C-02: the right key and a broken answer to the login: the connection is lost, in one line."""
    key = load_or_create_server_key(config)
    strangers = Strangers(answer)
    strangers.stranger.has_heard_enough = not answer
    port = listen(over_tls(key, strangers))
    error = await refused(connect(reactor, HOST, port, config=config, fingerprint=format_fingerprint(key.spki_sha256)))
    assert isinstance(error, SessionLost)
    assert str(error).startswith(f"{HOST}:{port} ended the connection during the login")


@asynchronous
async def test_cancelled_during_the_handshake(config: ConfigFolders, listen: Listen) -> None:
    """Cancelling hangs up at once on a server that never answers, long before the handshake is late."""
    began = reactor.seconds()
    strangers = Strangers()
    connecting = connect(reactor, HOST, listen(strangers), config=config, fingerprint=WRONG_PIN)
    await strangers.stranger.connected_once
    connecting.cancel()
    with pytest.raises(CancelledError):
        await connecting
    await strangers.stranger.gone
    assert reactor.seconds() - began < HANDSHAKE_SECONDS / 2


@asynchronous
async def test_cancelled_while_dialling(config: ConfigFolders) -> None:
    """Cancelling is a cancellation also before anybody answered, by address and by name."""
    with socket.create_server((HOST, 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((HOST, port))
        for host in (HOST, "localhost"):
            connecting = connect(reactor, host, port, config=config, fingerprint=WRONG_PIN)
            connecting.cancel()
            with pytest.raises(CancelledError):
                await connecting
        for filler in fillers:
            filler.close()


def test_pin_is_the_fingerprints_or_the_records(config: ConfigFolders) -> None:
    """The user's word counts first, then the file and the record of this port; other machines have no record."""
    write_record(config, 8082, ServerRecord(b"r" * 32, "x", 1, ()))
    assert find_pins(config, HOST, 8082, None) == (b"r" * 32,)
    assert find_pins(config, "localhost", 8082, None) == (b"r" * 32,)
    assert find_pins(config, HOST, 8082, WRONG_PIN) == (bytes(32),)
    assert find_pins(config, "192.0.2.1", 8082, WRONG_PIN) == (bytes(32),)
    KnownServers(config).add("192.0.2.1", 8082, b"k" * 32)
    KnownServers(config).add(HOST, 8082, b"k" * 32)
    assert find_pins(config, "192.0.2.1", 8082, None) == (b"k" * 32,)
    assert find_pins(config, HOST, 8082, None) == (b"k" * 32, b"r" * 32)
    with pytest.raises(UnknownServer):
        find_pins(config, HOST, 8083, None)
