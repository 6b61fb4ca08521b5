"""The client's machine sleeps while it is connected: the link is tried at once, and given up soon if it is dead."""

from __future__ import annotations

import pytest

from tests.client.standin import Network, is_connected
from twisted_rsh import Connection
from twisted_rsh.client.waking import AWAKE_SECONDS, LOOK_SECONDS, SLEPT_SECONDS
from twisted_rsh.core.limits import SessionLimits

HOUR = 3600.0

KEEPALIVE = SessionLimits().keepalive_interval

LIFETIME = KEEPALIVE * SessionLimits().keepalive_misses


@pytest.fixture
def network() -> Network:
    """A server that can be reached."""
    return Network()


def told(connection: Connection) -> list[str | None]:
    """The list of all that is told of the link from now on."""
    words: list[str | None] = []
    connection.watch_link(words.append)
    return words


def silence(network: Network) -> float:
    """The seconds since the server heard from the client."""
    session = network.server.only.session
    return network.clock.seconds() - (session.deadline - KEEPALIVE)


def test_a_link_that_is_dead_after_sleep(network: Network) -> None:
    """The client gives it up a few seconds after it woke, not after the silence of keepalive, and resumes."""
    connection = network.log_in()
    words = told(connection)
    network.advance(2)
    network.slept += HOUR
    network.carries = False
    network.advance(LOOK_SECONDS + AWAKE_SECONDS - 0.1)
    assert (words, network.dialled_at) == ([], [])
    network.advance(0.2)
    (reason,) = words
    assert reason is not None
    assert reason.startswith(f"nothing came from the peer for {2 + LOOK_SECONDS + AWAKE_SECONDS:g}")
    assert len(network.dialled_at) == 1
    network.carries = True
    network.advance(1)
    assert (words[1:], is_connected(connection)) == ([None], True)


def test_a_link_that_has_lived_through_sleep(network: Network) -> None:
    """The server answers, so the link stays, with all of its time again."""
    connection = network.log_in()
    words = told(connection)
    network.advance(KEEPALIVE - 2)
    network.slept += HOUR
    network.advance(LOOK_SECONDS + 0.1)
    assert silence(network) <= LOOK_SECONDS + 0.1, "the server has got a ping"
    network.advance(LIFETIME)
    assert (words, network.dialled_at, is_connected(connection)) == ([], [], True)


@pytest.mark.parametrize("slept", [SLEPT_SECONDS - 0.1, SLEPT_SECONDS])
def test_a_short_sleep(network: Network, slept: float) -> None:
    """A shorter sleep than `SLEPT_SECONDS` costs no ping."""
    network.log_in()
    network.advance(2)
    network.slept += slept
    network.advance(LOOK_SECONDS + 0.1)
    assert (silence(network) <= LOOK_SECONDS + 0.1) == (slept >= SLEPT_SECONDS)


def test_each_sleep(network: Network) -> None:
    """Sleep counts from the last look on, and so does the next one."""
    network.log_in()
    for _ in range(3):
        network.advance(2)
        network.slept += HOUR
        network.advance(LOOK_SECONDS + 0.1)
        assert silence(network) <= LOOK_SECONDS + 0.1


def test_a_session_that_ends_with_its_link(network: Network) -> None:
    """The server is asked, but the link has the time of keepalive: its loss would end the session."""
    connection = network.log_in(resume=False)
    network.advance(2)
    network.slept += HOUR
    network.advance(LOOK_SECONDS + 0.1)
    assert silence(network) <= LOOK_SECONDS + 0.1
    network.carries = False
    network.slept += HOUR
    network.advance(LIFETIME - 2)
    assert connection.lost is None
    network.advance(3)
    assert connection.lost is not None


@pytest.mark.parametrize("resume", [False, True])
def test_nothing_is_left(network: Network, resume: bool) -> None:
    """A connection that is closed leaves no call behind, with a link or during an outage."""
    connection = network.log_in(resume=resume)
    connection.close()
    network.advance(5)
    assert network.clock.getDelayedCalls() == []
    other = Network()
    connection = other.log_in()
    connection.start("make")
    other.advance(1)
    other.is_up = False
    other.cut()
    other.advance(1)
    connection.close()
    other.advance(5)
    assert other.clock.getDelayedCalls() == []
