"""The messages about a session as a whole: what has arrived, whether anybody is there, and the end."""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from twisted_rsh.core.bodies import BOTH, JsonMessage, Message, PackedMessage, declare
from twisted_rsh.core.common_fields import check_offset
from twisted_rsh.core.fields import FieldError, Text, wire
from twisted_rsh.core.limits import MAX_PART_BYTES, MAX_TEXT_BYTES
from twisted_rsh.core.roles import Phase

__all__ = ["Ack", "Goodbye", "Part", "Ping", "Pong"]


@declare(0x12, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Ack(PackedMessage):
    """Control messages arrived.

    :ivar count: how many have arrived in this session, in order.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    count: int

    def check(self) -> None:
        check_offset(self.count)


@declare(0x13, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Ping(PackedMessage):
    """Asks for a sign of life.

    :ivar token: the number of pings sent on this link before this one.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    token: int

    def check(self) -> None:
        check_offset(self.token)


@declare(0x14, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Pong(PackedMessage):
    """Answers the latest PING; earlier ones that it answers too get no answer of their own.

    :ivar token: the ping's.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!Q")

    token: int

    def check(self) -> None:
        check_offset(self.token)


@declare(0x20, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True)
class Part(Message):
    """The next piece of the body of the control message that follows the last part.

    :ivar piece: from 1 to :data:`~twisted_rsh.core.limits.MAX_PART_BYTES` bytes.
    """

    piece: bytes

    def body(self) -> bytes:
        if not 1 <= len(self.piece) <= MAX_PART_BYTES:
            raise FieldError("a part of an impossible size")
        return self.piece

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        message = cls(bytes(body))
        message.body()
        return message


@declare(0x28, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye(JsonMessage):
    """The session is over, on purpose; its jobs are ended.  The sender's last message.

    :ivar text: one line for people, or an empty one.
    """

    text: str = wire(Text(MAX_TEXT_BYTES))
