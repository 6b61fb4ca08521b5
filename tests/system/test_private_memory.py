"""The memory of the programs: hidden from other processes of the same user, without any difference for jobs."""

from __future__ import annotations

import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.other_user import OTHER_USER, other_users_command, other_users_folder, require_other_user
from tests.system.running import own_environment
from tests.system.test_second_user import CLIENT, others_server, run_as_other

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="only Linux shows the memory of a process"),
]

LOOKS = ("head -c 1 /proc/{pid}/environ", "ls /proc/{pid}/fd", "readlink /proc/{pid}/exe", "cat /proc/{pid}/maps")
"""Commands that tell whether a process of the same user can be traced: the system asks the same for its memory."""


@contextmanager
def others(*options: str) -> Iterator[tuple[int, Path, list[str]]]:
    """Run a server as a user who is not root, who may see everything.

    :returns: the number of its process, that user's home folder, and the words that lead a client of theirs to it.
    """
    require_other_user()
    with other_users_folder() as folder, others_server(folder, *options) as server:
        where = ["--config-dir", str(server.config), "-p", str(server.port), "127.0.0.1"]
        yield server.process.pid, folder, where


def run_shell(command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command as that user, without the server."""
    user = pwd.getpwnam(OTHER_USER)
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, cwd="/", user=user.pw_uid, group=user.pw_gid, extra_groups=[]
    )


def can_look(pid: int) -> list[bool]:
    """Tell what another process of the same user may look at."""
    return [run_shell(look.format(pid=pid)).returncode == 0 for look in LOOKS]


def test_memory_of_the_server() -> None:
    """No other process of the user can look into the server, unless it was started with `--debuggable`."""
    with others() as (pid, _, _):
        assert can_look(pid) == [False] * len(LOOKS)
    with others("--debuggable") as (pid, _, _):
        assert can_look(pid) == [True] * len(LOOKS)


def test_memory_of_the_client() -> None:
    """No other process of the user can look into the client."""
    with others() as (_, folder, where):
        command = [*other_users_command(CLIENT), *where, "echo ready; sleep 600"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=own_environment(folder), cwd=folder) as client:
            try:
                assert client.stdout is not None
                assert client.stdout.readline() == b"ready\n"
                assert can_look(client.pid) == [False] * len(LOOKS)
            finally:
                client.kill()


def test_jobs_do_not_notice() -> None:
    """A job of such a server looks at itself and at others of its processes, and leaves a core file where others do."""
    looks = " && ".join(look.format(pid="$pid") for look in LOOKS)
    core = "ulimit -c unlimited; cd $(mktemp -d); sh -c 'kill -ABRT $$'; ls core* 2>/dev/null | wc -l"
    with others() as (_, folder, where):
        for pid in ("self", "$$"):
            done = run_as_other(folder, *where, f"pid={pid}; ({looks}) >/dev/null && echo fine")
            assert (done.stdout, done.stderr) == (b"fine\n", b"")
        of_another = f"sleep 600 & pid=$!; sleep 0.2; ({looks}) >/dev/null && echo fine; kill $pid"
        assert run_as_other(folder, *where, of_another).stdout == b"fine\n"
        assert run_as_other(folder, *where, core).stdout == run_shell(core).stdout
