"""The search for another link: the times of the dials, and the fate of dials that were given up."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refusal
from twisted.internet.interfaces import IProtocol

from tests.client.standin import Network, is_connected
from twisted_rsh import Connection
from twisted_rsh.client.errors import LossReason
from twisted_rsh.client.reconnecting import (
    DIALS_AT_ONCE,
    FIRST_RETRY_SECONDS,
    LAST_RETRY_SECONDS,
    RESUME_SECONDS,
    TICK_SECONDS,
    retry_delay,
)
from twisted_rsh.core.codec import encode
from twisted_rsh.core.events import SessionClosed
from twisted_rsh.core.messages import Unavailable
from twisted_rsh.core.requests import Keep


@pytest.fixture
def network() -> Network:
    """A server that can be reached."""
    return Network()


def gaps(times: list[float]) -> list[float]:
    """The seconds between one dial and the next."""
    return [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]


def patient(network: Network) -> Connection:
    """Log in, and run something that is worth waiting for."""
    connection = network.log_in()
    connection.start("make", on_disconnect=Keep())
    network.advance()
    return connection


def test_delays_double_up_to_the_longest() -> None:
    """50 ms, doubled with every failure, and 10 s at most; the number of failures has no bound."""
    assert [retry_delay(n, 0.0) for n in range(1, 10)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]
    assert (FIRST_RETRY_SECONDS, retry_delay(10**9, 0.0)) == (0.05, LAST_RETRY_SECONDS)


def test_jitter_leaves_out_up_to_half() -> None:
    """Whatever the random numbers, a delay is between half of the full one and all of it."""
    almost_one = 1 - 2**-53
    for failures in (1, 5, 50):
        full = retry_delay(failures, 0.0)
        assert full / 2 <= retry_delay(failures, almost_one) < full * 0.51


def test_a_server_that_puts_a_resume_off(network: Network) -> None:
    """A server that cannot serve a resume now is dialled again, ever later, and the session goes on when it can."""
    connection = patient(network)
    said = encode(Unavailable(text="Too many open files"))
    network.server.on_resume = lambda _: said
    network.dialled_at.clear()
    network.cut()
    network.advance(3)
    assert not connection.connected
    assert connection.lost is None
    assert gaps(network.dialled_at)[:5] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8], abs=0.06)
    network.server.on_resume = lambda payload: payload
    network.advance(10)
    assert is_connected(connection)


def test_a_server_that_puts_every_resume_off(network: Network) -> None:
    """The end of the search repeats the server's line."""
    connection = network.log_in()
    network.server.on_resume = lambda _: encode(Unavailable(text="Too many open files"))
    network.cut()
    network.advance(70)
    assert connection.loss is LossReason.TIME
    assert str(connection.lost).endswith(": Too many open files")


def test_dials_take_turns(network: Network) -> None:
    """M-16: when all sessions of a program lose their links, so many dial at once, and one more when one has done."""
    connections = [patient(network) for _ in range(DIALS_AT_ONCE + 1)]
    network.dialled_at.clear()
    network.holds_dials = True
    network.cut()
    network.advance(RESUME_SECONDS / 2)
    assert len(network.dialled_at) == DIALS_AT_ONCE
    network.answer()
    network.advance(1)
    assert len(network.dialled_at) == DIALS_AT_ONCE + 1
    assert sum(map(is_connected, connections)) == 1
    while network.waiting:
        network.answer()
    network.advance(1)
    assert all(map(is_connected, connections))


def test_turns_of_dials_that_fail_at_once(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that fails at once, and many sessions that wait for their turn, are no deep recursion; each turn is
    given back, so that all are back at last."""
    connections = [patient(network) for _ in range(2 * DIALS_AT_ONCE)]
    network.holds_dials = True
    network.cut()
    network.advance()
    depths: list[int] = []

    def refuse(_: object) -> Deferred[IProtocol]:
        depths.append(len(list(traceback.walk_stack(None))))
        return fail(Refusal())

    with monkeypatch.context() as patched:
        patched.setattr(network, "connect", refuse)
        network.is_up = False
        while network.waiting:
            network.answer()
        network.advance(0.5)
    assert len(depths) > DIALS_AT_ONCE
    assert max(depths) < 2 * min(depths)
    network.is_up, network.holds_dials = True, False
    network.advance(2)
    assert all(connection.connected for connection in connections)


def test_turns_of_searches_that_are_given_up(network: Network) -> None:
    """A search that ends gives its turn, or its place among those that wait, to the others."""
    connections = [patient(network) for _ in range(DIALS_AT_ONCE + 2)]
    network.dialled_at.clear()
    network.holds_dials = True
    network.cut()
    network.advance()
    connections[-1].close()  # waits
    connections[0].close()  # dials
    network.advance()
    assert len(network.dialled_at) == DIALS_AT_ONCE + 1
    while network.waiting:
        network.answer()
    network.holds_dials = False
    network.advance(1)
    assert all(map(is_connected, connections[1:-1]))


def test_dials_of_an_outage(network: Network) -> None:
    """The first dial is made at once, the next ones behind longer and longer delays; the next outage begins anew."""
    connection = patient(network)
    for _ in range(2):
        network.dialled_at.clear()
        network.is_up = False
        lost_at = network.clock.seconds()
        network.cut()
        network.advance(40)
        assert network.dialled_at[0] == lost_at
        assert gaps(network.dialled_at)[:8] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4], abs=0.06)
        assert gaps(network.dialled_at)[8:] == pytest.approx([10.0, 10.0], abs=0.06)
        network.is_up = True
        network.advance(11)
        assert is_connected(connection)
        assert len(network.clock.getDelayedCalls()) == 3, "each side's keepalive, and the look for sleep"
    assert len(network.server.resumes) == 2


def test_many_cuts_in_a_row(network: Network) -> None:
    """Each outage is resumed by its first dial, and each attempt has a number of its own."""
    connection = patient(network)
    for number in range(20):
        network.cut()
        assert not is_connected(connection)
        network.advance(0)
        assert is_connected(connection)
        if number % 2:
            connection.start("true")  # the server learns that the client has the new secret
            network.advance(0)
    assert [claim.attempt for claim in network.server.resumes] == list(range(1, 21))


def test_dial_that_hangs(network: Network) -> None:
    """A dial without an answer is given up after ten seconds, and another is made."""
    patient(network)
    network.holds_dials = True
    network.cut()
    network.advance(RESUME_SECONDS - 0.1)
    assert len(network.dialled_at) == 1
    network.advance(0.3)
    assert gaps(network.dialled_at) == pytest.approx([RESUME_SECONDS + FIRST_RETRY_SECONDS], abs=0.11)


def test_late_dial_does_not_win(network: Network) -> None:
    """M-09: a dial that was given up and is answered late says nothing to the server, before or after the next."""
    connection = patient(network)
    network.holds_dials = True
    network.cut()
    network.advance(3 * (RESUME_SECONDS + 1))
    assert len(network.waiting) == 4
    network.answer()
    network.advance(0)
    assert network.server.resumes == []
    network.waiting.reverse()
    network.answer()
    network.advance(0)
    assert is_connected(connection)
    link = network.server.only.pump.link
    while network.waiting:
        network.answer()
    network.advance(1)
    assert len(network.server.resumes) == 1
    assert network.server.only.pump.link is link
    assert is_connected(connection)


def test_answer_that_does_not_come(network: Network) -> None:
    """M-02: the server has taken the session over, and its answer is lost: the next attempt gets it back."""
    connection = patient(network)
    job = connection.start("cat")
    network.advance()
    network.server.on_resume = lambda _: None
    network.cut()
    network.advance(1)
    assert not is_connected(connection)
    assert network.server.only.pump.link is not None
    network.server.on_resume = lambda payload: payload
    network.advance(RESUME_SECONDS)
    assert is_connected(connection)
    assert [claim.attempt for claim in network.server.resumes] == [1, 2]
    network.server.only.opened(job.channel)
    network.server.only.say(b"there", job.channel)
    network.advance()
    assert job.stdout.read().called


def test_cut_within_the_exchange(network: Network) -> None:
    """M-02: a connection that is cut while the session is being resumed is one more failure, and no end."""
    connection = patient(network)
    network.carries = False
    network.cut()
    network.advance(0.1)
    network.cut()
    network.advance(0.1)
    network.cut()
    assert not is_connected(connection)
    network.carries = True
    network.advance(1)
    assert is_connected(connection)


def test_another_server_answers_for_a_while(network: Network) -> None:
    """A server that answers in plain text, as in a hotel, is no reason to give up."""
    connection = patient(network)
    network.talks_plainly = True
    network.cut()
    network.advance(5)
    assert (is_connected(connection), connection.lost) == (False, None)
    network.talks_plainly = False
    network.advance(11)
    assert is_connected(connection)


def test_endpoint_that_connects_twice(network: Network) -> None:
    """An endpoint that tries several addresses may reach the server over two of them: one connection is looked at."""
    connection = patient(network)
    network.holds_dials = True
    network.cut()
    network.advance(1)
    network.waiting *= 2
    network.answer()
    network.answer()
    network.holds_dials = False
    network.advance(1)
    assert [claim.attempt for claim in network.server.resumes] == [1]
    assert is_connected(connection)
    assert connection.lost is None


def test_closing_from_within(network: Network) -> None:
    """A connection that is closed in the very moment of the resume is closed."""
    connection = patient(network)
    job = connection.start("cat")
    network.advance()
    network.server.only.opened(job.channel)
    network.is_up = False
    network.cut()
    job.stdin.write(b"x").addCallback(lambda _: connection.close())
    network.is_up = True
    network.advance(60)
    assert connection.loss is LossReason.CLOSED
    assert len(network.server.resumes) == 1
    assert isinstance(network.server.only.events[-1], SessionClosed)
    network.cut()
    network.advance(60)
    assert network.clock.getDelayedCalls() == []


def between_dials(network: Network) -> None:
    """Wait for the next dial."""
    network.is_up = False
    network.cut()
    network.advance(1)


def dialling(network: Network) -> None:
    """Wait for a dial to be answered."""
    network.holds_dials = True
    network.cut()
    network.advance(1)


def in_the_handshake(network: Network) -> None:
    """Wait for TLS."""
    network.carries = False
    network.cut()
    network.clock.advance(0)
    network.clock.advance(0)


def in_the_exchange(network: Network) -> None:
    """Wait for the answer to RESUME."""
    network.server.on_resume = lambda _: None
    network.cut()
    network.advance(1)
    assert network.server.resumes


@pytest.mark.parametrize("stage", [between_dials, dialling, in_the_handshake, in_the_exchange])
def test_closing_at_each_stage(network: Network, stage: Callable[[Network], None]) -> None:
    """Wherever the search is, closing ends it at once: no dial follows, nothing is sent, and no call is left."""
    connection = patient(network)
    stage(network)
    assert not is_connected(connection)
    dials, resumes = len(network.dialled_at), len(network.server.resumes)
    assert connection.close().called
    network.holds_dials, network.is_up, network.carries = False, True, True
    while network.waiting:
        network.answer()
    network.advance(60)
    assert connection.loss is LossReason.CLOSED
    assert (len(network.dialled_at), len(network.server.resumes)) == (dials, resumes)
    assert network.clock.getDelayedCalls() == []


def test_time_is_up_at_the_same_moment_everywhere(network: Network) -> None:
    """Patience does not depend on the seconds between two looks at the clock."""
    assert TICK_SECONDS > 0.2
    connection = network.log_in()
    network.is_up = False
    network.cut()
    network.advance(59.9)
    assert connection.lost is None
    network.advance(0.2)
    assert connection.loss is LossReason.TIME
