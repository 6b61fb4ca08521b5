"""Control messages in order: each has a number, is kept until acknowledged, and is taken once.

The acknowledgement is cumulative, and at most :data:`~twisted_rsh.core.limits.MAX_UNACKNOWLEDGED` messages are under
way in one direction, so what a new link would have to replay is bounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import encode_control
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.limits import ACKNOWLEDGE_EVERY, MAX_UNACKNOWLEDGED

__all__ = ["ControlInbox", "ControlOutbox"]


class ControlOutbox:
    """The sender's side: numbers messages, and holds back those beyond the bound.

    :param next_order: returns the next place in the order of everything that is sent.
    :ivar log: messages sent and not yet acknowledged, oldest first: the place of each in that order, and its payload.
    :ivar acknowledged_order: the place of the last message that the peer is known to have.  What was sent before it has
        arrived too, for a link keeps the order.
    """

    __slots__ = ("_acknowledged", "_next", "_next_order", "_waiting", "acknowledged_order", "log")

    def __init__(self, next_order: Callable[[], int]) -> None:
        self._next = 0
        self._next_order = next_order
        self._acknowledged = 0
        self._waiting: deque[bytes] = deque()
        self.acknowledged_order = -1
        self.log: deque[tuple[int, bytes]] = deque()

    @property
    def blocked(self) -> bool:
        """Whether messages wait for an acknowledgement before they may be sent.

        What belongs behind them, such as the data of a channel that they open, has to wait too.  Who puts messages
        here bounds how many there can be: a few for each channel.
        """
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many messages wait for an acknowledgement before they may be sent."""
        return len(self._waiting)

    def put(self, message: Message) -> list[bytes]:
        """Number a message.

        :returns: the payloads to send now, possibly none.
        :raises LocalProtocolError: the message cannot be encoded; nothing has changed.
        """
        payloads = encode_control(message, self._next)
        self._next += len(payloads)
        self._waiting.extend(payloads)
        return self._release()

    def acknowledge(self, count: int) -> list[bytes]:
        """Take the peer's acknowledgement.

        :param count: how many messages it has received.
        :returns: the payloads that may be sent now.
        :raises RemoteProtocolError: so many have never been sent.
        """
        if count > self._acknowledged + len(self.log):
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"acknowledged {count} messages, fewer were sent")
        while self._acknowledged < count:
            self.acknowledged_order, _ = self.log.popleft()
            self._acknowledged += 1
        return self._release()

    def check_received(self, count: int) -> None:
        """Check what a peer says at a resume that it has received; nothing changes.

        :raises RemoteProtocolError: it is less than it acknowledged before, or more than was sent.
        """
        if not self._acknowledged <= count <= self._acknowledged + len(self.log):
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"{count} messages cannot have arrived")

    def _release(self) -> list[bytes]:
        released = []
        while self._waiting and len(self.log) < MAX_UNACKNOWLEDGED:
            payload = self._waiting.popleft()
            self.log.append((self._next_order(), payload))
            released.append(payload)
        return released


class ControlInbox:
    """The receiver's side: takes every message once, in order.

    :ivar received: how many have been taken.
    """

    __slots__ = ("_acknowledged", "received")

    def __init__(self) -> None:
        self.received = 0
        self._acknowledged = 0

    def take(self, sequence: int) -> None:
        """Take the message of this number.

        :raises RemoteProtocolError: it is not the next, or the peer has too many under way.
        """
        if sequence != self.received:
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"message {sequence}, expected {self.received}")
        if sequence - self._acknowledged >= MAX_UNACKNOWLEDGED:
            raise RemoteProtocolError(ErrorCode.SEQUENCE, f"more than {MAX_UNACKNOWLEDGED} messages under way")
        self.received += 1

    def acknowledgement_due(self) -> int | None:
        """Return the count to acknowledge now, or ``None`` while it is not worth a frame."""
        if self.received - self._acknowledged < ACKNOWLEDGE_EVERY:
            return None
        self.resumed()
        return self.received

    def resumed(self) -> None:
        """Take note that the peer has been told, in another way, how many have been taken."""
        self._acknowledged = self.received
