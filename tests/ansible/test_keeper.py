"""The keeper of Ansible's connections, as a process of Ansible talks to it, with a real server."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from tests.conftest import async_fixture
from tests.server_process import WRONG_PIN, wait_until_gone
from tests.serving import Serving, asynchronous, reactor
from tests.tools.box import read_number
from twisted_rsh.ansible.aliases import read_host_settings
from twisted_rsh.ansible.keeper import Keeper, KeeperPort
from twisted_rsh.ansible.kept import ServerAddress
from twisted_rsh.ansible.worker import INPUT_BYTES, MAX_FRAME_BYTES
from twisted_rsh.testing import FaultProxy

SECONDS = 20.0
"""Seconds after which something that must come has not come."""

PAUSE = 0.05
"""Seconds between two looks at what has no event."""


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true that has no event; fail if that takes too long."""
    for _ in range(int(SECONDS / PAUSE)):
        if condition():
            return
        await deferLater(reactor, PAUSE)
    raise AssertionError("not in time")


class Process(Int32StringReceiver):
    """What a process of Ansible does: it sends frames, and gets frames.

    :ivar gone: fires when the connection has ended.
    """

    MAX_LENGTH = MAX_FRAME_BYTES
    transport: Any

    def __init__(self) -> None:
        self.gone = Deferred[None]().addTimeout(SECONDS, reactor)
        self._frames: DeferredQueue[tuple[bytes, bytes]] = DeferredQueue()

    def stringReceived(self, string: bytes) -> None:
        """A frame came; Twisted calls this."""
        self._frames.put((string[:1], string[1:]))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Send a frame."""
        self.transport.write((1 + len(body)).to_bytes(4, "big") + kind + body)

    def frame(self) -> Deferred[tuple[bytes, bytes]]:
        """Wait for the next frame."""
        return self._frames.get().addTimeout(SECONDS, reactor)

    async def run(self, request: dict[str, object], stdin: bytes = b"") -> tuple[dict[str, Any], bytes, bytes]:
        """Run a command to its end, within the room for input; return how it ended, and what it wrote."""
        self.send(b"Q", json.dumps(request).encode())
        outputs = {b"O": b"", b"E": b""}
        room = INPUT_BYTES
        has_ended = False
        while True:
            piece, stdin = stdin[:room], stdin[room:]
            room -= len(piece)
            if piece:
                self.send(b"I", piece)
            elif not stdin and not has_ended:
                has_ended = True
                self.send(b"Z")
            kind, body = await self.frame()
            if kind == b"R":
                return json.loads(body), outputs[b"O"], outputs[b"E"]
            if kind == b"M":
                room += int(body)
            elif kind in outputs:
                outputs[kind] += body


class Running:
    """A keeper in the test's process, and a server that it reaches through a proxy, which counts the connections.

    :ivar keeper: the keeper.
    :ivar proxy: what the keeper dials.
    """

    def __init__(self, serving: Serving, folder: Path) -> None:
        self.keeper = Keeper(reactor)
        self.proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", serving.port))
        self.port: Any = KeeperPort(str(folder / "s"), self.keeper, reactor)
        self._serving = serving
        self._path = str(folder / "s")

    async def process(self) -> Process:
        """Connect a process of Ansible, and read the greeting."""
        process: Process = await connectProtocol(UNIXClientEndpoint(reactor, self._path), Process())
        assert await process.frame() == (b"H", b"1")
        return process

    def request(self, command: object, **changes: object) -> dict[str, object]:
        """Make a request."""
        server = {
            "host": "127.0.0.1",
            "port": self.proxy.port,
            "user": None,
            "fingerprint": self._serving.service.fingerprint,
            "config_dir": self._serving.config.config,
            "resume": True,
        }
        server |= {name: changes.pop(name) for name in list(changes) if name in server}
        settings = {"connect_seconds": SECONDS, "idle_seconds": 5, "terminal": False, "grace": 60, "timeout": None}
        return {"server": server, "command": command, **settings, **changes}


@async_fixture
async def running(serving: Serving, tmp_path: Path) -> AsyncIterator[Running]:
    """A running keeper."""
    running = Running(serving, tmp_path)
    await running.proxy.start()
    running.port.startListening()
    yield running
    await running.port.stopListening()
    await running.keeper.close()
    await running.proxy.stop()


@asynchronous
async def test_command(running: Running) -> None:
    """A command gets its input and gives its two outputs and its status, and 255 is a status like another."""
    process = await running.process()
    answer, stdout, stderr = await process.run(running.request("cat; echo oops >&2; exit 255"), b"input")
    assert (answer, stdout, stderr) == ({"status": 255, "note": None}, b"input", b"oops\n")
    await process.gone


@pytest.mark.parametrize(
    ("command", "changes", "answer"),
    [
        ("kill -9 $$", {}, {"status": 137, "note": "killed by SIGKILL"}),
        ("exec sleep 60", {"timeout": 0.2}, {"status": 124, "note": "timed out after 0.2 s"}),
        (["no-such-program"], {}, {"status": 127, "note": "no-such-program: command not found"}),
    ],
)
@asynchronous
async def test_endings(
    running: Running, command: object, changes: dict[str, object], answer: dict[str, object]
) -> None:
    """An ending that is no exit code has a status and a line."""
    process = await running.process()
    assert (await process.run(running.request(command, **changes)))[0] == answer


@asynchronous
async def test_one_connection(running: Running) -> None:
    """Processes that come at once, and one after another, share a connection; after a reset there is another."""
    processes = [await running.process() for _ in range(3)]
    runs = [Deferred.fromCoroutine(process.run(running.request("true"))) for process in processes]
    assert [(await run)[0]["status"] for run in runs] == [0, 0, 0]
    assert (await (await running.process()).run(running.request("true")))[0]["status"] == 0
    assert running.proxy.connections == 1
    assert (await (await running.process()).run(running.request(None)))[0]["status"] == 0
    assert (await (await running.process()).run(running.request("true")))[0]["status"] == 0
    assert running.proxy.connections == 2


@asynchronous
async def test_reset_spares_what_runs(running: Running, tmp_path: Path) -> None:
    """A reset does not end a command of another process; its connection is closed when it has ended."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = await running.process()
    process.send(b"Q", json.dumps(running.request(f"echo $$ >{fifo}; read word; echo $word")).encode())
    await deferToThread(read_number, fifo)
    await (await running.process()).run(running.request(None))
    assert running.proxy.open_connections == 1
    process.send(b"I", b"on\n")
    frames = [await process.frame() for _ in range(4)]
    assert (b"O", b"on\n") in frames
    await until(lambda: not running.proxy.open_connections)


@asynchronous
async def test_server_is_lost(running: Running) -> None:
    """A connection that is lost while nothing uses it does not hold the next command up: it gets another one."""
    assert (await (await running.process()).run(running.request("true")))[0]["status"] == 0
    running.proxy.cut_all()
    assert (await (await running.process()).run(running.request("true")))[0]["status"] == 0


@asynchronous
async def test_process_is_gone(running: Running, tmp_path: Path) -> None:
    """A command ends when the process of Ansible that asked for it is gone, also while it takes no input."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = await running.process()
    process.send(b"Q", json.dumps(running.request(f"echo $$ >{fifo}; exec sleep 600")).encode())
    process.send(b"I", bytes(INPUT_BYTES))
    pid = await deferToThread(read_number, fifo)
    process.transport.abortConnection()
    await deferToThread(wait_until_gone, pid)


@asynchronous
async def test_input_is_bounded(running: Running) -> None:
    """Input that there is room for passes, however much it is; a byte more than there is room for ends the link."""
    size = 3 * INPUT_BYTES + 1
    _, stdout, _ = await (await running.process()).run(running.request("wc -c"), bytes(size))
    assert int(stdout) == size
    process = await running.process()
    process.send(b"Q", json.dumps(running.request("sleep 600")).encode())
    process.send(b"I", bytes(INPUT_BYTES + 1))
    await process.gone


@asynchronous
async def test_output_waits_for_its_reader(running: Running) -> None:
    """A process that does not read stops the command, and gets every byte when it reads."""
    process = await running.process()
    process.transport.pauseProducing()
    process.send(b"Q", json.dumps(running.request("head -c 20000000 /dev/zero; echo done >&2")).encode())
    process.send(b"Z")
    reactor.callLater(0.5, process.transport.resumeProducing)
    size = 0
    while (frame := await process.frame())[0] != b"R":
        size += len(frame[1]) if frame[0] == b"O" else 0
    assert size == 20_000_000


@pytest.mark.parametrize("frame", [b"I", b"X" + b"x", b"Q{}", b"Q[", b'Q{"server": {"port": 1}}'])
@asynchronous
async def test_nonsense(running: Running, frame: bytes) -> None:
    """What is no request ends the link, and not the keeper."""
    process = await running.process()
    process.send(frame[:1], frame[1:])
    await process.gone
    assert (await (await running.process()).run(running.request("true")))[0]["status"] == 0


@asynchronous
async def test_unreachable(running: Running, tmp_path: Path) -> None:
    """What keeps a command from its server is told from a status, and a refused login from the rest."""
    refused = {"config_dir": str(tmp_path / "stranger")}
    answers = [
        (await (await running.process()).run(running.request("true", **changes)))[0]
        for changes in ({"port": 1}, {"fingerprint": WRONG_PIN}, {"fingerprint": "x"}, refused)
    ]
    assert [answer["login"] for answer in answers] == [False, False, False, True]
    assert [answer["unreachable"].startswith("cannot connect to 127.0.0.1 port 1: ") for answer in answers[:1]] == [
        True
    ]


def configure(serving: Serving, text: str) -> None:
    """Write the client's configuration file."""
    path = Path(serving.config.client_settings_path)
    path.write_text(text)
    path.chmod(0o600)


@asynchronous
async def test_alias(running: Running, serving: Serving, tmp_path: Path) -> None:
    """A host is what the configuration file says: name, port, user, fingerprint, key; what Ansible says counts more."""
    alias = "Host *.alias\n HostName 127.0.0.1\nMatch originalhost web*\n Port {}\n Fingerprint {}\nMatch user {}\n"
    name = pwd.getpwuid(os.getuid()).pw_name
    key = tmp_path / "other"
    configure(
        serving,
        alias.format(running.proxy.port, serving.service.fingerprint, name)
        + f" Resume no\nHost key*\n IdentityFile {key}\nHost far*\n ProxyCommand nc %h %p\n"
        "Host six.alias\n AddressFamily inet6\nHost *\n ServerAliveInterval 7\n ServerAliveCountMax 1\n",
    )

    async def run(host: str, **changes: object) -> dict[str, Any]:
        unsaid = {"host": host, "port": None, "fingerprint": None} | changes
        return (await (await running.process()).run(running.request("true", **unsaid)))[0]

    assert await run("web.alias") == {"status": 0, "note": None}
    assert (await run("web.alias", port=1))["unreachable"].startswith("cannot connect to 127.0.0.1 port 1: ")
    assert "not the expected server" in (await run("web.alias", fingerprint=WRONG_PIN))["unreachable"]
    assert str(key) in (await run("key.alias"))["unreachable"]
    assert "ProxyCommand" in (await run("far"))["unreachable"]
    assert "127.0.0.1" in (await run("six.alias"))["unreachable"]  # which is no address of IPv6
    settings = await read_host_settings(ServerAddress("web.alias", None, None, None, str(serving.config.config), True))
    assert (settings.limits.keepalive_interval, settings.limits.keepalive_misses) == (7, 2)
    configure(serving, "Port x\n")
    assert "config line 1: " in (await run("web"))["unreachable"]


@asynchronous
async def test_silent_host(running: Running) -> None:
    """A host that does not answer is given up in time, and the line says so."""
    running.proxy.stall()
    answer, _, _ = await (await running.process()).run(running.request("true", connect_seconds=0.2))
    assert answer["unreachable"] == f"127.0.0.1 port {running.proxy.port} has let no one in within 0.2 s"


@asynchronous
async def test_idle(running: Running) -> None:
    """A connection that nothing uses is closed in time, and then the keeper ends."""
    await (await running.process()).run(running.request("true", idle_seconds=0.1))
    await running.keeper.idle.addTimeout(SECONDS, reactor)
    await until(lambda: not running.proxy.open_connections)
