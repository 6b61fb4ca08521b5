"""A session that is always the same, over connections that are cut: what its client heard, and what its jobs saw.

Everything but the network is real: the client's links and its search for new ones, TLS, the server's links and its
sessions.  There is no time but that of a clock, which jumps from one call to the next.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.link.wire import ALICE, client_key, collecting_log, failures
from tests.server.rig import Rig
from twisted_rsh import Connection, Job, Terminal, connect_to_endpoint
from twisted_rsh.client.errors import Error
from twisted_rsh.core.endings import Ending, Exited, JobEnd
from twisted_rsh.core.limits import MIN_WINDOW, SessionLimits
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser
from twisted_rsh.testing import NO_FAULTS, Direction, MemoryEndpoint, Schedule

__all__ = ["GREETING", "LIMITS", "PIECE", "SLACK_BYTES", "Recording", "play", "uncut"]

LIMITS = SessionLimits(window=MIN_WINDOW)
"""A small window, so that what a job writes comes to its end, and waits for credit."""

PIECE = bytes(range(256)) * 2
"""Bytes of input; no two neighbours are alike."""

GREETING = bytes(range(255)) * 18
"""Bytes of output: more than the window."""

SLACK_BYTES = 8
"""Bytes by which one run may be longer than another: the signatures of TLS are of different lengths."""

MAX_STEPS = 20_000
"""Jumps of the clock after which a session hangs; the recorded one takes a few hundred."""

FORGOTTEN_SECONDS = 4000.0
"""Seconds after which a server has forgotten every session that no client came back to."""


@implementer(IJob)
class Diligent:
    """A job that answers everything it is told, so that whatever happens to it shows in its output.

    It writes what it reads to stdout, the names of signals to stderr, and at the end of its input what it has seen.

    :ivar seen: what it was told, in order, neighbouring input as one.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner) -> None:
        self.seen: list[tuple[object, ...]] = [("start", request.command)]
        self._owner = owner
        self._output: dict[Stream, bytes] = dict.fromkeys(OUTPUTS, b"")
        self._ending: Ending | None = None
        if request.command == "greet":
            self._output[Stream.STDOUT] = GREETING
            self._output[Stream.STDERR] = b"hello\n"

    def write_input(self, data: bytes) -> None:
        """Consume it, and write it back."""
        if self.seen[-1][0] == "input":
            data_before = self.seen.pop()[1]
            assert isinstance(data_before, bytes)
            self.seen.append(("input", data_before + data))
        else:
            self.seen.append(("input", data))
        self._owner.input_consumed(len(data))
        self._write(Stream.STDOUT, data)

    def end_input(self) -> None:
        """End, with the number of signals that came as the status."""
        self.seen.append(("end of input",))
        self._ending = Exited(sum(what[0] == "signal" for what in self.seen))
        self._write(Stream.STDOUT, b"the end\n")

    def send_signal(self, name: str) -> None:
        """Tell of it."""
        self.seen.append(("signal", name))
        self._write(Stream.STDERR, f"{name}\n".encode())

    def resize(self, columns: int, rows: int) -> None:
        """Tell of it."""
        self.seen.append(("size", columns, rows))
        self._write(Stream.STDERR, f"{columns}x{rows}\n".encode())

    def resume_output(self, stream: Stream) -> None:
        """Go on."""
        self.go_on()

    def close_output(self, stream: Stream) -> None:
        """Note it: no client should."""
        self.seen.append(("close", stream))

    def terminate(self) -> None:
        """Note it, and end."""
        self.seen.append(("terminate",))
        self._output = dict.fromkeys(OUTPUTS, b"")
        self._ending = Exited(99)
        self.go_on()

    def go_on(self) -> None:
        """Write as much as there is room for, and end behind the last byte."""
        for stream in OUTPUTS:
            size = min(len(self._output[stream]), self._owner.output_room(stream))
            if size:
                data, self._output[stream] = self._output[stream][:size], self._output[stream][size:]
                self._owner.output_received(stream, data)
        if self._ending is not None and not any(self._output.values()):
            ending, self._ending = self._ending, None
            for stream in OUTPUTS:
                self._owner.output_ended(stream)
            self._owner.job_ended(JobEnd(ending))

    def _write(self, stream: Stream, data: bytes) -> None:
        self._output[stream] += data
        self.go_on()


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
        job = Diligent(request, owner)
        self.jobs.append(job)
        self._clock.callLater(0.001, job.go_on)
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


def _advance(clock: Clock) -> None:
    """Jump to the next call, or stay if there is one now."""
    calls = clock.getDelayedCalls()
    assert calls, "no call is left to wait for"
    clock.advance(max(min(call.getTime() for call in calls) - clock.seconds(), 0))


def _finish(clock: Clock, running: Awaitable[object]) -> Failure | None:
    """Let time pass until something is done, and return how it failed, if it did."""
    ends: list[Failure | None] = []

    async def run() -> None:
        await running

    Deferred.fromCoroutine(run()).addCallbacks(lambda _: ends.append(None), ends.append)
    steps = 0
    while not ends:
        steps += 1
        assert steps < MAX_STEPS, "it hangs"
        _advance(clock)
    return ends[0]


@functools.cache
def uncut() -> Recording:
    """Return the session over a connection that lasts: what all others are compared with."""
    return play(NO_FAULTS)


def play(schedule: Schedule) -> Recording:
    """Have the recorded session once, and let the server forget it.

    :param schedule: what happens to its connections.
    """
    recording = Recording()
    with collecting_log() as events:
        rig = Rig(LIMITS)
        user = rig.realm.user = DiligentUser(rig.clock)
        recording.endpoint = endpoint = MemoryEndpoint(rig.clock, rig.factory, schedule)

        async def live() -> None:
            connection = await connect_to_endpoint(rig.clock, endpoint, rig.pin, client_key(), ALICE, LIMITS)
            recording.login_bytes = {way: endpoint.connections[0].delivered(way) for way in Direction}
            await _converse(connection, recording)
            recording.heard_bytes = {way: endpoint.connections[0].delivered(way) for way in Direction}
            await connection.close()
            recording.lost = connection.lost

        failure = _finish(rig.clock, live())
        recording.error = None if failure is None else failure.value
        recording.seen = [job.seen for job in user.jobs]
        rig.away(FORGOTTEN_SECONDS)
    recording.bugs = [*failures(events)]
    recording.left = (len(rig.sessions), len(rig.links), rig.waiting, len(rig.clock.getDelayedCalls()))
    return recording
