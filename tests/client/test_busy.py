"""A server that has no room, one that refuses this machine, and what is no server of ours: each has its own error."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.link.wire import ALICE, client_key, frame, identity
from tests.server.rig import Rig
from twisted_rsh import (
    Connection,
    Error,
    LoginRefused,
    NoServer,
    NotARemoteShell,
    ServerBusy,
    connect_to_endpoint,
)
from twisted_rsh.client.connecting import BUSY_RETRY_SECONDS, BUSY_SECONDS
from twisted_rsh.link.framed_link import HANDSHAKE_SECONDS
from twisted_rsh.link.tls import BUSY_ALERT, REFUSED_ALERT
from twisted_rsh.testing import MemoryEndpoint

STEP = 0.01
"""Seconds between two looks at the clock: less than the shortest pause between two dials."""


class Answer(Protocol):
    """Sends some pieces and closes, or stays."""

    def __init__(self, pieces: list[bytes], stays: bool) -> None:
        self._pieces = pieces
        self._stays = stays

    def connectionMade(self) -> None:
        transport: Any = self.transport
        for piece in self._pieces:
            transport.write(piece)
        if not self._stays:
            transport.loseConnection()


class Answers(Factory):
    """Gives each connection the same answer.

    :ivar times: when the connections came.
    """

    noisy = False

    def __init__(self, clock: Clock, *pieces: bytes, stays: bool = False) -> None:
        self.times: list[float] = []
        self._clock = clock
        self._pieces = list(pieces)
        self._stays = stays

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self.times.append(self._clock.seconds())
        return Answer(self._pieces, self._stays)


def connecting(clock: Clock, factory: Any) -> list[Connection | Error]:
    """Connect a client; return the list that gets the outcome."""
    outcome: list[Connection | Error] = []
    endpoint = MemoryEndpoint(clock, factory)
    dialling = connect_to_endpoint(clock, endpoint, identity().pin, client_key(), ALICE, resume=False)
    dialling.addCallbacks(outcome.append, lambda failure: outcome.append(failure.value))
    return outcome


def wait(clock: Clock, outcome: list[Connection | Error], seconds: float) -> Connection | Error:
    """Let time pass until there is an outcome."""
    for _ in range(round(seconds / STEP)):
        if outcome:
            break
        clock.advance(STEP)
    (result,) = outcome
    return result


def test_room_in_a_moment() -> None:
    """R-01: a server is full of silent strangers; the client dials again until they are gone, and gets in."""
    rig = Rig(max_unauthenticated=1)
    rig.connect()
    outcome = connecting(rig.clock, rig.factory)
    rig.clock.advance(1)
    assert outcome == []
    rig.away(60)  # the stranger's time is up
    assert isinstance(wait(rig.clock, outcome, BUSY_RETRY_SECONDS), Connection)


def test_no_room_at_all() -> None:
    """R-01: the client gives up after 30 s, with a line that names the bound; its last dials are a second apart."""
    clock = Clock()
    server = Answers(clock, BUSY_ALERT)
    error = wait(clock, connecting(clock, server), BUSY_SECONDS + 5)
    assert isinstance(error, ServerBusy)
    assert "too busy (too many connections wait for a login); try again, or raise its --max-unauth" in str(error)
    assert BUSY_SECONDS - 2 <= server.times[-1] <= BUSY_SECONDS + 2
    pauses = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert pauses[0] < 0.1
    assert BUSY_RETRY_SECONDS / 2 <= pauses[-1] <= BUSY_RETRY_SECONDS + 3 * STEP
    assert 30 < len(server.times) < 80


def test_refused_for_a_while() -> None:
    """A-11: a client whose machine is refused for a while says so at once, and does not dial again."""
    clock = Clock()
    server = Answers(clock, REFUSED_ALERT)
    error = wait(clock, connecting(clock, server), 1)
    assert isinstance(error, LoginRefused)
    assert "refuses all connections from this machine, or of this user, for a while" in str(error)
    assert len(server.times) == 1


@pytest.mark.parametrize("at", range(1, len(BUSY_ALERT)))
def test_busy_in_two_pieces(at: int) -> None:
    """The alert is understood wherever the network cuts it."""
    clock = Clock()
    outcome = connecting(clock, Answers(clock, BUSY_ALERT[:at], BUSY_ALERT[at:]))
    clock.advance(1)
    assert outcome == [], "it dials again"


@pytest.mark.parametrize(
    ("pieces", "stays"),
    [((), False), ((), True), ((bytes.fromhex("16 0303 0100 02"),), False), ((bytes.fromhex("16 0303"),), True)],
    ids=["closed", "silent", "closed within", "silent within"],
)
def test_what_may_be_ours(pieces: tuple[bytes, ...], stays: bool) -> None:
    """C-01: a connection that ends, or stays silent, before the other end showed what it is: no claim about it."""
    clock = Clock()
    error = wait(clock, connecting(clock, Answers(clock, *pieces, stays=stays)), HANDSHAKE_SECONDS + 1)
    assert isinstance(error, NoServer)
    said = "within the handshake" if pieces else "before it said anything"
    assert f" ended {said}: " in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes.fromhex("15 0303 0002 02 50"),  # internal_error, as of a web server that has no certificate for the name
        bytes.fromhex("15 0303 0002 02 28"),  # handshake_failure
        bytes.fromhex("15 0301 0002 02 5a"),  # user_canceled, as no server of ours writes it
        frame(b"\0"),
    ],
    ids=["ssh", "http", "internal error", "handshake failure", "nearly busy", "a frame in clear"],
)
def test_what_is_not_ours(answer: bytes) -> None:
    """C-01: something else answers, and the error says so, at once."""
    clock = Clock()
    server = Answers(clock, answer)
    error = wait(clock, connecting(clock, server), 1)
    assert isinstance(error, NotARemoteShell)
    assert "is no twisted-rsh server" in str(error)
    assert len(server.times) == 1


def test_cancelling_between_two_dials() -> None:
    """A caller that cancels while the client waits to dial again is obeyed."""
    clock = Clock()
    server = Answers(clock, BUSY_ALERT)
    endpoint = MemoryEndpoint(clock, server)
    dialling = connect_to_endpoint(clock, endpoint, identity().pin, client_key(), ALICE)
    outcome: list[object] = []
    dialling.addBoth(outcome.append)
    while len(server.times) < 5:
        clock.advance(STEP)
    clock.advance(STEP)
    dialling.cancel()
    (failure,) = outcome
    assert isinstance(failure, Failure)
    assert failure.check(CancelledError)
    clock.advance(BUSY_SECONDS)
    assert len(server.times) == 5
    assert clock.getDelayedCalls() == []
