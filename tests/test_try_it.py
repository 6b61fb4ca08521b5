"""``python -m twisted_rsh``: a server and a client in one command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pexpect

from tests.system.running import own_environment


def run(tmp_path: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the program with a home and a folder for temporary files of its own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "twisted_rsh", *words],
        env=own_environment(tmp_path, TMPDIR=str(temporary)),
        cwd=tmp_path,
        input=stdin,
        capture_output=True,
        timeout=60,
    )


def test_a_command(tmp_path: Path) -> None:
    """A command runs on a private server, and its status is the program's; nothing is left behind."""
    done = run(tmp_path, "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def test_its_input(tmp_path: Path) -> None:
    """The command reads the program's stdin."""
    assert run(tmp_path, "sort", stdin=b"b\na\n").stdout == b"a\nb\n"


def test_a_script(tmp_path: Path) -> None:
    """Without a command, each line of stdin is one."""
    done = run(tmp_path, stdin=b"echo one\nfalse\necho two; exit 4\n")
    assert (done.returncode, done.stdout) == (4, b"one\ntwo\n")


def test_the_console(tmp_path: Path) -> None:
    """On a terminal there is a prompt; the shell remembers, Ctrl-C ends the command alone, Ctrl-D leaves."""
    environment = own_environment(tmp_path, TERM="dumb", TMPDIR=str(tmp_path))
    console = pexpect.spawn(sys.executable, ["-m", "twisted_rsh"], cwd=str(tmp_path), env=environment, timeout=60)
    console.expect_exact(">>:")
    console.sendline("cd /usr; variable=kept")
    console.expect_exact(">>:")
    console.sendline("echo $variable in $PWD")
    console.expect_exact("kept in /usr")
    console.expect_exact(">>:")
    console.sendline("sh -c 'echo started; exec sleep 60'")
    console.expect_exact("started\r\n")
    console.sendintr()
    console.expect_exact("[status 130]")
    console.expect_exact(">>:")
    console.sendeof()
    console.expect(pexpect.EOF)
    console.close()
    assert console.exitstatus == 130


def test_help(tmp_path: Path) -> None:
    """``--help`` prints the usage and starts nothing."""
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(b"usage: python -m twisted_rsh [command ...]\n")
