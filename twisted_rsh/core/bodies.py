"""The base of every message: its declaration, and the two forms of its body, packed binary and JSON.

A message class is declared once, with :func:`declare`.  :mod:`twisted_rsh.core.codec` builds every decoder from the
declarations.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn, TypeVar

from twisted_rsh.core.fields import FieldError, Kind, Record
from twisted_rsh.core.roles import Phase, Role

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
]

M = TypeVar("M", bound="type[Message]")

CLIENT = frozenset({Role.CLIENT})
SERVER = frozenset({Role.SERVER})
BOTH = CLIENT | SERVER
"""The roles that may send a message, for :func:`declare`."""


@dataclasses.dataclass(frozen=True, slots=True)
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
    """A message whose fields are packed one behind the other, in the order of its dataclass fields.

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
        return json.dumps(present, separators=(",", ":")).encode("ascii")

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        message: Message = cls.record.read(_json_object(bytes(body)))
        return message


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode(), parse_constant=_refuse, parse_float=_refuse, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise FieldError("not a JSON object") from error
    if type(value) is not dict:
        raise FieldError("not a JSON object")
    return value


def _refuse(literal: str) -> NoReturn:
    # Two implementations rarely agree on a fraction to the last bit, so the protocol counts in whole units.
    raise ValueError(f"{literal} is not a whole number")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members
