"""Endings are values that are never confused."""

from __future__ import annotations

import itertools

from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown, RefusalReason, Refused, Signalled, TimedOut

ENDINGS: list[Ending] = [
    Exited(0),
    Signalled("KILL"),
    TimedOut(0),
    Refused(RefusalReason.NOT_FOUND, ""),
    OutcomeUnknown(""),
]


def test_no_two_are_equal() -> None:
    """Five kinds, five answers."""
    assert all(one != other for one, other in itertools.combinations(ENDINGS, 2))
    assert len(set(ENDINGS)) == len(ENDINGS)


def test_a_core_file_is_the_exception() -> None:
    """A signal ends a job without one unless said otherwise."""
    assert not Signalled("SEGV").core_dumped
