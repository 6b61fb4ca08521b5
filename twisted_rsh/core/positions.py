"""How much of a session has arrived at one of its ends, in the packed form in which a resume says so."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import MAX_CHANNEL_ID, MAX_CHANNELS, MAX_OFFSET, MAX_REFUSED_CHANNELS

__all__ = ["Positions"]

_COUNT = struct.Struct("!Q")
_CHANNEL = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Positions:
    """What one end has received.

    :ivar controls: how many control messages.
    :ivar streams: for each channel on which more may come, in the order of their numbers, its number and how many bytes
        of each stream, in the order of the streams.
    """

    controls: int
    streams: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def pack(self) -> bytes:
        """Return the packed form.

        :raises FieldError: a number is out of its bounds.
        """
        pieces = [_COUNT.pack(_checked(self.controls, MAX_OFFSET))]
        previous = 0
        for number, offsets in _bounded(self.streams):
            if number <= previous:
                raise FieldError("channels out of order")
            previous = number
            pieces.append(_CHANNEL.pack(_checked(number, MAX_CHANNEL_ID)))
            pieces += [_COUNT.pack(_checked(offset, MAX_OFFSET)) for offset in offsets]
        return b"".join(pieces)

    @classmethod
    def unpack(cls, packed: bytes | memoryview, streams: int) -> Positions:
        """Read the packed form.

        :param streams: how many streams of each channel it speaks of.
        :raises FieldError: these bytes are none.
        """
        layout = struct.Struct(f"!I{streams}Q")
        if len(packed) < _COUNT.size or (len(packed) - _COUNT.size) % layout.size:
            raise FieldError("not whole numbers of channels")
        (controls,) = _COUNT.unpack_from(packed)
        rows: Iterator[tuple[int, ...]] = layout.iter_unpack(packed[_COUNT.size :])
        positions = cls(controls, tuple((number, tuple(offsets)) for number, *offsets in rows))
        positions.pack()
        return positions


def _bounded(streams: tuple[tuple[int, tuple[int, ...]], ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    if len(streams) > MAX_CHANNELS + MAX_REFUSED_CHANNELS:
        raise FieldError("more channels than a session can have")
    return streams


def _checked(number: int, maximum: int) -> int:
    if not 0 <= number <= maximum:
        raise FieldError("a number beyond the highest")
    return number
