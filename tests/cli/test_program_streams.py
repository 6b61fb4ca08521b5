"""The client's program and its own standard streams, of every kind."""

from __future__ import annotations

import hashlib
import os
import pwd
import random
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.server_process import (
    HOST,
    PATIENCE,
    ServerProcess,
    cpu_seconds,
    finish,
    needs_full,
    one_line,
    read_line,
)

pytestmark = pytest.mark.real


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
    """H-07: a client ends although its command does not take its input."""
    done = server.run(HOST, "exec <&-; echo done", input=bytes(4 * 1024 * 1024))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")


def test_reader_that_has_enough(server: ServerProcess) -> None:
    """H-06: ``yes | head -2000`` gives 2,000 lines; C-06: the client says nothing, and its status is SIGPIPE's."""
    client = shlex.join(server.command(HOST, "exec yes"))
    line = f"{{ {client}; echo $? >&2; }} | head -2000 | wc -l"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, stdin=subprocess.DEVNULL, env=server.environment, timeout=PATIENCE
    )
    assert (int(done.stdout), done.stderr) == (2000, b"141\n")


@needs_full
def test_full_disk(server: ServerProcess) -> None:
    """C-06: output that cannot be written is the client's failure, in one line, whatever the command makes of it."""
    for command in ("yes", "echo little", "trap '' PIPE; echo much; sleep 0.2; echo more 2>&-; exit 0"):
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
        threading.Event().wait(1.0)
        assert cpu_seconds(client.pid) - before < 0.5
        status, rest, stderr = finish(client)
    assert (status, first + rest, stderr) == (0, bytes(3000000) + b"end\n", b"")


def test_client_without_a_reader_can_be_ended(server: ServerProcess) -> None:
    """C-06: SIGTERM ends a client although its output is not read."""
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
        threading.Event().wait(1.0)
        assert cpu_seconds(client.pid) - before < 0.5
        assert finish(client) == (0, b"", b"")


def test_input_that_cannot_be_read(server: ServerProcess, tmp_path: Path) -> None:
    """An error is not taken for the end of input: the command is ended, and the client says why."""
    for words in ([HOST, "cat; echo all of it"], [HOST]):
        with (tmp_path / "unreadable").open("wb") as stdin:
            done = server.run(*words, stdin=stdin)
        assert (done.returncode, done.stdout) == (255, b"")
        assert one_line(done.stderr) == "cannot read stdin: Bad file descriptor"


def test_folder_as_stdin(server: ServerProcess, tmp_path: Path) -> None:
    """C-07: a folder on stdin is one line and 255, also by a link to the script; the interpreter alone has many."""
    installed = Path(sys.executable).with_name("trsh")
    link = tmp_path / "link"
    link.symlink_to(installed)
    options = server.command()[3:]
    folder = os.open(tmp_path, os.O_RDONLY)
    for program in (installed, link):
        command = [str(program), *options, HOST, "echo done"]
        done = subprocess.run(command, stdin=folder, capture_output=True, env=server.environment, timeout=PATIENCE)
        assert (done.returncode, done.stdout) == (255, b"")
        assert one_line(done.stderr) == "cannot read stdin: Is a directory"
        done = subprocess.run(command, input=b"", capture_output=True, env=server.environment, timeout=PATIENCE)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")
    os.close(folder)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_outputs(server: ServerProcess, redirection: str, tmp_path: Path) -> None:
    """C-07: what a command writes to a closed stdout or stderr is lost, as with ssh, and its status is not."""
    command = f"echo out; echo err >&2; touch {tmp_path}/done; exit 3"
    line = f"exec {shlex.join(server.command(HOST, command))} {redirection}"
    done = subprocess.run(["sh", "-c", line], input=b"", env=server.environment, timeout=PATIENCE, check=False)
    assert done.returncode == 3
    assert (tmp_path / "done").exists()


def test_empty_command_is_none(server: ServerProcess) -> None:
    """As with ssh, a command without a character is none, and the lines of stdin are run; a space is a command."""
    assert server.run(HOST, "", input=b"echo line; exit 3").stdout == b"line\n"
    assert server.run(HOST, " ", input=b"echo line").stdout == b""


def test_url(server: ServerProcess) -> None:
    """The URL of ssh leads to the server and the user that it names; a wrong one is one line and 255."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    encoded = "".join(f"%{byte:02x}" for byte in user.encode())
    for url in (f"ssh://{user}@{HOST}:{server.port}", f"ssh://{encoded}@{HOST}:{server.port}/", f"ssh://{HOST}"):
        done = subprocess.run(
            server.command(url, "echo there", port=str(server.port) not in url),
            input=b"",
            capture_output=True,
            env=server.environment,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"there\n", b"")
    done = server.run(f"ssh://{HOST}/path", "echo there")
    assert (done.returncode, done.stdout) == (255, b"")
    assert (
        one_line(done.stderr) == f"not a destination: 'ssh://{HOST}/path': write ssh://user@host:port, without a path"
    )
