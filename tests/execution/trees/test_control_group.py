"""The control group of a server: finding it, dividing it, and what dies with it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.execution.owners import asynchronous, reactor, until
from tests.execution.real_trees import is_alive, program, requires_proc, stand_in_job
from tests.execution.trees.control_groups import why_unavailable
from twisted_rsh.execution.trees import trees as job_trees_module
from twisted_rsh.execution.trees.control_group import DOOMED, GROUP_PREFIX, ControlGroup, ControlGroupUnavailable
from twisted_rsh.execution.trees.table import ProcessTable
from twisted_rsh.execution.trees.trees import JobTrees

MOUNTS = """\
23 1 254:0 / / rw,relatime - ext4 /dev/root rw
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:31 {root} {folder} rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
"""
"""``/proc/self/mountinfo`` of a machine with old and new control groups side by side."""

GONE = 1 << 25
"""A process id that no process has."""


class Machine:
    """A folder that stands in for ``/proc`` and for a mounted cgroup v2."""

    def __init__(self, folder: Path) -> None:
        self.mounted = folder / "cgroup two"
        self.proc = folder / "proc"
        (self.proc / "self").mkdir(parents=True)
        self.mounted.mkdir()
        self.describe()

    def describe(self, own: str = "0::/", root: str = "/") -> None:
        """Say which group this process is in, and which part of the hierarchy is mounted."""
        mounts = MOUNTS.format(root=root, folder=str(self.mounted).replace(" ", "\\040"))
        (self.proc / "self" / "cgroup").write_text(f"4:memory:/old\n{own}\n")
        (self.proc / "self" / "mountinfo").write_text(mounts)

    def group(self, name: str = "") -> Path:
        """Make a group."""
        folder = self.mounted / name if name else self.mounted
        folder.mkdir(exist_ok=True, parents=True)
        (folder / "cgroup.procs").touch()
        return folder

    def control_group(self) -> ControlGroup:
        """The control group of a server on this machine."""
        return ControlGroup(str(self.proc))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with cgroup v2 whose root group is ours."""
    machine = Machine(tmp_path)
    machine.group()
    return machine


@pytest.mark.parametrize(
    ("own", "root", "name"),
    [
        ("0::/", "/", ""),
        ("0::/user.slice/a b.service", "/", "user.slice/a b.service"),
        ("0::/docker/abc", "/docker/abc", ""),
        ("0::/docker/abc/x", "/docker/abc", "x"),
    ],
)
def test_own_group(machine: Machine, own: str, root: str, name: str) -> None:
    """The group is made inside of the one that the process is in, wherever that is mounted."""
    outer = machine.group(name)
    machine.describe(own, root)
    group = machine.control_group()
    path = Path(group.create())
    assert path.parent == outer
    assert path.name.startswith(f"{GROUP_PREFIX}{os.getpid()}-")
    assert path.is_dir()
    assert group.path == str(path)


@pytest.mark.parametrize(
    ("own", "root"),
    [
        ("1:name=systemd:/", "/"),
        ("0::/../elsewhere", "/"),
        ("0::/gone (deleted)", "/"),
        ("0::/docker/abcd", "/docker/abc"),
    ],
)
def test_no_own_group(machine: Machine, own: str, root: str) -> None:
    """A process that is in no group of cgroup v2, or in one that is not shown, gets none."""
    machine.describe(own, root)
    with pytest.raises(ControlGroupUnavailable, match="this system shows no cgroup v2"):
        machine.control_group().create()


def test_no_control_groups(machine: Machine, tmp_path: Path) -> None:
    """A system without cgroup v2, and one without /proc, is told in one line."""
    (machine.proc / "self" / "mountinfo").write_text(MOUNTS.format(root="/", folder="/x").replace("cgroup2", "other"))
    for proc in (machine.proc, tmp_path / "none"):
        with pytest.raises(ControlGroupUnavailable, match="this system shows no cgroup v2"):
            ControlGroup(str(proc)).create()


@pytest.mark.parametrize("missing", ["", "/cgroup.procs"])
def test_not_delegated(machine: Machine, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """A group that this user may not divide, or move processes in, is left as it is, and named."""
    refused = f"{machine.mounted}{missing}"
    monkeypatch.setattr(os, "access", lambda path, mode: path != refused)
    with pytest.raises(ControlGroupUnavailable) as caught:
        machine.control_group().create()
    assert str(caught.value) == f"{machine.mounted} is not delegated to this user (systemd: Delegate=yes)"
    assert os.listdir(machine.mounted) == ["cgroup.procs"]


def test_no_more_groups(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that may have no more inside of it is told by the system's own words."""

    def fail(path: str, mode: int) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable", path)

    monkeypatch.setattr(os, "mkdir", fail)
    group = machine.control_group()
    with pytest.raises(ControlGroupUnavailable, match="cgroup two: Resource temporarily unavailable"):
        group.create()
    assert group.path is None
    group.leave()


def test_left_over_groups(machine: Machine) -> None:
    """X-10: the empty groups of servers that are gone are removed; those of living servers, and all others, stay."""
    for name in (f"{GROUP_PREFIX}{GONE}-a/{DOOMED}", f"{GROUP_PREFIX}{os.getpid()}-b/{DOOMED}", "other"):
        (machine.mounted / name).mkdir(parents=True)
    in_use = machine.mounted / f"{GROUP_PREFIX}{GONE}-c"
    in_use.mkdir()
    (in_use / "cgroup.procs").touch()
    (machine.proc / str(os.getpid())).mkdir()
    path = machine.control_group().create()
    left = {"cgroup.procs", "other", f"{GROUP_PREFIX}{os.getpid()}-b", in_use.name, os.path.basename(path)}
    assert set(os.listdir(machine.mounted)) == left
    assert os.path.isdir(machine.mounted / f"{GROUP_PREFIX}{os.getpid()}-b" / DOOMED)


def test_enter_and_leave(machine: Machine) -> None:
    """The process moves in and out again, and the group goes when nothing is in it."""
    group = machine.control_group()
    path = Path(group.create())
    (path / "cgroup.procs").touch()
    assert group.enter() == str(path)
    assert (path / "cgroup.procs").read_text() == "0"
    (path / "cgroup.procs").unlink()  # the kernel's own files do not keep a folder
    group.leave()
    assert (machine.mounted / "cgroup.procs").read_text() == "0"
    assert not path.exists()
    group.leave()


def test_must_not_enter(machine: Machine) -> None:
    """A process that may not move says why, and leaves no group behind."""
    group = machine.control_group()
    path = group.create()
    with pytest.raises(ControlGroupUnavailable, match=f"{path}: No such file or directory"):
        group.enter()
    assert os.listdir(machine.mounted) == ["cgroup.procs"]


def test_nothing_to_kill_with(machine: Machine) -> None:
    """A kernel that cannot kill a group, and a server without one, kills nothing and says nothing."""
    table = ProcessTable(Clock())
    group = machine.control_group()
    group.kill({GONE: 1}, table)
    path = group.create()
    group.kill({GONE: 1}, table)
    group.kill({GONE: 1}, table)
    assert os.listdir(path) == [DOOMED]
    group.leave()
    assert os.listdir(machine.mounted) == ["cgroup.procs"]


@pytest.fixture
def doomed() -> Iterator[subprocess.Popen[bytes]]:
    """A process to be killed."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def started(pid: int) -> int:
    """When a process started."""
    record = ProcessTable(Clock()).read(pid)
    assert record is not None
    return record.started


@pytest.fixture
def group() -> Iterator[ControlGroup | None]:
    """A real control group that this process is in, or ``None`` where there is none to be had."""
    if why_unavailable() is not None:
        yield None
        return
    group = ControlGroup()
    group.create()
    group.enter()
    yield group
    group.leave()


@requires_proc
def test_kill(group: ControlGroup | None, doomed: subprocess.Popen[bytes]) -> None:
    """X-15: a process in the group is killed; one that only has the number of another, and one that is gone, is not."""
    pid = doomed.pid
    table = ProcessTable(Clock())
    if group is None:
        ControlGroup().kill({pid: started(pid)}, table)
        assert doomed.poll() is None, "without a group nothing is killed"
        return
    group.kill({pid: started(pid) + 1, GONE: 1}, table)
    with pytest.raises(subprocess.TimeoutExpired):
        doomed.wait(0.1)
    group.kill({pid: started(pid)}, table)
    assert doomed.wait() == -signal.SIGKILL


@requires_proc
@asynchronous
async def test_second_kill(group: ControlGroup | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """P13: what a SIGKILL does not reach, as when it has become another user, is killed by the group at the next."""
    trees = JobTrees(reactor, control_group=group)
    with stand_in_job(reactor, trees, "/bin/sleep", "600") as job:
        with monkeypatch.context() as patch:

            def not_permitted(*arguments: object) -> None:
                raise PermissionError

            patch.setattr(os, "killpg", not_permitted)
            patch.setattr(signal, "pidfd_send_signal", not_permitted)
            assert job.tree.signal(signal.SIGKILL)
            assert is_alive(job.pid)
            assert job.tree.signal(signal.SIGKILL)
        if group is None:
            assert is_alive(job.pid), "without a group there is no other way"
        else:
            await until(lambda: bool(job.reports))


@pytest.mark.real
@requires_proc
@pytest.mark.parametrize("again", [(), ("again",)], ids=["first", "second"])
@asynchronous
async def test_server_is_killed(again: tuple[str, ...]) -> None:
    """X-10: in a control group nothing is left of the jobs that ran, not what has left its session and its environment.

    So it is when the guardian was killed before.  What jobs that had ended by themselves left behind is left alone.
    """
    reason = why_unavailable()
    argv = [sys.executable, "-m", "tests.execution.trees.server_stand_in", "jobs", "cgroup", *again]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        pids, wiped, left = told["pids"], told["pids"][5], told["left"]
        assert all(map(is_alive, pids + left))
        assert (told["group"] is None) == (reason is not None)
        os.kill(server.pid, signal.SIGKILL)
        try:
            if told["group"] is not None:
                # A guardian in the group would be one of those that it ends.
                own = Path(f"/proc/{told['guardian']}/cgroup")
                await until(lambda: os.path.basename(told["group"]) not in own.read_text())
            await until(lambda: not is_alive(told["guardian"]))
            assert [pid for pid in pids if is_alive(pid)] == ([] if reason is None else [wiped])
            assert all(map(is_alive, left))
        finally:
            for pid in filter(is_alive, pids + left):
                os.kill(pid, signal.SIGKILL)
    if told["group"] is not None:
        await until(lambda: not any(map(is_alive, left)))
        assert os.path.isdir(told["group"]), "something still ran in it"
        group = ControlGroup()
        group.create()
        assert not os.path.exists(told["group"])
        group.leave()


@requires_proc
@asynchronous
async def test_server_that_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server says whether its jobs are in a group, and leaves it when it stops."""
    monkeypatch.setattr(job_trees_module, "become_subreaper", lambda: True)
    reason = why_unavailable()
    with open("/proc/self/cgroup") as file:
        before = file.read()
    trees = JobTrees(reactor, owns_process=True, control_group=ControlGroup())
    with capturedLogs() as logged:
        trees.start()
    try:
        [event] = logged
        with stand_in_job(reactor, trees, *program()) as job, open(f"/proc/{job.number()}/cgroup") as file:
            inside = file.read()
    finally:
        trees.stop()
    with open("/proc/self/cgroup") as file:
        assert file.read() == before
    if reason is None:
        assert event["log_format"] == "the jobs are in the control group {folder}; {bounds}"
        assert os.path.basename(event["folder"]) in inside
        await until(lambda: not os.path.exists(event["folder"]))
    else:
        assert event["log_format"] == "the jobs have no control group: {reason}"
        assert str(event["reason"]) == reason
        assert inside == before


def test_server_that_may_not_enter(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that can make a group and not enter it runs without, and says so once."""
    trees = JobTrees(reactor, control_group=machine.control_group())
    with capturedLogs() as logged:
        trees.start()
        trees.stop()
    [event] = logged
    assert event["log_format"] == "the jobs have no control group: {reason}"
    assert os.listdir(machine.mounted) == ["cgroup.procs"]


def test_server_without_control_groups(tmp_path: Path) -> None:
    """A server on a system without control groups runs, and says so once."""
    trees = JobTrees(reactor, control_group=ControlGroup(str(tmp_path)))
    with capturedLogs() as logged:
        trees.start()
        trees.stop()
    [event] = logged
    assert event["log_format"] == "the jobs have no control group: {reason}"
    assert str(event["reason"]) == "this system shows no cgroup v2"
