"""Starting a process: its folder, its descriptors, its environment."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.owners import asynchronous, check_output, open_descriptors, run_job
from tests.execution.processes.recorder import end_of, shell, start, start_on_terminal
from twisted_rsh.core.endings import Exited
from twisted_rsh.execution.processes import descriptors, spawn

_LISTING = "fd=0; while [ $fd -lt 256 ]; do if [ -e /dev/fd/$fd ]; then echo $fd; fi; fd=$((fd + 1)); done"
"""Lists a process's descriptors; to list the folder would open another one."""


NOBODY = 65_534
"""A user who owns nothing."""


@pytest.fixture(autouse=True, params=["with few descriptors", "with many"])
def _descriptors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many, a thread of its own starts the process; nothing else differs."""
    if request.param == "with many":
        monkeypatch.setattr(spawn, "MANY_DESCRIPTORS", 0)


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
@pytest.mark.parametrize("given", [{"A": "b"}, {"OLDPWD": "/"}, {"BASH_FUNC_f%%": "() { :; }"}])
@asynchronous
async def test_environment_with_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    """The shell that enters the folder tells the program nothing of the folder before, and loses no variable."""

    async def variables() -> set[bytes]:
        found = (await run_job("env", "-0", cwd=str(tmp_path), environment=given)).stdout.split(b"\0")
        # Each job has a mark of its own, and bash always adds these two.
        return {one for one in found if not one.startswith((b"TWISTED_RSH_", b"SHLVL=", b"_="))}

    entered = await variables()
    monkeypatch.chdir(tmp_path)
    expected = await variables()
    if "OLDPWD" in given:  # where it is wanted, it is what a shell makes of it
        entered, expected = ({one.split(b"=")[0] for one in names} for names in (entered, expected))
    assert entered == expected


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
async def test_a_folder_of_our_own_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose own working folder was closed to it starts jobs in theirs all the same."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    folder = tmp_path / "closed"
    folder.mkdir(0o700)
    monkeypatch.chdir(folder)
    is_root = os.geteuid() == 0
    try:
        if is_root:  # whom no mode keeps out
            os.seteuid(NOBODY)
        else:
            folder.chmod(0)
        with pytest.raises(PermissionError):
            os.stat(".")
        output = await check_output("/bin/pwd", cwd="/")
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)
    assert output == b"/\n"


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
            assert descriptors.closing_actions() == descriptors.closing_actions([2, 0, 1]) == [(99, 3)]
            closed = [(os.POSIX_SPAWN_CLOSE, fd) for fd in (3, 5, 6, 7)]
            assert descriptors.closing_actions([0, 1, 2, 4, 8]) == [*closed, (99, 9)]
            return
    elif way != "the best":
        monkeypatch.delattr(os, "POSIX_SPAWN_CLOSEFROM", raising=False)
        refuse = None if way == "one by one" else lambda first, last, flags: -1
        monkeypatch.setattr(descriptors, "_close_range", refuse)
        assert (os.POSIX_SPAWN_CLOSE, canary) in descriptors.closing_actions()
    listed = await check_output(command=_LISTING)
    assert listed.split() == [b"0", b"1", b"2"]


@pytest.mark.parametrize("way", ["the best", "one by one"])
def test_inherited_descriptors(way: str) -> None:
    """X-12: a process sees what it is given beside its streams, wherever we have it, and nothing else of ours."""
    code = f"""if True:
        import fcntl, os
        from tests.execution.processes.recorder import shell
        from twisted_rsh.execution.processes import descriptors
        from twisted_rsh.execution.processes import spawn
        if {way == "one by one"}:
            vars(os).pop("POSIX_SPAWN_CLOSEFROM", None)
            descriptors._close_range = None
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in os.pipe()]
        # Ours at the very numbers that the child has for something else; 8 and 9 every child would inherit.
        for fd in range(3, 10):
            os.dup2(ends[fd == 4], fd, inheritable=fd > 7)
        os.closerange(10, 30)
        before = sorted(os.listdir("/dev/fd"))
        spawned = spawn.spawn(shell({_LISTING!r} + "; read x <&4; echo $x; echo answer >&7; cat"), input_at=None,
                              inherited={{4: 7, 7: 4, 8: 5}})
        assert (spawned.stdin, spawned.terminal) == (None, None)
        os.write(4, b"line\\n")
        assert os.waitpid(spawned.pid, 0)[1] == 0
        assert os.read(5, 100) == b"answer\\n"
        print(os.read(spawned.stdout, 100), os.read(spawned.stderr, 100))
        os.close(spawned.stdout)
        os.close(spawned.stderr)
        assert sorted(os.listdir("/dev/fd")) == before
    """
    result = subprocess.run(
        [sys.executable, "-c", code],
        input="not the child's",
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert (result.stdout, result.stderr) == ("b'0\\n1\\n2\\n4\\n7\\n8\\nline\\n' b''\n", "")


@asynchronous
async def test_process_without_input() -> None:
    """A process that is given no input finds nothing there, never an input of this process's, and takes none."""
    protocol, process = start("cat; exit 5", input_at=None)
    process.write(b"dropped")
    process.closeStdin()
    process.discard_input()
    assert (await end_of(protocol)).exitCode == 5
    assert protocol.output[1] == b""


@asynchronous
async def test_input_at_another_number() -> None:
    """The input may be at another number than 0, also without a terminal; a low number of ours is no obstacle."""
    protocol, process = start("test -e /dev/fd/9 && cat <&8", input_at=8, inherited={9: 0})
    process.write(b"text")
    process.closeStdin()
    await end_of(protocol)
    assert protocol.output[1] == b"text"


@asynchronous
async def test_error_output_at_another_number() -> None:
    """The error output may be at another number than 2, which then is what the child inherits there."""
    null = os.open(os.devnull, os.O_WRONLY)
    protocol, _ = start("echo seen >&8; echo hidden >&2", input_at=None, error_at=8, inherited={2: null})
    os.close(null)
    await end_of(protocol)
    assert protocol.output[2] == b"seen\n"


@asynchronous
async def test_terminal_without_an_input() -> None:
    """A terminal may be the output alone; it is the child's controlling terminal all the same."""
    protocol, _ = start_on_terminal("test -t 0 || echo no input; echo here >/dev/tty", input_at=None)
    await end_of(protocol)
    assert protocol.output[1] == b"no input\r\nhere\r\n"


@pytest.mark.parametrize(
    ("input_at", "inherited"),
    [(1, {}), (2, {}), (10, {}), (-1, {}), (0, {0: 0}), (8, {8: 0}), (0, {1: 0}), (0, {10: 0}), (0, {-1: 0})],
)
def test_numbers_that_cannot_be(input_at: int, inherited: dict[int, int]) -> None:
    """A number above 9, or given twice, is refused before anything is opened."""
    before = open_descriptors()
    with pytest.raises(ValueError, match="different numbers below 10"):
        spawn.spawn(shell("exit 0"), input_at=input_at, inherited=inherited)
    with pytest.raises(ValueError, match="different numbers below 10"):
        spawn.spawn(shell("exit 0"), error_at=input_at, inherited={0: 0, **inherited, 9: 0, 3: 0, input_at: 0})
    assert open_descriptors() == before


@pytest.mark.parametrize("on_terminal", [False, True])
@asynchronous
async def test_signals_at_their_defaults(on_terminal: bool) -> None:
    """X-14: a process finds every signal at its default and none blocked, whatever this process ignores."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("this system does not show a process's signals")
    ignored = (signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR2)
    before = [signal.signal(number, signal.SIG_IGN) for number in ignored]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        protocol, process = (start_on_terminal if on_terminal else start)("exec grep Sig /proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, was in zip(ignored, before, strict=True):
            signal.signal(number, was)
    process.closeStdin()
    await end_of(protocol)
    shown = dict(line.split() for line in protocol.output[1].decode().splitlines())
    assert int(shown["SigBlk:"], 16) == 0
    # glibc ignores two more, for threads; no program can use them.
    usable = sum(1 << (number - 1) for number in signal.valid_signals())
    assert int(shown["SigIgn:"], 16) & usable == 0


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
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3]
    )
    assert result.stdout == "(b'in\\n', b'err\\n')"


@pytest.mark.parametrize("moved", [0, 1])
def test_pipe_that_cannot_be_moved(monkeypatch: pytest.MonkeyPatch, moved: int) -> None:
    """When a pipe must be moved and no descriptor is left, both of its ends are closed."""
    closed: list[int] = []

    def move(fd: int, command: int, argument: int) -> int:
        if fd == moved:
            raise OSError(errno.EMFILE, "Too many open files")
        return 50

    monkeypatch.setattr(os, "pipe", lambda: (0, 1))
    monkeypatch.setattr(os, "close", closed.append)
    monkeypatch.setattr(fcntl, "fcntl", move)
    with pytest.raises(OSError, match="Too many open files"):
        descriptors.open_pipe()
    monkeypatch.undo()
    assert sorted(closed) == [[0, 1], [0, 1, 50]][moved]


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
