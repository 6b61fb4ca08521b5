"""The order of control messages: each has a number, is kept until it is acknowledged, and is taken once.

The acknowledgement is cumulative.  At most :data:`~twisted_rsh.core.limits.MAX_UNACKNOWLEDGED` messages are under way
in one direction, which bounds what a new link has to repeat.
"""

from __future__ import annotations

from collections.abc import Iterator

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import encode_control
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.limits import ACKNOWLEDGE_EVERY, MAX_UNACKNOWLEDGED

__all__ = ["ControlInbox", "ControlOutbox"]


class ControlOutbox:
    """The sender's side: it numbers messages, and holds back those beyond the bound.

    :param order: counts everything that the session sends, control messages and data.
    :ivar blocked: whether messages wait for an acknowledgement before they may be sent.  Whatever belongs after them,
        such as the data of a channel that they open, has to wait too.  The caller bounds how many messages it puts
        here: a few for each channel.
    :ivar log: messages sent and not yet acknowledged, oldest first: the place of each in that order, and its payload.
    :ivar acknowledged_order: the place of the last message that the peer is known to have, or -1.  Everything that was
        sent before it has arrived too, because a link keeps the order.
    """

    __slots__ = ("_acknowledged", "_next", "_order", "_waiting", "acknowledged_order", "blocked", "log")

    def __init__(self, order: Iterator[int]) -> None:
        self._next = 0
        self._order = order
        self._acknowledged = 0
        # Lists: nearly always short, and an empty deque takes 700 bytes of each idle session.
        self._waiting: list[bytes] = []
        self.acknowledged_order = -1
        self.blocked = False
        self.log: list[tuple[int, bytes]] = []

    @property
    def waiting(self) -> int:
        """The number of messages that wait for an acknowledgement before they may be sent."""
        return len(self._waiting)

    def put(self, message: Message) -> list[bytes]:
        """Number a message, and send it as soon as the bound allows.

        :returns: the payloads to send now, possibly none.
        :raises LocalProtocolError: the message cannot be encoded; nothing has changed.
        """
        payloads = encode_control(message, self._next)
        self._next += len(payloads)
        if len(payloads) == 1 and not self._waiting and len(self.log) < MAX_UNACKNOWLEDGED:
            self.log.append((next(self._order), payloads[0]))
            return payloads
        self._waiting.extend(payloads)
        return self._release()

    def acknowledge(self, count: int) -> list[bytes]:
        """Take the peer's acknowledgement.

        :param count: the number of messages that the peer has received.
        :returns: the payloads that may be sent now.
        :raises RemoteProtocolError: fewer messages have been sent.
        """
        if count > self._acknowledged + len(self.log):
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"acknowledged {count} messages, fewer were sent")
        more = count - self._acknowledged
        if more > 0:
            self.acknowledged_order, _ = self.log[more - 1]
            del self.log[:more]
            self._acknowledged = count
        return self._release()

    def check_received(self, count: int) -> None:
        """Check the number of messages that the peer says, at a resume, that it has received; nothing changes.

        :raises RemoteProtocolError: the peer acknowledged more before, or fewer messages were sent.
        """
        if not self._acknowledged <= count <= self._acknowledged + len(self.log):
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"{count} messages cannot have arrived")

    def _release(self) -> list[bytes]:
        released = self._waiting[: MAX_UNACKNOWLEDGED - len(self.log)]
        del self._waiting[: len(released)]
        for payload in released:
            self.log.append((next(self._order), payload))
        self.blocked = bool(self._waiting)
        return released


class ControlInbox:
    """The receiver's side: it takes every message once, in order.

    :ivar received: the number of messages taken.
    :ivar acknowledgement_due: whether an acknowledgement is worth a frame.
    """

    __slots__ = ("_acknowledged", "acknowledgement_due", "received")

    def __init__(self) -> None:
        self.received = 0
        self.acknowledgement_due = False
        self._acknowledged = 0

    def take(self, sequence: int) -> None:
        """Take the message of this number.

        :raises RemoteProtocolError: it is not the next message, or the peer has too many messages under way.
        """
        if sequence != self.received:
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"message {sequence}, expected {self.received}")
        if sequence - self._acknowledged >= MAX_UNACKNOWLEDGED:
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"more than {MAX_UNACKNOWLEDGED} messages under way")
        self.received += 1
        self.acknowledgement_due = self.received - self._acknowledged >= ACKNOWLEDGE_EVERY

    def acknowledge(self) -> int:
        """Return the count to acknowledge now: the peer learns it, from an acknowledgement or from a resume."""
        self._acknowledged = self.received
        self.acknowledgement_due = False
        return self.received
