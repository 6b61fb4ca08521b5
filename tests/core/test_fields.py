"""The kinds of value in a JSON object, each at its bounds and one past them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings

from tests.core.strategies import NATIVE_TEXT
from twisted_rsh.core.endings import RefusalReason, Stopped
from twisted_rsh.core.fields import (
    Binary,
    Boolean,
    Choice,
    FieldError,
    Integer,
    Kind,
    Name,
    NativeText,
    Nullable,
    Number,
    Object,
    Pairs,
    Record,
    Seconds,
    Sequence,
    Text,
    inline,
    wire,
)
from twisted_rsh.core.limits import MAX_TIMEOUT_MS
from twisted_rsh.core.roles import Stream

NUMBER = Integer(-3, 5)
NAME = Name(frozenset({"HUP", "TERM"}))
REASON = Choice(RefusalReason)
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
    (STOPPED, Stopped("HUP")),
    (Seconds(1000), 0.0),
    (Seconds(1000), 0.001),
    (Seconds(1000, minimum=1), 0.001),
    (Nullable(NUMBER), None),
    (Nullable(NUMBER), 5),
    (Number(Stream), Stream.STDERR),
    (Seconds(1_000_000), 0.000001),
    (Seconds(1_000_000), MAX_TIMEOUT_MS / 1_000_000),
]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_values_travel(kind: Kind, value: Any) -> None:
    """A value within its bounds comes out as it went in, and is of the same type."""
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
    (Seconds(1000, minimum=1), [0, -1]),
    (Nullable(NUMBER), [6, "null"]),
    (Number(Stream), [-1, 3, "STDIN", None]),
]
BAD = [(kind, value) for kind, values in NOT_OF_THE_KIND for value in values]


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_everything_else_is_refused(kind: Kind, value: Any) -> None:
    """F-10: a value past its bounds, of another type or spelled another way is a ``FieldError`` and nothing else."""
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
        (STOPPED, Stopped("KILL")),
    ],
)
def test_nothing_impossible_is_written(kind: Kind, value: Any) -> None:
    """F-13: the same bounds hold for the values that we send."""
    with pytest.raises(FieldError):
        kind.encode(value)


@pytest.mark.parametrize(
    ("seconds", "microseconds"),
    [
        *((-math.inf, 0), (4e-7, 0), (6e-7, 1), (math.inf, MAX_TIMEOUT_MS), (math.nan, 0)),
        (MAX_TIMEOUT_MS / 1_000_000, MAX_TIMEOUT_MS),
    ],
)
def test_seconds_of_other_units(seconds: float, microseconds: int) -> None:
    """Seconds are rounded to the unit, and a time beyond the bounds is written as the bound."""
    assert Seconds(1_000_000).encode(seconds) == microseconds


def test_unknown_members_of_an_object_are_ignored() -> None:
    """A later version may add members to an object."""
    assert STOPPED.decode({"later": [None], "by": "HUP", "signal": 3}) == Stopped("HUP")


@settings(derandomize=True, deadline=None)
@given(NATIVE_TEXT)
def test_any_native_text_travels(text: str) -> None:
    """F-11: encoding and decoding are inverse for every text that came from bytes."""
    kind = NativeText(1000)
    assert kind.decode(kind.encode(text)) == text


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Two members, which contradict each other where they are equal."""

    one: int = wire(NUMBER, default=0)
    other: int = wire(NUMBER, name="second", default=1)

    def __post_init__(self) -> None:
        if self.one == self.other:
            raise ValueError("one is the other")


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A required member, and the members of another dataclass beside it."""

    name: str = wire(NAME)
    inner: Inner = inline(Record(Inner))  # noqa: RUF009 - it is dataclasses.field()


OUTER = Record(Outer)


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (Outer(name="HUP", inner=Inner()), {"name": "HUP"}),
        (Outer(name="HUP", inner=Inner(one=2, other=3)), {"name": "HUP", "one": 2, "second": 3}),
    ],
)
def test_a_record_is_members_of_one_object(value: Outer, members: dict[str, Any]) -> None:
    """Members are written in order, those at their default are left out, and reading is the inverse."""
    present: dict[str, Any] = {}
    OUTER.write(value, present)
    assert list(present.items()) == list(members.items())
    assert OUTER.read({"later": None, **members}) == value
    assert [member.name for member in OUTER.listed()] == ["name", "one", "second"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "name is missing"),
        ({"name": "KILL"}, "not a known name"),
        ({"name": "HUP", "one": 6}, "not an integer"),
        ({"name": "HUP", "one": None}, "not an integer"),
        ({"name": "HUP", "one": 1}, "one is the other"),
        ({"name": "HUP", "one": 0, "second": 0}, "one is the other"),
    ],
)
def test_no_members_of_a_record(members: dict[str, Any], reason: str) -> None:
    """A member that is missing or not of its kind, and members that contradict each other, are a ``FieldError``."""
    with pytest.raises(FieldError, match=reason):
        OUTER.read(members)
