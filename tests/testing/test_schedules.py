"""Schedules: the same seed gives the same plans, and every kind of plan comes up."""

from __future__ import annotations

from twisted_rsh.testing import (
    HEALTHY,
    NO_FAULTS,
    CutEveryRecords,
    CutEverySeconds,
    Direction,
    End,
    Faults,
    FaultSchedule,
    Int32Frames,
    InTurn,
    LaneFaults,
    Schedule,
)

MANY = range(400)


def plans(schedule: Schedule) -> list[Faults]:
    """The plans of many connections."""
    return [schedule.plan(index) for index in MANY]


def test_same_seed_same_plans() -> None:
    """A schedule's text makes one with the same plans, asked in whatever order; another seed makes others."""
    for schedule in (
        FaultSchedule(7, stalls=True, late=True, delay=0.5),
        CutEveryRecords(7, 1, 50),
        CutEverySeconds(7, 0.5, 3.0),
    ):
        again: Schedule = eval(repr(schedule))  # noqa: S307 - the text of this very test
        assert [again.plan(index) for index in reversed(MANY)][::-1] == plans(schedule)
        other = type(schedule)(8)
        assert plans(other) != plans(schedule)


def test_plans_stay_what_they_are() -> None:
    """A noted seed gives the same plan in every version: these plans were drawn once."""
    assert str(FaultSchedule(1).plan(0)) == ("Faults(to_client=LaneFaults(cut_after=37697), client_end=End.CLOSED)")
    assert CutEveryRecords(1).plan(0).cut_after_records == 44
    assert CutEverySeconds(1).plan(0).cut_after_seconds == 2.7661793172501192


def test_in_turn() -> None:
    """Plans that are written down come in their order, and then the last one for ever."""
    first, rest = Faults(refuse=True), Faults(cut_after_seconds=1.0)
    assert [InTurn((first,), rest).plan(index) for index in range(3)] == [first, rest, rest]
    assert NO_FAULTS.plan(0) is NO_FAULTS.plan(99) is HEALTHY


def test_every_kind_comes_up() -> None:
    """Cuts in both directions, small and large, of every look, whole and in fragments."""
    drawn = plans(FaultSchedule(5, longest=1000))
    to_server = [plan.to_server.cut_after for plan in drawn if plan.to_server.cut_after is not None]
    to_client = [plan.to_client.cut_after for plan in drawn if plan.to_client.cut_after is not None]
    assert len(to_server) + len(to_client) == len(MANY)
    for offsets in (to_server, to_client):
        assert min(offsets) == 0
        assert 500 < max(offsets) <= 1000
        assert sum(offset < 31 for offset in offsets) > len(offsets) / 3
    assert {plan.server_end for plan in drawn} == {plan.client_end for plan in drawn} == {End.RESET, End.CLOSED}
    assert 100 < sum(plan.to_client.fragment is None for plan in drawn) < 300
    assert all(plan.late is None and plan.to_server.delay == 0 for plan in drawn)


def test_what_is_allowed_comes_up_too() -> None:
    """Stalls, delays and late connections come up where they are allowed, and do not change the rest."""
    plain = plans(FaultSchedule(5))
    drawn = plans(FaultSchedule(5, stalls=True, late=True, delay=2.0))
    stalled = [plan for plan in drawn if (plan.to_server.stall_after, plan.to_client.stall_after) != (None, None)]
    assert 20 < len(stalled) < 90
    assert all(plan.to_server.cut_after is plan.to_client.cut_after is None for plan in stalled)
    assert 20 < sum(plan.late is not None for plan in drawn) < 90
    assert all(0 <= plan.to_client.delay <= 2 for plan in drawn)
    assert len({plan.to_client.delay for plan in drawn}) > 300
    assert [plan.to_server.fragment for plan in drawn] == [plan.to_server.fragment for plan in plain]
    assert [plan.server_end for plan in drawn] == [plan.server_end for plan in plain]


def test_faults_can_come_to_an_end() -> None:
    """After so many connections nothing goes wrong any more."""
    schedule = FaultSchedule(5, faulty=3)
    assert [schedule.plan(index) is HEALTHY for index in range(5)] == [False, False, False, True, True]


def test_cuts_after_records() -> None:
    """Numbers come from the whole range, and spared connections carry so many more."""
    drawn = plans(CutEveryRecords(2, 1, 5, spare=2, spare_records=100, records=Int32Frames))
    counts = [plan.cut_after_records or 0 for plan in drawn]
    assert all(101 <= count <= 105 for count in counts[:2])
    assert set(counts[2:]) == {1, 2, 3, 4, 5}
    assert all(plan.records is Int32Frames for plan in drawn)
    every = plans(CutEveryRecords(2, 1, 5, spare=None, spare_records=100))
    assert {plan.cut_after_records for plan in every} == {101, 102, 103, 104, 105}


def test_cuts_after_seconds() -> None:
    """Likewise with time."""
    drawn = [plan.cut_after_seconds or 0 for plan in plans(CutEverySeconds(2, 0.5, 3.0, spare=1, spare_seconds=10))]
    assert 10.5 <= drawn[0] <= 13
    assert all(0.5 <= seconds <= 3 for seconds in drawn[1:])
    assert max(drawn[1:]) - min(drawn[1:]) > 2
    every = plans(CutEverySeconds(2, spare=None, spare_seconds=10))
    assert all((plan.cut_after_seconds or 0) >= 10.5 for plan in every)


def test_directions_are_plain() -> None:
    """The two directions are all there are."""
    assert [direction.name for direction in Direction] == ["TO_SERVER", "TO_CLIENT"]
    assert FaultSchedule(1).plan(0) != Faults(to_server=LaneFaults())
