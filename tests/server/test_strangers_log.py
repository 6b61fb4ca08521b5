"""The log lines that strangers cause: they are bounded, and the log says when some are left out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent

from tests.link.wire import RawClient, Wire, frame
from tests.server.rig import Rig
from twisted_rsh.limited_log import LINES_A_MINUTE, RateLimitedLog
from twisted_rsh.link.tls import BUSY_ALERT, REFUSED_ALERT


def lines(logged: list[LogEvent]) -> list[str]:
    """Return our own lines since the last call."""
    texts = [formatEvent(event) for event in logged if "twisted_rsh" in str(event["log_namespace"])]
    logged.clear()
    return texts


def test_the_bound(logged: list[LogEvent]) -> None:
    """R-15: a minute has sixty lines; the log announces that more are left out, and counts them in the next minute."""
    clock = Clock()
    limit = RateLimitedLog(Logger("twisted_rsh.test"), clock.seconds)
    for number in range(LINES_A_MINUTE):
        limit.info("line {number}", number=number)
    assert lines(logged) == [f"line {number}" for number in range(LINES_A_MINUTE)]
    clock.advance(20)
    limit.info("line {number}", number=0)
    assert lines(logged) == ["more lines like the last are left out for 40 s"]
    for _ in range(100_000):
        limit.info("line {number}", number=0)
    assert lines(logged) == []
    clock.advance(40)
    limit.info("line {number}", number=1)
    assert lines(logged) == ["100001 lines like the next were left out", "line 1"]
    for _ in range(LINES_A_MINUTE):
        limit.info("line {number}", number=2)
    assert lines(logged)[-1] == "more lines like the last are left out for 60 s"


def test_quiet_minutes(logged: list[LogEvent]) -> None:
    """A minute with room announces nothing, and a clock that is set back begins a new minute."""
    clock = Clock()
    limit = RateLimitedLog(Logger("twisted_rsh.test"), clock.seconds, lines=1)
    limit.info("a")
    clock.advance(60)
    limit.info("b")
    clock.rightNow = -10.0
    limit.info("c")
    assert lines(logged) == ["a", "b", "c"]


def a_protocol_error(rig: Rig) -> None:
    """Send, in the clear, what no client sends."""
    wire = Wire(rig.clock)
    link = rig.factory.new_link(None)
    wire.connect(link)
    link.dataReceived(frame(b"\x00"))
    rig.clock.advance(0)


def a_wrong_key(rig: Rig) -> None:
    """Try to log in, three times."""
    client = rig.connect()
    for _ in range(3):
        client.send(frame(client.auth(rig.pin, which=1)))
    client.wire.lose()


def one_too_many(rig: Rig) -> None:
    """Connect to a server that is full."""
    assert rig.answer_at_once() == BUSY_ALERT


def another_source(rig: Rig) -> None:
    """Misbehave at one more address."""
    number = len(rig.factory.strangers.penalties)
    wire = Wire(rig.clock)
    link = rig.factory.new_link(f"192.0.{number // 250}.{number % 250 + 1}")
    wire.connect(link)
    link.dataReceived(frame(b"\x00"))
    rig.clock.advance(0)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("act", "times", "kinds"),
    [(a_protocol_error, 100_000, 1), (a_wrong_key, 100, 1), (one_too_many, 100_000, 1), (another_source, 10_000, 2)],
)
def test_floods(act: Callable[[Rig], None], times: int, kinds: int, logged: list[LogEvent]) -> None:
    """R-15: 10^5 protocol errors, or any other act of a stranger, write a bounded number of lines."""
    rig = Rig(max_unauthenticated=1)
    if act is one_too_many:
        RawClient(rig.clock, rig.protocol())
    for _ in range(times):
        act(rig)
    assert len(lines(logged)) <= kinds * (LINES_A_MINUTE + 1)
    assert rig.waiting <= 1


def test_one_line_for_each_source(rig: Rig, logged: list[LogEvent]) -> None:
    """R-15: the log names a refused source once, and its further connections write nothing."""
    rig.connect("192.0.2.7").send(frame(b"\x00"))
    texts = lines(logged)
    assert sum("is refused for 30 s: protocol error" in text for text in texts) == 1
    for _ in range(1000):
        assert rig.answer_at_once(IPv4Address("TCP", "192.0.2.7", 1)) == REFUSED_ALERT
    assert lines(logged) == []
