"""Clients and servers that are killed: what the other side says, and that no job is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.running import (
    WAYS,
    RunningServer,
    StartWay,
    assert_one_line,
    group_exists,
    running_server,
    wait_until,
)
from twisted_rsh.execution.trees.guardian import GRACE_SECONDS, LADDER

pytestmark = pytest.mark.real

LADDER_SECONDS = GRACE_SECONDS * (len(LADDER) - 1) + 2
"""Seconds in which the whole kill ladder is over: its steps, and the time that a busy machine takes."""

REAPING_SECONDS = 4.0
"""Seconds that the system's first process has to reap what the server's end left to it; less than a step of the
ladder, so that nothing but what the server did can have ended the job."""

CLIENT_SECONDS = 10.0
"""Seconds in which a client that lost its server must have ended."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that the test may end."""
    with running_server(tmp_path, "--shell", "/bin/sh") as server:
        yield server


@contextlib.contextmanager
def ended_at_last(group: int) -> Iterator[None]:
    """Make sure that a job is gone after a block, even if the test fails."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


@pytest.mark.parametrize("ignored", ["", "HUP TERM"], ids=["polite", "stubborn"])
def test_client_killed(tmp_path: Path, ignored: str) -> None:
    """X-07: the client is killed, and does not come back in time; its job's whole process group is gone within the kill
    ladder, however stubborn."""
    trap = f"trap '' {ignored}; " if ignored else ""
    with (
        running_server(tmp_path, "--shell", "/bin/sh", "--detach-timeout", "1") as server,
        server.running_client(f"{trap}sleep 300 & sleep 300 | sleep 300 & echo $$; wait") as client,
    ):
        assert client.stdout is not None
        group = int(client.stdout.readline())
        with ended_at_last(group):
            assert group_exists(group)
            client.kill()
            wait_until(lambda: not group_exists(group), 1 + LADDER_SECONDS, "the end of the job")
        assert server.run("echo still here").stdout == b"still here\n"


@pytest.mark.parametrize(
    "option",
    [
        pytest.param("--no-resume", marks=pytest.mark.uncut("the session is told to end with its connection")),
        "--on-disconnect=grace:2",
    ],
)
def test_server_killed(server: RunningServer, option: str) -> None:
    """The server is killed in the middle of a command: the client shows what came, says one line, and ends with 255, at
    once or when it has looked for the server for as long as the command would have waited."""
    with server.running_client("echo $$; exec sleep 300", options=[option]) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        group = int(client.stdout.readline())
        with ended_at_last(group):
            server.kill()
            assert client.wait(CLIENT_SECONDS) == 255
            assert_one_line(client.stderr.read(), "trsh: outcome unknown: ", "connection")
            assert client.stdout.read() == b""


@pytest.mark.uncut("the last word of a server that ends the session can be lost with its link")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_server_stopped(way: StartWay, tmp_path: Path) -> None:
    """O-09: SIGTERM with a job running: the client is told, the server ends within 15 s, and the job is gone."""
    with (
        running_server(tmp_path, "--shell", "/bin/sh", way=way) as server,
        server.running_client("sleep 300 & echo $$; wait") as client,
    ):
        assert client.stdout is not None
        assert client.stderr is not None
        group = int(client.stdout.readline())
        with ended_at_last(group):
            server.stop()
            assert client.wait(CLIENT_SECONDS) == 255
            assert_one_line(client.stderr.read(), "trsh: outcome unknown: the server is stopping")
            wait_until(lambda: not group_exists(group), REAPING_SECONDS, "the end of the job")


def test_server_stopped_with_a_stubborn_job(server: RunningServer) -> None:
    """O-09: a job that ignores everything it may ignore does not keep the server longer than the kill ladder."""
    with server.running_client("trap '' HUP TERM; echo $$; while :; do sleep 1; done") as client:
        assert client.stdout is not None
        group = int(client.stdout.readline())
        with ended_at_last(group):
            server.stop()
            wait_until(lambda: not group_exists(group), REAPING_SECONDS, "the end of the job")


def test_server_stopped_with_a_stubborn_child_of_a_job(server: RunningServer) -> None:
    """O-09: the shell goes at once and what it started ignores HUP: the server does not leave that behind."""
    with server.running_client("(trap '' HUP; echo $$; exec sleep 300) & wait") as client:
        assert client.stdout is not None
        group = int(client.stdout.readline())
        with ended_at_last(group):
            server.stop()
            wait_until(lambda: not group_exists(group), REAPING_SECONDS, "the end of the job")


def test_interrupted_client(server: RunningServer) -> None:
    """C-10: an interrupt of the client reaches the command, which ends in its own way; the client tells how."""
    with server.running_client("trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        client.send_signal(signal.SIGINT)
        assert client.stdout.read() == b"caught\n"
        assert client.wait(CLIENT_SECONDS) == 9
