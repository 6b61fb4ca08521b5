"""The base of every message: its declaration, and the two forms of its body, packed binary and JSON.

A message class is declared once, with :func:`declare`.  :mod:`twisted_rsh.core.codec` builds every decoder from the
declarations.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn, TypeVar

from twisted_rsh.core.fields import FieldError, Kind, Record
from twisted_rsh.core.limits import (
    MAX_JSON_BYTES,
    MAX_JSON_COMMAS,
    MAX_JSON_CONTAINERS,
    MAX_JSON_ESCAPES,
    MAX_NUMBER_CHARACTERS,
)
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.core.values import dataclass

__all__ = [
    "BOTH",
    "CLIENT",
    "SERVER",
    "Declaration",
    "JsonMessage",
    "Layout",
    "Message",
    "PackedMessage",
    "declare",
    "json_object",
]

M = TypeVar("M", bound="type[Message]")

CLIENT = frozenset({Role.CLIENT})
SERVER = frozenset({Role.SERVER})
BOTH = CLIENT | SERVER
"""The roles that may send a message, for :func:`declare`."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """Where a message may occur.

    :ivar number: its type, the first byte of its frame.
    :ivar senders: the roles that may send it.
    :ivar phase: the phase of the link in which they may send it.
    :ivar sequenced: whether a 64-bit sequence number stands before the body.
    """

    number: int
    senders: frozenset[Role]
    phase: Phase
    sequenced: bool = False


class Message:
    """A message.  ``body()`` and ``parse()`` are inverse; ``parse`` accepts nothing that ``body`` cannot produce.

    :cvar declaration: where the message may occur.
    """

    __slots__ = ()
    declaration: ClassVar[Declaration]

    def body(self) -> bytes:
        """Return the bytes that follow the type and the sequence number.

        :raises FieldError: a field is out of its bounds.
        """
        raise NotImplementedError

    def pieces(self) -> tuple[bytes, ...]:
        """Return the body in pieces, so that the caller need not copy a large one to put a header before it.

        :raises FieldError: a field is out of its bounds.
        """
        return (self.body(),)

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        """Return the message that has this body.

        :raises FieldError: these bytes are not a body of this message.
        """
        raise NotImplementedError


def declare(number: int, senders: frozenset[Role], phase: Phase, *, sequenced: bool = False) -> Callable[[M], M]:
    """Declare a message class; :data:`twisted_rsh.core.messages.MESSAGES` lists all that are declared.

    The parameters are the fields of :class:`Declaration`.
    """

    def enter(message: M) -> M:
        message.declaration = Declaration(number, senders, phase, sequenced)
        if issubclass(message, JsonMessage):
            message.record = Record(message)
        return message

    return enter


class Layout:
    """The sizes and the kinds of packed fields, in network byte order.

    :param sizes: a character of :mod:`struct` for each field.
    :param kinds: the kind of each field, whose encoded value is a whole number.
    :ivar struct: the sizes.
    """

    def __init__(self, sizes: str, *kinds: Kind) -> None:
        self.struct = struct.Struct(f"!{sizes}")
        self._kinds = kinds

    def pack(self, *values: Any) -> bytes:
        """Return the packed fields.

        :raises FieldError: a field is out of its bounds.
        """
        return self.struct.pack(*[kind.encode(value) for kind, value in zip(self._kinds, values, strict=True)])

    def unpack(self, packed: bytes | memoryview) -> list[Any]:
        """Return the fields.

        :raises FieldError: these bytes have another size, or a field is out of its bounds.
        """
        if len(packed) != self.struct.size:
            raise FieldError(f"not {self.struct.size} bytes")
        numbers = self.struct.unpack(packed)
        return [kind.decode(number) for kind, number in zip(self._kinds, numbers, strict=True)]


class PackedMessage(Message):
    """A message whose fields are packed one after the other, in the order of its dataclass fields.

    :cvar layout: the sizes and the kinds of the fields.
    """

    __slots__ = ()
    layout: ClassVar[Layout]

    def body(self) -> bytes:
        names: Iterable[str] = self.__slots__
        return self.layout.pack(*[getattr(self, name) for name in names])

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        return cls(*cls.layout.unpack(body))


class JsonMessage(Message):
    """A message whose fields are members of one JSON object (RFC 8259) in UTF-8.

    Members that this version does not know are ignored, so that later versions can add some.

    :cvar record: writes and reads the members.
    """

    __slots__ = ()
    record: ClassVar[Record[Any]]

    def body(self) -> bytes:
        present: dict[str, Any] = {}
        self.record.write(self, present)
        # Text as it is, because escapes are bounded; a surrogate, which has no UTF-8, becomes an escape.
        body = json.dumps(present, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        _check_cost(body)
        return body

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        message: Message = cls.record.read(json_object(bytes(body)))
        return message


_MAX_QUOTES = 4 * (MAX_JSON_COMMAS + MAX_JSON_CONTAINERS + 1)
"""Quotes around texts in a body with so many commas and containers: those of a name and of its value for each."""


def _check_cost(body: bytes) -> None:
    """Bound what it can cost to parse a JSON body.  This counts, and parses nothing.

    :raises FieldError: the body has too many escapes, objects and lists, or members and items.
    """
    if len(body) > MAX_JSON_BYTES:
        raise FieldError(f"JSON of more than {MAX_JSON_BYTES} bytes")
    backslashes = body.count(b"\\")
    # A run of backslashes has one escape for each two, and for one that is left.
    if backslashes > MAX_JSON_ESCAPES and backslashes - body.count(b"\\\\") > MAX_JSON_ESCAPES:
        raise FieldError(f"more than {MAX_JSON_ESCAPES} escapes")
    if body.count(b",") > MAX_JSON_COMMAS or body.count(b"[") + body.count(b"{") > MAX_JSON_CONTAINERS:
        _check_structure(body.replace(b"\\\\", b"").replace(b'\\"', b"") if backslashes else body)


def _check_structure(body: bytes) -> None:
    """Check the counts outside the texts of a body, from which escaped quotes have been removed."""
    # Texts and what is between them, by turns: every quote begins or ends a text.
    pieces = body.split(b'"', _MAX_QUOTES + 1)
    between = b"".join(pieces[::2])
    if len(pieces) > _MAX_QUOTES + 1 or between.count(b",") > MAX_JSON_COMMAS:
        raise FieldError(f"more than {MAX_JSON_COMMAS} commas")
    if between.count(b"[") + between.count(b"{") > MAX_JSON_CONTAINERS:
        raise FieldError(f"more than {MAX_JSON_CONTAINERS} objects and lists")


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON body.

    :raises FieldError: the body is not a JSON object, or could take long to parse.
    """
    _check_cost(body)
    try:
        value = json.loads(
            body.decode(),
            parse_constant=_refuse,
            parse_float=_refuse,
            parse_int=_whole_number,
            object_pairs_hook=_members,
        )
    except ValueError as error:
        raise FieldError("not a JSON object") from error
    if type(value) is not dict:
        raise FieldError("not a JSON object")
    return value


def _refuse(literal: str) -> NoReturn:
    # Two implementations rarely agree on a fraction to the last bit, so the protocol counts in whole units.
    raise ValueError(f"{literal} is not a whole number")


def _whole_number(literal: str) -> int:
    if len(literal) > MAX_NUMBER_CHARACTERS:
        raise ValueError("a number of too many characters")
    return int(literal)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members
