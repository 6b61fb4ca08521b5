"""Frames on a link: their bounds, what follows a fatal one, and frames that come in pieces or too slowly."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, ITransport
from twisted.logger import LogEvent
from zope.interface import implementer_only

from tests.link.recorder import BAD, Recorder, over_tls, plain
from tests.link.wire import LocalWire, RawClient, RawPeer, SocketWire, Wire, failures, frame, unframe
from tests.server.rig import NO_RESUME, Rig
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.limits import MAX_FRAME_BYTES, MAX_LOGIN_FRAME_BYTES
from twisted_rsh.core.local_handshake import ClientHello
from twisted_rsh.core.messages import Ack, AuthFail, AuthOk, Data, End, Exit, Open, Opened, Signal
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.link.framed_link import HANDSHAKE_SECONDS, LOGIN_SECONDS, FramedLink
from twisted_rsh.server.job import OPENED_HELD_SECONDS

TRANSPORTS = (Wire, SocketWire, LocalWire)
"""Each test runs over TLS, over a lane, and over a Unix socket."""


def padded(payload: bytes, size: int) -> bytes:
    """Make a JSON message of an exact size, with an unknown member."""
    head, tail = payload[:-1], b',"x":"'
    return head + tail + b"a" * (size - len(head) - len(tail) - 2) + b'"}'


@pytest.mark.parametrize("beyond", [0, 1])
def test_the_largest_frame_before_the_login(rig: Rig, beyond: int) -> None:
    """F-02: 4 KiB are taken, one byte more ends the link at its length, with nothing kept."""
    client = rig.connect()
    link = rig.link_of(client)
    client.send(frame(padded(client.auth(rig.pin), MAX_LOGIN_FRAME_BYTES + beyond)))
    assert client.wire.aborted() is bool(beyond)
    assert [payload[0] for payload in client.frames()] == [AuthOk.declaration.number] * (1 - beyond)
    assert link._unprocessed == b""


@pytest.mark.parametrize("beyond", [0, 1])
def test_the_largest_frame_after_the_login(rig: Rig, beyond: int) -> None:
    """F-02: 64 KiB are taken, one byte more ends the link at its length, with nothing kept."""
    client = rig.log_in()
    link = rig.link_of(client)
    (payload,) = client.payloads(Open(channel=1, request=JobRequest(command="true")))
    client.send(frame(padded(payload, MAX_FRAME_BYTES + beyond)))
    assert client.wire.aborted() is bool(beyond)
    assert len(rig.user.jobs) == 1 - beyond
    assert link._unprocessed == b""


@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("begun", [1, 4, 5, 4000])
def test_the_largest_frame_after_a_pause(begun: int, beyond: int) -> None:
    """F-02: a frame of which a pause has left a beginning, whose length was not looked at, has the same limit."""
    link, _ = over_tls()
    payload = bytes(MAX_LOGIN_FRAME_BYTES + beyond)
    link._unprocessed = frame(payload)[:begun]
    link.dataReceived(frame(payload)[begun:] + frame(b"next"))
    assert link.frames == [payload, b"next"] * (1 - beyond)
    assert link.dead is bool(beyond)
    assert link._unprocessed == b""


@pytest.mark.parametrize("logged_in", [False, True])
def test_an_impossible_length_and_a_flood(rig: Rig, logged_in: bool) -> None:
    """F-03: the link ends at the fourth byte, and nothing of the flood behind it is kept."""
    client = rig.log_in() if logged_in else rig.connect()
    link = rig.link_of(client)
    client.send(b"\xff\xff\xff")
    assert not client.wire.aborted()
    # No exchange between the pieces: they arrive although the link has aborted, as what a socket had read would.
    for piece in (b"\xff", *[b"flood" * 20_000] * 8):
        client.queue(piece)
        client.arrive()
        assert client.wire.aborted()
        assert link._unprocessed == b""
    assert link.dead
    client.exchange()
    assert not rig.links


def test_a_large_frame_in_crumbs(rig: Rig) -> None:
    """F-04: a legal frame of 64 KiB, each byte in a TLS record of its own, is delivered."""
    client = rig.log_in()
    (payload,) = client.payloads(Open(channel=1, request=JobRequest(command="true")))
    client.send(frame(padded(payload, MAX_FRAME_BYTES)), record=1)
    rig.clock.advance(OPENED_HELD_SECONDS)
    client.exchange()
    assert client.heard() == [Opened(channel=1, encoding="utf-8")]


def test_a_slow_login(rig: Rig) -> None:
    """F-05: an AUTH that arrives byte by byte has no more time than any other."""
    client = rig.connect()
    data = frame(padded(client.auth(rig.pin), MAX_LOGIN_FRAME_BYTES))
    for second in range(int(LOGIN_SECONDS) - 1):
        rig.clock.advance(1)
        client.send(data[second : second + 1])
        assert not client.wire.aborted()
    rig.clock.advance(1)
    assert client.wire.aborted()
    client.exchange()
    assert rig.checker.asked == []
    assert (rig.waiting, rig.clock.getDelayedCalls()) == (0, [])


def test_a_slow_handshake(rig: Rig) -> None:
    """F-05: a handshake that is not complete in time ends the link, whatever has come of it."""
    is_local = RawPeer.transport is LocalWire
    # Only to learn what comes first; a Unix socket's is shorter than the time.
    greeting = frame(ClientHello(bytes(32)).pack()) if is_local else RawClient(rig.clock, rig.protocol()).recorded[:50]
    protocol = rig.protocol()
    wire = LocalWire(rig.clock) if is_local else Wire(rig.clock)
    wire.connect(protocol)
    for second in range(int(HANDSHAKE_SECONDS) - 1):
        rig.clock.advance(1)
        protocol.dataReceived(greeting[second : second + 1])
        assert not wire.aborted() or wire.is_over
    rig.clock.advance(1)
    assert wire.is_over


def test_a_silent_connection(rig: Rig) -> None:
    """F-05: a connection on which nothing comes ends at the handshake's deadline, and no earlier."""
    protocol = rig.protocol()
    wire = Wire(rig.clock)
    wire.connect(protocol)
    rig.clock.advance(HANDSHAKE_SECONDS - 0.1)
    assert not wire.aborted()
    rig.clock.advance(0.1)
    assert wire.aborted()
    rig.clock.advance(0)
    assert (rig.waiting, rig.links) == (0, set())


def test_the_handshake_counts_for_the_login(rig: Rig) -> None:
    """F-05: the login's deadline runs from the connection, however long the handshake took."""
    client = rig.connect(delay=HANDSHAKE_SECONDS - 1)
    rig.clock.advance(LOGIN_SECONDS - HANDSHAKE_SECONDS + 0.9)
    assert not client.wire.aborted()
    rig.clock.advance(0.1)
    assert client.wire.aborted()


def test_a_short_login_deadline() -> None:
    """F-05: the handshake's deadline is never later than the login's."""
    link, wire = plain(handshake_seconds=10, login_seconds=3)
    wire.clock.advance(2.9)
    assert not wire.aborted()
    wire.clock.advance(0.1)
    assert wire.aborted()
    assert link.reasons == ["no handshake in time"]


@pytest.mark.parametrize("transport", ["plain", "tls"])
def test_nothing_behind_a_fatal_frame(transport: str) -> None:
    """F-06: of a bad frame and two good ones in one write, only the bad one is seen."""
    data = frame(b"first") + frame(BAD) + frame(b"second") + frame(b"third")
    if transport == "plain":
        link, wire = plain()
        link.dataReceived(data)
        link.dataReceived(frame(b"fourth"))
    else:
        link, client = over_tls()
        wire = client.wire
        client.send(data)
    assert link.frames == [b"first", BAD]
    assert wire.aborted()
    assert link.reasons == ["malformed-message: a bad frame"]
    assert link._unprocessed == b""


@pytest.mark.parametrize("bad", [b"\x00", b"", b"\x21{}", b"\x01{}"])
@pytest.mark.parametrize("logged_in", [False, True])
def test_nothing_is_started_behind_a_fatal_frame(rig: Rig, bad: bytes, logged_in: bool) -> None:
    """F-06: nor does a server start what is asked for behind a frame that is fatal in its phase."""
    client = rig.log_in() if logged_in else rig.connect()
    opens = [
        payload
        for number in (1, 2)
        for payload in client.payloads(Open(channel=number, request=JobRequest(command="true")))
    ]
    client.send(b"".join(frame(payload) for payload in (bad, client.auth(rig.pin), *opens)))
    is_end = RawPeer.transport is LocalWire and not bad  # of a link over a Unix socket, as regular as on TLS
    assert client.wire.aborted() is not is_end
    assert client.wire.is_over
    assert rig.user.jobs == []
    assert len(rig.checker.asked) == logged_in
    assert client.frames() == []


@pytest.mark.parametrize("transport", [Wire, SocketWire], indirect=True)
def test_an_empty_frame() -> None:
    """F-01: a frame without a type is a breach, where it does not end a link over a Unix socket."""
    link, client = over_tls()
    client.send(frame(b""))
    assert link.reasons == ["frame-size: an empty frame"]
    assert link.frames == []


def test_every_split_gives_the_same() -> None:
    """F-07: a login and a command, cut into two pieces at every byte, have the same effect and the same answer."""

    def transcript(client: RawClient) -> bytes:
        payloads = []
        for message in (
            Open(channel=1, request=JobRequest(command="cat")),
            Data(1, Stream.STDIN, 0, b"some input"),
            End(1, Stream.STDIN, 10),
            Signal(channel=1, signal="INT"),
            Ack(0),
        ):
            payloads += client.payloads(message)
        return b"".join(map(frame, payloads))

    def outcome(cut: int) -> tuple[object, ...]:
        rig = Rig()
        client = rig.connect()
        login, data = frame(client.auth(rig.pin)), transcript(client)
        for sent in (login, data):  # apart, because nothing may come behind the login before its answer
            client.send(sent[:cut])
            client.send(sent[cut:])
        (job,) = rig.user.jobs
        job.end()
        client.exchange()
        _, *answers = unframe(client.received)
        sizes.add(max(len(login), len(data)))
        return job.request, job.calls, answers

    sizes: set[int] = set()
    whole = outcome(0)
    answers = whole[2]
    assert isinstance(answers, list)
    assert [payload[0] for payload in answers] == [kind.declaration.number for kind in (Opened, Exit)]
    (size,) = sizes
    for cut in range(1, size):
        assert outcome(cut) == whole


def test_a_segment_full_of_frames(rig: Rig) -> None:
    """F-08: 10 000 tiny legal frames in one piece are taken, and another session is answered as ever."""
    busy, other = rig.log_in(), rig.log_in()
    busy.send(frame(busy.payloads(Ack(0))[0]) * 10_000)
    assert busy.frames() == []
    other.say(Open(channel=1, request=JobRequest(command="true")))
    assert other.heard() == [Opened(channel=1, encoding="utf-8")]
    busy.say(Open(channel=1, request=JobRequest(command="true")))
    assert busy.heard() == [Opened(channel=1, encoding="utf-8")]


def test_an_end_inside_a_frame() -> None:
    """F-12: whatever part of an OPEN has come when the connection ends, nothing is started."""
    rig = Rig(NO_RESUME)
    size = len(frame(rig.log_in().payloads(Open(channel=1, request=JobRequest(command="true")))[0]))
    for cut in range(size):
        client = rig.log_in()
        client.send(frame(client.payloads(Open(channel=1, request=JobRequest(command="true")))[0])[:cut])
        client.wire.lose(ConnectionDone())
    assert rig.user.jobs == []
    assert rig.realm.logouts == size


def test_an_end_inside_a_login(rig: Rig) -> None:
    """F-12: nor is anybody logged in by a part of an AUTH."""
    probe = rig.connect()
    size = len(frame(probe.auth(rig.pin)))
    for cut in range(0, size, 7):
        client = rig.connect()
        client.send(frame(client.auth(rig.pin))[:cut])
        client.wire.lose()
    assert rig.checker.asked == []
    assert rig.waiting == 1


def test_no_frame_of_ours_is_too_long() -> None:
    """F-13: an attempt to write a frame beyond the limit of its phase fails before anything is written."""
    link, client = over_tls()
    with pytest.raises(AssertionError):
        link.write_frames([b"fits", bytes(MAX_LOGIN_FRAME_BYTES + 1)])
    link.write_frames([bytes(MAX_LOGIN_FRAME_BYTES)])
    link.session_began()
    with pytest.raises(AssertionError):
        link.write_frames([bytes(MAX_FRAME_BYTES + 1)])
    link.write_frames([])
    link.write_frames([bytes(MAX_FRAME_BYTES)])
    client.exchange()
    assert [len(payload) for payload in client.frames()] == [MAX_LOGIN_FRAME_BYTES, MAX_FRAME_BYTES]


@pytest.mark.parametrize("how", ["fail", "close", "abort"])
def test_a_frame_that_ends_the_link(how: str) -> None:
    """F-14: a link that is ended from within a frame delivers no other, and is told its end once."""
    link, client = over_tls()

    def act(payload: bytes) -> None:
        if how == "fail":
            link.fail("enough")
            link.fail("more than enough")
        elif how == "close":
            link.close()
            link.close()
        else:
            link.tls.abortConnection()

    link.act = act
    client.send(frame(b"one") + frame(b"two") + frame(b"three"))
    client.clock.advance(10)
    client.exchange()
    if how == "abort":
        # Nobody but the link itself may do this; even then nothing is delivered twice.
        assert link.frames == [b"one", b"two", b"three"]
    else:
        assert link.frames == [b"one"]
    assert len(link.reasons) == 1
    link.write_frames([b"never sent"])
    link.fail("too late")
    link.close()
    assert len(link.reasons) == 1


def test_frames_that_arrive_within_a_frame() -> None:
    """F-14: bytes that arrive while a frame is looked at are neither lost nor delivered twice nor nested."""
    link, client = over_tls()
    depth = 0

    def act(payload: bytes) -> None:
        nonlocal depth
        depth += 1
        assert depth == 1
        link.write_frames([b"answer to " + payload])
        client.exchange()
        depth -= 1

    link.act = act
    client.send(frame(b"one") + frame(b"two"))
    assert link.frames == [b"one", b"two"]
    assert client.frames() == [b"answer to one", b"answer to two"]


def test_an_error_of_our_own_ends_one_link(logged: list[LogEvent]) -> None:
    """S-13: an exception that is no breach ends its link with one line in the log, and no other link."""
    link, client = over_tls()
    other, bystander = over_tls()

    def act(payload: bytes) -> None:
        raise RuntimeError(payload.decode())

    link.act = act
    client.send(frame(b"one") + frame(b"two"))
    bystander.send(frame(b"three"))
    assert (link.frames, other.frames) == ([b"one"], [b"three"])
    assert link.reasons == ["an error of our own"]
    assert len(failures(logged)) == 1
    assert not bystander.wire.is_over


def test_the_subclass_says_what_a_link_does() -> None:
    """The base class alone is of no use."""
    link = FramedLink(plain()[0].clock)
    for call in (link.ready, lambda: link.frame_received(b"x"), lambda: link.ended("")):
        with pytest.raises(NotImplementedError):
            call()


def test_a_handshake_on_a_dead_link() -> None:
    """A link that has failed does not become ready."""
    link, _ = plain()
    link.fail("enough")
    link.handshakeCompleted()
    assert not link.is_ready


def test_small_frames_are_not_held_back() -> None:
    """Nagle's algorithm is off, where there is one: any other stream transport will do as well."""

    @implementer_only(ITransport, IConsumer)
    class Pipe(Wire):
        pass

    link, wire = plain()
    assert wire.no_delay
    pipe = Pipe(wire.clock)
    pipe.connect(Recorder(wire.clock))
    assert not pipe.no_delay
    assert not link.dead


def test_a_refusal_is_the_same_bytes_each_time(rig: Rig) -> None:
    """F-02: a refused login leaves the limit as it was."""
    client = rig.connect()
    client.send(frame(client.auth(rig.pin, which=1)))
    assert client.frames() == [bytes([AuthFail.declaration.number])]
    client.send(frame(bytes(MAX_LOGIN_FRAME_BYTES + 1)))
    assert client.wire.aborted()


def test_the_exit_is_the_last_word(rig: Rig) -> None:
    """F-07: what a job told before it ended is on the wire before its end."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    (job,) = rig.user.jobs
    job.owner.output_received(Stream.STDERR, b"oops")
    job.end(Exited(4))
    client.exchange()
    assert client.heard() == [
        Opened(channel=1, encoding="utf-8"),
        Data(1, Stream.STDERR, 0, b"oops"),
        Exit(channel=1, ending=Exited(4), stdout=0, stderr=4, held_open=False),
    ]
