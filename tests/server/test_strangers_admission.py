"""The admission of connections while others have not logged in."""

from __future__ import annotations

import random

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import frame
from tests.server.rig import Lucky, Rig, Unlucky
from twisted_rsh.server.strangers import (
    DROP_RATE,
    DROP_START,
    MAX_UNAUTHENTICATED,
    MAX_UNAUTHENTICATED_PER_SOURCE,
    Admission,
)


class Drawn(random.Random):
    """Draws the test's number."""

    number = 0.0

    def random(self) -> float:
        """Draw."""
        return self.number


def test_below_the_start_everybody_is_let_in() -> None:
    """R-03: the first ten are let in whatever is drawn; the eleventh is not, if the draw is low."""
    admission = Admission(Unlucky())
    assert [admission.admit() for _ in range(DROP_START + 1)] == [True] * DROP_START + [False]
    assert admission.count == DROP_START


def test_the_operators_start() -> None:
    """R-03: with another start so many are let in whatever is drawn, and the share grows from there to the maximum."""
    admission = Admission(Unlucky(), drop_start=3)
    assert [admission.admit() for _ in range(4)] == [True] * 3 + [False]
    drawn = Drawn()
    admission = Admission(drawn, 23, drop_start=3)
    admission.count = 13
    drawn.number = (DROP_RATE + 1) / 2 + 0.001
    assert admission.admit()
    admission.leave()
    drawn.number -= 0.002
    assert not admission.admit()


def test_at_the_maximum_nobody_is() -> None:
    """R-03: with the highest draws a hundred are let in, and one more only when one leaves."""
    admission = Admission(Lucky())
    assert [admission.admit() for _ in range(MAX_UNAUTHENTICATED + 1)] == [True] * MAX_UNAUTHENTICATED + [False]
    admission.leave()
    assert admission.admit()
    assert not admission.admit()


def test_the_share_grows() -> None:
    """R-03: 10:30:100: at ten 30 % are turned away, at 55 the mean of that and all, always by the same rule."""
    drawn = Drawn()
    admission = Admission(drawn)
    shares = {}
    for count in range(MAX_UNAUTHENTICATED):
        admission.count = count
        share = 0.0
        for percent in range(101):
            drawn.number = percent / 100
            if admission.admit():
                share = percent / 100
                break
            share = 1.0
        shares[count] = share
        admission.count = count
    assert shares[DROP_START - 1] == 0.0
    assert shares[DROP_START] == pytest.approx(DROP_RATE, abs=0.01)
    assert shares[55] == pytest.approx((DROP_RATE + 1) / 2, abs=0.01)
    assert list(shares.values()) == sorted(shares.values())
    assert shares[MAX_UNAUTHENTICATED - 1] > 0.98


def test_statistics() -> None:
    """R-03: at ten, about 30 of 100 are turned away."""
    admission = Admission(random.Random(1))
    admission.count = DROP_START
    refused = 0
    for _ in range(10_000):
        if admission.admit():
            admission.leave()
        else:
            refused += 1
    assert 2800 < refused < 3200


def test_a_small_maximum() -> None:
    """A maximum at or below the start has no random part."""
    admission = Admission(Unlucky(), DROP_START)
    assert [admission.admit() for _ in range(DROP_START + 1)] == [True] * DROP_START + [False]


def test_a_server_full_of_strangers(logged: list[LogEvent]) -> None:
    """R-01: at the maximum a connection is turned away; one that logs in or leaves makes room for another."""
    rig = Rig(max_unauthenticated=2)
    address = IPv4Address("TCP", "192.0.2.7", 1)
    one, other = rig.connect(), rig.connect()
    assert rig.factory.buildProtocol(address) is None
    line = formatEvent(logged[-1])
    assert "turned away: 2 have not logged in (--max-unauthenticated" in line
    other.wire.lose()
    assert rig.waiting == 1
    rig.log_in()
    assert rig.waiting == 1
    rig.connect()
    assert rig.factory.buildProtocol(address) is None
    rig.clock.advance(60)
    one.exchange()
    assert rig.waiting == 0


def test_one_source() -> None:
    """R-01: a source may have ten, and one more only when one leaves; others and this machine do not count."""
    admission = Admission(Lucky())
    admitted = [admission.admit("a") for _ in range(MAX_UNAUTHENTICATED_PER_SOURCE + 1)]
    assert admitted == [True] * MAX_UNAUTHENTICATED_PER_SOURCE + [False]
    assert admission.count == MAX_UNAUTHENTICATED_PER_SOURCE
    assert admission.admit("b")
    assert all(admission.admit() for _ in range(2 * MAX_UNAUTHENTICATED_PER_SOURCE))
    admission.leave("a")
    assert admission.admit("a")
    assert not admission.admit("a")


def test_a_source_that_has_left_is_forgotten() -> None:
    """A source without a connection takes no memory."""
    admission = Admission(Lucky())
    for number in range(1000):
        assert admission.admit(str(number))
        admission.leave(str(number))
    assert (admission.count, len(admission._sources)) == (0, 0)


def test_one_source_at_a_server() -> None:
    """R-01: strangers at one address keep no other address out; a login or an end makes room."""
    rig = Rig(max_unauthenticated_per_source=2)
    one, other = rig.connect("192.0.2.7"), rig.connect("192.0.2.7")
    assert rig.factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)) is None
    rig.connect("192.0.2.8")
    rig.connect("127.0.0.1")
    one.send(frame(one.auth(rig.pin)))
    assert rig.connect("192.0.2.7") is not None
    assert rig.factory.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)) is None
    other.wire.lose()
    assert rig.connect("192.0.2.7") is not None
