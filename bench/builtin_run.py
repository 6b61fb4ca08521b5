"""A process that runs built-ins in one persistent shell and measures them; ``bench.builtin`` starts it.

It is run by its path, so that PYTHONPATH says whose ``twisted_rsh`` is measured.  It uses only what every version has.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.endings import Exited
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.shells.plan import plan_shell
from twisted_rsh.execution.shells.shell import start_shell
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.interfaces import IJobOwner

reactor: Any = _reactor

ROOM = 1 << 30
"""Bytes of output that an owner takes: a built-in writes next to nothing."""

WARM_UP = 100
"""Commands before those that count."""


@implementer(IJobOwner)
class Owner:
    """Takes and drops the output of a job, and says when the job has ended.

    :ivar ended: fires with how it ended.
    """

    def __init__(self) -> None:
        self.ended: Deferred[Any] = Deferred()

    def output_room(self, stream: object) -> int:
        """See :class:`IJobOwner`."""
        return ROOM

    def output_received(self, stream: object, data: bytes) -> None:
        """See :class:`IJobOwner`."""

    def output_ended(self, stream: object) -> None:
        """See :class:`IJobOwner`."""

    def input_consumed(self, size: int) -> None:
        """See :class:`IJobOwner`."""

    def input_closed(self) -> None:
        """See :class:`IJobOwner`."""

    def job_ended(self, end: Any) -> None:
        """See :class:`IJobOwner`."""
        reactor.callLater(0, self.ended.callback, end.ending)


def processor_time(pid: int) -> float:
    """Return the seconds that a process of one thread has run, from Linux's scheduler, which counts nanoseconds."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


async def measure(program: str, way: str, command: str, count: int) -> dict[str, float]:
    """Run a command many times in one shell.

    :param program: the shell.
    :param way: ``evaluated`` for bash's older way, otherwise the way that the server takes.
    :param command: the command.
    :param count: how often.
    :returns: microseconds of each command: of this process, of the shell, and of the clock.
    """
    account = Account.current(os.environ, shell="/bin/sh", encoding="utf-8")  # noqa: S604 - a path, not a flag
    plan = plan_shell(JobRequest(shell=program), account)
    if way == "evaluated":
        from twisted_rsh.execution.shells.bash import OLD_BASH

        plan = replace(plan, dialect=OLD_BASH)
    owner = Owner()
    with tempfile.TemporaryDirectory() as folder:
        shell = start_shell(reactor, plan, owner, JobTree(JobTrees(reactor)), None, folder=folder)
        ready: Deferred[None] = Deferred()
        shell.when_ready(lambda: ready.callback(None))
        await ready

        async def run(times: int) -> None:
            for _ in range(times):
                one = Owner()
                shell.start_command(JobRequest(command=command), one).end_input()
                assert await one.ended == Exited(0)

        await run(WARM_UP)
        assert shell.pid is not None
        own, theirs, begun = time.process_time(), processor_time(shell.pid), time.perf_counter()
        await run(count)
        seconds = time.process_time() - own, processor_time(shell.pid) - theirs, time.perf_counter() - begun
        shell.end_input()
        await owner.ended
    names = ("server_us", "shell_us", "wall_us")
    return {name: part / count * 1e6 for name, part in zip(names, seconds, strict=True)}


def main() -> None:
    """Measure what the command line says, and print the figures as JSON."""
    program, way, command, count = sys.argv[1:]

    def begin() -> None:
        done = ensureDeferred(measure(program, way, command, int(count)))
        done.addCallbacks(
            lambda figures: print(json.dumps(figures)), lambda failure: Failure.printTraceback(failure, sys.stderr)
        )
        done.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main()
