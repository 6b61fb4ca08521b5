"""The control group of a job with bounds: its files, and what becomes of a job in it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from tests.execution.owners import RecordingOwner, asynchronous, reactor, until
from tests.execution.real_trees import DAEMON, is_alive, requires_proc
from tests.execution.trees.control_groups import why_unavailable
from tests.execution.trees.test_control_group import Machine
from twisted_rsh.core.endings import Limit, LimitReached
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.processes import spawn as spawn_module
from twisted_rsh.execution.processes.spawn import SpawnPlan, spawn
from twisted_rsh.execution.trees import control_group
from twisted_rsh.execution.trees import trees as trees_module
from twisted_rsh.execution.trees.control_group import GUARDIAN, ControlGroup
from twisted_rsh.execution.trees.job_group import JobGroup
from twisted_rsh.execution.trees.limits import SAMPLE_SECONDS, UsageLimits
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.execution.user import LocalUser

FILES = {
    "cgroup.procs": "",
    "cgroup.kill": "",
    "cgroup.events": "populated 0\nfrozen 0\n",
    "cpu.stat": "usage_usec 0\nuser_usec 0\nsystem_usec 0\n",
    "memory.max": "max\n",
    "memory.swap.max": "max\n",
    "memory.oom.group": "0\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    "pids.max": "max\n",
    "pids.events": "max 0\n",
}
"""What the kernel puts into a new group."""

EVERY = (Limit.PROCESSES, Limit.MEMORY)


def fill(folder: str | Path) -> None:
    """Put the kernel's files into a group."""
    for name, text in FILES.items():
        (Path(folder) / name).write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a group with both controllers."""
    fill(tmp_path)
    return tmp_path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine that has both controllers, whose group is delegated, and whose kernel makes and removes groups."""
    machine = Machine(tmp_path)
    machine.group()
    (machine.mounted / "cgroup.events").touch()
    (machine.mounted / "cgroup.controllers").write_text("cpu memory pids\n")
    (machine.mounted / "cgroup.subtree_control").touch()
    make, remove = os.mkdir, os.rmdir

    def make_group(path: str, mode: int = 0o777) -> None:
        make(path, mode)
        fill(path)

    def remove_group(path: str) -> None:
        if "populated 1" in (Path(path) / "cgroup.events").read_text():
            raise OSError("something runs in it")
        for name in FILES:
            (Path(path) / name).unlink()
        remove(path)

    def write(path: str, text: bytes) -> None:
        """Keep what was written to the kernel's files, one line each."""
        with open(path, "ab" if path.endswith("subtree_control") else "wb") as file:
            file.write(text + b"\n")

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", make_group)
        patch.setattr(os, "rmdir", remove_group)
        patch.setattr(control_group, "write", write)
        yield machine


def entered(machine: Machine) -> ControlGroup:
    """The control group of a server that has entered it."""
    group = machine.control_group()
    group.create()
    group.enter_guardians()
    # The kernel shows names where "+name" was written.
    control = machine.mounted / "cgroup.subtree_control"
    control.write_text("".join(f"{name}\n" for name in group.controllers))
    group.enter()
    return group


def test_limits(folder: Path) -> None:
    """The limits are the kernel's files; without a limit they say so; swap space is no way out."""
    group = JobGroup(str(folder), EVERY)
    names = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max")
    for limits, texts in (((1 << 30, 20), ("1073741824", "0", "1", "20")), ((None, None), ("max", "max", "1", "max"))):
        for name in names:
            (folder / name).write_text("")
        group.bound(*limits)
        assert tuple((folder / name).read_text() for name in names) == texts
    assert group.kept == set(EVERY)


@pytest.mark.parametrize(("missing", "kept"), [("pids.max", Limit.MEMORY), ("memory.max", Limit.PROCESSES)])
def test_limit_that_is_not_taken(folder: Path, missing: str, kept: Limit) -> None:
    """A limit that the kernel does not take is left to the server; the other one is kept all the same."""
    (folder / missing).unlink()
    group = JobGroup(str(folder), EVERY)
    group.bound(1 << 30, 20)
    assert group.kept == {kept}


def test_no_controllers(folder: Path) -> None:
    """Without controllers nothing is written or kept, and the processor time is known."""
    group = JobGroup(str(folder), ())
    group.bound(1 << 30, 20)
    assert {name: (folder / name).read_text() for name in FILES} == FILES
    (folder / "pids.events").write_text("max 1\n")
    assert group.reached() is None
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 7\n")
    assert group.seconds() == 1.5


@pytest.mark.parametrize(
    ("name", "text", "limit"),
    [
        ("pids.events", "max 0\n", None),
        ("pids.events", "max 1\n", Limit.PROCESSES),
        ("memory.events", "max 9\noom 1\noom_kill 3\n", Limit.MEMORY),
        ("memory.events", "max 9\noom 0\noom_kill 3\n", None),
        ("memory.events", "max 9\noom 1\noom_kill 0\n", None),
        ("memory.events", "what is this\n", None),
    ],
)
def test_limit_that_was_reached(folder: Path, name: str, text: str, limit: Limit | None) -> None:
    """What the kernel has enforced is told; a kill for the memory of the whole machine is no limit of the job's."""
    (folder / name).write_text(text)
    assert JobGroup(str(folder), EVERY).reached() == limit


def test_kill_and_remove(folder: Path) -> None:
    """A group with processes is killed by one write; one that is empty, gone or of an old kernel is not."""
    group = JobGroup(str(folder), ())
    assert not group.kill()
    (folder / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (folder / "cgroup.procs").write_text("12\n13\n")
    assert group.kill()
    assert (folder / "cgroup.kill").read_text() == "1"
    assert group.pids() == [12, 13]
    assert not group.remove()
    (folder / "cgroup.kill").unlink()
    assert not group.kill()
    gone = JobGroup(str(folder / "gone"), EVERY)
    assert (gone.is_populated, gone.pids(), gone.seconds(), gone.reached(), gone.kill()) == (False, [], 0, None, False)
    assert gone.remove()


def test_server_with_controllers(machine: Machine) -> None:
    """The group that the server was started in is emptied, its controllers are enabled, and given back in the end."""
    group = entered(machine)
    assert group.path is not None
    assert (Path(f"{group.path}{GUARDIAN}") / "cgroup.procs").read_text() == "0\n"
    assert (Path(group.path) / "cgroup.procs").read_text() == "0\n"
    control = machine.mounted / "cgroup.subtree_control"
    assert control.read_text() == "pids\nmemory\n+pids\n+memory\n"
    assert group.bounds_kept == "the kernel keeps their bounds of processes and memory, and the server looks at cpu"
    job = group.enclose(1 << 30, None)
    assert job is not None
    assert job.kept == set(EVERY)
    assert (Path(job.path) / "memory.max").read_text().startswith("1073741824")
    group.release(job)
    assert not os.path.exists(job.path)
    group.leave()
    assert control.read_text().endswith("-pids\n-memory\n")
    assert (machine.mounted / "cgroup.procs").read_text() == "0\n"


def test_group_that_is_not_empty(machine: Machine) -> None:
    """Where the kernel enables no controllers, as with another process beside the server, the server looks itself."""
    group = machine.control_group()
    group.create()
    group.enter_guardians()
    group.enter()  # the words that were written are not those that the kernel would show
    assert group.bounds_kept.startswith("the server looks whether they keep their bounds")
    job = group.enclose(1 << 30, 5)
    assert job is not None
    assert job.kept == set()
    assert (Path(job.path) / "pids.max").read_text() == FILES["pids.max"]


@pytest.mark.parametrize("missing", ["cgroup.events", "cgroup.controllers"])
def test_nothing_to_enable(machine: Machine, missing: str) -> None:
    """The root's controllers are left as they are, and without controllers the guardian stays where it is."""
    (machine.mounted / missing).unlink()
    group = entered(machine)
    assert not os.path.exists(f"{group.path}{GUARDIAN}")
    group.leave()
    assert (machine.mounted / "cgroup.subtree_control").read_text() == ""


def test_what_is_left_in_groups(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of an ended job stays while something runs in it; beyond a number of these, jobs get no group."""
    monkeypatch.setattr(control_group, "MAX_LEFT", 2)
    group = entered(machine)
    jobs = [job for job in (group.enclose(None, 5), group.enclose(None, 5)) if job is not None]
    for job in jobs:
        (Path(job.path) / "cgroup.events").write_text("populated 1\n")
    group.release(jobs[0])
    group.release(jobs[0])
    third = group.enclose(None, 5)
    assert third is not None, "one is left, not two"
    group.release(third)
    group.release(jobs[1])
    assert group.enclose(None, 5) is None
    (Path(jobs[0].path) / "cgroup.events").write_text("populated 0\n")
    assert group.enclose(None, 5) is not None
    assert [os.path.exists(job.path) for job in jobs] == [False, True]


@pytest.mark.parametrize("odd", [(), ((b"BASH_FUNC_x%%", b"() {  false\n}"),)], ids=["plain", "odd"])
@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    ("name", "shown"), [("env", b"env"), ("./env", b"./env"), ("other", b"/usr/bin/env"), ("-env", b"/usr/bin/env")]
)
def test_joining(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    shown: bytes,
    odd: tuple[tuple[bytes, bytes], ...],
    *,
    is_there: bool,
) -> None:
    """A process joins before it is the program, which finds its name, arguments, folder and environment unchanged."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)  # with more of them a shell enters the folder
    (tmp_path / "env").symlink_to("/usr/bin/env")
    if is_there:
        (tmp_path / "cgroup.procs").touch()
    script = "import sys; sys.stdout.write(open('/proc/self/environ').read()); print(sys.argv[1:], end='')"
    environment = ((b"PATH", b"/usr/bin:/bin"), (b"HOME", b"/ a"), *odd)
    words = (sys.executable, "-S", "-c", script, "a b", "", "-c", "'")
    plan = SpawnPlan(b"/usr/bin/env", tuple(map(os.fsencode, (name, *words))), environment, os.fsencode(tmp_path))
    told = run(plan, os.fsencode(tmp_path))
    variables, _, arguments = told.rpartition(b"\0")
    assert set(variables.split(b"\0")) - {b"SHLVL=0"} == {b"%s=%s" % pair for pair in environment}
    assert arguments == b"['a b', '', '-c', \"'\"]"
    if is_there:
        assert (tmp_path / "cgroup.procs").read_text() == "0\n"
    unknown = SpawnPlan(b"/usr/bin/env", (os.fsencode(name), b"--no-such"), environment, os.fsencode(tmp_path))
    assert run(unknown, os.fsencode(tmp_path), error=True).startswith(shown + b": ")


def test_joining_without_bash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no shell would pass the environment on, the process stays outside, and the looks see it."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(spawn_module, "_BASH", b"/no/such")
    (tmp_path / "cgroup.procs").touch()
    plan = SpawnPlan(b"/usr/bin/env", (b"env",), ((b"a-b", b"1"),), b"/")
    assert run(plan, os.fsencode(tmp_path)) == b"a-b=1\n"
    assert (tmp_path / "cgroup.procs").read_text() == ""


def run(plan: SpawnPlan, group: bytes, *, error: bool = False) -> bytes:
    """Run a process that joins a group, and return its output or its error output."""
    spawned = spawn(SpawnPlan(plan.executable, plan.argv, plan.environment, plan.cwd, joins=group))
    assert spawned.stdin is not None
    assert spawned.stderr is not None
    os.close(spawned.stdin)
    with open(spawned.stdout, "rb") as output, open(spawned.stderr, "rb") as problems:
        told = output.read(), problems.read()
    os.waitpid(spawned.pid, 0)
    return told[error]


def test_joining_script_without_interpreter(tmp_path: Path) -> None:
    """A script whose interpreter is missing is not started, and the system's error says so."""
    script = tmp_path / "script"
    script.write_text("#!/no/such\n")
    script.chmod(0o755)
    path = os.fsencode(script)
    with pytest.raises(FileNotFoundError):
        run(SpawnPlan(path, (path,), (), b"/"), os.fsencode(tmp_path))


def local_user(trees: JobTrees, **bounds: float) -> LocalUser:
    """The user of a server with bounds."""
    account = Account.current(os.environ, shell="/bin/sh", encoding="utf-8")  # noqa: S604 - a path, not a flag
    return LocalUser(reactor, account, trees, bounds=UsageLimits(**bounds))  # type: ignore[arg-type]  # as floats


def out_of_memory(group: Path) -> None:
    """Do what the kernel does to a group that is above its memory."""
    [pid] = (Path(group) / "cgroup.procs").read_text().split()
    (group / "memory.events").write_text("oom 1\noom_kill 1\n")
    (group / "cgroup.events").write_text("populated 0\n")
    os.kill(int(pid), 9)


def refused_fork(group: Path) -> None:
    """Do what the kernel does to a group that is to have more processes than it may."""
    (group / "pids.events").write_text("max 1\n")


def busy(group: Path) -> None:
    """Count processor time as the kernel does."""
    (group / "cpu.stat").write_text("usage_usec 2500000\n")


@requires_proc
@pytest.mark.parametrize(
    ("act", "ending"),
    [
        (out_of_memory, LimitReached(Limit.MEMORY, 1 << 30)),
        (refused_fork, LimitReached(Limit.PROCESSES, 9)),
        (busy, LimitReached(Limit.CPU, 2000)),
    ],
)
@asynchronous
async def test_ending(machine: Machine, act: Callable[[Path], None], ending: LimitReached) -> None:
    """What the kernel keeps or counts ends the job, and its ending says which; no process is looked at for it."""
    control = entered(machine)
    trees = JobTrees(reactor, control_group=control)
    user = local_user(trees, memory=1 << 30, processes=9, cpu=2)
    owner = RecordingOwner()
    job = user.start_job(JobRequest(command="echo; exec sleep 600"), owner)
    job.end_input()
    [group] = machine.mounted.glob("*-job1")
    await owner.when(lambda: owner.stdout == b"\n")
    assert (group / "cgroup.procs").read_text() == "0\n", "it joined before it ran"
    pid = job.pid
    assert isinstance(pid, int)
    (group / "cgroup.procs").write_text(f"{pid}\n")
    (group / "cgroup.events").write_text("populated 1\n")
    looks, later = trees.table.looks, reactor.seconds() + 3 * SAMPLE_SECONDS
    await until(lambda: reactor.seconds() > later)
    assert trees.table.looks == looks
    act(group)
    if act is refused_fork:
        await until(lambda: (group / "cgroup.kill").read_text() == "1")  # one write, where a real kernel is behind it
    if act is busy:
        await until(lambda: not is_alive(pid))
    if act is not out_of_memory:
        (group / "cgroup.events").write_text("populated 0\n")  # from here on, the looks end what is left
    await owner.finished()
    assert owner.ending == ending
    control.enclose(None, None)
    assert not group.exists()


CHAIN = DAEMON.format(then="os.execve('/bin/sleep', ['sleep', '600'], {})", finally_="time.sleep(600)")
"""Python: a daemon that has left its session, its parents and its environment; its number is written to stdout."""


@requires_proc
@pytest.mark.real
@asynchronous
async def test_real_chain() -> None:
    """P13: a daemon that looks cannot find is in the group of its job, is counted there, and ends with the job."""
    reason = why_unavailable()
    group = ControlGroup()
    trees = JobTrees(reactor, control_group=group)
    with capturedLogs() as logged:
        trees.start()
    wiped = ""
    try:
        owner = RecordingOwner()
        job = local_user(trees, processes=50).start_job(
            JobRequest(argv=(sys.executable, "-S", "-E", "-c", CHAIN)), owner
        )
        await owner.when(lambda: owner.stdout.endswith(b"\n"))
        daemon = int(owner.stdout)
        job.send_signal("KILL")
        if reason is None:
            assert "bounds" in logged[-1]
            wiped = "'env', '-i', "
            assert daemon in JobGroup(f"{group.path}-job1", ()).pids()
            await owner.finished()
            await until(lambda: not is_alive(daemon))
        else:
            await owner.finished()
            assert is_alive(daemon), "without a group no look finds it"
            os.kill(daemon, signal.SIGKILL)
        # No controller may be there to keep this bound; without a group only what has the job's mark is seen.
        owner = RecordingOwner()
        fork = f"for _ in range(9): subprocess.Popen(['setsid', '-f', {wiped}'sleep', '600'])"
        argv = (sys.executable, "-c", f"import subprocess, time\n{fork}\ntime.sleep(600)")
        local_user(trees, processes=5).start_job(JobRequest(argv=argv), owner)
        await owner.finished()
        assert owner.ending == LimitReached(Limit.PROCESSES, 5)
        await until(lambda: not os.path.exists(f"{group.path}-job2"))
    finally:
        trees.stop()


@requires_proc
@pytest.mark.real
@asynchronous
async def test_guardians_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """With controllers the guardian is in a group of its own, and so is the one that replaces it; both groups go."""
    monkeypatch.setattr(trees_module, "become_subreaper", lambda: True)
    # No controller is there to be enabled; the groups are as if it were.
    monkeypatch.setattr(ControlGroup, "_find_controllers", staticmethod(lambda outer: ("pids",)))
    reason = why_unavailable()
    group = ControlGroup()
    trees = JobTrees(reactor, control_group=group)
    trees.start()
    path, guardian = group.path, trees._guardian
    try:
        assert guardian.pid is not None
        if reason is not None:
            assert path is None
            return
        own = f"{path}{GUARDIAN}"
        await until(lambda: JobGroup(own, ()).pids() == [guardian.pid])  # it has children for a moment when it starts
        assert path is not None
        assert os.getpid() in JobGroup(path, ()).pids()
        first = guardian.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: guardian.pid not in (None, first))
        await until(lambda: JobGroup(own, ()).pids() == [guardian.pid])
    finally:
        trees.stop()
    await until(lambda: not os.path.exists(path) and not os.path.exists(own))
