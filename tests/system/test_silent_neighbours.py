"""Another user of the machine holds connections to a server and says nothing: its own user does not notice."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.other_user import OTHER_USER, other_users_folder, require_other_user
from tests.system.running import RunningServer, assert_one_line, running_server, wait_until
from tests.system.test_second_user import run_as_other

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the users of connections"),
    pytest.mark.uncut("in soak mode all connections come from the proxy, and so from one user"),
]

PATIENCE = 30.0

SILENT = """
import encodings.idna, os, socket, sys
uid, port, count = map(int, sys.argv[1:])
if uid != os.geteuid():
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
held = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
sys.stdin.read()
"""


@contextmanager
def silent(server: RunningServer, count: int, uid: int) -> Iterator[None]:
    """Hold silent connections as a user while a block lasts."""
    command = [sys.executable, "-S", "-c", SILENT, str(uid), str(server.port), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield
        assert process.stdin is not None
        process.stdin.close()


def other_uid() -> int:
    """Return the other user."""
    require_other_user()
    return pwd.getpwnam(OTHER_USER).pw_uid


def test_another_users_silent_connections(tmp_path: Path) -> None:
    """R-01: a hundred of another user take ten places at most; our own logins all succeed, and the log names the user.

    The other user's own client hears that the server is too busy, and not that it is none.
    """
    uid = other_uid()
    with running_server(tmp_path, "--shell", "/bin/sh") as server, silent(server, 100, uid):
        wait_until(lambda: f"a connection from uid {uid} was turned away" in server.log_text(), PATIENCE, "the bound")
        assert [server.run("echo in").stdout for _ in range(3)] == [b"in\n"] * 3
        assert "is no twisted-rsh server" not in server.log_text()


def test_another_user_is_refused_for_a_while(tmp_path: Path) -> None:
    """R-08: the other user has a penalty like another machine; its client says so at once, and we still get in."""
    uid = other_uid()
    with running_server(tmp_path, "--shell", "/bin/sh", "--login-timeout", "1") as server, silent(server, 4, uid):
        wait_until(lambda: f"uid {uid} is refused for" in server.log_text(), PATIENCE, "the penalty")
        with other_users_folder() as folder:
            done = run_as_other(
                folder, "--fingerprint", server.fingerprint, "-p", str(server.port), "-l", "root", "127.0.0.1", "id"
            )
        assert (done.returncode, done.stdout) == (255, b"")
        assert_one_line(done.stderr, "refuses all connections from this machine, or of this user, for a while")
        assert server.run("echo in").stdout == b"in\n"


def test_ones_own_silent_connections(tmp_path: Path) -> None:
    """R-03: of 90 of the same user most are let in, chance turns the others away, and the client tries again."""
    with running_server(tmp_path, "--shell", "/bin/sh") as server, silent(server, 90, os.geteuid()):
        wait_until(lambda: "the server's own user was turned away" in server.log_text(), PATIENCE, "the bound")
        assert server.run("echo in").stdout == b"in\n"
