"""The control socket of a server: AMP commands by which its own account looks at it, ends sessions and invites clients.

The socket lies beside the server's record, in a folder that no other user can enter.  Where the system tells the user
at the other end, both sides check that as well.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols import amp

from twisted_rsh.core.errors import Error
from twisted_rsh.server.factory import RemoteShellFactory
from twisted_rsh.server.invitations import TooManyInvitations
from twisted_rsh.server.peers import unix_peer_uid
from twisted_rsh.server.session import DurableSession
from twisted_rsh.server.sockets import SocketPort

__all__ = [
    "MAX_PAGE_BYTES",
    "ControlFactory",
    "ControlPort",
    "EndSession",
    "Invite",
    "NextSessions",
    "NoInvitations",
    "ServerStatus",
    "is_our_own_peer",
]

ENDED_BY_OWNER = "the session was ended at the server"
"""The line for a client whose session ends by ``twisted-rsh sessions --end``."""


MAX_PAGE_BYTES = 49_152
"""Bytes of the sessions in one answer: 48 KiB, which take some 5 ms.  An AMP value has at most 65,535 bytes."""


class ServerStatus(amp.Command):
    """Describe the server: :meth:`twisted_rsh.server.factory.RemoteShellFactory.describe`, as a JSON object."""

    response = [(b"status", amp.Unicode())]  # noqa: RUF012 - the name and the form that amp.Command reads


class NextSessions(amp.Command):
    """Describe the sessions that began after one, as many as one answer has room for.

    `after` is the number of that one, 0 for the first answer, and `last` what to ask for next; `more` tells whether
    there may be more.  The descriptions are a JSON list of :meth:`twisted_rsh.server.session.DurableSession.describe`.
    One that is too large for an answer has fewer jobs, and the number of those that are missing: ``jobs_left_out``.
    """

    arguments = [(b"after", amp.Integer())]  # noqa: RUF012 - as above
    response = [(b"sessions", amp.Unicode()), (b"last", amp.Integer()), (b"more", amp.Boolean())]  # noqa: RUF012 - as above


class EndSession(amp.Command):
    """End a session; the answer tells whether there was one."""

    arguments = [(b"session", amp.Unicode())]  # noqa: RUF012 - as above
    response = [(b"ended", amp.Boolean())]  # noqa: RUF012 - as above


class NoInvitations(Error):
    """The server takes no invitations, because its application decides itself which keys may log in."""


class Invite(amp.Command):
    """Make an invitation; the answer has its secret."""

    arguments = [(b"seconds", amp.Float())]  # noqa: RUF012 - as above
    response = [(b"secret", amp.String())]  # noqa: RUF012 - as above
    errors = {TooManyInvitations: b"TOO_MANY", NoInvitations: b"NONE"}  # noqa: RUF012 - as above


def is_our_own_peer(transport: Any) -> bool:
    """Tell whether the other end of a Unix socket is a process of this user.

    :param transport: the connection.
    :returns: the answer; true where the system cannot tell (it has no ``SO_PEERCRED``), as the folder alone protects
        the socket there.
    """
    return not hasattr(socket, "SO_PEERCRED") or unix_peer_uid(transport) == os.geteuid()


class _Commands(amp.CommandLocator):
    """The commands of the account."""

    def __init__(self, server: RemoteShellFactory) -> None:
        self._server = server
        self._sessions = server.sessions
        self._invitations = server.invitations

    @ServerStatus.responder
    def status(self) -> dict[str, object]:
        """Answer :class:`ServerStatus`."""
        return {"status": json.dumps(self._server.describe())}

    @NextSessions.responder
    def next_sessions(self, after: int) -> dict[str, object]:
        """Answer :class:`NextSessions`."""
        texts: list[str] = []
        size, last = 0, after
        for session in self._sessions.after(after):
            text = _described(session)
            size += len(text)
            if texts and size > MAX_PAGE_BYTES:
                return {"sessions": f"[{','.join(texts)}]", "last": last, "more": True}
            texts.append(text)
            last = session.number
        return {"sessions": f"[{','.join(texts)}]", "last": last, "more": False}

    @EndSession.responder
    def end_session(self, session: str) -> dict[str, object]:
        """Answer :class:`EndSession`."""
        for one in self._sessions:
            if one.identifier.hex() == session:
                one.end("its account ended it", ENDED_BY_OWNER)
                return {"ended": True}
        return {"ended": False}

    @Invite.responder
    def invite(self, seconds: float) -> dict[str, object]:
        """Answer :class:`Invite`."""
        if self._invitations is None:
            raise NoInvitations("the application of this server decides itself which keys may log in")
        return {"secret": self._invitations.make(seconds)}


def _described(session: DurableSession) -> str:
    """Describe a session in a page at most."""
    description = session.describe()
    text = json.dumps(description)
    if len(text) > MAX_PAGE_BYTES:
        jobs: Any = description["jobs"]
        # All are about as large: the part that has room, and a bit less because some are larger.
        kept = len(jobs) * MAX_PAGE_BYTES // len(text) * 3 // 4
        text = json.dumps({**description, "jobs": jobs[:kept], "jobs_left_out": len(jobs) - kept})
    return text


class _Control(amp.BinaryBoxProtocol):
    """One connection of the account.  It reads nothing from another user, and unlike ``amp.AMP`` it logs no line."""

    def __init__(self, commands: _Commands) -> None:
        amp.BinaryBoxProtocol.__init__(self, amp.BoxDispatcher(commands))

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if is_our_own_peer(transport):
            amp.BinaryBoxProtocol.connectionMade(self)
        else:
            transport.abortConnection()


class ControlFactory(Factory):
    """Makes the server's end of a control connection.

    :param server: the server to describe, whose sessions may be ended, and that takes the invitations.
    """

    noisy = False

    def __init__(self, server: RemoteShellFactory) -> None:
        self._commands = _Commands(server)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _Control(self._commands)


class ControlPort(SocketPort):
    """Listens on a Unix socket in a private folder.

    It replaces any socket of the same name: the name is that of a TCP port, and the server that has the port is this
    one.

    :param path: the socket's path.
    :param factory: makes the protocols.
    :param reactor: the reactor.
    """

    def may_replace(self) -> bool:
        return True
