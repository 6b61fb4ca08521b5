"""Commands that cannot be run, and the way of a command's end to the caller of the client."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from tests.serving import asynchronous
from tests.system.running import RunningServer, assert_one_line, own_environment, running_server, wait_until
from twisted_rsh import connect
from twisted_rsh.core.endings import RefusalReason, Refused
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.real

SHORT_COMMANDS = 500
"""Commands, each of which has an output that must come before its end."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server started in a folder that holds a program, with that folder in its PATH."""
    folder = tmp_path_factory.mktemp("refusals")
    program = folder / "lies-around"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    environment = own_environment(folder)
    environment["PATH"] = f"::.:{environment['PATH']}:"
    with running_server(folder, "--shell", "/bin/sh", environment=environment) as server:
        yield server


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (("/no/such/program",), 127, "/no/such/program: command not found"),
        (("no-such-program",), 127, "no-such-program: command not found"),
        (("/etc/passwd",), 126, "/etc/passwd: Permission denied"),
        (("/etc",), 126, "/etc: Is a directory"),
        (("true", *["x" * 50_000] * 4), 255, "at most 131072 are allowed"),
        (("",), 255, "the name of the program is empty"),
    ],
    ids=["missing", "missing in PATH", "not executable", "folder", "200 KiB", "empty"],
)
def test_program_that_cannot_be_run(server: RunningServer, words: tuple[str, ...], status: int, named: str) -> None:
    """X-02: each kind of failure has its own status and its own line, without a traceback."""
    done = server.run(*words, options=("--argv",))
    assert (done.returncode, done.stdout) == (status, b"")
    assert_one_line(done.stderr, "trsh: ", named)


@pytest.mark.parametrize(
    ("command", "named"),
    [("echo a\0b", "NUL"), ("echo " + "x" * 1024 * 1024, "at most 131072 are allowed")],
    ids=["NUL", "1 MiB"],
)
@asynchronous
async def test_command_that_cannot_be_passed(server: RunningServer, command: str, named: str) -> None:
    """X-02: a command that no system takes is refused, and the next one runs."""
    connection = await connect(reactor, "127.0.0.1", server.port, config=ConfigFolders.at(str(server.config)))
    ending = (await connection.run(command)).ending
    assert isinstance(ending, Refused)
    assert named in ending.text
    assert (await connection.run("echo next")).stdout == b"next\n"
    await connection.close()


@pytest.mark.parametrize(("command", "status"), [("no-such-program", 127), ("/etc/passwd", 126), ("/etc", 126)])
def test_shell_reports_what_it_cannot_run(server: RunningServer, command: str, status: int) -> None:
    """X-02: the same through the user's shell, which says so itself, on stderr."""
    done = server.run(command)
    assert (done.returncode, done.stdout) == (status, b"")
    assert command.encode() in done.stderr


@asynchronous
async def test_working_folder_that_is_not_there(server: RunningServer) -> None:
    """X-02: a bad working folder is a refusal of its own kind."""
    connection = await connect(reactor, "127.0.0.1", server.port, config=ConfigFolders.at(str(server.config)))
    for folder in ("/no/such/folder", "/etc/passwd"):
        result = await connection.run("pwd", cwd=folder)
        assert isinstance(result.ending, Refused)
        assert result.ending.reason is RefusalReason.BAD_CWD
        assert folder in result.ending.text
    await connection.close()


def test_programs_are_not_found_in_the_working_folder(server: RunningServer) -> None:
    """X-03: neither an empty nor a relative entry of PATH makes the server's working folder a place of programs."""
    done = server.run("lies-around", options=("--argv",))
    assert (done.returncode, done.stdout) == (127, b"")


def test_output_comes_before_the_end(server: RunningServer) -> None:
    """X-04: after each of many short commands, its output was complete before its end was told."""
    numbers = range(SHORT_COMMANDS)
    done = server.run(stdin="".join(f"echo {n}; echo e{n} >&2\n" for n in numbers).encode())
    assert done.stdout == "".join(f"{n}\n" for n in numbers).encode()
    assert done.stderr == "".join(f"e{n}\n" for n in numbers).encode()
    assert done.returncode == 0


def test_background_process_does_not_hold_the_end(server: RunningServer) -> None:
    """X-05: the client has the output and the status although a process in the background still holds stdout."""
    done = server.run("sleep 300 & echo $!; echo hi; exit 7", seconds=30)
    pid, hi = done.stdout.split()
    try:
        assert (hi, done.stderr, done.returncode) == (b"hi", b"", 7)
    finally:
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("code", [0, 1, 42, 126, 127, 254])
def test_exit_codes(server: RunningServer, code: int) -> None:
    """X-01: the client ends with the command's own exit code, and says nothing."""
    done = server.run(f"exit {code}")
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", code)


def test_exit_code_255(server: RunningServer) -> None:
    """X-01: 255 is the client's own; a command's is reported as 254, with a line that says so."""
    done = server.run("exit 255")
    assert done.returncode == 254
    assert_one_line(done.stderr, "trsh: exited with 255")


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "ABRT", "KILL", "USR1", "SEGV", "PIPE", "TERM"])
def test_fatal_signals(server: RunningServer, name: str) -> None:
    """X-01: a command that a signal killed: 128 and its number, and a line with its name."""
    done = server.run(f"ulimit -c 0; kill -{name} $$")
    assert done.returncode == 128 + signal.Signals[f"SIG{name}"]
    assert_one_line(done.stderr, f"trsh: killed by SIG{name}")


def test_time_out(server: RunningServer, tmp_path: Path) -> None:
    """A command that reached its time-out: its output until then, status 124 as timeout(1) has, and it is gone."""
    done = server.run("echo $$; exec sleep 300", options=("--timeout", "0.5"))
    assert done.returncode == 124
    assert_one_line(done.stderr, "trsh: timed out after 0.5 s")

    def is_gone() -> Any:
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return True

    wait_until(is_gone, 5, "the end of the command")
