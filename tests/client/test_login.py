"""The first exchange on a link: frames right behind an answer or at the wrong time, and attempts that are given up."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.client.standin import Network
from tests.link.test_tls import Dialling
from tests.link.wire import ALICE, RawServer, client_key, collecting_log, failures, frame, identity
from twisted_rsh import Connection, Keep, LossReason, NoServer, ServerUnavailable, SessionLost, connect_to_endpoint
from twisted_rsh.core.codec import encode, encode_control
from twisted_rsh.core.messages import AuthOk, Goodbye, Ping, Pong, Unavailable

WELCOME = encode(AuthOk(session=bytes(16), instance="x", window=4096, max_channels=4))
"""The answer to a login."""


@implementer(IStreamClientEndpoint)
class Manual:
    """An endpoint whose connection the test makes, and whose Deferred the test fires.

    :ivar outcomes: the connection that the client has got, or how it failed.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.connecting: Deferred[IProtocol] = Deferred(lambda _: None)
        self.outcomes: list[object] = []
        self._factory: IProtocolFactory | None = None
        self.logging_in = connect_to_endpoint(self.clock, self, identity().pin, client_key(), ALICE)
        self.logging_in.addCallbacks(self.outcomes.append, lambda failure: self.outcomes.append(failure.value))

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Keep the factory; the client calls this."""
        self._factory = protocolFactory
        return self.connecting

    def meet(self) -> RawServer:
        """Make a connection, and complete its handshake."""
        assert self._factory is not None
        protocol = self._factory.buildProtocol(None)  # type: ignore[arg-type]  # no factory here looks at the address
        assert protocol is not None
        return RawServer(self.clock, protocol, identity())


def welcomed(*behind: bytes) -> tuple[Connection, RawServer]:
    """Log in to a server that sends further frames in the same piece as its answer."""
    dialling = Dialling(identity())
    dialling.server.frames()
    dialling.server.send(b"".join(map(frame, (WELCOME, *behind))))
    (connection,) = dialling.outcomes
    assert isinstance(connection, Connection)
    return connection, dialling.server


def test_frames_right_behind_the_answer_are_the_sessions() -> None:
    """Frames in the same read as the answer reach the session, in order."""
    _, server = welcomed(encode(Ping(1)), encode(Ping(2)))
    assert server.frames() == [encode(Pong(2))]
    connection, _ = welcomed(encode(Ping(1)), *encode_control(Goodbye(text="not today"), 0))
    assert (connection.loss, connection.lost) == (LossReason.CLOSED, "not today")


def test_a_breach_right_behind_the_answer() -> None:
    """The login has succeeded by then: the caller gets a connection, which is lost."""
    connection, server = welcomed(b"?")
    assert connection.loss is LossReason.PROTOCOL
    assert not connection.connected
    assert server.wire.aborted()


def test_a_server_that_is_full() -> None:
    """A login that is put off is no refusal of the key: it fails with the server's own line, and is not made again."""
    dialling = Dialling(identity())
    assert len(dialling.server.frames()) == 1
    dialling.server.send(frame(encode(Unavailable(text="as many as --max-sessions allows"))))
    (error,) = dialling.outcomes
    assert isinstance(error, ServerUnavailable)
    assert str(error).endswith(" cannot serve this login now: as many as --max-sessions allows")
    dialling.server.received = b""
    dialling.clock.advance(60)
    assert dialling.server.received == b""


def test_a_server_that_speaks_first() -> None:
    """A frame before AUTH ends the link, also when the endpoint fires only after that; nothing is sent."""
    endpoint = Manual()
    server = endpoint.meet()
    server.send(frame(encode(Ping(1))))
    assert server.wire.aborted()
    endpoint.connecting.callback(server.protocol)
    (error,) = endpoint.outcomes
    assert isinstance(error, SessionLost)
    assert "ended the connection before the login" in str(error)
    assert server.received == b""


def test_cancelled_when_the_connection_is_there_and_the_endpoint_has_not_fired() -> None:
    """A link that has been found by then is aborted, and nothing is sent over it."""
    endpoint = Manual()
    server = endpoint.meet()
    endpoint.logging_in.cancel()
    assert [type(outcome) for outcome in endpoint.outcomes] == [CancelledError]
    assert server.wire.aborted()
    late = endpoint.meet()
    assert late.wire.aborted()
    assert (server.received, late.received) == (b"", b"")
    assert endpoint.clock.getDelayedCalls() == []


def test_cancelled_before_the_answer() -> None:
    """The link is aborted, and an answer that comes all the same begins nothing."""
    endpoint = Manual()
    server = endpoint.meet()
    endpoint.connecting.callback(server.protocol)
    server.exchange()
    assert len(server.frames()) == 1, "AUTH"
    endpoint.logging_in.cancel()
    assert server.wire.aborted()
    server.send(frame(WELCOME))
    assert [type(outcome) for outcome in endpoint.outcomes] == [CancelledError]
    assert endpoint.clock.getDelayedCalls() == []


def test_another_connection_of_the_same_dial_is_aborted() -> None:
    """Of two connections that an endpoint makes, the first that is ready logs in; the other is sent nothing."""
    endpoint = Manual()
    first, second = endpoint.meet(), endpoint.meet()
    endpoint.connecting.callback(second.protocol)
    first.exchange()
    assert len(first.frames()) == 1, "AUTH"
    assert second.received == b""
    assert second.wire.aborted()
    assert not first.wire.aborted()


def test_an_endpoint_that_fails_in_its_own_way() -> None:
    """An error that is not about connecting is passed on as it is."""
    endpoint = Manual()
    error = LookupError("no proxy")
    endpoint.connecting.errback(error)
    assert endpoint.outcomes == [error]


def test_a_connection_that_is_lost_before_it_is_made() -> None:
    """The error is one line, also where Twisted's has a failure in it, as when the reactor stops."""
    endpoint = Manual()
    endpoint.connecting.errback(ConnectError(string=Failure(ConnectionLost())))
    (error,) = endpoint.outcomes
    assert isinstance(error, NoServer)
    assert str(error) == "Connection to the other side was lost in a non-clean fashion"


class Flaky(Network):
    """A network whose first dial of an outage fails in a way that no endpoint should."""

    fails = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fail once, or dial."""
        connecting = super().connect(protocolFactory)
        if not self.fails:
            return connecting
        self.fails = False
        raise LookupError("a mistake")


def test_mistakes_during_a_resume_are_logged_and_do_not_end_the_session() -> None:
    """An endpoint that raises costs an attempt; a caller's function that raises as output arrives costs nothing."""
    network = Flaky()
    connection = network.log_in()
    job = connection.start("make", on_disconnect=Keep())
    network.advance()
    network.server.only.opened(job.channel)
    received: list[bytes] = []

    def write(data: bytes) -> None:
        received.append(data)
        if len(received) == 1:
            raise RuntimeError("a mistake of the caller")

    def watch(reason: str | None) -> None:
        raise RuntimeError(f"a mistake of the watcher, told {reason}")

    job.stdout.forward(write)
    connection.watch_link(watch)
    network.carries = False
    network.server.only.say(b"output", job.channel)
    network.advance()
    network.fails = True
    with collecting_log() as events:
        network.cut()
        network.carries = True
        network.advance(5)
    assert len(network.dialled_at) == 2  # the dial that raised, and that of the resume
    assert connection.connected
    assert received == [b"output"]
    network.server.only.say(b"more", job.channel)
    network.advance()
    assert received == [b"output", b"more"]
    assert {event["log_failure"].type for event in failures(events)} == {RuntimeError}
    assert any(event.get("log_failure") and event["log_failure"].check(LookupError) for event in events)
