"""Flow control of one stream: how much of it was sent, received and consumed.

Credit is an absolute offset: "you may have sent up to byte N".  A credit that is repeated or late does no harm, unlike
a relative one (RFC 4254's window adjustment).  It moves only when bytes were *consumed*, so it also says which bytes
the receiver will never ask for again.  The idea is QUIC's (RFC 9000 section 4).
"""

from __future__ import annotations

from collections import deque

from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

__all__ = ["Kept", "ReceiveStream", "SendStream"]

Kept = tuple[int, int, bytes]
"""Bytes that may have to be sent again: their place in the order of everything that was sent, their offset, and the
bytes."""


class SendStream:
    """The sender's side of a stream.  It keeps sent bytes until the receiver has consumed them, at most a window.

    :param window: bytes that may be sent and not yet consumed; also the credit with which a stream starts.
    :ivar sent: bytes sent so far.
    :ivar ended: whether the stream's end has been sent.
    :ivar stopped: whether the receiver wants no more of it.
    """

    __slots__ = ("_kept", "_limit", "_window", "ended", "sent", "stopped")

    def __init__(self, window: int) -> None:
        self._window = window
        self._limit = window
        self._kept: deque[Kept] = deque()
        self.sent = 0
        self.ended = False
        self.stopped = False

    @property
    def room(self) -> int:
        """Bytes that may be sent now."""
        return 0 if self.ended or self.stopped else self._limit - self.sent

    @property
    def consumed(self) -> int:
        """Bytes that the receiver is known to have consumed; they are never sent again."""
        return self._limit - self._window

    def send(self, data: bytes, order: int) -> int:
        """Count bytes as sent, and keep them.

        :param data: at least one byte.
        :param order: the place of these bytes in the order of everything that is sent.
        :returns: their offset.
        :raises LocalProtocolError: there is no room for them.
        """
        size = len(data)
        if size > self.room:
            raise LocalProtocolError(ErrorCode.FLOW_CONTROL, f"{size} bytes where there is room for {self.room}")
        offset = self.sent
        self.sent += size
        self._kept.append((order, offset, data))
        return offset

    def kept_from(self, offset: int) -> list[Kept]:
        """Return the bytes that were sent from an offset on.

        :param offset: from :attr:`consumed` to :attr:`sent`.
        """
        found = []
        for order, start, data in self._kept:
            if start + len(data) > offset:
                missed = max(offset - start, 0)
                found.append((order, start + missed, data[missed:]))
        return found

    def credit(self, limit: int) -> bool:
        """Take the receiver's credit.

        :param limit: the offset up to which the stream may be sent.
        :returns: whether there is more room than before.
        :raises RemoteProtocolError: the credit would mean that the receiver consumed bytes that were never sent.
        """
        if limit > self.sent + self._window:
            raise RemoteProtocolError(ErrorCode.FLOW_CONTROL, f"credit {limit} when only {self.sent} bytes were sent")
        if limit <= self._limit:
            return False
        self._limit = limit
        kept, consumed = self._kept, limit - self._window
        while kept and kept[0][1] + len(kept[0][2]) <= consumed:
            kept.popleft()
        return self.room > 0


class ReceiveStream:
    """The receiver's side of a stream.

    :param window: bytes that the peer may send before some are consumed.
    :ivar received: bytes received so far.
    :ivar ended: whether the peer has sent the end of the stream.
    :ivar discarding: whether bytes that still come are dropped, and count as consumed at once.
    """

    __slots__ = ("_announced", "_consumed", "_limit", "_window", "discarding", "ended", "received")

    def __init__(self, window: int) -> None:
        self._window = window
        self._limit = window
        self._consumed = 0
        self._announced = True
        self.received = 0
        self.ended = False
        self.discarding = False

    def receive(self, offset: int, size: int) -> None:
        """Count bytes as received.

        :param offset: the offset of the first of them.
        :param size: their number.
        :raises RemoteProtocolError: they do not continue the stream, exceed its credit, or come after its end.
        """
        if self.ended:
            raise RemoteProtocolError(ErrorCode.STREAM_STATE, "data after the end of its stream")
        if offset != self.received:
            raise RemoteProtocolError(ErrorCode.FLOW_CONTROL, f"data at {offset}, expected at {self.received}")
        if offset + size > self._limit:
            raise RemoteProtocolError(ErrorCode.FLOW_CONTROL, f"data up to {offset + size}, credit was {self._limit}")
        self.received += size
        if self.discarding:
            self._consumed = self.received

    def continues(self, offset: int, size: int) -> bool:
        """Tell whether bytes continue the stream within its credit, and are wanted; nothing changes.

        :param offset: the offset of the first of them.
        :param size: their number.
        """
        return offset == self.received and offset + size <= self._limit and not (self.ended or self.discarding)

    def pass_over(self, offset: int, size: int) -> None:
        """Ignore bytes of a channel that is over; bytes before them may be missing.

        :param offset: the offset of the first of them.
        :param size: their number.
        :raises RemoteProtocolError: they exceed the stream's credit.
        """
        if offset + size > self._limit:
            raise RemoteProtocolError(ErrorCode.FLOW_CONTROL, f"data up to {offset + size}, credit was {self._limit}")

    def end(self, size: int) -> None:
        """Take the end of the stream.

        :param size: bytes of the stream in all.
        :raises RemoteProtocolError: the stream has ended already, or not all of it has arrived.
        """
        if self.ended:
            raise RemoteProtocolError(ErrorCode.STREAM_STATE, "a second end of one stream")
        if size != self.received:
            raise RemoteProtocolError(ErrorCode.STREAM_STATE, f"{size} bytes in all, {self.received} arrived")
        self.ended = True

    def consume(self, size: int) -> None:
        """Count received bytes as consumed: this side holds them nowhere any more.

        :param size: their number.
        :raises LocalProtocolError: fewer bytes have been received and not yet consumed.
        """
        if self._consumed + size > self.received:
            raise LocalProtocolError(ErrorCode.FLOW_CONTROL, "more consumed than received")
        self._consumed += size

    def discard(self) -> None:
        """Count as consumed every byte that has been received and every byte that still comes."""
        self.discarding = True
        self._consumed = self.received

    def credit_due(self) -> int | None:
        """Return the credit to announce now, or ``None`` while a credit is not worth a frame.

        It is worth a frame when a quarter of the window has been consumed since the last credit.  The peer then never
        waits while there is something to consume, and one frame of credit goes with several of data.
        """
        limit = self._consumed + self._window
        if self.ended or (self._announced and (limit - self._limit) * 4 < self._window):
            return None
        self._limit = limit
        self._announced = True
        return limit

    def announce_again(self) -> None:
        """Make the credit due again if there ever was one, because the last one may have been lost with its link."""
        self._announced = self._consumed == 0
