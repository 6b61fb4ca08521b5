"""A user who has never run the programs: no question, and files that only this user can read."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from tests.system.running import SCRIPTS, START_SECONDS, own_environment, running_server

SECRETS = {"id_ed25519", "key.pem"}


def modes_below(folder: Path) -> dict[Path, int]:
    """The permissions of everything below a folder, by its path from there."""
    return {path.relative_to(folder): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids="{:03o}".format)
def test_fresh_home(umask: int, tmp_path: Path) -> None:
    """A-20: in a fresh HOME, server, client and command work at once, with no prompt; O-02: whatever the umask, every
    file is 0600 and every folder 0700."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    environment = own_environment(home)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with running_server(home, xdg=True, environment=environment, umask=umask, cwd=elsewhere) as server:
        for way in ([], ["-4"]):  # over the Unix socket, and over TCP
            done = subprocess.run(
                [SCRIPTS / "trsh", *way, "-p", str(server.port), "127.0.0.1", "echo out; umask"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environment,
                umask=umask,
                cwd=elsewhere,
                timeout=START_SECONDS,
                start_new_session=True,  # no terminal to ask on
            )
            assert (done.stdout, done.stderr, done.returncode) == (f"out\n{umask:04o}\n".encode(), b"", 0)
        modes = modes_below(home)
    del modes[server.log.relative_to(home)]
    assert {path.name for path in modes} >= SECRETS
    for path, mode in modes.items():
        assert mode == (0o700 if (home / path).is_dir() else 0o600), path
    assert not list(elsewhere.iterdir()), "something was left in the working folder"


@pytest.mark.uncut("another server takes the port and the record of the first")
def test_second_start_keeps_the_identity(tmp_path: Path) -> None:
    """A-20: a server that is started again is the same to its clients; its old record is not in the way."""
    with running_server(tmp_path) as first:
        assert first.run("echo one").stdout == b"one\n"
        fingerprint = first.fingerprint
        first.kill()
        record = first.config / "run" / f"{first.port}.json"
        assert record.exists()
    with running_server(tmp_path, "--port", str(first.port)) as second:
        assert second.fingerprint == fingerprint
        assert second.run("echo two").stdout == b"two\n"


def test_client_without_a_server(tmp_path: Path) -> None:
    """A client that finds no server says how to start one."""
    done = subprocess.run(
        [SCRIPTS / "trsh", "--config-dir", tmp_path / "rsh", "-p", "1", "127.0.0.1", "true"],
        capture_output=True,
        env=own_environment(tmp_path),
        timeout=START_SECONDS,
    )
    assert (done.returncode, done.stdout) == (255, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"twistd rsh" in done.stderr
