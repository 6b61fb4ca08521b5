"""The thread with a table of descriptors of its own, which starts processes where there are many descriptors."""

from __future__ import annotations

import _thread
import ctypes
import errno
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel

from tests.execution.owners import asynchronous, check_output
from tests.link.wire import collecting_log
from tests.system.running import require
from twisted_rsh.execution.processes import descriptors, spawn, spawning_thread
from twisted_rsh.execution.processes.descriptors import FIRST_OWN
from twisted_rsh.execution.processes.spawning_thread import SpawningThread, find_spawning_thread

_NEVER = 1_000_000


@pytest.fixture
def own_thread() -> Iterator[None]:
    """Forget the thread of this process before and after a test."""
    found = spawning_thread._found
    before = found.copy()
    found.clear()
    yield
    for one in found:
        if one is not None:
            one._near.close()
    found[:] = before


@pytest.fixture(scope="module")
def thread() -> Iterator[SpawningThread]:
    """A thread."""
    try:
        thread = SpawningThread()
    except OSError as error:
        require(False, f"no thread can have descriptors of its own: {error}")
        raise
    yield thread
    thread._near.close()


def run(thread: SpawningThread, work: Any, actions: Sequence[tuple[Any, ...]] = ()) -> Any:
    """Do something in the thread, and return what comes of it."""
    results: list[Any] = []

    def start(translated: Sequence[tuple[Any, ...]]) -> int:
        results.append(work(translated))
        return 0

    thread.start(start, actions)
    return results[0]


@pytest.mark.usefixtures("thread")
@pytest.mark.parametrize(("count", "is_used"), [(-1, False), (0, True)])
@asynchronous
async def test_who_starts_a_process(monkeypatch: pytest.MonkeyPatch, count: int, is_used: bool) -> None:
    """From the bound on it is the thread that starts a process, below it this one."""
    starters: list[int] = []
    original = spawn._posix_spawn

    def note(*arguments: Any) -> int:
        starters.append(_thread.get_ident())
        return original(*arguments)

    monkeypatch.setattr(spawn, "_posix_spawn", note)
    monkeypatch.setattr(spawn, "count_descriptors", lambda _newest: spawn.MANY_DESCRIPTORS + count)
    assert await check_output(command="echo it runs") == b"it runs\n"
    assert [starter != _thread.get_ident() for starter in starters] == [is_used]


@pytest.mark.usefixtures("thread", "own_thread")
@asynchronous
async def test_many_real_descriptors() -> None:
    """A process with more descriptors than the bound starts a job, whose own are 0, 1 and 2."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = spawn.MANY_DESCRIPTORS + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(limits[0], wanted), limits[1]), limits[1]))
    pair = socket.socketpair()
    many = [os.dup(pair[0].fileno()) for _ in range(spawn.MANY_DESCRIPTORS)]
    try:
        os.close(many.pop(0))  # new descriptors get low numbers, and are not fewer for that
        listed = await check_output(command="for fd in /dev/fd/*; do echo ${fd##*/}; done | sort -n | head -3")
        assert listed.split() == [b"0", b"1", b"2"]
        assert await check_output(command="test -e /dev/fd/3 || echo none") == b"none\n"
        assert [type(found) for found in spawning_thread._found] == [SpawningThread]
    finally:
        for fd in many:
            os.close(fd)
        for end in pair:
            end.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_count_of_descriptors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is what the system tells, and otherwise about the number of the newest."""
    told = os.stat("/proc/self/fd").st_size
    if told:  # Linux 6.2
        assert descriptors.count_descriptors(5000) == told == len(os.listdir("/proc/self/fd")) - 1
    other = tmp_path / "empty"
    other.touch()
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda _path: stat(other))
    assert descriptors.count_descriptors(5000) == 5000
    other.unlink()
    assert descriptors.count_descriptors(5000) == 5000


def test_its_table(thread: SpawningThread) -> None:
    """It has the standard descriptors, and its end of a socket under all the numbers that a child may have."""
    end = run(thread, lambda _: os.fstat(3))
    listed = run(thread, lambda _: sorted(map(int, os.listdir("/proc/thread-self/fd"))))
    assert listed[:FIRST_OWN] == list(range(FIRST_OWN))
    assert len(listed) == FIRST_OWN + 2  # the socket itself, and the folder that was listed
    assert [run(thread, lambda _, n=n: os.fstat(n)) for n in range(3, FIRST_OWN)] == [end] * (FIRST_OWN - 3)


def test_descriptors_arrive(thread: SpawningThread) -> None:
    """Ours arrive as others that are open, and the child's own numbers stay; behind the call none is left."""
    reading, writing = descriptors.open_pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, 1, 2), (os.POSIX_SPAWN_CLOSE, 4)]

    def work(translated: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        os.write(translated[0][1], b"there")
        assert not os.get_inheritable(translated[0][1])
        return list(translated)

    before = run(thread, lambda _: os.listdir("/proc/thread-self/fd"))
    copied, *others = run(thread, work, actions)
    assert copied[0] == os.POSIX_SPAWN_DUP2
    assert copied[1] >= FIRST_OWN
    assert others == actions[1:]
    assert os.read(reading, 10) == b"there"
    os.close(writing)
    assert os.read(reading, 10) == b""  # no other copy of the writing end
    os.close(reading)
    assert run(thread, lambda _: os.listdir("/proc/thread-self/fd")) == before


def test_an_error_is_raised_here(thread: SpawningThread) -> None:
    """What the start raises is raised in the thread that has asked, and the next call works."""

    def fail(_actions: Sequence[tuple[Any, ...]]) -> int:
        raise FileNotFoundError(errno.ENOENT, "no such program")

    reading, writing = descriptors.open_pipe()
    for _ in range(20):
        with pytest.raises(FileNotFoundError, match="no such program"):
            thread.start(fail, [(os.POSIX_SPAWN_DUP2, writing, 1)])
    assert run(thread, lambda _: "works") == "works"
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_descriptors_of_an_interrupted_call(thread: SpawningThread) -> None:
    """Descriptors that a call before has left in the socket are dropped, and so is its outcome."""
    reading, writing = descriptors.open_pipe()
    socket.send_fds(thread._near, [spawning_thread._TAG.pack(_NEVER)], [writing])
    thread._outcomes.put((_NEVER, 5))
    os.close(writing)
    assert run(thread, lambda _: "works") == "works"
    assert thread.start(lambda _: 7, []) == 7
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_no_room_for_descriptors(thread: SpawningThread) -> None:
    """If not all descriptors of a child arrive, its start fails, and those that have are closed."""
    (reading, writing), (other, far) = descriptors.open_pipe(), descriptors.open_pipe()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FIRST_OWN + 1, limits[1]))  # room for one
    try:
        with pytest.raises(OSError, match="Too many open files"):
            thread.start(lambda _: 0, [(os.POSIX_SPAWN_DUP2, fd, 1) for fd in (writing, far)])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.close(writing)
    os.close(far)
    assert os.read(reading, 1) == os.read(other, 1) == b""
    os.close(reading)
    os.close(other)
    assert run(thread, lambda _: "works") == "works"


def test_signals_do_not_reach_it(thread: SpawningThread) -> None:
    """A handler of C, which writes to a descriptor by its number, never runs in the thread."""
    everything = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    assert run(thread, lambda _: signal.pthread_sigmask(signal.SIG_BLOCK, ())) >= everything
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_no_search_for_garbage_runs_in_it(thread: SpawningThread) -> None:
    """It would close descriptors of this process by their numbers; so it runs elsewhere, and is on again afterwards."""
    searched: list[int] = []

    def note(_phase: str, _info: dict[str, int]) -> None:
        searched.append(_thread.get_ident())

    threshold = gc.get_threshold()
    identity = run(thread, lambda _: _thread.get_ident())
    gc.callbacks.append(note)
    gc.set_threshold(1)
    try:
        for _ in range(300):
            run(thread, lambda _: [[] for _ in range(10)])
            assert gc.isenabled()
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(note)
    assert searched
    assert identity not in searched


def test_a_search_that_is_off_stays_off(thread: SpawningThread) -> None:
    """An application that searches by itself is left alone."""
    gc.disable()
    try:
        run(thread, lambda _: None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_callers_from_many_threads(thread: SpawningThread) -> None:
    """Calls of several threads follow each other, and each gets its own outcome."""
    wrong: list[int] = []

    def starting(number: int) -> spawning_thread.Start:
        return lambda _actions: number

    def call_many(first: int) -> None:
        reading, writing = descriptors.open_pipe()
        wrong.extend(
            number
            for number in range(first, first + 100)
            if thread.start(starting(number), [(os.POSIX_SPAWN_DUP2, writing, 1)]) != number
        )
        os.close(reading)
        os.close(writing)

    callers = [threading.Thread(target=call_many, args=(first,)) for first in (0, 1000, 2000, 3000)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []
    assert gc.isenabled()


class Library:
    """The C library of a sandbox that forbids the call, or in which it raises something unforeseen."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    def unshare(self, _flags: int) -> int:
        """Fail."""
        if self._error is not None:
            raise self._error
        ctypes.set_errno(errno.EPERM)
        return -1


@pytest.mark.usefixtures("own_thread")
@pytest.mark.parametrize(
    ("obstacle", "is_lasting"),
    [("no unshare", True), ("forbidden", True), ("unforeseen", True), ("no close_range", True), ("no thread", False)],
)
@asynchronous
async def test_without_the_thread(monkeypatch: pytest.MonkeyPatch, obstacle: str, is_lasting: bool) -> None:
    """Where the thread cannot be, this process starts its children itself, and no descriptor is left behind.

    It says so once, and tries again only where the reason may pass.
    """

    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    if obstacle == "no thread":
        monkeypatch.setattr(_thread, "start_new_thread", refuse)
    elif obstacle == "no close_range":
        monkeypatch.setattr(descriptors, "_close_range", None)
    else:
        libraries = {"no unshare": object(), "forbidden": Library(), "unforeseen": Library(MemoryError("none left"))}
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: libraries[obstacle])
    monkeypatch.setattr(spawn, "MANY_DESCRIPTORS", 0)
    before = len(os.listdir("/proc/self/fd"))
    with collecting_log() as logged:
        assert find_spawning_thread() is find_spawning_thread() is None
    assert len(os.listdir("/proc/self/fd")) == before
    assert spawning_thread._found == [None] * is_lasting
    assert len([event for event in logged if event["log_level"] is LogLevel.warn]) == is_lasting
    assert await check_output(command="echo it runs") == b"it runs\n"
    monkeypatch.undo()
    assert (find_spawning_thread() is None) == is_lasting


def test_after_a_fork() -> None:
    """A child of a fork, which has not the thread, gets one of its own."""
    code = """if True:
        import os
        from twisted_rsh.execution.processes.spawning_thread import find_spawning_thread
        first = find_spawning_thread()
        pid = os.fork()
        if pid == 0:
            own = find_spawning_thread()
            os._exit(0 if own is not first and own.start(lambda _: 5, []) == 5 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    # Python 3.12 warns of a fork in a process with more than one thread.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3])
    assert (done.stdout, done.stderr) == ("0\n", "")
