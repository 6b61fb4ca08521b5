"""Encoding and decoding of frame payloads: a type byte, a sequence number where the message has one, and the body.

A decoder belongs to one role in one phase, and knows only the messages that this role may receive in this phase.
"""

from __future__ import annotations

import struct

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import MAX_CONTROL_BYTES, MAX_PART_BYTES
from twisted_rsh.core.messages import MESSAGES, Part
from twisted_rsh.core.roles import Phase, Role

__all__ = ["Decoder", "encode", "encode_control"]

_CONTROL_HEADER = struct.Struct("!BQ")

_RECEIVED = {
    (role, phase): {
        message.declaration.number: (message, message.declaration.sequenced)
        for message in MESSAGES
        if message.declaration.phase is phase and role.peer in message.declaration.senders
    }
    for role in Role
    for phase in Phase
}
"""For each role and phase, the messages that the role may receive then, by number, and whether they are sequenced."""


class Decoder:
    """Decode the messages that `role` may receive in `phase`, and no others.

    :param role: the receiver.
    :param phase: the phase.
    :ivar parts: the bytes of a message that has begun to arrive in parts.
    """

    def __init__(self, role: Role, phase: Phase) -> None:
        self._types = _RECEIVED[role, phase]
        # One buffer, not a list: two million pieces of a byte or two must take no more memory than their bytes.
        self.parts = bytearray()

    def decode(self, payload: bytes) -> tuple[int | None, Message]:
        """Decode the payload of one frame.

        :returns: the sequence number, or ``None`` for a message that has none, and the message.  A PART is returned
            like any other message, so that the caller counts it; the message after the last PART has the whole body.
        :raises RemoteProtocolError: the payload is no message that may arrive here.
        """
        if not payload:
            raise RemoteProtocolError(ErrorCode.FRAME_SIZE, "an empty frame")
        try:
            message, sequenced = self._types[payload[0]]
        except KeyError:
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, f"type 0x{payload[0]:02x}") from None
        try:
            if not sequenced:
                return None, message.parse(memoryview(payload)[1:])
            if len(payload) < _CONTROL_HEADER.size:
                raise FieldError("no sequence number")
            _, sequence = _CONTROL_HEADER.unpack_from(payload)
            return sequence, self._control(message, payload[_CONTROL_HEADER.size :])
        except FieldError as error:
            raise RemoteProtocolError(ErrorCode.MALFORMED_MESSAGE, f"{message.__name__}: {error}") from error

    def _control(self, message: type[Message], body: bytes) -> Message:
        if len(self.parts) + len(body) > MAX_CONTROL_BYTES:
            raise FieldError(f"longer than {MAX_CONTROL_BYTES} bytes")
        if message is Part:
            part = message.parse(body)
            self.parts += body
            return part
        if self.parts:
            self.parts += body
            body = bytes(self.parts)
            self.parts = bytearray()
        return message.parse(body)


def encode(message: Message) -> bytes:
    """Return the payload of a message that has no sequence number.

    :raises LocalProtocolError: a field is out of its bounds.
    """
    try:
        return b"".join((message.declaration.number.to_bytes(1, "big"), *message.pieces()))
    except FieldError as error:
        raise LocalProtocolError(ErrorCode.MALFORMED_MESSAGE, str(error)) from error


def encode_control(message: Message, sequence: int) -> list[bytes]:
    """Return the payloads of a control message: PARTs for what one frame cannot carry, and the message itself.

    :param sequence: the sequence number of the first payload; those of the others count on from it.
    :raises LocalProtocolError: a field is out of its bounds, or the body is longer than
        :data:`~twisted_rsh.core.limits.MAX_CONTROL_BYTES`.
    """
    try:
        body = message.body()
    except FieldError as error:
        raise LocalProtocolError(ErrorCode.MALFORMED_MESSAGE, str(error)) from error
    if len(body) > MAX_CONTROL_BYTES:
        raise LocalProtocolError(ErrorCode.MALFORMED_MESSAGE, f"a message longer than {MAX_CONTROL_BYTES} bytes")
    if len(body) <= MAX_PART_BYTES:
        return [_CONTROL_HEADER.pack(message.declaration.number, sequence) + body]
    *starts, last = range(0, len(body), MAX_PART_BYTES)
    payloads = []
    for start in starts:
        header = _CONTROL_HEADER.pack(Part.declaration.number, sequence)
        payloads.append(header + body[start : start + MAX_PART_BYTES])
        sequence += 1
    payloads.append(_CONTROL_HEADER.pack(message.declaration.number, sequence) + body[last:])
    return payloads
