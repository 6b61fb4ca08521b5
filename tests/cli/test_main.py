"""The client's entry point, as far as the test's own process can show it."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from twisted_rsh.cli.__main__ import main


@pytest.fixture(autouse=True)
def _interrupts() -> Iterator[None]:
    """Interrupts are the test's own again afterwards."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("words", [["127.0.0.1", "true"], []])
def test_user_without_a_home(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A user without a home folder gets one line that names the way out, and the client does not connect."""

    def find_none(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_none)
    monkeypatch.setattr(os, "isatty", lambda _fd: False)
    assert main(words) == 255
    told = capfd.readouterr()
    message = f"trsh: user {os.geteuid()} has no home folder; set HOME, or give --config-dir FOLDER\n"
    assert (told.out, told.err) == ("", message)


@pytest.mark.parametrize("entry_point", ["twisted_rsh.cli.__main__", "twisted_rsh.tap"])
def test_a_system_that_is_not_posix(entry_point: str) -> None:
    """Client and server end with one line where the modules that they need do not exist."""
    code = f"import os, signal; os.name = 'nt'; import {entry_point}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "twisted-rsh needs a POSIX system\n")


def test_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong option is one line, 255, and nothing else."""
    assert main(["--bogus"]) == 255
    assert capfd.readouterr() == ("", "trsh: no such option: '--bogus': try 'trsh --help'\n")


SETTINGS = ("-G", "-F", "none", "-o", "SendEnv=GIT_PROTOCOL", "h")


@pytest.mark.parametrize("closed", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)], ids=str)
def test_questions_with_closed_descriptors(closed: tuple[int, ...]) -> None:
    """``-G`` answers with 0 whichever descriptors are closed, and says nothing on stderr."""
    words = " ".join([sys.executable, "-m", "twisted_rsh.client", *SETTINGS])
    script = f"exec {words} {' '.join(f'{fd}>&-' for fd in closed)}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (b"hostname h\n" in done.stdout) == (1 not in closed)


def test_answers_that_cannot_be_written(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer for a reader that has left is 141, and one for a full disk is one line and 255."""
    monkeypatch.setenv("HOME", "/")
    readable, writable = os.pipe()
    os.close(readable)
    before = os.dup(1)
    try:
        os.dup2(writable, 1)
        assert main(SETTINGS) == 141
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                os.dup2(full.fileno(), 1)
            assert main(SETTINGS) == 255
            assert capfd.readouterr().err == "trsh: cannot write to stdout: No space left on device\n"
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(writable)


LEAVING = """\
import atexit, os, sys
from twisted_rsh.cli.__main__ import run
class Late:
    def __del__(self):
        os.write(1, b"taken apart\\n")
late = Late()
atexit.register(sys.stdout.write, "exit function\\n")
sys.argv = ["trsh", *sys.argv[1:]]
run()
"""


@pytest.mark.parametrize(("word", "status"), [("--version", 0), ("--bogus", 255)])
def test_leaving(word: str, status: int) -> None:
    """The process ends with the status, behind the functions of atexit and their output, and takes nothing apart."""
    done = subprocess.run(
        [sys.executable, "-c", LEAVING, word], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (status, "exit function\n")


def test_leaving_without_descriptors() -> None:
    """A process that was started without stdout and stderr leaves with its status, too."""
    words = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, "-m", "twisted_rsh.client", "--bogus"]
    assert subprocess.run(words, timeout=60, check=False).returncode == 255
