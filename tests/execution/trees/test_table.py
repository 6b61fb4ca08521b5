"""The reading of ``/proc``: the fields, the bounds, and how often it happens."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from tests.execution.real_trees import requires_proc
from twisted_rsh.execution.trees.table import (
    MAX_ENVIRONMENT_BYTES,
    MAX_LOOK_SHARE,
    SHARED_SECONDS,
    ProcessRecord,
    ProcessTable,
)

STAT = "7 (a ) R 0 (x) {state} 3 5 6 0 -1 0 0 0 0 0 {times} 20 0 1 0 {started} 9 {pages} 0\n"


def add_process(root: Path, pid: int, *, state: str = "S", started: int = 40, environment: bytes = b"") -> None:
    """Put a process into a folder that stands in for ``/proc``."""
    folder = root / str(pid)
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(STAT.format(state=state, times="10 20 300 400", started=started, pages=55))
    (folder / "environ").write_bytes(environment)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that stands in for ``/proc``, with one process and more that is none."""
    add_process(tmp_path, 7)
    add_process(tmp_path, 8)
    (tmp_path / "8").rename(tmp_path / "self")
    (tmp_path / "9").mkdir()
    (tmp_path / "meminfo").touch()
    return tmp_path


def test_record(root: Path) -> None:
    """A process is read whatever its name is; what has no status is no process."""
    table = ProcessTable(Clock(), str(root))
    assert table.is_supported
    assert table.records() == {7: ProcessRecord(7, 40, 3, 5, 6, False, 30, 700, 55)}


@pytest.mark.parametrize(("state", "is_dead"), [("R", False), ("D", False), ("T", False), ("Z", True), ("X", True)])
def test_dead(root: Path, state: str, is_dead: bool) -> None:
    """A zombie is dead, a stopped process is not."""
    add_process(root, 7, state=state)
    record = ProcessTable(Clock(), str(root)).read(7)
    assert record is not None
    assert record.is_dead == is_dead


def test_system_without_proc(tmp_path: Path) -> None:
    """A system without ``/proc`` is told apart."""
    assert not ProcessTable(Clock(), str(tmp_path)).is_supported


def test_looks_are_shared(root: Path) -> None:
    """One look answers all questions until it is too old, and a question may ask for a new one."""
    clock = Clock()
    table = ProcessTable(clock, str(root))
    table.records()
    clock.advance(SHARED_SECONDS)
    table.records()
    assert table.looks == 1
    clock.advance(0.001)
    table.records()
    assert table.looks == 2
    table.records(0)
    assert table.looks == 3
    clock.rightNow -= 100.0
    table.records()
    assert table.looks == 4, "a clock that was set back makes no look younger than it is"


class SlowClock(Clock):
    """A clock on which each question takes a second."""

    def seconds(self) -> float:
        """A second more than the last time."""
        self.rightNow += 1.0
        return float(self.rightNow)


def test_a_look_in_slices(root: Path) -> None:
    """F-08: a look is taken in slices; what it shows is there with its last, and none is taken while it is fresh."""
    for number in range(100, 120):
        folder = root / str(number)
        folder.mkdir()
        (folder / "stat").write_bytes((root / "7" / "stat").read_bytes())
    clock = SlowClock()
    table = ProcessTable(clock, str(root))
    slices = 1
    while not table.prepare(0.0):
        assert table.looks == 0
        slices += 1
        assert slices < 100
    assert slices > 20
    assert table.prepare(0.0)
    assert len(table.records()) == 21
    assert table.looks == 1
    assert not table.prepare(clock.seconds()), "a look that began earlier does not do"


def test_looks_take_a_part_of_the_time(root: Path) -> None:
    """Where a look takes long, the next comes later."""
    clock = SlowClock()
    table = ProcessTable(clock, str(root))
    table.records()
    finished, cost = clock.rightNow, table._cost
    while table.looks == 1:
        asked = clock.rightNow + 1.0
        table.records()
    assert cost > 1.0
    assert asked - finished > cost / MAX_LOOK_SHARE


def test_mark(root: Path) -> None:
    """The mark is one variable of the environment, and a process is asked once."""
    table = ProcessTable(Clock(), str(root))
    record = table.records()[7]
    assert table.mark_of(record) is None, "an environment that cannot be read yet"
    add_process(root, 7, environment=b"A=TWISTED_RSH_JOB=x\0TWISTED_RSH_JOB=ab=c\0")
    assert table.mark_of(record) == b"ab=c"
    add_process(root, 7, environment=b"A=b\0")
    assert table.mark_of(record) == b"ab=c"
    add_process(root, 8, environment=b"A=b\0")
    assert table.mark_of(table.records(0)[8]) is None
    add_process(root, 8, started=41, environment=b"TWISTED_RSH_JOB=d\0")
    assert table.mark_of(table.records(0)[8]) == b"d"
    (root / "7" / "stat").unlink()
    table.records(0)
    assert list(table._marks) == [(8, 41)], "a process that is gone is forgotten, although another has its number"


@pytest.mark.parametrize("surplus", [0, 1])
def test_environment_is_bounded(root: Path, surplus: int) -> None:
    """An environment is searched up to its bound and no further."""
    entry = b"TWISTED_RSH_JOB=mark"
    padding = MAX_ENVIRONMENT_BYTES - len(entry) + surplus
    add_process(root, 7, environment=b"A" * (padding - 1) + b"\0" + entry)
    table = ProcessTable(Clock(), str(root))
    mark = table.mark_of(table.records()[7])
    assert mark == (b"mar" if surplus else b"mark")


def test_unreadable(root: Path) -> None:
    """A process that goes away while it is read is not there."""
    (root / "7" / "stat").unlink()
    (root / "7" / "stat").mkdir()
    assert ProcessTable(Clock(), str(root)).records() == {}


@pytest.mark.parametrize("call", ["listdir", "open"])
def test_no_descriptor_to_look_with(root: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """R-06: while the machine has no descriptor left, the last look answers, and none that leaves out processes."""
    clock = Clock()
    table = ProcessTable(clock, str(root))
    seen = table.records()
    add_process(root, 10)
    clock.advance(10.0)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        assert table.prepare(clock.seconds()), "to wait for it in each turn would hold the reactor"
        was_blind = table.is_blind
        assert table.records() == seen
        assert table.looked_at == 0.0
    assert table.prepare(clock.seconds())
    assert (was_blind, table.is_blind) == (True, False)
    assert set(table.records()) == {7, 10}


def test_children_of_all_threads(root: Path) -> None:
    """The children of each thread are this process's, and their list may be long."""
    for thread, children in (("7", range(10, 5000)), ("8", range(1, 3))):
        (root / "self" / "task" / thread).mkdir(parents=True)
        (root / "self" / "task" / thread / "children").write_text(" ".join(map(str, children)) + " ")
    (root / "self" / "task" / "9").mkdir()
    assert ProcessTable(Clock(), str(root)).children() == {1, 2, *range(10, 5000)}


@requires_proc
def test_threads() -> None:
    """A process of one thread is told from one of two, and the children of both threads are found."""
    lines = [
        "import subprocess, threading, sys",
        "def start(): subprocess.Popen(['sleep', '60']); print(flush=True); sys.stdin.read()",
        "print(flush=True); input()",
        "threading.Thread(target=start, daemon=True).start(); threading.Event().wait()",
    ]
    table = ProcessTable(Clock())
    argv = [sys.executable, "-I", "-c", "\n".join(lines)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        assert table.is_single(process.pid)
        assert table.children(process.pid) == set()
        process.stdin.write(b"\n")
        process.stdout.readline()
        assert not table.is_single(process.pid)
        children = table.children(process.pid)
        for pid in (*children, process.pid):
            os.kill(pid, signal.SIGKILL)
    assert len(children) == 1
    with pytest.raises(FileNotFoundError):
        table.is_single(process.pid)


@requires_proc
def test_this_machine() -> None:
    """The real thing: this process and a child of it, with what it was given."""
    table = ProcessTable(Clock())
    environment = {"TWISTED_RSH_JOB": "abc", "LONG": "x" * 100_000}
    argv = [sys.executable, "-S", "-c", "print(flush=True); input()"]
    with subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        record = table.records()[child.pid]
        assert (record.parent, record.group, record.session) == (os.getpid(), os.getpgrp(), os.getsid(0))
        assert record.resident_pages > 0
        assert not record.is_dead
        assert table.mark_of(record) == b"abc"
        assert child.pid in table.children()
        child.communicate(b"\n")
    assert table.read(child.pid) is None
    assert table.children() == set() or child.pid not in table.children()
