"""One direction by itself, for any input and any number of calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.testing.ends import pattern
from twisted_rsh.testing import End, LaneFaults
from twisted_rsh.testing.leg import TAKE_BYTES, Leg

SIZES = st.lists(st.integers(1, 40), max_size=12)


def drain(leg: Leg, now: float = 0.0) -> bytes:
    """Take everything that there is."""
    pieces = []
    while piece := leg.take(now):
        pieces.append(piece)
    return b"".join(pieces)


def fill(leg: Leg, sizes: list[int]) -> bytes:
    """Let pieces in, and return them together."""
    data = pattern(sum(sizes))
    offset = 0
    for size in sizes:
        leg.put(data[offset : offset + size], 0.0)
        offset += size
    return data


@given(sizes=SIZES, cut=st.none() | st.integers(0, 200), fragment=st.none() | st.integers(1, 50))
def test_what_comes_out_is_what_went_in(sizes: list[int], cut: int | None, fragment: int | None) -> None:
    """Cut and fragmented in any way, what comes out is a beginning of what went in, as long as the plan says."""
    leg = Leg(LaneFaults(cut_after=cut, fragment=fragment))
    data = fill(leg, sizes)
    out = drain(leg)
    assert out == data[:cut]
    assert leg.delivered == len(out)
    assert leg.queued == len(data) - len(out)
    assert leg.is_cut is (cut is not None and len(data) >= cut)


@given(sizes=SIZES, taken=st.integers(0, 300), kept=st.integers(0, 300))
def test_truncating(sizes: list[int], taken: int, kept: int) -> None:
    """Whatever was delivered already, truncating keeps the bytes that follow, and no more than it should."""
    leg = Leg(LaneFaults(stall_after=taken))
    data = fill(leg, sizes)
    out = drain(leg)
    leg.resume()
    leg.truncate(kept)
    leg.put(b"+", 0.0)
    assert out + drain(leg) == data[: len(out) + kept] + b"+"
    assert leg.queued == 0


def test_whole_pieces_are_not_copied() -> None:
    """Data that passes whole is the same object, uncopied, which makes a proxy fast."""
    leg = Leg(LaneFaults())
    piece = bytes(TAKE_BYTES)
    leg.put(piece, 0.0)
    assert leg.take(0.0) is piece


def test_little_pieces_are_joined() -> None:
    """Little pieces come together, up to what is delivered at once."""
    leg = Leg(LaneFaults())
    for _ in range(3):
        leg.put(bytes(TAKE_BYTES // 2), 0.0)
    assert len(leg.take(0.0)) == TAKE_BYTES
    assert len(leg.take(0.0)) == TAKE_BYTES // 2


def test_looking_does_not_change_fragments() -> None:
    """Fragments do not depend on the number of calls that deliver nothing."""
    drawn = []
    for looks in (0, 3):
        leg = Leg(LaneFaults(fragment=9, delay=1.0))
        for _ in range(looks):
            leg.take(0.0)
        leg.put(pattern(100), 0.0)
        for _ in range(looks):
            leg.take(0.5)
        sizes = []
        while piece := leg.take(1.0):
            sizes.append(len(piece))
        drawn.append(sizes)
    assert drawn[0] == drawn[1]


def test_nothing_follows_the_end() -> None:
    """Bytes that enter behind the end, or after the receiving end is gone, are dropped."""
    leg = Leg(LaneFaults())
    leg.put(b"a", 0.0)
    leg.put_end(End.CLOSED, 0.0)
    leg.put_end(End.RESET, 0.0)
    leg.put(b"b", 0.0)
    assert leg.has_end
    assert leg.take_end(0.0) is None
    assert drain(leg) == b"a"
    assert leg.next_due() == 0.0
    assert leg.take_end(0.0) is End.CLOSED
    leg.put(b"c", 0.0)
    leg.put_end(End.RESET, 0.0)
    assert (leg.queued, leg.take_end(0.0), leg.next_due()) == (0, None, None)
