"""The kinds of value in a JSON object, each at its bounds and one past them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings

from tests.core.strategies import ENDINGS, NATIVE_TEXT, TERMINALS, USAGES
from twisted_rsh.core.endings import (
    Exited,
    Limit,
    LimitReached,
    RefusalReason,
    Refused,
    ResourceUsage,
    Signalled,
    Stopped,
    TimedOut,
)
from twisted_rsh.core.fields import (
    Binary,
    Boolean,
    EndingObject,
    FieldError,
    Integer,
    Kind,
    Member,
    Name,
    NativeText,
    Object,
    Pairs,
    Seconds,
    Sequence,
    Text,
)
from twisted_rsh.core.limits import MAX_OFFSET, MAX_TEXT_BYTES, MAX_TIMEOUT_MS
from twisted_rsh.core.messages import TERMINAL, USAGE
from twisted_rsh.core.requests import Terminal

NUMBER = Integer(-3, 5)
NAME = Name(frozenset({"HUP", "TERM"}))
REASON = Member(RefusalReason)
STOPPED = Object(Stopped, {"by": ("signal", NAME)})

GOOD: list[tuple[Kind, Any]] = [
    (NUMBER, -3),
    (NUMBER, 5),
    (Boolean(), True),
    (Boolean(), False),
    (Text(4), "four"),
    (Text(4), "\N{GREEK SMALL LETTER ALPHA}\N{GREEK SMALL LETTER BETA}"),
    (Text(4), "\N{GRINNING FACE}"),
    (Text(4), "\0\n\x1b"),
    (NativeText(4), "a\udc80\udcffb"),
    (NativeText(4), ""),
    (Binary(3), b"\0\xff\n"),
    (Binary(3), b""),
    (Binary(3, min_bytes=3), b"abc"),
    (NAME, "HUP"),
    (REASON, RefusalReason.NOT_FOUND),
    (Sequence(NUMBER, 2), (1, 2)),
    (Sequence(NUMBER, 2), ()),
    (Pairs(Text(1), NUMBER, 2), (("b", 1), ("a", 2))),
    (Pairs(Text(1), NUMBER, 2), ()),
    (EndingObject(), Exited(2**32 - 1)),
    (EndingObject(), Refused(RefusalReason.RESOURCES, "x" * MAX_TEXT_BYTES)),
    (EndingObject(), TimedOut(0.001)),
    (EndingObject(), LimitReached(Limit.OUTPUT, MAX_OFFSET)),
    (EndingObject(), LimitReached(Limit.MEMORY, 0)),
    (EndingObject(), Stopped("TSTP")),
    (STOPPED, Stopped("HUP")),
    (Seconds(1000), 0.0),
    (Seconds(1000), 0.001),
    (Seconds(1_000_000), 0.000001),
    (Seconds(1_000_000), MAX_TIMEOUT_MS / 1_000_000),
]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_values_travel(kind: Kind, value: Any) -> None:
    """What is within the bounds comes out as it went in, and is of the same type."""
    decoded = kind.decode(kind.encode(value))
    assert decoded == value
    assert type(decoded) is type(value)


NOT_OF_THE_KIND: list[tuple[Kind, list[Any]]] = [
    (NUMBER, [-4, 6, True, "1", None, [], {}, 1.0]),
    (Boolean(), [0, 1, "true", None]),
    (Text(4), ["fiver", "\N{GREEK SMALL LETTER ALPHA}abc", "\udc80", "\ud800", 1, None, b"a"]),
    (NativeText(4), ["fiver", "\ud800", "\udbff", "\udc7f", "\udd00", "\udfff", 1, None]),
    (Binary(3), ["YWJjZA==", "YQ", "YQ=", "YR==", "Y Q==", "YQ==\n", "-_==", "é", 1, None]),
    (Binary(3, min_bytes=3), ["", "YWI=", "YWJjZA=="]),
    (NAME, ["hup", "SIGHUP", "", 1, None, []]),
    (REASON, ["not found", "NOT_FOUND", 1, None, []]),
    (Sequence(NUMBER, 2), [[1, 2, 3], [6], "12", {}, None]),
    (Pairs(Text(1), NUMBER, 2), [{"a": 1, "b": 2, "c": 3}, {"aa": 1}, {"a": 6}, [], None]),
    (STOPPED, [None, [], "HUP", {}, {"signal": "HUP"}, {"by": "KILL"}, {"by": None}, [["by", "HUP"]]]),
    (Seconds(1000), [-1, MAX_TIMEOUT_MS + 1, 1.0, True, "1", None]),
    (
        EndingObject(),
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
    ),
]
BAD = [(kind, value) for kind, values in NOT_OF_THE_KIND for value in values]


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_everything_else_is_refused(kind: Kind, value: Any) -> None:
    """One past the bound, another type, another spelling: a ``FieldError`` and nothing else."""
    with pytest.raises(FieldError):
        kind.decode(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (NUMBER, 6),
        (Text(4), "fiver"),
        (Text(4), "\udc80"),
        (NativeText(4), "\ud800"),
        (Binary(3), b"four"),
        (Binary(3, min_bytes=3), b"12"),
        (NAME, "KILL"),
        (Sequence(NUMBER, 2), (1, 2, 3)),
        (Sequence(NUMBER, 2), (6,)),
        (Pairs(Text(1), NUMBER, 2), (("a", 1), ("b", 2), ("c", 3))),
        (EndingObject(), Exited(2**32)),
        (EndingObject(), Exited(-1)),
        (EndingObject(), Signalled("RTMIN")),
        (EndingObject(), LimitReached(Limit.CPU, MAX_OFFSET + 1)),
        (EndingObject(), Stopped("RTMIN")),
        (STOPPED, Stopped("KILL")),
    ],
)
def test_nothing_impossible_is_written(kind: Kind, value: Any) -> None:
    """The same bounds hold for what we send ourselves."""
    with pytest.raises(FieldError):
        kind.encode(value)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0.0, 0), (-1.0, 0), (0.0004, 0), (1.5, 1500), (math.inf, MAX_TIMEOUT_MS), (2.0**60, MAX_TIMEOUT_MS)],
)
def test_seconds_are_cut_to_what_can_travel(seconds: float, milliseconds: int) -> None:
    """A time beyond the bounds is as good as the bound."""
    assert EndingObject().encode(TimedOut(seconds)) == {"kind": "timed-out", "timeout_ms": milliseconds}


@pytest.mark.parametrize(
    ("seconds", "microseconds"),
    [(-math.inf, 0), (4e-7, 0), (6e-7, 1), (math.inf, MAX_TIMEOUT_MS), (math.nan, 0)],
)
def test_seconds_of_other_units(seconds: float, microseconds: int) -> None:
    """They are rounded to the unit and cut likewise."""
    assert Seconds(1_000_000).encode(seconds) == microseconds


def test_unknown_members_of_an_object_are_ignored() -> None:
    """A later version may say more."""
    assert STOPPED.decode({"later": [None], "by": "HUP", "signal": 3}) == Stopped("HUP")


def test_unknown_fields_of_an_ending_are_ignored() -> None:
    """A later version may say more about an ending."""
    assert EndingObject().decode({"kind": "exited", "code": 0, "cpu_ms": 12}) == Exited(0)


@settings(derandomize=True, deadline=None)
@given(ENDINGS)
def test_any_ending_travels(ending: Any) -> None:
    """F-11: encoding and decoding are inverse for every ending."""
    assert EndingObject().decode(EndingObject().encode(ending)) == ending


@settings(derandomize=True, deadline=None)
@given(NATIVE_TEXT)
def test_any_native_text_travels(text: str) -> None:
    """F-11: so they are for every text that came from bytes."""
    kind = NativeText(1000)
    assert kind.decode(kind.encode(text)) == text


@settings(derandomize=True, deadline=None)
@given(TERMINALS)
def test_any_terminal_travels(terminal: Terminal) -> None:
    """F-11: and for every terminal."""
    assert TERMINAL.decode(TERMINAL.encode(terminal)) == terminal


@settings(derandomize=True, deadline=None)
@given(USAGES)
def test_any_usage_travels(usage: ResourceUsage) -> None:
    """F-11: and for every usage."""
    assert USAGE.decode(USAGE.encode(usage)) == usage
