"""The log lines that strangers cause: they are bounded, and the log says when some are left out."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import fail
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.link.wire import ALICE, RawClient, Wire, frame
from tests.server.resuming import Resumer
from tests.server.rig import Rig
from twisted_rsh.core.codec import encode
from twisted_rsh.core.messages import Ping, Positions
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.resuming import ClientProof
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser
from twisted_rsh.limited_log import LINES_A_MINUTE, TRACEBACKS_A_MINUTE, RateLimitedLog
from twisted_rsh.link.tls import ALPN, BUSY_ALERT, REFUSED_ALERT
from twisted_rsh.trust.authorized_keys import MAX_AUTHORIZED_KEYS_BYTES
from twisted_rsh.trust.cred import AuthorizedKeysChecker, VerifiedKey
from twisted_rsh.trust.files import ensure_private_folder
from twisted_rsh.trust.home import ConfigFolders


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
    assert rig.factory.strangers.admit(None) is None
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
    rig.clock.advance(0)


def another_source(rig: Rig) -> None:
    """Misbehave at one more address."""
    number = len(rig.factory.strangers.penalties)
    wire = Wire(rig.clock)
    source = f"192.0.{number // 250}.{number % 250 + 1}"
    assert rig.factory.strangers.admit(source) is None
    link = rig.factory.new_link(source)
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
    assert 0 <= rig.waiting <= 1


def test_one_line_for_each_source(rig: Rig, logged: list[LogEvent]) -> None:
    """R-15: the log names a refused source once, and its further connections write nothing."""
    rig.connect("192.0.2.7").send(frame(b"\x00"))
    texts = lines(logged)
    assert sum("is refused for 30 s: protocol error" in text for text in texts) == 1
    for _ in range(1000):
        assert rig.answer_at_once(IPv4Address("TCP", "192.0.2.7", 1)) == REFUSED_ALERT
    assert lines(logged) == []


# A storm of each kind of stranger.  Every event counts, whoever logs it.

STORM = 300
"""Connections of a storm; a few more than the bound of its lines where each costs a handshake."""

MAX_KINDS = 3
"""Kinds of lines that one kind of stranger causes at most, such as an ignored file, a refused login, an aborted link.
"""


def greeting() -> bytes:
    """Return the first bytes of a client."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_alpn_protos([ALPN])
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    return connection.bio_read(65536)


def say(*pieces: bytes) -> Callable[[Rig], None]:
    """Make a stranger that says something and is lost."""

    def act(rig: Rig) -> None:
        wire = Wire(rig.clock)
        wire.connect(rig.protocol())
        for piece in pieces:
            wire.protocol.dataReceived(piece)  # type: ignore[union-attr]  # it has one now
        rig.clock.advance(0)
        wire.lose()

    return act


def go_silent(*pieces: bytes) -> Callable[[Rig], None]:
    """Make a stranger that says something and stays until its deadline."""

    def act(rig: Rig) -> None:
        wire = Wire(rig.clock)
        wire.connect(rig.protocol())
        for piece in pieces:
            wire.protocol.dataReceived(piece)  # type: ignore[union-attr]  # it has one now
        (link,) = rig.links
        link._deadline_reached("no handshake in time")  # at once: six of them would be another minute
        rig.clock.advance(0)

    return act


def handshake(**how: Any) -> Callable[[Rig], None]:
    """Make a stranger that does a handshake in its own way."""
    return lambda rig: rig.connect(**how).wire.lose()


def log_in_with(which: int) -> Callable[[Rig], None]:
    """Make a stranger that logs in with a key."""

    def act(rig: Rig) -> None:
        client = rig.connect()
        client.send(frame(client.auth(rig.pin, which=which)))
        client.wire.lose()

    return act


def break_the_protocol(rig: Rig) -> None:
    """Send another message than AUTH."""
    rig.connect().send(frame(encode(Ping(0))))


def pipeline(rig: Rig) -> None:
    """Send something behind AUTH."""
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)) + frame(encode(Ping(0))))


def resume_nothing(rig: Rig) -> None:
    """Resume a session that there is not."""
    client = rig.connect()
    claim = ClientProof(bytes(16), bytes(32)).claim(client.binding(rig.pin), Positions(0))
    client.send(frame(encode(claim)))
    client.wire.lose()


def from_other_networks(rig: Rig) -> None:
    """Misbehave at another IPv6 network each time, from which the server then refuses all."""
    number = len(rig.factory.strangers.penalties)
    protocol = rig.factory.buildProtocol(IPv6Address("TCP", f"2001:db8:0:{number:x}::1", 1))
    client = RawClient(rig.clock, protocol)
    client.send(frame(encode(Ping(0))))
    for _ in range(3):
        assert rig.answer_at_once(IPv6Address("TCP", f"2001:db8:0:{number:x}::2", 1)) == REFUSED_ALERT


KINDS: dict[str, Callable[[Rig], None]] = {
    "says nothing": say(),
    "garbage": say(b"GET / HTTP/1.1\r\n\r\n"),
    "half a greeting": say(greeting()[:100]),
    "a greeting": say(greeting()),
    "silent": go_silent(),
    "silent within TLS": go_silent(greeting()),
    "TLS 1.2": handshake(maximum=SSL.TLS1_2_VERSION),
    "no ALPN": handshake(alpn=()),
    "another ALPN": handshake(alpn=[b"h2"]),
    "no login": handshake(),
    "wrong key": log_in_with(1),
    "another message": break_the_protocol,
    "pipelining": pipeline,
    "no such session": resume_nothing,
    "other networks": from_other_networks,
}

QUICK = ("says nothing", "garbage", "silent")
"""Kinds without the cost of a handshake."""


def assert_bounded(
    rig: Rig, act: Callable[[Rig], None], logged: list[LogEvent], storm: int = MAX_KINDS * (LINES_A_MINUTE + 1) + 10
) -> None:
    """Let a storm of strangers come within a minute, and check the number of lines."""
    logged.clear()
    began = rig.clock.seconds()
    for _ in range(storm):
        act(rig)
    assert rig.clock.seconds() < began + 60, "all within one minute"
    gc.collect()  # what nobody looks at is logged when it is collected
    assert storm > MAX_KINDS * (LINES_A_MINUTE + 1), "the storm is larger than the bound"
    assert len(logged) <= MAX_KINDS * (LINES_A_MINUTE + 1)
    tracebacks = [event for event in logged if event.get("log_failure") is not None]
    assert len(tracebacks) <= TRACEBACKS_A_MINUTE


@pytest.mark.parametrize(
    "kind",
    [
        name if name in ("says nothing", "garbage", "silent") else pytest.param(name, marks=[pytest.mark.exhaustive])
        for name in KINDS
    ],
)
def test_a_storm_of_strangers(rig: Rig, kind: str, logged: list[LogEvent]) -> None:
    """R-15: hundreds of strangers of each kind in a minute write a bounded number of lines, all loggers together."""
    assert_bounded(rig, KINDS[kind], logged, *([STORM] if kind in QUICK else []))
    assert rig.waiting == 0


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "a file that others can write": lambda path: path.chmod(0o666),
    "lines with options": lambda path: path.write_text("restrict ssh-ed25519 AAAA\n" * 3),
    "a link": lambda path: path.symlink_to(path.rename(path.with_name("other"))),
    "a file that is too large": lambda path: path.write_bytes(b"#" * (MAX_AUTHORIZED_KEYS_BYTES + 1)),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", UNUSABLE)
def test_a_storm_at_an_unusable_file(case: str, tmp_path: Path, logged: list[LogEvent]) -> None:
    """R-15: each login warns of a file of keys that cannot be used, and the lines are bounded all the same."""
    config = ConfigFolders.at(str(tmp_path))
    path = Path(config.authorized_keys_path)
    ensure_private_folder(str(path.parent))
    path.write_text("")
    UNUSABLE[case](path)
    rig = Rig()
    rig.factory.portal = Portal(rig.realm, [AuthorizedKeysChecker(config, ALICE)])
    assert_bounded(rig, log_in_with(1), logged)


def test_warnings_of_the_checker(tmp_path: Path, logged: list[LogEvent]) -> None:
    """R-15: the bound holds whatever is asked of the checker: more questions than that in no time."""
    config = ConfigFolders.at(str(tmp_path))
    path = Path(config.authorized_keys_path)
    ensure_private_folder(str(path.parent))
    path.write_text("restrict ssh-ed25519 AAAA\n")
    checker = AuthorizedKeysChecker(config, ALICE)
    for number in range(2 * LINES_A_MINUTE):
        path.write_text(f"restrict ssh-ed25519 AAAA {number}\n")  # so that it is read anew
        checker.requestAvatarId(VerifiedKey(ALICE, b"", "", "")).addErrback(lambda _: None)
    assert 1 <= len(logged) <= LINES_A_MINUTE + 1


BROKEN: dict[str, Callable[[], object]] = {
    "it raises": lambda: fail(RuntimeError("no data base")),
    "it returns nonsense": lambda: 1.5,
    "the user has no name": lambda: (IShellUser, Nameless(), lambda: None),
}


@implementer(IShellUser)
class Nameless:
    """An application's user whose name breaks."""

    encoding = "utf-8"

    @property
    def name(self) -> str:
        """Break."""
        raise RuntimeError("no name")

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """Start none."""
        raise NotImplementedError


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", BROKEN)
def test_a_storm_at_a_broken_portal(case: str, rig: Rig, logged: list[LogEvent]) -> None:
    """R-15: a realm that breaks at each login writes no more lines, and hardly any tracebacks."""
    rig.realm.avatar = BROKEN[case]
    assert_bounded(rig, log_in_with(0), logged)


@pytest.mark.exhaustive
def test_a_storm_of_resumes_at_a_broken_portal(rig: Rig, logged: list[LogEvent]) -> None:
    """R-15: so does a client with a session that resumes again and again while the portal breaks."""
    resumer = Resumer(rig)
    rig.checker.answer = lambda: fail(RuntimeError("no data base"))

    def act(rig: Rig) -> None:
        client = rig.connect()
        resumer.ask(client)
        client.wire.lose()

    assert_bounded(rig, act, logged)


def test_a_failure_that_is_not_shown_is_counted(logged: list[LogEvent]) -> None:
    """R-15: of tracebacks a minute has five, and the next minute says how many were left out."""
    clock = Clock()
    limit = RateLimitedLog(Logger("twisted_rsh.test"), clock.seconds, TRACEBACKS_A_MINUTE)
    for _ in range(TRACEBACKS_A_MINUTE + 7):
        limit.failure("broke", Failure(RuntimeError()))
    assert lines(logged) == ["broke"] * TRACEBACKS_A_MINUTE + ["more lines like the last are left out for 60 s"]
    clock.advance(60)
    limit.failure("broke", Failure(RuntimeError()))
    assert lines(logged) == ["7 lines like the next were left out", "broke"]
