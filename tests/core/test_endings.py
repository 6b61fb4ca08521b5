"""Endings are values that are never confused."""

from __future__ import annotations

import itertools
import typing

from twisted_rsh.core.endings import (
    Ending,
    Exited,
    JobEnd,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    Signalled,
    Stopped,
    TimedOut,
)

ENDINGS: list[Ending] = [
    Exited(0),
    Signalled("KILL"),
    TimedOut(0),
    LimitReached(Limit.CPU, 0),
    Stopped("KILL"),
    Refused(RefusalReason.NOT_FOUND, ""),
    OutcomeUnknown(""),
]


def test_no_two_are_equal() -> None:
    """Seven kinds, seven answers."""
    assert [type(ending) for ending in ENDINGS] == list(typing.get_args(Ending))
    assert all(one != other for one, other in itertools.combinations(ENDINGS, 2))
    assert len(set(ENDINGS)) == len(ENDINGS)


def test_a_core_file_is_the_exception() -> None:
    """A signal ends a job without one unless said otherwise."""
    assert not Signalled("SEGV").core_dumped


def test_what_is_known_beside_an_ending() -> None:
    """Nothing, unless said otherwise."""
    assert JobEnd(Exited(0)) == JobEnd(Exited(0), held_open=False, usage=None)
