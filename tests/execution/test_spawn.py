"""Starting a process: its folder, its descriptors, its environment."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.owners import asynchronous, check_output, run_job
from twisted_rsh.core.endings import Exited
from twisted_rsh.execution import descriptors, spawn


@pytest.fixture
def other_thread() -> Iterator[None]:
    """Another thread of this process, which would notice a change of folder."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.fixture
def canary() -> Iterator[int]:
    """A descriptor of this process's that a child would inherit."""
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    yield fd
    os.close(fd)


@asynchronous
async def test_folder_without_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread the folder is entered around the spawn, and this process is back where it was."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    before = Path.cwd()
    assert await check_output("/bin/pwd", cwd=str(tmp_path)) == f"{tmp_path}\n".encode()
    assert Path.cwd() == before


@pytest.mark.usefixtures("other_thread")
@asynchronous
async def test_folder_with_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more threads a shell enters the folder, whatever its name and the arguments look like."""

    def forbidden(path: bytes) -> None:
        pytest.fail("this process's folder was changed under another thread")

    monkeypatch.setattr(os, "chdir", forbidden)
    folder = tmp_path / "-a $(b) 'c' \n"
    folder.mkdir()
    assert await check_output("/bin/pwd", cwd=str(folder)) == f"{folder}\n".encode()
    words = ("", "a b", "$HOME", "'\"\\", "-n", "*")
    expected = "".join(f"{word}|" for word in words).encode()
    assert await check_output("printf", "%s|", *words, cwd=str(folder)) == expected


@pytest.mark.usefixtures("other_thread")
@asynchronous
async def test_script_with_threads(tmp_path: Path) -> None:
    """A script whose interpreter exists runs, as does a program that may be executed and not read."""
    path = tmp_path / "script"
    path.write_text("#! /bin/sh -e\necho $1\n")
    path.chmod(0o755)
    assert await check_output(str(path), "x", cwd=str(tmp_path)) == b"x\n"
    assert spawn._head(b"/no/such/file") is None
    spawn._check_interpreter(b"/no/such/file")


@asynchronous
async def test_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job in this process's own folder needs no change of folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(os, "fchdir")
    assert await check_output("/bin/pwd", cwd=str(tmp_path)) == f"{tmp_path}\n".encode()
    assert not spawn._is_current(b"/no/such/folder")


@asynchronous
async def test_folder_is_restored_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed spawn leaves this process where it was."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    before = Path.cwd()
    (tmp_path / "empty").touch(0o755)
    owner = await run_job("./empty", cwd=str(tmp_path))
    assert (owner.stderr, owner.ending) == (b"", Exited(0))
    assert Path.cwd() == before


@pytest.mark.parametrize("way", ["the best", "one by one", "close_range fails", "in the child"])
@asynchronous
async def test_descriptors(monkeypatch: pytest.MonkeyPatch, canary: int, way: str) -> None:
    """X-12: a job sees 0, 1 and 2 only, also when this process holds a descriptor that children inherit."""
    if way == "in the child":
        if not hasattr(os, "POSIX_SPAWN_CLOSEFROM"):
            monkeypatch.setattr(os, "POSIX_SPAWN_CLOSEFROM", 99, raising=False)
            assert descriptors.closing_actions() == [(99, 3)]
            return
    elif way != "the best":
        monkeypatch.delattr(os, "POSIX_SPAWN_CLOSEFROM", raising=False)
        refuse = None if way == "one by one" else lambda first, last, flags: -1
        monkeypatch.setattr(descriptors, "_close_range", refuse)
        assert (os.POSIX_SPAWN_CLOSE, canary) in descriptors.closing_actions()
    # To list the folder would open another descriptor.
    listed = await check_output(
        command="fd=0; while [ $fd -lt 256 ]; do if [ -e /dev/fd/$fd ]; then echo $fd; fi; fd=$((fd + 1)); done"
    )
    assert listed.split() == [b"0", b"1", b"2"]


def test_close_range_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without close_range(2) is no obstacle."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert descriptors._find_close_range() is None


def test_pipe_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that came out too low is moved up, and still no child inherits it."""
    low = os.dup(0)
    os.close(low)
    monkeypatch.setattr(descriptors, "FIRST_OWN", 200)
    ends = descriptors.open_pipe()
    assert min(ends) >= 200
    assert not any(os.get_inheritable(fd) for fd in ends)
    os.write(ends[1], b"x")
    assert os.read(ends[0], 2) == b"x"
    for fd in ends:
        os.close(fd)
    assert os.dup(0) == low
    os.close(low)


def test_closed_standard_descriptors() -> None:
    """A server whose own 0, 1 and 2 are closed gives its jobs all three."""
    code = """if True:
        import os, sys
        from twisted.internet import reactor
        from tests.execution.owners import RecordingOwner, start_job
        report = os.dup(1)
        for fd in (0, 1, 2):
            os.close(fd)
        owner = RecordingOwner()
        job = start_job(owner, command="cat; echo err >&2")
        job.write_input(b"in\\n")
        job.end_input()
        owner.finished().addBoth(lambda _: reactor.stop())
        reactor.run()
        os.write(report, repr((owner.stdout, owner.stderr)).encode())
        os._exit(0)
    """
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2]
    )
    assert result.stdout == "(b'in\\n', b'err\\n')"


def test_pipe_that_cannot_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a pipe must be moved and no descriptor is left, both of its ends are closed."""
    closed: list[int] = []

    def fail(fd: int, command: int, argument: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pipe", lambda: (0, 1))
    monkeypatch.setattr(os, "close", closed.append)
    monkeypatch.setattr(fcntl, "fcntl", fail)
    with pytest.raises(OSError, match="Too many open files"):
        descriptors.open_pipe()
    monkeypatch.undo()
    assert closed == [0, 1]


@asynchronous
async def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """X-13: a job has the account's environment and the request's additions, and nothing of the server's."""
    monkeypatch.setenv("CANARY", "secret")
    owner = await run_job("env", environment={"ADDED": "ä 1"})
    lines = owner.stdout.decode().splitlines()
    assert "ADDED=ä 1" in lines
    names = {line.partition("=")[0] for line in lines}
    assert {"ADDED", "HOME", "USER", "LOGNAME", "SHELL", "PATH"} <= names
    assert "CANARY" not in names
