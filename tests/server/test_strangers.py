"""Hostile clients on real sockets, and in the middle of a handshake: they keep no client out, and leave no trace."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent

from tests.link.records import HandmadeRecords
from tests.link.wire import Wire, failures, frame
from tests.server.rig import Lucky, Rig
from tests.server_process import HOST, PATIENCE, ServerProcess
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh.client.errors import Error
from twisted_rsh.core.codec import encode
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.messages import Auth, AuthOk
from twisted_rsh.execution.account import Account
from twisted_rsh.link.framed_link import HANDSHAKE_SECONDS
from twisted_rsh.link.tls import BUSY_ALERT, exporter
from twisted_rsh.server.admission import MAX_UNAUTHENTICATED
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record

T = TypeVar("T")

SILENT = 100
"""Connections that say nothing."""

ATTEMPTS = 60
"""Attempts of a real client beside them; of each nearly a third succeeds."""

CHURN = 10_000
"""Connections that come and go."""

WARM_UP = 6_000
"""Connections before the first look: by then as much as ever waits for Python's garbage collector."""

MAX_GROWTH_BYTES = 4 * 1024 * 1024
"""Bytes that the memory may be larger: 1 KiB for each connection would be a leak that is seen."""

ROUNDS = 3
"""Times that the connections come and go while the memory still grows by more than that."""

RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` of no time: the socket is reset when it is closed (socket(7))."""


def client_context() -> SSL.Context:
    """Return the TLS context of a client."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_alpn_protos([b"twisted-rsh/1"])
    return context


def hello() -> SSL.Connection:
    """Return the client's end of a TLS connection that has only begun."""
    connection = SSL.Connection(client_context(), None)
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection


@asynchronous
async def test_beside_silent_connections(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """R-01: a real client gets in beside a hundred silent connections."""
    serving = Serving(config, login_timeout=PATIENCE)
    await serving.start()
    factory = serving.service._factory
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(SILENT):
                stack.enter_context(socket.create_connection((HOST, serving.port)))
            while len(factory.links) < 20:
                await deferLater(reactor, 0.01)
            for _ in range(ATTEMPTS):
                with contextlib.suppress(Error, ConnectError):
                    connection = await serving.connect()
                    break
            else:
                pytest.fail("nobody was let in")
            assert (await connection.run("true")).ending == Exited(0)
            assert factory.strangers.admission.count > 10, "they are all still there"
    finally:
        await serving.stop()
    assert failures(logged) == []


@asynchronous
async def test_silent_connections_end(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """R-01: a hundred silent connections are ended at their deadline."""
    serving = Serving(config, login_timeout=1.0)
    await serving.start()
    factory = serving.service._factory
    try:
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(socket.create_connection((HOST, serving.port))) for _ in range(SILENT)]
            for one in silent:
                one.settimeout(PATIENCE)
                with contextlib.suppress(ConnectionResetError):
                    assert await deferToThread(one.recv, 1) in (b"", BUSY_ALERT[:1])
            while factory.strangers.admission.count:
                await deferLater(reactor, 0.01)
    finally:
        await serving.stop()
    assert failures(logged) == []


def test_a_hundred_and_one(rig: Rig) -> None:
    """R-01: ten seconds later, at the latest, there is room for all again."""
    rig.factory.strangers.admission._random = Lucky()
    for _ in range(MAX_UNAUTHENTICATED):
        Wire(rig.clock).connect(rig.protocol())
    assert rig.answer_at_once() == BUSY_ALERT
    rig.clock.advance(HANDSHAKE_SECONDS)
    rig.clock.advance(0)
    assert (rig.waiting, rig.links) == (0, set())
    assert rig.log_in() is not None


def test_a_handshake_that_stalls_in_its_first_flight(rig: Rig) -> None:
    """R-02: after any part of the ClientHello the link is gone by ten seconds, and is counted out once."""
    size = len(hello().bio_read(65536))
    for count in sorted({0, 1, 4, 5, 6, size // 2, size - 1}):
        wire = Wire(rig.clock)
        protocol = rig.protocol()
        wire.connect(protocol)
        if count:
            protocol.dataReceived(hello().bio_read(65536)[:count])
        assert rig.waiting == 1
        rig.clock.advance(HANDSHAKE_SECONDS - 0.125)
        assert not wire.is_over
        rig.clock.advance(0.125)
        assert wire.aborted()
        rig.clock.advance(0)
        assert (rig.waiting, rig.links) == (0, set())


def test_a_handshake_that_stalls_in_its_second_flight(rig: Rig) -> None:
    """R-02: the same holds after any part of the client's last flight."""
    for left_out in (1, 2, 30, None):
        wire = Wire(rig.clock)
        protocol = rig.protocol()
        wire.connect(protocol)
        client = hello()
        protocol.dataReceived(client.bio_read(65536))
        client.bio_write(wire.take())
        client.do_handshake()
        finished = client.bio_read(65536)
        if left_out:
            protocol.dataReceived(finished[:-left_out])
        assert rig.waiting == 1
        rig.clock.advance(HANDSHAKE_SECONDS)
        assert wire.aborted()
        rig.clock.advance(0)
        assert (rig.waiting, rig.links) == (0, set())


def test_a_slot_is_given_back_once(rig: Rig) -> None:
    """R-02: a link that is aborted, lost and lost again is counted out once."""
    client = rig.connect()
    rig.connect()
    link = rig.link_of(client)
    link.fail("enough")
    client.exchange()
    link.connectionLost()
    rig.factory.link_ended(link)
    assert rig.waiting == 1
    assert len(rig.links) == 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in a process of its own."""
    process = ServerProcess(tmp_path / "home")
    yield process
    process.stop()


def come_and_go(port: int, count: int) -> None:
    """Connect so often and vanish, after nothing, half a greeting, a greeting, or other bytes."""
    greeting = hello().bio_read(65536)
    said = (b"", greeting[:100], greeting, b"GET / HTTP/1.1\r\n\r\n")
    for number in range(count):
        with socket.create_connection((HOST, port)) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(said[number % len(said)])
            if number % 3:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux shows what a process has")
def test_connections_that_come_and_go(server: ServerProcess) -> None:
    """R-04: after ten thousand connections the server has the same descriptors and memory, and still serves."""

    def descriptors() -> int:
        # The last of them are still being closed; a client's whole run is long enough.
        assert server.run(HOST, "true").returncode == 0
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    def memory() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024

    come_and_go(server.port, WARM_UP)
    before = descriptors()
    growths: list[int] = []
    # The heap grows once more where a busy machine lets connections pile up.  A leak grows every time.
    while len(growths) < ROUNDS and (not growths or growths[-1] >= MAX_GROWTH_BYTES):
        held = memory()
        come_and_go(server.port, CHURN - WARM_UP)
        assert descriptors() == before
        growths.append(memory() - held)
    assert growths[-1] < MAX_GROWTH_BYTES, growths


def test_no_session_of_tls_is_resumed(rig: Rig) -> None:
    """L-09: a client that offers an earlier connection's session gets a new one: the server proves its key on every
    connection, and each connection's exporter is its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["twisted-rsh/1"])
    session: ssl.SSLSession | None = None
    exporters = set()
    for _ in range(2):
        wire = Wire(rig.clock)
        protocol = rig.protocol()
        wire.connect(protocol)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, session=session)
        for _flight in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                client.read(1)
            if flight := outgoing.read():
                protocol.dataReceived(flight)
            incoming.write(wire.take())
        assert client.selected_alpn_protocol() == "twisted-rsh/1"
        assert not client.session_reused
        session = client.session
        assert session is not None
        exporters.add(exporter(protocol))
    assert len(exporters) == 2


UPDATES = 1_000_000
"""Requests for a new key that a client would send if nobody stopped it; all answers would be 27 MB."""

AT_ONCE = 500
"""Of them in one piece."""


@pytest.mark.exhaustive
def test_key_updates_over_a_real_connection(server: ServerProcess) -> None:
    """H-11: the server cuts off a logged-in client that asks TLS for new keys without end and never reads."""
    config = ConfigFolders.at(str(server.folder))
    key = load_or_create_client_key(config)
    record = read_record(config, server.port)
    assert record is not None
    secrets: dict[str, bytes] = {}

    def keep(_connection: SSL.Connection, line: bytes) -> None:
        label, _, secret = line.decode().split()
        secrets[label] = bytes.fromhex(secret)

    with socket.socket() as raw:
        # A small window: it is the server's memory that is to fill, and not the kernel's.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((HOST, server.port))
        raw.settimeout(PATIENCE)
        context = client_context()
        context.set_keylog_callback(keep)
        connection = SSL.Connection(context, None)
        connection.set_connect_state()

        def until_done(act: Callable[[], T]) -> T:
            while True:
                with contextlib.suppress(SSL.WantReadError):
                    return act()
                with contextlib.suppress(SSL.WantReadError):
                    raw.sendall(connection.bio_read(65536))
                connection.bio_write(raw.recv(65536))

        until_done(connection.do_handshake)
        user = Account.current(os.environ).name
        binding = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        signature = key.sign_login(binding, record.spki_sha256, user)
        connection.send(frame(encode(Auth(user=user, algorithm=key.algorithm, key=key.blob, signature=signature))))
        assert until_done(lambda: connection.recv(65536))[4] == AuthOk.declaration.number
        records = HandmadeRecords(connection, secrets, sent=1)
        with pytest.raises(ConnectionError):
            for _ in range(UPDATES // AT_ONCE):
                raw.sendall(b"".join(records.key_update() for _ in range(AT_ONCE)))
    assert server.run(HOST, "echo fine").stdout == b"fine\n"
