"""A client that resumes as the test wants: its proof, its links, and its positions."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent, formatEvent

from tests.link.wire import RawClient, frame
from tests.server.rig import Rig
from twisted_rsh.core.codec import Decoder, encode
from twisted_rsh.core.messages import Ping, Pong, Positions, Resume, ResumeFail, ResumeOk
from twisted_rsh.core.resuming import ClientProof
from twisted_rsh.core.roles import Phase, Role

__all__ = ["FAIL", "NOTHING", "Resumer", "answers", "is_alive", "is_refused", "lines", "refusal"]

FAIL = encode(ResumeFail(instance="one run"))
"""The answer to a RESUME that is refused, by a server of the rig."""

NOTHING = Positions(0)
"""What has arrived at a client that has received nothing."""


def answers(client: RawClient) -> list[ResumeOk | ResumeFail]:
    """Return the answers to RESUME that have come; anything else fails the test."""
    decoder = Decoder(Role.CLIENT, Phase.LOGIN)
    found = [decoder.decode(payload)[1] for payload in client.frames()]
    assert all(isinstance(message, ResumeOk | ResumeFail) for message in found)
    return found  # type: ignore[return-value]  # as just asserted


def lines(logged: list[LogEvent]) -> list[str]:
    """Return the lines that the server has logged."""
    return [formatEvent(event) for event in logged if event["log_namespace"].startswith("twisted_rsh")]


def is_alive(client: RawClient) -> bool:
    """Tell whether a session still answers over a connection."""
    client.heard()
    client.say(Ping(77))
    return Pong(77) in client.heard()


def refusal(rig: Rig, claim: Resume) -> bytes:
    """Send a RESUME over a new connection; return all bytes of the answer, which must end the connection."""
    client = rig.connect()
    client.send(frame(encode(claim)))
    assert client.closed
    return client.received


class Resumer:
    """One client's session over one connection after the other.

    :param rig: the server.
    :ivar client: its last connection.
    :ivar proof: proves that the session is its own.
    """

    def __init__(self, rig: Rig, **how: Any) -> None:
        self.rig = rig
        self.client = rig.log_in(**how)
        self.proof = ClientProof(self.client.session, self.client.secret(0))

    @property
    def session(self) -> bytes:
        """The session's identifier."""
        return self.client.session

    def claim(self, client: RawClient, positions: Positions = NOTHING) -> Resume:
        """Make a RESUME for a connection."""
        return self.proof.claim(client.binding(self.rig.pin), positions)

    def ask(self, client: RawClient, positions: Positions = NOTHING) -> Resume:
        """Send a RESUME over a connection."""
        claim = self.claim(client, positions)
        client.send(frame(encode(claim)))
        return claim

    def resume(self, positions: Positions = NOTHING, **how: Any) -> RawClient:
        """Resume over a new connection, and send a frame, so that the server knows that its answer has come."""
        client = self.rig.connect(**how)
        self.welcome(client, self.ask(client, positions))
        return client

    def welcome(self, client: RawClient, claim: Resume) -> ResumeOk:
        """Take the server's answer, which must accept the resume."""
        first, *rest = client.frames()
        _, answer = Decoder(Role.CLIENT, Phase.LOGIN).decode(first)
        assert isinstance(answer, ResumeOk)
        fresh = client.secret(claim.attempt, self.session)
        self.proof.confirm(claim, answer, client.binding(self.rig.pin), fresh)
        client.received = b"".join(frame(payload) for payload in rest)
        client.take_over(self.client)
        self.client = client
        return answer

    def lose(self) -> None:
        """Cut the connection."""
        self.client.wire.lose()


def is_refused(resumer: Resumer) -> bool:
    """Try to resume; tell whether the server knows nothing of the session."""
    client = resumer.rig.connect()
    resumer.ask(client)
    return client.frames() == [FAIL]
