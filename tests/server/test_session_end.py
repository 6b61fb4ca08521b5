"""The end of a session: by its client, by a lost connection, by a breach, or because the server stops."""

from __future__ import annotations

import gc

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import failures, frame
from tests.server.resuming import Resumer, is_refused
from tests.server.rig import NO_RESUME, Rig, is_ended, job_lines
from twisted_rsh.core.endings import (
    Exited,
    JobEnd,
    OutcomeUnknown,
    Signalled,
)
from twisted_rsh.core.events import (
    StreamEnded,
)
from twisted_rsh.core.limits import (
    DEFAULT_WINDOW,
    MAX_DETACH_SECONDS,
    MAX_UNACKNOWLEDGED,
)
from twisted_rsh.core.messages import (
    Ack,
    Close,
    Goodbye,
    Open,
)
from twisted_rsh.core.requests import JobRequest, Keep
from twisted_rsh.core.roles import Stream
from twisted_rsh.link.framed_link import CLOSE_SECONDS

STDIN, STDOUT, STDERR = Stream

OPEN = Open(channel=1, request=JobRequest(command="true"))

KEPT = Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep()))


def test_a_connection_without_its_end(logged: list[LogEvent]) -> None:
    """L-06: a FIN without close_notify is no end of input: without resume the jobs are ended."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(OPEN)
    client.wire.lose(ConnectionDone())
    (job,) = rig.user.jobs
    assert job.names() == ["close_output", "close_output", "terminate"]
    job.fill()
    job.owner.input_consumed(0)
    job.owner.input_closed()
    assert job.owner.output_room(STDOUT) == 0
    job.owner.output_received(STDOUT, b"nobody hears this")
    job.end(Signalled("HUP"))
    assert failures(logged) == []
    assert len(job_lines(logged)) == 1
    assert rig.links == set()


def test_the_end_of_tls_without_goodbye(logged: list[LogEvent]) -> None:
    """L-06: close_notify without GOODBYE ends the jobs in the same way."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(OPEN)
    client.connection.shutdown()
    client.exchange()
    (job,) = rig.user.jobs
    assert job.names() == ["close_output", "close_output", "terminate"]
    assert client.wire.is_lost
    assert failures(logged) == []


def test_a_client_that_says_goodbye(rig: Rig) -> None:
    """The jobs end, TLS is closed, and the server reads no frame after GOODBYE."""
    client = rig.log_in()
    client.say(OPEN, Goodbye(text="enough"), Open(channel=2, request=JobRequest(command="true")))
    assert len(rig.user.jobs) == 1
    assert rig.user.jobs[0].names()[-1] == "terminate"
    assert client.closed
    client.connection.shutdown()
    client.exchange()
    assert (rig.links, rig.realm.logouts) == (set(), 1)
    assert not client.wire.aborted()


def test_a_peer_that_ignores_the_end(rig: Rig) -> None:
    """L-07: a peer that never answers close_notify, though it goes on sending, is gone after 5 s."""
    client = rig.log_in()
    client.say(OPEN, Goodbye(text=""))
    rig.clock.advance(CLOSE_SECONDS - 0.1)
    client.send(frame(b"nobody looks at this"))
    assert not client.wire.aborted()
    rig.clock.advance(0.1)
    assert client.wire.aborted()


def test_a_kept_job_of_a_client_that_leaves(rig: Rig, logged: list[LogEvent]) -> None:
    """P12: GOODBYE ends the other jobs; the kept job goes on, its input ends, and its output is dropped."""
    resumer = Resumer(rig)
    resumer.client.say(KEPT, Open(channel=2, request=JobRequest(command="true")), Goodbye(text=""))
    kept, other = rig.user.jobs
    assert is_ended(other)
    assert kept.names() == ["end_input", "resume_output", "resume_output"]
    assert resumer.client.closed
    resumer.client.wire.lose()
    assert is_refused(resumer)
    for _ in range(5):
        room = kept.owner.output_room(STDOUT)
        assert room == DEFAULT_WINDOW
        kept.owner.output_received(STDOUT, bytes(room))
    kept.owner.input_consumed(0)
    kept.owner.input_closed()
    other.end(Signalled("HUP"))
    rig.clock.advance(MAX_DETACH_SECONDS)
    assert not is_ended(kept)
    (session,) = rig.sessions
    assert [job["stdout"] for job in session.jobs.describe()] == [5 * DEFAULT_WINDOW]
    assert rig.realm.logouts == 0
    kept.end(Exited(0))
    assert rig.sessions == []
    assert rig.realm.logouts == 1
    text = [formatEvent(event) for event in logged]
    assert any(f"stdout {5 * DEFAULT_WINDOW}" in line for line in text)
    assert any("its last job has ended" in line for line in text)


def test_a_kept_job_has_its_end_of_input_once(rig: Rig) -> None:
    """P12: a job's input ends once; a limit of output also holds for output that is dropped."""
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, request=JobRequest(command="true", on_disconnect=Keep(), max_output=10)))
    (job,) = rig.user.jobs
    (session,) = rig.sessions
    session.jobs.happened(StreamEnded(1, STDIN))
    resumer.client.say(Goodbye(text=""))
    assert job.names().count("end_input") == 1
    assert job.owner.output_room(STDOUT) == 11
    job.owner.output_received(STDOUT, bytes(11))
    assert is_ended(job)


def test_a_client_that_leaves_without_a_kept_job(rig: Rig) -> None:
    """X-07: the session of a client that leaves without a kept job is over at once."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN, Goodbye(text=""))
    assert is_ended(rig.user.jobs[0])
    assert rig.sessions == []
    assert rig.realm.logouts == 1
    assert is_refused(resumer)


@pytest.mark.parametrize("data", [frame(b""), b"\x01\x00\x00\x00", frame(b"\xff"), frame(b"\x20")], ids=range(4))
def test_a_breach_ends_the_session(rig: Rig, data: bytes) -> None:
    """S-03: the session of a client that breaks the protocol is over, and its jobs are made to end."""
    resumer = Resumer(rig)
    resumer.client.say(KEPT)
    resumer.client.send(data)
    assert resumer.client.wire.aborted()
    assert is_ended(rig.user.jobs[0])
    assert rig.sessions == []
    assert is_refused(resumer)


def test_a_job_that_cannot_be_ended(logged: list[LogEvent]) -> None:
    """S-13: a job that breaks when it is ended keeps no other job of its session alive."""
    rig = Rig(NO_RESUME)
    client = rig.log_in()
    client.say(OPEN, Open(channel=2, request=JobRequest(command="true")))
    bad, good = rig.user.jobs
    bad.raises.add("terminate")
    client.wire.lose()
    assert good.names()[-1] == "terminate"
    assert len(failures(logged)) == 1


def test_a_server_that_stops(rig: Rig) -> None:
    """O-09: clients learn why, jobs end, and the stop is complete when the last job has ended and its link is gone."""
    connected, idle, stranger = rig.connected(), rig.connected(), rig.connect()
    remote = connected.connection.start("sleep")
    ends: list[JobEnd] = []
    remote.wait().addCallback(ends.append)
    connected.exchange()
    stopped: list[object] = []
    rig.factory.go_away("the server is stopping").addCallback(stopped.append)
    stranger.exchange()
    connected.exchange()
    idle.exchange()
    assert [end.ending for end in ends] == [OutcomeUnknown("the server is stopping")]
    lost: list[str] = []
    for one in (connected, idle):
        one.connection.when_lost().addCallback(lost.append)
    assert lost == ["the server is stopping"] * 2
    assert stopped == []
    (job,) = rig.user.jobs
    assert job.names()[-1] == "terminate"
    job.end()
    assert len(stopped) == 1
    assert (rig.links - {link for link in rig.links if link.is_over}, rig.realm.logouts) == (set(), 2)


def test_a_stop_waits_for_the_line_to_arrive(rig: Rig) -> None:
    """O-09: a stop without jobs waits for the connections: if it did not, no client would get the line."""
    client = rig.log_in()
    stopped: list[object] = []
    rig.factory.go_away("bye").addCallback(stopped.append)
    assert stopped == []
    client.exchange()
    assert client.heard() == [Goodbye(text="bye")]
    assert client.closed
    assert stopped == []
    rig.clock.advance(CLOSE_SECONDS)
    rig.clock.advance(0)
    assert len(stopped) == 1


def test_a_stop_leaves_no_call_behind(rig: Rig) -> None:
    """O-09: a job that ends behind its session leaves none of its deadlines on the reactor when the server has stopped.

    Otherwise a test of an application finds the reactor unclean.
    """
    client = rig.log_in()
    client.send(b"".join(map(frame, client.payloads(OPEN))))
    (job,) = rig.user.jobs
    client.wire.lose()
    stopped: list[object] = []
    rig.factory.go_away("bye").addCallback(stopped.append)
    assert stopped == []
    job.end()  # before its request was answered
    assert len(stopped) == 1
    assert rig.clock.getDelayedCalls() == []


def test_a_stop_that_nobody_waits_for(rig: Rig, logged: list[LogEvent]) -> None:
    """A stop whose Deferred is cancelled fails as such, and is no error in the log; another one waits again."""
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    outcomes: list[object] = []
    for _ in range(2):
        waiting = rig.factory.go_away("bye")
        waiting.addErrback(lambda failure: outcomes.append(failure.type))
        waiting.cancel()
        del waiting
    client.exchange()
    assert outcomes == [CancelledError] * 2
    rig.factory.go_away("bye").addCallback(outcomes.append)
    job.end()
    gc.collect()
    assert outcomes == [CancelledError] * 2
    rig.clock.advance(CLOSE_SECONDS)
    assert outcomes == [CancelledError, CancelledError, None]
    assert failures(logged) == []


def test_a_stop_after_the_client_has_left(rig: Rig) -> None:
    """A link that is closing already says goodbye once, and does not hold the stop for ever."""
    client = rig.log_in()
    client.say(OPEN, Goodbye(text=""))
    rig.user.jobs[0].end()
    stopped: list[object] = []
    rig.factory.go_away("bye").addCallback(stopped.append)
    rig.clock.advance(CLOSE_SECONDS)
    client.exchange()
    assert len(stopped) == 1


def test_last_words_wait_for_earlier_ones(rig: Rig) -> None:
    """O-09: a client that is slow to acknowledge still gets everything up to GOODBYE before the link is closed."""
    client = rig.log_in()
    rounds = MAX_UNACKNOWLEDGED // 2 + 1
    for channel in range(1, rounds + 1):
        client.say(Open(channel=channel, request=JobRequest(command="x")))
        rig.user.jobs[-1].end()
        client.say(Close(channel))
        client.say(Ack(0))
    client.exchange()
    assert len([message for message in client.heard() if not isinstance(message, Ack)]) == MAX_UNACKNOWLEDGED
    rig.factory.go_away("bye")
    client.exchange()
    assert client.heard() == []
    assert not client.closed
    client.say(Ack(MAX_UNACKNOWLEDGED))
    client.exchange()
    assert client.heard()[-1] == Goodbye(text="bye")
    assert client.closed


def test_last_words_do_not_wait_for_ever(rig: Rig) -> None:
    """O-09: the server leaves a client that never acknowledges anything."""
    client = rig.log_in()
    for channel in range(1, MAX_UNACKNOWLEDGED // 2 + 2):
        client.say(Open(channel=channel, request=JobRequest(command="x")))
        rig.user.jobs[-1].end()
        client.say(Close(channel))
    gone: list[object] = []
    rig.factory.go_away("bye").addCallback(gone.append)
    rig.clock.advance(CLOSE_SECONDS)
    client.exchange()
    assert Goodbye(text="bye") not in client.heard()
    assert client.closed
    rig.clock.advance(CLOSE_SECONDS)
    assert len(gone) == 1


def test_a_server_that_stops_without_links(rig: Rig, logged: list[LogEvent]) -> None:
    """O-09: sessions without a link end too, also those with a kept job, and the stop waits for their jobs."""
    resumers = [Resumer(rig) for _ in range(3)]
    for resumer in resumers:
        resumer.client.say(KEPT)
    resumers[0].lose()
    resumers[1].client.say(Goodbye(text=""))
    resumers[1].client.wire.lose()
    stopped: list[object] = []
    rig.factory.go_away("the server is stopping").addCallback(stopped.append)
    assert all(is_ended(job) for job in rig.user.jobs)
    assert rig.sessions == []
    resumers[2].client.exchange()
    assert resumers[2].client.heard()[-1] == Goodbye(text="the server is stopping")
    resumers[2].client.wire.lose()
    for job in rig.user.jobs:
        assert stopped == []
        job.end()
    assert len(stopped) == 1
    assert rig.realm.logouts == 3
    assert failures(logged) == []
