"""A signal of the client's that ends the first process of a job ends all of the job; any other job may leave some."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.execution.blindness import blindness
from tests.execution.owners import RecordingOwner, asynchronous, reactor, until
from tests.execution.real_trees import is_alive, requires_proc
from twisted_rsh.core.endings import Exited, Signalled
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Stream
from twisted_rsh.execution import lifetime
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.job import ProcessJob
from twisted_rsh.execution.user import LocalUser

pytestmark = [requires_proc, pytest.mark.real]

LEFT = "setsid sh -c 'echo $$; exec sleep 600 >/dev/null 2>&1' & "
"""A process in another session, which no signal to the job's group reaches; its number is the first line of output."""

STUBBORN = "setsid sh -c 'trap \"\" INT HUP; echo $$; while :; do sleep 0.05; done' & "
"""One that ignores all but TERM, and holds the job's output open."""


class Left:
    """A job that leaves a process, and that process.

    :ivar pid: the number of the process.
    """

    def __init__(self, command: str, *, on_terminal: bool = False) -> None:
        account = Account.current(os.environ, shell="/bin/sh", encoding="utf-8")  # noqa: S604 - a path, not a flag
        request = JobRequest(command=command, terminal=Terminal() if on_terminal else None)
        self.owner = RecordingOwner()
        job = LocalUser(reactor, account).start_job(request, self.owner)
        assert isinstance(job, ProcessJob)
        self.job = job
        self.pid = 0

    async def started(self) -> None:
        """Wait until the process is there."""
        await self.owner.when(lambda: b"\n" in self.owner.stdout)
        self.pid = int(self.owner.stdout.split()[0])
        assert is_alive(self.pid)


@pytest.fixture
def jobs() -> Iterator[list[Left]]:
    """The jobs of a test, of which nothing is left afterwards."""
    jobs: list[Left] = []
    yield jobs
    for job in jobs:
        if job.pid and is_alive(job.pid):
            os.kill(job.pid, signal.SIGKILL)


async def left(jobs: list[Left], command: str, *, on_terminal: bool = False) -> Left:
    """Start a job, and wait for the process that it leaves."""
    jobs.append(Left(command, on_terminal=on_terminal))
    await jobs[-1].started()
    return jobs[-1]


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "KILL", "USR1"])
@asynchronous
async def test_signal_ends_the_first_process(jobs: list[Left], name: str) -> None:
    """X-07: a signal that ends the first process ends what is in other sessions too; the ending names the signal."""
    job = await left(jobs, f"ulimit -c 0; {LEFT} exec sleep 600")
    job.job.send_signal(name)
    await job.owner.finished()
    assert job.owner.ending == Signalled(name)
    assert not is_alive(job.pid), "the ending was reported before the tree was gone"


@pytest.mark.parametrize(("name", "code"), [("INT", 130), ("TERM", 0)])
@asynchronous
async def test_signal_is_caught(jobs: list[Left], name: str, code: int) -> None:
    """X-07: so does one after which the first process exits by itself, soon; its exit code is the ending."""
    job = await left(jobs, f"trap 'exit {code}' {name}; {LEFT} while :; do sleep 0.02; done")
    job.job.send_signal(name)
    await job.owner.finished()
    assert job.owner.ending == Exited(code)
    assert not is_alive(job.pid)


@pytest.mark.parametrize("way", ["signal", "end"])
@asynchronous
async def test_no_descriptor_to_look_with(jobs: list[Left], way: str) -> None:
    """R-06: without a look the job's own group gets its signals, and the end waits until the rest can be looked for."""
    job = await left(jobs, f"{LEFT} exec sleep 600")
    first = job.job.pid
    assert first is not None
    with blindness():
        if way == "signal":
            job.job.send_signal("INT")
        else:
            job.job.terminate()
        await until(lambda: job.job.pid is None)
        await until(lambda: job.job._life._tree.table.is_blind)
        assert job.owner.endings == []
        assert is_alive(job.pid)
    await job.owner.finished()
    assert job.owner.ending == Signalled("INT" if way == "signal" else "HUP")
    assert not is_alive(job.pid)


@asynchronous
async def test_no_descriptor_to_look_with_for_long(jobs: list[Left], monkeypatch: pytest.MonkeyPatch) -> None:
    """R-06: what ignores all signals but KILL is killed as well, and the end of the job is reported some time."""
    monkeypatch.setattr(lifetime, "_LAST_POLL", 2)
    monkeypatch.setattr(lifetime, "_POLLS_PER_STEP", 1)
    monkeypatch.setattr(lifetime, "MAX_SWEEPS", 0)
    monkeypatch.setattr(lifetime, "MAX_BLIND_SWEEPS", 2)
    job = await left(jobs, f"{LEFT} trap '' HUP TERM; while :; do sleep 0.02; done")
    with blindness():
        job.job.terminate()
        await job.owner.finished()
    assert job.owner.ending == Signalled("KILL")


@pytest.mark.parametrize("name", ["WINCH", "CONT", "USR1"])
@asynchronous
async def test_signal_that_asks_for_no_end(jobs: list[Left], name: str) -> None:
    """After a signal that asks for no end, a job that exits leaves what it wants to leave."""
    job = await left(jobs, f"trap 'exit 3' USR1 WINCH CONT; {LEFT} while :; do sleep 0.02; done")
    job.job.send_signal(name)
    await job.owner.finished()
    assert job.owner.ending == Exited(3)
    assert is_alive(job.pid)


@asynchronous
async def test_ends_by_itself(jobs: list[Left]) -> None:
    """A job that ends without a signal of its client's leaves what it wants, also one that another has killed."""
    job = await left(jobs, LEFT)
    await job.owner.finished()
    assert job.owner.ending == Exited(0)
    assert is_alive(job.pid)
    other = await left(jobs, f"{LEFT} read line; kill -TERM $$")
    other.job.end_input()
    await other.owner.finished()
    assert other.owner.ending == Signalled("TERM")
    assert is_alive(other.pid)


@asynchronous
async def test_goes_on_after_the_signal(jobs: list[Left], monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that goes on for longer than the signal's time ends by itself; within it, it does not."""
    for seconds, stays in ((60.0, False), (0.05, True)):
        monkeypatch.setattr(lifetime, "ENDED_BY_SIGNAL_SECONDS", seconds)
        job = await left(jobs, f"trap 'sleep 0.3; exit 0' INT; {LEFT} while :; do sleep 0.02; done")
        job.job.send_signal("INT")
        await job.owner.finished()
        assert job.owner.ending == Exited(0)
        assert is_alive(job.pid) == stays


@asynchronous
async def test_what_ignores_the_signal(jobs: list[Left], monkeypatch: pytest.MonkeyPatch) -> None:
    """X-07: what ignores the signal is ended by the kill ladder, and what the client sends meanwhile reaches it."""
    job = await left(jobs, STUBBORN + "exec sleep 600")
    job.job.send_signal("INT")
    await until(lambda: job.job.pid is None)
    assert not job.owner.endings
    job.job.send_signal("TERM")
    await job.owner.finished()
    assert job.owner.ending == Signalled("INT")
    assert not is_alive(job.pid)


@asynchronous
async def test_key_of_the_terminal(jobs: list[Left]) -> None:
    """X-07: Ctrl-C on a terminal is a signal of the client's: what it ends ends with all that is in other groups."""
    job = await left(jobs, f"{LEFT} exec sleep 600", on_terminal=True)
    job.job.write_input(b"\x03")
    await job.owner.finished()
    assert job.owner.ending == Signalled("INT")
    assert not is_alive(job.pid)


@asynchronous
async def test_closed_terminal(jobs: list[Left]) -> None:
    """X-07: so is the end of a terminal of which the client wants no more."""
    job = await left(jobs, f"{LEFT} exec sleep 600", on_terminal=True)
    job.job.close_output(Stream.STDOUT)
    await job.owner.finished()
    assert job.owner.ending == Signalled("HUP")
    assert not is_alive(job.pid)


@asynchronous
async def test_key_that_interrupts_a_prompt(jobs: list[Left]) -> None:
    """A program on a terminal that survives Ctrl-C, as a shell at its prompt does, ends by itself later."""
    job = await left(jobs, f"trap 'exit 130' INT; {LEFT} while :; do sleep 0.02; done", on_terminal=True)
    job.job.write_input(b"\x03")
    await job.owner.finished()
    assert job.owner.ending == Exited(130)
    assert is_alive(job.pid)
