"""Two cores and two applications that do everything they may, in any order, while the rules hold at every moment.

:class:`Applications` plays both applications; the network is a :class:`~tests.core.pair.Pair`, or what a subclass puts
in its place.  Data is a pattern of its channel, stream and offset, signals and suspensions follow a sequence and sizes
grow, so whatever is lost, repeated or out of place is seen at once.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable

from tests.core.pair import Pair
from twisted_rsh.core.channel import ChannelState
from twisted_rsh.core.endings import SIGNAL_NAMES, Ending, Exited, JobEnd, RefusalReason, Refused, ResourceUsage
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelFreed,
    ChannelOpened,
    ChannelRequested,
    DataReceived,
    Event,
    InspectionRequested,
    JobEnded,
    JobSuspended,
    RoomGained,
    ShellInspected,
    SignalReceived,
    StreamEnded,
    StreamStopped,
    TerminalResized,
)
from twisted_rsh.core.limits import MAX_DATA_BYTES, MAX_UNACKNOWLEDGED, MIN_WINDOW, SessionLimits
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Role, Stream
from twisted_rsh.core.shell_state import ShellState
from twisted_rsh.core.windows import Reserve

__all__ = ["LIMITS", "Applications", "Flow", "Job", "pattern"]

CLIENT, SERVER = Role.CLIENT, Role.SERVER

LIMITS = SessionLimits(window=MIN_WINDOW, max_channels=3)
"""Limits that are easily reached."""

RESERVE = 9 * MIN_WINDOW
"""Bytes by which the windows of either side may grow: less than its streams could take."""

MAX_JOBS = 60
"""Jobs in one history: enough to fill the log of control messages."""

SIGNALS = ("USR1", "USR2", "INT")
"""The signals that a job gets, in turn."""

STATES = tuple(state for name in sorted(SIGNAL_NAMES) for state in (name, None))
"""The states of a job, in turn: each signal suspends it, and then it goes on."""

COUNTS = (*[1] * 15, 70)
"""Numbers of signals, sizes or suspensions at once; they seldom exceed the bound of messages under way."""

RUN_EVERY = 3
"""Of so many jobs one has no input, and is asked for with RUN."""

FIRST_SIZES = (700, 300)
"""Bytes of its two outputs that come with the answer."""

USAGE = ResourceUsage(wall=1.0, user=0.5, system=0.25, peak_memory=None)
"""What a job has taken whose end REPLY can tell."""

PATTERN = bytes(range(251)) * 40


@dataclasses.dataclass(slots=True)
class Flow:
    """One stream, as the two applications know it.

    :ivar sent: bytes that the sender gave to its core.
    :ivar received: bytes that the receiver got from its core.
    :ivar consumed: bytes that the receiver has consumed.
    :ivar ended: whether the sender ended the stream.
    :ivar seen_end: whether the receiver saw the end.
    :ivar unwanted: whether the receiver stopped the stream, or closed its channel.
    :ivar stopped: whether the sender learned that.
    """

    sent: int = 0
    received: int = 0
    consumed: int = 0
    ended: bool = False
    seen_end: bool = False
    unwanted: bool = False
    stopped: bool = False


@dataclasses.dataclass(slots=True)
class Job:
    """One channel, as the two applications know it."""

    flows: dict[Stream, Flow] = dataclasses.field(default_factory=lambda: {stream: Flow() for stream in Stream})
    signals_sent: int = 0
    signals_received: int = 0
    sizes_sent: int = 0
    size_received: int = 0
    states_reported: int = 0
    states_told: int = 0
    state_known: str | None = None
    questions_asked: int = 0
    questions_seen: int = 0
    answers_given: int = 0
    answers_told: int = 0
    requested: bool = False
    accepted: bool = False
    opened: bool = False
    closed: bool = False
    abandoned: bool = False
    ending: Ending | None = None
    told: Ending | None = None


def pattern(channel: int, stream: Stream, offset: int, size: int) -> bytes:
    """Return the only bytes that may be at this place of a stream."""
    start = (offset + 17 * channel + 5 * stream) % 251
    return PATTERN[start : start + size]


class Applications:
    """Both applications.

    :ivar pair: the two cores, and what is between them.
    :ivar jobs: what has been asked for, by channel.
    """

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.play_with(Pair(LIMITS))

    def play_with(self, pair: Pair) -> None:
        """Take two cores whose windows may grow."""
        self.pair = pair
        for role in Role:
            pair.side(role).reserve = Reserve(RESERVE)

    # Channels on which something can happen.

    def speaking(self, role: Role) -> list[int]:
        """Return the channels on which a side may still send."""
        if role is CLIENT:
            return [number for number, job in self.jobs.items() if not job.closed and job.told is None]
        return [number for number, job in self.jobs.items() if job.accepted and job.ending is None]

    def pick(self, numbers: list[int], pick: int) -> int | None:
        """Return one of some channels, if there are any."""
        return numbers[pick % len(numbers)] if numbers else None

    # The client.

    def do_open(self) -> None:
        """Ask for a job."""
        if len(self.jobs) < MAX_JOBS:
            has_no_input = len(self.jobs) % RUN_EVERY == RUN_EVERY - 1
            number = self.pair.client.open(JobRequest(command=f"job {len(self.jobs)}"), has_no_input=has_no_input)
            assert number not in self.jobs
            self.jobs[number] = Job()
            self.jobs[number].flows[Stream.STDIN].ended = has_no_input

    def do_signal(self, pick: int, count: int) -> None:
        """Send a signal, or so many that some wait for an acknowledgement."""
        number = self.pick(self.speaking(CLIENT), pick)
        for _ in range(count):
            if number is not None and not self.pair.client._outbox.blocked:
                job = self.jobs[number]
                self.pair.client.send_signal(number, SIGNALS[job.signals_sent % len(SIGNALS)])
                job.signals_sent += 1

    def do_resize(self, pick: int, count: int) -> None:
        """Give a terminal another size, wider each time, or many sizes at once."""
        number = self.pick(self.speaking(CLIENT), pick)
        for _ in range(count):
            if number is not None:
                self.jobs[number].sizes_sent += 1
                self.pair.client.resize(number, self.jobs[number].sizes_sent, 24)

    def do_inspect(self, pick: int) -> None:
        """Ask about a job, unless the last question is not answered."""
        asking = [n for n in self.speaking(CLIENT) if self.jobs[n].opened]
        number = self.pick([n for n in asking if self.jobs[n].questions_asked == self.jobs[n].answers_told], pick)
        if number is not None and not self.pair.client._outbox.blocked:
            self.pair.client.inspect(number)
            self.jobs[number].questions_asked += 1

    def do_close(self, pick: int) -> None:
        """Close the channel of a job."""
        number = self.pick(self.speaking(CLIENT), pick)
        if number is not None:
            self.pair.client.close(number)
            self.jobs[number].closed = True
            for stream in OUTPUTS:
                self.jobs[number].flows[stream].unwanted = True

    # The server.

    def do_answer(self, pick: int, refuse: bool) -> None:
        """Accept or refuse a job."""
        waiting = [n for n, job in self.jobs.items() if job.requested and not job.accepted and job.ending is None]
        number = self.pick(waiting, pick)
        if number is None:
            return
        if refuse:
            self.end_job(number, Refused(RefusalReason.NOT_PERMITTED, "no"))
        else:
            self.jobs[number].accepted = True
            if self.pair.server.takes_reply(number):
                self.reply(number)
            else:
                self.pair.server.accept(number, "utf-8")

    def reply(self, number: int) -> None:
        """Answer a RUN with the first output, and in turn with the end of the job that REPLY can tell, or cannot."""
        output, errors = [self.first(number, stream, size) for stream, size in zip(OUTPUTS, FIRST_SIZES, strict=True)]
        turn = number // RUN_EVERY % 3
        if turn == 0:
            self.pair.server.accept(number, "utf-8", output, errors)
            return
        end = JobEnd(Exited(turn), usage=USAGE if turn == 1 else None)
        self.pair.server.report_run(number, "utf-8", end, output, errors)
        self.jobs[number].ending = end.ending

    def first(self, number: int, stream: Stream, size: int) -> bytes:
        """Return the first bytes of an output, which the core drops if the client has stopped it."""
        flow = self.jobs[number].flows[stream]
        flow.sent = 0 if flow.stopped else size
        return pattern(number, stream, 0, size)

    def do_suspend(self, pick: int, count: int) -> None:
        """Let a signal suspend a job, or let it go on, one after the other."""
        number = self.pick(self.speaking(SERVER), pick)
        for _ in range(count):
            if number is not None:
                job = self.jobs[number]
                self.pair.server.report_suspension(number, STATES[job.states_reported % len(STATES)])
                job.states_reported += 1

    def do_tell(self, pick: int) -> None:
        """Answer a question about a job."""
        asked = [n for n in self.speaking(SERVER) if self.jobs[n].questions_seen > self.jobs[n].answers_given]
        number = self.pick(asked, pick)
        if number is not None:
            job = self.jobs[number]
            job.answers_given += 1
            self.pair.server.report_inspection(number, ShellState(unlisted=job.answers_given))

    def do_exit(self, pick: int, code: int) -> None:
        """Let a job end."""
        number = self.pick(self.speaking(SERVER), pick)
        if number is not None:
            self.end_job(number, Exited(code))

    def end_job(self, number: int, ending: Ending) -> None:
        """Report how a job ended."""
        self.pair.server.report_exit(number, JobEnd(ending))
        self.jobs[number].ending = ending

    # Both.

    def do_write(self, stream: Stream, pick: int, size: int) -> None:
        """Send as much data as there is room for."""
        session = self.pair.side(stream.sender)
        number = self.pick(self.speaking(stream.sender), pick)
        if number is None:
            return
        flow = self.jobs[number].flows[stream]
        size = min(size, session.room(number, stream))
        assert size == 0 or not (flow.ended or flow.stopped)
        session.send_data(number, stream, pattern(number, stream, flow.sent, size))
        flow.sent += size

    def do_end(self, stream: Stream, pick: int) -> None:
        """End a stream."""
        number = self.pick(self.speaking(stream.sender), pick)
        if number is not None and not self.jobs[number].flows[stream].ended:
            self.pair.side(stream.sender).end_stream(number, stream)
            self.jobs[number].flows[stream].ended = True

    def do_stop(self, stream: Stream, pick: int) -> None:
        """Stop a stream; a second time changes nothing."""
        number = self.pick(self.speaking(stream.sender.peer), pick)
        if number is not None:
            self.pair.side(stream.sender.peer).stop_stream(number, stream)
            self.jobs[number].flows[stream].unwanted = True

    def do_consume(self, stream: Stream, pick: int, size: int) -> None:
        """Consume some of the bytes that arrived."""
        held = [number for number, job in self.jobs.items() if job.flows[stream].received > job.flows[stream].consumed]
        number = self.pick(held, pick)
        if number is not None:
            flow = self.jobs[number].flows[stream]
            size = min(size, flow.received - flow.consumed)
            self.pair.side(stream.sender.peer).consumed(number, stream, size)
            flow.consumed += size

    # The network.

    def do_flush(self, role: Role) -> None:
        """Put the payloads of a side on the wire."""
        self.pair.flush(role)

    def do_deliver(self, role: Role, count: int) -> None:
        """Let some frames arrive; no core ever finds a breach in another core's."""
        for event in self.pair.deliver(role, count):
            self.happened(role, event)

    def do_exchange(self) -> None:
        """Let all frames of both sides arrive."""
        for role in Role:
            self.do_flush(role)
            self.do_deliver(role.peer, 1000)

    def do_pause(self, role: Role) -> None:
        """A side's link is full."""
        self.pair.side(role).link_full()
        assert all(self.pair.side(role).room(n, s) == 0 for n in self.jobs for s in Stream if s.sender is role)

    def do_unpause(self, role: Role) -> None:
        """A side's link takes bytes again."""
        assert self.pair.side(role).link_writable() == [RoomGained(None, None)]

    def do_wait(self, role: Role) -> None:
        """A side sends a ping."""
        self.pair.now += 15.0
        self.pair.side(role).deadline_reached(self.pair.now)

    def actions(self, dice: random.Random) -> list[tuple[float, Callable[[], object]]]:
        """Return everything that can happen, and how often next to the rest; each does it in a random way."""
        draw = dice.random

        def below(number: int) -> int:
            return int(draw() * number)

        def one(values: tuple[int, ...]) -> int:
            return values[below(len(values))]

        def role() -> Role:
            return CLIENT if draw() < 0.5 else SERVER

        def stream() -> Stream:
            return Stream(below(3))

        return [
            (0.5, self.do_open),
            (1.0, lambda: self.do_signal(below(6), one(COUNTS))),
            (1.0, lambda: self.do_resize(below(6), one(COUNTS))),
            (1.0, lambda: self.do_suspend(below(6), one(COUNTS))),
            (1.0, lambda: self.do_inspect(below(6))),
            (2.0, lambda: self.do_tell(below(6))),
            (0.1, lambda: self.do_close(below(6))),
            (3.0, lambda: self.do_answer(below(6), draw() < 0.2)),
            (0.15, lambda: self.do_exit(below(6), below(256))),
            (6.0, lambda: self.do_write(stream(), below(6), one((1, 700, 2500, MIN_WINDOW)))),
            (0.2, lambda: self.do_end(stream(), below(6))),
            (0.1, lambda: self.do_stop(stream(), below(6))),
            (4.0, lambda: self.do_consume(stream(), below(6), one((1, 1024, MIN_WINDOW)))),
            (4.0, lambda: self.do_flush(role())),
            (4.0, lambda: self.do_deliver(role(), one((1, 3, 20, 1000)))),
            (0.3, lambda: self.do_pause(role())),
            (2.0, lambda: self.do_unpause(role())),
            (0.5, lambda: self.do_wait(role())),
            (1.0, self.do_exchange),
        ]

    def burst(self, dice: random.Random, count: int) -> None:
        """Do `count` things, in a mood: for a while some happen often and others hardly at all.

        Only so do dozens of control messages pile up, and messages of many kinds cross.
        """
        actions = self.actions(dice)
        for _, action in dice.choices(actions, [weight * dice.random() ** 3 for weight, _ in actions], k=count):
            action()
        self.memory_is_bounded()

    # What happened.

    def happened(self, role: Role, event: Event) -> None:
        """Check an event, and record it."""
        if isinstance(event, RoomGained):
            return
        if isinstance(event, ChannelFreed):
            freed = self.jobs[event.channel]
            # A job that the core refused, beyond the bound of jobs, was not requested.
            assert role is Role.SERVER and not freed.abandoned and (freed.ending is not None or not freed.requested)
            return
        assert isinstance(
            event,
            ChannelRequested
            | ChannelOpened
            | ChannelAbandoned
            | SignalReceived
            | DataReceived
            | StreamEnded
            | StreamStopped
            | TerminalResized
            | JobSuspended
            | InspectionRequested
            | ShellInspected
            | JobEnded,
        )
        job = self.jobs[event.channel]
        assert job.told is None
        if isinstance(event, DataReceived | StreamEnded | StreamStopped):
            self.streamed(role, event, job)
        elif isinstance(event, JobEnded):
            self.ended(event, job)
        elif isinstance(event, ChannelRequested):
            assert event.request == JobRequest(command=f"job {event.channel - 1}")
            assert not job.requested
            job.requested = True
            stdin = job.flows[Stream.STDIN]
            assert stdin.ended or not event.has_no_input
            stdin.seen_end = event.has_no_input
        elif isinstance(event, ChannelOpened):
            assert job.accepted and not job.opened and not job.closed
            job.opened = True
            self.first_arrived(event.channel, event.stdout, event.stderr)
        elif isinstance(event, ChannelAbandoned):
            assert job.closed and job.ending is None and not job.abandoned
            job.abandoned = True
        elif isinstance(event, JobSuspended | InspectionRequested | ShellInspected):
            self.told(event, job)
        elif isinstance(event, TerminalResized):
            assert job.ending is None
            assert job.size_received < event.columns <= job.sizes_sent
            job.size_received = event.columns
        else:
            assert job.ending is None
            assert job.signals_received < job.signals_sent
            assert event.signal == SIGNALS[job.signals_received % len(SIGNALS)]
            job.signals_received += 1

    def first_arrived(self, number: int, stdout: bytes, stderr: bytes) -> None:
        """Check the output that came with an answer."""
        for stream, data in zip(OUTPUTS, (stdout, stderr), strict=True):
            if data:
                self.streamed(CLIENT, DataReceived(number, stream, data), self.jobs[number])

    def streamed(self, role: Role, event: DataReceived | StreamEnded | StreamStopped, job: Job) -> None:
        """Check an event of a stream."""
        flow = job.flows[event.stream]
        if isinstance(event, StreamStopped):
            assert role is event.stream.sender
            assert flow.unwanted and not flow.stopped and not flow.ended
            flow.stopped = True
            return
        assert role is event.stream.sender.peer
        assert not flow.unwanted and not flow.seen_end
        if isinstance(event, StreamEnded):
            assert flow.ended and flow.received == flow.sent
            flow.seen_end = True
        else:
            assert event.data == pattern(event.channel, event.stream, flow.received, len(event.data))
            flow.received += len(event.data)

    def told(self, event: JobSuspended | InspectionRequested | ShellInspected, job: Job) -> None:
        """Check an event that tells how it is with a job."""
        if isinstance(event, JobSuspended):
            self.suspended(event, job)
        else:
            self.inspected(event, job)

    def suspended(self, event: JobSuspended, job: Job) -> None:
        """Check that the states of a job are reported in order, never twice, and not early."""
        assert job.opened and not job.closed
        assert event.signal != job.state_known
        coming = (STATES[turn % len(STATES)] for turn in range(job.states_told, job.states_reported))
        job.states_told += 1 + list(coming).index(event.signal)
        job.state_known = event.signal

    def inspected(self, event: InspectionRequested | ShellInspected, job: Job) -> None:
        """Check that each question comes once and has one answer, the one that was given."""
        if isinstance(event, InspectionRequested):
            assert job.ending is None and not job.abandoned
            job.questions_seen += 1
            assert job.answers_given < job.questions_seen <= job.questions_asked
        else:
            assert not job.closed
            job.answers_told += 1
            assert event.state == ShellState(unlisted=job.answers_told)
            assert job.answers_told <= job.answers_given

    def ended(self, event: JobEnded, job: Job) -> None:
        """Check that an ending comes behind all of the output, and is the one that was reported."""
        if job.ending is None:
            ending = event.end.ending
            assert isinstance(ending, Refused)
            assert ending.reason is RefusalReason.TOO_MANY_CHANNELS
        else:
            assert event.end in (JobEnd(job.ending), JobEnd(job.ending, usage=USAGE))
        if event.encoding is not None:
            assert job.accepted and not job.opened
            self.first_arrived(event.channel, event.output, event.errors)
        assert (event.stdout, event.stderr) == tuple(job.flows[stream].sent for stream in OUTPUTS)
        assert all(flow.unwanted or flow.received == flow.sent for flow in (job.flows[stream] for stream in OUTPUTS))
        job.told = job.ending = event.end.ending

    # What always holds.

    def memory_is_bounded(self) -> None:
        """Neither side holds more than a window and a piece of each stream and what its reserve has given, nor over 64
        control messages under way."""
        for job in self.jobs.values():
            for flow in job.flows.values():
                assert flow.received <= flow.sent
                assert flow.unwanted or flow.sent - flow.consumed <= LIMITS.window + RESERVE
        for role in Role:
            session = self.pair.side(role)
            assert len(session._outbox.log) <= MAX_UNACKNOWLEDGED
            more = 0
            for channel in session._channels.values():
                for outgoing in channel.sends.values():
                    kept = sum(len(data) for _, _, data in outgoing._kept)
                    assert kept <= outgoing.sent - outgoing.consumed + MAX_DATA_BYTES
                    more += max(outgoing.sent - outgoing.consumed - LIMITS.window, 0)
                for incoming in channel.receives.values():
                    unread = 0 if incoming.discarding or channel.over else incoming.received - incoming._consumed
                    more += max(unread - LIMITS.window, 0)
            assert more <= RESERVE - session.reserve.free <= RESERVE
        assert self.pair.client._latest.keys() <= self.pair.client._channels.keys()
        server = self.pair.server
        running = {number for number, channel in server._channels.items() if channel.state is ChannelState.RUNNING}
        assert server._latest.keys() | server._told.keys() | server._asked <= running
        assert server._answers.keys() <= server._asked

    def settle(self) -> None:
        """Let everything arrive."""
        for role, events in self.pair.settle().items():
            self.all_happened(role, events)

    def all_happened(self, role: Role, events: Iterable[Event]) -> None:
        """Check some events."""
        for event in events:
            self.happened(role, event)

    def finish(self) -> None:
        """Let everything arrive and everything end: nothing was lost, and nothing is left."""
        for role in Role:
            self.pair.side(role).link_writable()
        self.settle()
        for number, job in self.jobs.items():
            if job.ending is None:
                assert job.requested
                assert job.abandoned is job.closed
                assert job.signals_received == job.signals_sent
                assert job.closed or job.size_received == job.sizes_sent
                state = STATES[(job.states_reported - 1) % len(STATES)] if job.states_reported else None
                assert job.closed or job.state_known == state
                assert job.closed or job.questions_seen == job.questions_asked
                assert job.closed or job.answers_told == job.answers_given
                stdin = job.flows[Stream.STDIN]
                assert stdin.unwanted or (stdin.received, stdin.seen_end) == (stdin.sent, stdin.ended)
                self.revive(number, job)
                self.end_job(number, Exited(0))
        self.settle()
        assert all(job.told == job.ending is not None for job in self.jobs.values())
        for role in Role:
            assert self.pair.side(role)._channels == {}
            assert not self.pair.side(role)._outbox.blocked
            assert self.pair.side(role).reserve.free == RESERVE

    def revive(self, number: int, job: Job) -> None:
        """Show that no stream is stuck: once everything is consumed there is a whole window of room or nearly so."""
        if not job.accepted or job.closed:
            return
        for stream, flow in job.flows.items():
            if flow.received > flow.consumed:
                self.pair.side(stream.sender.peer).consumed(number, stream, flow.received - flow.consumed)
            flow.consumed = flow.received
        self.settle()
        for stream, flow in job.flows.items():
            room = self.pair.side(stream.sender).room(number, stream)
            receiver = self.pair.side(stream.sender.peer)._channels[number].receives[stream]
            enough = LIMITS.window - receiver._window.credit_bytes
            assert (room == 0) if flow.ended or flow.stopped else (room > enough)
