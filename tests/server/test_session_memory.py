"""Nothing of a session stays when it is over, without help of the garbage collector; and what parts may hold."""

from __future__ import annotations

import gc
import os
import struct
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost

import twisted_rsh
from tests.link.wire import RawClient, frame
from tests.server.resuming import Resumer
from tests.server.rig import Rig
from twisted_rsh.core.channel import Channel
from twisted_rsh.core.credit import SendStream
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.limits import MAX_CONTROL_BYTES, MAX_PART_BYTES
from twisted_rsh.core.messages import Goodbye, Open
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.link.framed_link import CLOSE_SECONDS
from twisted_rsh.link.tls import _context
from twisted_rsh.server import sessions as sessions_module
from twisted_rsh.server.memory import RETURN_SECONDS, MemoryReturn
from twisted_rsh.server.session import IDLE_SECONDS, RETENTION_SECONDS
from twisted_rsh.server.sessions import STALLED_SECONDS, WAITED_SECONDS

PACKAGE = os.path.dirname(twisted_rsh.__file__)

SHARED_NAMES = 30
"""Names of attributes up to which the objects of a class share the keys of their dictionaries (SHARED_KEYS_MAX_SIZE in
CPython)."""

STALLED_SESSIONS = 200
"""Sessions enough that to end one from within the end of another would exceed Python's stack."""

OPEN = Open(channel=1, request=JobRequest(command="true"))


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Leave the work to the reference counts."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def channels_and_streams() -> list[object]:
    """Return all channels and streams of this process, which take no weak references."""
    return [one for one in gc.get_objects() if type(one) in (Channel, SendStream)]


class Watched:
    """References to all objects of a session, which do not keep them.

    :param rig: a server with one session.
    """

    def __init__(self, rig: Rig) -> None:
        (session,) = rig.factory.sessions
        objects: list[object] = [session, session.core, session.pump, session.jobs]
        objects += session.jobs._jobs.values()
        self._references = [weakref.ref(one) for one in objects]
        own = session.core._channels.values()
        streams = [stream for channel in own for stream in channel.sends.values()]
        # Those of other tests, which stay while they are watched, so that no other object gets their place.
        self._others = [one for one in channels_and_streams() if not any(one is mine for mine in (*own, *streams))]
        self.watch(rig)

    def watch(self, rig: Rig) -> None:
        """Watch the links as well.  The tests themselves hold the transports."""
        self._references += map(weakref.ref, rig.links)

    def left(self) -> list[str]:
        """Return the types of those that are still there, channels and their streams included."""
        found = [one for one in (reference() for reference in self._references) if one is not None]
        others = set(map(id, self._others))
        found += [one for one in channels_and_streams() if id(one) not in others]
        return sorted(type(one).__name__ for one in found)


def kill(rig: Rig, client: RawClient) -> None:
    """The client is killed, and nobody resumes in time."""
    client.wire.lose(ConnectionLost())
    end_jobs(rig)
    rig.clock.advance(RETENTION_SECONDS + IDLE_SECONDS)


def leave(rig: Rig, client: RawClient) -> None:
    """The client says goodbye."""
    client.say(Goodbye(text=""))
    end_jobs(rig)
    client.wire.lose(ConnectionDone())


def break_the_protocol(rig: Rig, client: RawClient) -> None:
    """The client breaks the protocol."""
    client.send(frame(b"\xff"))
    end_jobs(rig)


def expire(rig: Rig, client: RawClient) -> None:
    """The network is gone while the job runs, until the grace is over."""
    client.wire.lose(ConnectionLost())
    rig.clock.advance(3600)
    end_jobs(rig)
    rig.clock.advance(RETENTION_SECONDS + IDLE_SECONDS)


def stop_the_server(rig: Rig, client: RawClient) -> None:
    """The server stops."""
    rig.factory.go_away("the server stops")
    client.exchange()
    end_jobs(rig)
    rig.clock.advance(CLOSE_SECONDS)
    client.exchange()
    client.wire.lose(ConnectionDone())


def fall_silent(rig: Rig, client: RawClient) -> None:
    """The client stops to answer."""
    rig.clock.advance(60)
    client.exchange()
    end_jobs(rig)
    rig.clock.advance(RETENTION_SECONDS + IDLE_SECONDS)


def lose_the_key(rig: Rig, client: RawClient) -> None:
    """The key is revoked."""
    (session,) = rig.factory.sessions
    session.end("its key is not authorized any more", "revoked")
    del session
    client.exchange()
    end_jobs(rig)
    client.wire.lose(ConnectionDone())


def end_jobs(rig: Rig) -> None:
    """Let every job end, and forget it as the reactor does."""
    for job in rig.user.jobs:
        job.end(Exited(0))
    rig.user.jobs.clear()


WAYS: list[Callable[[Rig, RawClient], None]] = [
    kill,
    leave,
    break_the_protocol,
    expire,
    stop_the_server,
    fall_silent,
    lose_the_key,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_of_a_session_stays(way: Callable[[Rig, RawClient], None]) -> None:
    """Session, core, pump, jobs, channels, links and TLS are gone at once when a session is over, however it ends."""
    rig = Rig()
    client = rig.log_in()
    client.say(OPEN)
    (job,) = rig.user.jobs
    job.fill()
    del job
    client.exchange()
    watched = Watched(rig)
    expected = ["Channel", "ChannelJob", "DurableSession", "SendStream", "SendStream"]
    assert watched.left() == [*expected, "ServerLink", "ServerSession", "SessionJobs", "SessionPump"]
    way(rig, client)
    rig.clock.advance(0)
    assert watched.left() == []


def test_nothing_of_a_replaced_link_stays() -> None:
    """A link that a resume has replaced is gone, and so is all of the session at its end."""
    rig = Rig()
    client = Resumer(rig)
    client.client.say(OPEN)
    watched = Watched(rig)
    before = len(watched.left())
    again = client.resume()
    rig.clock.advance(0)
    assert len(watched.left()) == before - 1
    watched.watch(rig)
    again.send(frame(b"\xff"))
    end_jobs(rig)
    rig.clock.advance(0)
    assert watched.left() == []


def test_nothing_of_a_refused_login_stays() -> None:
    """A link whose login was refused is gone with its connection."""
    rig = Rig()
    client = rig.connect()
    client.send(frame(client.auth(rig.pin, which=1)))
    (link,) = map(weakref.ref, rig.links)
    client.wire.lose(ConnectionLost())
    assert link() is None


@pytest.mark.parametrize("is_logged_in", [False, True])
def test_nothing_of_tls_stays(is_logged_in: bool) -> None:
    """The TLS of a connection that is gone takes its buffers with it."""
    rig = Rig()
    client = rig.log_in() if is_logged_in else rig.connect()
    references = [weakref.ref(client.protocol)]
    client.wire.lose(ConnectionLost())
    client.wire.protocol = None
    del client.protocol
    rig.clock.advance(RETENTION_SECONDS + IDLE_SECONDS)
    assert [reference() for reference in references] == [None]


def test_an_idle_session_holds_little() -> None:
    """The dictionary of a link shares its keys with those of others, and TLS keeps no buffer of a record."""
    rig = Rig()
    rig.log_in()
    (link,) = rig.links
    assert len(vars(link)) <= SHARED_NAMES
    assert _context().set_mode(0) & SSL.MODE_RELEASE_BUFFERS


def part(number: int, size: int = MAX_PART_BYTES) -> bytes:
    """Return a frame with a part of a message."""
    return frame(struct.pack("!BQ", 0x20, number) + bytes(size))


def held(rig: Rig) -> int:
    """Return the bytes of unfinished messages that the server counts."""
    total = rig.factory.sessions._unfinished_bytes
    assert total == sum(rig.factory.sessions._unfinished.values())
    return total


def test_parts_are_counted() -> None:
    """The parts of a message count until it is complete; they outlive a link, and not the session."""
    rig = Rig()
    resumer = Resumer(rig)
    resumer.client.send(part(0, 100) + part(1, 100))
    assert held(rig) == 200
    resumer.lose()
    assert held(rig) == 200
    again = rig.connect()
    resumer.welcome(again, resumer.ask(again))
    body = Open(channel=1, request=JobRequest(command="true")).body()
    again.send(frame(struct.pack("!BQ", 0x20, 2) + bytes(50)))
    assert held(rig) == 250
    rig.factory.sessions.end_all("enough", "")
    again.exchange()
    again.wire.lose(ConnectionDone())
    assert held(rig) == 0
    client = rig.log_in()
    client.send(frame(struct.pack("!BQ", 0x20, 0) + body[:10]) + frame(struct.pack("!BQ", 0x21, 1) + body[10:]))
    assert len(rig.user.jobs) == 1
    assert held(rig) == 0
    client.send(part(2, 10))
    client.send(frame(b"\xff"))
    assert held(rig) == 0


def test_one_session_holds_no_more_than_a_message() -> None:
    """Parts of more than the longest message are a breach, and nothing of them stays."""
    rig = Rig()
    client = rig.log_in()
    for number in range(MAX_CONTROL_BYTES // MAX_PART_BYTES):
        client.send(part(number))
    assert held(rig) == MAX_CONTROL_BYTES
    client.send(part(MAX_CONTROL_BYTES // MAX_PART_BYTES, 1))
    assert client.wire.aborted()
    assert held(rig) == 0


class Crowd:
    """Clients whose messages take all that the server may hold of such, 3000 bytes.

    :ivar clients: three with 1000 bytes each, in this order, and one that has begun none.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sessions_module, "MAX_UNFINISHED_BYTES", 3000)
        self.rig = Rig()
        self.clients = [self.rig.log_in() for _ in range(4)]
        for client in self.clients[:3]:
            client.send(part(0, 1000))
        assert held(self.rig) == 3000
        assert self.reading() == [True] * 4

    def reading(self) -> list[bool]:
        """Tell of each whether the server reads from it."""
        return [client.wire.is_reading for client in self.clients]

    def aborted(self) -> list[bool]:
        """Tell of each whether the server has aborted its connection."""
        return [client.wire.aborted() for client in self.clients]

    def finish(self, number: int) -> None:
        """Let a client end its message, and its session, by a breach: zeros are no object."""
        self.clients[number].send(frame(struct.pack("!BQ", 0x21, 1)))


def test_sessions_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the session whose message began first is read on, and the others wait; no session ends."""
    crowd = Crowd(monkeypatch)
    crowd.clients[3].send(part(0, 1))
    assert crowd.reading() == [True, True, True, False]
    crowd.clients[1].send(part(1, 1))
    crowd.clients[0].send(part(1, 500))
    assert crowd.reading() == [True, False, True, False]
    assert crowd.aborted() == [False] * 4
    crowd.clients[0].send(frame(struct.pack("!BQ", 0x21, 2)))
    assert crowd.reading()[1:] == [True] * 3
    assert crowd.aborted() == [True, False, False, False], "its own breach"
    assert not [call for call in crowd.rig.clock.getDelayedCalls() if "_await_first" in str(call)]


def test_a_session_that_waits_goes_on_over_another_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume lets no session send more before it is its turn; then the new link is read."""
    monkeypatch.setattr(sessions_module, "MAX_UNFINISHED_BYTES", 3000)
    rig = Rig()
    first = rig.log_in()
    first.send(part(0, 3000))
    resumer = Resumer(rig)
    resumer.client.send(part(0, 10))
    assert not resumer.client.wire.is_reading
    again = rig.connect()
    resumer.welcome(again, resumer.ask(again))
    reading = [again.wire.is_reading]
    first.send(frame(b"\xff"))
    reading.append(again.wire.is_reading)
    assert reading == [False, True]
    again.send(part(1, 10))
    assert held(rig) == 20


def test_the_next_session_is_read_when_the_first_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is still too much, one after the other is read, in the order in which the messages began."""
    crowd = Crowd(monkeypatch)
    crowd.clients[1].send(part(1, 2000))
    assert crowd.reading() == [True, False, True, True]
    crowd.finish(0)
    assert held(crowd.rig) == 4000
    assert crowd.reading()[1:] == [True] * 3
    crowd.clients[2].send(part(1, 1))
    assert crowd.reading()[1:] == [True, False, True]


def test_a_session_that_lets_others_wait_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends when no part has come for a while, and no sooner; the others go on."""
    crowd = Crowd(monkeypatch)
    crowd.clients[3].send(part(0, 1))
    crowd.rig.clock.advance(STALLED_SECONDS - 1)
    crowd.clients[0].send(part(1, 1))
    crowd.rig.clock.advance(STALLED_SECONDS - 0.1)
    assert crowd.aborted() == [False] * 4
    crowd.rig.clock.advance(0.1)
    assert crowd.aborted() == [True, False, False, False]
    assert crowd.reading()[1:] == [True] * 3
    assert held(crowd.rig) == 2001


def test_a_session_that_lets_others_wait_dawdles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte, it may let them wait for a limited time."""
    crowd = Crowd(monkeypatch)
    crowd.clients[3].send(part(0, 1))
    number = 1
    while number < WAITED_SECONDS:
        assert crowd.aborted() == [False] * 4
        crowd.clients[0].send(part(number, 1))
        crowd.rig.clock.advance(1)
        number += 1
    crowd.rig.clock.advance(1)
    assert crowd.aborted() == [True, False, False, False]


def test_many_sessions_that_let_others_wait_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of clients that were killed behind a byte of a message end one after another, each completely."""
    monkeypatch.setattr(sessions_module, "MAX_UNFINISHED_BYTES", 3000)
    rig = Rig()
    for _ in range(STALLED_SESSIONS):
        killed = rig.log_in()
        killed.send(part(0, 1))
        killed.wire.lose(ConnectionLost())
    rig.clock.advance(STALLED_SECONDS)
    clients = [rig.log_in() for _ in range(2)]
    clients[0].send(part(0, 2000))
    clients[1].send(part(0, 1001))
    rig.clock.pump([0.0] * STALLED_SESSIONS)
    assert [session.over for session in rig.factory.sessions] == [False, False]
    assert [client.wire.is_reading and not client.wire.aborted() for client in clients] == [True, False]
    assert held(rig) == 3001


def test_a_stalled_session_that_nothing_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the bound, a message may stay unfinished."""
    crowd = Crowd(monkeypatch)
    crowd.rig.clock.advance(WAITED_SECONDS + STALLED_SECONDS)
    assert crowd.rig.factory.sessions._unfinished_bytes == 3000


def test_memory_is_given_back_once_for_many_sessions() -> None:
    """Some time after sessions have ended, the C library is asked once to give free memory back."""
    rig = Rig()
    memory = rig.factory.sessions.memory = MemoryReturn(rig.clock)
    asked: list[int] = []
    memory._trim = asked.append
    clients = [rig.log_in() for _ in range(3)]
    for client in clients:
        client.send(frame(b"\xff"))
    rig.clock.advance(RETURN_SECONDS)
    assert asked == [0]
    rig.clock.advance(10 * RETURN_SECONDS)
    assert asked == [0]


IDLE_SESSIONS = 15

IDLE_BYTES = 4_950
"""Bytes that the package's own objects of an idle session take at most, with Python 3.11: 4,713 were counted, and this
is a twentieth more."""


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="objects have another size in each version of Python")
def test_memory_of_an_idle_session() -> None:
    """An idle session takes no more of Python's memory than before.

    It is counted in a process of its own: dictionaries have other sizes after other tests.
    """
    code = "from tests.server.test_session_memory import idle_bytes; print(*idle_bytes(), sep='\\n')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=os.path.dirname(PACKAGE),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    taken, *files = done.stdout.splitlines()
    assert IDLE_BYTES * 0.75 < float(taken) <= IDLE_BYTES, "\n".join(files)


def idle_bytes() -> list[object]:
    """Count what idle sessions take.  What Twisted and OpenSSL allocate does not count, nor what clients have.

    :returns: bytes of one session, and what each file has of them all.
    """
    rig = Rig()
    held = [rig.log_in() for _ in range(IDLE_SESSIONS)]  # what is made once, is made
    gc.collect()
    tracemalloc.start()
    held += [rig.log_in() for _ in range(IDLE_SESSIONS)]
    gc.collect()
    own = [tracemalloc.Filter(True, os.path.join(PACKAGE, part, "*")) for part in ("server", "core", "link", "trust")]
    found = tracemalloc.take_snapshot().filter_traces(own).statistics("filename")
    assert len(rig.links) == 2 * IDLE_SESSIONS
    return [sum(one.size for one in found) / IDLE_SESSIONS, *found]
