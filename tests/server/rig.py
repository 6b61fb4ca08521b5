"""A server in memory on a clock: real links, real TLS, real sessions, and jobs that do what the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import Interface, implementer

from tests.link.wire import ALICE, RawClient, Wire, client_key, exchange, frame, identity, wrapped
from twisted_rsh import Connection
from twisted_rsh.client.link import ClientLink
from twisted_rsh.client.login import log_in
from twisted_rsh.core.codec import Decoder
from twisted_rsh.core.endings import Ending, Exited, JobEnd
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.messages import AuthOk
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Phase, Role, Stream
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser
from twisted_rsh.link.tls import PinnedClientTLS, ServerTLS
from twisted_rsh.server.factory import RemoteShellFactory
from twisted_rsh.server.link import ServerLink, ServerSettings
from twisted_rsh.server.session import DurableSession
from twisted_rsh.trust.cred import IVerifiedKey

__all__ = ["NO_RESUME", "Checker", "Connected", "Realm", "Rig", "ScriptedJob", "ScriptedUser"]

NO_RESUME = SessionLimits(detach_seconds=0)
"""The bounds of sessions that end with their links."""


@implementer(IJob)
class ScriptedJob:
    """A job that only remembers what it is told.

    :ivar calls: what it was told, in order.
    :ivar raises: names of methods that fail.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner) -> None:
        self.request = request
        self.owner = owner
        self.calls: list[tuple[object, ...]] = []
        self.raises: set[str] = set()

    @property
    def input(self) -> bytes:
        """What it was given to read."""
        return b"".join(call[1] for call in self.calls if call[0] == "write_input" and isinstance(call[1], bytes))

    def names(self) -> list[object]:
        """Return the names of what it was told."""
        return [call[0] for call in self.calls]

    def end(self, ending: Ending | None = None) -> None:
        """Come to an end."""
        for stream in OUTPUTS:
            self.owner.output_ended(stream)
        self.owner.job_ended(JobEnd(ending or Exited(0)))

    def fill(self, stream: Stream = Stream.STDOUT) -> int:
        """Write as much as there is room for, and return how much that was."""
        total = 0
        while room := self.owner.output_room(stream):
            self.owner.output_received(stream, bytes(room))
            total += room
        return total

    def _note(self, name: str, *values: object) -> None:
        self.calls.append((name, *values))
        if name in self.raises:
            raise RuntimeError(f"{name} broke")

    def resize(self, columns: int, rows: int) -> None:
        self._note("resize", columns, rows)

    def write_input(self, data: bytes) -> None:
        """See IJob."""
        self._note("write_input", data)

    def end_input(self) -> None:
        """See IJob."""
        self._note("end_input")

    def send_signal(self, name: str) -> None:
        """See IJob."""
        self._note("send_signal", name)

    def resume_output(self, stream: Stream) -> None:
        """See IJob."""
        self._note("resume_output", stream)

    def close_output(self, stream: Stream) -> None:
        """See IJob."""
        self._note("close_output", stream)

    def terminate(self) -> None:
        """See IJob."""
        self._note("terminate")


@implementer(IShellUser)
class ScriptedUser:
    """An application's user.

    :ivar jobs: what it has started.
    :ivar script: called with each job from within `start_job`.
    """

    def __init__(self) -> None:
        self.name = ALICE
        self.encoding = "utf-8"
        self.jobs: list[ScriptedJob] = []
        self.script: Callable[[ScriptedJob], object] | None = None

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """See IShellUser."""
        job = ScriptedJob(request, owner)
        self.jobs.append(job)
        if self.script is not None:
            self.script(job)
        return job


@implementer(ICredentialsChecker)
class Checker:
    """An application's checker.

    :ivar answer: makes what it answers; ``None`` to let Alice in with her key.
    :ivar asked: the credentials that it was asked about.
    """

    credentialInterfaces = (IVerifiedKey,)

    def __init__(self) -> None:
        self.asked: list[IVerifiedKey] = []
        self.answer: Callable[[], Any] | None = None

    def requestAvatarId(self, credentials: IVerifiedKey) -> Any:
        """Let Alice in, or do as told."""
        self.asked.append(credentials)
        if self.answer is not None:
            return self.answer()
        if (credentials.user, credentials.key_blob) != (ALICE, client_key().blob):
            raise UnauthorizedLogin
        return credentials.user.encode()


@implementer(IRealm)
class Realm:
    """An application's realm.

    :ivar avatar: makes what it answers; ``None`` for the user and a logout that is counted.
    :ivar logouts: how often somebody was logged out.
    :ivar error: what a logout raises, or ``None``.
    """

    def __init__(self, user: IShellUser) -> None:
        self.user = user
        self.logouts = 0
        self.avatar: Callable[[], Any] | None = None
        self.error: Exception | None = None

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]) -> Any:
        """Give the user, or do as told."""
        return (IShellUser, self.user, self.logout) if self.avatar is None else self.avatar()

    def logout(self) -> None:
        """Count, or fail as told."""
        if self.error is not None:
            raise self.error
        self.logouts += 1


class Rig:
    """A server, to which raw clients and real ones connect.

    :param limits: the bounds of a session.
    :param settings: further fields of ServerSettings.
    """

    def __init__(self, limits: SessionLimits | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.user = ScriptedUser()
        self.checker = Checker()
        self.realm = Realm(self.user)
        self.identity = identity()
        self.settings = ServerSettings(
            portal=Portal(self.realm, [self.checker]),
            spki_sha256=self.identity.pin,
            limits=limits or SessionLimits(),
            **{"instance_id": "one run", **settings},
        )
        tls = ServerTLS(self.identity.private_key, self.identity.certificate)
        self.factory = RemoteShellFactory(self.clock, self.settings, tls)

    @property
    def pin(self) -> bytes:
        """What a client expects."""
        return self.identity.pin

    @property
    def links(self) -> set[ServerLink]:
        """The connections there are."""
        return self.factory._links.links

    @property
    def sessions(self) -> list[DurableSession]:
        """The sessions there are."""
        return list(self.factory.sessions)

    @property
    def waiting(self) -> int:
        """How many connections have not logged in."""
        return self.factory._links.admission.count

    def protocol(self, host: str = "127.0.0.1") -> Any:
        """Return the protocol of a new connection, from this machine unless said otherwise."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", host, 50000))
        assert protocol is not None
        return protocol

    def connect(self, host: str = "127.0.0.1", **how: Any) -> RawClient:
        """Connect a raw client, and complete the handshake."""
        return RawClient(self.clock, self.protocol(host), **how)

    def log_in(self, **how: Any) -> RawClient:
        """Connect a raw client, and log in."""
        client = self.connect()
        client.send(frame(client.auth(self.pin, **how)))
        (answer,) = client.frames()
        _, message = Decoder(Role.CLIENT, Phase.LOGIN).decode(answer)
        assert isinstance(message, AuthOk)
        client.session = message.session
        return client

    def away(self, seconds: float) -> None:
        """Let time pass at the server, a quarter of a minute at a time, in which nobody says anything."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(15.0, end - self.clock.seconds()))

    def link_of(self, client: RawClient) -> ServerLink:
        """Return the server's side of a connection."""
        link: object = getattr(client.protocol, "wrappedProtocol", None)
        assert isinstance(link, ServerLink)
        return link

    def connected(self) -> Connected:
        """Connect a real client, and log in."""
        return Connected(self)


class Connected:
    """A real client, and the transports of both ends.

    :ivar shell: what the application has.
    """

    def __init__(self, rig: Rig) -> None:
        self.clock = rig.clock
        tls = PinnedClientTLS(rig.pin)
        found: Deferred[ClientLink] = Deferred()
        self.link = ClientLink(rig.clock, tls, rig.pin, found)
        self.near, self.far = Wire(rig.clock), Wire(rig.clock)
        self.near.protocol = wrapped(rig.clock, self.link, tls)
        self.far.protocol = rig.protocol()
        for wire in (self.far, self.near):
            assert wire.protocol is not None
            wire.protocol.makeConnection(wire)
        shells: list[Connection] = []

        async def connect() -> Connection:
            link = await found
            return Connection(link, await log_in(link, client_key(), ALICE, rig.settings.limits))

        Deferred.fromCoroutine(connect()).addCallback(shells.append)
        self.exchange()
        (self.shell,) = shells

    def exchange(self) -> None:
        """Let everything arrive."""
        exchange(self.clock, self.near, self.far)
