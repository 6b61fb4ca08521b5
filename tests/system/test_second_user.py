"""Two users of one machine: neither can use, learn of, or stand in for the other's server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.other_user import OTHER_USER, other_users_command, other_users_folder, require_other_user
from tests.system.running import (
    START_SECONDS,
    WAYS,
    RunningServer,
    StartWay,
    assert_one_line,
    own_environment,
    running_server,
)

pytestmark = pytest.mark.real

CLIENT = "twisted_rsh.cli.__main__"
SERVER = "twisted_rsh.server.__main__"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The first user's server."""
    require_other_user()
    with running_server(tmp_path_factory.mktemp("first")) as server:
        assert server.run("true").returncode == 0  # so that the first user has a client's key
        yield server


@pytest.fixture
def others() -> Iterator[Path]:
    """The second user's home folder."""
    require_other_user()
    with other_users_folder() as folder:
        yield folder


def run_as_other(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a client as the second user."""
    return subprocess.run(
        [*other_users_command(CLIENT), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=own_environment(folder),
        cwd=folder,
        timeout=START_SECONDS,
    )


@contextmanager
def others_server(folder: Path, *options: str) -> Iterator[RunningServer]:
    """Run a server as the second user while a block lasts."""
    way = StartWay(other_users_command(SERVER), WAYS["module"].status)
    with running_server(folder, "--shell", "/bin/sh", *options, way=way) as server:
        yield server


def assert_first_user_unaffected(server: RunningServer) -> None:
    """The first user's server still serves the first user, and its log tells of no fault."""
    assert server.run("echo mine").stdout == b"mine\n"
    assert "Traceback" not in server.log_text()


def test_second_user_without_a_record(server: RunningServer, others: Path) -> None:
    """A-21: zero configuration for another uid: no record names the server's key, so the client does not connect."""
    log = server.log_text()
    done = run_as_other(others, "-p", str(server.port), "127.0.0.1", "id")
    assert done.returncode == 255
    assert done.stdout == b""
    assert_one_line(done.stderr, "trsh: no server of yours", str(server.port))
    assert server.log_text() == log
    assert_first_user_unaffected(server)


def test_second_user_with_the_fingerprint(server: RunningServer, others: Path) -> None:
    """A-21: with the server's fingerprint, under any name, the other user is refused in the same words, and learns
    nothing: neither which users may log in, nor whether a name is known."""
    refusals = set()
    logins = server.log_text().count(" logged in ")
    for name in ("root", OTHER_USER, "who-is-this"):
        done = run_as_other(
            others, "--fingerprint", server.fingerprint, "-p", str(server.port), "-l", name, "127.0.0.1", "id"
        )
        assert done.returncode == 255
        assert done.stdout == b""
        assert_one_line(done.stderr, "trsh: ")
        refusals.add(done.stderr.replace(name.encode(), b"NAME"))
    assert len(refusals) == 1
    assert server.log_text().count(" logged in ") == logins
    assert_first_user_unaffected(server)


def test_second_user_with_the_first_users_folder(server: RunningServer, others: Path) -> None:
    """A-21: the first user's keys and records are closed to the other user."""
    done = run_as_other(others, "--config-dir", str(server.config), "-p", str(server.port), "127.0.0.1", "id")
    assert done.returncode == 255
    assert done.stdout == b""
    assert_one_line(done.stderr, "trsh: ", "Permission denied")
    assert_first_user_unaffected(server)


def test_key_of_the_owner_under_another_name(server: RunningServer) -> None:
    """A-19: a login as another user than the owner is refused, even with the owner's key; as root the log warns."""
    done = server.run("id", options=("-l", OTHER_USER))
    assert (done.returncode, done.stdout) == (255, b"")
    assert_one_line(done.stderr, "trsh: ")
    assert "runs as root" in server.log_text()


def test_each_user_has_a_server(server: RunningServer, others: Path) -> None:
    """Two users' servers run side by side, and each client reaches its own user's, as that user."""
    with others_server(others) as second:
        assert server.run("id -un").stdout == b"root\n"
        done = run_as_other(others, "--config-dir", str(second.config), "-p", str(second.port), "127.0.0.1", "id -un")
        assert (done.returncode, done.stdout) == (0, f"{OTHER_USER}\n".encode()), done.stderr


@pytest.mark.uncut("another server takes the port of the first, which clients dial themselves")
def test_other_users_server_on_the_same_port(tmp_path: Path, others: Path) -> None:
    """M-20, C-01: the server died and another user took its port: the client sees a wrong key and says nothing."""
    with running_server(tmp_path) as first:
        first.kill()
        with others_server(others, "--port", str(first.port)) as second:
            assert second.port == first.port
            done = first.run("id", stdin=b"secret")
            assert (done.returncode, done.stdout) == (255, b"")
            assert_one_line(done.stderr, "trsh: ", "key")
            second.stop()  # so that its log has everything
            assert "login" not in second.log_text()
            assert "logged in" not in second.log_text()


@pytest.mark.parametrize("folder", ["server", "run", "."])
def test_folder_that_cannot_be_read(folder: str, tmp_path: Path) -> None:
    """The folder of the keys, or of the records, may not be entered: one line that names it, status 2."""
    if os.geteuid() == 0:
        with other_users_folder() as home:
            assert_unreadable_folder_refused(other_users_command(SERVER), home, home / folder)
    else:
        assert_unreadable_folder_refused(WAYS["module"].command, tmp_path, tmp_path / folder)


def assert_unreadable_folder_refused(command: tuple[str, ...], home: Path, folder: Path) -> None:
    """Start a server that must not use one of its folders, and check its refusal."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o000)
    if os.geteuid() == 0:
        os.chown(folder, 0, 0)
    done = subprocess.run(
        [*command, "--config-dir", str(home), "--port", "0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=own_environment(home),
        cwd="/",
        timeout=START_SECONDS,
    )
    assert done.returncode == 2, done.stderr.decode()
    assert_one_line(done.stderr, "twisted-rsh: ", str(folder))
