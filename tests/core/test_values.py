"""Cheap dataclasses are what the standard library's are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, field
from typing import Any, ClassVar

import pytest

from twisted_rsh.core.values import dataclass


@dataclass(frozen=True, slots=True)
class Plain:
    """Fields with defaults of every kind, and one that is neither compared nor shown."""

    first: int
    second: str = "two"
    many: list[int] = field(default_factory=list)
    secret: bytes = field(default=b"", repr=False, compare=False)
    kind: ClassVar[str] = "plain"


@dataclasses.dataclass(frozen=True, slots=True)
class Standard:
    """The same, of the standard library."""

    first: int
    second: str = "two"
    many: list[int] = field(default_factory=list)
    secret: bytes = field(default=b"", repr=False, compare=False)
    kind: ClassVar[str] = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Keyword arguments alone, checked when the object is made."""

    size: int
    limit: int = 10

    def __post_init__(self) -> None:
        if self.size > self.limit:
            raise ValueError("too large")


@dataclass(frozen=True, slots=True)
class Empty:
    """No field."""


@dataclass(frozen=True, slots=True)
class Inherited(Plain):
    """One field more."""

    third: int = 3

    def __repr__(self) -> str:
        return f"<{self.third}>"


ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, "b"), {"many": [2]}),
    ((), {"first": 1, "secret": b"s"}),
    ((1, "b", [3], b"s"), {}),
]


@pytest.mark.parametrize(("positional", "named"), ARGUMENTS)
def test_objects(positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Fields, their defaults and the text are those of a standard dataclass."""
    own, standard = Plain(*positional, **named), Standard(*positional, **named)
    assert dataclasses.asdict(own) == dataclasses.asdict(standard)
    assert repr(own) == repr(standard).replace("Standard", "Plain")
    assert Plain.__match_args__ == Standard.__match_args__
    assert [one.name for one in dataclasses.fields(own)] == [one.name for one in dataclasses.fields(standard)]


@pytest.mark.parametrize(("positional", "named"), [((), {}), ((1, "b", [], b"", 5), {}), ((1,), {"other": 2})])
def test_wrong_arguments(positional: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Too few, too many and unknown arguments are a TypeError that names the class, also before the first object."""
    for _ in range(2):
        with pytest.raises(TypeError, match=r"Plain\.__init__\(\)"):
            Plain(*positional, **named)


def test_each_object_has_its_own_default() -> None:
    """A default that a factory makes is not shared."""
    assert Plain(1).many is not Plain(1).many


def test_comparison() -> None:
    """Objects of one class are equal, and hash alike, when the compared fields are; others never are."""
    assert Plain(1, secret=b"a") == Plain(1, secret=b"b")
    assert Plain(1) != Plain(2)
    other: object = Standard(1)
    assert Plain(1) != other
    assert Plain(1) != Inherited(1)
    assert hash(Named(size=1)) == hash(Named(size=1))
    assert {Named(size=1), Named(size=1), Named(size=2)} == {Named(size=2), Named(size=1)}
    assert Empty() == Empty()
    assert len({Empty(), Empty()}) == 1


@pytest.mark.parametrize("name", ["first", "second", "unknown"])
def test_frozen(name: str) -> None:
    """No attribute can be set or deleted, and there is no dictionary for another one."""
    value = Plain(1)
    with pytest.raises(FrozenInstanceError, match=name):
        setattr(value, name, 2)
    with pytest.raises(FrozenInstanceError, match=name):
        delattr(value, name)
    assert not hasattr(value, "__dict__")
    assert value == Plain(1)


def test_keyword_only_and_checked() -> None:
    """Keyword arguments are none by position, and ``__post_init__`` checks each object, the first one too."""
    with pytest.raises(ValueError, match="too large"):
        Named(size=11)
    assert Named(size=11, limit=11).size == 11
    with pytest.raises(TypeError):
        Named(1)  # type: ignore[call-arg]  # that is the point


def test_replace() -> None:
    """``dataclasses.replace`` makes another one, with the same checks."""
    assert dataclasses.replace(Plain(1), second="b") == Plain(1, "b")
    with pytest.raises(ValueError, match="too large"):
        dataclasses.replace(Named(size=1), limit=0)


def test_inheritance() -> None:
    """A subclass has the fields of its base, and its own methods stay."""
    assert repr(Inherited(1)) == "<3>"
    assert Inherited(1, third=4) == Inherited(1, "two", [], b"x", 4)


@pytest.mark.parametrize("value", [Plain(1, "b", [2], b"s"), Named(size=3), Empty()])
def test_copies(value: Any) -> None:
    """Values can be copied and pickled with all fields."""
    for copied in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):  # noqa: S301 - our own
        assert dataclasses.asdict(copied) == dataclasses.asdict(value)


def test_pattern() -> None:
    """A pattern takes it apart by position."""
    match Plain(1, "b"):
        case Plain(first, second):
            assert (first, second) == (1, "b")
        case _:
            raise AssertionError
