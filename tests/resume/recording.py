"""A session that is always the same, over connections that are cut: what its client heard, and what its jobs saw.

Everything but the network is real: the client's links and its search for new ones, TLS, the server's links and its
sessions.  There is no time but that of a clock, which jumps from one call to the next.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from tests.link.wire import ALICE, client_key, collecting_log, failures
from twisted_rsh import Connection, Job, Terminal
from twisted_rsh.client.errors import Error
from twisted_rsh.core.endings import Exited, JobEnd, ResourceUsage
from twisted_rsh.core.limits import MIN_WINDOW, SessionLimits
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser
from twisted_rsh.server import ServiceOptions
from twisted_rsh.testing import NO_FAULTS, Direction, MemoryEndpoint, MemoryPair, Schedule, ScriptedJob
from twisted_rsh.trust.server_key import ServerKey

__all__ = ["GREETING", "LIMITS", "PIECE", "SLACK_BYTES", "Recording", "play", "uncut"]

LIMITS = SessionLimits(window=MIN_WINDOW)
"""A small window, so that what a job writes comes to its end, and waits for credit."""

PIECE = bytes(range(256)) * 2
"""Bytes of input; no two neighbours are alike."""

GREETING = bytes(range(255)) * 18
"""Bytes of output: more than the window."""

SLACK_BYTES = 8
"""Bytes by which one run may be longer than another: the signatures of TLS are of different lengths."""

USAGE = ResourceUsage(wall=1.0, user=0.5, system=0.25, peak_memory=None)
"""What a brief job takes."""

FORGOTTEN_SECONDS = 4000.0
"""Seconds after which a server has forgotten every session that no client came back to."""

STEP_SECONDS = 15.0
"""Seconds that pass at once meanwhile: no timer of a session that waits is shorter."""


class Diligent(ScriptedJob):
    """A job that answers everything it is told, so that whatever happens to it shows in its output.

    It writes what it reads to stdout, the names of signals to stderr, and at the end of its input what it has seen.

    :ivar seen: what it was told, in order, neighbouring input as one.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner) -> None:
        super().__init__(request, owner)
        self.seen: list[tuple[object, ...]] = [("start", request.command)]
        self._is_to_greet = request.command == "greet"

    def greet(self) -> None:
        """Greet once, if that is the command."""
        if self._is_to_greet:
            self._is_to_greet = False
            self.write(b"hello\n", Stream.STDERR)
            self.write(GREETING)

    def write_input(self, data: bytes) -> None:
        """Consume it, and write it back."""
        if self.seen[-1][0] == "input":
            data_before = self.seen.pop()[1]
            assert isinstance(data_before, bytes)
            self.seen.append(("input", data_before + data))
        else:
            self.seen.append(("input", data))
        super().write_input(data)
        self.write(data)

    def end_input(self) -> None:
        """End, with the number of signals that came as the status."""
        self.seen.append(("end of input",))
        self.greet()
        self.write(b"the end\n")
        self.end(Exited(sum(what[0] == "signal" for what in self.seen)))

    def send_signal(self, name: str) -> None:
        """Tell of it, and survive it."""
        self.seen.append(("signal", name))
        self.write(f"{name}\n".encode(), Stream.STDERR)

    def resize(self, columns: int, rows: int) -> None:
        """Tell of it."""
        self.seen.append(("size", columns, rows))
        self.write(f"{columns}x{rows}\n".encode(), Stream.STDERR)

    def close_output(self, stream: Stream) -> None:
        """Note it: no client of these tests does that."""
        self.seen.append(("close", stream))
        super().close_output(stream)

    def terminate(self) -> None:
        """Note it, and end."""
        self.seen.append(("terminate",))
        super().terminate()


class _Measured:
    """The owner of a job, which learns what the job has taken, so that one frame can tell all about it."""

    def __init__(self, owner: IJobOwner) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._owner, name)

    def job_ended(self, end: JobEnd) -> None:
        """Report the end with a usage."""
        self._owner.job_ended(replace(end, usage=USAGE))


@implementer(IShellUser)
class DiligentUser:
    """A user that starts diligent jobs.

    :ivar jobs: those that were started.
    """

    def __init__(self, clock: Clock) -> None:
        self.name = ALICE
        self.encoding = "utf-8"
        self.jobs: list[Diligent] = []
        self._clock = clock

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """Start it; it writes a moment later, as a process does."""
        measured: Any = _Measured(owner)
        job = Diligent(request, measured if request.command == "brief" else owner)
        self.jobs.append(job)
        self._clock.callLater(0.001, job.greet)
        return job


@dataclass
class Recording:
    """The outcome of one session.

    :ivar heard: what the client heard, a line each: the outputs of each job and its ending.
    :ivar seen: what each job was told.
    :ivar error: why no session began, or ``None``.
    :ivar lost: why the session was over in the end.
    :ivar bugs: errors that were logged.
    :ivar left: what the server still had when it should have forgotten everything: sessions, links, jobs, timers.
    :ivar endpoint: the connections there were.
    :ivar login_bytes: how many bytes had arrived in each direction when the client was logged in.
    :ivar heard_bytes: likewise, when it had heard everything and was about to say goodbye.
    """

    heard: list[tuple[str, object]] = field(default_factory=list)
    seen: list[list[tuple[object, ...]]] = field(default_factory=list)
    error: BaseException | None = None
    lost: str | None = None
    bugs: list[object] = field(default_factory=list)
    left: tuple[int, int, int, int] = (0, 0, 0, 0)
    endpoint: MemoryEndpoint = field(init=False)
    login_bytes: dict[Direction, int] = field(default_factory=dict)
    heard_bytes: dict[Direction, int] = field(default_factory=dict)

    @property
    def failed_cleanly(self) -> bool:
        """Whether no session began, the client said so once in its own words, and no job ever ran."""
        return isinstance(self.error, Error) and not self.heard and not self.seen

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong inside, and nothing is left."""
        return not self.bugs and not any(self.left)


class _Output:
    """Keeps what a job writes, and waits for a number of bytes of it."""

    def __init__(self) -> None:
        self.data = b""
        self._wanted = 0
        self._waiting: Deferred[None] | None = None

    def follow(self, job: Job, stream: Stream) -> None:
        """Begin."""
        output = job.stdout if stream is Stream.STDOUT else job.stderr

        def write(data: bytes) -> None:
            output.consumed(len(data))
            self.data += data
            if self._waiting is not None and len(self.data) >= self._wanted:
                waiting, self._waiting = self._waiting, None
                waiting.callback(None)

        output.forward(write)

    async def reach(self, total: int) -> None:
        """Wait until so much has come."""
        if len(self.data) < total:
            self._wanted, self._waiting = total, Deferred()
            await self._waiting


async def _converse(connection: Connection, recording: Recording) -> None:
    """Use everything that a session has: at first each thing by itself, and then many at once."""
    heard = recording.heard
    work = connection.start("work", terminal=Terminal())
    stdout, stderr = _Output(), _Output()
    stdout.follow(work, Stream.STDOUT)
    stderr.follow(work, Stream.STDERR)
    await work.when_started()
    heard.append(("encoding", work.encoding))
    await work.stdin.write(b"a line\n")
    await stdout.reach(7)
    work.send_signal("INT")
    await stderr.reach(4)
    work.resize(100, 40)
    await stderr.reach(11)
    work.send_signal("USR1")
    work.resize(90, 30)
    writing = work.stdin.write(PIECE)
    work.send_signal("USR1")
    await writing
    await stdout.reach(7 + len(PIECE))
    work.stdin.end()
    end = await work.wait()
    heard += [("stdout", stdout.data), ("stderr", stderr.data), ("ending", end.ending)]
    greeted = await connection.run("greet")
    heard += [("stdout", greeted.stdout), ("stderr", greeted.stderr), ("ending", greeted.ending)]
    for _ in range(2):  # a frame each way, and the second closes the channel of the first
        brief = await connection.run("brief")
        heard += [("stdout", brief.stdout), ("usage", brief.usage), ("ending", brief.ending)]


@functools.cache
def _server_key() -> ServerKey:
    """Return the key of the server, the same one each time, so that all runs are of one length."""
    return ServerKey.generate()


@functools.cache
def uncut() -> Recording:
    """Return the session over a connection that lasts: what all others are compared with."""
    return play(NO_FAULTS)


def play(schedule: Schedule) -> Recording:
    """Have the recorded session once, and let the server forget it.

    :param schedule: what happens to its connections.
    """
    recording, clock = Recording(), Clock()
    user = DiligentUser(clock)
    with collecting_log() as events:
        pair = MemoryPair(
            clock,
            user,
            schedule=schedule,
            options=ServiceOptions(limits=LIMITS),
            server_key=_server_key(),
            client_key=client_key(),
        )
        recording.endpoint = endpoint = pair.endpoint

        async def live() -> None:
            connection = await pair.connect(limits=LIMITS)
            recording.login_bytes = {way: endpoint.connections[0].delivered(way) for way in Direction}
            await _converse(connection, recording)
            recording.heard_bytes = {way: endpoint.connections[0].delivered(way) for way in Direction}
            await connection.close()
            recording.lost = connection.lost

        try:
            pair.run_until_complete(live())
        except Exception as error:  # noqa: BLE001 - of any class: the caller looks at it
            recording.error = error
        recording.seen = [job.seen for job in user.jobs]
        forgotten_at = clock.seconds() + FORGOTTEN_SECONDS
        while clock.seconds() < forgotten_at:
            clock.advance(STEP_SECONDS)
    recording.bugs = [*failures(events)]
    server = pair.server
    waiting = server.strangers.admission.count
    recording.left = (len(server.sessions), len(server.links), waiting, len(clock.getDelayedCalls()))
    return recording
