"""Fields that several messages have: the number of a channel, of a stream, an offset."""

from __future__ import annotations

from twisted_rsh.core.fields import FieldError, Integer
from twisted_rsh.core.limits import MAX_CHANNEL_ID, MAX_OFFSET
from twisted_rsh.core.roles import Stream

__all__ = ["CHANNEL", "OFFSET", "check_channel", "check_offset", "check_stream"]

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
