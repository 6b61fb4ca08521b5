"""The client's program as others run it: exit statuses, the command line, and commands from stdin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import (
    HOST,
    PATIENCE,
    WRONG_PIN,
    ServerProcess,
    finish,
    needs_full,
    one_line,
    read_line,
)

pytestmark = pytest.mark.real


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


def test_quiet_is_a_status_alone(server: ServerProcess) -> None:
    """With ``-q`` a killed command and a failure of the client's own are a status; a missing program is told."""
    done = server.run("-q", HOST, "kill -9 $$")
    assert (done.returncode, done.stderr) == (137, b"")
    done = server.run("-q", "--argv", HOST, "/nowhere/to be found")
    assert done.returncode == 127
    assert "/nowhere/to be found" in one_line(done.stderr)
    done = server.run("-q", "--fingerprint", WRONG_PIN, HOST, "true")
    assert (done.returncode, done.stderr) == (255, b"")
    done = server.run("-oLogLevel=FATAL", "--fingerprint", WRONG_PIN, HOST, "true")
    assert (done.returncode, "not the expected server" in one_line(done.stderr)) == (255, True)


def test_refusals_have_a_shells_statuses(server: ServerProcess, tmp_path: Path) -> None:
    """X-01: 127 for a program that is not there, 126 for one that cannot be run, also without a shell."""
    plain = tmp_path / "plain"
    plain.write_text("no program")
    for word, status in (("no-such-program", 127), (str(plain), 126)):
        done = server.run("--argv", HOST, word)
        assert (done.returncode, word in one_line(done.stderr)) == (status, True)
        assert server.run(HOST, word).returncode == status
    done = server.run(HOST, "", input=b"exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")  # no command, as with ssh


def test_timeout(server: ServerProcess) -> None:
    """A command that reached its time-out: 124, as with ``timeout(1)``, and its output until then."""
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
def test_help_that_cannot_be_written(server: ServerProcess) -> None:
    """C-06: help that cannot be written, as on a full disk, is a failure of one line."""
    with Path("/dev/full").open("wb") as full:
        done = server.run("--help", stdout=full)
    assert (done.returncode, one_line(done.stderr)) == (255, "cannot write to stdout: No space left on device")


@pytest.mark.parametrize("words", [["--help"], ["-V"], ["-G", HOST]], ids=lambda words: words[0])
def test_answers_without_descriptors(server: ServerProcess, words: list[str]) -> None:
    """What is written to a closed descriptor is lost, and a question that needs no server is no failure for that."""
    command = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *server.command(*words)]
    assert subprocess.run(command, env=server.environment, timeout=PATIENCE).returncode == 0


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
        (["no.such.host.invalid", "true"], "is not known; run: trshctl enroll"),
    ],
)
def test_failures_are_one_line_and_255(server: ServerProcess, words: list[str], message: str) -> None:
    """Every wrong word: one line that names it, 255, and nothing on stdout."""
    command = server.command(*words, port="-p" not in words)  # of two, the first counts
    done = subprocess.run(command, capture_output=True, env=server.environment, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (255, b"")
    assert message in one_line(done.stderr)


def test_home_of_no_use(server: ServerProcess, tmp_path: Path) -> None:
    """O-01: a folder that others can write to is refused, with the command that mends it."""
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    for folder, message in ((str(open_folder), f"run: chmod go-w {open_folder}"), ("/dev/null/x", "/dev/null")):
        command = [sys.executable, "-m", "twisted_rsh.client", "--config-dir", folder, HOST, "true"]
        done = subprocess.run(command, capture_output=True, env=server.environment, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (255, b"")
        assert message in one_line(done.stderr)


def test_no_server(server: ServerProcess, tmp_path: Path) -> None:
    """Neither a record nor a server: two different lines, each with its way out."""
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        port = unused.getsockname()[1]
        command = [sys.executable, "-m", "twisted_rsh.client", "--config-dir", str(tmp_path / "new")]
        done = subprocess.run([*command, f"{HOST}:{port}", "true"], capture_output=True, env=server.environment)
        assert (done.returncode, f"twistd rsh --port {port}" in one_line(done.stderr)) == (255, True)
        command += ["--fingerprint", WRONG_PIN, f"{HOST}:{port}", "true"]
        done = subprocess.run(command, capture_output=True, env=server.environment)
    assert done.returncode == 255
    assert one_line(done.stderr) == f"cannot connect to {HOST} port {port}: Connection refused"


def test_host_forms(server: ServerProcess) -> None:
    """``user@host:port``, and ``localhost``: all lead to the same server."""
    user = server.run(HOST, "id -un").stdout.decode().strip()
    command = server.command(port=False)
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
    os.write(writing, b"for another program")
    done = server.run("-n", HOST, "cat; echo end", stdin=reading)
    assert (done.returncode, done.stdout) == (0, b"end\n")
    assert os.read(reading, 100) == b"for another program"
    os.close(reading)
    os.close(writing)


# Scripts.


@pytest.mark.uncut("the session is told to end with its connection")
def test_script_after_the_servers_death(doomed_server: ServerProcess) -> None:
    """A server that dies in the middle of a script: one line, 255, and no further command."""
    with doomed_server.start("--no-resume", HOST) as client:
        assert client.stdin is not None
        client.stdin.write(b"echo started; sleep 20\necho never\necho never\n")
        client.stdin.flush()
        assert read_line(client) == "started"
        doomed_server.kill()
        status, stdout, stderr = finish(client)
    assert (status, stdout) == (255, b"")
    assert "outcome unknown: the connection was lost" in one_line(stderr)
