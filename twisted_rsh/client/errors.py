"""The errors that keep a client from its server, or end its session.

Each derives from :class:`~twisted_rsh.core.errors.Error`; ``str()`` of it is one line for people.

``UnknownServer``: the key that the server should have is not known.
``NoServer``: nothing answers at the address.
``NotARemoteShell``: a server answers that does not speak this protocol.
``WrongServer``: the server has another key than it should.
``ForeignServer``: the process that listens on a Unix socket is another user's.
``ServerBusy``: the server has no room for another login.
``LoginRefused``: the server does not let this user in with this key.
``ServerUnavailable``: the server would, and cannot now: a bound of it is reached.
``SessionLost``: the session is over; a ``LossReason`` says why.
``ShellRefused``: the server has no persistent shell for this client.
"""

from __future__ import annotations

import enum

from twisted_rsh.core.errors import Error

__all__ = [
    "Error",
    "ForeignServer",
    "LoginRefused",
    "LossReason",
    "NoServer",
    "NotARemoteShell",
    "ServerBusy",
    "ServerUnavailable",
    "SessionLost",
    "ShellRefused",
    "UnknownServer",
    "WrongServer",
]


class UnknownServer(Error):
    """The key that the server should have is not known, so the server is not dialled."""


class NoServer(Error):
    """Nothing answers at the address, or there is no such address, or the connection ended before the server said which
    it is."""


class NotARemoteShell(Error):
    """The server does not speak this protocol, or not this version of it."""


class WrongServer(Error):
    """The server's key is not the expected one.  Nothing was sent to it.

    :ivar found: SHA-256 of the public key that it has, 32 bytes, for a program that shows it to its user.
    """

    def __init__(self, text: str, found: bytes) -> None:
        super().__init__(text)
        self.found = found


class ForeignServer(Error):
    """The process that listens on a Unix socket belongs to another user than it should.  Nothing was sent to it.

    :ivar uid: that user, a number.
    """

    def __init__(self, text: str, uid: int) -> None:
        super().__init__(text)
        self.uid = uid


class ServerBusy(Error):
    """The server has no room for another connection without a login.  It may have in a moment."""


class LoginRefused(Error):
    """The server does not let this user in with this key, and never says why.  Or it refuses all connections of this
    machine or user for a while."""


class ServerUnavailable(Error):
    """The server knows this client and cannot serve it now: a bound of the server is reached, which the text names.

    Another attempt may succeed.  The client does not make one by itself.
    """


class LossReason(enum.Enum):
    """Why a session is over."""

    CLOSED = "closed"
    """The client or the server closed it on purpose."""

    LINK = "link"
    """Its link was lost, and it is not a session that outlives its links."""

    TIME = "time"
    """Its link was lost, and no other was found in time."""

    EXPIRED = "expired"
    """The server does not resume it: the server has ended it meanwhile, or does not admit this client any more."""

    RESTARTED = "restarted"
    """The server was started anew, and knows no session of the run before."""

    IDENTITY = "identity"
    """The server that answers now has another key."""

    PROTOCOL = "protocol"
    """The server did not follow the protocol."""


class SessionLost(Error):
    """The session is over, or did not begin: its connection to the server is gone.

    :ivar reason: why.
    """

    def __init__(self, text: str, reason: LossReason = LossReason.LINK) -> None:
        super().__init__(text)
        self.reason = reason


class ShellRefused(Error):
    """The server has no persistent shell for this client, and says why."""
