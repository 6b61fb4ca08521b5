"""What only the portable transport does: its starter, and what becomes of a job when that fails.

Everything else about it is in the tests that run over both transports.  What differs there is which of the system's
calls a test must break to see the transport fail; what the transports promise does not differ.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import process as twisted_process
from twisted.internet.protocol import ProcessProtocol

from tests.execution import owners
from tests.execution.owners import (
    RecordingOwner,
    asynchronous,
    check_output,
    open_descriptors,
    reactor,
    run_job,
    start_job,
    until,
)
from tests.execution.test_endings import refusal, script
from twisted_rsh.core.endings import Exited, RefusalReason
from twisted_rsh.execution import portable
from twisted_rsh.execution.plan import SpawnPlan
from twisted_rsh.execution.portable import spawn_portably


@pytest.fixture(autouse=True)
def use_portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs of these tests run over the portable transport."""
    monkeypatch.setattr(owners, "start_process", spawn_portably)


@pytest.fixture(params=["spawn", "fork"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Twisted start the starter by `os.posix_spawnp`, and by a fork as where that is missing."""
    if request.param == "fork":
        monkeypatch.setattr(reactor, "_neverUseSpawn", True, raising=False)
        monkeypatch.delattr(os, "posix_spawnp", raising=False)


@pytest.fixture
def canary() -> Iterator[int]:
    """A descriptor of this process's that a child would inherit."""
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    yield fd
    os.close(fd)


# Python 3.12 warns of a fork in a process that has had threads, as pytest's may.
forking = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@forking
@pytest.mark.usefixtures("way", "canary")
@asynchronous
async def test_descriptors() -> None:
    """X-12: a job sees 0, 1 and 2 only: neither a descriptor that children inherit nor its starter's channel."""
    # To list the folder would open another descriptor.
    listed = await check_output(
        command="fd=0; while [ $fd -lt 256 ]; do if [ -e /dev/fd/$fd ]; then echo $fd; fi; fd=$((fd + 1)); done"
    )
    assert listed.split() == [b"0", b"1", b"2"]


@forking
@pytest.mark.usefixtures("way")
@asynchronous
async def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """X-13: a job has its plan's environment to the letter: nothing of the server's, nothing that Python sets in the
    C locale."""
    monkeypatch.setenv("CANARY", "secret")
    environment = ((b"LANG", b"C"), (b"PYTHONHOME", b"/no/such"), (b"A", b"1=2\xff"), (b"E", b""))
    owner = RecordingOwner()
    monkeypatch.setattr(owners, "start_process", with_environment(environment))
    start_job(owner, "/usr/bin/env").end_input()
    await owner.finished()
    assert owner.stdout == b"LANG=C\nPYTHONHOME=/no/such\nA=1=2\xff\nE=\n"


def with_environment(environment: tuple[tuple[bytes, bytes], ...]) -> Any:
    """Make a transport that gives a job exactly this environment."""

    def start(reactor: Any, protocol: Any, plan: SpawnPlan, **options: Any) -> Any:
        plan = SpawnPlan(plan.executable, plan.argv, environment, plan.cwd)
        return spawn_portably(reactor, protocol, plan, **options)

    return start


@forking
@pytest.mark.usefixtures("way")
@asynchronous
async def test_failures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """X-02: what the starter cannot do is told apart, and nothing of it is on anybody's standard error."""
    monkeypatch.setattr("twisted_rsh.execution.plan.MAX_REQUEST_BYTES", 1 << 30)
    assert refusal("/bin/echo", "x" * (4 << 20)) == (RefusalReason.TOO_LONG, "/bin/echo: Argument list too long")
    path = script(tmp_path / "script", "#!/no/such/interpreter\n")
    assert refusal(path) == (RefusalReason.NOT_FOUND, f"{path}: No such file or directory")
    path = script(tmp_path / "script", 'echo "$0 $1"; pwd; exit 4')
    owner = await run_job(path, "a b", cwd=str(tmp_path))
    assert (owner.stdout, owner.stderr) == (f"{path} a b\n{tmp_path}\n".encode(), b"")
    assert owner.ending == Exited(4)


def test_nul() -> None:
    """A NUL byte in a plan that nobody has checked is an error, and cuts nothing short."""
    plan = SpawnPlan(b"/bin/echo", (b"echo", b"a\0b"), (), b"/")
    before = open_descriptors()
    with pytest.raises(OSError, match="Invalid argument") as caught:
        spawn_portably(reactor, ProcessProtocol(), plan)
    assert caught.value.errno == errno.EINVAL
    assert open_descriptors() == before


@pytest.mark.parametrize("too_early", [False, True])
def test_starter_that_dies(monkeypatch: pytest.MonkeyPatch, too_early: bool) -> None:
    """X-02: a starter that dies before it answers, or before Twisted knows of it, is told of and reaped."""
    real: Any = twisted_process.registerReapProcessHandler
    pids: list[int] = []

    def register(pid: int, process: Any) -> None:
        pids.append(pid)
        if too_early:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        real(pid, process)

    monkeypatch.setattr(twisted_process, "registerReapProcessHandler", register)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    text = "/bin/false, with which the server starts jobs, died before it began; try again"
    assert refusal("true") == (RefusalReason.RESOURCES, text)
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[0], 0)
    assert not twisted_process.reapProcessHandlers


@asynchronous
async def test_starter_that_is_stuck(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """X-02: a starter that does not answer in time is killed, and reaped without anybody waiting for it."""
    monkeypatch.setattr(sys, "executable", script(tmp_path / "stuck", "#!/bin/sh\nexec sleep 60\n"))
    monkeypatch.setattr(portable, "ANSWER_SECONDS", 0.05)
    killed: list[int] = []
    real = os.kill

    def kill(pid: int, number: int) -> None:
        killed.append(pid)
        real(pid, number)

    monkeypatch.setattr(os, "kill", kill)
    text = "the job did not start within 0.05 seconds; try again later"
    assert refusal("true") == (RefusalReason.RESOURCES, text)
    await until(lambda: not twisted_process.reapProcessHandlers)
    with pytest.raises(ChildProcessError):
        os.waitpid(killed[0], 0)


@pytest.mark.parametrize("executable", ["", None])
def test_unknown_python(monkeypatch: pytest.MonkeyPatch, executable: str | None) -> None:
    """A Python that does not know itself, as an embedded one may not, cannot start jobs this way."""
    monkeypatch.setattr(sys, "executable", executable)
    text = "the server does not know its own Python, with which it starts jobs on this system; set sys.executable"
    assert refusal("true") == (RefusalReason.NOT_SUPPORTED, text)


@pytest.mark.skipif(not hasattr(os, "posix_spawnp"), reason="without it Twisted does not say what went wrong")
def test_missing_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that is gone, as after an upgrade, is not mistaken for a missing command."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    text = "/no/such/python, with which the server starts jobs: No such file or directory; start the server anew"
    assert refusal("true") == (RefusalReason.NOT_SUPPORTED, text)


@pytest.mark.parametrize("handlers", [True, False])
def test_reactor_without_sigchld(handlers: bool) -> None:
    """A job that nobody would see end is refused where there is no pidfd and the reactor leaves SIGCHLD alone."""
    code = """if True:
        import os, sys
        from twisted.internet import reactor
        from tests.execution import owners
        from twisted_rsh.execution.portable import spawn_portably
        from twisted_rsh.interfaces import JobRefused
        if hasattr(os, "pidfd_open"):
            del os.pidfd_open
        owners.start_process = spawn_portably

        def start():
            owner = owners.RecordingOwner()
            try:
                owners.start_job(owner, "true").end_input()
            except JobRefused as e:
                print(e.reason.value, e.text)
                reactor.stop()
            else:
                owner.finished().addBoth(lambda _: (print(owner.ending), reactor.stop()))

        reactor.callWhenRunning(start)
        reactor.run(installSignalHandlers=sys.argv[1] == "True")
    """
    result = subprocess.run(
        [sys.executable, "-c", code, str(handlers)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert result.stderr == ""
    assert result.stdout == (
        "Exited(code=0)\n"
        if handlers
        else "not-supported the server could not notice the job's end: its reactor runs without Twisted's handler of "
        "SIGCHLD; run it with installSignalHandlers=True\n"
    )


@pytest.mark.parametrize("has_pidfd_open", [True, False])
def test_sigchld_in_this_process(monkeypatch: pytest.MonkeyPatch, has_pidfd_open: bool) -> None:
    """The same with a handler of somebody else's, also where Python knows of pidfds and the system does not."""

    def fail(pid: int, flags: int = 0) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    if has_pidfd_open:
        monkeypatch.setattr(os, "pidfd_open", fail, raising=False)
    else:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    previous = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        reason, text = refusal("true")
    finally:
        signal.signal(signal.SIGCHLD, previous)
        signal.siginterrupt(signal.SIGCHLD, False)
    assert reason is RefusalReason.NOT_SUPPORTED
    assert "SIGCHLD" in text
