"""Plans: which numbers are refused, how a plan prints, and where records end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.ends import record
from twisted_rsh.testing import (
    HEALTHY,
    Direction,
    End,
    Faults,
    HeaderBoundaries,
    Int32Frames,
    LaneFaults,
    Late,
    TLSRecords,
)


@pytest.mark.parametrize("field", ["cut_after", "stall_after", "delay"])
def test_lane_numbers_from_zero(field: str) -> None:
    """A lane's offsets and seconds begin at 0."""
    values: dict[str, int] = {field: 0}
    LaneFaults(**values)
    with pytest.raises(ValueError, match=f"^{field} is -1, and must be at least 0$"):
        LaneFaults(**{field: -1})


@pytest.mark.parametrize("field", ["cut_after_records", "fragment"])
def test_lane_numbers_from_one(field: str) -> None:
    """A lane's numbers of things begin at 1."""
    values: dict[str, int] = {field: 1}
    LaneFaults(**values)
    with pytest.raises(ValueError, match=f"^{field} is 0, and must be at least 1$"):
        LaneFaults(**{field: 0})


def test_other_numbers() -> None:
    """So do those of the whole connection."""
    Late(after=0, overtakers=1, overtaking_bytes=1)
    Faults(cut_after_records=1, cut_after_seconds=0)
    for wrong in ({"after": -1}, {"overtakers": 0}, {"overtaking_bytes": 0}):
        with pytest.raises(ValueError, match="must be at least"):
            Late(**wrong)
    with pytest.raises(ValueError, match="cut_after_records"):
        Faults(cut_after_records=0)
    with pytest.raises(ValueError, match="cut_after_seconds"):
        Faults(cut_after_seconds=-0.5)


def test_going() -> None:
    """A plan for one direction leaves the other alone."""
    lane = LaneFaults(cut_after=3)
    assert Faults.going(Direction.TO_SERVER, lane) == Faults(to_server=lane)
    assert Faults.going(Direction.TO_CLIENT, lane) == Faults(to_client=lane)


def test_written_down() -> None:
    """A plan's text says what goes wrong, can be copied into a test, and gives the same plan there."""
    plan = Faults(
        to_server=LaneFaults(cut_after=17, delay=0.5),
        client_end=End.CLOSED,
        late=Late(after=4),
        refuse=True,
        records=Int32Frames,
    )
    assert repr(plan) == (
        "Faults(to_server=LaneFaults(cut_after=17, delay=0.5), client_end=End.CLOSED, late=Late(after=4), "
        "refuse=True, records=Int32Frames)"
    )
    assert eval(repr(plan)) == plan  # noqa: S307 - the text of this very test
    assert str(HEALTHY) == "Faults()"


def frame(size: int) -> bytes:
    """An Int32 frame with a body of that size."""
    return size.to_bytes(4, "big") + bytes(size)


@given(
    kind=st.sampled_from([(Int32Frames, frame), (TLSRecords, record)]),
    sizes=st.lists(st.integers(0, 30), max_size=8),
    cuts=st.lists(st.integers(0, 300), max_size=20),
)
def test_ends_in_any_pieces(kind: tuple[type[HeaderBoundaries], type], sizes: list[int], cuts: list[int]) -> None:
    """The ends found are those of the records, in however many pieces the stream comes."""
    boundaries, make = kind[0](), kind[1]
    records = [make(size) for size in sizes]
    stream = b"".join(records)
    expected = [sum(map(len, records[: number + 1])) for number in range(len(records))]
    found = []
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in itertools.pairwise(places):
        found += [start + offset for offset in boundaries.ends(stream[start:end])]
    assert found == expected


def test_an_absurd_length_is_no_trouble() -> None:
    """A length that never comes costs nothing."""
    boundaries = Int32Frames()
    assert boundaries.ends(b"\xff" * 4) == []
    assert boundaries.ends(bytes(1000)) == []


def test_a_subclass_says_how() -> None:
    """The header's meaning is the subclass's to say."""
    with pytest.raises(NotImplementedError):
        HeaderBoundaries().body_bytes(b"")
