"""The base of every exception of this package, and the breaches of the protocol.

``Error``
    ``ProtocolError``
        ``LocalProtocolError``: our own caller asked for something illegal, which is a bug of ours.
        ``RemoteProtocolError``: the peer broke the protocol; abort its link.
"""

from __future__ import annotations

import enum

__all__ = ["Error", "ErrorCode", "LocalProtocolError", "ProtocolError", "RemoteProtocolError", "one_line"]


class Error(Exception):
    """The base of every exception that this package raises.  ``str()`` of one is a single line for a person."""


def one_line(text: str) -> str:
    """Make one line of any text: what cannot be printed, as in a file's name, is written as Python writes it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ErrorCode(enum.Enum):
    """The kinds of breach, as they appear in the log."""

    FRAME_SIZE = "frame-size"
    """A frame that is empty or longer than its phase allows."""

    UNEXPECTED_MESSAGE = "unexpected-message"
    """A type number that does not exist, or that the sender may not use in this phase."""

    MALFORMED_MESSAGE = "malformed-message"
    """A known type whose fields are missing, mistyped, out of range, or followed by more bytes."""

    SEQUENCE = "sequence"
    """A control message out of order, too many under way, or an acknowledgement of one never sent."""

    FLOW_CONTROL = "flow-control"
    """Data that does not continue its stream or exceeds the credit, or credit for bytes beyond the window."""

    CHANNEL_STATE = "channel-state"
    """A message that the channel's state does not allow, or a channel that does not exist."""

    STREAM_STATE = "stream-state"
    """Data after the end of its stream, an end at the wrong size, or totals that do not match."""


class ProtocolError(Error):
    """A breach of the protocol.

    :ivar code: the kind of breach.
    :ivar detail: what was wrong, for people.
    """

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code.value}: {self.detail}"


class LocalProtocolError(ProtocolError):
    """Our own side asked for something that the protocol does not allow now."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.  Abort its link, and read nothing after the breach."""
