"""A server in memory on a clock: real links, real TLS, real sessions, and scripted jobs."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent
from zope.interface import Interface, implementer

from tests.link.wire import ALICE, RawClient, Wire, client_key, frame, identity
from twisted_rsh import Connection, connect_to_endpoint
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import Decoder
from twisted_rsh.core.endings import Ending, Exited, JobEnd, RefusalReason
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.messages import AuthOk, Exit
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Phase, Role, Stream
from twisted_rsh.core.shell_state import ShellState
from twisted_rsh.interfaces import IJob, IJobOwner, IShellJob, IShellUser, JobRefused
from twisted_rsh.server.factory import RemoteShellFactory
from twisted_rsh.server.job import OPENED_HELD_SECONDS
from twisted_rsh.server.link import ServerLink
from twisted_rsh.server.options import ServiceOptions
from twisted_rsh.server.session import DurableSession
from twisted_rsh.testing import MemoryEndpoint
from twisted_rsh.trust.cred import IVerifiedKey, IVerifiedPeer
from twisted_rsh.trust.server_key import ServerKey

__all__ = [
    "NO_RESUME",
    "Checker",
    "Connected",
    "Lucky",
    "Realm",
    "Rig",
    "ScriptedJob",
    "ScriptedShell",
    "ScriptedUser",
    "Unlucky",
    "ended",
    "exits",
    "is_ended",
    "job_lines",
    "shell_of",
]

EXCHANGES = 5
"""Steps of the clock in which a client has an answer to what it has just said: there, back, and some to spare."""

NO_RESUME = SessionLimits(detach_seconds=0)
"""The bounds of sessions that end with their links."""


@implementer(IJob)
class ScriptedJob:
    """A job that only notes each call.

    :ivar calls: the calls, in order.
    :ivar raises: names of methods that fail.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner) -> None:
        self.request = request
        self.owner = owner
        self.calls: list[tuple[object, ...]] = []
        self.raises: set[str] = set()

    @property
    def input(self) -> bytes:
        """The input that the job was given."""
        return b"".join(call[1] for call in self.calls if call[0] == "write_input" and isinstance(call[1], bytes))

    def names(self) -> list[object]:
        """Return the names of the calls."""
        return [call[0] for call in self.calls]

    def end(self, ending: Ending | None = None) -> None:
        """Come to an end."""
        for stream in OUTPUTS:
            self.owner.output_ended(stream)
        self.owner.job_ended(JobEnd(ending or Exited(0)))

    def fill(self, stream: Stream = Stream.STDOUT) -> int:
        """Write as many bytes as there is room for, and return their number."""
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


@implementer(IShellJob)
class ScriptedShell(ScriptedJob):
    """A persistent shell that runs one command at a time, which is a scripted job.

    :param is_ready: whether it takes commands at once.
    :ivar ready: the calls to make when it takes commands.
    :ivar commands: the commands that it runs.
    :ivar state: what it looks like.
    """

    def __init__(self, request: JobRequest, owner: IJobOwner, is_ready: bool) -> None:
        super().__init__(request, owner)
        self._is_ready = is_ready
        self.ready: list[Callable[[], None]] = []
        self.commands: list[ScriptedJob] = []
        self.state = ShellState()

    def when_ready(self, call: Callable[[], None]) -> None:
        """See IShellJob."""
        if self._is_ready:
            call()
        else:
            self.ready.append(call)

    def start_command(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """See IShellJob."""
        if self.commands:
            raise JobRefused(RefusalReason.SHELL_BUSY, "one at a time")
        self.commands.append(ScriptedJob(request, owner))
        return self.commands[-1]

    def inspect(self) -> ShellState:
        """See IShellJob."""
        self._note("inspect")
        return self.state


@implementer(IShellUser)
class ScriptedUser:
    """An application's user.

    :ivar jobs: the jobs that it has started.
    :ivar script: called with each job from within `start_job`.
    :ivar shells_are_ready: whether its shells take commands at once.
    """

    def __init__(self) -> None:
        self.shells_are_ready = True
        self.name = ALICE
        self.encoding = "utf-8"
        self.jobs: list[ScriptedJob] = []
        self.script: Callable[[ScriptedJob], object] | None = None

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """See IShellUser."""
        if request.shell is None:
            job = ScriptedJob(request, owner)
        else:
            job = ScriptedShell(request, owner, self.shells_are_ready)
        self.jobs.append(job)
        if self.script is not None:
            self.script(job)
        return job


@implementer(ICredentialsChecker)
class Checker:
    """An application's checker.

    :ivar answer: makes the answer; ``None`` to let Alice in with her key.
    :ivar asked: the credentials that it was asked about.
    """

    credentialInterfaces = (IVerifiedKey, IVerifiedPeer)

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer: Callable[[], Any] | None = None

    def requestAvatarId(self, credentials: Any) -> Any:
        """Let Alice in, or give the test's answer."""
        self.asked.append(credentials)
        if self.answer is not None:
            return self.answer()
        if IVerifiedPeer.providedBy(credentials):
            if (credentials.user, credentials.uid) != (ALICE, os.geteuid()):
                raise UnauthorizedLogin
            return credentials.user.encode()
        if (credentials.user, credentials.key_blob) != (ALICE, client_key().blob):
            raise UnauthorizedLogin
        return credentials.user.encode()


@implementer(IRealm)
class Realm:
    """An application's realm.

    :ivar avatar: makes the answer; ``None`` for the user and a logout that is counted.
    :ivar logouts: the number of logouts.
    :ivar error: the exception that a logout raises, or ``None``.
    """

    def __init__(self, user: IShellUser) -> None:
        self.user = user
        self.logouts = 0
        self.avatar: Callable[[], Any] | None = None
        self.error: Exception | None = None

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]) -> Any:
        """Give the user, or the test's answer."""
        return (IShellUser, self.user, self.logout) if self.avatar is None else self.avatar()

    def logout(self) -> None:
        """Count, or fail as the test wants."""
        if self.error is not None:
            raise self.error
        self.logouts += 1


class Lucky(Random):
    """Draws the highest number: no connection is turned away by chance."""

    def random(self) -> float:
        """Draw."""
        return 1.0


class Unlucky(Random):
    """Draws the lowest number: each connection is turned away that chance may turn away."""

    def random(self) -> float:
        """Draw."""
        return 0.0


class Rig:
    """A server, to which raw clients and real ones connect.

    :param limits: the bounds of a session.
    :param instance_id: names this run of the server.
    :param options: further fields of ServiceOptions.
    """

    def __init__(self, limits: SessionLimits | None = None, *, instance_id: str = "one run", **options: Any) -> None:
        self.clock = Clock()
        self.user = ScriptedUser()
        self.checker = Checker()
        self.realm = Realm(self.user)
        self.identity = identity()
        self.limits = limits or SessionLimits()
        self.factory = RemoteShellFactory(
            self.clock,
            Portal(self.realm, [self.checker]),
            ServerKey(self.identity.private_key, self.identity.certificate, self.identity.pin),
            instance_id,
            ServiceOptions(limits=self.limits, **options),
        )

    @property
    def pin(self) -> bytes:
        """The pin that a client expects."""
        return self.identity.pin

    @property
    def links(self) -> set[ServerLink]:
        """The connections that exist."""
        return self.factory.links

    @property
    def sessions(self) -> list[DurableSession]:
        """The sessions that exist."""
        return list(self.factory.sessions)

    @property
    def waiting(self) -> int:
        """The number of connections that have not logged in."""
        return self.factory.strangers.admission.count

    def protocol(self, host: str = "127.0.0.1") -> Any:
        """Return the protocol of a new connection.

        :param host: the client's address; this machine's by default.
        """
        return self.factory.buildProtocol(IPv4Address("TCP", host, 50000))

    def answer_at_once(self, address: IAddress | None = None) -> bytes | None:
        """Connect, and return what the server sends before it closes the connection; ``None`` if it lets it in.

        A connection that is let in is lost at once, without any offence.

        :param address: the client's.
        """
        wire = Wire(self.clock)
        before = set(self.links)
        wire.connect(self.factory.buildProtocol(address))
        if wire.disconnecting:
            answer = wire.take()
            wire.lose()
            return answer
        (link,) = set(self.links) - before
        link.close()  # what follows is no offence: the server has closed it
        wire.lose()
        return None

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
        """Let time pass at the server in silence, a quarter of a minute at a time."""
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
    """A real client that has logged in, over a connection in memory.

    :ivar connection: the connection, as the application has it.
    """

    def __init__(self, rig: Rig) -> None:
        self._clock = rig.clock
        connecting = connect_to_endpoint(
            rig.clock,
            MemoryEndpoint(rig.clock, rig.factory),
            rig.pin,
            client_key(),
            ALICE,
            rig.limits,
            resume=False,
        )
        connections: list[Connection] = []
        connecting.addCallback(connections.append)
        self.exchange()
        (self.connection,) = connections

    def exchange(self) -> None:
        """Let everything arrive, the server's answers included that it holds for a moment."""
        for _ in range(EXCHANGES):
            self._clock.advance(OPENED_HELD_SECONDS)


def ended(channel: int, ending: object, stdout: int = 0, stderr: int = 0) -> Exit:
    """Return the last message of a channel."""
    return Exit(channel=channel, ending=ending, stdout=stdout, stderr=stderr, held_open=False)  # type: ignore[arg-type]  # an ending


def is_ended(job: ScriptedJob) -> bool:
    """Tell whether a job was made to end."""
    return "terminate" in job.names()


def exits(messages: list[Message]) -> list[Exit]:
    """Return the endings among some messages."""
    return [message for message in messages if isinstance(message, Exit)]


def job_lines(logged: list[LogEvent]) -> list[str]:
    """Return the log's lines about jobs that have ended."""
    return [formatEvent(event) for event in logged if (event["log_format"] or "").startswith("job of")]


def shell_of(rig: Rig, at: int = 0) -> ScriptedShell:
    """Return a shell that was started.

    :param at: its place among the jobs that were started.
    """
    shell = rig.user.jobs[at]
    assert isinstance(shell, ScriptedShell)
    return shell
