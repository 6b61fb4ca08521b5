"""GNU parallel with ``trsh``: jobs on hosts, files that go there and come back, errors, and every way to end jobs."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.system.running import RunningServer, require, running_server, wait_until
from tests.tools.box import Box

pytestmark = [
    pytest.mark.real,
    pytest.mark.uncut("parallel kills its clients 0.4 s after its first signal, which a cut may hold up for longer"),
]

GONE_SECONDS = 10.0
"""Seconds in which all of the jobs must be gone: parallel sends TERM up to three times within 0.35 s, then KILL."""


TRANSFER_SECONDS = 180.0
"""Seconds that a transfer may take: parallel starts ten clients for a file, one after another."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server."""
    with running_server(tmp_path, "--shell", "/bin/sh") as server:
        yield server


@pytest.fixture
def parallel_box(box: Box, tmp_path: Path) -> Box:
    """The server of the other tools, with an environment in which parallel calls ``trsh``, and asks for no citation."""
    require(shutil.which("parallel"), "GNU parallel is not installed")
    home = tmp_path / "home"
    (home / ".parallel").mkdir(parents=True)
    (home / ".parallel" / "will-cite").touch()
    # parallel takes the XDG variables away from its clients: the folders are where HOME says.
    folder = Path(box.environment["XDG_CONFIG_HOME"]) / "twisted-rsh"
    for place in (".config", ".local/state"):
        (home / place).mkdir(parents=True)
        (home / place / "twisted-rsh").symlink_to(folder)
    box.environment |= {"PARALLEL_SSH": "trsh"}
    return box


def test_hosts(parallel_box: Box, tmp_path: Path) -> None:
    """Jobs run on both hosts with words that a shell would change, and parallel counts those that fail (``-S``)."""
    words = ["a  b", "$HOME", "it's", "*"]
    home = {"HOME": str(tmp_path / "home")}
    done = parallel_box.run("parallel", "-k", "-S", "2/box1,2/box2", "printf '[%s]\\n' {}", ":::", *words, env=home)
    assert done.stdout.splitlines() == [f"[{word}]" for word in words]
    parallel_box.run("parallel", "-S", "2/box1", "exit", ":::", "1", "0", "2", env=home, status=2)


def test_files(parallel_box: Box, tmp_path: Path) -> None:
    """Files go there, results come back, and nothing is left (``--transfer --return --cleanup``), also with ``-M``."""
    require(shutil.which("rsync"), "rsync is not installed")
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    data = os.urandom(500_000)
    (here / "in put").write_bytes(data)
    words = ("--transfer", "--return", "{}.out", "--cleanup", "--workdir", there, "-M", "cat {} {} > {}.out")
    # parallel quotes the names for the remote shell, which rsync from 3.2.4 on does itself.
    environment = {"HOME": str(tmp_path / "home"), "RSYNC_OLD_ARGS": "1"}
    parallel_box.run(
        "parallel", "-S", "2/box1", *words, ":::", "in put", cwd=here, env=environment, timeout=TRANSFER_SECONDS
    )
    assert (here / "in put.out").read_bytes() == data + data
    assert list(there.rglob("*")) == []


def test_errors(parallel_box: Box, tmp_path: Path) -> None:
    """A host at which nothing answers fails its job, with our line; parallel names a file that is not there."""
    home = {"HOME": str(tmp_path / "home")}
    done = parallel_box.run("parallel", "-S", "2/closed", "echo", ":::", "1", env=home, status=1)
    assert "trsh: no server of yours is known on port 1" in done.stderr
    done = parallel_box.run("parallel", "-S", "2/box1", "--transfer", "echo", ":::", "nothing", cwd=tmp_path, env=home)
    assert "nothing is not readable" in done.stderr


def marked(marker: str) -> list[int]:
    """Find the programs that have a word in their environment, as the commands of the jobs give it to them."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:  # it is another user's, or has just ended
            continue
        if f"RSH_TEST={marker}".encode() in environment:
            found.append(int(name))
    return found


def parallel(server: RunningServer, *words: str) -> Sequence[str]:
    """Make the command line of parallel, for jobs on the server."""
    program = shutil.which("parallel")
    require(program, "GNU parallel is not installed")
    *client, host = map(os.fsdecode, server.client())
    return [str(program), "--ssh", shlex.join(client), "-S", f"4/{host}", *words]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "TERM"])
def test_parallel_is_ended(server: RunningServer, number: signal.Signals) -> None:
    """X-07: Ctrl-C for parallel and its clients, and TERM for parallel alone, leave nothing of the jobs' trees."""
    marker = secrets.token_hex(8)
    command = f"RSH_TEST={marker} sh -c 'sleep 600 & setsid sleep 600 & sleep 600'"
    words = parallel(server, f"{command} # {{}}", ":::", "1", "2")
    with subprocess.Popen(words, env=dict(server.environment), start_new_session=True) as process:
        try:
            # In each job its shell and three programs.
            wait_until(lambda: len(marked(marker)) >= 8, GONE_SECONDS, "the jobs")
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
            else:
                # parallel waits for its jobs after the first one.
                process.send_signal(number)
                process.send_signal(number)
            wait_until(lambda: not marked(marker), GONE_SECONDS, "the end of all processes")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            for pid in marked(marker):
                os.kill(pid, signal.SIGKILL)


def test_halt_now(server: RunningServer) -> None:
    """X-07: `--halt now,fail=1` ends the other jobs when one has failed, and leaves nothing of them."""
    marker = secrets.token_hex(8)
    # The job that fails waits until the other one runs.
    ready = server.config / "ready"
    waits = f"while [ ! -e {ready} ]; do sleep 0.05; done; exit 3"
    runs = f"RSH_TEST={marker} sh -c 'sleep 600 & setsid sleep 600 & touch {ready}; sleep 600'"
    words = parallel(server, "--halt", "now,fail=1", ":::", runs, waits)
    try:
        done = subprocess.run(words, env=dict(server.environment), capture_output=True, timeout=60)
        assert done.returncode == 3, done.stderr.decode()
        wait_until(lambda: not marked(marker), GONE_SECONDS, "the end of all processes")
    finally:
        for pid in marked(marker):
            os.kill(pid, signal.SIGKILL)
