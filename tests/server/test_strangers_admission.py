"""The admission of connections while others have not logged in."""

from __future__ import annotations

import random

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import Wire, frame
from tests.server.rig import Lucky, Rig, Unlucky
from twisted_rsh.link.tls import BUSY_ALERT, REFUSED_ALERT
from twisted_rsh.server.admission import (
    DROP_RATE,
    DROP_START,
    MAX_UNAUTHENTICATED,
    MAX_UNAUTHENTICATED_PER_SOURCE,
    Admission,
)
from twisted_rsh.server.sources import OWN_USER, UNKNOWN_USER


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
    drawn.number = 1.0
    admission = Admission(drawn, 23, drop_start=3)
    assert all(admission.admit() for _ in range(13))
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
        admission._strangers.count = count
        share = 0.0
        for percent in range(101):
            drawn.number = percent / 100
            if admission.admit():
                share = percent / 100
                break
            share = 1.0
        shares[count] = share
        admission._strangers.count = count
    assert shares[DROP_START - 1] == 0.0
    assert shares[DROP_START] == pytest.approx(DROP_RATE, abs=0.01)
    assert shares[55] == pytest.approx((DROP_RATE + 1) / 2, abs=0.01)
    assert list(shares.values()) == sorted(shares.values())
    assert shares[MAX_UNAUTHENTICATED - 1] > 0.98


def test_statistics() -> None:
    """R-03: at ten, about 30 of 100 are turned away."""
    admission = Admission(random.Random(1))
    admission._strangers.count = DROP_START
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
    assert rig.answer_at_once(address) == BUSY_ALERT
    line = formatEvent(logged[-1])
    assert "turned away: 2 have not logged in (--max-unauthenticated" in line
    other.wire.lose()
    assert rig.waiting == 1
    rig.log_in()
    assert rig.waiting == 1
    rig.connect()
    assert rig.answer_at_once(address) == BUSY_ALERT
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
    assert rig.answer_at_once(IPv4Address("TCP", "192.0.2.7", 1)) == BUSY_ALERT
    rig.connect("192.0.2.8")
    rig.connect("127.0.0.1")
    one.send(frame(one.auth(rig.pin)))
    assert rig.connect("192.0.2.7") is not None
    assert rig.answer_at_once(IPv4Address("TCP", "192.0.2.7", 1)) == BUSY_ALERT
    other.wire.lose()
    assert rig.connect("192.0.2.7") is not None


def test_one_sources_random_part() -> None:
    """R-03: of one source some are turned away from half of its number on, so that its silent ones leave room."""
    admission = Admission(Unlucky())
    admitted = [admission.admit("a") for _ in range(MAX_UNAUTHENTICATED_PER_SOURCE)]
    assert admitted == [True] * 5 + [False] * 5
    assert admission.admit("b")


def test_a_random_part_of_a_source() -> None:
    """R-03: it grows from 30 % to all, as that of all strangers does."""
    shares = []
    for count in range(MAX_UNAUTHENTICATED_PER_SOURCE):
        admission = Admission(random.Random(1))
        refused = 0
        for _ in range(2000):
            admission._sources["a"] = type(admission._own)(MAX_UNAUTHENTICATED_PER_SOURCE, 5, count)
            refused += not admission.admit("a")
            admission._strangers.count = 0
        shares.append(refused / 2000)
    assert shares == pytest.approx([0, 0, 0, 0, 0, 0.3, 0.44, 0.58, 0.72, 0.86], abs=0.04)


def test_a_small_number_of_a_source() -> None:
    """R-03: a number below ten has no random part."""
    admission = Admission(Unlucky(), per_source=DROP_START - 1)
    assert [admission.admit("a") for _ in range(DROP_START)] == [True] * (DROP_START - 1) + [False]


def test_the_servers_own_user_has_room_of_its_own() -> None:
    """R-01: strangers that fill all of their room take nothing of the own user's, and the other way round."""
    admission = Admission(Lucky())
    while admission.admit():
        pass
    assert [admission.admit(OWN_USER) for _ in range(MAX_UNAUTHENTICATED + 1)] == [True] * MAX_UNAUTHENTICATED + [False]
    admission.leave()
    assert admission.admit("a")
    assert not admission.admit("a")
    admission.leave(OWN_USER)
    assert admission.admit(OWN_USER)
    assert admission.count == 2 * MAX_UNAUTHENTICATED


def test_the_own_users_random_part() -> None:
    """R-03: of the own user some are turned away from half on: 54 programs that start at once nearly all get in."""
    admission = Admission(Unlucky())
    admitted = [admission.admit(OWN_USER) for _ in range(MAX_UNAUTHENTICATED)]
    assert admitted.count(True) == MAX_UNAUTHENTICATED // 2
    for _ in range(MAX_UNAUTHENTICATED // 2):
        admission.leave(OWN_USER)
    assert admission.count == 0


@pytest.mark.parametrize(("source", "is_refused"), [("uid 4321", True), (UNKNOWN_USER, False), (OWN_USER, False)])
def test_users_of_this_machine(
    source: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch, logged: list[LogEvent]
) -> None:
    """R-08: another user has penalties like another machine; the own user and users that are not known have none."""
    rig = Rig(max_unauthenticated_per_source=2)
    monkeypatch.setattr("twisted_rsh.server.factory.source_of", lambda *_: source)
    one, other = rig.connect(), rig.connect()
    if source != OWN_USER:
        assert rig.answer_at_once() == BUSY_ALERT
        assert f"a connection from {source} was turned away" in formatEvent(logged[-1])
    assert rig.waiting == 2
    for client in (one, other):
        client.send(frame(b"\0"))
    assert rig.waiting == 0
    assert rig.answer_at_once() == (REFUSED_ALERT if is_refused else None)
    assert len(rig.factory.strangers.penalties) == is_refused
    assert any(f"{source} is refused for" in formatEvent(event) for event in logged) == is_refused


def test_a_session_of_another_user(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-08: another user with an authorized key is let off like a machine with a session, and its login makes room."""
    monkeypatch.setattr("twisted_rsh.server.factory.source_of", lambda *_: "uid 4321")
    rig.log_in()
    assert rig.waiting == 0
    for _ in range(20):
        rig.connect().wire.lose()
    assert len(rig.factory.strangers.penalties) == 0


def test_what_is_turned_away_leaves_nothing(rig: Rig) -> None:
    """R-02: of a connection that is turned away nothing is read, and no link is made."""
    rig.factory.strangers.admission._strangers.count = MAX_UNAUTHENTICATED
    wire = Wire(rig.clock)
    protocol = rig.factory.buildProtocol(None)
    wire.connect(protocol)
    assert (wire.take(), wire.disconnecting) == (BUSY_ALERT, True)
    protocol.dataReceived(b"anything")
    rig.clock.advance(100)
    assert (wire.is_lost, rig.links, rig.clock.getDelayedCalls()) == (True, set(), [])
