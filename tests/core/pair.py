"""Two cores on one wire: a client and a server after their login, and the frames between them.

Nothing moves by itself: :meth:`Pair.flush` puts a side's payloads on the wire, :meth:`Pair.deliver` takes frames off
it, and :meth:`Pair.settle` does both until nothing moves any more.
"""

from __future__ import annotations

from collections import deque

import pytest

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.events import Event
from twisted_rsh.core.limits import MAX_FRAME_BYTES, MAX_LOGIN_FRAME_BYTES, SessionLimits
from twisted_rsh.core.login import ClientLogin, ServerLogin
from twisted_rsh.core.messages import Auth
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.core.session import Session

__all__ = ["CLAIM", "SESSION_ID", "SMALL", "TRUE", "Pair", "log_in"]

CLAIM = Auth(user="alice", algorithm="ssh-ed25519", key=b"public key", signature=b"signature")
"""A login; no key is checked."""

SESSION_ID = bytes(range(16))
"""A session's identifier."""

SMALL = SessionLimits(window=4096, max_channels=2)
"""Limits that are easily reached."""

TRUE = JobRequest(command="true")
"""A request; no job is run."""


def log_in(limits: SessionLimits, now: float = 0.0) -> tuple[ClientSession, ServerSession]:
    """Return the two sessions that a login makes."""
    client, server = ClientLogin(limits), ServerLogin()
    asked = client.ask(CLAIM)
    assert len(asked) <= MAX_LOGIN_FRAME_BYTES
    assert server.receive_frame(asked) == CLAIM
    answer, server_session = server.accept(SESSION_ID, "one run", limits, now)
    assert len(answer) <= MAX_LOGIN_FRAME_BYTES
    begun = client.receive_frame(answer, now)
    assert isinstance(begun, tuple)
    return begun[1], server_session


class Pair:
    """A client, a server, and the wire between them.

    :param limits: the session's bounds.
    :ivar now: the time in seconds; set it as you like.
    :ivar wires: the frames on their way to each side.
    :ivar sent: every payload that each side has put on the wire.
    """

    def __init__(self, limits: SessionLimits = SMALL) -> None:
        self.now = 0.0
        self.client, self.server = log_in(limits, self.now)
        self.wires: dict[Role, deque[bytes]] = {role: deque() for role in Role}
        self.sent: dict[Role, list[bytes]] = {role: [] for role in Role}

    def side(self, role: Role) -> Session:
        """Return one side's session."""
        return self.client if role is Role.CLIENT else self.server

    def hear(self, role: Role, message: Message) -> list[Event]:
        """Let a side receive a message that its peer's core did not send."""
        session = self.side(role)
        if message.declaration.sequenced:
            (payload,) = encode_control(message, session._inbox.received)
        else:
            payload = encode(message)
        return session.receive_frame(payload, self.now)

    def breach(self, role: Role, message: Message) -> ErrorCode:
        """Let a side receive a message that is a breach; return the kind of breach."""
        with pytest.raises(RemoteProtocolError) as error:
            self.hear(role, message)
        return error.value.code

    def written(self, role: Role) -> list[Message]:
        """Return the messages that a side writes now; they never arrive."""
        decoder = Decoder(role.peer, Phase.SESSION)
        return [decoder.decode(payload)[1] for payload in self.side(role).frames_to_send()]

    def flush(self, role: Role) -> int:
        """Put the payloads that a side writes now on the wire.

        :returns: how many frames.
        """
        payloads = self.side(role).frames_to_send()
        assert all(1 <= len(payload) <= MAX_FRAME_BYTES for payload in payloads)
        self.wires[role.peer].extend(payloads)
        self.sent[role].extend(payloads)
        return len(payloads)

    def deliver(self, role: Role, count: int | None = None) -> list[Event]:
        """Give a side the next `count` frames, or all that are on the wire."""
        wire = self.wires[role]
        events: list[Event] = []
        for _ in range(len(wire) if count is None else min(count, len(wire))):
            events += self.side(role).receive_frame(wire.popleft(), self.now)
        return events

    def pass_on(self, role: Role) -> list[Event]:
        """Let all payloads that a side writes now arrive."""
        self.flush(role)
        return self.deliver(role.peer)

    def settle(self) -> dict[Role, list[Event]]:
        """Let all frames arrive, and the frames that these cause, until nothing moves.

        :returns: the events of each side.
        """
        events: dict[Role, list[Event]] = {role: [] for role in Role}
        moved = True
        while moved:
            moved = False
            for role in Role:
                self.flush(role)
                moved = moved or bool(self.wires[role.peer])
                events[role.peer] += self.deliver(role.peer)
        return events

    def open(self, request: JobRequest = TRUE, *, accept: bool = True) -> int:
        """Open a channel, let the server accept it, and let all of that arrive.

        :returns: its number.
        """
        channel = self.client.open(request)
        self.settle()
        if accept:
            self.server.accept(channel, "utf-8")
            self.settle()
        return channel
