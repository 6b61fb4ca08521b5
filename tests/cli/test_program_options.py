"""Options of the program with a real server: the environment, the way to the server, the background, no command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server_process import HOST, ServerProcess, finish, one_line, read_line, wait_until_gone
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.reaching import Reach
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.liveness import Liveness, Silence
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders

real = pytest.mark.real

PROXY = """
import os, socket, sys, threading
sys.stderr = open(os.devnull, "w")  # where connections are cut, that is no news
server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print(os.getpid(), file=open(sys.argv[3], "w"))
def send():
    while data := os.read(0, 65536):
        server.sendall(data)
    server.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := server.recv(65536):
    os.write(1, data)
"""


@pytest.fixture
def proxy(tmp_path: Path) -> str:
    """The option that goes through a program, which writes its process number to a file ``pid``."""
    (tmp_path / "proxy.py").write_text(PROXY)
    return f"-oProxyCommand={sys.executable} {tmp_path}/proxy.py %h %p {tmp_path}/pid"


@real
def test_variables_reach_the_command(server: ServerProcess) -> None:
    """``SendEnv`` and ``SetEnv`` add to the environment of a command, a script and a program without a shell."""
    environment = server.environment | {"GIT_PROTOCOL": "version=2", "LC_ODD": "\udcff"}
    words = ("-oSendEnv=GIT_PROTOCOL LC_O*", "-oSetEnv=A='x  y'", HOST)
    for more, script in (
        (('printf %s "$GIT_PROTOCOL$A$LC_ODD"',), b""),
        ((), b'printf %s "$GIT_PROTOCOL$A$LC_ODD"'),
    ):
        done = server.run(*words, *more, input=script, env=environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"version=2x  y\xff", b"")
    done = server.run("--argv", *words, "printenv", "A", env=environment)
    assert done.stdout == b"x  y\n"


@real
def test_alias_of_the_configuration(server: ServerProcess, tmp_path: Path) -> None:
    """A host of the configuration file brings its address, its port and its command."""
    config = tmp_path / "config"
    config.write_text(f"Host box\n HostName {HOST}\n Port {server.port}\n RemoteCommand echo %n; exit 3\n")
    words = [sys.executable, "-m", "twisted_rsh.client", "--config-dir", str(server.folder), "-F", str(config), "box"]
    done = subprocess.run(words, env=server.environment, input=b"", capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"box\n", b"")
    config.write_text("Host box\n HostNmae x\n")
    done = subprocess.run(words, env=server.environment, input=b"", capture_output=True, timeout=60)
    assert done.returncode == 255
    assert one_line(done.stderr) == f"{config} line 2: no such keyword: 'HostNmae'"


@real
def test_quiet_levels(server: ServerProcess) -> None:
    """With ``-q`` all on stderr is the command's own, also if the client fails; ``ERROR`` tells failures."""
    for words in (("-oLogLevel=QUIET",), ("-q",), ("-o", "loglevel error", "-C", "-oBogus=1", "-L1:h:1")):
        done = server.run(*words, HOST, "echo own >&2; kill -9 $$")
        assert (done.returncode, done.stdout, done.stderr) == (137, b"", b"own\n")
    for words in (("-vvq",), ("-oLogLevel=QUIET",)):
        for failing in (("-oProxyCommand=false", HOST, "true"), ("-s", HOST, "nosuch"), ("-O", "check", HOST)):
            done = server.run(*words, *failing)
            assert (done.returncode, done.stdout, done.stderr) == (255, b"", b"")
    done = server.run("-oLogLevel=ERROR", "-oProxyCommand=false", HOST, "true")
    assert (done.returncode, "said anything" in one_line(done.stderr)) == (255, True)
    done = server.run("-C", "-oBogus=1", "-L", "1:h:1", HOST, "true")
    assert (done.returncode, one_line(done.stderr)) == (0, "port forwarding is not supported: -L '1:h:1'")


@real
def test_proxy_command(server: ServerProcess, proxy: str, tmp_path: Path) -> None:
    """The connection goes through the command's stdin and stdout; the command is gone with the client."""
    data = os.urandom(300_000)
    done = server.run(proxy, HOST, "cat", input=data)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")
    wait_until_gone(int((tmp_path / "pid").read_text()))


@real
def test_interrupt_is_not_for_the_proxy(server: ServerProcess, proxy: str) -> None:
    """Ctrl-C of the terminal's whole group ends the command on the server, whose last words still come through."""
    client = server.start(proxy, HOST, "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done",
                          start_new_session=True)  # fmt: skip
    assert read_line(client) == "ready"
    os.killpg(client.pid, signal.SIGINT)
    assert finish(client)[:2] == (3, b"caught\n")


@real
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("-oProxyCommand=false",), "the connection with the far end of a proxy ended before it said anything"),
        (("-oProxyCommand=echo no server",), "no twisted-rsh server"),
        (("-oProxyCommand=sleep 600", "-oConnectTimeout=1"), "no answer within 1 s"),
        (("-i", "/nowhere/key"), "'/nowhere/key' does not exist"),
        (("-i", "/dev/null"), "/dev/null"),
        (("-E", "/nowhere/log"), "/nowhere/log"),
        (("-s",), "no subsystem"),
        (("-O", "check"), "no program keeps a connection"),
        (("--status-fd", "77"), "--status-fd 77: Bad file descriptor"),
    ],
)
def test_failures_are_one_line(server: ServerProcess, words: tuple[str, ...], part: str) -> None:
    """What cannot be done is one line, and 255."""
    more = () if words[0] == "-O" else ("nosuch",)
    done = server.run(*words, HOST, *more)
    assert (done.returncode, done.stdout) == (255, b"")
    assert part in one_line(done.stderr)


@real
def test_connect_timeout(server: ServerProcess) -> None:
    """A server that takes the connection and says nothing is given up in time."""
    with socket.create_server((HOST, 0)) as silent:
        words = ("-oConnectTimeout=1", "-p", str(silent.getsockname()[1]), "--fingerprint", "SHA256:" + "A" * 43)
        command = server.command(*words, HOST, "true", port=False)
        done = subprocess.run(command, env=server.environment, capture_output=True, timeout=30)
    assert done.returncode == 255
    assert one_line(done.stderr).endswith("no answer within 1 s")


@real
def test_address_families(server: ServerProcess) -> None:
    """``-4`` dials a name's IPv4 address; a name without an address of the family is one line."""
    assert server.run("-4", "localhost", "echo four").stdout == b"four\n"
    done = server.run("-6", "no-such-host.invalid", "true", "--fingerprint", "SHA256:" + "A" * 43)
    assert (done.returncode, one_line(done.stderr)[:32]) == (255, "the key of no-such-host.invalid ")


@real
def test_key_of_a_file(server: ServerProcess, tmp_path: Path) -> None:
    """``-i`` logs in with another key: the client's own by its path, and not a stranger's."""
    own = ConfigFolders.at(str(server.folder)).client_key_path
    assert server.run(HOST, "true").returncode == 0  # which makes the key
    assert server.run("-i", own, HOST, "echo in").stdout == b"in\n"
    stranger = ConfigFolders.at(str(tmp_path / "stranger"))
    load_or_create_client_key(stranger)
    done = server.run("-i", stranger.client_key_path, HOST, "echo in")
    assert (done.returncode, done.stdout) == (255, b"")


@real
def test_log_file(server: ServerProcess, tmp_path: Path) -> None:
    """``-E`` takes the log and the client's own lines from stderr, and adds them to the file."""
    log = tmp_path / "log"
    log.write_text("before\n")
    done = server.run("-vC", "-E", str(log), HOST, "echo own >&2; exit 255")
    assert (done.returncode, done.stderr) == (254, b"own\n")
    text = log.read_text()
    assert text.startswith("before\n")
    assert "'-C' has no effect" in text
    assert "trsh: exited with 255, reported as 254\n" in text


@real
def test_log_of_the_way(server: ServerProcess) -> None:
    """``-v`` says where the client dials, through what, with which key, and which key the server has shown."""
    done = server.run("-v", "-4", HOST, "echo own >&2")
    log = done.stderr.decode()
    assert f"connecting to {HOST} port {server.port}, with the key SHA256:" in log
    assert "logged in; the server's key is SHA256:" in log
    assert done.stderr.count(b"own\n") == 1
    assert "through the ProxyCommand 'false'" in server.run("-v", "-oProxyCommand=false", HOST, "true").stderr.decode()
    assert server.run("-4", HOST, "true").stderr == b""


@real
def test_log_file_that_takes_nothing(server: ServerProcess) -> None:
    """What the file of ``-E`` cannot take is lost: the client ends, with the status that it has anyway."""
    for words, status in (
        (("-oProxyCommand=false", HOST, "true"), 255),
        (("-v", HOST, "exit 3"), 3),
        ((HOST, "kill -TERM $$"), 143),
        (("--hosts", HOST, "exit 3"), 3),
    ):
        done = server.run("-E", "/dev/full", *words)
        assert done.returncode == status, (words, done.stderr)
        assert b"No space" not in done.stderr


@real
def test_log_file_is_private(server: ServerProcess, tmp_path: Path) -> None:
    """A file that ``-E`` makes is its user's alone, as with ``ssh``; one that exists keeps its mode."""
    log = tmp_path / "log"
    assert server.run("-E", str(log), HOST, "exit 255").returncode == 254
    assert log.stat().st_mode & 0o777 == 0o600
    log.chmod(0o644)
    assert server.run("-E", str(log), HOST, "exit 255").returncode == 254
    assert (log.stat().st_mode & 0o777, log.read_text().count("\n")) == (0o644, 2)


@real
def test_background(server: ServerProcess, tmp_path: Path) -> None:
    """``-f`` returns with 0 after the login; the command goes on, has no input, and writes where the client did."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    readable, writable = os.pipe()
    words = ("-f", HOST, f"cat; cat {fifo}; echo end")
    done = server.run(*words, input=b"not for it", stdout=writable, stderr=writable)
    os.close(writable)
    assert done.returncode == 0
    fifo.write_text("written later\n")
    with open(readable, "rb") as output:
        assert output.read() == b"written later\nend\n"


@real
def test_background_without_a_login(server: ServerProcess) -> None:
    """A client that cannot log in says so before it would go to the background."""
    done = server.run("-f", "-oProxyCommand=false", HOST, "true")
    assert done.returncode == 255
    assert "ended before it said anything" in one_line(done.stderr)


@real
@pytest.mark.uncut("a session without resuming ends with its first connection")
def test_no_command(doomed_server: ServerProcess, proxy: str, tmp_path: Path) -> None:
    """``-N`` runs nothing; a signal ends it with its number, and the end of the session is 255 with one line."""
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    client = doomed_server.start(proxy, "-v", "-N", HOST)
    assert pid.read_text()
    assert client.stderr is not None
    while b"logged in" not in client.stderr.readline():
        assert client.poll() is None
    client.send_signal(signal.SIGTERM)
    status, stdout, stderr = finish(client)
    assert (status, stdout) == (128 + signal.SIGTERM, b"")
    assert b"trsh:" not in stderr
    readable, writable = os.pipe()
    done = doomed_server.run("-f", "-N", "--no-resume", HOST, pass_fds=[writable])
    os.close(writable)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    doomed_server.kill()
    with open(readable, "rb") as held_open:  # by the process in the background, until it ends
        assert held_open.read() == b""


def test_signs_of_life() -> None:
    """The session takes ``ServerAliveInterval`` and ``ServerAliveCountMax``, and asks before it gives a link up."""
    config = ConfigFolders.at("/nowhere")
    reactor: Any = None

    def limits(**options: Any) -> SessionLimits:
        return Reach(reactor, ClientOptions(**options), config)._limits()

    assert limits() == SessionLimits()
    assert limits(alive_interval=7.0) == SessionLimits(keepalive_interval=7.0)
    assert limits(alive_interval=7.0, alive_count=2) == SessionLimits(keepalive_interval=7.0, keepalive_misses=2)
    silence = Liveness(7.0, limits(alive_interval=7.0, alive_count=1).keepalive_misses, 0.0)
    assert [silence.check(now) for now in (6.9, 7.0, 14.0)] == [Silence.NONE, Silence.ASK, Silence.DEAD]
