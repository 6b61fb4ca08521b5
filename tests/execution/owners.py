"""A job owner that records what it is told and checks that the rules are kept, and short ways to start a job for it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.core.endings import Ending, Exited, JobEnd, ResourceUsage
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.job import ProcessJob
from twisted_rsh.execution.processes.descriptors import WatchedDescriptor
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import IJobOwner

__all__ = [
    "PATIENCE",
    "RecordingOwner",
    "asynchronous",
    "check_output",
    "lose",
    "open_descriptors",
    "reactor",
    "run_job",
    "start_job",
    "until",
]

reactor = cast("IJobReactor", _reactor)


def lose(watched: WatchedDescriptor, reason: Exception) -> None:
    """Report the end of a descriptor as the reactor does: it stops watching it first."""
    reactor.removeReader(watched)  # type: ignore[arg-type]  # as far as it reads
    reactor.removeWriter(watched)  # type: ignore[arg-type]  # as far as it writes
    watched.connectionLost(Failure(reason))


Test = TypeVar("Test", bound=Callable[..., object])

asynchronous: Callable[[Test], Test] = pytest_twisted.ensureDeferred
"""Lets a test that is a coroutine run in the reactor."""

PATIENCE = 30.0
"""Seconds after which a test that waits for something gives up; never what a test measures."""

UNLIMITED = 1 << 40


@implementer(IJobOwner)
class RecordingOwner:
    """Takes everything, or as much as the test gives room for.

    :param room: bytes that each output may hand over until :meth:`give_room`; ``None`` for no limit.
    """

    def __init__(self, room: int | None = None) -> None:
        first = UNLIMITED if room is None else room
        self.room = dict.fromkeys(OUTPUTS, first)
        self.output = {stream: bytearray() for stream in OUTPUTS}
        self.ended: list[Stream] = []
        self.consumed = 0
        self.inputs_closed = 0
        self.endings: list[Ending] = []
        self.held_open = False
        self.usage: ResourceUsage | None = None
        self.folder: str | None = None
        self.typed: int | None = None
        self.unread = b""
        self.ended_at = 0.0
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    @property
    def stdout(self) -> bytes:
        """All of its standard output so far."""
        return bytes(self.output[Stream.STDOUT])

    @property
    def stderr(self) -> bytes:
        """All of its standard error so far."""
        return bytes(self.output[Stream.STDERR])

    @property
    def ending(self) -> Ending:
        """How the one job ended."""
        [ending] = self.endings
        return ending

    async def more_output(self, size: int, stream: Stream = Stream.STDOUT) -> None:
        """Wait until more than so many bytes of an output came, or the end."""
        await self.when(lambda: len(self.output[stream]) > size or bool(self.endings))

    def when(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Wait until a call of the job's has made a condition true."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting.addTimeout(PATIENCE, reactor)

    def finished(self) -> Deferred[None]:
        """Wait for the end."""
        return self.when(lambda: bool(self.endings))

    def give_room(self, job: ProcessJob, size: int, stream: Stream = Stream.STDOUT) -> None:
        """Make room and tell the job."""
        self.room[stream] += size
        job.resume_output(stream)

    def output_room(self, stream: Stream) -> int:
        """See :class:`IJobOwner`."""
        return self.room[stream]

    def output_received(self, stream: Stream, data: bytes) -> None:
        """See :class:`IJobOwner`."""
        assert 0 < len(data) <= self.room[stream]
        assert stream not in self.ended
        assert not self.endings
        self.room[stream] -= len(data)
        self.output[stream] += data
        self._look()

    def output_ended(self, stream: Stream) -> None:
        """See :class:`IJobOwner`."""
        assert stream not in self.ended
        assert not self.endings
        self.ended.append(stream)
        self._look()

    def input_consumed(self, size: int) -> None:
        """See :class:`IJobOwner`."""
        assert size > 0
        assert not self.endings
        self.consumed += size
        self._look()

    def input_closed(self) -> None:
        """See :class:`IJobOwner`."""
        assert not self.endings
        self.inputs_closed += 1
        assert self.inputs_closed == 1
        self._look()

    def job_ended(self, end: JobEnd) -> None:
        """See :class:`IJobOwner`."""
        assert sorted(self.ended) == list(OUTPUTS)
        self.endings.append(end.ending)
        self.held_open = end.held_open
        self.usage = end.usage
        self.folder = end.folder
        self.typed, self.unread = end.typed, end.unread
        self.ended_at = reactor.seconds()
        assert len(self.endings) == 1
        self._look()

    def _look(self) -> None:
        ready = [entry for entry in self._waiting if entry[0]()]
        for entry in ready:
            self._waiting.remove(entry)
            reactor.callLater(0, entry[1].callback, None)


def start_job(
    owner: RecordingOwner,
    *argv: str,
    command: str | None = None,
    cwd: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> ProcessJob:
    """Start a command or a program as this process's own user, with a POSIX shell and UTF-8."""
    request = JobRequest(command=command, argv=argv or None, cwd=cwd, environment=tuple((environment or {}).items()))
    account = Account.current(os.environ, shell="/bin/sh", encoding="utf-8")  # noqa: S604 - a path, not a flag
    user = LocalUser(reactor, account)
    job = user.start_job(request, owner)
    assert isinstance(job, ProcessJob)
    return job


async def run_job(
    *argv: str, command: str | None = None, cwd: str | None = None, environment: Mapping[str, str] | None = None
) -> RecordingOwner:
    """Run a command or a program without input to its end."""
    owner = RecordingOwner()
    start_job(owner, *argv, command=command, cwd=cwd, environment=environment).end_input()
    await owner.finished()
    return owner


async def check_output(*argv: str, command: str | None = None, cwd: str | None = None) -> bytes:
    """Run a command or a program that must succeed in silence, and return what it wrote."""
    owner = await run_job(*argv, command=command, cwd=cwd)
    assert owner.stderr == b""
    assert owner.ending == Exited(0)
    return owner.stdout


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no call announces, such as a pipe that has filled or a process that is gone."""
    deadline = reactor.seconds() + PATIENCE
    while not condition():
        assert reactor.seconds() < deadline
        await deferLater(reactor, 0.01)


def open_descriptors() -> list[str]:
    """List this process's descriptors."""
    return sorted(os.listdir("/dev/fd"))
