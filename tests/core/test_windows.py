"""Windows that fit the path, and the memory that they may take."""

from __future__ import annotations

import heapq
import itertools

import pytest

from tests.core.pair import Pair
from twisted_rsh.core.credit import ReceiveStream, SendStream
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.errors import LocalProtocolError
from twisted_rsh.core.events import DataReceived, RoomGained
from twisted_rsh.core.limits import (
    DEFAULT_WINDOW,
    MAX_WINDOW,
    MAX_WINDOWS,
    SESSION_RESERVE_BYTES,
    SHRINK_ROUND_TRIPS,
    START_WINDOWS,
    SessionLimits,
)
from twisted_rsh.core.messages import Credit, Ping
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Role, Stream
from twisted_rsh.core.windows import Reserve, Window

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, _ = Stream
BASE = 4096
ENOUGH = 1024 * BASE
MIB = 1024 * 1024
ON_TERMINAL = JobRequest(command="cat", terminal=Terminal(term="xterm"))


# The reserve.


def test_a_reserve() -> None:
    """A reserve gives as many bytes as it has, and those that come back again; one byte more it does not give."""
    reserve = Reserve(100)
    assert reserve.take(60)
    assert reserve.free == 40
    assert not reserve.take(41)
    assert reserve.take(40)
    assert reserve.free == 0
    reserve.give(30)
    assert reserve.free == 30


def test_parts_of_a_reserve() -> None:
    """What a session takes is missing in the whole, and no session takes more than its part."""
    whole = Reserve(100)
    one, other = whole.part(80), whole.part(80)
    assert one.take(80)
    assert not one.take(1)
    assert other.free == 20
    assert not other.take(21)
    assert one.free == 0
    one.give(10)
    assert other.take(30)
    assert whole.free == 0


def test_the_end_of_a_session_gives_its_part_back() -> None:
    """A part that is closed gives everything back, and gives nothing any more."""
    whole = Reserve(100)
    part = whole.part()
    assert part.take(100)
    part.close()
    assert whole.free == 100
    assert not part.take(1)


@pytest.mark.parametrize(("taken", "is_short"), [(75, False), (76, True)])
def test_a_short_reserve(taken: int, is_short: bool) -> None:
    """A reserve is short when less than a quarter is left, in itself or in the whole."""
    whole = Reserve(100)
    assert whole.take(taken)
    assert whole.is_short is is_short
    assert whole.part(1000).is_short is is_short


# One window.


class Reading:
    """A stream whose bytes are consumed as they come.

    :param reserve: bytes that the window may grow by.
    """

    def __init__(self, reserve: Reserve, *, starts_large: bool = True) -> None:
        self.window = Window(BASE, reserve, starts_large=starts_large)
        self.now = 0.0
        self.received = self.consumed = 0
        self.limit = BASE

    def use_up(self, seconds: float, *, unread: int = 0, round_trip: float | None = 1.0) -> int:
        """Let a window of bytes arrive, all but some of them be consumed, and a credit be due.

        :returns: the size of the window then.
        """
        self.now += seconds
        self.received += self.window.size
        self.consumed = self.received - unread
        self.limit = self.window.fit(self.received, self.consumed, self.limit, self.now, round_trip)
        return self.window.size


def test_the_first_credit() -> None:
    """A stream of a command gets four windows with its first credit, one on a terminal does not."""
    assert Reading(Reserve(ENOUGH)).use_up(1.0) == START_WINDOWS * BASE
    assert Reading(Reserve(ENOUGH), starts_large=False).use_up(1.0) == BASE


def test_growth() -> None:
    """A window that is used up within two round trips doubles, up to 64 windows of the start; slower ones stay."""
    stream = Reading(Reserve(ENOUGH))
    stream.use_up(0.0)
    assert [stream.use_up(2.0) // BASE for _ in range(5)] == [8, 16, 32, 64, 64]
    assert MAX_WINDOWS == 64
    stream = Reading(Reserve(ENOUGH))
    stream.use_up(0.0)
    assert [stream.use_up(2.01) // BASE for _ in range(3)] == [4, 4, 4]


def test_no_window_beyond_the_largest() -> None:
    """No window grows beyond the protocol's largest, whatever the session's window is."""
    window = Window(MAX_WINDOW // 2 + 1, Reserve(10 * MAX_WINDOW), starts_large=True)
    assert window.fit(1, 1, 0, 0.0, None) == 1 + MAX_WINDOW
    assert Window(MAX_WINDOW, Reserve(10 * MAX_WINDOW), starts_large=True).fit(1, 1, 0, 0.0, None) == 1 + MAX_WINDOW


def test_no_growth_without_a_round_trip() -> None:
    """As long as no round trip is known, the window stays as it is after the first credit."""
    stream = Reading(Reserve(ENOUGH))
    assert [stream.use_up(0.0, round_trip=None) // BASE for _ in range(3)] == [4, 4, 4]


def test_no_growth_without_a_reader() -> None:
    """A window grows only if the application has consumed more than half of it."""
    stream = Reading(Reserve(ENOUGH))
    size = stream.use_up(0.0)
    assert stream.use_up(1.0, unread=size // 2) == size
    assert stream.use_up(1.0, unread=size // 2 - 1) == 2 * size


def test_shrinking() -> None:
    """A window that is not used up in eight round trips is halved, down to what it had after the first credit."""
    stream = Reading(Reserve(ENOUGH))
    for _ in range(4):
        stream.use_up(1.0)
    assert stream.window.size == 32 * BASE
    assert stream.use_up(float(SHRINK_ROUND_TRIPS)) == 32 * BASE
    assert [stream.use_up(SHRINK_ROUND_TRIPS + 0.1) // BASE for _ in range(5)] == [16, 8, 4, 4, 4]


def test_a_limit_is_not_taken_back() -> None:
    """A window that shrinks grants nothing more until the bytes that were granted are used up so far."""
    reserve = Reserve(ENOUGH)
    stream = Reading(reserve)
    for _ in range(4):
        stream.use_up(1.0)
    limit, size = stream.limit, stream.window.size
    assert limit == stream.consumed + size
    stream.now += 100.0
    stream.received += size
    stream.consumed = stream.received - size  # nothing of it is consumed yet
    assert stream.window.fit(stream.received, stream.consumed, limit, stream.now, 1.0) == limit
    assert stream.window.size == size // 2
    assert reserve.free == ENOUGH - (size - BASE)
    assert stream.window.fit(stream.received, stream.received, limit, stream.now, 1.0) == stream.received + size // 2
    assert reserve.free == ENOUGH - (size // 2 - BASE)


def test_a_short_reserve_takes_windows_back() -> None:
    """Where the reserve is short, a window that is not too small is halved, down to that of the start."""
    reserve = Reserve(ENOUGH)
    stream = Reading(reserve)
    for _ in range(3):
        stream.use_up(1.0)
    assert stream.window.size == 16 * BASE
    assert stream.use_up(3.0) == 16 * BASE
    assert reserve.take(reserve.free)
    assert [stream.use_up(3.0) // BASE for _ in range(5)] == [8, 4, 2, 1, 1]


@pytest.mark.parametrize(("missing", "windows"), [(0, 4), (1, 2)])
def test_no_growth_beyond_the_reserve(missing: int, windows: int) -> None:
    """A window grows if the reserve has bytes for all of it; one byte less is enough for half of it alone."""
    reserve = Reserve(3 * BASE)
    assert reserve.take(missing)
    stream = Reading(reserve)
    for _ in range(3):
        stream.use_up(1.0)
    assert stream.window.size == windows * BASE
    assert reserve.free == 3 * BASE - missing - (windows - 1) * BASE


def test_no_window_beyond_the_whole_reserve() -> None:
    """A window grows to no more than the reserve has in all, and not at all where it has nothing."""
    assert [Reading(Reserve(size)).use_up(1.0) for size in (0, 1, 3 * BASE)] == [BASE, BASE + 1, 4 * BASE]


def test_a_stream_that_has_ended() -> None:
    """The end of a stream gives the growth back, but for the bytes that are not consumed yet."""
    reserve = Reserve(ENOUGH)
    stream = ReceiveStream(Window(BASE, reserve, starts_large=True))
    stream.receive(0, BASE)
    stream.consume(BASE)
    assert stream.credit_due(0.0, None) == (5 * BASE, BASE)
    assert reserve.free == ENOUGH - 3 * BASE
    stream.receive(BASE, 3 * BASE)
    stream.end(4 * BASE)
    assert reserve.free == ENOUGH - 2 * BASE
    stream.consume(BASE)
    assert reserve.free == ENOUGH - BASE
    stream.consume(2 * BASE)
    assert reserve.free == ENOUGH


def test_a_stream_that_is_discarded() -> None:
    """A stream whose bytes are dropped gives its growth back, and does not grow again."""
    reserve = Reserve(ENOUGH)
    stream = ReceiveStream(Window(BASE, reserve, starts_large=True))
    stream.receive(0, BASE)
    stream.consume(BASE)
    stream.credit_due(0.0, None)
    stream.discard()
    for _ in range(5):
        stream.receive(stream.received, BASE)
        stream.credit_due(0.0, 1.0)
        assert reserve.free == ENOUGH


# What a sender keeps.


def test_a_sender_keeps_no_more_than_it_has_memory_for() -> None:
    """A sender sends as far as the credit and its memory reach, to the byte, and counts what it keeps."""
    reserve = Reserve(100)
    stream = SendStream(BASE, reserve)
    assert stream.credit(ENOUGH, 0)
    assert stream.room == BASE + 100
    stream.send(bytes(BASE), 0)
    assert (stream.room, reserve.free) == (100, 100)
    stream.send(bytes(60), 1)
    assert (stream.room, reserve.free, stream.kept_in_window) == (40, 40, BASE)
    stream.send(bytes(40), 2)
    assert (stream.room, reserve.free, stream.kept_in_window) == (0, 0, BASE)
    with pytest.raises(LocalProtocolError):
        stream.send(b"x", 3)
    assert stream.credit(ENOUGH, 30)
    assert (stream.room, reserve.free) == (30, 30)
    assert stream.credit(ENOUGH, BASE + 100)
    assert (stream.room, reserve.free, stream.kept_in_window) == (BASE + 100, 100, 0)


def test_another_stream_takes_the_memory() -> None:
    """What one stream keeps is missing for another, which goes on with its window, and has it back later."""
    reserve = Reserve(100)
    one, other = SendStream(BASE, reserve), SendStream(BASE, reserve)
    one.credit(ENOUGH, 0)
    other.credit(ENOUGH, 0)
    one.send(bytes(BASE + 100), 0)
    other.send(bytes(BASE), 0)
    assert other.room == 0
    one.credit(ENOUGH, BASE)
    assert other.room == 100
    # Its limit stays as it is: the bytes that were consumed are what makes the room, and somebody must hear of it.
    assert other.credit(ENOUGH, 1)


def test_a_free_channel_keeps_nothing() -> None:
    """What a channel that is free has kept goes back to the reserve."""
    reserve = Reserve(100)
    stream = SendStream(BASE, reserve)
    stream.credit(ENOUGH, 0)
    stream.send(bytes(BASE + 100), 0)
    stream.release()
    assert reserve.free == 100
    assert stream.kept_from(0) == []


# Two sessions.


def growing(limits: SessionLimits | None = None) -> Pair:
    """Return two sessions whose windows may grow."""
    pair = Pair(SessionLimits() if limits is None else limits)
    for role in Role:
        pair.side(role).reserve = Reserve(SESSION_RESERVE_BYTES)
    return pair


class Far:
    """Two sessions that are far from each other, and a job whose output or input never ends; its time is made up.

    The reader takes what comes at once.

    :param seconds: there and back.
    :param rate: bytes in a second that the way carries.
    :param sender: the side that sends.
    :param request: the job.
    """

    def __init__(self, seconds: float, rate: float, sender: Role = SERVER, request: JobRequest | None = None) -> None:
        self.pair = growing()
        request = JobRequest(command="cat") if request is None else request
        self.channel = self.pair.open(request)
        self.now = self.pair.now
        self.received = 0
        self.largest = 0
        self._one_way = seconds / 2
        self._rate = rate
        self._sender = sender
        self._stream = STDOUT if sender is SERVER else STDIN
        self._free_at = dict.fromkeys(Role, 0.0)
        self._under_way: list[tuple[float, int, Role, bytes]] = []
        self._order = itertools.count()

    def run(self, until: float) -> None:
        """Let time go on."""
        self._send()
        while self._under_way and self._under_way[0][0] <= until:
            self.now, _, role, payload = heapq.heappop(self._under_way)
            for event in self.pair.side(role).receive_frame(payload, self.now):
                if isinstance(event, DataReceived):
                    self.received += len(event.data)
                    self.pair.side(role).consumed(self.channel, self._stream, len(event.data))
                elif isinstance(event, RoomGained):
                    self._send()
            self._flush(role)

    def _send(self) -> None:
        side = self.pair.side(self._sender)
        while room := side.room(self.channel, self._stream):
            side.send_data(self.channel, self._stream, bytes(min(room, 64 * 1024)))
        self._flush(self._sender)

    def _flush(self, role: Role) -> None:
        for payload in self.pair.side(role).frames_to_send():
            start = max(self.now, self._free_at[role])
            self._free_at[role] = start + len(payload) / self._rate
            arrival = self._free_at[role] + self._one_way
            heapq.heappush(self._under_way, (arrival, next(self._order), role.peer, payload))
        kept = self.pair.side(self._sender)._channels[self.channel].sends[self._stream]
        self.largest = max(self.largest, kept.sent - kept.consumed)


@pytest.mark.parametrize("sender", [SERVER, CLIENT])
def test_a_long_way(sender: Role) -> None:
    """Over 50 ms there and back, a window of 256 KiB carries 5 MB/s; it grows until it carries four times as much."""
    far = Far(0.05, 20e6, sender)
    far.run(1.0)
    before = far.received
    far.run(2.0)
    assert far.received - before > 0.95 * 20e6
    assert 20e6 * 0.05 < far.largest <= 4 * MIB


def test_no_larger_than_the_way_needs() -> None:
    """Nearby, where a window is never used up within two round trips, it stays what it is after the first credit."""
    far = Far(0.0005, 20e6)
    far.run(0.5)
    assert far.received > 0.9 * 0.5 * 20e6
    assert far.largest <= START_WINDOWS * DEFAULT_WINDOW


def test_output_on_a_terminal() -> None:
    """Output on a terminal begins with the small window, and grows where it needs to."""
    far = Far(0.05, 20e6, request=ON_TERMINAL)
    far.run(0.051)
    assert far.largest == DEFAULT_WINDOW
    far.run(1.5)
    before = far.received
    far.run(2.0)
    assert far.received - before > 0.95 * 0.5 * 20e6


def test_beside_a_terminal() -> None:
    """A command that begins beside a job on a terminal starts with the small window as well, until that job is over."""
    pair = growing()
    terminal = pair.open(ON_TERMINAL)
    for expected in (1, START_WINDOWS):
        channel = pair.open()
        pair.server.send_data(channel, STDOUT, bytes(DEFAULT_WINDOW))
        pair.settle()
        pair.client.consumed(channel, STDOUT, DEFAULT_WINDOW)
        pair.settle()
        assert pair.server.room(channel, STDOUT) == expected * DEFAULT_WINDOW
        if expected == 1:
            pair.client.close(terminal)
            pair.settle()
            pair.server.report_exit(terminal, JobEnd(Exited(0)))
            pair.settle()


def test_typed_input_never_grows() -> None:
    """What is typed at a terminal has the window of the start, however far away the terminal is."""
    far = Far(0.05, 20e6, CLIENT, ON_TERMINAL)
    far.run(1.0)
    assert far.received > 10 * DEFAULT_WINDOW
    assert far.largest == DEFAULT_WINDOW


def test_a_command_in_a_shell_has_the_shells_terminal() -> None:
    """A command in a persistent shell counts as on a terminal if its shell is on one."""
    pair = growing()
    for request, on_terminal in (
        (JobRequest(shell=""), False),
        (JobRequest(shell="", terminal=Terminal(term="x")), True),
    ):
        shell = pair.open(request)
        command = pair.open(JobRequest(command="cat", in_shell=shell))
        for side in (pair.client, pair.server):
            assert side._channels[shell].on_terminal is on_terminal
            assert side._channels[command].on_terminal is on_terminal


def test_a_reader_that_stops() -> None:
    """A reader that stops grants nothing: the sender keeps no more than the window that the reader had used."""
    pair = growing()
    channel = pair.open()
    pair.server.send_data(channel, STDOUT, bytes(pair.server.room(channel, STDOUT)))
    pair.settle()
    pair.client.consumed(channel, STDOUT, DEFAULT_WINDOW)
    pair.settle()
    assert pair.server.room(channel, STDOUT) == START_WINDOWS * DEFAULT_WINDOW
    for _ in range(3):
        pair.server.send_data(channel, STDOUT, bytes(pair.server.room(channel, STDOUT)))
        pair.settle()
    assert pair.server.room(channel, STDOUT) == 0
    stream = pair.server._channels[channel].sends[STDOUT]
    assert stream.sent - stream.consumed == START_WINDOWS * DEFAULT_WINDOW


def test_a_round_trip_is_measured_with_the_first_credit() -> None:
    """A PING goes with the credit that begins to measure, and no second one before its answer."""
    pair = growing()
    channel = pair.open()
    for turn in range(2):
        pair.server.send_data(channel, STDOUT, bytes(pair.server.room(channel, STDOUT)))
        pair.pass_on(SERVER)
        unread = pair.client._channels[channel].receives[STDOUT]
        pair.client.consumed(channel, STDOUT, unread.received - unread._consumed)
        kinds = [type(message) for message in pair.written(CLIENT)]
        assert kinds == ([Ping, Credit] if turn == 0 else [Credit])
        pair.hear(SERVER, Credit(channel, STDOUT, 5 * DEFAULT_WINDOW, DEFAULT_WINDOW))


def test_a_resume_measures_anew() -> None:
    """Another link may be longer or shorter: its round trip is unknown until a PONG came over it."""
    far = Far(0.05, 20e6)
    far.run(0.5)
    client = far.pair.client
    assert client._liveness.round_trip == pytest.approx(0.05, rel=0.2)
    client.link_lost()
    far.pair.server.link_lost()
    positions = client.positions(), far.pair.server.positions()
    client.resume(positions[1], far.now)
    far.pair.server.resume(positions[0], far.now)
    assert client._liveness.round_trip is None


def test_everything_comes_back() -> None:
    """When a channel is free, and when a session is over, the reserves have everything back."""
    far = Far(0.05, 20e6)
    far.run(0.5)
    pair = far.pair
    assert pair.client.reserve.free < SESSION_RESERVE_BYTES
    assert pair.server.reserve.free < SESSION_RESERVE_BYTES
    pair.client.close(far.channel)
    assert pair.client.reserve.free == SESSION_RESERVE_BYTES
    whole = Reserve(SESSION_RESERVE_BYTES)
    far = Far(0.05, 20e6, CLIENT)
    far.pair.server.reserve = whole.part()
    far.channel = far.pair.open()
    far.run(0.5)
    assert whole.free < SESSION_RESERVE_BYTES
    far.pair.server.link_lost()
    far.pair.server.release()
    assert whole.free == SESSION_RESERVE_BYTES
