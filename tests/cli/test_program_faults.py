"""The client's program under signals, and against servers that are absent, die or mean harm: one line, and 255."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from twisted.cred.portal import Portal
from twisted.internet.utils import getProcessOutputAndValue
from zope.interface import implementer

from tests.server_process import (
    HOST,
    PATIENCE,
    WRONG_PIN,
    ServerProcess,
    finish,
    is_running,
    one_line,
    read_line,
    wait_until_gone,
)
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh import starting
from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser, JobRefused
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.trust.cred import AuthorizedKeysChecker
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.real

# Signals.


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_are_the_commands(server: ServerProcess, name: str) -> None:
    """A signal sent to the client reaches the command, which may answer as it likes."""
    with server.start(HOST, f"trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.05; done") as client:
        assert read_line(client) == "ready"
        client.send_signal(signal.Signals[f"SIG{name}"])
        status, stdout, stderr = finish(client)
    assert (status, stdout) == (7, b"got\n")
    assert b"trsh" not in stderr  # some shells have a word for what ended their "sleep"


def test_signal_reaches_the_whole_group(server: ServerProcess) -> None:
    """C-10: every process of the command's group gets it."""
    with server.start(HOST, "sleep 1000 & echo $!; sleep 1000 | sleep 1000 & echo $!; wait") as client:
        pids = [int(read_line(client)), int(read_line(client))]
        client.send_signal(signal.SIGTERM)
        status, _, stderr = finish(client)
    assert (status, one_line(stderr)) == (143, "killed by SIGTERM")
    wait_until_gone(*pids)


def test_ignored_interrupt_stays_ignored(server: ServerProcess) -> None:
    """A client that was started with SIGINT ignored survives one."""
    line = f"trap '' INT; exec {shlex.join(server.command(HOST, 'echo ready; cat'))}"
    with subprocess.Popen(
        ["sh", "-c", line],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=server.environment,
    ) as client:
        assert read_line(client) == "ready"
        client.send_signal(signal.SIGINT)
        assert client.stdin is not None
        client.stdin.write(b"alive\n")
        client.stdin.flush()
        assert read_line(client) == "alive"
        assert finish(client) == (0, b"", b"")


def test_last_interrupt_leaves(server: ServerProcess) -> None:
    """C-10: one interrupt after another is INT, TERM and KILL for the command, and at once the client's own end."""
    with server.start(
        HOST, "trap 'echo int' INT; trap 'echo term' TERM; echo $$; while :; do sleep 0.05; done"
    ) as client:
        pid = int(read_line(client))
        for said in ("int", "term"):
            client.send_signal(signal.SIGINT)
            assert read_line(client) == said
        assert is_running(pid)
        client.send_signal(signal.SIGINT)
        status, stdout, stderr = finish(client)
    assert (status, stdout, stderr.splitlines()[-1]) == (137, b"", b"trsh: killed by SIGKILL")
    wait_until_gone(pid)


@pytest.fixture
def silent_port() -> Iterator[socket.socket]:
    """A listener that accepts connections and never sends a byte."""
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(PATIENCE)
        yield listening


@pytest.mark.parametrize(("name", "option"), [("INT", "-T"), ("TERM", "-T"), ("INT", "-f")])
def test_signal_while_connecting(server: ServerProcess, silent_port: socket.socket, name: str, option: str) -> None:
    """C-10: Ctrl-C before the login ends the client, at once and without a word; it dies of it, and so a loop ends."""
    port = silent_port.getsockname()[1]
    command = server.command("--fingerprint", WRONG_PIN, option, f"{HOST}:{port}", "true", port=False)
    with subprocess.Popen(command, env=server.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        connection, _ = silent_port.accept()
        client.send_signal(signal.Signals[f"SIG{name}"])
        end = finish(client)
        connection.close()
    assert end == (-signal.Signals[f"SIG{name}"], b"", b"")


def test_interrupt_during_the_start(server: ServerProcess) -> None:
    """C-10: Ctrl-C while Python still imports shows nothing of it."""
    program = (
        "import signal, sys; from twisted_rsh.cli import __main__ as m; m.parse_arguments = lambda _: "
        "signal.raise_signal(signal.SIGINT); sys.exit(m.main(['h', 'true']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=server.environment)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


LOADING = """\
import signal, sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == "twisted_rsh.trust.home":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from twisted_rsh import starting
getattr(starting, sys.argv.pop(1))()
"""


@pytest.mark.parametrize("program", starting.__all__)
def test_interrupt_while_a_program_is_loaded(server: ServerProcess, program: str) -> None:
    """C-10: Ctrl-C while the modules of any program are loaded ends it, and shows nothing of Python."""
    words = [sys.executable, "-c", LOADING, program]
    done = subprocess.run(words, capture_output=True, env=server.environment, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


# Servers that are absent, die, or mean harm.


def test_something_else_answers(server: ServerProcess, silent_port: socket.socket) -> None:
    """C-01: something else than a server answers: one line, and it got a TLS greeting and nothing else."""
    port = silent_port.getsockname()[1]
    received: list[bytes] = []

    def answer() -> None:
        connection, _ = silent_port.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            while data := connection.recv(65536):
                received.append(data)

    thread = threading.Thread(target=answer)
    thread.start()
    command = server.command("--fingerprint", WRONG_PIN, f"{HOST}:{port}", "true", port=False)
    done = subprocess.run(command, capture_output=True, env=server.environment, stdin=subprocess.DEVNULL)
    thread.join(PATIENCE)
    assert done.returncode == 255
    assert f"what answers at {HOST}:{port} is no twisted-rsh server" in one_line(done.stderr)
    assert b"".join(received)[:2] == b"\x16\x03"  # a TLS handshake record


@pytest.mark.uncut("the session is told to end with its connection")
def test_server_killed_under_a_command(doomed_server: ServerProcess) -> None:
    """A server that dies: the output until then, one line, and 255, since the outcome is unknown."""
    with doomed_server.start("--no-resume", HOST, "echo started; exec sleep 20") as client:
        assert read_line(client) == "started"
        doomed_server.kill()
        status, stdout, stderr = finish(client)
    assert (status, stdout) == (255, b"")
    assert "outcome unknown: the connection was lost" in one_line(stderr)


@pytest.mark.uncut("the last word of a server that ends the session can be lost with its link")
def test_server_stopped_under_a_command(doomed_server: ServerProcess) -> None:
    """A server that is stopped says so: one line, 255, and the command has ended with it."""
    with doomed_server.start(HOST, "echo $$; exec sleep 1000") as client:
        pid = int(read_line(client))
        doomed_server.stop()
        status, _, stderr = finish(client)
    assert status == 255
    assert one_line(stderr).startswith("outcome unknown: ")
    wait_until_gone(pid)


def test_killed_client_leaves_nothing(server: ServerProcess) -> None:
    """A client that was killed leaves no command behind for longer than its grace."""
    with server.start("--on-disconnect", "grace:0.5", HOST, "echo $$; exec sleep 1000") as client:
        pid = int(read_line(client))
        client.kill()
    wait_until_gone(pid)


@implementer(IShellUser)
class Refuser:
    """A user of a server that means harm: every refusal tries to talk to the terminal."""

    name = "refuser"
    encoding = "utf-8"

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        raise JobRefused(RefusalReason.NOT_PERMITTED, "no\x1b]52;c;eA==\x07\r\x9b31m\u202eway\n\x1b[2J")


@asynchronous
async def test_refusal_cannot_talk_to_the_terminal(config: ConfigFolders) -> None:
    """C-03: escapes in a server's text come out in caret or escaped form, in one line."""
    portal = Portal(SingleUserRealm(Refuser()), [AuthorizedKeysChecker(config, os_user())])
    serving = Serving(config, portal)
    await serving.start()
    words = ["-m", "twisted_rsh.client", "--config-dir", config.state, f"{HOST}:{serving.port}", "true"]
    stdout, stderr, status = await getProcessOutputAndValue(
        sys.executable, words, dict(os.environ, LC_ALL="C.UTF-8"), reactor=reactor
    )
    await serving.stop()
    assert (status, stdout) == (255, b"")
    assert "\x1b" not in one_line(stderr)


def os_user() -> str:
    """Return the name of the user who runs the tests."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
