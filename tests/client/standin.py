"""A server without a network: it keeps sessions as servers do, and the test says what its jobs do and what it breaks.

Everything happens on a ``Clock``, and nothing moves but in :meth:`Network.advance`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refusal
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from tests.link.wire import ALICE, Identity, One, Wire, client_key, identity
from twisted_rsh import Connection
from twisted_rsh.client.link import dial
from twisted_rsh.client.login import log_in
from twisted_rsh.client.reconnecting import Reconnector
from twisted_rsh.core.endings import Exited, JobEnd
from twisted_rsh.core.events import Event, SessionClosed
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.login import ServerLogin
from twisted_rsh.core.messages import Auth, Resume
from twisted_rsh.core.resuming import LinkBinding, ServerProof
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.link.framed_link import FramedLink
from twisted_rsh.link.pump import SessionPump
from twisted_rsh.link.tls import LinkTLSFactory, ServerTLS, exporter, link_secret

__all__ = ["Kept", "Network", "StandIn", "StandInLink", "is_connected"]

STEP_SECONDS = 0.05
"""Seconds in one step of the clock: no timer of a client is shorter."""


def is_connected(connection: Connection) -> bool:
    """Tell whether a connection has a link now."""
    return connection.connected


@dataclass
class Kept:
    """A session that the server keeps.

    :ivar events: what happened in it, in order.
    """

    session: ServerSession
    pump: SessionPump
    proof: ServerProof
    events: list[Event] = field(default_factory=list)

    def happened(self, event: Event) -> None:
        """Remember an event."""
        self.events.append(event)

    def opened(self, channel: int = 1) -> None:
        """Say that a job has begun."""
        self.session.accept(channel, "utf-8")
        self.pump.flush()

    def say(self, data: bytes, channel: int = 1, stream: Stream = Stream.STDOUT) -> None:
        """Let a job write something."""
        self.session.send_data(channel, stream, data)
        self.pump.flush()

    def end(self, channel: int = 1) -> None:
        """Let a job exit with status 0."""
        self.session.report_exit(channel, JobEnd(Exited(0)))
        self.pump.flush()


class StandIn:
    """The server.

    :ivar who: its key.
    :ivar instance: names this run of it.
    :ivar sessions: those it keeps, by their identifiers.
    :ivar resumes: every RESUME that it got.
    :ivar on_resume: changes an answer's payload before it is sent, or returns ``None`` to say nothing.
    """

    def __init__(self, clock: Clock, limits: SessionLimits | None = None) -> None:
        self.clock = clock
        self.who: Identity = identity()
        self.instance = "first"
        self.limits = limits or SessionLimits()
        self.sessions: dict[bytes, Kept] = {}
        self.resumes: list[Resume] = []
        self.on_resume: Callable[[bytes], bytes | None] = lambda payload: payload

    @property
    def only(self) -> Kept:
        """The one session."""
        (kept,) = self.sessions.values()
        return kept

    def restart(self) -> None:
        """Become another run of the server, which knows no session."""
        self.instance = "second"
        self.sessions.clear()


class StandInLink(FramedLink):
    """The server's side of one connection."""

    def __init__(self, server: StandIn) -> None:
        super().__init__(server.clock)
        self._server = server
        self._login = ServerLogin()
        self._kept: Kept | None = None

    def ready(self) -> None:
        """The client speaks first."""

    def frame_received(self, payload: bytes) -> None:
        """Let everybody in, and resume what can be resumed."""
        if self._kept is not None:
            self._kept.proof.confirm()
            self._kept.pump.frame_received(self, payload)
            if any(isinstance(event, SessionClosed) for event in self._kept.events[-1:]):
                self.close()
            return
        claim = self._login.receive_frame(payload)
        if isinstance(claim, Auth):
            self._begin()
        else:
            self._resume(claim)

    def frames_received(self) -> None:
        """Write what they led to."""
        if self._kept is not None:
            self._kept.pump.flush()

    def ended(self, reason: str) -> None:
        """Keep the session."""
        if self._kept is not None and self._kept.pump.link is self:
            self._kept.pump.stop()

    def _begin(self) -> None:
        server = self._server
        identifier = bytes([len(server.sessions)] * 16)
        answer, session = self._login.accept(identifier, server.instance, server.limits, server.clock.seconds())
        proof = ServerProof(identifier, link_secret(self.tls, identifier, 0))
        self._kept = kept = Kept(session, SessionPump(session, server.clock), proof)
        server.sessions[identifier] = kept
        self.session_began()
        self.write_frames([answer])
        kept.pump.start(self, kept)

    def _resume(self, claim: Resume) -> None:
        server = self._server
        server.resumes.append(claim)
        kept = server.sessions.get(claim.session)
        binding = LinkBinding(exporter(self.tls), server.who.pin)
        if kept is None or not kept.proof.verifies(claim, binding):
            self._answer(self._login.refuse_resume(server.instance))
            self.close()
            return
        kept.session.check_positions(claim.positions)
        before, positions = kept.pump.link, kept.session.positions()
        kept.pump.stop()
        if before is not None:
            before.fail("taken over")
        fresh = link_secret(self.tls, claim.session, claim.attempt)
        self._answer(self._login.accept_resume(kept.proof.accept(claim, binding, positions, fresh)))
        self._kept = kept
        self.session_began()
        kept.pump.resume(self, claim.positions)

    def _answer(self, payload: bytes) -> None:
        said = self._server.on_resume(payload)
        self.write_frames([] if said is None else [said])


class Greeter(Protocol):
    """A server of another protocol."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 511 Network Authentication Required\r\n\r\n")


@implementer(IStreamClientEndpoint)
class Network:
    """Dials the stand-in.

    :ivar server: the server.
    :ivar is_up: whether a dial finds it; one that does not is refused.
    :ivar holds_dials: whether a dial waits until the test answers it, with :meth:`answer`.
    :ivar carries: whether bytes move.
    :ivar slept: seconds that the machine has slept and that its timers have not seen, as on Linux.
    :ivar talks_plainly: whether another server answers, which does not speak TLS.
    :ivar dialled_at: when each dial was made.
    """

    def __init__(self, clock: Clock | None = None, limits: SessionLimits | None = None) -> None:
        self.clock = clock or Clock()
        self.server = StandIn(self.clock, limits)
        self.is_up = True
        self.holds_dials = False
        self.carries = True
        self.talks_plainly = False
        self.slept = 0.0
        self.dialled_at: list[float] = []
        self.waiting: list[tuple[Deferred[IProtocol], IProtocolFactory]] = []
        self._pairs: list[tuple[Wire, Wire]] = []

    def elapsed(self) -> float:
        """Return the time in seconds, sleep included."""
        return self.clock.seconds() + self.slept

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Dial; the client calls this."""
        self.dialled_at.append(self.clock.seconds())
        connecting: Deferred[IProtocol] = Deferred(lambda _: None)
        self.waiting.append((connecting, protocolFactory))
        if not self.holds_dials:
            self.clock.callLater(0, self.answer)
        return connecting

    def answer(self) -> None:
        """Answer the dial that waits longest."""
        connecting, factory = self.waiting.pop(0)
        if not self.is_up:
            if not connecting.called:
                connecting.errback(Refusal())
            return
        tls = ServerTLS(self.server.who.private_key, self.server.who.certificate)
        theirs: IProtocol = LinkTLSFactory(tls, False, One(StandInLink(self.server)), self.clock).buildProtocol(None)
        ours = factory.buildProtocol(None)  # type: ignore[arg-type]  # no factory here looks at the address
        assert ours is not None
        if self.talks_plainly:
            theirs = Greeter()
        pair = Wire(self.clock), Wire(self.clock)
        self._pairs.append(pair)
        for wire, protocol in zip(pair, (ours, theirs), strict=True):
            wire.connect(protocol)
        if not connecting.called:  # else the client has given it up, and this endpoint was too slow to notice
            connecting.callback(ours)

    def advance(self, seconds: float = 0.0) -> None:
        """Let time pass, and bytes move."""
        end = self.clock.seconds() + seconds
        self._move()
        while (left := end - self.clock.seconds()) > 1e-9:
            self.clock.advance(min(left, STEP_SECONDS))
            self._move()

    def jump(self, seconds: float) -> None:
        """Let time pass all at once, as for a machine that slept."""
        self.clock.advance(seconds)
        self._move()

    def cut(self) -> None:
        """Cut every connection."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for wire in pair:
                wire.lose()

    def log_in(self, *, resume: bool = True) -> Connection:
        """Connect, as :func:`twisted_rsh.connect_to_endpoint` does, but on this clock alone and without jitter."""
        connections: list[Connection] = []
        Deferred.fromCoroutine(self._connected(resume)).addCallback(connections.append)
        self.advance()
        (connection,) = connections
        self.dialled_at.clear()
        return connection

    async def _connected(self, resume: bool) -> Connection:
        pin = self.server.who.pin
        link = await dial(self.clock, self, (pin,))
        welcome = await log_in(link, client_key(), ALICE, SessionLimits())
        reconnector = Reconnector(self.clock, self, pin, welcome, self.elapsed, lambda: 0.0)
        return Connection(link, welcome, reconnector if resume else None, lambda: self.slept)

    def _move(self) -> None:
        moved = True
        while moved:
            self.clock.advance(0)
            moved = False
            for pair in list(self._pairs):
                moved = self._move_pair(*pair) or moved

    def _move_pair(self, one: Wire, other: Wire) -> bool:
        moved = False
        for source, target in ((one, other), (other, one)):
            data = source.take() if self.carries else b""
            if data and not target.is_lost:
                assert target.protocol is not None
                target.protocol.dataReceived(data)
                moved = True
        for source, target in ((one, other), (other, one)):
            if source.is_lost and not target.is_lost and self.carries:
                target.lose()
                moved = True
        return moved
