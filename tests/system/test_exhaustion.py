"""A machine that has no descriptors or processes left: a clean refusal, and everything works again afterwards."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.serving import asynchronous, cut
from tests.system.other_user import other_users_folder
from tests.system.running import WAYS, RunningServer, StartWay, assert_one_line, running_server, wait_until
from tests.system.test_second_user import others_server, run_as_other
from twisted_rsh import Connection, Terminal, connect
from twisted_rsh.core.endings import Exited, RefusalReason, Refused
from twisted_rsh.trust.home import ConfigFolders

Completed = subprocess.CompletedProcess[bytes]

DESCRIPTORS = 64
"""The limit of the servers of these tests: what a server needs, and a few jobs or connections."""

LIMITED = StartWay(
    ("/bin/sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$0" "$@"', *WAYS["module"].command), WAYS["module"].status
)
"""A server with that limit."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not Path("/proc/self/fd").exists() or not hasattr(resource, "prlimit"),
        reason="only Linux shows, and changes, what another process may have",
    ),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server with few descriptors, which lets in as many strangers as it can, and shows its user what it has."""
    options = ("--shell", "/bin/sh", "--debuggable", "--max-unauthenticated", "100000")
    with running_server(tmp_path, *options, way=LIMITED) as server:
        yield server


def descriptors(server: RunningServer) -> int:
    """Count the server's open descriptors."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def settled(server: RunningServer) -> int:
    """Count the server's open descriptors when it has closed those of what has ended: in the reactor's next turn."""
    counts = [descriptors(server)]
    while len(counts) < 3 or len(set(counts[-3:])) > 1:
        assert len(counts) < 500
        time.sleep(0.02)
        counts.append(descriptors(server))
    return counts[-1]


def children(server: RunningServer) -> int:
    """Count the server's children, zombies included."""
    pid = server.process.pid
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split())


async def connected(server: RunningServer) -> Connection:
    """Connect, and log in."""
    return await connect(reactor, "127.0.0.1", server.port, config=ConfigFolders.at(str(server.config)))


@contextmanager
def strangers(server: RunningServer, count: int) -> Iterator[None]:
    """Connect so often, and say nothing, while a block lasts."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        yield


@pytest.mark.uncut("counts the descriptors of the server, and leaves none for another connection")
@asynchronous
async def test_no_descriptor_for_a_connection(server: RunningServer) -> None:
    """R-05: strangers use up all descriptors: a session goes on, and when they are gone others are let in again."""
    connection = await connected(server)
    cat = connection.start("cat")
    await cat.stdin.write(b"before\n")
    assert await cat.stdout.read() == b"before\n"
    before = settled(server)
    with strangers(server, 4 * DESCRIPTORS):
        wait_until(lambda: descriptors(server) >= DESCRIPTORS - 1, 10, "the last descriptor")
        await cat.stdin.write(b"meanwhile\n")
        assert await cat.stdout.read() == b"meanwhile\n"
        refused = (await connection.run("true")).ending
        assert isinstance(refused, Refused)
        assert refused.reason is RefusalReason.RESOURCES
    wait_until(lambda: descriptors(server) == before, 15, "the strangers' end")
    assert server.run("echo again").stdout == b"again\n"
    cat.stdin.end()
    assert (await cat.wait()).ending == Exited(0)
    await connection.close()
    assert "Traceback" not in server.log_text()


@contextmanager
def left(server: RunningServer, count: int) -> Iterator[None]:
    """Leave the server so many descriptors while a block lasts."""
    pid = server.process.pid
    count_now = settled(server)
    highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    holes = highest + 1 - count_now
    assert holes == 0, "descriptors are handed out from below"
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + count, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.uncut("counts the descriptors of the server, and leaves none for another connection")
@asynchronous
@pytest.mark.parametrize("terminal", [None, Terminal()], ids=["pipes", "terminal"])
async def test_no_descriptor_for_a_job(server: RunningServer, terminal: Terminal | None) -> None:
    """R-06: a job is refused wherever in its start the descriptors end; nothing is lost, and the next one runs."""
    connection = await connected(server)
    assert (await connection.run("true", terminal=terminal)).ending == Exited(0)
    before, family = settled(server), children(server)
    outcomes = []
    for count in range(12):
        with left(server, count):
            outcomes.append((await connection.run("exit 3", terminal=terminal)).ending)
        assert (settled(server), children(server)) == (before, family), count
        assert (await connection.run("exit 4", terminal=terminal)).ending == Exited(4)
    refused = [ending for ending in outcomes if isinstance(ending, Refused)]
    reasons = {RefusalReason.RESOURCES} | ({RefusalReason.NO_TERMINAL} if terminal else set())
    assert {ending.reason for ending in refused} <= reasons
    assert all(ending.text.isprintable() and "ulimit -n" in ending.text for ending in refused)
    assert 3 <= len(refused) < 12
    assert outcomes[len(refused) :] == [Exited(3)] * (12 - len(refused))
    await connection.close()
    assert "Traceback" not in server.log_text()


@pytest.mark.uncut("counts the descriptors of the server, and leaves none for another connection")
@asynchronous
async def test_no_descriptor_for_a_login_or_a_resume(server: RunningServer) -> None:
    """R-05: a server that accepts a connection and then has no descriptor to look the key up says so: a login fails
    with a line that names the bound, and a resume is tried again until it succeeds."""
    connection = await connected(server)
    assert (await connection.run("exit 3")).ending == Exited(3)
    with left(server, 1):
        refused = server.run("true")
        assert (refused.returncode, refused.stdout) == (255, b"")
        assert_one_line(refused.stderr, "trsh: ", "cannot serve this login now", os.strerror(errno.EMFILE), "ulimit -n")
    assert server.run("echo again").stdout == b"again\n"
    with left(server, 0):
        cut(connection)
        await deferLater(reactor, 1.0)
        assert not connection.connected
        assert connection.lost is None
    assert (await connection.run("exit 4")).ending == Exited(4)
    await connection.close()


@pytest.mark.uncut("counts the descriptors of the server, and leaves none for another connection")
@asynchronous
async def test_more_jobs_than_descriptors(server: RunningServer) -> None:
    """R-06: jobs are started until there is no descriptor left; those that run go on, and make room when they end."""
    connection = await connected(server)
    before = settled(server)
    jobs = [connection.start("cat") for _ in range(40)]
    for job in jobs:
        job.stdin.end()
    endings = [(await job.wait()).ending for job in jobs]
    refused = [ending for ending in endings if isinstance(ending, Refused)]
    assert 0 < len(refused) < 40
    assert {ending.reason for ending in refused} == {RefusalReason.RESOURCES}
    assert {ending for ending in endings if ending not in refused} == {Exited(0)}
    wait_until(lambda: descriptors(server) == before, 10, "the end of the jobs")
    assert (await connection.run("echo fine")).stdout == b"fine\n"
    await connection.close()


@contextmanager
def servers_of_a_limited_user(tmp_path: Path) -> Iterator[tuple[RunningServer, Callable[[str], Completed]]]:
    """Run a server as a user whom the limit on processes binds; it does not bind root.

    :returns: the server, and what runs a command there.
    """
    if os.geteuid() != 0:
        with running_server(tmp_path, "--shell", "/bin/sh", "--debuggable") as server:
            yield server, server.run
        return
    with other_users_folder() as folder, others_server(folder) as server:
        where = ("--config-dir", str(server.config), "-p", str(server.port), "127.0.0.1")
        yield server, lambda command: run_as_other(folder, *where, command)


def limit_processes(server: RunningServer, limit: tuple[int, int] | None = None) -> tuple[int, int]:
    """Set the server's limit on the processes of its user; return the limit before.

    A process may change the limits of processes with its own real ids, so this process takes those on meanwhile.
    """
    owner = os.stat(f"/proc/{server.process.pid}")
    uid, gid = os.getuid(), os.getgid()
    os.setresgid(owner.st_gid, -1, -1)
    os.setresuid(owner.st_uid, -1, -1)
    try:
        return resource.prlimit(server.process.pid, resource.RLIMIT_NPROC, *([] if limit is None else [limit]))
    finally:
        os.setresuid(uid, -1, -1)
        os.setresgid(gid, -1, -1)


def test_no_process_for_a_job(tmp_path: Path) -> None:
    """R-07: a user at the limit of processes gets a clean refusal, and a job as soon as the limit allows one."""
    with servers_of_a_limited_user(tmp_path) as (server, run):
        assert run("echo hi").stdout == b"hi\n"
        before, family = settled(server), children(server)
        soft, hard = limit_processes(server)
        for _ in range(3):
            limit_processes(server, (1, hard))
            refused = run("echo hi")
            limit_processes(server, (soft, hard))
            assert (refused.returncode, refused.stdout) == (255, b"")
            assert_one_line(refused.stderr, "trsh: ", os.strerror(errno.EAGAIN), "ulimit -u")
            assert run("echo hi").stdout == b"hi\n"
        wait_until(lambda: (descriptors(server), children(server)) == (before, family), 10, "the end of the jobs")
        assert "Traceback" not in server.log_text()
