"""A stand-in for a server, in a process of its own: ``python -m tests.execution.trees.server_stand_in MODE``.

`daemons COUNT` becomes a subreaper, runs that many jobs, each of which leaves a daemon behind, and reports what became
of the daemons.  `jobs` starts jobs under a guardian, prints their process ids and waits to be killed.  `jobs cgroup`
does the same in a control group, and `jobs again`, or `jobs cgroup again`, after it has killed its guardian.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from tests.execution.real_trees import Job, numbers, program
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.trees.control_group import ControlGroup
from twisted_rsh.execution.trees.guardian import Guardian
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees

AT_ONCE = 20
"""Jobs that run at the same time."""

DAEMONISE = '(setsid -f sh -c "exit 3" & exec setsid sleep 0) & exec sleep 0'
"""A job that leaves three processes behind: sessions of their own, and statuses that their parent does not wait for."""

LEFT_BEHIND = (
    ("/bin/sh", "-c", "setsid sleep 600 >&- & echo $!"),
    ("/bin/sh", "-c", "env -i setsid sleep 600 >&- & echo $!"),
)
"""Jobs that leave something behind on purpose: with the job's mark, and without."""

WIPED = "os.execve('/bin/sleep', ['sleep', '600'], {})"
"""A daemon that wipes its environment, and the mark with it."""

reactor = cast("IJobReactor", _reactor)


def zombies(trees: JobTrees) -> int:
    """Count this process's children that wait to be reaped."""
    records = map(trees.table.read, trees.table.children())
    return sum(record is not None and record.is_dead for record in records)


async def run_daemons(count: int) -> None:
    """Run so many jobs, and then wait until nothing is left to reap; give the statuses of the jobs themselves."""
    trees = JobTrees(reactor, owns_process=True)
    trees.start()
    most = 0
    statuses: set[int | None] = set()
    running: list[Job] = []
    for _ in range(count):
        running.append(Job(reactor, JobTree(trees), ("/bin/sh", "-c", DAEMONISE)))
        while len(running) >= AT_ONCE:
            await deferLater(reactor, 0.002)
            statuses |= finish(running)
        most = max(most, zombies(trees))
    # So that this ends when an adopted daemon had to be waited for, and does not when one is never reaped.
    while running or trees._adopted._call is not None:
        await deferLater(reactor, 0.01)
        statuses |= finish(running)
    left = zombies(trees)
    trees.stop()
    print(json.dumps({"zombies": left, "most": most, "statuses": list(statuses)}), flush=True)


def finish(running: list[Job]) -> set[int | None]:
    """Let go of the jobs that have exited."""
    finished = [job for job in running if job.reports]
    for job in finished:
        running.remove(job)
        job.tree.close()
        os.close(job.stdout)
    return {job.reports[0].status for job in finished}


async def leave_behind(trees: JobTrees, argv: tuple[str, ...]) -> int:
    """Run a job that leaves a process behind and ends by itself; give that process's number."""
    job = Job(reactor, JobTree(trees), argv)
    number = job.number()
    record = trees.table.read(number)
    assert record is not None
    # A job that begins in the same tick of the system's clock is no younger.
    while not job.reports or JobTree(trees)._born <= record.started:
        await deferLater(reactor, 0.01)
    job.tree.close()
    return number


async def kill_guardian(trees: JobTrees) -> None:
    """Kill the guardian, and wait for the next one."""
    killed = trees._guardian.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    while trees._guardian.pid in (None, killed):
        await deferLater(reactor, 0.01)


async def end_half(trees: JobTrees, ignoring: str) -> int:
    """Start a job of which the first process and its group have ended while the rest is being ended; name the rest."""
    job = Job(reactor, JobTree(trees), program(ignoring, finally_="pass"))
    job.tree.must_end()
    daemon = numbers(job.stdout, 1)[0]
    while not job.reports:
        await deferLater(reactor, 0.01)
    return daemon


async def run_jobs(control_group: ControlGroup | None, *, again: bool) -> None:
    """Start jobs of every kind, and wait to be killed."""
    trees = JobTrees(reactor, owns_process=True, guardian=Guardian(reactor, 1), control_group=control_group)
    trees.start()
    ignoring = "signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    finished = Job(reactor, JobTree(trees), ("/bin/true",))
    while not finished.reports:
        await deferLater(reactor, 0.01)
    left = [] if control_group is None else [await leave_behind(trees, argv) for argv in LEFT_BEHIND]
    jobs = [
        Job(reactor, JobTree(trees), ("/bin/sh", "-c", "echo $$; sleep 600 & wait")),
        Job(reactor, JobTree(trees), ("/bin/sh", "-c", "trap '' HUP TERM; echo $$; while :; do sleep 0.1; done")),
        Job(reactor, JobTree(trees), ("/bin/sh", "-c", "echo $$; kill -STOP $$")),
        Job(reactor, JobTree(trees), program()),
        Job(reactor, JobTree(trees), program(ignoring)),
    ]
    if control_group is not None:
        jobs.append(Job(reactor, JobTree(trees), program(WIPED)))
    pids = [numbers(job.stdout, 1)[0] for job in jobs] + [job.pid for job in jobs]
    pids.append(await end_half(trees, ignoring))
    if again:
        await kill_guardian(trees)
    while trees._guardian._untold:
        await deferLater(reactor, 0.01)
    group = None if control_group is None else control_group.path
    print(json.dumps({"pids": pids, "guardian": trees._guardian.pid, "left": left, "group": group}), flush=True)
    await Deferred()


def main(_: object, mode: str, *arguments: str) -> Deferred[None]:
    """Do what the command line says."""
    if mode == "daemons":
        return Deferred.fromCoroutine(run_daemons(int(arguments[0])))
    control_group = ControlGroup() if "cgroup" in arguments else None
    return Deferred.fromCoroutine(run_jobs(control_group, again="again" in arguments))


if __name__ == "__main__":
    signal.alarm(300)
    react(main, sys.argv[1:])
