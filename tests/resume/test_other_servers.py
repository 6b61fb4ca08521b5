"""Resumes that meet another server, and resumes from another address."""

from __future__ import annotations

import pytest
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.link.wire import ALICE, MALLORY, client_key
from tests.server.rig import Rig
from twisted_rsh import Connection, connect_to_endpoint
from twisted_rsh.client.errors import LossReason
from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown
from twisted_rsh.core.requests import Keep
from twisted_rsh.core.roles import Stream
from twisted_rsh.link.tls import ServerTLS
from twisted_rsh.server.job import OPENED_HELD_SECONDS
from twisted_rsh.testing import MemoryEndpoint


class Eavesdropper(Protocol):
    """Keeps what it is told."""

    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def dataReceived(self, data: bytes) -> None:
        self._heard.append(data)


class Impostor(Factory):
    """A server with another key, which would take whatever it is told.

    :ivar heard: what it was told.
    :ivar dials: how often it was dialled.
    """

    noisy = False

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.dials = 0

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self.dials += 1
        return Eavesdropper(self.heard)


class Session:
    """A client with one command that goes on whatever happens.

    :ivar endings: how the command ended.
    """

    def __init__(self) -> None:
        self.rig = Rig()
        self.endpoint = MemoryEndpoint(self.rig.clock, self.rig.factory)
        connections: list[Connection] = []
        connecting = connect_to_endpoint(self.rig.clock, self.endpoint, self.rig.pin, client_key(), ALICE)
        connecting.addCallback(connections.append)
        self.rig.clock.advance(0)
        (self.connection,) = connections
        self.job = self.connection.start("make", on_disconnect=Keep())
        self.settle()
        self.endings: list[Ending] = []
        self.job.wait().addCallback(lambda end: self.endings.append(end.ending))

    def settle(self) -> None:
        """Let everything arrive."""
        for _ in range(20):
            self.rig.clock.advance(OPENED_HELD_SECONDS)


@pytest.fixture
def session() -> Session:
    """A session with a command."""
    return Session()


def test_server_of_another_key(session: Session) -> None:
    """M-20: another program listens on the server's port now: the client ends at once, and has told it nothing."""
    rig = session.rig
    impostor = Impostor()
    tls = ServerTLS(MALLORY.private_key, MALLORY.certificate)
    session.endpoint._factory = TLSMemoryBIOFactory(tls, False, impostor, rig.clock)
    session.endpoint.cut_all()
    session.settle()
    assert session.connection.loss is LossReason.IDENTITY
    assert "identity has changed" in (session.connection.lost or "")
    (ending,) = session.endings
    assert isinstance(ending, OutcomeUnknown)
    assert (impostor.dials, impostor.heard) == (1, [])
    rig.clock.advance(120)
    assert impostor.dials == 1, "and it dials no more"
    (job,) = rig.user.jobs
    assert "terminate" not in job.names(), "the command, which was to be kept, knows nothing of all this"


def test_another_address(session: Session) -> None:
    """M-21: the client has moved to another network: the session goes on from there, and the server says so."""
    (job,) = session.rig.user.jobs
    (before,) = session.rig.sessions
    assert str(before.describe()["peer"]).startswith("192.0.2.1:")
    session.endpoint.client_host = "198.51.100.7"
    session.endpoint.cut_all()
    session.settle()
    assert session.connection.connected
    (after,) = session.rig.sessions
    assert after is before
    assert str(after.describe()["peer"]).startswith("198.51.100.7:")
    job.owner.output_received(Stream.STDOUT, b"there")
    job.end()
    session.settle()
    assert session.endings == [Exited(0)]
    read: list[bytes] = []
    session.job.stdout.read().addCallback(read.append)
    assert read == [b"there"]
