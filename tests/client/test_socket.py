"""Servers that clients reach over a Unix socket: the account's own without being told, and any by its path."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.logger import LogEvent, formatEvent

from tests.conftest import async_fixture
from tests.link.wire import collecting_log
from tests.serving import Serving, asynchronous, cut, link_of, reactor
from twisted_rsh import (
    ForeignServer,
    LoginRefused,
    NoServer,
    WrongServer,
    connect,
    connect_to_endpoint,
    load_or_create_client_key,
)
from twisted_rsh.client.connecting import tcp_endpoint
from twisted_rsh.link.lane import LocalLane, TLSLane
from twisted_rsh.server import sockets
from twisted_rsh.server.options import AUTO
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import ServerRecord, read_record, write_record

pytestmark = pytest.mark.uncut("tests/soak_mode.py leads the clients of the other tests over the socket: --over-socket")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigFolders:
    """The folders of a user who has a runtime folder."""
    runtime = tmp_path / "r"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return ConfigFolders(str(tmp_path / "config"), str(tmp_path / "state"))


@async_fixture
async def local(config: ConfigFolders) -> AsyncIterator[Serving]:
    """A running server with the socket that it has by default."""
    serving = Serving(config, socket=AUTO)
    await serving.start()
    yield serving
    await serving.stop()


def record_of(serving: Serving) -> ServerRecord:
    """Return the record of a running server."""
    record = read_record(serving.config, serving.port)
    assert record is not None
    return record


def path_of(serving: Serving) -> str:
    """Return the path of a server's socket."""
    path = record_of(serving).socket
    assert path is not None
    return path


@asynchronous
async def test_the_own_server(local: Serving) -> None:
    """The account's own server is reached over its socket: no key is made, and the session outlives its links."""
    connection = await local.connect()
    assert path_of(local).endswith(f"/r/twisted-rsh/{local.port}.sock")
    assert os.stat(path_of(local)).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path_of(local))).st_mode & 0o777 == 0o700
    assert not os.path.exists(local.config.client_key_path)
    job = connection.start("read line; echo got $line; head -c 3000000 /dev/zero | cat")
    for _ in range(3):
        assert isinstance(link_of(connection).tls, LocalLane)
        cut(connection)
        assert (await connection.run("echo again")).stdout == b"again\n"
    await job.stdin.write(b"it\n")
    job.stdin.end()
    size = 0
    while data := await job.stdout.read():
        size += len(data)
    assert size == len(b"got it\n") + 3_000_000


@asynchronous
async def test_a_path(local: Serving) -> None:
    """``unix:`` and a path lead to the same; a fingerprint is compared, and a name must be the account's."""
    host = f"unix:{path_of(local)}"
    connection = await connect(reactor, host, config=local.config)
    assert (await connection.run("echo hello")).stdout == b"hello\n"
    await connection.close()
    connection = await connect(reactor, host, config=local.config, fingerprint=local.service.fingerprint)
    await connection.close()
    with pytest.raises(WrongServer):
        await connect(reactor, host, config=local.config, fingerprint="SHA256:" + "A" * 43)
    with pytest.raises(LoginRefused, match="lets in the user that runs it alone"):
        await connect(reactor, host, config=local.config, user="somebody")


@asynchronous
async def test_a_reason_for_tcp(local: Serving) -> None:
    """A fingerprint, a key or an endpoint of the caller's leads over TCP, and so does a socket that is gone."""
    connection = await connect(reactor, port=local.port, config=local.config, fingerprint=local.service.fingerprint)
    assert isinstance(link_of(connection).tls, TLSLane)
    await connection.close()
    way = tcp_endpoint(reactor, "127.0.0.1", local.port)
    connection = await connect(reactor, port=local.port, config=local.config, endpoint=way)
    assert isinstance(link_of(connection).tls, TLSLane)
    await connection.close()
    os.unlink(path_of(local))
    connection = await local.connect()
    assert isinstance(link_of(connection).tls, TLSLane)


@asynchronous
async def test_a_stale_record(local: Serving) -> None:
    """A record that names a socket on which no process listens leads over TCP."""
    stale = os.path.join(local.config.state, "x")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(stale)
    write_record(local.config, local.port, replace(record_of(local), socket=stale))
    assert isinstance(link_of(await local.connect()).tls, TLSLane)


@asynchronous
async def test_tls_at_the_socket(local: Serving) -> None:
    """An application that dials the socket with TLS and a key gets that."""
    key = load_or_create_client_key(local.config)
    pin = record_of(local).spki_sha256
    connection = await connect_to_endpoint(
        reactor, UNIXClientEndpoint(reactor, path_of(local)), pin, key, local.account.name
    )
    assert isinstance(link_of(connection).tls, TLSLane)
    assert (await connection.run("echo hello")).stdout == b"hello\n"
    await connection.close()


@asynchronous
async def test_paths_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is missing, no socket, too long, or served by a stranger: one line each, and nothing is sent."""
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind("stale")
    for path, reason in (
        ("missing", "No such file or directory"),
        ("file", "it is no socket"),
        ("stale", "Connection refused"),
        ("x" * 108, "108 bytes"),
    ):
        with pytest.raises(NoServer, match=f"cannot connect to unix:{path}: .*{reason}"):
            await connect(reactor, f"unix:{path}", config=ConfigFolders.at("home"), user="me")
    monkeypatch.setattr("twisted_rsh.client.socket_address.trusted_servers", lambda *_: frozenset({4711}))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind("stranger")
        stranger.listen()
        with pytest.raises(ForeignServer, match="neither yours nor the owner's"):
            await connect(reactor, "unix:stranger", config=ConfigFolders.at("home"), user="me")
        accepted, _ = stranger.accept()
        with accepted, contextlib.suppress(BlockingIOError):
            accepted.setblocking(False)
            assert accepted.recv(100) == b""


@asynchronous
async def test_a_server_without_a_socket(config: ConfigFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that was not asked for by its path may be missing: the log says so, and clients use TCP."""
    monkeypatch.setattr(sockets, "check_length", lambda _: (_ for _ in ()).throw(ValueError("too long")))
    events: list[LogEvent]
    with collecting_log() as events:
        serving = Serving(config, socket=AUTO)
        await serving.start()
        assert isinstance(link_of(await serving.connect()).tls, TLSLane)
        await serving.stop()
    [line] = [text for event in events if "no Unix socket" in (text := formatEvent(event) or "")]
    assert "too long; choose one with --socket" in line


def test_a_runtime_folder_of_another_kind(tmp_path: Path) -> None:
    """Beside the record lies the socket where the runtime folder is open, missing, or not for these folders."""
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "own").mkdir(mode=0o700)
    beside = str(tmp_path / "state" / "run" / "8082.link.sock")
    folders = ConfigFolders(str(tmp_path / "config"), str(tmp_path / "state"))
    for runtime in ("open", "missing", "own"):
        path = folders.socket_path(8082, {"XDG_RUNTIME_DIR": str(tmp_path / runtime)})
        own = str(tmp_path / "own" / "twisted-rsh" / "8082.sock")
        assert path == (own if runtime == "own" else beside)
    assert folders.socket_path(8082, {}) == beside
    one = ConfigFolders.at(str(tmp_path / "state"))
    assert one.socket_path(8082, {"XDG_RUNTIME_DIR": str(tmp_path / "own")}) == beside
