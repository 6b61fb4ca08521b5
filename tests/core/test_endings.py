"""Endings, the names of signals, and usages: values that are never confused, and their wire forms."""

from __future__ import annotations

import itertools
import math
import signal
import typing
from typing import Any

import pytest
from hypothesis import given, settings

from tests.core import strategies
from twisted_rsh.core.endings import (
    ENDING,
    SIGNAL_NAMES,
    USAGE,
    Ending,
    Exited,
    JobEnd,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    ResourceUsage,
    Signalled,
    Stopped,
    TimedOut,
)
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import MAX_OFFSET, MAX_TEXT_BYTES, MAX_TIMEOUT_MS

ENDINGS: list[Ending] = [
    Exited(0),
    Signalled("KILL"),
    TimedOut(0),
    LimitReached(Limit.CPU, 0),
    Stopped("KILL"),
    Refused(RefusalReason.NOT_FOUND, ""),
    OutcomeUnknown(""),
]


# The names of signals.


def test_every_signal_of_this_system_can_travel() -> None:
    """Every name that this system has is known, except the real-time range and second names of one signal."""
    here = {member.name.removeprefix("SIG") for member in signal.Signals}
    assert here - {"RTMIN", "RTMAX", "EMT", "INFO"} <= SIGNAL_NAMES


def test_names_are_short() -> None:
    """No name has the prefix ``SIG``."""
    assert not any(name.startswith("SIG") for name in SIGNAL_NAMES)


# Endings.


def test_no_two_are_equal() -> None:
    """There are seven kinds of ending, and no two endings of different kinds are equal."""
    assert [type(ending) for ending in ENDINGS] == list(typing.get_args(Ending))
    assert all(one != other for one, other in itertools.combinations(ENDINGS, 2))
    assert len(set(ENDINGS)) == len(ENDINGS)


def test_a_core_file_is_the_exception() -> None:
    """A signal leaves no core file unless the ending says so."""
    assert not Signalled("SEGV").core_dumped


def test_what_is_known_beside_an_ending() -> None:
    """Nothing is known beside an ending unless it is given."""
    assert JobEnd(Exited(0)) == JobEnd(Exited(0), held_open=False, usage=None)


# Their wire forms.


@pytest.mark.parametrize(
    "ending",
    [
        Exited(2**32 - 1),
        Refused(RefusalReason.RESOURCES, "x" * MAX_TEXT_BYTES),
        TimedOut(0.001),
        LimitReached(Limit.OUTPUT, MAX_OFFSET),
        LimitReached(Limit.MEMORY, 0),
        Stopped("TSTP"),
    ],
)
def test_at_the_bound(ending: Ending) -> None:
    """An ending at its bounds travels, and is of the same type at the other end."""
    decoded = ENDING.decode(ENDING.encode(ending))
    assert decoded == ending
    assert type(decoded) is type(ending)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "exited",
        {},
        {"kind": 1},
        {"kind": []},
        {"kind": "gone"},
        {"kind": "exited"},
        {"kind": "exited", "code": -1},
        {"kind": "exited", "code": 2**32},
        {"kind": "exited", "code": None},
        {"kind": "signalled", "signal": "KILL"},
        {"kind": "signalled", "signal": "SIGKILL", "core_dumped": False},
        {"kind": "signalled", "signal": "KILL", "core_dumped": 0},
        {"kind": "timed-out", "timeout_ms": -1},
        {"kind": "timed-out", "timeout_ms": MAX_TIMEOUT_MS + 1},
        {"kind": "limit", "limit": "cpu"},
        {"kind": "limit", "limit": "time", "amount": 1},
        {"kind": "limit", "limit": "cpu", "amount": -1},
        {"kind": "limit", "limit": "cpu", "amount": MAX_OFFSET + 1},
        {"kind": "stopped"},
        {"kind": "stopped", "signal": "SIGTSTP"},
        {"kind": "refused", "reason": "not-found"},
        {"kind": "refused", "reason": "no", "text": ""},
        {"kind": "unknown", "text": "x" * (MAX_TEXT_BYTES + 1)},
    ],
)
def test_everything_else_is_refused(value: Any) -> None:
    """F-10: JSON that is no ending is a ``FieldError`` and nothing else."""
    with pytest.raises(FieldError):
        ENDING.decode(value)


@pytest.mark.parametrize(
    "ending",
    [Exited(2**32), Exited(-1), Signalled("RTMIN"), LimitReached(Limit.CPU, MAX_OFFSET + 1), Stopped("RTMIN")],
)
def test_nothing_impossible_is_written(ending: Ending) -> None:
    """F-13: the same bounds hold for the endings that we send."""
    with pytest.raises(FieldError):
        ENDING.encode(ending)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0.0, 0), (-1.0, 0), (0.0004, 0), (1.5, 1500), (math.inf, MAX_TIMEOUT_MS), (2.0**60, MAX_TIMEOUT_MS)],
)
def test_seconds_are_cut_to_what_can_travel(seconds: float, milliseconds: int) -> None:
    """A time beyond the bounds is written as the bound."""
    assert ENDING.encode(TimedOut(seconds)) == {"kind": "timed-out", "timeout_ms": milliseconds}


def test_unknown_fields_of_an_ending_are_ignored() -> None:
    """A later version may say more about an ending."""
    assert ENDING.decode({"kind": "exited", "code": 0, "cpu_ms": 12}) == Exited(0)


@settings(derandomize=True, deadline=None)
@given(strategies.ENDINGS)
def test_any_ending_travels(ending: Any) -> None:
    """F-11: encoding and decoding are inverse for every ending."""
    assert ENDING.decode(ENDING.encode(ending)) == ending


@settings(derandomize=True, deadline=None)
@given(strategies.USAGES)
def test_any_usage_travels(usage: ResourceUsage) -> None:
    """F-11: encoding and decoding are inverse for every usage."""
    assert USAGE.decode(USAGE.encode(usage)) == usage
