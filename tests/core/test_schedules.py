"""Two cores and any schedule: whatever is said in whatever order, the rules hold at every moment.

The machine plays both applications and the network.  Frames travel when the schedule says so, some at a time, so that
messages cross each other in every way that the table of a channel speaks of.  Data is a pattern that depends on its
channel, stream and offset, so one byte lost, repeated or out of place is seen at once.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.core.pair import Pair
from twisted_rsh.core.endings import Ending, Exited, JobEnd, RefusalReason, Refused
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelOpened,
    ChannelRequested,
    DataReceived,
    Event,
    JobEnded,
    RoomGained,
    SignalReceived,
    StreamEnded,
    StreamStopped,
    TerminalResized,
)
from twisted_rsh.core.limits import MAX_UNACKNOWLEDGED, MIN_WINDOW, SessionLimits
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Role, Stream

CLIENT, SERVER = Role.CLIENT, Role.SERVER
ROLES = st.sampled_from(Role)
STREAMS = st.sampled_from(Stream)
PICKS = st.integers(0, 5)
LIMITS = SessionLimits(window=MIN_WINDOW, max_channels=3)
PATTERN = bytes(range(251)) * 40


@dataclasses.dataclass
class Flow:
    """One stream, as the two applications know it.

    :ivar sent: bytes the sender gave to its core.
    :ivar received: bytes the receiver got from its core.
    :ivar consumed: bytes the receiver is done with.
    :ivar ended: whether the sender ended it.
    :ivar seen_end: whether the receiver saw that.
    :ivar unwanted: whether the receiver stopped it, or closed its channel.
    :ivar stopped: whether the sender learned that.
    """

    sent: int = 0
    received: int = 0
    consumed: int = 0
    ended: bool = False
    seen_end: bool = False
    unwanted: bool = False
    stopped: bool = False


@dataclasses.dataclass
class Job:
    """One channel, as the two applications know it."""

    flows: dict[Stream, Flow] = dataclasses.field(default_factory=lambda: {stream: Flow() for stream in Stream})
    signals_sent: int = 0
    signals_received: int = 0
    sizes_sent: int = 0
    size_received: int = 0
    requested: bool = False
    accepted: bool = False
    opened: bool = False
    closed: bool = False
    abandoned: bool = False
    ending: Ending | None = None
    told: Ending | None = None


def pattern(channel: int, stream: Stream, offset: int, size: int) -> bytes:
    """Return the only bytes that may be at this place."""
    start = (offset + 17 * channel + 5 * stream) % 251
    return PATTERN[start : start + size]


class Schedules(RuleBasedStateMachine):
    """Any schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(LIMITS)
        self.jobs: dict[int, Job] = {}

    # Who can do what.

    def speaking(self, role: Role) -> list[int]:
        """Return the channels on which a side may still speak."""
        if role is CLIENT:
            return [number for number, job in self.jobs.items() if not job.closed and job.told is None]
        return [number for number, job in self.jobs.items() if job.accepted and job.ending is None]

    def pick(self, numbers: list[int], pick: int) -> int | None:
        """Return one of some channels, if there are any."""
        return numbers[pick % len(numbers)] if numbers else None

    # The client.

    @precondition(lambda self: len(self.jobs) < 60)
    @rule()
    def open(self) -> None:
        """Ask for a job."""
        number = self.pair.client.open(JobRequest(command=f"job {len(self.jobs)}"))
        assert number not in self.jobs
        self.jobs[number] = Job()

    @rule(pick=PICKS, count=st.sampled_from([1, 70]))
    def signal(self, pick: int, count: int) -> None:
        """Send a signal, or so many that some wait for an acknowledgement."""
        number = self.pick(self.speaking(CLIENT), pick)
        for _ in range(count):
            if number is not None and not self.pair.client._outbox.blocked:
                self.pair.client.send_signal(number, "USR1")
                self.jobs[number].signals_sent += 1

    @rule(pick=PICKS, count=st.sampled_from([1, 70]))
    def resize(self, pick: int, count: int) -> None:
        """Give a terminal another size, wider each time, or many sizes at once."""
        number = self.pick(self.speaking(CLIENT), pick)
        for _ in range(count):
            if number is not None:
                self.jobs[number].sizes_sent += 1
                self.pair.client.resize(number, self.jobs[number].sizes_sent, 24)

    @rule(pick=PICKS)
    def close(self, pick: int) -> None:
        """Lose interest in a job."""
        number = self.pick(self.speaking(CLIENT), pick)
        if number is not None:
            self.pair.client.close(number)
            self.jobs[number].closed = True
            for stream in OUTPUTS:
                self.jobs[number].flows[stream].unwanted = True

    # The server.

    @rule(pick=PICKS, refuse=st.booleans())
    def answer(self, pick: int, refuse: bool) -> None:
        """Accept or refuse a job."""
        waiting = [n for n, job in self.jobs.items() if job.requested and not job.accepted and job.ending is None]
        number = self.pick(waiting, pick)
        if number is None:
            return
        if refuse:
            self.end_job(number, Refused(RefusalReason.NOT_PERMITTED, "no"))
        else:
            self.pair.server.accept(number, "utf-8")
            self.jobs[number].accepted = True

    @rule(pick=PICKS, code=st.integers(0, 255))
    def exit(self, pick: int, code: int) -> None:
        """Let a job end."""
        number = self.pick(self.speaking(SERVER), pick)
        if number is not None:
            self.end_job(number, Exited(code))

    def end_job(self, number: int, ending: Ending) -> None:
        """Report how a job ended."""
        self.pair.server.report_exit(number, JobEnd(ending))
        self.jobs[number].ending = ending

    # Both.

    @rule(stream=STREAMS, pick=PICKS, size=st.sampled_from([1, 700, 2500, MIN_WINDOW]))
    def write(self, stream: Stream, pick: int, size: int) -> None:
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

    @rule(stream=STREAMS, pick=PICKS)
    def end(self, stream: Stream, pick: int) -> None:
        """End a stream."""
        number = self.pick(self.speaking(stream.sender), pick)
        if number is not None and not self.jobs[number].flows[stream].ended:
            self.pair.side(stream.sender).end_stream(number, stream)
            self.jobs[number].flows[stream].ended = True

    @rule(stream=STREAMS, pick=PICKS)
    def stop(self, stream: Stream, pick: int) -> None:
        """Want no more of a stream; a second time changes nothing."""
        number = self.pick(self.speaking(stream.sender.peer), pick)
        if number is not None:
            self.pair.side(stream.sender.peer).stop_stream(number, stream)
            self.jobs[number].flows[stream].unwanted = True

    @rule(stream=STREAMS, pick=PICKS, size=st.sampled_from([1, 1024, MIN_WINDOW]))
    def consume(self, stream: Stream, pick: int, size: int) -> None:
        """Be done with some of what arrived."""
        number = self.pick(list(self.jobs), pick)
        if number is not None:
            flow = self.jobs[number].flows[stream]
            size = min(size, flow.received - flow.consumed)
            self.pair.side(stream.sender.peer).consumed(number, stream, size)
            flow.consumed += size

    # The network.

    @rule(role=ROLES)
    def flush(self, role: Role) -> None:
        """Write what a side wants written."""
        self.pair.flush(role)

    @rule(role=ROLES, count=st.sampled_from([1, 3, 20, 1000]))
    def deliver(self, role: Role, count: int) -> None:
        """Let some frames arrive; no core ever finds a breach in another core's."""
        for event in self.pair.deliver(role, count):
            self.happened(role, event)

    @rule(role=ROLES)
    def pause(self, role: Role) -> None:
        """A side's link is full."""
        self.pair.side(role).link_paused()
        assert all(self.pair.side(role).room(n, s) == 0 for n in self.jobs for s in Stream if s.sender is role)

    @rule(role=ROLES)
    def resume(self, role: Role) -> None:
        """It takes bytes again."""
        assert self.pair.side(role).link_resumed() == [RoomGained(None, None)]

    @rule(role=ROLES)
    def silence(self, role: Role) -> None:
        """A side asks for a sign of life."""
        self.pair.now += 15.0
        self.pair.side(role).deadline_reached(self.pair.now)

    # What happened.

    def happened(self, role: Role, event: Event) -> None:
        """Check an event, and take note of it."""
        if isinstance(event, RoomGained):
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
            job.requested = True
        elif isinstance(event, ChannelOpened):
            assert job.accepted and not job.opened and not job.closed
            job.opened = True
        elif isinstance(event, ChannelAbandoned):
            assert job.closed and job.ending is None
            job.abandoned = True
        elif isinstance(event, TerminalResized):
            assert job.ending is None
            assert job.size_received < event.columns <= job.sizes_sent
            job.size_received = event.columns
        else:
            assert job.ending is None
            job.signals_received += 1

    def streamed(self, role: Role, event: DataReceived | StreamEnded | StreamStopped, job: Job) -> None:
        """Check what happened to a stream."""
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

    def ended(self, event: JobEnded, job: Job) -> None:
        """Check that an ending comes behind all of the output, and is the one that was reported."""
        if job.ending is None:
            ending = event.end.ending
            assert isinstance(ending, Refused)
            assert ending.reason is RefusalReason.TOO_MANY_CHANNELS
        else:
            assert event.end == JobEnd(job.ending)
        assert (event.stdout, event.stderr) == tuple(job.flows[stream].sent for stream in OUTPUTS)
        assert all(flow.unwanted or flow.received == flow.sent for flow in (job.flows[stream] for stream in OUTPUTS))
        job.told = job.ending = event.end.ending

    # What always holds.

    @invariant()
    def memory_is_bounded(self) -> None:
        """Nobody holds more than a window of a stream, nor more than 64 control messages under way."""
        for job in self.jobs.values():
            for flow in job.flows.values():
                assert flow.received <= flow.sent
                assert flow.unwanted or flow.sent - flow.consumed <= LIMITS.window
        for role in Role:
            assert len(self.pair.side(role)._outbox.log) <= MAX_UNACKNOWLEDGED
        assert self.pair.client._sizes.keys() <= self.pair.client._channels.keys()

    def settle(self) -> None:
        """Let everything arrive."""
        for role, events in self.pair.settle().items():
            for event in events:
                self.happened(role, event)

    def teardown(self) -> None:
        """Let everything arrive and everything end: nothing was lost, and nothing is left."""
        for role in Role:
            self.pair.side(role).link_resumed()
        self.settle()
        for number, job in self.jobs.items():
            if job.ending is None:
                assert job.requested
                assert job.abandoned is job.closed
                assert job.signals_received == job.signals_sent
                assert job.closed or job.size_received == job.sizes_sent
                stdin = job.flows[Stream.STDIN]
                assert stdin.unwanted or (stdin.received, stdin.seen_end) == (stdin.sent, stdin.ended)
                self.revive(number, job)
                self.end_job(number, Exited(0))
        self.settle()
        assert all(job.told == job.ending is not None for job in self.jobs.values())
        for role in Role:
            assert self.pair.side(role)._channels == {}
            assert not self.pair.side(role)._outbox.blocked

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
            assert (room == 0) if flow.ended or flow.stopped else (room > LIMITS.window * 3 // 4)


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(
    derandomize=True, deadline=None, max_examples=60, stateful_step_count=60, print_blob=False
)


@pytest.mark.parametrize("seed", range(200))
def test_long_schedules(seed: int) -> None:
    """The same machine for longer, in moods: for a while some things happen often and others hardly at all.

    Only so do dozens of control messages pile up, and messages of many kinds cross.
    """
    dice = random.Random(seed)
    machine = Schedules()

    def role() -> Role:
        return dice.choice(list(Role))

    def stream() -> Stream:
        return dice.choice(list(Stream))

    def number() -> int:
        return dice.randrange(6)

    actions: list[Callable[[], None]] = [
        lambda: machine.open() if len(machine.jobs) < 60 else None,
        lambda: machine.signal(number(), dice.choice([1, 70])),
        lambda: machine.resize(number(), dice.choice([1, 70])),
        lambda: machine.close(number()),
        lambda: machine.answer(number(), dice.random() < 0.2),
        lambda: machine.exit(number(), dice.randrange(256)),
        lambda: machine.write(stream(), number(), dice.choice([1, 700, 2500, MIN_WINDOW])),
        lambda: machine.end(stream(), number()),
        lambda: machine.stop(stream(), number()),
        lambda: machine.consume(stream(), dice.randrange(60), dice.choice([1, 1024, MIN_WINDOW])),
        lambda: machine.flush(role()),
        lambda: machine.deliver(role(), dice.choice([1, 3, 20, 1000])),
        lambda: machine.pause(role()),
        lambda: machine.resume(role()),
        lambda: machine.silence(role()),
    ]
    for _ in range(12):
        mood = [dice.random() ** 3 for _ in actions]
        for action in dice.choices(actions, mood, k=60):
            action()
            machine.memory_is_bounded()
    machine.teardown()
