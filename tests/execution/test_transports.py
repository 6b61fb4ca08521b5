"""Which process transport a system calls for, and what a transport without terminals refuses."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from twisted.internet.protocol import ProcessProtocol

from tests.execution.owners import RecordingOwner, asynchronous, reactor
from twisted_rsh.core.endings import Exited, RefusalReason
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.plan import SpawnPlan
from twisted_rsh.execution.portable import spawn_portably
from twisted_rsh.execution.processes.terminal import TerminalUnavailable
from twisted_rsh.execution.processes.transport import spawn_process
from twisted_rsh.execution.transports import StartProcess, check_support, default_transport
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import JobRefused


def test_a_terminal_on_pipes_alone() -> None:
    """The portable transport says itself that it has no terminals, before it starts anything."""
    plan = SpawnPlan(b"/bin/sh", (b"sh",), (), b"/")
    with pytest.raises(TerminalUnavailable):
        spawn_portably(reactor, ProcessProtocol(), plan, terminal=Terminal())


def test_this_system() -> None:
    """Where the tests run, which is Linux or a recent macOS, posix_spawn can make a session."""
    assert default_transport() is spawn_process


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotImplementedError("posix_spawn: setsid unavailable on this platform"), spawn_portably),
        (OSError(errno.EINVAL, "Invalid argument"), spawn_portably),
        (OSError(errno.ENOENT, "No such file or directory"), spawn_process),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), spawn_process),
    ],
)
def test_what_posix_spawn_says(monkeypatch: pytest.MonkeyPatch, error: Exception, expected: StartProcess) -> None:
    """Without sessions posix_spawn will not do; what has passed by tomorrow is no reason to decide against it."""

    def fail(*args: object, setsid: bool = False) -> int:
        raise error if setsid else AssertionError("a session is what matters")

    monkeypatch.setattr(os, "posix_spawn", fail)
    assert default_transport() is expected


def test_posix_spawn_that_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A posix_spawn whose child exits with 127 in place of an error will not do; the child is reaped."""
    real = os.posix_spawn
    pids: list[int] = []

    def spawn(*args: object, setsid: bool) -> int:
        pids.append(real("/bin/sh", ["sh", "-c", "exit 127"], {}))
        return pids[0]

    monkeypatch.setattr(os, "posix_spawn", spawn)
    chosen: object = default_transport()
    assert chosen is spawn_portably
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[0], 0)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12's, where there are threads
@asynchronous
async def test_user_without_posix_spawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user runs jobs also where there is no posix_spawn, each in its own session, without being told how."""
    monkeypatch.delattr(os, "posix_spawn")
    monkeypatch.delattr(os, "posix_spawnp")
    monkeypatch.setattr(reactor, "_neverUseSpawn", True, raising=False)
    owner = RecordingOwner()
    job = LocalUser(reactor, Account.current(os.environ)).start_job(JobRequest(argv=("cat",)), owner)
    pid = job._process.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    job.write_input(b"x")
    job.end_input()
    await owner.finished()
    assert (owner.stdout, owner.ending) == (b"x", Exited(0))
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (JobRequest(command="vi", terminal=Terminal()), "terminal"),
        (JobRequest(shell=""), "persistent shell"),
        (JobRequest(shell="", terminal=Terminal()), "terminal"),
    ],
)
def test_pipes_only(request_: JobRequest, what: str) -> None:
    """The portable transport has pipes only, and says so."""
    user = LocalUser(reactor, Account.current(os.environ), spawn_portably)
    with pytest.raises(JobRefused) as caught:
        user.start_job(request_, RecordingOwner())
    text = f"the server's system can give a job no {what}; run a command without one"
    assert (caught.value.reason, caught.value.text) == (RefusalReason.NOT_SUPPORTED, text)
    check_support(spawn_process, request_)
    check_support(spawn_portably, JobRequest(command="true"))
