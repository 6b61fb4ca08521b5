"""Programs that speak something else to the server's port: they get nothing, and leave nothing behind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.system.running import START_SECONDS, RunningServer, own_environment, running_server
from tests.tools import require_tool

pytestmark = pytest.mark.real

RECORDED = {
    "HTTP": b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8082\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nid",
    "WebSocket": (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8082\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ),
    "TURN over TCP": b"\x00\x03\x00\x08\x21\x12\xa4\x42abcdefghijkl\x00\x19\x00\x04\x11\x00\x00\x00",
    "frames without TLS": b'\x00\x00\x00\x0a\x30{"run": 1}',
    "the bytes of a command": b"touch /tmp/owned",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for all of these tests; its log is checked when it stops."""
    with running_server(tmp_path_factory.mktemp("browser"), "--login-timeout", "2") as server:
        yield server


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl(server: RunningServer, scheme: str) -> None:
    """L-08: a real HTTP client, with and without TLS: an empty close, no login, no fault."""
    curl = require_tool("curl")
    logins = server.log_text().count(" logged in ")
    done = subprocess.run(
        [curl, "--silent", "--insecure", "--noproxy", "*", "--data", "id", f"{scheme}://127.0.0.1:{server.port}/"],
        capture_output=True,
        env=own_environment(server.log.parent),
        timeout=START_SECONDS,
    )
    assert done.returncode != 0
    assert done.stdout == b""
    assert server.log_text().count(" logged in ") == logins
    assert server.run("echo still here").stdout == b"still here\n"
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("sent", RECORDED.values(), ids=RECORDED)
def test_recorded_bytes(server: RunningServer, sent: bytes) -> None:
    """L-08: the first bytes of other protocols: at most a TLS alert comes back, and the connection is closed."""
    logins = server.log_text().count(" logged in ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=START_SECONDS) as connection:
        connection.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(4096):
                answer += piece
    assert len(answer) <= 7
    assert answer[:1] in {b"", b"\x15"}  # a TLS record of type "alert"
    assert server.log_text().count(" logged in ") == logins
    assert server.run("echo still here").stdout == b"still here\n"
    assert "Traceback" not in server.log_text()
