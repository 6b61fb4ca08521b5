"""The server and the client as parts of an application that has its own endpoints, portal and users."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.task import deferLater
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from tests.serving import Serving, asynchronous, reactor
from twisted_rsh import connect_to_endpoint
from twisted_rsh.core.endings import Ending, Exited, JobEnd, RefusalReason, Refused, Signalled
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.account import Account
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser, JobRefused
from twisted_rsh.server import RemoteShellService, ServiceOptions, local_portal
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.cred import IVerifiedKey, VerifiedKey
from twisted_rsh.trust.fingerprint import parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders


@implementer(IJob)
class Echo:
    """A job that is no process: it writes back what it reads, in capitals."""

    def __init__(self, owner: IJobOwner) -> None:
        self._owner = owner
        self._pending = b""
        self._input_ended = False
        self._over = False

    def write_input(self, data: bytes) -> None:
        """Take input."""
        self._pending += data.upper()
        self._owner.input_consumed(len(data))
        self._write()

    def end_input(self) -> None:
        """Take the end of the input."""
        self._input_ended = True
        self._write()

    def send_signal(self, name: str) -> None:
        """Die of it."""
        self._end(Signalled(name))

    def resize(self, columns: int, rows: int) -> None:
        """Have no terminal."""

    def resume_output(self, stream: Stream) -> None:
        """Go on."""
        self._write()

    def close_output(self, stream: Stream) -> None:
        """Write no more."""
        self._pending = b""

    def terminate(self) -> None:
        """End."""
        self._end(Signalled("TERM"))

    def _write(self) -> None:
        room = self._owner.output_room(Stream.STDOUT)
        piece, self._pending = self._pending[:room], self._pending[room:]
        if piece:
            self._owner.output_received(Stream.STDOUT, piece)
        if self._input_ended and not self._pending:
            self._end(Exited(0))

    def _end(self, ending: Ending) -> None:
        if not self._over:
            self._over = True
            for stream in OUTPUTS:
                self._owner.output_ended(stream)
            self._owner.job_ended(JobEnd(ending))


@implementer(IShellUser)
class Guest:
    """A user whose only command is ``echo``."""

    name = "guest"
    encoding = "utf-8"

    def __init__(self) -> None:
        self.jobs: list[Echo] = []

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """Start it."""
        if request.command != "echo":
            raise JobRefused(RefusalReason.NOT_FOUND, "guests can echo")
        job = Echo(owner)
        self.jobs.append(job)
        return job


@implementer(ICredentialsChecker)
class Anybody:
    """Lets in whoever has proven to have a key."""

    credentialInterfaces = (IVerifiedKey,)

    def requestAvatarId(self, credentials: VerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Return the key's name; twisted.cred calls this.  It takes its time, as a database would."""
        return deferLater(reactor, 0, credentials.fingerprint.encode)


@implementer(IRealm)
class Guests:
    """Makes a guest of everybody, and remembers who came and who left."""

    def __init__(self) -> None:
        self.guest = Guest()
        self.logins = 0
        self.left: list[object] = []

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> Deferred[tuple[type[Interface], object, Callable[[], None]]]:
        """Return the guest; twisted.cred calls this."""
        self.logins += 1
        return succeed((IShellUser, self.guest, lambda: self.left.append(avatarId)))


@asynchronous
async def test_own_portal_and_jobs(config: ConfigFolders) -> None:
    """An application's own checker, realm, user and job serve a client, which cannot tell them from a process."""
    realm = Guests()
    serving = Serving(config, Portal(realm, [Anybody()]))
    await serving.start()
    connection = await serving.connect()
    try:
        assert verifyObject(IShellUser, realm.guest)
        data = b"some text " * 100_000
        result = await connection.run("echo", stdin=data)
        assert (result.stdout, result.ending) == (data.upper(), Exited(0))
        assert verifyObject(IJob, realm.guest.jobs[0])
        assert (await connection.run("ls")).ending == Refused(RefusalReason.NOT_FOUND, "guests can echo")
        job = connection.start("echo")
        job.send_signal("USR1")
        assert (await job.wait()).ending == Signalled("USR1")
        late = await connection.run("echo", timeout=60)
        assert late.ending == Exited(0)
    finally:
        await serving.stop()
    key = load_or_create_client_key(config)
    # Each resume, of which there are many in soak mode, asks the portal again, and logs out again.
    assert realm.left == [key.fingerprint.encode()] * realm.logins


@asynchronous
async def test_any_endpoint(tmp_path: Path, config: ConfigFolders) -> None:
    """A server listens on, and a client connects to, any stream endpoint, such as a Unix socket; TLS is added."""
    path = str(tmp_path / "socket")
    account = Account.current(os.environ, "/bin/sh")
    service = RemoteShellService(
        reactor,
        local_portal(reactor, config, account),
        config,
        ServiceOptions(endpoints=[UNIXServerEndpoint(reactor, path, mode=0o600)]),
    )
    service.startService()
    await service.when_listening()
    try:
        endpoint = UNIXClientEndpoint(reactor, path)
        key = load_or_create_client_key(config)
        connection = await connect_to_endpoint(
            reactor, endpoint, parse_fingerprint(service.fingerprint), key, account.name
        )
        assert (await connection.run("echo hello")).check().text == "hello\n"
        await connection.close()
    finally:
        await service.stopService()
