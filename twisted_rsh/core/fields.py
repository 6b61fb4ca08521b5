"""Kinds of value in the protocol's JSON objects, each with its bounds, and dataclasses that are written as members.

A kind turns a Python value into JSON and back.  ``decode`` accepts exactly what ``encode`` produces, and raises
:class:`FieldError` for anything else that a peer sent.  A dataclass declares with :func:`wire` and
:func:`inline` how its fields are written; a :class:`Record` writes and reads it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from twisted_rsh.core.limits import MAX_CHANNEL_ID, MAX_OFFSET, MAX_TIMEOUT_MS
from twisted_rsh.core.values import dataclass

__all__ = [
    "CHANNEL",
    "OFFSET",
    "Binary",
    "Boolean",
    "Choice",
    "FieldError",
    "Integer",
    "Kind",
    "Member",
    "Members",
    "Name",
    "NativeText",
    "Nullable",
    "Number",
    "Object",
    "Pairs",
    "Record",
    "Seconds",
    "Sequence",
    "Text",
    "inline",
    "wire",
]

_MEMBER, _MEMBERS = "twisted_rsh.member", "twisted_rsh.members"

E = TypeVar("E", bound=enum.Enum)
N = TypeVar("N", bound=enum.IntEnum)
T = TypeVar("T")


class FieldError(ValueError):
    """A value that its kind does not allow."""


class Kind(Protocol):
    """How one value is written in JSON."""

    def encode(self, value: Any) -> Any:
        """Return the JSON value.

        :raises FieldError: the value is not allowed.
        """

    def decode(self, value: Any) -> Any:
        """Return the Python value.

        :raises FieldError: the JSON value is not allowed.
        """


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from `minimum` to `maximum`."""

    minimum: int
    maximum: int

    def decode(self, value: Any) -> int:
        if type(value) is not int or not self.minimum <= value <= self.maximum:
            raise FieldError(f"not an integer from {self.minimum} to {self.maximum}")
        return value

    encode = decode


CHANNEL = Integer(1, MAX_CHANNEL_ID)
"""The number of a channel."""

OFFSET = Integer(0, MAX_OFFSET)
"""A number of bytes."""


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    def decode(self, value: Any) -> bool:
        if type(value) is not bool:
            raise FieldError("not a boolean")
        return value

    encode = decode


@dataclass(frozen=True, slots=True)
class Nullable:
    """A value of another kind, or ``None``, which is written as ``null``."""

    kind: Kind

    def encode(self, value: Any) -> Any:
        return None if value is None else self.kind.encode(value)

    def decode(self, value: Any) -> Any:
        return None if value is None else self.kind.decode(value)


@dataclass(frozen=True, slots=True)
class Text:
    """Unicode text of at most `max_bytes` bytes of UTF-8."""

    max_bytes: int

    def decode(self, value: Any) -> str:
        if type(value) is not str:
            raise FieldError("not a text")
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise FieldError("not Unicode text") from error
        if size > self.max_bytes:
            raise FieldError(f"longer than {self.max_bytes} bytes")
        return value

    encode = decode


@dataclass(frozen=True, slots=True)
class NativeText:
    """Text that came from bytes, of at most `max_bytes` bytes; undecodable bytes are surrogate escapes (PEP 383)."""

    max_bytes: int

    def decode(self, value: Any) -> str:
        if type(value) is not str:
            raise FieldError("not a text")
        try:
            size = len(value.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as error:
            raise FieldError("neither Unicode text nor escaped bytes") from error
        if size > self.max_bytes:
            raise FieldError(f"longer than {self.max_bytes} bytes")
        return value

    encode = decode


@dataclass(frozen=True, slots=True)
class Binary:
    """From `min_bytes` to `max_bytes` bytes, written in base64 (RFC 4648 section 4) with its padding."""

    max_bytes: int
    min_bytes: int = 0

    def encode(self, value: bytes) -> str:
        if not self.min_bytes <= len(value) <= self.max_bytes:
            raise FieldError(f"not from {self.min_bytes} to {self.max_bytes} bytes")
        return base64.b64encode(value).decode("ascii")

    def decode(self, value: Any) -> bytes:
        if type(value) is not str:
            raise FieldError("not a text")
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise FieldError("not base64") from error
        # b64decode ignores stray bits after the last byte, which would give one value two spellings.
        if self.encode(data) != value:
            raise FieldError("not canonical base64")
        return data


@dataclass(frozen=True, slots=True)
class Name:
    """One of a fixed set of names."""

    names: frozenset[str]

    def decode(self, value: Any) -> str:
        if type(value) is not str or value not in self.names:
            raise FieldError("not a known name")
        return value

    encode = decode


@dataclass(frozen=True, slots=True)
class Choice(Generic[E]):
    """A member of an enumeration of texts, written as its value."""

    choices: type[E]

    def encode(self, value: E) -> Any:
        return value.value

    def decode(self, value: Any) -> E:
        if type(value) is not str:
            raise FieldError("not a text")
        try:
            return self.choices(value)
        except ValueError as error:
            raise FieldError("not a known name") from error


@dataclass(frozen=True, slots=True)
class Number(Generic[N]):
    """A member of an enumeration of whole numbers, written as its number."""

    numbers: type[N]

    def decode(self, value: Any) -> N:
        try:
            return self.numbers(value)
        except ValueError as error:
            raise FieldError("not a known number") from error

    encode = decode


@dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds, written as a whole number of a smaller unit, `per_second` of them to the second.

    A time below `minimum` units or above :data:`~twisted_rsh.core.limits.MAX_TIMEOUT_MS` units is written as that
    bound.
    """

    per_second: int
    minimum: int = 0

    @property
    def units(self) -> Integer:
        """The kind of the number that is written."""
        return Integer(self.minimum, MAX_TIMEOUT_MS)

    def encode(self, value: float) -> int:
        if value >= MAX_TIMEOUT_MS / self.per_second:  # a float of seconds is not exact up there
            return MAX_TIMEOUT_MS
        return round(max(self.minimum, value * self.per_second))

    def decode(self, value: Any) -> float:
        return self.units.decode(value) / self.per_second


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of at most `max_items` values of one kind; a tuple in Python."""

    kind: Kind
    max_items: int

    def encode(self, value: tuple[Any, ...]) -> list[Any]:
        if len(value) > self.max_items:
            raise FieldError(f"more than {self.max_items} items")
        return [self.kind.encode(item) for item in value]

    def decode(self, value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise FieldError("not a list")
        if len(value) > self.max_items:
            raise FieldError(f"more than {self.max_items} items")
        return tuple(self.kind.decode(item) for item in value)


@dataclass(frozen=True, slots=True)
class Pairs:
    """An object of at most `max_items` names and values of one kind each; a tuple of pairs in Python, in order."""

    name: Kind
    value: Kind
    max_items: int

    def encode(self, value: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
        if len(value) > self.max_items:
            raise FieldError(f"more than {self.max_items} names")
        return {self.name.encode(name): self.value.encode(item) for name, item in value}

    def decode(self, value: Any) -> tuple[tuple[str, Any], ...]:
        if type(value) is not dict:
            raise FieldError("not an object")
        if len(value) > self.max_items:
            raise FieldError(f"more than {self.max_items} names")
        return tuple((self.name.decode(name), self.value.decode(item)) for name, item in value.items())


@dataclass(frozen=True, slots=True)
class Object:
    """A value of a dataclass, written as an object that has every member.

    :ivar shape: the dataclass.
    :ivar members: from a member's name to the attribute that it stands for and its kind.
    """

    shape: type
    members: Mapping[str, tuple[str, Kind]]

    def encode(self, value: Any) -> dict[str, Any]:
        return {member: kind.encode(getattr(value, attribute)) for member, (attribute, kind) in self.members.items()}

    def decode(self, value: Any) -> Any:
        if type(value) is not dict or not self.members.keys() <= value.keys():
            raise FieldError("not an object with all of its members")
        return self.shape(
            **{attribute: kind.decode(value[member]) for member, (attribute, kind) in self.members.items()}
        )


class Members(Protocol):
    """How one value is written as members of a JSON object that has others beside them."""

    def listed(self) -> tuple[Member, ...]:
        """Return the members, in the order in which they are written."""

    def write(self, value: Any, present: dict[str, Any]) -> None:
        """Add the members that this value needs.

        :raises FieldError: the value is not allowed.
        """

    def read(self, present: Mapping[str, Any]) -> Any:
        """Return the value that the members of an object stand for; members of other names are ignored.

        :raises FieldError: a member is missing or not allowed, or the members contradict each other.
        """


@dataclass(frozen=True, slots=True)
class Member:
    """A value that is one member of its object, and is left out while it is the default.

    :ivar name: the member's name.
    :ivar kind: the value's kind.
    :ivar default: the value of a member that is left out, or ``dataclasses.MISSING`` when none may be.
    """

    name: str
    kind: Kind
    default: Any

    def listed(self) -> tuple[Member, ...]:
        return (self,)

    def write(self, value: Any, present: dict[str, Any]) -> None:
        if value != self.default:
            present[self.name] = self.kind.encode(value)

    def read(self, present: Mapping[str, Any]) -> Any:
        if self.name in present:
            return self.kind.decode(present[self.name])
        if self.default is dataclasses.MISSING:
            raise FieldError(f"{self.name} is missing")
        return self.default


class Record(Generic[T]):
    """A dataclass whose fields, each declared with :func:`wire` or :func:`inline`, are members of one JSON object.

    :param shape: the dataclass.
    """

    def __init__(self, shape: type[T]) -> None:
        fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(shape)  # type: ignore[arg-type]  # it is one
        self._shape = shape
        self._members = {field.name: _members_of(field) for field in fields}

    def listed(self) -> tuple[Member, ...]:
        return tuple(member for members in self._members.values() for member in members.listed())

    def write(self, value: T, present: dict[str, Any]) -> None:
        for attribute, members in self._members.items():
            members.write(getattr(value, attribute), present)

    def read(self, present: Mapping[str, Any]) -> T:
        values = {attribute: members.read(present) for attribute, members in self._members.items()}
        try:
            return self._shape(**values)
        except ValueError as error:
            raise FieldError(str(error)) from None


def wire(kind: Kind, *, name: str | None = None, **options: Any) -> Any:
    """Declare that a dataclass field is one member of its object.

    :param kind: the value's kind.
    :param name: the member's name; ``None`` for that of the field.
    :param options: those of :func:`dataclasses.field`.  A field with a default may be missing from the object, and is
        left out of it while it has that default.
    """
    return dataclasses.field(metadata={_MEMBER: (kind, name)}, **options)


def inline(members: Members, **options: Any) -> Any:
    """Declare that a dataclass field is several members of its object.

    :param members: writes and reads them.
    :param options: those of :func:`dataclasses.field`.
    """
    return dataclasses.field(metadata={_MEMBERS: members}, **options)


def _members_of(field: dataclasses.Field[Any]) -> Members:
    if _MEMBERS in field.metadata:
        members: Members = field.metadata[_MEMBERS]
        return members
    kind, name = field.metadata[_MEMBER]
    return Member(name or field.name, kind, field.default)
