"""What every message is made of: its declaration, and the two forms that a body has.

A message class is declared once, with :func:`declare`; :mod:`twisted_rsh.core.codec` builds every decoder from the
declarations.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NoReturn, TypeVar

from twisted_rsh.core.fields import FieldError, Integer, Kind, kinds_of
from twisted_rsh.core.limits import MAX_CHANNEL_ID, MAX_OFFSET
from twisted_rsh.core.roles import Phase, Role, Stream

__all__ = [
    "BOTH",
    "CHANNEL",
    "CLIENT",
    "OFFSET",
    "SERVER",
    "Declaration",
    "JsonMessage",
    "Message",
    "PackedMessage",
    "check_channel",
    "check_offset",
    "check_stream",
    "declare",
]

M = TypeVar("M", bound="type[Message]")

CLIENT = frozenset({Role.CLIENT})
SERVER = frozenset({Role.SERVER})
BOTH = CLIENT | SERVER
"""Who may send a message, for :func:`declare`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Declaration:
    """Where a message may occur.

    :ivar number: its type, the first byte of its frame.
    :ivar senders: the roles that may send it.
    :ivar phase: when.
    :ivar sequenced: whether a 64-bit sequence number stands before the body.
    """

    number: int
    senders: frozenset[Role]
    phase: Phase
    sequenced: bool = False


class Message:
    """A message.  ``body()`` and ``parse()`` are inverse; ``parse`` accepts nothing that ``body`` cannot produce."""

    __slots__ = ()
    declaration: ClassVar[Declaration]

    def body(self) -> bytes:
        """Return the bytes that follow the type and the sequence number.

        :raises FieldError: a field is out of its bounds.
        """
        raise NotImplementedError

    def pieces(self) -> tuple[bytes, ...]:
        """Return the same in pieces, of which a large one need not be copied.

        :raises FieldError: a field is out of its bounds.
        """
        return (self.body(),)

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        """Return the message that these bytes are the body of.

        :raises FieldError: they are not this message's body.
        """
        raise NotImplementedError


def declare(number: int, senders: frozenset[Role], phase: Phase, *, sequenced: bool = False) -> Callable[[M], M]:
    """Declare a message class; :data:`twisted_rsh.core.codec.MESSAGES` lists all that are declared."""

    def enter(message: M) -> M:
        message.declaration = Declaration(number, senders, phase, sequenced)
        if issubclass(message, JsonMessage):
            message.members = kinds_of(message)
        return message

    return enter


class PackedMessage(Message):
    """A message whose fields are packed in network byte order, in the order of its dataclass fields."""

    __slots__ = ()
    layout: ClassVar[struct.Struct]

    def check(self) -> None:
        """Check the fields' bounds.

        :raises FieldError: a field is out of them.
        """
        raise NotImplementedError

    def body(self) -> bytes:
        self.check()
        names: Iterable[str] = self.__slots__
        return self.layout.pack(*[getattr(self, name) for name in names])

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        if len(body) != cls.layout.size:
            raise FieldError(f"not {cls.layout.size} bytes")
        message = cls(*cls.layout.unpack(body))
        message.check()
        return message


class JsonMessage(Message):
    """A message whose fields, declared with :func:`wire`, are members of one JSON object (RFC 8259) in UTF-8.

    Members that this version does not know are ignored; that is how later versions add some.

    :cvar members: name, kind and default of each field.
    """

    __slots__ = ()
    members: ClassVar[tuple[tuple[str, Kind, Any], ...]]

    def body(self) -> bytes:
        present: dict[str, Any] = {}
        for name, kind, default in self.members:
            value = getattr(self, name)
            if value != default:
                present[name] = kind.encode(value)
        return json.dumps(present, separators=(",", ":")).encode("ascii")

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        present = _json_object(bytes(body))
        values: dict[str, Any] = {}
        for name, kind, default in cls.members:
            if name in present:
                values[name] = kind.decode(present[name])
            elif default is dataclasses.MISSING:
                raise FieldError(f"{name} is missing")
        return cls(**values)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body.decode(), parse_constant=_refuse, parse_float=_refuse, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise FieldError("not a JSON object") from error
    if type(value) is not dict:
        raise FieldError("not a JSON object")
    return value


def _refuse(literal: str) -> NoReturn:
    # Two implementations rarely agree on a fraction to the last bit; the protocol counts in whole units instead.
    raise ValueError(f"{literal} is not a whole number")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


CHANNEL = Integer(1, MAX_CHANNEL_ID)
"""The number of a channel, in JSON."""

OFFSET = Integer(0, MAX_OFFSET)
"""A number of bytes, in JSON."""

_STREAMS = frozenset(int(stream) for stream in Stream)


def check_channel(channel: int) -> None:
    """Check the number of a channel.

    :raises FieldError: it is none.
    """
    if not 1 <= channel <= MAX_CHANNEL_ID:
        raise FieldError(f"no channel {channel}")


def check_stream(stream: int) -> None:
    """Check the number of a stream.

    :raises FieldError: it is none.
    """
    if stream not in _STREAMS:
        raise FieldError(f"no stream {stream}")


def check_offset(offset: int) -> None:
    """Check an offset in a stream, or a count.

    :raises FieldError: it is none.
    """
    if not 0 <= offset <= MAX_OFFSET:
        raise FieldError("an offset beyond the highest")
