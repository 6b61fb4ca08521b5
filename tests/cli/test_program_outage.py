"""The client's program while its connection is cut: one command with pipes, a script, and what it ends with."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.cutting import CuttingProxy, cutting_proxy
from tests.server_process import (
    HOST,
    PATIENCE,
    ServerProcess,
    finish,
    is_running,
    one_line,
    read_line,
    running_server,
    wait_until_gone,
)
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record

pytestmark = [pytest.mark.real, pytest.mark.uncut("makes its own outages, at the moments that it is about")]

MEGABYTES = 10


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[CuttingProxy]:
    """A way to the server that can be cut."""
    with cutting_proxy(server.port) as proxy:
        yield proxy


def words_to(server: ServerProcess, proxy: CuttingProxy, *words: str) -> list[str]:
    """The client's words that lead to a server through a proxy."""
    record = read_record(ConfigFolders.at(str(server.folder)), server.port)
    assert record is not None
    return ["--fingerprint", format_fingerprint(record.spki_sha256), "-p", str(proxy.port), *words]


def start(server: ServerProcess, proxy: CuttingProxy, *words: str) -> subprocess.Popen[bytes]:
    """Start a client behind a proxy."""
    command = server.command(*words_to(server, proxy, *words), port=False)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, env=server.environment)


def test_ten_megabytes_each_way_and_twenty_cuts(server: ServerProcess, proxy: CuttingProxy) -> None:
    """C-08: a command that copies stdin to stdout, and some of it to stderr, does so through twenty cuts."""
    data = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(MEGABYTES * 2**20 // 32))
    proxy.cut_every = len(data) // 20
    copy = (
        "import sys\n"
        "while data := sys.stdin.buffer.read(65536):\n"
        "    sys.stdout.buffer.write(data); sys.stderr.buffer.write(data[:100]); sys.stderr.flush()"
    )
    with start(server, proxy, "--argv", HOST, sys.executable, "-c", copy) as client:
        stdout, stderr = client.communicate(data, PATIENCE)
    assert client.returncode == 0
    assert hashlib.sha256(stdout).digest() == hashlib.sha256(data).digest()
    assert stderr == b"".join(data[start : start + 100] for start in range(0, len(data), 65536))
    assert proxy.connections > 20


def test_script_goes_on(server: ServerProcess, proxy: CuttingProxy, tmp_path: Path) -> None:
    """Each line of a script runs once, whatever happens to the connection between and within them."""
    log = tmp_path / "log"
    lines = [f"cd {tmp_path}; x=1", *(f"echo {n}$x | tee -a log" for n in range(20)), "exit 3"]
    with start(server, proxy, HOST) as client:
        assert client.stdin is not None
        for line in lines[:-1]:
            client.stdin.write(f"{line}\n".encode())
            if line.startswith("echo"):
                proxy.cut()
                assert read_line(client) == f"{line.split()[1].replace('$x', '1')}"
        client.stdin.write(f"{lines[-1]}\n".encode())
        status, stdout, stderr = finish(client)
    assert (status, stdout, stderr) == (3, b"", b"")
    assert log.read_text().split() == [f"{n}1" for n in range(20)]


def test_no_resume(server: ServerProcess, proxy: CuttingProxy) -> None:
    """With ``--no-resume`` a lost connection is the end, and the command's end as well."""
    with start(server, proxy, "--no-resume", HOST, "echo $$; exec sleep 1000") as client:
        pid = int(read_line(client))
        proxy.cut()
        status, _, stderr = finish(client)
    assert status == 255
    assert one_line(stderr).startswith("outcome unknown: the connection was lost")
    wait_until_gone(pid)


@pytest.mark.parametrize(("policy", "lives"), [("grace:0.2", False), ("kill", False), ("keep", True)])
def test_policies(server: ServerProcess, proxy: CuttingProxy, policy: str, lives: bool) -> None:
    """``--on-disconnect`` says what becomes of the command when its client is gone for good."""
    with start(server, proxy, "--on-disconnect", policy, HOST, "echo $$; exec sleep 3") as client:
        pid = int(read_line(client))
        client.kill()
    if lives:
        threading.Event().wait(1)
        assert is_running(pid)
    wait_until_gone(pid)


def test_grace_is_up(server: ServerProcess, proxy: CuttingProxy) -> None:
    """A client that finds no server for as long as its command may live without it says so, with the last obstacle."""
    with start(server, proxy, "--on-disconnect", "grace:1", HOST, "echo $$; exec sleep 1000") as client:
        pid = int(read_line(client))
        proxy.go_down()
        status, _, stderr = finish(client)
    assert status == 255
    assert one_line(stderr).startswith("outcome unknown: no connection for 1 s: ")
    wait_until_gone(pid)


def test_restarted_server(proxy: CuttingProxy, tmp_path: Path, server: ServerProcess) -> None:
    """M-19: a server that was killed and started again: 255, the outcome is unknown, and nothing is run again."""
    with running_server(tmp_path) as first:
        proxy.target = first.port
        with start(first, proxy, HOST, f"echo $$ >> {tmp_path}/log; echo ready; exec sleep 10") as client:
            assert read_line(client) == "ready"
            proxy.go_down()
            first.kill()
            Path(ConfigFolders.at(str(tmp_path)).record_path(first.port)).unlink()
            with running_server(tmp_path) as second:
                proxy.target = second.port
                proxy.is_up = True
                status, _, stderr = finish(client)
    assert (status, one_line(stderr)) == (255, "outcome unknown: the server was restarted")
    assert len((tmp_path / "log").read_text().split()) == 1


def test_another_server(server: ServerProcess, proxy: CuttingProxy, tmp_path: Path) -> None:
    """M-20: another key at the same address: 255 at once, and the line names both keys."""
    with running_server(tmp_path) as other:
        with start(server, proxy, HOST, "echo ready; exec sleep 1000") as client:
            assert read_line(client) == "ready"
            proxy.target = other.port
            proxy.cut()
            status, _, stderr = finish(client)
        other_key = read_record(ConfigFolders.at(str(tmp_path)), other.port)
    assert status == 255
    assert other_key is not None
    text = one_line(stderr)
    assert text.startswith("outcome unknown: the server's identity has changed: ")
    assert format_fingerprint(other_key.spki_sha256) in text


def test_interrupt_twice_during_an_outage(server: ServerProcess, proxy: CuttingProxy) -> None:
    """C-10: Ctrl-C twice without a connection ends the client with 130; once is kept for the command."""
    with start(server, proxy, "--on-disconnect", "grace:5", HOST, "echo $$; exec sleep 1000") as client:
        pid = int(read_line(client))
        proxy.go_down()
        connections = proxy.connections
        pause = threading.Event()
        while proxy.connections == connections:
            pause.wait(0.02)
        client.send_signal(signal.SIGINT)
        pause.wait(0.2)
        assert client.poll() is None
        client.send_signal(signal.SIGINT)
        assert finish(client) == (130, b"", b"")
    wait_until_gone(pid)


def test_nothing_is_said_to_a_pipe(server: ServerProcess, proxy: CuttingProxy) -> None:
    """A stderr that is no terminal has what the command writes, and no word of an outage."""
    with start(server, proxy, HOST, "echo ready; cat; echo done >&2") as client:
        assert read_line(client) == "ready"
        proxy.go_down()
        threading.Event().wait(2.5)
        proxy.is_up = True
        assert client.stdin is not None
        client.stdin.write(b"~.\n")
        client.stdin.close()
        client.stdin = None
        assert finish(client) == (0, b"~.\n", b"done\n")
