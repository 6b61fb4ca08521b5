"""Penalties: a source that misbehaves before it logs in is refused for a while; this machine never is."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import RawClient, frame
from tests.server.rig import Rig
from twisted_rsh.core.codec import encode
from twisted_rsh.core.limits import MAX_AUTH_ATTEMPTS
from twisted_rsh.core.messages import Ping
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.link.tls import REFUSED_ALERT
from twisted_rsh.server.sources import address_source
from twisted_rsh.server.strangers import (
    MAX_PENALTY_SECONDS,
    MAX_SOURCES,
    MIN_PENALTY_SECONDS,
    Offence,
    Penalties,
)

AWAY = "192.0.2.7"
"""Another machine."""


def clients_address(host: str) -> IAddress:
    """Return the address of a client."""
    kind: Any = IPv6Address if ":" in host else IPv4Address
    address: IAddress = kind("TCP", host, 50000)
    return address


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", None),
        ("127.8.9.10", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("", None),
        ("somewhere", None),
    ],
)
def test_sources(host: str, source: str | None) -> None:
    """An IPv4 address is a source, and so is an IPv6 network; this machine is none."""
    assert address_source(clients_address(host)) == source


@pytest.mark.parametrize("address", [None, UNIXAddress("/run/socket")])
def test_what_is_not_ip_has_no_source(address: IAddress | None) -> None:
    """A connection that is not over IP has no source."""
    assert address_source(address) is None


def test_the_minimum() -> None:
    """R-08: below 15 s a source is let in; from there on it is refused until its penalty is over."""
    clock = Clock()
    penalties = Penalties(clock)
    assert penalties.add(AWAY, Offence.DEADLINE) is None
    for _ in range(4):
        assert penalties.add(AWAY, Offence.NO_LOGIN) is None
    assert not penalties.refuses(AWAY)
    assert penalties.add(AWAY, Offence.NO_LOGIN) == MIN_PENALTY_SECONDS
    assert penalties.refuses(AWAY)
    clock.advance(MIN_PENALTY_SECONDS - 0.01)
    assert penalties.refuses(AWAY)
    clock.advance(0.01)
    assert not penalties.refuses(AWAY)


def test_one_second_less_than_the_minimum() -> None:
    """R-08: the part of a penalty that is over at the next offence does not count."""
    clock = Clock()
    penalties = Penalties(clock)
    for _ in range(2):
        assert penalties.add(AWAY, Offence.LOGIN_REFUSED) is None
    clock.advance(0.1)
    assert penalties.add(AWAY, Offence.LOGIN_REFUSED) is None
    assert not penalties.refuses(AWAY)


def test_the_maximum() -> None:
    """R-08: after ten minutes without an offence a source is free, however many it had."""
    clock = Clock()
    penalties = Penalties(clock)
    for _ in range(19):
        penalties.add(AWAY, Offence.PROTOCOL_ERROR)
    clock.advance(19 * 30 - 0.125)
    assert penalties.refuses(AWAY)
    for _ in range(100):
        assert penalties.add(AWAY, Offence.PROTOCOL_ERROR) is None, "it began long ago"
    clock.advance(MAX_PENALTY_SECONDS - 0.125)
    assert penalties.refuses(AWAY)
    clock.advance(0.125)
    assert not penalties.refuses(AWAY)
    assert penalties.add(AWAY, Offence.PROTOCOL_ERROR) == 30.0, "it begins anew"


def test_the_offences() -> None:
    """R-08: each offence has its seconds."""
    assert {offence.value: offence.seconds for offence in Offence} == {
        "login refused": 5.0,
        "resume refused": 5.0,
        "no login": 1.0,
        "deadline passed": 10.0,
        "protocol error": 30.0,
    }


def test_no_source_no_penalty() -> None:
    """R-08: this machine, whose users share an address, has no penalty."""
    penalties = Penalties(Clock())
    for _ in range(100):
        assert penalties.add(None, Offence.PROTOCOL_ERROR) is None
    assert not penalties.refuses(None)
    assert len(penalties) == 0


def test_the_number_of_sources() -> None:
    """R-08: 65,536 sources are remembered; one more replaces the source that is free soonest."""
    clock = Clock()
    penalties = Penalties(clock)
    penalties.add("cheap", Offence.NO_LOGIN)
    for number in range(MAX_SOURCES - 1):
        penalties.add(str(number), Offence.PROTOCOL_ERROR)
    assert len(penalties) == MAX_SOURCES
    penalties.add("0", Offence.PROTOCOL_ERROR)
    assert "cheap" in penalties._sources
    penalties.add("one more", Offence.PROTOCOL_ERROR)
    assert len(penalties) == MAX_SOURCES
    assert "cheap" not in penalties._sources
    assert all(penalties.refuses(name) for name in ("0", "1", str(MAX_SOURCES - 2), "one more"))
    penalties.add("and one", Offence.NO_LOGIN)
    assert "1" not in penalties._sources, "of equals, the oldest"
    assert penalties.refuses("0")


@pytest.mark.exhaustive
def test_a_million_sources() -> None:
    """R-08: 10^6 of them leave no more than 65,536 behind, and ten minutes later the next offence forgets them all."""
    clock = Clock()
    penalties = Penalties(clock)
    for number in range(1_000_000):
        penalties.add(f"s{number}", Offence.PROTOCOL_ERROR)
    assert len(penalties) == MAX_SOURCES
    assert sum(map(len, penalties._ending.values())) == MAX_SOURCES
    clock.advance(MAX_PENALTY_SECONDS + 1)
    penalties.add(AWAY, Offence.NO_LOGIN)
    assert len(penalties) == 1


def test_a_clock_that_is_set_back() -> None:
    """O-12: a penalty does not become longer than the longest."""
    clock = Clock()
    clock.advance(10_000)
    penalties = Penalties(clock)
    penalties.add(AWAY, Offence.PROTOCOL_ERROR)
    clock.rightNow = 0.0
    penalties.add(AWAY, Offence.PROTOCOL_ERROR)
    clock.advance(MAX_PENALTY_SECONDS)
    assert not penalties.refuses(AWAY)


# What a server counts.


def is_let_in(rig: Rig, host: str = AWAY) -> bool:
    """Tell whether a connection from an address would be let in now, and leave no connection behind."""
    answer = rig.answer_at_once(clients_address(host))
    assert answer in (None, REFUSED_ALERT)
    return answer is None


def seconds_of(rig: Rig, host: str = AWAY) -> float:
    """Return the seconds of an address's penalty."""
    penalties = rig.factory.strangers.penalties
    penalty = penalties._sources.get(address_source(clients_address(host)) or "")
    return 0.0 if penalty is None else penalties._left(penalty)


def fail_to_log_in(rig: Rig, client: RawClient) -> None:
    """Log in with a key that is not allowed in."""
    client.send(frame(client.auth(rig.pin, which=1)))


def test_three_failures_and_the_fourth_connection(rig: Rig, logged: list[LogEvent]) -> None:
    """A-11: after three refused logins the server refuses the source, before TLS, until its penalty is over."""
    client = rig.connect(AWAY)
    for attempt in range(MAX_AUTH_ATTEMPTS):
        assert seconds_of(rig) == 5.0 * attempt
        fail_to_log_in(rig, client)
    assert not is_let_in(rig)
    assert is_let_in(rig, "192.0.2.8")
    assert is_let_in(rig, "127.0.0.1")
    rig.clock.advance(MIN_PENALTY_SECONDS - 0.1)
    assert not is_let_in(rig)
    rig.clock.advance(0.1)
    assert is_let_in(rig)
    lines = [formatEvent(event) for event in logged if "is refused for" in (event["log_format"] or "")]
    assert lines == [f"{AWAY} is refused for 15 s: login refused (--no-penalties)"]


def test_failures_on_several_connections(rig: Rig) -> None:
    """A-11: three connections with one failure each are three failures, and a network of IPv6 is one source."""
    for last in range(3):
        host = f"2001:db8::{last}"
        client = RawClient(rig.clock, rig.factory.buildProtocol(clients_address(host)))
        client.send(frame(client.auth(rig.pin, exporter=bytes(32))))
    assert not is_let_in(rig, "2001:db8::ffff")
    assert is_let_in(rig, "2001:db8:0:1::")


def test_this_machine_is_never_refused(rig: Rig) -> None:
    """R-08: failures from a loopback address, which all users share, have no penalty."""
    for _ in range(10):
        client = rig.connect("127.0.0.1")
        for _ in range(MAX_AUTH_ATTEMPTS):
            fail_to_log_in(rig, client)
        client.wire.lose()  # from ten waiting connections on, chance decides who is let in
    assert is_let_in(rig, "127.0.0.1")
    assert len(rig.factory.strangers.penalties) == 0


def test_a_session_goes_on(rig: Rig) -> None:
    """A logged-in client keeps its session while others at the same address misbehave."""
    client = rig.connect(AWAY)
    client.send(frame(client.auth(rig.pin)))
    client.frames()
    rig.connect(AWAY).send(frame(b"\x00"))
    assert not is_let_in(rig)
    client.say(Ping(3))
    assert len(client.heard()) == 1


def test_a_port_scan(rig: Rig) -> None:
    """R-08: a connection that ends without a login costs a second, with a handshake or without."""
    for number in range(14):
        client = rig.connect(AWAY, alpn=[b"h2"] if number % 2 else [b"twisted-rsh/1"])
        client.wire.lose()
        assert seconds_of(rig) == number + 1
    assert is_let_in(rig)
    rig.connect(AWAY).wire.lose()
    assert not is_let_in(rig)


def test_clients_on_a_bad_network(rig: Rig) -> None:
    """R-08: at an address with a session, a connection that ends before a login costs nothing; other offences do."""
    client = rig.connect(AWAY)
    client.send(frame(client.auth(rig.pin)))
    client.frames()
    (session,) = rig.sessions
    assert session.source == AWAY
    client.wire.lose()
    for _ in range(20):
        rig.connect(AWAY).wire.lose()
    assert seconds_of(rig) == 0
    rig.connect(AWAY).send(frame(b"\x00"))
    assert seconds_of(rig) == Offence.PROTOCOL_ERROR.seconds


def test_the_deadline(rig: Rig) -> None:
    """R-08: a login that is not complete at its deadline costs ten seconds."""
    client = rig.connect(AWAY)
    rig.clock.advance(LOGIN_SECONDS)
    assert client.wire.aborted()
    assert seconds_of(rig) == 10.0
    rig.protocol(AWAY).makeConnection(client.wire)
    rig.clock.advance(10)
    assert seconds_of(rig) == 10.0, "and so does that of the handshake"


def test_a_protocol_error(rig: Rig) -> None:
    """R-08, S-14: a message that no client sends before a login costs half a minute, and gets no answer."""
    client = rig.connect(AWAY)
    client.send(frame(encode(Ping(0))) * 10_000)
    assert client.wire.aborted()
    assert client.frames() == []
    assert seconds_of(rig) == 30.0
    assert not is_let_in(rig)


def test_too_many_bytes(rig: Rig) -> None:
    """R-09: 64 KiB before the login are a protocol error."""
    client = rig.connect(AWAY)
    client.send(frame(bytes(4000)), record=1)
    assert client.wire.aborted()
    assert seconds_of(rig) == 30.0


def test_a_login_costs_nothing(rig: Rig) -> None:
    """A failure before a success costs its own seconds, and a breach after the login costs none."""
    client = rig.connect(AWAY)
    fail_to_log_in(rig, client)
    client.send(frame(client.auth(rig.pin)))
    client.send(frame(b"\x00"))
    assert client.wire.aborted()
    assert seconds_of(rig) == 5.0


def test_what_is_the_servers_own_fault(rig: Rig) -> None:
    """A checker that breaks or never answers, a bound on sessions, and a server that stops cost the client nothing."""
    rig.checker.answer = lambda: fail(OSError("no data base"))
    client = rig.connect(AWAY)
    client.send(frame(client.auth(rig.pin)))
    client.wire.lose()
    assert seconds_of(rig) == 0.0
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect(AWAY)
    client.send(frame(client.auth(rig.pin)))
    rig.clock.advance(LOGIN_SECONDS)
    assert client.wire.aborted()
    assert seconds_of(rig) == 0.0
    rig.connect(AWAY)
    rig.factory.go_away("bye")
    rig.clock.advance(5)
    assert seconds_of(rig) == 0.0


def test_a_refusal_by_the_realm(rig: Rig) -> None:
    """A refusal by the realm costs as much as one by the checker."""
    rig.realm.avatar = lambda: fail(UnauthorizedLogin())
    client = rig.connect(AWAY)
    client.send(frame(client.auth(rig.pin)))
    assert seconds_of(rig) == 5.0


def test_without_penalties() -> None:
    """An operator can turn penalties off."""
    rig = Rig(penalties=False)
    for _ in range(3):
        rig.connect(AWAY).send(frame(b"\x00"))
    assert is_let_in(rig)
