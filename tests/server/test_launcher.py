"""The program that a stand-alone server runs in: its log, the terminal, and its exit status."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twisted_rsh.server.launcher import Launcher, LogProblem


def twistd(**changes: Any) -> dict[str, Any]:
    """Return the options of ``twistd``, in the background unless they say otherwise."""
    options = {"nodaemon": False, "debug": False, "syslog": False, "logger": None, "logfile": None, "pidfile": ""}
    return {**options, "uid": None, **changes}


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("logfile", [None, "", "other.log"])
def test_a_new_log(logfile: str | None, umask: int, tmp_path: Path) -> None:
    """O-02: the log is there with its mode before twistd writes a byte of it, whatever the umask is."""
    before = os.umask(umask)
    try:
        Launcher(twistd(logfile=logfile)).make_log_private()
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert path.name == (logfile or "twistd.log")
    assert (mode_of(path), path.read_bytes()) == (0o600, b"")


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640, 0o604, 0o600])
def test_an_old_log(mode: int, tmp_path: Path) -> None:
    """O-02: a log that others could read is closed to them, and so are the logs that it was rotated to."""
    paths = [tmp_path / name for name in ("twistd.log", "twistd.log.1", "twistd.log.23")]
    other = tmp_path / "twistd.log.gz"
    for path in (*paths, other):
        path.write_text("old\n")
        path.chmod(mode)
    Launcher(twistd()).make_log_private()
    assert [mode_of(path) for path in paths] == [0o600] * 3
    assert mode_of(other) == mode
    assert paths[0].read_text() == "old\n"


@pytest.mark.parametrize(
    "options",
    [
        {"logfile": "-", "nodaemon": True},
        {"nodaemon": True},
        {"debug": True},
        {"syslog": True, "logfile": "x"},
        {"logger": print, "logfile": "x"},
        {"logfile": os.devnull},
    ],
)
def test_no_file(options: dict[str, Any], tmp_path: Path) -> None:
    """O-05: a log that goes elsewhere needs no file, and a device stays as it is."""
    before = os.stat(os.devnull)
    Launcher(twistd(**options)).make_log_private()
    assert list(tmp_path.iterdir()) == []
    assert os.stat(os.devnull).st_mode == before.st_mode


def test_a_log_in_the_foreground(tmp_path: Path) -> None:
    """O-02: a log that twistd writes in the foreground is no different."""
    Launcher(twistd(nodaemon=True, logfile="x.log")).make_log_private()
    assert mode_of(tmp_path / "x.log") == 0o600


def test_a_link(tmp_path: Path) -> None:
    """O-02: it is the file behind a symbolic link that others must not read; an old log that is a link is left."""
    target, other = tmp_path / "target", tmp_path / "other"
    for path in (target, other):
        path.write_text("")
        path.chmod(0o644)
    (tmp_path / "twistd.log").symlink_to(target)
    (tmp_path / "twistd.log.1").symlink_to(other)
    Launcher(twistd()).make_log_private()
    assert (mode_of(target), mode_of(other)) == (0o600, 0o644)


def test_a_folder_that_is_not_there() -> None:
    """The error names the file."""
    with pytest.raises(FileNotFoundError) as raised:
        Launcher(twistd(logfile="no/such.log")).make_log_private()
    assert raised.value.filename == "no/such.log"


@pytest.mark.parametrize(("uid", "refused"), [(None, True), (12345, False)])
def test_a_log_of_another_user(uid: int | None, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-02: another user's file is refused by name, unless it is the user that twistd becomes."""
    path = tmp_path / "twistd.log"
    path.touch(0o600)
    real_fstat = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        fields = list(real_fstat(descriptor))
        fields[stat.ST_UID] = 12345
        return os.stat_result(fields)

    monkeypatch.setattr("twisted_rsh.server.launcher.os.fstat", fstat)
    launcher = Launcher(twistd(uid=uid))
    if not refused:
        launcher.make_log_private()
        return
    with pytest.raises(LogProblem) as raised:
        launcher.make_log_private()
    line = f"{path} belongs to uid 12345, who could read the log; name another file with --logfile"
    assert str(raised.value) == line


def test_the_log_of_twist(tmp_path: Path) -> None:
    """O-02: twist has opened its log already; its standard streams are not touched."""
    path = tmp_path / "twist.log"
    with path.open("a") as log:
        path.chmod(0o644)
        Launcher({"logFile": log}).make_log_private()
    assert mode_of(path) == 0o600
    with path.open("a") as out, pytest.MonkeyPatch.context() as patch:
        path.chmod(0o644)
        patch.setattr(sys, "stdout", out)
        Launcher({"logFile": out}).make_log_private()
    assert mode_of(path) == 0o644


def test_no_launcher(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The server's own module has its log on the terminal, where a line is said once."""
    launcher = Launcher()
    launcher.make_log_private()
    assert not launcher.has_own_log
    assert not launcher.logs_the_start
    launcher.tell("a line \udcff")
    launcher.started()
    assert capfd.readouterr().err == "twisted-rsh: a line \\udcff\n"
    assert launcher.end_before_start(1).code == 1
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_of_a_daemon(capfd: pytest.CaptureFixture[str]) -> None:
    """O-09: a daemon's stderr is /dev/null; its first lines reach the terminal, which it then lets go."""
    before = len(os.listdir("/dev/fd"))
    launcher = Launcher(twistd())
    terminal = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        launcher.tell("one")
        launcher.started()
        launcher.started()
        launcher.tell("two")
    finally:
        os.dup2(terminal, 2)
        os.close(null)
        os.close(terminal)
    assert capfd.readouterr().err == "twisted-rsh: one\n"
    assert len(os.listdir("/dev/fd")) == before


def test_a_terminal_that_is_gone() -> None:
    """A line that cannot be written is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    launcher = Launcher()
    launcher._stderr = writing
    launcher.tell("a line")
    os.close(writing)


def test_a_start_that_fails(tmp_path: Path) -> None:
    """twistd's file of its process goes, and the twistd that waits is told."""
    (tmp_path / "twistd.pid").write_text("1")
    reading, writing = os.pipe()
    launcher = Launcher(twistd(pidfile="twistd.pid", statusPipe=writing))
    assert launcher.end_before_start(2).code == 2
    assert os.read(reading, 100).startswith(b"1 ")
    assert list(tmp_path.iterdir()) == []
    assert launcher.end_before_start(2).code == 2
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_the_exit_status() -> None:
    """The status holds although the program ends as if all were well, and nothing that it wrote is lost."""
    code = (
        "import sys; from twisted_rsh.server.launcher import Launcher; Launcher().end_with(7); sys.stdout.write('out');"
        "sys.exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out", b"")


INTERRUPTED = """
import os, runpy, signal, sys
from twisted_rsh.server.launcher import Launcher

NAME = sys.argv.pop()
FOLDER = sys.argv[2]
started = Launcher.started

def interrupted(launcher):
    run = os.path.join(FOLDER, "run")
    assert os.listdir(run), "the record is not written yet"
    os.kill(os.getpid(), signal.Signals[NAME])
    started(launcher)

Launcher.started = interrupted
runpy.run_module("twisted_rsh.server", run_name="__main__", alter_sys=True)
"""
"""A server that gets a signal when its record is written and its reactor does not run yet."""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_before_the_reactor_runs(tmp_path: Path, name: str) -> None:
    """O-09: the server stops as it does later: with status 0, without its record, and with no traceback."""
    arguments = ["--config-dir", str(tmp_path), "--port", "0", "--interface", "127.0.0.1", name]
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.returncode == 0
    assert not [entry for entry in (tmp_path / "run").iterdir() if entry.suffix == ".json"]
