"""RESUME at a server: the purpose of a resume, and one link at a time for each session."""

from __future__ import annotations

import os

from twisted.internet.address import IPv4Address
from twisted.logger import LogEvent

from tests.link.wire import RawClient, failures, frame
from tests.server.resuming import FAIL, Resumer, is_alive, lines
from tests.server.rig import Rig
from twisted_rsh.core.codec import encode
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.limits import DEFAULT_WINDOW
from twisted_rsh.core.messages import Close, Credit, Data, End, Exit, Open, Opened, Ping, Pong, Positions, Signal
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream

STDIN, STDOUT, STDERR = Stream
OPEN = Open(channel=1, request=JobRequest(command="true"))
AMOUNT = 10_000_000
"""Bytes that a job writes while its client is away."""


# What a resume is for.


def test_output_and_ending_after_a_cut(rig: Rig) -> None:
    """M-06: the client of a job that ends without a link gets the output, and then the ending, each once."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, b"before")
    resumer.client.exchange()
    assert resumer.client.heard() == [Opened(channel=1, encoding="utf-8"), Data(1, STDOUT, 0, b"before")]
    resumer.lose()
    job.end(Exited(7))
    client = resumer.resume(Positions(1, ((1, (3, 0)),)))
    assert client.heard() == [
        Data(1, STDOUT, 3, b"ore"),
        Exit(channel=1, ending=Exited(7), stdout=6, stderr=0, held_open=False),
    ]
    client.say(Close(1), Open(channel=2, request=JobRequest(command="true")))
    assert client.heard() == [Opened(channel=2, encoding="utf-8")]


def test_a_long_absence_with_output(rig: Rig) -> None:
    """M-07: a job with 10 MB of output waits for its client, and no byte is lost or comes twice."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    data = os.urandom(1000) * (AMOUNT // 1000)
    written = 0

    def write(stream: Stream = STDOUT) -> None:
        nonlocal written
        while stream is STDOUT and (room := job.owner.output_room(STDOUT)) and written < AMOUNT:
            job.owner.output_received(STDOUT, data[written : written + room])
            written = min(written + room, AMOUNT)

    job.resume_output = write  # type: ignore[method-assign]  # a job that goes on when it may
    received = bytearray()

    def take(client: RawClient) -> None:
        client.exchange()
        for message in client.heard():
            if isinstance(message, Data):
                assert message.offset == len(received)
                received.extend(message.data)

    write()
    take(resumer.client)
    assert written == DEFAULT_WINDOW
    for _ in range(20):
        resumer.lose()
        before = written
        write()
        rig.away(30)
        write()
        assert written == before
        client = resumer.resume(Positions(1, ((1, (len(received), 0)),)))
        take(client)
        client.say(Credit(1, STDOUT, len(received) + DEFAULT_WINDOW, len(received)))
        write()
        take(client)
    while len(received) < AMOUNT:
        client.say(Credit(1, STDOUT, len(received) + DEFAULT_WINDOW, len(received)))
        write()
        take(client)
    assert received == data


def test_input_that_was_under_way(rig: Rig) -> None:
    """M-05: input and a signal that reached the job before a cut reach it once; the answer to RESUME says how much."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Data(1, STDIN, 0, b"some"), Signal(channel=1, signal="USR1"))
    (job,) = rig.user.jobs
    resumer.lose()
    client = rig.connect()
    answer = resumer.welcome(client, resumer.ask(client))
    assert answer.positions == Positions(2, ((1, (4,)),))
    client.say(Data(1, STDIN, 4, b" more"), End(1, STDIN, 9))
    assert job.calls[1:] == [
        ("send_signal", "USR1"),
        *[("resume_output", stream) for stream in OUTPUTS],
        ("write_input", b" more"),
        ("end_input",),
    ]
    assert job.input == b"some more"


def test_another_address(rig: Rig, logged: list[LogEvent]) -> None:
    """M-21: a client that has moved resumes from its new address, and the log names that."""
    resumer = Resumer(rig)
    resumer.lose()
    rig.away(30)
    resumer.resume(address=IPv4Address("TCP", "198.51.100.9", 4711))
    shown = resumer.session.hex()[:8]
    assert lines(logged)[-1] == (
        f"session {shown} of alice from 192.0.2.7:50000 resumed from 198.51.100.9:4711 after 30 s"
    )
    (session,) = rig.sessions
    assert session.describe()["peer"] == "198.51.100.9:4711"


def test_a_stopped_terminal(rig: Rig) -> None:
    """M-18: a client that takes no output for ten minutes, and answers pings, does not count as dead."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    assert job.fill() == DEFAULT_WINDOW
    for _ in range(40):
        rig.clock.advance(15)
        client.exchange()
        client.say(*[Pong(ping.token) for ping in client.heard() if isinstance(ping, Ping)])
    (session,) = rig.sessions
    assert session.detached_at is None
    client.say(Credit(1, STDOUT, 2 * DEFAULT_WINDOW, DEFAULT_WINDOW))
    assert job.fill() == DEFAULT_WINDOW


def test_a_server_that_was_suspended(rig: Rig) -> None:
    """M-22: an hour that passes at once costs the link; a job's grace counts only the time without one."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    rig.clock.advance(3600)
    assert resumer.client.wire.aborted()
    assert job.calls == []
    rig.away(59)
    assert is_alive(resumer.resume())
    resumer.lose()
    rig.clock.advance(3600)
    assert job.names()[-1] == "terminate"
    assert rig.sessions == []


# One link at a time.


def test_two_links_at_once(rig: Rig) -> None:
    """M-08: the server aborts the old link before it answers on the new one, and ignores frames of the old."""
    resumer = Resumer(rig)
    old = resumer.client
    old.say(OPEN)
    (job,) = rig.user.jobs
    link = rig.link_of(old)
    late = encode(Data(1, STDIN, 0, b"late"))
    client = resumer.resume()
    assert old.wire.aborted()
    link.dataReceived(frame(late))
    link.frame_received(late)
    assert job.input == b""
    assert job.names() == ["resume_output", "resume_output"]
    client.say(Data(1, STDIN, 0, b"new"))
    assert job.input == b"new"
    old.exchange()
    assert old.wire.is_lost
    assert is_alive(client)
    assert len(rig.sessions) == 1


def test_a_late_frame_does_not_confirm(rig: Rig) -> None:
    """M-08: a frame on the old link does not show that the client has the answer on the new one."""
    resumer = Resumer(rig)
    old = resumer.client
    link = rig.link_of(old)
    lost = rig.connect()
    resumer.ask(lost)  # the answer does not arrive
    link.frame_received(encode(Ping(1)))
    lost.wire.lose()
    assert is_alive(resumer.resume())


def test_an_answer_that_is_lost(rig: Rig) -> None:
    """M-02: a client that did not get the answer resumes with its secret, any number of times."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    for _ in range(5):
        client = rig.connect()
        resumer.ask(client)
        client.wire.lose()
    assert is_alive(resumer.resume(Positions(0)))
    assert len(rig.user.jobs) == 1


def test_a_late_attempt(rig: Rig) -> None:
    """M-09: a RESUME over a connection that the client has given up does not steal the session back."""
    resumer = Resumer(rig)
    given_up = rig.connect()
    late = resumer.claim(given_up)
    client = resumer.resume()
    given_up.send(frame(encode(late)))
    assert given_up.frames() == [FAIL]
    assert given_up.closed
    assert is_alive(client)


def test_a_late_attempt_before_the_confirmation(rig: Rig) -> None:
    """M-09: nor while the server still accepts the secret of that RESUME."""
    resumer = Resumer(rig)
    given_up, client = rig.connect(), rig.connect()
    late = resumer.claim(given_up)
    claim = resumer.ask(client)
    given_up.send(frame(encode(late)))
    assert given_up.frames() == [FAIL]
    resumer.welcome(client, claim)
    assert is_alive(client)


def test_a_resume_leaves_the_waiting_room(rig: Rig) -> None:
    """R-01: a connection that has resumed does not count among those without a login, and has no deadline."""
    resumer = Resumer(rig)
    client = resumer.resume()
    assert rig.waiting == 0
    for _ in range(5):
        rig.clock.advance(15)
        assert is_alive(client)


def test_a_job_that_breaks_at_a_resume(rig: Rig, logged: list[LogEvent]) -> None:
    """S-13: an exception in an application's job ends the link and the session at a resume, too."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    job.raises.add("resume_output")
    resumer.lose()
    client = rig.connect()
    resumer.ask(client)
    assert client.wire.aborted()
    assert rig.sessions == []
    assert job.names()[-1] == "terminate"
    assert len(failures(logged)) == 1
