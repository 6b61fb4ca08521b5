"""Flow control of one stream: how much of it was sent, received and consumed.

Credit is an absolute offset: "you may have sent up to byte N".  A credit that is repeated or late does no harm, unlike
a relative one (RFC 4254's window adjustment).  The idea is QUIC's (RFC 9000 section 4).  A credit also says how many
bytes were *consumed*: those the receiver will never ask for again.
"""

from __future__ import annotations

from collections import deque

from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import MAX_WINDOW
from twisted_rsh.core.windows import Reserve, Window

__all__ = ["Kept", "ReceiveStream", "SendStream"]

Kept = tuple[int, int, bytes]
"""Bytes that may have to be sent again: their place in the order of everything that was sent, their offset, and the
bytes."""


class SendStream:
    """The sender's side of a stream.  It keeps sent bytes until the receiver has consumed them.

    :param window: the credit with which the stream starts, and bytes that it may keep in any case.
    :param reserve: what it keeps beyond that is taken out of this.
    :ivar sent: bytes sent so far.
    :ivar consumed: bytes that the receiver is known to have consumed; they are never sent again.
    :ivar ended: whether the stream's end has been sent.
    :ivar stopped: whether the receiver wants no more of it.
    """

    __slots__ = ("_kept", "_limit", "_reserve", "_taken", "_window", "consumed", "ended", "sent", "stopped")

    def __init__(self, window: int, reserve: Reserve) -> None:
        self._window = window
        self._limit = window
        self._reserve = reserve
        self._taken = 0
        self._kept: deque[Kept] = deque()
        self.sent = 0
        self.consumed = 0
        self.ended = False
        self.stopped = False

    @property
    def room(self) -> int:
        """Bytes that may be sent now: as far as the receiver's credit and our own memory reach."""
        if self.ended or self.stopped:
            return 0
        limit = self._limit
        end = self.consumed + self._window + self._taken
        if limit > end:
            end += self._reserve.free
        return (end if end < limit else limit) - self.sent  # noqa: FURB136 - a call less for each DATA

    @property
    def kept_in_window(self) -> int:
        """Bytes that are kept, without those that are taken out of the reserve."""
        return self.sent - self.consumed - self._taken

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
        if self.kept_in_window > self._window:
            more = self.kept_in_window - self._window
            self._reserve.take(more)
            self._taken += more
        return offset

    def count_apart(self, size: int) -> None:
        """Count bytes as sent that a control message carries, and that are kept with that message.

        :param size: their number, 0 or more.
        :raises LocalProtocolError: there is no room for them.
        """
        if size > self.room:
            raise LocalProtocolError(ErrorCode.FLOW_CONTROL, f"{size} bytes where there is room for {self.room}")
        self.sent += size

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

    def credit(self, limit: int, consumed: int) -> bool:
        """Take the receiver's credit.

        :param limit: the offset up to which the stream may be sent.
        :param consumed: bytes that the receiver has consumed.
        :returns: whether the credit is news, and there is room.
        :raises RemoteProtocolError: the receiver says that it consumed bytes that were never sent, or grants more than
            the largest window.
        """
        if consumed > self.sent:
            raise RemoteProtocolError(ErrorCode.FLOW_CONTROL, f"{consumed} bytes consumed when {self.sent} were sent")
        if limit > consumed + MAX_WINDOW:
            raise RemoteProtocolError(ErrorCode.FLOW_CONTROL, f"credit {limit} when {consumed} bytes were consumed")
        if limit <= self._limit and consumed <= self.consumed:
            return False
        self._limit = max(self._limit, limit)
        if consumed > self.consumed:
            self.consumed = consumed
            kept = self._kept
            while kept and kept[0][1] + len(kept[0][2]) <= consumed:
                kept.popleft()
            self._give_back(self.sent - consumed - self._window)
        return self.room > 0

    def release(self) -> None:
        """Keep nothing any more, because the channel is free."""
        self._kept.clear()
        if self._taken:
            self._give_back(0)

    def _give_back(self, needed: int) -> None:
        unused = self._taken - max(needed, 0)
        if unused > 0:
            self._taken -= unused
            self._reserve.give(unused)


class ReceiveStream:
    """The receiver's side of a stream.

    :param window: grants the stream's credit.
    :ivar received: bytes received so far.
    :ivar ended: whether the peer has sent the end of the stream.
    :ivar discarding: whether bytes that still come are dropped, and count as consumed at once.
    """

    __slots__ = ("_announced", "_consumed", "_due_at", "_limit", "_told", "_window", "discarding", "ended", "received")

    def __init__(self, window: Window) -> None:
        self._window = window
        self._limit = window.size
        self._consumed = 0
        self._told = 0
        self._announced = True
        self._due_at = 0  # no credit is due before so many bytes are consumed
        self.received = 0
        self.ended = False
        self.discarding = False

    @property
    def is_measuring(self) -> bool:
        """Whether the last credit is one with which to measure a round trip."""
        return self._window.is_measuring

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
        self._window.release(self.received - self._consumed)

    def consume(self, size: int) -> bool:
        """Count received bytes as consumed: this side holds them nowhere any more.

        :param size: their number.
        :returns: whether a credit may be due.
        :raises LocalProtocolError: fewer bytes have been received and not yet consumed.
        """
        if self._consumed + size > self.received:
            raise LocalProtocolError(ErrorCode.FLOW_CONTROL, "more consumed than received")
        self._consumed += size
        if self.ended:
            self._window.release(self.received - self._consumed)
            return False
        return self._consumed >= self._due_at

    def discard(self) -> None:
        """Count as consumed every byte that has been received and every byte that still comes."""
        self.discarding = True
        self._consumed = self.received
        self._due_at = 0
        self._window.release()

    def release(self) -> None:
        """Grant nothing any more, because the channel is free."""
        self._window.release()

    def credit_due(self, now: float, round_trip: float | None) -> tuple[int, int] | None:
        """Return the credit to announce now, or ``None`` while a credit is not worth a frame.

        :param now: the time in seconds at which the last bytes arrived.
        :param round_trip: seconds of a round trip; ``None`` while it is unknown.
        :returns: the limit, and the bytes consumed.
        """
        consumed = self._consumed
        if self.ended:
            return None
        due_at = self._told + self._window.credit_bytes
        if consumed >= due_at:
            self._limit = self._window.fit(self.received, consumed, self._limit, now, round_trip)
        elif self._announced:
            self._due_at = due_at
            return None
        else:
            self._limit = self._window.grant(consumed, self._limit)
        self._told = consumed
        self._announced = True
        self._due_at = 0
        return self._limit, consumed

    def announce_again(self) -> None:
        """Make the credit due again if there ever was one, because the last one may have been lost with its link."""
        self._announced = self._consumed == 0
        self._due_at = 0
