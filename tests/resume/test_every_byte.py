"""A session is cut at every single byte, in each direction: neither the caller nor a job can tell."""

from __future__ import annotations

import pytest

from tests.resume.recording import GREETING, LIMITS, PIECE, SLACK_BYTES, play, uncut
from twisted_rsh.testing import Direction, Faults, InTurn, LaneFaults

pytestmark = pytest.mark.exhaustive

PARTS = 8
"""Parts of each direction, so that a failure ends only one of them."""


def test_uncut() -> None:
    """M-01: what all other runs are compared with has everything in it: both streams, signals, sizes and endings."""
    recording = uncut()
    assert recording.error is None
    assert recording.is_clean
    work, greet, *brief = recording.seen
    kinds = [what[0] for what in work]
    assert [kinds.count(kind) for kind in ("start", "signal", "size", "end of input")] == [1, 3, 2, 1]
    assert ("input", b"a line\n") in work
    assert ("input", PIECE) in work
    assert greet == [("start", "greet"), ("end of input",)]
    assert brief == [[("start", "brief"), ("end of input",)]] * 2
    assert len(recording.heard) == 13
    assert ("stdout", GREETING + b"the end\n") in recording.heard
    assert len(GREETING) > LIMITS.window
    [connection] = recording.endpoint.connections
    for direction in Direction:
        assert connection.delivered(direction) > recording.login_bytes[direction] + 1000


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("direction", Direction, ids=lambda direction: direction.name.lower())
def test_cut_at_every_byte(direction: Direction, part: int) -> None:
    """M-01: so many bytes arrive, then the connection is gone: outputs, endings, input, signals and sizes are the same.

    Cut before the client knows that it is logged in, the login fails with one error; nothing was started, and the
    server forgets the session that it may have begun.
    """
    expected = uncut()
    total = expected.endpoint.connections[0].delivered(direction) + SLACK_BYTES
    for cut_after in range(part * total // PARTS, (part + 1) * total // PARTS):
        recording = play(InTurn((Faults.going(direction, LaneFaults(cut_after=cut_after)),)))
        assert recording.is_clean, (cut_after, recording.bugs, recording.left)
        if recording.error is not None:
            assert recording.failed_cleanly, (cut_after, recording)
            assert cut_after <= expected.login_bytes[direction] + SLACK_BYTES
            continue
        assert recording.heard == expected.heard, cut_after
        assert recording.seen == expected.seen, cut_after
