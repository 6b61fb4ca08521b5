"""Plans: which ones there cannot be, and how they are written down."""

from __future__ import annotations

import pytest

from twisted_rsh.testing import HEALTHY, Direction, End, Faults, Int32Frames, LaneFaults, Late


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
