"""The faults of the program that this project replaces, one test each that shows that the fault is gone.

It was a server on 127.0.0.1:8082 that read ``recv(1024)``, ran the bytes as a shell command and sent stdout and stderr
back together in GBK, and a client that prompted ``>>:`` and printed ``recv(1024)``.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from tests.serving import Serving, asynchronous, link_of, reactor
from tests.system.running import running_server
from twisted_rsh import Connection, connect
from twisted_rsh.client.errors import LoginRefused
from twisted_rsh.core.endings import Exited, RefusalReason, Refused
from twisted_rsh.trust.home import ConfigFolders

OLD_BUFFER = 1024
"""Bytes that each side of the old program read at once."""

GLUE_SECONDS = 0.01
"""Seconds for which a relay gathers what is sent, so that several sends become one."""

LATE_SECONDS = 0.005
"""Seconds by which a relay delays the second half of what it was sent."""

CLOSE_SECONDS = 20.0
"""Seconds in which the server must have closed a connection that does not log in."""


class RelaySide(Protocol):
    """One side of a relay: what comes here goes to the other side, in other pieces."""

    def __init__(self, relay: Relay) -> None:
        self.other: RelaySide | None = None
        self._relay = relay
        self._held = b""
        self._is_scheduled = False

    def connectionMade(self) -> None:
        cast("ITCPTransport", self.transport).setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self._relay.reads += 1
        self._held += data
        if not self._is_scheduled:
            self._schedule(GLUE_SECONDS if self._relay.form == "glued" else 0)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._held = b""
        if self.other is not None:
            cast("ITCPTransport", self.other.transport).loseConnection()

    def _schedule(self, delay: float) -> None:
        self._is_scheduled = True
        reactor.callLater(delay, self._pass_on)

    def _pass_on(self) -> None:
        self._is_scheduled = False
        if self.other is None:
            self._schedule(GLUE_SECONDS)  # it is still being dialled
            return
        size = {"glued": len(self._held), "split": 1, "late": (len(self._held) + 1) // 2}[self._relay.form]
        piece, self._held = self._held[:size], self._held[size:]
        self._relay.writes += 1
        cast("ITCPTransport", self.other.transport).write(piece)
        if self._held:
            self._schedule(LATE_SECONDS if self._relay.form == "late" else 0)


class Relay(Factory):
    """Stands between client and server, and passes every byte on, in other pieces than it was sent in.

    :param server: the server.
    :param form: ``"glued"``: several sends arrive as one; ``"split"``: every byte arrives by itself; ``"late"``: half
        of what was sent arrives later.
    :ivar reads: pieces that came.
    :ivar writes: pieces that went.
    """

    noisy = False

    def __init__(self, server: Serving, form: str) -> None:
        self.form = form
        self.reads = self.writes = 0
        self._server = server

    def buildProtocol(self, addr: object) -> RelaySide:
        near, far = RelaySide(self), RelaySide(self)
        far.other = near

        def connected(_: object) -> None:
            near.other = far

        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._server.port)
        connectProtocol(endpoint, far).addCallback(connected)
        return near


@asynchronous
async def test_output_does_not_stay_behind(connection: Connection) -> None:
    """Output of more than 1,024 bytes stayed behind and appeared under the next command."""
    for size in (OLD_BUFFER, OLD_BUFFER + 1, 100 * OLD_BUFFER + 1):
        result = await connection.run(f"head -c {size} /dev/zero | tr '\\0' x")
        assert result.stdout == b"x" * size
        following = await connection.run("echo next")
        assert following.stdout == b"next\n"


@pytest.mark.uncut("has a relay of its own, which glues or splits what one connection carries")
@pytest.mark.parametrize("form", ["glued", "split", "late"])
@asynchronous
async def test_packets_do_not_stick(serving: Serving, form: str) -> None:
    """Sticky packets, in all three forms: two sends glued into one, one send split, a remainder that is read late.
    Whatever the network does to the pieces, each command gets its own output, whole, and its own status."""
    relay = Relay(serving, form)
    listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(relay)
    port, fingerprint = cast("IPv4Address", listening.getHost()).port, serving.service.fingerprint
    connection = await connect(reactor, "127.0.0.1", port, config=serving.config, fingerprint=fingerprint)
    sizes = [0, 1, OLD_BUFFER - 1, OLD_BUFFER, OLD_BUFFER + 1, 3 * OLD_BUFFER]
    commands = [f"head -c {size} /dev/zero | tr '\\0' {chr(97 + n)}; exit {n}" for n, size in enumerate(sizes)]
    results = await gatherResults([connection.run(command) for command in commands])
    for n, (size, result) in enumerate(zip(sizes, results, strict=True)):
        assert (result.stdout, result.ending) == (chr(97 + n).encode() * size, Exited(n))
    assert (relay.writes < relay.reads) == (form == "glued")
    await connection.close()
    await listening.stopListening()


@asynchronous
async def test_empty_command_does_not_hang(connection: Connection) -> None:
    """An empty line hung the client: nothing was sent, and it waited for the answer."""
    result = await connection.run("")
    assert isinstance(result.ending, Refused)
    assert result.ending.reason is RefusalReason.BAD_TEXT
    assert (await connection.run("echo next")).stdout == b"next\n"


def test_empty_line_does_not_hang(tmp_path: Path) -> None:
    """The same for lines given to the client program: an empty one does nothing."""
    with running_server(tmp_path) as server:
        done = server.run(stdin=b"\necho one\n\n   \necho two\n\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"one\ntwo\n", b"", 0)


@asynchronous
async def test_one_client_does_not_block_others(serving: Serving) -> None:
    """One client blocked all others: they were served one after another."""
    first, second = await serving.connect(), await serving.connect()
    waiting = first.start("read line; echo got $line")
    assert (await second.run("echo second")).stdout == b"second\n"
    assert (await first.run("echo beside")).stdout == b"beside\n"
    await waiting.stdin.write(b"it\n")
    assert await waiting.stdout.read() == b"got it\n"
    assert (await waiting.wait()).ending == Exited(0)


@pytest.mark.parametrize("linger", [None, struct.pack("ii", 1, 0)], ids=["EOF", "RST"])
@asynchronous
async def test_vanished_client_does_not_end_the_server(
    serving: Serving, connection: Connection, linger: bytes | None
) -> None:
    """A client that vanished, with or without a reset, ended the server."""
    for sent in (b"", b"\0", b"id"):
        await deferToThread(vanish, serving.port, sent, linger)
    assert (await connection.run("echo here")).stdout == b"here\n"
    assert (await (await serving.connect()).run("echo new")).stdout == b"new\n"


def vanish(port: int, sent: bytes, linger: bytes | None) -> None:
    """Connect, perhaps say something, and be gone."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        if linger is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


@pytest.mark.uncut("the session is told to end with its connection")
@pytest.mark.parametrize("reset", [False, True], ids=["EOF", "RST"])
@asynchronous
async def test_client_that_vanishes_within_a_command(serving: Serving, reset: bool) -> None:
    """The same for a client that has logged in and whose command runs: the command ends, the server does not."""
    connection = await serving.connect(resume=False)
    job = connection.start("echo $$; exec sleep 300")
    pid = int(await job.stdout.read())
    tls = cast("TLSMemoryBIOProtocol", link_of(connection).transport)
    if reset:
        tls.abortConnection()
    else:
        # Below the lane, whose socket Twisted's transport does not watch.
        cast("Any", tls.transport).getHandle().shutdown(socket.SHUT_RDWR)
    await connection.when_lost()
    other = await serving.connect()
    result = await other.run(f"while kill -0 {pid} 2>/dev/null; do sleep 0.05; done; echo gone", timeout=20)
    assert result.stdout == b"gone\n"


@asynchronous
async def test_outputs_do_not_arrive_as_one(connection: Connection) -> None:
    """stdout and stderr arrived as one."""
    result = await connection.run("for n in 1 2 3; do echo out$n; echo err$n >&2; done")
    assert result.stdout == b"out1\nout2\nout3\n"
    assert result.stderr == b"err1\nerr2\nerr3\n"


@asynchronous
async def test_exit_status_is_told(connection: Connection) -> None:
    """There was no exit status."""
    for code in (0, 1, 42, 255):
        assert (await connection.run(f"exit {code}")).ending == Exited(code)


@asynchronous
async def test_command_that_reads_input_does_not_hang(connection: Connection) -> None:
    """A command that reads input hung, and the server with it: its stdin was the server's terminal."""
    assert (await connection.run("cat")).stdout == b""
    assert (await connection.run("read line; echo got $line", stdin=b"it\n")).stdout == b"got it\n"


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
@asynchronous
async def test_code_pages_do_not_garble(config: ConfigFolders, encoding: str) -> None:
    """GBK and UTF-8 garbled each other: the server sent the one, whatever its commands wrote and the client read."""
    text = "中文：終端 ASCII"
    serving = Serving(config, encoding=encoding)
    await serving.start()
    try:
        connection = await serving.connect()
        result = await connection.run(f"printf %s '{text}'; printf %s '{text}' >&2")
        assert (result.text, result.error_text) == (text, text)
        assert result.stdout == text.encode(encoding)
        undecodable = await connection.run(r"printf 'a\377'")
        assert undecodable.stdout == b"a\xff"
        assert undecodable.text.encode(encoding, "surrogateescape") == b"a\xff"
    finally:
        await serving.stop()


@asynchronous
async def test_reaching_the_port_is_not_enough(serving: Serving, tmp_path: Path) -> None:
    """Anybody who could reach the port could run anything."""
    canary = tmp_path / "canary"
    command = f"touch {canary}".encode()
    assert await deferToThread(answer_to, serving.port, command, False) in {b"", ALERT}
    assert await deferToThread(answer_to, serving.port, command, True) == b""
    with pytest.raises(LoginRefused):
        stranger = ConfigFolders.at(str(tmp_path / "stranger"))
        await connect(reactor, "127.0.0.1", serving.port, config=stranger, fingerprint=serving.service.fingerprint)
    assert (await (await serving.connect()).run("true")).ending == Exited(0)
    assert not canary.exists()


ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
"""What TLS says to bytes that are no TLS (RFC 8446 section 6.2: protocol_version)."""


def answer_to(port: int, sent: bytes, tls: bool) -> bytes:
    """Send bytes to the server, in the clear or in TLS with this protocol's name, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=CLOSE_SECONDS) as plain:
        connection = plain
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["twisted-rsh/1"])
            connection = context.wrap_socket(plain)
        answer = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError), connection:
            connection.sendall(struct.pack("!I", len(sent)) + sent if tls else sent)
            while piece := connection.recv(4096):
                answer += piece
        return answer
