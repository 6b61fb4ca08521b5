"""Where records end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.testing.ends import record
from twisted_rsh.testing import HeaderBoundaries, Int32Frames, TLSRecords


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
