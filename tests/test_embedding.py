"""The server as a part of an application that has its own endpoints, checker, realm, users and jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.task import deferLater
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

import twisted_rsh.server
from tests.link.wire import client_key
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh import connect_to_endpoint
from twisted_rsh.client.errors import LoginRefused
from twisted_rsh.server import (  # the one import that embedding a server takes
    Account,
    ConfigFolders,
    Exited,
    IJob,
    IJobOwner,
    IShellUser,
    IVerifiedKey,
    JobEnd,
    JobRefused,
    JobRequest,
    RefusalReason,
    Refused,
    RemoteShellService,
    ServiceOptions,
    Signalled,
    Stream,
    local_portal,
)
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.fingerprint import parse_fingerprint


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

    def _end(self, ending: Exited | Signalled) -> None:
        if not self._over:
            self._over = True
            for stream in (Stream.STDOUT, Stream.STDERR):
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
class Members:
    """Lets the keys of some members in.  The client has already proven that it holds the key.

    :param names: the members' names by the fingerprints of their keys.
    """

    credentialInterfaces = (IVerifiedKey,)

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Return the member's name; twisted.cred calls this.  It takes its time, as a database would."""
        return deferLater(reactor, 0, self._look_up, credentials.fingerprint)

    def _look_up(self, fingerprint: str) -> bytes | tuple[()]:
        try:
            return self._names[fingerprint].encode()
        except KeyError:
            raise UnauthorizedLogin("this key is no member's") from None


@implementer(IRealm)
class Guests:
    """Makes a guest of every member, counts the logins, and notes each logout."""

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
    key = load_or_create_client_key(config)
    serving = Serving(config, Portal(realm, [Members({key.fingerprint: "ada"})]))
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
    # Each resume, of which there are many in soak mode, asks the portal again, and logs out again.
    assert realm.left == [b"ada"] * realm.logins


@asynchronous
async def test_own_checker_refuses(config: ConfigFolders) -> None:
    """A key that an application's own checker does not know is refused, and its realm is not asked."""
    realm = Guests()
    serving = Serving(config, Portal(realm, [Members({client_key(1).fingerprint: "ada"})]))
    await serving.start()
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", serving.port)
        pin = parse_fingerprint(serving.service.fingerprint)
        with pytest.raises(LoginRefused):
            await connect_to_endpoint(reactor, endpoint, pin, client_key(2), "ada")
        connection = await connect_to_endpoint(reactor, endpoint, pin, client_key(1), "ada")
        assert (await connection.run("echo", stdin=b"hello")).stdout == b"HELLO"
        await connection.close()
    finally:
        await serving.stop()
    assert set(realm.left) == {b"ada"}


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


@pytest.mark.parametrize("name", twisted_rsh.server.__all__)
def test_one_import(name: str) -> None:
    """Every name that embedding takes comes from ``twisted_rsh.server``, and is the one of its own module."""
    thing = getattr(twisted_rsh.server, name)
    module = sys.modules[twisted_rsh.server._MODULES[name]]
    assert thing is getattr(module, name)
    assert name in module.__all__


def test_no_other_name() -> None:
    """A name that the package does not have is an AttributeError, as for any module."""
    assert set(twisted_rsh.server._MODULES) == set(twisted_rsh.server.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchName'"):
        _ = twisted_rsh.server.NoSuchName


def test_import_is_lazy() -> None:
    """The package alone loads no Twisted; its names do."""
    code = "import sys, twisted_rsh.server; assert 'twisted' not in sys.modules; twisted_rsh.server.RemoteShellService"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
