"""The client's program as others run it: statuses, streams, signals, and one line for whatever goes wrong."""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.cred.portal import Portal
from twisted.internet.utils import getProcessOutputAndValue
from zope.interface import implementer

from tests.client.processes import (
    PATIENCE,
    ServerProcess,
    cpu_seconds,
    is_running,
    one_line,
    wait_until_gone,
)
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser, JobRefused
from twisted_rsh.server.realm import SingleUserRealm
from twisted_rsh.trust.cred import AuthorizedKeysChecker
from twisted_rsh.trust.home import Home

HOST = "127.0.0.1"

WRONG_PIN = "SHA256:" + "A" * 43

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def finish(client: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Wait for a client's end; return its status and the rest of what it wrote."""
    with client:
        stdout, stderr = client.communicate(timeout=PATIENCE)
        return client.returncode, stdout, stderr


def read_line(client: subprocess.Popen[bytes]) -> str:
    """Read one line of a client's stdout."""
    assert client.stdout is not None
    return client.stdout.readline().decode().rstrip("\n")


# Statuses.


@pytest.mark.parametrize("code", [0, 1, 42, 126, 127, 254])
def test_exit_code_is_the_commands(server: ServerProcess, code: int) -> None:
    """X-01: an exit code comes out as it is, without a word."""
    done = server.run(HOST, f"exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


def test_exit_code_255_is_ours_alone(server: ServerProcess) -> None:
    """X-01: a command's 255 is 254 here, and a line says so."""
    done = server.run(HOST, "exit 255")
    assert (done.returncode, one_line(done.stderr)) == (254, "exited with 255, reported as 254")


@pytest.mark.parametrize("name", ["HUP", "INT", "KILL", "TERM", "SEGV", "PIPE"])
def test_fatal_signal_is_128_and_its_number(server: ServerProcess, name: str) -> None:
    """X-01: a signal that ended the command is named, and its number is in the status."""
    done = server.run(HOST, f"ulimit -c 0; kill -{name} $$")
    assert done.returncode == 128 + signal.Signals[f"SIG{name}"]
    assert one_line(done.stderr).startswith(f"killed by SIG{name}")


def test_quiet_tells_failures_alone(server: ServerProcess) -> None:
    """With ``-q`` a killed command is a status and nothing more; what is our own failure is told all the same."""
    done = server.run("-q", HOST, "kill -9 $$")
    assert (done.returncode, done.stderr) == (137, b"")
    done = server.run("-q", "--argv", HOST, "/nowhere/to be found")
    assert done.returncode == 127
    assert "/nowhere/to be found" in one_line(done.stderr)
    done = server.run("-q", "--fingerprint", WRONG_PIN, HOST, "true")
    assert (done.returncode, "not the expected server" in one_line(done.stderr)) == (255, True)


def test_refusals_have_a_shells_statuses(server: ServerProcess, tmp_path: Path) -> None:
    """X-01: 127 for a program that is not there, 126 for one that cannot be run, also without a shell."""
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for word, status in (("no-such-program", 127), (str(plain), 126)):
        done = server.run("--argv", HOST, word)
        assert (done.returncode, word in one_line(done.stderr)) == (status, True)
        assert server.run(HOST, word).returncode == status
    done = server.run(HOST, "")
    assert (done.returncode, one_line(done.stderr)) == (255, "the command is empty")


def test_timeout(server: ServerProcess) -> None:
    """A command whose time is up is ended: 124, as with ``timeout(1)``, and what it wrote is there."""
    done = server.run("--timeout", "0.3", HOST, "echo first; exec sleep 100")
    assert (done.returncode, done.stdout, one_line(done.stderr)) == (124, b"first\n", "timed out after 0.3 s")


# The command line.


def test_help_and_version(server: ServerProcess) -> None:
    """``--help`` is for stdout, ``-V`` for stderr, both are a success and neither needs a server."""
    done = server.run("--help")
    assert (done.returncode, done.stdout[:12], done.stderr) == (0, b"Usage: trsh ", b"")
    done = server.run("-V")
    assert (done.returncode, done.stdout, done.stderr.split()[0]) == (0, b"", b"twisted-rsh")


@needs_full
def test_help_that_nobody_can_read(server: ServerProcess) -> None:
    """C-06: help on a full disk, or for a reader who has left, is a failure without noise."""
    with Path("/dev/full").open("wb") as full:
        done = server.run("--help", stdout=full)
    assert (done.returncode, done.stderr) == (255, b"")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bogus"], "no such option: '--bogus'"),
        (["-p", "nope"], "not a port: 'nope'"),
        (["--timeout", "-1", HOST], "not a time: '-1'"),
        (["--encoding", "klingon", HOST], "no such code page: 'klingon'"),
        (["h\x1b[31m", "true"], "not a host"),
        (["--fingerprint", "md5:xyz", HOST, "true"], "'md5:xyz' is not a fingerprint"),
        (["--fingerprint", WRONG_PIN, HOST, "true"], f"expected {WRONG_PIN}"),
        (["-l", "nobody-here", HOST, "true"], "login as nobody-here"),
        (["-l", "n" * 257, HOST, "true"], "longer than 256 bytes"),
        (["no.such.host.invalid", "true"], "give --fingerprint SHA256:..."),
        (["--home", "/dev/null/x", HOST, "true"], "/dev/null"),
    ],
)
def test_failures_are_one_line_and_255(server: ServerProcess, words: list[str], message: str) -> None:
    """Whatever is wrong with what was asked: one line that names it, 255, and nothing on stdout."""
    command = server.command(*words)
    if "-p" in words:
        del command[5:7]
    done = subprocess.run(command, capture_output=True, env=server.environment, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (255, b"")
    assert message in one_line(done.stderr)


def test_nobody_listens(server: ServerProcess, tmp_path: Path) -> None:
    """Neither a record nor a server: two different lines, each with its way out."""
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
        command = [sys.executable, "-m", "twisted_rsh.client", "--home", str(tmp_path / "new")]
        done = subprocess.run([*command, f"{HOST}:{port}", "true"], capture_output=True, env=server.environment)
        assert (done.returncode, f"twistd rsh --port {port}" in one_line(done.stderr)) == (255, True)
        command += ["--fingerprint", WRONG_PIN, f"{HOST}:{port}", "true"]
        done = subprocess.run(command, capture_output=True, env=server.environment)
    assert done.returncode == 255
    assert one_line(done.stderr) == f"cannot connect to {HOST} port {port}: Connection refused"


def test_host_forms(server: ServerProcess) -> None:
    """``user@host:port``, and ``localhost``: all lead to the same server."""
    user = server.run(HOST, "id -un").stdout.decode().strip()
    command = [sys.executable, "-m", "twisted_rsh.client", "--home", str(server.folder)]
    for words in ([f"{user}@{HOST}:{server.port}"], ["-l", user, f"localhost:{server.port}"]):
        done = subprocess.run([*command, *words, "echo", "here"], capture_output=True, env=server.environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n", b"")


def test_words_of_the_command(server: ServerProcess) -> None:
    """Words are joined for the shell, as with ``ssh``; with ``--argv`` no shell sees them."""
    assert server.run(HOST, "--", "echo", "a  b", "$((1 + 1))").stdout == b"a b 2\n"
    assert server.run("--argv", HOST, "printf", "%s|", "a  b", "$x", "", "*").stdout == b"a  b|$x||*|"


def test_bytes_of_an_argument_survive(server: ServerProcess) -> None:
    """A word that is no text reaches the command as it is."""
    done = subprocess.run(
        [*map(os.fsencode, server.command("--argv", HOST)), b"printf", b"%s", b"\xff\xe9"],
        capture_output=True,
        env=server.environment,
        stdin=subprocess.DEVNULL,
    )
    assert (done.stdout, done.stderr) == (b"\xff\xe9", b"")


def test_encoding_leaves_a_pipe_alone(server: ServerProcess) -> None:
    """``--encoding`` is for terminals: a pipe gets the bytes."""
    done = server.run("--encoding", "gbk", HOST, "cat", input="汉字".encode("gbk") + b"\xff")
    assert (done.stdout, done.stderr) == ("汉字".encode("gbk") + b"\xff", b"")


def test_verbose_writes_a_log(server: ServerProcess) -> None:
    """``-v`` logs to stderr, and stdout has the command's output alone."""
    done = server.run("-v", HOST, "echo out")
    assert (done.returncode, done.stdout) == (0, b"out\n")
    assert b"[" in done.stderr
    assert b"Traceback" not in done.stderr


def test_no_input(server: ServerProcess) -> None:
    """With ``-n`` the command finds its input at its end, and ours is not read."""
    reading, writing = os.pipe()
    os.write(writing, b"for somebody else")
    done = server.run("-n", HOST, "cat; echo end", stdin=reading)
    assert (done.returncode, done.stdout) == (0, b"end\n")
    assert os.read(reading, 100) == b"for somebody else"
    os.close(reading)
    os.close(writing)


# Commands from stdin.


def test_script_from_stdin(server: ServerProcess) -> None:
    """Without a command, the lines of stdin are commands; the last one's status is ours."""
    script = b"echo one\n\n  \nexit 3\ncat; echo two >&2\nexit 4"
    done = server.run(HOST, input=script)
    assert (done.returncode, done.stdout, done.stderr) == (4, b"one\n", b"two\n")
    done = server.run(HOST, input=b"exit 3\ntrue\n")
    assert (done.returncode, done.stderr) == (0, b"")
    done = server.run(input=b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_script_after_the_servers_death(doomed_server: ServerProcess) -> None:
    """A server that dies in the middle of a script: one line, 255, and no further command."""
    with doomed_server.start(HOST) as client:
        assert client.stdin is not None
        client.stdin.write(b"echo started; exec sleep 1000\necho never\necho never\n")
        client.stdin.flush()
        assert read_line(client) == "started"
        doomed_server.kill()
        status, stdout, stderr = finish(client)
    assert (status, stdout) == (255, b"")
    assert "outcome unknown: the connection was lost" in one_line(stderr)


# Streams.


def test_64_mib_both_ways(server: ServerProcess) -> None:
    """H-12: 64 MiB of random bytes through ``cat``, by pipes: nothing lost, nothing changed."""
    data = random.Random(1).randbytes(64 * 1024 * 1024)
    done = server.run(HOST, "cat", input=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_files_both_ways(server: ServerProcess, tmp_path: Path) -> None:
    """H-12: the same with regular files; C-07: epoll takes none of them."""
    data = random.Random(2).randbytes(8 * 1024 * 1024)
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(data)
    with source.open("rb") as stdin, target.open("wb") as stdout:
        done = server.run(HOST, "cat", stdin=stdin, stdout=stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert target.read_bytes() == data
    with Path(os.devnull).open("r+b") as null:
        done = server.run(HOST, "cat /dev/zero | head -c 3000000; cat", stdin=null, stdout=null)
    assert (done.returncode, done.stderr) == (0, b"")


def test_outputs_are_apart_and_in_order(server: ServerProcess) -> None:
    """C-08: each output is whole and in its order."""
    loop = "i=0; while [ $i -lt 3000 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done"
    done = server.run(HOST, loop)
    assert done.stdout.decode().split() == [f"out{i}" for i in range(3000)]
    assert done.stderr.decode().split() == [f"err{i}" for i in range(3000)]


def test_ends_of_input_and_output(server: ServerProcess) -> None:
    """H-08: output after the end of input, and stderr after the end of stdout, are complete."""
    assert server.run(HOST, "cat; echo after", input=b"x\n").stdout == b"x\nafter\n"
    assert server.run(HOST, "sort", input=b"b\na\n").stdout == b"a\nb\n"
    done = server.run(HOST, "echo out; exec >&-; sleep 0.3; echo late >&2; exit 5")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"out\n", b"late\n")


def test_command_that_does_not_read(server: ServerProcess) -> None:
    """H-07: input that nobody takes does not keep the client from its end."""
    done = server.run(HOST, "exec <&-; echo done", input=bytes(4 * 1024 * 1024))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")


def test_reader_that_has_enough(server: ServerProcess) -> None:
    """H-06: ``yes | head -2000`` gives 2,000 lines; C-06: the client says nothing, and its status is SIGPIPE's."""
    client = shlex.join(server.command(HOST, "yes"))
    line = f"{{ {client}; echo $? >&2; }} | head -2000 | wc -l"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, stdin=subprocess.DEVNULL, env=server.environment, timeout=PATIENCE
    )
    assert (int(done.stdout), done.stderr) == (2000, b"141\n")


@needs_full
def test_full_disk(server: ServerProcess) -> None:
    """C-06: what cannot be written is told in one line, and is our failure, whatever the command makes of it."""
    for command in ("yes", "echo little", "trap '' PIPE; echo much; sleep 0.2; echo more; exit 0"):
        with Path("/dev/full").open("wb") as full:
            done = server.run(HOST, command, stdout=full)
        assert done.returncode == 255
        assert one_line(done.stderr) == "cannot write to stdout: No space left on device"


def test_slow_reader_costs_nothing(server: ServerProcess) -> None:
    """C-06: a reader that takes its time stops the command, without a busy loop, and gets every byte."""
    with server.start(HOST, "head -c 3000000 /dev/zero; echo end") as client:
        assert client.stdout is not None
        first = client.stdout.read(1)
        before = cpu_seconds(client.pid)
        threading.Event().wait(1.5)
        assert cpu_seconds(client.pid) - before <= 1
        status, rest, stderr = finish(client)
    assert (status, first + rest, stderr) == (0, bytes(3000000) + b"end\n", b"")


def test_client_can_be_ended_while_nobody_reads(server: ServerProcess) -> None:
    """C-06: output that nobody takes does not keep a client alive that is told to end."""
    with server.start(HOST, "head -c 200000 /dev/zero; echo end >&2") as client:
        assert client.stderr is not None
        assert client.stderr.readline() == b"end\n"
        threading.Event().wait(0.5)  # the command's end comes behind its output
        client.send_signal(signal.SIGTERM)
        assert client.wait(PATIENCE) == 128 + signal.SIGTERM


@pytest.mark.parametrize("redirection", ["", "</dev/null", "<&-", "< '{file}'", "<&- 2>&-"])
def test_forms_of_stdin(server: ServerProcess, redirection: str, tmp_path: Path) -> None:
    """C-07: with any stdin, closed included, a command that does not read it ends as ever."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100_000)
    line = f"exec {shlex.join(server.command(HOST, 'echo done'))} {redirection.format(file=file)}"
    reading, writing = os.pipe()  # nothing ever comes
    done = subprocess.run(
        ["sh", "-c", line], stdin=reading, capture_output=True, env=server.environment, timeout=PATIENCE
    )
    os.close(reading)
    os.close(writing)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")


def test_terminal_as_stdin(server: ServerProcess) -> None:
    """C-07: a terminal on stdin, with a command: its lines and its end are passed on; C-05: its flags stay."""
    behind, terminal = os.openpty()
    flags = os.get_blocking(terminal)
    with server.start(HOST, "cat; echo end", stdin=terminal) as client:
        os.write(behind, b"typed\n")
        assert read_line(client) == "typed"
        assert os.get_blocking(terminal) == flags
        os.write(behind, b"\x04")
        assert finish(client) == (0, b"end\n", b"")
    assert os.get_blocking(terminal) == flags
    os.close(behind)
    os.close(terminal)


def test_idle_input_costs_nothing(server: ServerProcess) -> None:
    """C-07: waiting for input and output takes no processor time."""
    with server.start(HOST, "echo ready; cat") as client:
        assert read_line(client) == "ready"
        before = cpu_seconds(client.pid)
        threading.Event().wait(1.5)
        assert cpu_seconds(client.pid) - before <= 1
        assert finish(client) == (0, b"", b"")


def test_input_that_cannot_be_read(server: ServerProcess, tmp_path: Path) -> None:
    """An error is not taken for the end of input: the command is ended, and the client says why."""
    for words in ([HOST, "cat; echo all of it"], [HOST]):
        with (tmp_path / "unreadable").open("wb") as stdin:
            done = server.run(*words, stdin=stdin)
        assert (done.returncode, done.stdout) == (255, b"")
        assert one_line(done.stderr) == "cannot read stdin: Bad file descriptor"


# Signals.


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_are_the_commands(server: ServerProcess, name: str) -> None:
    """A signal sent to the client reaches the command, which may answer as it likes."""
    with server.start(HOST, f"trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.05; done") as client:
        assert read_line(client) == "ready"
        client.send_signal(signal.Signals[f"SIG{name}"])
        assert finish(client) == (7, b"got\n", b"")


def test_signal_reaches_the_whole_group(server: ServerProcess) -> None:
    """C-10: every process of the command's group gets it."""
    with server.start(HOST, "sleep 1000 & echo $!; sleep 1000 | sleep 1000 & echo $!; wait") as client:
        pids = [int(read_line(client)), int(read_line(client))]
        client.send_signal(signal.SIGTERM)
        status, _, stderr = finish(client)
    assert (status, one_line(stderr)) == (143, "killed by SIGTERM")
    wait_until_gone(*pids)


def test_ignored_interrupt_stays_ignored(server: ServerProcess) -> None:
    """Whoever starts the client with SIGINT ignored wants it to live through one."""
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


def test_third_interrupt_leaves(server: ServerProcess) -> None:
    """C-10: a command that does not mind interrupts gets two; the third ends the client, and the command with it."""
    with server.start(HOST, "trap 'echo int' INT; echo $$; while :; do sleep 0.05; done") as client:
        pid = int(read_line(client))
        for _ in range(2):
            client.send_signal(signal.SIGINT)
            assert read_line(client) == "int"
        assert is_running(pid)
        client.send_signal(signal.SIGINT)
        assert finish(client) == (130, b"", b"")
    wait_until_gone(pid)


@pytest.fixture
def silent_port() -> Iterator[socket.socket]:
    """Somebody who accepts connections and never says a word."""
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(PATIENCE)
        yield listening


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_signal_while_connecting(server: ServerProcess, silent_port: socket.socket, name: str) -> None:
    """C-10: Ctrl-C before there is a command ends the client, at once and without a word."""
    port = silent_port.getsockname()[1]
    with server.start("--fingerprint", WRONG_PIN, f"{HOST}:{port}", "true") as client:
        connection, _ = silent_port.accept()
        client.send_signal(signal.Signals[f"SIG{name}"])
        status = finish(client)
        connection.close()
    assert status == (128 + signal.Signals[f"SIG{name}"], b"", b"")


def test_interrupt_during_the_start(server: ServerProcess) -> None:
    """C-10: Ctrl-C while Python still imports shows nothing of it."""
    program = "import signal, sys; from twisted_rsh.client import __main__ as m; m.parse_options = lambda _: " \
        "signal.raise_signal(signal.SIGINT); sys.exit(m.main(['h', 'true']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=server.environment)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


# Servers that are none, or that die, or that mean harm.


def test_something_else_answers(server: ServerProcess, silent_port: socket.socket) -> None:
    """C-01: what answers is no server of ours: one line, and it got a TLS greeting and nothing else."""
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
    done = server.run("--fingerprint", WRONG_PIN, f"{HOST}:{port}", "true")
    thread.join(PATIENCE)
    assert done.returncode == 255
    assert f"what answers at {HOST}:{port} is no twisted-rsh server" in one_line(done.stderr)
    assert b"".join(received)[:2] == b"\x16\x03"  # a TLS handshake record


def test_server_killed_under_a_command(doomed_server: ServerProcess) -> None:
    """A server that dies: what came until then, one line, and 255: nobody knows how the command ended."""
    with doomed_server.start(HOST, "echo started; exec sleep 1000") as client:
        assert read_line(client) == "started"
        doomed_server.kill()
        status, stdout, stderr = finish(client)
    assert (status, stdout) == (255, b"")
    assert "outcome unknown: the connection was lost" in one_line(stderr)


def test_server_stopped_under_a_command(doomed_server: ServerProcess) -> None:
    """A server that is stopped says so: one line, 255, and the command is gone with it."""
    with doomed_server.start(HOST, "echo $$; exec sleep 1000") as client:
        pid = int(read_line(client))
        doomed_server.stop()
        status, _, stderr = finish(client)
    assert status == 255
    assert one_line(stderr).startswith("outcome unknown: ")
    wait_until_gone(pid)


def test_killed_client_leaves_nothing(server: ServerProcess) -> None:
    """A client that was killed leaves no command behind."""
    with server.start(HOST, "echo $$; exec sleep 1000") as client:
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
async def test_refusal_cannot_talk_to_the_terminal(home: Home) -> None:
    """C-03: escapes in a server's text come out in caret or escaped form, in one line."""
    portal = Portal(SingleUserRealm(Refuser()), [AuthorizedKeysChecker(home, os_user(), lambda _: None)])
    serving = Serving(home, portal)
    await serving.start()
    words = ["-m", "twisted_rsh.client", "--home", home.state, f"{HOST}:{serving.port}", "true"]
    stdout, stderr, status = await getProcessOutputAndValue(
        sys.executable, words, dict(os.environ, LC_ALL="C.UTF-8"), reactor=reactor
    )
    await serving.stop()
    assert (status, stdout) == (255, b"")
    assert "\x1b" not in one_line(stderr)


def os_user() -> str:
    """The name of the user who runs the tests."""
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name
