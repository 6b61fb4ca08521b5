"""The messages about the streams of a job: bytes, credit for them, and their ends."""

from __future__ import annotations

import dataclasses
import struct
from typing import ClassVar

from twisted_rsh.core.bodies import BOTH, Message, PackedMessage, declare
from twisted_rsh.core.common_fields import check_channel, check_offset, check_stream
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import MAX_DATA_BYTES
from twisted_rsh.core.roles import Phase, Stream

__all__ = ["Credit", "Data", "End", "Stop"]


@declare(0x10, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Data(Message):
    """Bytes of a stream.

    :ivar channel: the job's channel.
    :ivar stream: which of its streams.
    :ivar offset: how many bytes of the stream came before these.
    :ivar data: from 1 to :data:`~twisted_rsh.core.limits.MAX_DATA_BYTES` bytes.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IBQ")

    channel: int
    stream: Stream
    offset: int
    data: bytes

    def check(self) -> None:
        """Check the fields' bounds.

        :raises FieldError: a field is out of them.
        """
        if not 1 <= len(self.data) <= MAX_DATA_BYTES:
            raise FieldError("data of an impossible size")
        check_channel(self.channel)
        check_stream(self.stream)
        check_offset(self.offset)

    def body(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> tuple[bytes, ...]:
        self.check()
        return self.layout.pack(self.channel, self.stream, self.offset), self.data

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        size = len(body) - cls.layout.size
        if not 1 <= size <= MAX_DATA_BYTES:
            raise FieldError("data of an impossible size")
        channel, stream, offset = cls.layout.unpack_from(body)
        check_channel(channel)
        check_stream(stream)
        check_offset(offset)
        return cls(channel, Stream(stream), offset, bytes(body[cls.layout.size :]))


@declare(0x11, BOTH, Phase.SESSION)
@dataclasses.dataclass(frozen=True, slots=True)
class Credit(PackedMessage):
    """The receiver of a stream consumed some of it.

    :ivar channel: the job's channel.
    :ivar stream: which of its streams.
    :ivar limit: the offset in bytes up to which the stream may now be sent; it only grows.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IBQ")

    channel: int
    stream: int
    limit: int

    def check(self) -> None:
        check_channel(self.channel)
        check_stream(self.stream)
        check_offset(self.limit)


@declare(0x24, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True)
class End(PackedMessage):
    """A stream ended.

    :ivar channel: the job's channel.
    :ivar stream: which of its streams.
    :ivar size: its bytes in all.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IBQ")

    channel: int
    stream: int
    size: int

    def check(self) -> None:
        check_channel(self.channel)
        check_stream(self.stream)
        check_offset(self.size)


@declare(0x25, BOTH, Phase.SESSION, sequenced=True)
@dataclasses.dataclass(frozen=True, slots=True)
class Stop(PackedMessage):
    """The receiver of a stream wants no more of it: whoever writes it should see a broken pipe.

    :ivar channel: the job's channel.
    :ivar stream: which of its streams.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IB")

    channel: int
    stream: int

    def check(self) -> None:
        check_channel(self.channel)
        check_stream(self.stream)
