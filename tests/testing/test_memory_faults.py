"""Each kind of fault on a connection in memory, at the exact byte, in both directions."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from tests.testing.ends import BOTH_WAYS, Recorder, opposite, pattern, record
from twisted_rsh.testing import Direction, End, Faults, Int32Frames, LaneFaults, MemoryConnection

DATA = pattern(50)

EACH_WAY = pytest.mark.parametrize("direction", BOTH_WAYS)


class Pair:
    """Two recorders and the connection between them.

    :ivar source: the one that writes in a direction.
    :ivar target: the one that reads there.
    """

    def __init__(self, faults: Faults, direction: Direction = Direction.TO_SERVER) -> None:
        self.clock = Clock()
        self.client, self.server = Recorder(), Recorder()
        self.connection = MemoryConnection.between(self.clock, self.client, self.server, faults)
        ends = (self.client, self.server)
        self.source, self.target = ends if direction is Direction.TO_SERVER else ends[::-1]

    def nothing_left(self) -> bool:
        """Whether the clock has no calls left."""
        return not self.clock.getDelayedCalls()


@EACH_WAY
@pytest.mark.parametrize("synchronously", [True, False])
def test_cut_after_every_byte(direction: Direction, synchronously: bool) -> None:
    """Exactly so many bytes arrive, however they were written, and both ends learn of the cut."""
    for size in range(len(DATA) + 1):
        pair = Pair(Faults.going(direction, LaneFaults(cut_after=size)), direction)
        for start in range(0, len(DATA), 7):
            pair.source.wire.write(DATA[start : start + 7])
        assert pair.target.data == b""
        if synchronously:
            pair.connection.flush()
        else:
            pair.clock.advance(0)
        assert pair.target.data == DATA[:size]
        assert pair.source.reason is pair.target.reason is ConnectionLost
        assert pair.connection.is_cut
        assert pair.connection.is_over
        assert pair.connection.delivered(direction) == size
        assert pair.nothing_left()


@EACH_WAY
def test_one_byte_less_is_no_cut(direction: Direction) -> None:
    """A byte before the cut nothing has happened."""
    pair = Pair(Faults.going(direction, LaneFaults(cut_after=len(DATA) + 1)), direction)
    pair.source.wire.write(DATA)
    pair.connection.flush()
    assert pair.target.data == DATA
    assert not pair.connection.is_cut
    pair.source.wire.write(b"+")
    pair.connection.flush()
    assert pair.target.data == DATA + b"+"
    assert pair.connection.is_cut


@EACH_WAY
def test_cut_loses_what_is_under_way(direction: Direction) -> None:
    """Bytes under way in the other direction at that moment do not arrive, nor do bytes that are written then."""
    pair = Pair(Faults.going(direction, LaneFaults(cut_after=3)), direction)
    for end in (pair.source, pair.target):
        end.wire.pauseProducing()
        end.wire.write(DATA)
    pair.target.wire.resumeProducing()
    pair.connection.flush()
    pair.target.wire.write(DATA)
    pair.source.wire.resumeProducing()
    pair.connection.flush()
    assert pair.target.data == DATA[:3]
    assert pair.source.data == b""


@pytest.mark.parametrize(
    ("end", "reason"), [(End.RESET, ConnectionLost), (End.CLOSED, ConnectionDone), (End.UNSEEN, None)]
)
@EACH_WAY
def test_how_the_cut_looks(direction: Direction, end: End, reason: type[Exception] | None) -> None:
    """Each end learns of the cut as it is told to, whatever the other one sees."""
    for own, other in ((end, End.RESET), (end, End.CLOSED)):
        plan = Faults.going(direction, LaneFaults(cut_after=2))
        pair = Pair(dataclasses.replace(plan, server_end=own, client_end=other), direction)
        pair.source.wire.write(DATA)
        pair.connection.flush()
        assert pair.server.reason is reason
        assert pair.client.reason is (ConnectionLost if other is End.RESET else ConnectionDone)
        assert pair.connection.is_over is (reason is not None)
        pair.source.wire.write(DATA)
        pair.connection.flush()
        assert pair.target.data == DATA[:2]


@EACH_WAY
def test_cut_after_records(direction: Direction) -> None:
    """The cut comes exactly behind a record, in however many pieces the records come."""
    stream = record(10) + record(0) + record(300) + record(5)
    behind = [15, 20, 325, 335]
    for records, size in enumerate(behind, 1):
        for step in (1, 3, 100, len(stream)):
            pair = Pair(Faults.going(direction, LaneFaults(cut_after_records=records)), direction)
            for start in range(0, len(stream), step):
                pair.source.wire.write(stream[start : start + step])
            pair.connection.flush()
            assert len(pair.target.data) == size
            assert pair.connection.is_cut


@EACH_WAY
def test_cut_after_frames(direction: Direction) -> None:
    """The plan names the kind of records: here, Int32 frames."""
    lane = LaneFaults(cut_after_records=2)
    pair = Pair(dataclasses.replace(Faults.going(direction, lane), records=Int32Frames), direction)
    pair.source.wire.write(b"\0\0\0\1a\0\0\0\2bc\0\0\0\3def")
    pair.connection.flush()
    assert pair.target.data == b"\0\0\0\1a\0\0\0\2bc"


@EACH_WAY
def test_cut_after_records_of_both_directions(direction: Direction) -> None:
    """Records are counted wherever they go, and the last one decides where the cut is."""
    pair = Pair(Faults(cut_after_records=3), direction)
    for end in (pair.source, pair.target):
        end.wire.write(record(4))
        pair.connection.flush()
    pair.source.wire.write(record(7) + record(8))
    pair.connection.flush()
    assert pair.target.data == record(4) + record(7)
    assert pair.source.data == record(4)
    assert pair.connection.is_cut


def test_the_earlier_cut_counts() -> None:
    """Bytes and records may both be limited: what comes first cuts."""
    for cut_after, size in ((8, 8), (30, 15)):
        pair = Pair(Faults(to_server=LaneFaults(cut_after=cut_after, cut_after_records=1)))
        pair.client.wire.write(record(10) + record(10))
        pair.connection.flush()
        assert len(pair.server.data) == size


@EACH_WAY
def test_stall_at_every_byte(direction: Direction) -> None:
    """From a byte on nothing arrives, the connection stays open, the other way is free; then all of it arrives."""
    for size in range(len(DATA)):
        pair = Pair(Faults.going(direction, LaneFaults(stall_after=size)), direction)
        pair.source.wire.write(DATA)
        pair.target.wire.write(b"free")
        pair.clock.advance(1e6)
        assert pair.target.data == DATA[:size]
        assert pair.source.data == b"free"
        assert pair.source.reason is pair.target.reason is None
        assert pair.nothing_left()
        pair.connection.resume()
        pair.clock.advance(0)
        assert pair.target.data == DATA


@EACH_WAY
def test_stall_hides_the_end(direction: Direction) -> None:
    """An end that goes away during a stall is missed only later; what had left it arrives before."""
    pair = Pair(Faults.going(direction, LaneFaults(stall_after=1)), direction)
    pair.source.wire.write(DATA)
    pair.connection.flush()
    pair.source.wire.abortConnection()
    pair.connection.flush()
    assert pair.source.reason is not None
    assert not pair.target.is_lost
    pair.connection.resume()
    pair.connection.flush()
    assert pair.target.data == DATA
    assert pair.target.reason is ConnectionLost


def test_stall_on_command() -> None:
    """A connection becomes half-open when a test says so, and a cut still reaches its ends."""
    pair = Pair(Faults())
    pair.connection.stall()
    for end in (pair.client, pair.server):
        end.wire.write(DATA)
    pair.clock.advance(1e6)
    assert pair.client.data == pair.server.data == b""
    pair.connection.cut()
    pair.connection.cut()
    pair.clock.advance(0)
    assert pair.client.data == pair.server.data == b""
    assert pair.client.reason is pair.server.reason is ConnectionLost


@EACH_WAY
def test_delay(direction: Direction) -> None:
    """Each byte takes its time, and so does the end; the other way takes none."""
    pair = Pair(Faults.going(direction, LaneFaults(delay=2.0)), direction)
    pair.source.wire.write(b"one")
    pair.target.wire.write(b"quick")
    pair.clock.advance(1.5)
    assert pair.source.data == b"quick"
    pair.source.wire.write(b"two")
    pair.source.wire.loseConnection()
    pair.clock.advance(0)
    pair.clock.advance(0.4999)
    assert pair.target.data == b""
    pair.clock.advance(0.0002)
    assert pair.target.data == b"one"
    pair.clock.advance(1.4997)
    assert pair.target.data == b"one"
    assert not pair.target.is_lost
    pair.clock.advance(0.0003)
    assert pair.target.data == b"onetwo"
    assert pair.target.reason is ConnectionDone
    assert pair.nothing_left()


def test_something_quicker_is_not_kept_waiting() -> None:
    """A turn that was to come late comes at once when something else is written."""
    pair = Pair(Faults(to_server=LaneFaults(delay=5.0)))
    pair.client.wire.write(b"slow")
    pair.clock.advance(0)
    pair.server.wire.write(b"quick")
    pair.clock.advance(0)
    assert pair.client.data == b"quick"
    pair.clock.advance(5)
    assert pair.server.data == b"slow"


@given(direction=st.sampled_from(BOTH_WAYS), largest=st.integers(1, 9), seed=st.integers(0, 99))
def test_fragments(direction: Direction, largest: int, seed: int) -> None:
    """Everything arrives, in pieces of 1 to so many bytes, the same ones for the same seed."""
    pieces = []
    for _ in range(2):
        pair = Pair(Faults.going(direction, LaneFaults(fragment=largest, seed=seed)), direction)
        pair.source.wire.writeSequence([DATA, DATA])
        pair.connection.flush()
        assert pair.target.data == DATA + DATA
        assert {len(piece) for piece in pair.target.pieces} <= set(range(1, largest + 1))
        pieces.append(pair.target.pieces)
    assert pieces[0] == pieces[1]


def test_fragments_have_every_size() -> None:
    """The sizes are drawn from the whole range, and another seed draws others."""
    drawn = []
    for seed in (1, 2):
        pair = Pair(Faults(to_server=LaneFaults(fragment=4, seed=seed)))
        pair.client.wire.write(pattern(400))
        pair.connection.flush()
        drawn.append([len(piece) for piece in pair.server.pieces])
        assert set(drawn[-1][:-1]) == {1, 2, 3, 4}
    assert drawn[0] != drawn[1]


def test_cut_after_seconds() -> None:
    """The connection lives as long as it was given, and its timer no longer than the connection."""
    pair = Pair(Faults(cut_after_seconds=2.0))
    pair.client.wire.write(DATA)
    pair.clock.advance(1.999)
    assert pair.server.data == DATA
    assert not pair.server.is_lost
    pair.clock.advance(0.001)
    assert pair.server.reason is pair.client.reason is ConnectionLost
    assert pair.nothing_left()
    pair = Pair(Faults(cut_after_seconds=2.0))
    pair.client.wire.loseConnection()
    pair.clock.advance(0)
    assert pair.server.reason is ConnectionDone
    assert pair.nothing_left()


@EACH_WAY
def test_cut_on_the_way_back(direction: Direction) -> None:
    """An answer that is cut leaves what it answers whole."""
    pair = Pair(Faults.going(opposite(direction), LaneFaults(cut_after=4)), direction)
    pair.source.wire.write(DATA)
    pair.connection.flush()
    pair.target.wire.write(DATA)
    pair.connection.flush()
    assert pair.target.data == DATA
    assert pair.source.data == DATA[:4]
