"""The life of a channel, as one table that does not know which side it is on.

Both sides follow the same table.  As messages cross on the way, each side may still receive what the other sent before
it learned better; the table allows exactly that, and an entry that is missing is a breach by whoever supplied the
input.
"""

from __future__ import annotations

import enum

from twisted_rsh.core.credit import ReceiveStream, SendStream
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.roles import Role, Stream

__all__ = ["TRANSITIONS", "Channel", "ChannelInput", "ChannelState"]


class ChannelState(enum.Enum):
    """What has been said about a job so far."""

    REQUESTED = "requested"
    """OPEN was sent; no answer yet."""

    RUNNING = "running"
    """OPENED was sent: the job runs."""

    ENDED = "ended"
    """EXIT was sent: the server has said its last word."""

    ABANDONED = "abandoned"
    """CLOSE was sent before EXIT: the client has said its last word."""

    FREED = "freed"
    """Both have said their last word."""

    # As members are compared; that of enum.Enum looks the name up, and takes half of a look into the table.
    __hash__ = object.__hash__


class ChannelInput(enum.Enum):
    """What can be said on a channel."""

    OPENED = "OPENED"
    EXIT = "EXIT"
    CLOSE = "CLOSE"
    FROM_CLIENT = "DATA, END, CREDIT, STOP, SIGNAL or RESIZE from the client"
    FROM_SERVER = "DATA, END, CREDIT, STOP or SUSPENDED from the server"

    __hash__ = object.__hash__


_S, _I = ChannelState, ChannelInput

TRANSITIONS: dict[tuple[ChannelState, ChannelInput], ChannelState] = {
    # State: requested.  The client need not wait for the answer before it sends input, signals, or changes its mind.
    (_S.REQUESTED, _I.OPENED): _S.RUNNING,
    (_S.REQUESTED, _I.EXIT): _S.ENDED,
    (_S.REQUESTED, _I.CLOSE): _S.ABANDONED,
    (_S.REQUESTED, _I.FROM_CLIENT): _S.REQUESTED,
    # State: running.
    (_S.RUNNING, _I.EXIT): _S.ENDED,
    (_S.RUNNING, _I.CLOSE): _S.ABANDONED,
    (_S.RUNNING, _I.FROM_CLIENT): _S.RUNNING,
    (_S.RUNNING, _I.FROM_SERVER): _S.RUNNING,
    # State: ended.  What the client sent before it saw EXIT still arrives.
    (_S.ENDED, _I.CLOSE): _S.FREED,
    (_S.ENDED, _I.FROM_CLIENT): _S.ENDED,
    # State: abandoned.  What the server sent before it saw CLOSE still arrives; EXIT always comes.
    (_S.ABANDONED, _I.OPENED): _S.ABANDONED,
    (_S.ABANDONED, _I.EXIT): _S.FREED,
    (_S.ABANDONED, _I.FROM_SERVER): _S.ABANDONED,
}
"""From a state and an input to the next state."""


class Channel:
    """One channel, as one side sees it.

    :param number: its number.
    :param role: the side whose view this is: it sends the streams that this role sends, and receives the others.
    :param window: bytes of each stream that may be sent and not yet consumed.
    :ivar state: where in :data:`TRANSITIONS` it is.
    :ivar sends: its outgoing streams.
    :ivar receives: its incoming streams.
    """

    __slots__ = ("number", "receives", "sends", "state")

    def __init__(self, number: int, role: Role, window: int) -> None:
        self.number = number
        self.state = ChannelState.REQUESTED
        self.sends = {stream: SendStream(window) for stream in Stream if stream.sender is role}
        self.receives = {stream: ReceiveStream(window) for stream in Stream if stream.sender is not role}

    @property
    def over(self) -> bool:
        """Whether one side has said its last word: what the other still says changes nothing."""
        return self.state in (ChannelState.ENDED, ChannelState.ABANDONED)

    def allows(self, event: ChannelInput) -> bool:
        """Tell whether an input is possible now."""
        return (self.state, event) in TRANSITIONS

    def advance(self, event: ChannelInput) -> ChannelState:
        """Follow the table for something that the peer sent, or that we are about to send.

        :returns: the new state.
        :raises RemoteProtocolError: the table does not allow it.  For what we send ourselves, ask :meth:`allows`
            first.
        """
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError:
            raise RemoteProtocolError(
                ErrorCode.CHANNEL_STATE, f"{event.value} on channel {self.number}, which is {self.state.value}"
            ) from None
        return self.state
