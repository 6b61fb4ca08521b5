"""The Unix socket of a real server: whom it lets in, in a container, behind a service manager, and after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.other_user import OTHER_USER, other_users_command, other_users_folder, require_other_user
from tests.system.running import (
    CLIENT_SECONDS,
    SCRIPTS,
    START_SECONDS,
    TWISTD,
    assert_one_line,
    own_environment,
    require,
    running_server,
    wait_until,
)
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record

pytestmark = [pytest.mark.real, pytest.mark.uncut("no proxy stands before the socket that a test names")]

OPERATING = Path(__file__).parents[2] / "docs" / "operating.rst"


@contextmanager
def server_at(
    path: Path, folder: Path, *options: str, before: Sequence[str] = (), program: Sequence[str] = TWISTD.command
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server that listens on a socket and nowhere else, while a block lasts."""
    words = [*before, *program, "--config-dir", str(folder / "rsh"), "--shell", "/bin/sh", *options]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            words, env=own_environment(folder), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def is_there() -> bool:
        assert process.poll() is None, (folder / "server.log").read_text()
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(path)) == 0

    try:
        wait_until(is_there, START_SECONDS, f"a server at {path}")
        yield process
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def run(folder: Path, *words: str, program: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
    """Run a client, of the test's own user unless its program says otherwise."""
    return subprocess.run(
        [*(program or (str(SCRIPTS / "trsh"),)), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=own_environment(folder),
        cwd=folder,
        timeout=CLIENT_SECONDS,
    )


def documented(beginning: str) -> str:
    """Return the command of the operator's page that begins so, with the lines that belong to it."""
    text = OPERATING.read_text()
    block = text[text.index(f"   $ {beginning}") :].split("\n\n")[0]
    return textwrap.dedent(block).removeprefix("$ ")


def test_in_a_container() -> None:
    """The page's command: a client in namespaces of its own reaches a mounted socket, as the user it is mapped to."""
    require(shutil.which("unshare"), "unshare is not installed")
    command = documented("unshare -Urm")
    try_it = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    require(subprocess.run(try_it, capture_output=True).returncode == 0, "this system allows no user namespace")
    with socket_folder() as home:
        (home / "rsh").mkdir(mode=0o700)
        path = home / "rsh" / "host.sock"
        with server_at(path, home, "--listen", f"unix:{path}"):
            name = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
            environment = own_environment(home, USER=name, PATH=f"{SCRIPTS}:{os.environ['PATH']}")
            done = subprocess.run(
                ["sh", "-c", command.replace(" make'", " readlink /proc/self/ns/user'")],
                env=environment,
                capture_output=True,
                cwd=home,
                timeout=CLIENT_SECONDS,
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.decode().splitlines()[-1] == os.readlink("/proc/self/ns/user")


@contextmanager
def socket_folder() -> Iterator[Path]:
    """Give a folder with a short path while a block lasts: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="rsh") as folder:
        yield Path(folder)


def test_other_users() -> None:
    """A-21: another user, root included, is let in by no mode of the socket; each learns it in one line."""
    require_other_user()
    with socket_folder() as home, other_users_folder() as others:
        home.chmod(0o755)
        path = home / "open.sock"
        with server_at(path, home, "--listen", f"unix:{path}:mode=666"):
            assert run(home, f"unix:{path}", "id -un").stdout == b"root\n"
            as_other = other_users_command("twisted_rsh.cli.__main__")
            done = run(others, "-l", "root", f"unix:{path}", "id", program=as_other)
            assert (done.returncode, done.stdout) == (255, b"")
            assert_one_line(done.stderr, "login as root was refused")
        path = others / "theirs.sock"
        with server_at(
            path, others, "--listen", f"unix:{path}", program=other_users_command("twisted_rsh.server.__main__")
        ):
            done = run(home, "-l", OTHER_USER, f"unix:{path}", "id")
            assert (done.returncode, done.stdout) == (255, b"")
            assert_one_line(done.stderr, f"login as {OTHER_USER} was refused")
            done = run(others, f"unix:{path}", "id -un", program=as_other)
            assert (done.returncode, done.stdout) == (0, f"{OTHER_USER}\n".encode()), done.stderr


def test_a_killed_server() -> None:
    """The socket of a server that was killed is replaced by the next; that of one that lives is not."""
    with socket_folder() as home:
        path = home / "rsh.sock"
        with server_at(path, home, "--listen", f"unix:{path}") as first:
            first.send_signal(signal.SIGKILL)
            first.wait(START_SECONDS)
            assert path.is_socket()
            with server_at(path, home, "--listen", f"unix:{path}"):
                done = run(home, "--listen", f"unix:{path}", program=(sys.executable, "-m", "twisted_rsh.server"))
                assert done.returncode == 2
                assert_one_line(done.stderr.splitlines(keepends=True)[-1], "a server listens there", str(path))
                assert run(home, f"unix:{path}", "echo here").stdout == b"here\n"
        assert not path.exists()


def test_behind_a_service_manager() -> None:
    """O-11: a socket that ``systemd-socket-activate`` has made serves clients, and keeps its mode."""
    require(shutil.which("systemd-socket-activate"), "systemd-socket-activate is not installed")
    with socket_folder() as home:
        path = home / "given.sock"
        with server_at(
            path,
            home,
            "--listen",
            "systemd:domain=UNIX:index=0",
            before=("systemd-socket-activate", "--fdname=rsh", "-l", str(path), "-E", "HOME", "-E", "PATH"),
        ):
            path.chmod(0o600)
            assert run(home, f"unix:{path}", "echo here; env | grep -c LISTEN_").stdout == b"here\n0\n"
            assert path.stat().st_mode & 0o777 == 0o600


def test_the_way_that_a_client_takes() -> None:
    """A plain client takes the socket; one that asks for a key, a family or a fingerprint takes TLS, as without one."""
    with socket_folder() as home, running_server(home, "--socket", "auto") as server:
        record = read_record(ConfigFolders.at(str(server.config)), server.port)
        assert record is not None
        pin = format_fingerprint(record.spki_sha256)
        key = str(server.config / "id_ed25519")
        for words, way in (
            ((), "uid "),
            (("-4",), "SHA256:"),
            (("-i", key), "SHA256:"),
            (("--fingerprint", pin), "SHA256:"),
        ):
            assert server.run("echo here", options=words).stdout == b"here\n"
            login = [line for line in server.log_text().splitlines() if " logged in with " in line][-1]
            assert f" logged in with {way}" in login
        assert record.socket is not None
        os.unlink(record.socket)
        assert server.run("echo here").stdout == b"here\n"
