"""The bars: one for each state, within the terminal."""

from __future__ import annotations

from twisted_rsh.fleet.progress import progress_lines, summary
from twisted_rsh.fleet.run import HostState

COUNTS = {
    HostState.WAITING: 120,
    HostState.CONNECTING: 12,
    HostState.RUNNING: 64,
    HostState.OK: 0,
    HostState.FAILED: 1,
    HostState.TIMED_OUT: 3,
}


def test_bars() -> None:
    """Each state has a bar by its share of the hosts; a state without hosts that usually has none has no line."""
    lines = progress_lines(COUNTS, 80, 24)
    assert [line.split()[0] for line in lines] == ["waiting", "connecting", "running", "ok", "failed", "timed"]
    assert [line.count("#") for line in lines] == [24, 2, 12, 0, 1, 1]
    assert [line.split()[-1] for line in lines] == ["120", "12", "64", "0", "1", "3"]
    assert len({len(line) for line in lines}) == 1


def test_no_line_is_as_long_as_a_row() -> None:
    """On every terminal each line is shorter than a row; without room for the bars there are the numbers alone."""
    for columns in range(1, 90):
        for rows in (1, 3, 6, 7, 24):
            lines = progress_lines(COUNTS, columns, rows)
            assert len(lines) <= rows
            assert all(len(line) < columns for line in lines)
    assert progress_lines(COUNTS, 80, 3) == [summary(COUNTS)]


def test_summary() -> None:
    """The numbers in one line leave out what is 0."""
    assert summary(COUNTS) == "120 waiting, 12 connecting, 64 running, 1 failed, 3 timed out"
