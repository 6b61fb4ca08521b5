"""The round trips of a command and of a resume, counted on a clock on which nothing else takes time."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.link.wire import ALICE, client_key
from tests.server.rig import Rig
from twisted_rsh import Connection, connect_to_endpoint
from twisted_rsh.core.requests import Keep
from twisted_rsh.core.roles import Stream
from twisted_rsh.testing import Faults, InTurn, LaneFaults, MemoryEndpoint

DELAY = 1.0
"""Seconds from each end to the other: far longer than whatever the two hold back."""

ROUND_TRIP = 2 * DELAY


def advance_until_linked(clock: Clock, connection: Connection) -> float:
    """Let time pass until a connection has a link; return how long that took."""
    start = clock.seconds()
    while not connection.connected:
        assert clock.seconds() < start + 20 * ROUND_TRIP
        clock.advance(DELAY / 50)
    return clock.seconds() - start


def test_resume_takes_two_round_trips_behind_tcp() -> None:
    """M-01: ClientHello and the server's flight are one, RESUME with the client's Finished and the answer the second.

    TCP's own handshake, which a connection in memory does not have, is one more: three in all.  What the server had to
    say meanwhile comes right behind its answer.
    """
    slow = Faults(to_server=LaneFaults(delay=DELAY), to_client=LaneFaults(delay=DELAY))
    rig = Rig()
    clock = rig.clock
    endpoint = MemoryEndpoint(clock, rig.factory, InTurn(afterwards=slow))
    connections: list[Connection] = []
    connecting = connect_to_endpoint(clock, endpoint, rig.pin, client_key(), ALICE)
    connecting.addCallback(connections.append)
    clock.pump([DELAY / 50] * 500)
    (connection,) = connections
    job = connection.start("make", on_disconnect=Keep())
    clock.pump([DELAY / 50] * 500)
    (running,) = rig.user.jobs
    for _ in range(3):
        endpoint.cut_all()
        clock.advance(0)
        assert not connection.connected
        assert 2 * ROUND_TRIP <= advance_until_linked(clock, connection) < 2 * ROUND_TRIP + DELAY / 5
    assert len(endpoint.connections) == 4, "each was resumed by its first dial"
    running.owner.output_received(Stream.STDOUT, b"x")
    clock.pump([DELAY / 50] * 100)
    assert job.stdout.read().called


def test_a_cold_command_takes_three_round_trips_behind_tcp() -> None:
    """From the dial to the first output: one for TLS, one for AUTH with the client's Finished, and one for the command.

    TCP's own handshake is one more: four in all.
    """
    slow = Faults(to_server=LaneFaults(delay=DELAY), to_client=LaneFaults(delay=DELAY))
    rig = Rig()
    clock = rig.clock
    endpoint = MemoryEndpoint(clock, rig.factory, InTurn(afterwards=slow))
    arrived: list[float] = []

    async def run() -> None:
        connection = await connect_to_endpoint(clock, endpoint, rig.pin, client_key(), ALICE)
        await connection.run("echo", on_stdout=lambda _: arrived.append(clock.seconds()))

    start = clock.seconds()
    Deferred.fromCoroutine(run())
    while not rig.user.jobs:
        assert clock.seconds() < start + 20 * ROUND_TRIP
        clock.advance(DELAY / 50)
    rig.user.jobs[0].owner.output_received(Stream.STDOUT, b"x")
    clock.pump([DELAY / 50] * 100)
    assert 3 * ROUND_TRIP <= arrived[0] - start < 3 * ROUND_TRIP + DELAY / 5
