"""The fast path of a stream: DATA, CREDIT and END of a channel, without objects for messages and events.

These are nearly all frames of a busy link.  DATA and CREDIT begin with the same header.  Whatever is unusual about one
goes the way of every other message: :mod:`twisted_rsh.core.codec` decodes it, and an event tells what happened.
"""

from __future__ import annotations

import struct
from typing import Protocol

from twisted_rsh.core.channel import Channel, ChannelState
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError
from twisted_rsh.core.limits import MAX_DATA_BYTES, MAX_OFFSET
from twisted_rsh.core.messages import Credit, Data, End
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.sequence import ControlInbox

__all__ = ["StreamListener", "deliver", "encode_credit", "encode_data"]

_HEADER = struct.Struct("!BIBQ")
"""The type, the channel, the stream, and the offset of DATA or the limit of CREDIT."""

_CREDIT_FORM = struct.Struct("!BIBQQ")
"""All of a CREDIT: after the header it has the bytes that were consumed."""

_END_FORM = struct.Struct("!BQIBQ")
"""All of an END: the type, the sequence number, the channel, the stream and its size."""

_DATA, _CREDIT, _END = Data.declaration.number, Credit.declaration.number, End.declaration.number
_STREAMS = {int(stream): stream for stream in Stream}

States = tuple[ChannelState, ...]
"""Some states of a channel."""


class StreamListener(Protocol):
    """A job, as far as its channel calls it about its streams."""

    def data_received(self, stream: Stream, data: bytes) -> None:
        """Take bytes of a stream; the same as the event ``DataReceived``."""

    def room_gained(self, stream: Stream) -> None:
        """Learn that there is more room on a stream; the same as the event ``RoomGained``."""

    def stream_ended(self, stream: Stream) -> None:
        """Learn that no more of a stream comes; the same as the event ``StreamEnded``."""


def encode_data(channel: int, stream: Stream, offset: int, data: bytes) -> bytes:
    """Return the payload of DATA.

    :param channel: the number of a channel.
    :param stream: the stream.
    :param offset: the number of bytes of the stream that came before these.
    :param data: from 1 to :data:`~twisted_rsh.core.limits.MAX_DATA_BYTES` bytes.
    :raises LocalProtocolError: the offset is beyond what the protocol can say.
    """
    if offset > MAX_OFFSET:
        raise LocalProtocolError(ErrorCode.MALFORMED_MESSAGE, f"an offset beyond {MAX_OFFSET}")
    return _HEADER.pack(_DATA, channel, stream, offset) + data


def encode_credit(channel: int, stream: Stream, limit: int, consumed: int) -> bytes:
    """Return the payload of CREDIT.

    :param channel: the number of a channel.
    :param stream: the stream.
    :param limit: the offset in bytes up to which the stream may be sent.
    :param consumed: bytes of the stream that were consumed, at most the limit.
    :raises LocalProtocolError: the limit is beyond what the protocol can say.
    """
    if limit > MAX_OFFSET:
        raise LocalProtocolError(ErrorCode.MALFORMED_MESSAGE, f"a limit beyond {MAX_OFFSET}")
    return _CREDIT_FORM.pack(_CREDIT, channel, stream, limit, consumed)


def deliver(channels: dict[int, Channel], inbox: ControlInbox, states: States, payload: bytes) -> bool:
    """Give DATA, CREDIT or END to the listener of its channel, if nothing about it is unusual.

    :param channels: the channels of the session, by number.
    :param inbox: takes the number of END, after which no PART waits for its message.
    :param states: the states of a channel in which the peer may send these.
    :param payload: the payload of a frame.
    :raises RemoteProtocolError: it breaks the protocol in a way that only these can.
    :returns: whether that was done.  If not, nothing has changed, and the frame may be anything.
    """
    size = len(payload) - _HEADER.size
    if size < 0 or payload[0] not in {_DATA, _CREDIT}:
        return size >= 0 and payload[0] == _END and _end(channels, inbox, states, payload)
    kind, number, stream, position = _HEADER.unpack_from(payload)
    channel = channels.get(number)
    if channel is None or channel.listener is None or channel.state not in states:
        return False
    if kind == _DATA:
        incoming = channel.receives.get(stream)
        if incoming is None or not 0 < size <= MAX_DATA_BYTES or not incoming.continues(position, size):
            return False
        incoming.received += size
        channel.listener.data_received(_STREAMS[stream], payload[_HEADER.size :])
        return True
    outgoing = channel.sends.get(stream)
    if outgoing is None or len(payload) != _CREDIT_FORM.size or position > MAX_OFFSET:
        return False
    consumed: int = _CREDIT_FORM.unpack(payload)[4]
    if consumed > MAX_OFFSET:
        return False
    if outgoing.credit(position, consumed):
        channel.listener.room_gained(_STREAMS[stream])
    return True


def _end(channels: dict[int, Channel], inbox: ControlInbox, states: States, payload: bytes) -> bool:
    if len(payload) != _END_FORM.size:
        return False
    _, sequence, number, stream, size = _END_FORM.unpack(payload)
    channel = channels.get(number)
    if channel is None or channel.listener is None or channel.state not in states:
        return False
    incoming = channel.receives.get(stream)
    if incoming is None or incoming.ended or incoming.discarding or size != incoming.received:
        return False
    inbox.take(sequence)
    incoming.end(size)
    channel.listener.stream_ended(_STREAMS[stream])
    return True
