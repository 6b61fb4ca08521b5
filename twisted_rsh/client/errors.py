"""What can keep a client from its server, and what a caller can ask to be told of a command that failed.

``Error``, whose ``str()`` is one line for people
    ``UnknownServer``: nothing says which key the server should have.
    ``NoServer``: nobody answers there.
    ``NotARemoteShell``: somebody answers who does not speak this protocol.
    ``WrongServer``: the server has another key than it should.
    ``LoginRefused``: the server does not let this user in with this key.
    ``SessionLost``: the connection is gone, and the session with it; a ``LossReason`` says why.
    ``ShellRefused``: the server has no persistent shell for us.
    ``CommandFailed``: :meth:`twisted_rsh.client.result.Result.check` found no success.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from twisted_rsh.core.errors import Error

if TYPE_CHECKING:
    from twisted_rsh.client.result import Result

__all__ = [
    "CommandFailed",
    "Error",
    "LoginRefused",
    "LossReason",
    "NoServer",
    "NotARemoteShell",
    "SessionLost",
    "ShellRefused",
    "UnknownServer",
    "WrongServer",
]


class UnknownServer(Error):
    """Nothing says which key the server should have, so it is not dialled."""


class NoServer(Error):
    """Nobody answers at the address, or there is no such address."""


class NotARemoteShell(Error):
    """What answers does not speak this protocol, or not this version of it."""


class WrongServer(Error):
    """The server's key is not the expected one.  Nothing was sent to it."""


class LoginRefused(Error):
    """The server does not let this user in with this key; it never says why."""


class LossReason(enum.Enum):
    """Why a session is over."""

    CLOSED = "closed"
    """It was closed on purpose, on either side."""

    LINK = "link"
    """Its connection was lost, and it is not one that outlives its connections."""

    TIME = "time"
    """Its connection was lost, and for too long there was no other."""

    EXPIRED = "expired"
    """The server does not resume it: it has ended it meanwhile, or does not admit this client any more."""

    RESTARTED = "restarted"
    """The server is another run of its program, which knows no session of the one before."""

    IDENTITY = "identity"
    """What answers now has another key than the server."""

    PROTOCOL = "protocol"
    """The server did not follow the protocol."""


class SessionLost(Error):
    """The connection to the server is gone, and the session with it.

    :ivar reason: why.
    """

    def __init__(self, text: str, reason: LossReason = LossReason.LINK) -> None:
        super().__init__(text)
        self.reason = reason


class ShellRefused(Error):
    """There is no persistent shell to be had: the server says why."""


class CommandFailed(Error):
    """A command did not exit with status 0.

    :ivar result: all that is known of it.
    """

    def __init__(self, text: str, result: Result) -> None:
        super().__init__(text)
        self.result = result
