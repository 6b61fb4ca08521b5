"""The life of a channel, as one table that both sides follow.

Messages cross on the way, so each side may still receive a message that the other sent before it knew better.  The
table allows exactly that.  An input without an entry is a breach by the side that supplied it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from twisted_rsh.core.credit import ReceiveStream, SendStream
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.roles import RECEIVED_BY, SENT_BY, Role, Stream
from twisted_rsh.core.windows import Reserve, Window

if TYPE_CHECKING:
    from twisted_rsh.core.fast_path import StreamListener

__all__ = ["TRANSITIONS", "Channel", "ChannelInput", "ChannelState"]


class ChannelState(enum.Enum):
    """The state of a channel: the messages about its job that have been sent so far."""

    REQUESTED = "requested"
    """OPEN was sent, and not yet answered."""

    RUNNING = "running"
    """OPENED was sent: the job runs."""

    ENDED = "ended"
    """EXIT was sent, the server's last message on the channel."""

    ABANDONED = "abandoned"
    """CLOSE, the client's last message on the channel, was sent before EXIT."""

    FREED = "freed"
    """Both EXIT and CLOSE were sent."""

    # Members are compared by identity.  enum.Enum's own hash looks the name up, half the time of a look into the table.
    __hash__ = object.__hash__


class ChannelInput(enum.Enum):
    """A message on a channel, as far as the state depends on it."""

    OPENED = "OPENED"
    EXIT = "EXIT"
    CLOSE = "CLOSE"
    FROM_CLIENT = "DATA, END, CREDIT, STOP, SIGNAL, RESIZE or INSPECT from the client"
    FROM_SERVER = "DATA, END, CREDIT, STOP, SUSPENDED or INSPECTED from the server"

    __hash__ = object.__hash__


_S, _I = ChannelState, ChannelInput

TRANSITIONS: dict[tuple[ChannelState, ChannelInput], ChannelState] = {
    # State: requested.  The client need not wait for the answer before it sends input or signals, or closes.
    (_S.REQUESTED, _I.OPENED): _S.RUNNING,
    (_S.REQUESTED, _I.EXIT): _S.ENDED,
    (_S.REQUESTED, _I.CLOSE): _S.ABANDONED,
    (_S.REQUESTED, _I.FROM_CLIENT): _S.REQUESTED,
    # State: running.
    (_S.RUNNING, _I.EXIT): _S.ENDED,
    (_S.RUNNING, _I.CLOSE): _S.ABANDONED,
    (_S.RUNNING, _I.FROM_CLIENT): _S.RUNNING,
    (_S.RUNNING, _I.FROM_SERVER): _S.RUNNING,
    # State: ended.  Messages that the client sent before it saw EXIT still arrive.
    (_S.ENDED, _I.CLOSE): _S.FREED,
    (_S.ENDED, _I.FROM_CLIENT): _S.ENDED,
    # State: abandoned.  Messages that the server sent before it saw CLOSE still arrive; EXIT always comes.
    (_S.ABANDONED, _I.OPENED): _S.ABANDONED,
    (_S.ABANDONED, _I.EXIT): _S.FREED,
    (_S.ABANDONED, _I.FROM_SERVER): _S.ABANDONED,
}
"""The next state for each state and input."""

_OVER = (ChannelState.ENDED, ChannelState.ABANDONED)
"""The states in which one side has sent its last message."""

_NOTHING = Reserve(0)
"""The reserve of what a person types: it needs no more than a window of the start, and its client remembers no more."""


class Channel:
    """One side's view of a channel.

    :param number: the channel's number.
    :param role: this side, which sends the streams that belong to its role and receives the others.
    :param window: bytes of each stream that may be sent and not yet consumed, at the start.
    :param reserve: what the windows of the streams grow out of.
    :param on_terminal: whether the job is on a terminal.
    :param starts_large: whether the windows become larger with the first credit.
    :ivar on_terminal: as above.
    :ivar takes_reply: whether the channel was opened by RUN, so that REPLY may answer it.
    :ivar state: the state, a key of :data:`TRANSITIONS`.
    :ivar listener: takes the data, the credit and the ends that take the fast path; ``None`` for events alone.
    :ivar sends: the outgoing streams.
    :ivar receives: the incoming streams.
    """

    __slots__ = ("listener", "number", "on_terminal", "receives", "sends", "state", "takes_reply")

    def __init__(
        self,
        number: int,
        role: Role,
        window: int,
        reserve: Reserve,
        *,
        on_terminal: bool = False,
        starts_large: bool = True,
    ) -> None:
        self.number = number
        self.on_terminal = on_terminal
        self.takes_reply = False
        self.state = ChannelState.REQUESTED
        self.listener: StreamListener | None = None
        self.sends = {stream: SendStream(window, reserve) for stream in SENT_BY[role]}
        self.receives = {
            stream: ReceiveStream(
                Window(
                    window,
                    _NOTHING if on_terminal and stream is Stream.STDIN else reserve,
                    starts_large=starts_large,
                )
            )
            for stream in RECEIVED_BY[role]
        }

    def release(self) -> None:
        """Give back what the windows of the streams have grown by, because the channel is free."""
        for outgoing in self.sends.values():
            if outgoing.sent:
                outgoing.release()
        for incoming in self.receives.values():
            if incoming.received:
                incoming.release()

    @property
    def over(self) -> bool:
        """Whether one side has sent its last message, so that messages of the other change nothing any more."""
        return self.state in _OVER

    def allows(self, event: ChannelInput) -> bool:
        """Tell whether the table allows an input now."""
        return (self.state, event) in TRANSITIONS

    def advance(self, event: ChannelInput) -> ChannelState:
        """Follow the table for a message that the peer sent, or that we are about to send.

        :returns: the new state.
        :raises RemoteProtocolError: the table does not allow it.  Before sending, ask :meth:`allows`.
        """
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError:
            raise RemoteProtocolError(
                ErrorCode.CHANNEL_STATE, f"{event.value} on channel {self.number}, which is {self.state.value}"
            ) from None
        if self.state in _OVER:
            self.listener = None  # which points back at the session
        return self.state
