"""The bounds of a job by the server's own options, with real programs."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.trees.control_groups import why_unavailable
from tests.system.other_user import other_users_folder, require_other_user
from tests.system.running import running_server, wait_until
from tests.system.test_second_user import others_server, run_as_other
from tests.tools.test_parallel import marked
from twisted_rsh.execution.trees.control_group import ControlGroup

pytestmark = pytest.mark.real

GONE_SECONDS = 10.0
"""Seconds in which all of the processes must be gone."""

DOUBLING = "import os, time\nfor _ in range(9): os.fork() or os.setsid()\ntime.sleep(600)"
"""Python: 512 processes as fast as they can be made, each in a session of its own."""


def test_each_bound(tmp_path: Path) -> None:
    """A job beyond a bound is ended with status 125 and one line that names it; the client's own may be lower."""
    words = ("--max-processes-per-job", "5", "--max-memory-per-job", "100000000", "--max-cpu-per-job", "1.5")
    with running_server(tmp_path, "--shell", "/bin/sh", *words) as server:
        done = server.run("sleep 600 & sleep 600 & sleep 600 & sleep 600 & sleep 600 & wait")
        line = b"trsh: ended: it had more than 5 processes and threads at once\n"
        assert (done.returncode, done.stderr) == (125, line)
        done = server.run("exec python3 -c 'x = b\"x\" * 200_000_000; import time; time.sleep(600)'")
        line = b"trsh: ended: it took more than 100000000 bytes of memory\n"
        assert (done.returncode, done.stderr) == (125, line)
        done = server.run("while :; do :; done", options=["--max-cpu", "9"])
        assert (done.returncode, done.stderr) == (125, b"trsh: ended: it took more than 1.5 s of processor time\n")
        done = server.run("while :; do :; done", options=["--max-cpu", "0.3"])
        assert (done.returncode, done.stderr) == (125, b"trsh: ended: it took more than 0.3 s of processor time\n")
        script = server.run(stdin=b"sleep 600 & sleep 600 & sleep 600 & sleep 600 & sleep 600 & wait\n")
        assert script.returncode == 125
        assert server.run("echo fine").stdout == b"fine\n"


def test_a_job_that_forks_without_end() -> None:
    """A user who is not root cannot fork away from the bound: the forks fail, and the whole job is ended."""
    require_other_user()
    marker = secrets.token_hex(8)
    options = ("--max-processes-per-job", "20")
    with other_users_folder() as folder, others_server(folder, *options) as server:
        where = ("--config-dir", str(server.config), "-p", str(server.port), "127.0.0.1")
        done = run_as_other(folder, *where, f"RSH_TEST={marker} exec python3 -c '{DOUBLING}'")
        assert done.returncode == 125
        wait_until(lambda: not marked(marker), GONE_SECONDS, "the end of all processes")
        assert b"BlockingIOError" in done.stderr or b"it had more than 20 processes" in done.stderr


@contextlib.contextmanager
def delegated() -> Iterator[Path | None]:
    """Let a server that is started in the block be in a delegated group; ``None`` where there is none to be had."""
    if why_unavailable() is not None:
        yield None
        return
    group = ControlGroup()
    path = Path(group.create())
    group.enter()
    try:
        yield path
    finally:
        group.leave()


WIPED_CHAIN = "setsid env -i sh -c '(exec setsid sleep {seconds} >/dev/null 2>&1 </dev/null &)'; sleep 600"


def test_a_chain_in_a_delegated_group(tmp_path: Path) -> None:
    """A server in a delegated group ends what no look finds, and the groups of its jobs are gone with the server."""
    seconds = 600 + secrets.randbelow(10**9)

    def chain() -> list[str]:
        return [pid for pid in filter(str.isdigit, os.listdir("/proc")) if is_chain(pid)]

    def is_chain(pid: str) -> bool:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes() == f"sleep\0{seconds}\0".encode()
        return False

    with contextlib.ExitStack() as stack:
        with delegated() as group:
            server = stack.enter_context(running_server(tmp_path, "--max-processes-per-job", "50"))
        command = WIPED_CHAIN.format(seconds=seconds)
        with server.running_client(command) as client:
            wait_until(chain, GONE_SECONDS, "the chain")
            if group is not None:
                assert "the jobs are in the control group" in server.log_text()
                assert [folder.name for folder in group.glob("*-job1")]
            client.kill()
            server.stop()
        if group is None:
            assert "the jobs have no control group" in server.log_text()
            for pid in chain():
                os.kill(int(pid), 9)
        wait_until(lambda: not chain(), GONE_SECONDS, "the end of the chain")
        if group is not None:
            wait_until(lambda: not group.exists() or not list(group.glob("twisted-rsh-*")), GONE_SECONDS, "no groups")
