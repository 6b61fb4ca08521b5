"""The kinds of value that a control message's JSON object may hold, each with its bounds.

A kind turns a Python value into JSON and back.  ``decode`` accepts exactly what ``encode`` produces; anything else is a
:class:`FieldError`, whatever the peer sent.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from twisted_rsh.core.endings import (
    SIGNAL_NAMES,
    Ending,
    Exited,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    Signalled,
    Stopped,
    TimedOut,
)
from twisted_rsh.core.limits import MAX_OFFSET, MAX_TEXT_BYTES, MAX_TIMEOUT_MS

__all__ = [
    "Binary",
    "Boolean",
    "EndingObject",
    "FieldError",
    "Integer",
    "Kind",
    "Member",
    "Name",
    "NativeText",
    "Nullable",
    "Object",
    "Pairs",
    "Seconds",
    "Sequence",
    "Text",
    "kinds_of",
    "wire",
]

_METADATA_KEY = "twisted_rsh.kind"

E = TypeVar("E", bound=enum.Enum)


class FieldError(ValueError):
    """A value that its kind does not allow."""


class Kind(Protocol):
    """How one field is written in JSON."""

    def encode(self, value: Any) -> Any:
        """Return the JSON value.

        :raises FieldError: the value is not allowed.
        """

    def decode(self, value: Any) -> Any:
        """Return the Python value.

        :raises FieldError: the JSON value is not allowed.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from `minimum` to `maximum`."""

    minimum: int
    maximum: int

    def decode(self, value: Any) -> int:
        if type(value) is not int or not self.minimum <= value <= self.maximum:
            raise FieldError(f"not an integer from {self.minimum} to {self.maximum}")
        return value

    encode = decode


@dataclasses.dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    def decode(self, value: Any) -> bool:
        if type(value) is not bool:
            raise FieldError("not a boolean")
        return value

    encode = decode


@dataclasses.dataclass(frozen=True, slots=True)
class Nullable:
    """A value of another kind, or none at all, which is ``null``."""

    kind: Kind

    def encode(self, value: Any) -> Any:
        return None if value is None else self.kind.encode(value)

    def decode(self, value: Any) -> Any:
        return None if value is None else self.kind.decode(value)


@dataclasses.dataclass(frozen=True, slots=True)
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


@dataclasses.dataclass(frozen=True, slots=True)
class NativeText:
    """Text that came from bytes: as :class:`Text`, and undecodable bytes stand as surrogate escapes (PEP 383)."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class Binary:
    """Bytes, written in base64 (RFC 4648 section 4) with its padding; from `min_bytes` to `max_bytes` of them."""

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
        # b64decode forgives stray bits behind the last byte; two spellings of one value would be one too many.
        if self.encode(data) != value:
            raise FieldError("not canonical base64")
        return data


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """One of a fixed set of names."""

    names: frozenset[str]

    def decode(self, value: Any) -> str:
        if type(value) is not str or value not in self.names:
            raise FieldError("not a known name")
        return value

    encode = decode


@dataclasses.dataclass(frozen=True, slots=True)
class Member(Generic[E]):
    """A member of an enumeration, written as its value."""

    members: type[E]

    def encode(self, value: E) -> Any:
        return value.value

    def decode(self, value: Any) -> E:
        if type(value) is not str:
            raise FieldError("not a text")
        try:
            return self.members(value)
        except ValueError as error:
            raise FieldError("not a known name") from error


@dataclasses.dataclass(frozen=True, slots=True)
class Sequence:
    """A list whose items are all of one kind; a tuple in Python."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class Pairs:
    """An object whose names and values are of one kind each; a tuple of pairs in Python, in order."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class EndingObject:
    """An ending: an object whose ``kind`` tells which, with that kind's own fields beside it."""

    def encode(self, value: Ending) -> dict[str, Any]:
        kind = next(name for name, shape in _ENDINGS.items() if isinstance(value, shape.kind))
        return {"kind": kind} | _ENDINGS[kind].encode(value)

    def decode(self, value: Any) -> Ending:
        if type(value) is not dict or not isinstance(value.get("kind"), str) or value["kind"] not in _ENDINGS:
            raise FieldError("not an ending")
        decoded: Ending = _ENDINGS[value["kind"]].decode(value)
        return decoded


@dataclasses.dataclass(frozen=True, slots=True)
class Object:
    """A value of a dataclass: an object with one member for each attribute.

    :ivar kind: the dataclass.
    :ivar members: from a member's name to the attribute that it stands for and its kind; none may be missing.
    """

    kind: type
    members: Mapping[str, tuple[str, Kind]]

    def encode(self, value: Any) -> dict[str, Any]:
        return {member: field.encode(getattr(value, attribute)) for member, (attribute, field) in self.members.items()}

    def decode(self, value: Any) -> Any:
        if type(value) is not dict or not self.members.keys() <= value.keys():
            raise FieldError("not an object with all of its members")
        return self.kind(
            **{attribute: field.decode(value[member]) for member, (attribute, field) in self.members.items()}
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Seconds:
    """Seconds, written as a whole number of a smaller unit, `per_second` of them to the second."""

    per_second: int

    def encode(self, value: float) -> int:
        return round(min(max(0, value * self.per_second), MAX_TIMEOUT_MS))

    def decode(self, value: Any) -> float:
        return Integer(0, MAX_TIMEOUT_MS).decode(value) / self.per_second


_ENDINGS: Mapping[str, Object] = {
    "exited": Object(Exited, {"code": ("code", Integer(0, 2**32 - 1))}),
    "signalled": Object(
        Signalled, {"signal": ("signal", Name(SIGNAL_NAMES)), "core_dumped": ("core_dumped", Boolean())}
    ),
    "timed-out": Object(TimedOut, {"timeout_ms": ("seconds", Seconds(1000))}),
    "limit": Object(LimitReached, {"limit": ("limit", Member(Limit)), "amount": ("amount", Integer(0, MAX_OFFSET))}),
    "stopped": Object(Stopped, {"signal": ("signal", Name(SIGNAL_NAMES))}),
    "refused": Object(Refused, {"reason": ("reason", Member(RefusalReason)), "text": ("text", Text(MAX_TEXT_BYTES))}),
    "unknown": Object(OutcomeUnknown, {"text": ("text", Text(MAX_TEXT_BYTES))}),
}
"""The kinds of ending."""


def wire(kind: Kind, **options: Any) -> Any:
    """Declare a dataclass field that travels as `kind`; `options` are those of :func:`dataclasses.field`.

    A field with a default may be missing on the wire, and is then that default; it is not sent while it is that
    default.
    """
    return dataclasses.field(metadata={_METADATA_KEY: kind}, **options)


def kinds_of(message: type) -> tuple[tuple[str, Kind, Any], ...]:
    """Return the name, kind and default of every field that :func:`wire` declared on a dataclass."""
    return tuple((field.name, field.metadata[_METADATA_KEY], field.default) for field in dataclasses.fields(message))
