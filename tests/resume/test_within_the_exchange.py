"""A session is cut, and while it is being resumed its new connection is cut as well, at every single byte of that."""

from __future__ import annotations

import functools

import pytest

from tests.resume.recording import SLACK_BYTES, play, uncut
from twisted_rsh.testing import Direction, Faults, InTurn, LaneFaults

pytestmark = pytest.mark.exhaustive

PARTS = 4
"""Parts of each sweep, so that a failure ends only one of them."""

REPEATED_BYTES = 600
"""Bytes behind the exchange that are cut one by one as well: what is repeated, and the first of what is new."""

STRIDE = 997
"""Bytes between the first cuts of neighbouring runs where they vary: prime, so that they come to lie everywhere."""


def cut(direction: Direction, after: int) -> Faults:
    """Return the plan of one cut."""
    return Faults.going(direction, LaneFaults(cut_after=after))


def inside(direction: Direction, offset: int) -> int:
    """Return a byte behind the login at which to cut first; offsets behind the last byte begin again."""
    expected = uncut()
    begin = expected.login_bytes[direction] + SLACK_BYTES + 1
    return begin + offset % (expected.heard_bytes[direction] - 2 * SLACK_BYTES - begin)


@functools.cache
def exchange_bytes() -> dict[Direction, int]:
    """Return how many bytes a second connection carries at least: the handshake, RESUME, and its answer."""
    sizes = []
    for way in Direction:
        recording = play(InTurn((cut(way, inside(way, -1)),)))
        assert recording.heard == uncut().heard
        sizes.append({each: recording.endpoint.connections[1].delivered(each) for each in Direction})
    return {way: min(size[way] for size in sizes) for way in Direction}


def check(*plans: Faults) -> None:
    """Play a session, and check that neither the caller nor a job can tell."""
    expected, recording = uncut(), play(InTurn(plans))
    assert recording.error is None, (plans, recording.error)
    assert recording.is_clean, (plans, recording.bugs, recording.left)
    assert recording.heard == expected.heard, plans
    assert recording.seen == expected.seen, plans


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.name.lower())
def test_cut_at_every_byte_of_the_second_connection(direction: Direction, part: int) -> None:
    """M-02: input, signals and sizes are under way at the first cut; the second one is at each byte of the
    handshake, of RESUME, of its answer, and of what is repeated behind it."""
    first = cut(Direction.TO_SERVER, inside(Direction.TO_SERVER, 350))
    total = exchange_bytes()[direction] + REPEATED_BYTES
    for cut_after in range(part * total // PARTS, (part + 1) * total // PARTS):
        check(first, cut(direction, cut_after))


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.name.lower())
def test_first_cut_anywhere(direction: Direction, part: int) -> None:
    """M-02: the same with another first cut each time, all over the session and in both directions; the second one is
    at each byte of the handshake, of RESUME and of its answer."""
    ways = list(Direction)
    total = exchange_bytes()[direction]
    for cut_after in range(part * total // PARTS, (part + 1) * total // PARTS):
        way = ways[cut_after % 2]
        check(cut(way, inside(way, cut_after * STRIDE)), cut(direction, cut_after))


def test_cut_again_and_again() -> None:
    """M-02: each of twenty connections in a row is cut within its first bytes, its handshake, its RESUME or the answer;
    the twenty-first has everything."""
    offsets = [*range(0, 3000, 300)]
    cuts = [cut(direction, offset) for offset in offsets for direction in Direction]
    check(cut(Direction.TO_CLIENT, inside(Direction.TO_CLIENT, 1500)), *cuts)
