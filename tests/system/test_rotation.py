"""``twisted-rsh rotate``, with real programs: a client that logs in meanwhile follows the server to its new key."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.server_process import HOST, PATIENCE, running_server
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import KnownServers
from twisted_rsh.trust.server_key import load_or_create_server_key

pytestmark = [pytest.mark.real, pytest.mark.uncut("the server is started again, which ends every session")]


def run(module: str, *words: str, status: int = 0) -> tuple[str, str]:
    """Run a program of the package; return what it prints, and its errors."""
    done = subprocess.run(
        [sys.executable, "-m", f"twisted_rsh.{module}", *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == status, done
    return done.stdout, done.stderr


def test_a_client_follows(tmp_path: Path) -> None:
    """The client learns the next key in one line, once; after the end of the rotation it needs no word.

    A client that has not logged in meanwhile stops.
    """
    folder = tmp_path / "server"
    config = ConfigFolders.at(str(folder))
    clients = [ConfigFolders.at(str(tmp_path / name)) for name in ("client", "late")]
    folder.mkdir(mode=0o700)
    lines = [load_or_create_client_key(client).public_line for client in clients]
    Path(config.authorized_keys_path).write_text("\n".join(lines))
    Path(config.authorized_keys_path).chmod(0o600)
    old = load_or_create_server_key(config)
    with running_server(folder) as server:
        port = server.port
        words = [["--config-dir", client.config, "-p", str(port), HOST, "echo", "here"] for client in clients]
        for client in clients:
            KnownServers(client).add(HOST, port, old.spki_sha256)
        assert run("cli", *words[0]) == ("here\n", "")
        first, second, _ = run("manage", "rotate", "--config-dir", str(folder))[0].splitlines()
        assert first == f"the server's key is {old.fingerprint}"
        until = time.monotonic() + PATIENCE
        told = ""
        while not told:
            assert time.monotonic() < until, "the server does not announce its next key"
            told = run("cli", *words[0])[1]
        following = second.removeprefix("the next key is ")
        assert told == (
            f"trsh: the server {HOST}:{port} will have another key, {following}; known_servers has it from now on\n"
        )
        assert run("cli", *words[0]) == ("here\n", "")
        printed, _ = run("manage", "rotate", "--finish", "--config-dir", str(folder))
        assert printed == f"the server's key is {following} from its next start on; restart it\n"
        assert run("cli", *words[0]) == ("here\n", "")
    with running_server(folder, options=("--port", str(port))):
        assert run("cli", *words[0]) == ("here\n", "")
        assert "has changed" in run("cli", *words[1], status=255)[1]
    error = run("manage", "rotate", "--finish", "--config-dir", str(folder), status=1)[1]
    assert error == "twisted-rsh: there is no next key; make one with: twisted-rsh rotate\n"
