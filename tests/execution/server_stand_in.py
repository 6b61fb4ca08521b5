"""A process that stands in for a server: ``python -m tests.execution.server_stand_in daemons COUNT``, or ``jobs``.

`daemons` runs so many jobs, each of which leaves a daemon behind, as a subreaper, and says what became of them.  `jobs`
starts jobs under a guardian, says their numbers, and waits to be killed.
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

from tests.execution.trees import Job, numbers, program
from twisted_rsh.execution.guardian import Guardian
from twisted_rsh.execution.interfaces import IJobReactor
from twisted_rsh.execution.job_trees import JobTrees

AT_ONCE = 20
"""Jobs that run at the same time."""

DAEMONISE = '(setsid -f sh -c "exit 3" & exec setsid sleep 0) & exec sleep 0'
"""A job that leaves three processes behind: sessions of their own, and statuses that nobody waits for."""

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
        running.append(Job(reactor, trees.new(), ("/bin/sh", "-c", DAEMONISE)))
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


async def run_jobs() -> None:
    """Start jobs of every kind, and wait to be killed."""
    trees = JobTrees(reactor, owns_process=True, guardian=Guardian(reactor, 1))
    trees.start()
    ignoring = "signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    finished = Job(reactor, trees.new(), ("/bin/true",))
    while not finished.reports:
        await deferLater(reactor, 0.01)
    jobs = [
        Job(reactor, trees.new(), ("/bin/sh", "-c", "echo $$; sleep 600 & wait")),
        Job(reactor, trees.new(), ("/bin/sh", "-c", "trap '' HUP TERM; echo $$; while :; do sleep 0.1; done")),
        Job(reactor, trees.new(), ("/bin/sh", "-c", "echo $$; kill -STOP $$")),
        Job(reactor, trees.new(), program()),
        Job(reactor, trees.new(), program(ignoring)),
    ]
    pids = [numbers(job.stdout, 1)[0] for job in jobs] + [job.pid for job in jobs]
    while trees._guardian._untold:
        await deferLater(reactor, 0.01)
    print(json.dumps({"pids": pids, "guardian": trees._guardian.pid}), flush=True)
    await Deferred()


def main(_: object, mode: str, *arguments: str) -> Deferred[None]:
    """Do what the command line says."""
    return Deferred.fromCoroutine(run_jobs() if mode == "jobs" else run_daemons(int(arguments[0])))


if __name__ == "__main__":
    signal.alarm(300)
    react(main, sys.argv[1:])
